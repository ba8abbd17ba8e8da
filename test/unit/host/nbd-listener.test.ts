// NBD clients on real sockets, with a session that speaks a protocol of single letters instead of NBD, so that each rule of the listener
// can be seen by itself. Real clients and the real session meet in the end-to-end tests.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { type NbdListener, type NbdListenerLimits, openNbdListener, type ServedSession } from '../../../src/host/nbd-listener.ts';
import type { StreamAddress } from '../../../src/host/stream-address.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-nbd-'));
after(() => rmSync(folder, { recursive: true }));
let sockets = 0;

/** What a letter does: h ends the handshake, r asks for an answer, q disconnects; any other byte is ballast. */
const [HELLO, REQUEST, QUIT] = ['h', 'r', 'q'].map((letter) => letter.charCodeAt(0)) as [number, number, number];

class LetterSession implements ServedSession {
  state: ServedSession['state'] = 'handshake';
  closeReason: string | null = null;
  outstanding = 0;
  receivedBytes = 0;
  paused = false;
  resumable = false;
  /** Views of this turn with the checksum that they had when they came. */
  views: { bytes: Uint8Array; sum: number }[] = [];
  readonly movesTo = null;
  readonly #world: World;
  #out: Uint8Array[] = [];
  #lent: Uint8Array[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  start(): void {
    this.#out.push(Buffer.from('welcome '));
  }

  receive(bytes: Uint8Array): void {
    if (this.state === 'closing' || this.state === 'closed') return;
    this.receivedBytes += bytes.length;
    this.views.push({ bytes, sum: crc32(bytes) });
    for (const letter of bytes) {
      if (letter === HELLO) this.state = 'transmission';
      else if (letter === REQUEST) this.outstanding++;
      else if (letter === QUIT) this.drain('the client disconnected');
    }
    this.#world.received(this);
  }

  answer(text: Uint8Array, lent = false): void {
    if (this.state === 'closed') return;
    assert.ok(this.outstanding > 0);
    this.outstanding--;
    this.#out.push(text);
    if (lent) this.#lent.push(text);
  }

  takeMoved(): never {
    throw new Error('it stays here');
  }

  takeLent(): Uint8Array[] {
    const lent = this.#lent;
    this.#lent = [];
    return lent;
  }

  resume(): void {}

  takeOutput(): Uint8Array[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  /** Nothing is passed on here: nbd-relay.test.ts does. */
  takePassedOn(): null {
    return null;
  }

  passed(): Uint8Array[] {
    return [];
  }

  notPassed(): void {}

  readonly securing = false;
  readonly owesPayload = false;

  secured(): void {}

  get finished(): boolean {
    return this.state === 'closed' || (this.state === 'closing' && this.outstanding === 0);
  }

  drain(reason: string): void {
    this.state = 'closing';
    this.closeReason ??= reason;
  }

  abort(): void {
    this.closeReason ??= 'aborted';
    this.state = 'closed';
    this.#out = [];
  }
}

interface World {
  readonly turns: TurnScheduler;
  readonly sessions: LetterSession[];
  /** Called for each receive(). */
  received(session: LetterSession): void;
}

interface Served extends World {
  readonly listener: NbdListener;
  readonly buffers: BufferPool;
  readonly told: string[];
  received: (session: LetterSession) => void;
  client(): Promise<Client>;
}

interface Client {
  readonly socket: Socket;
  readonly session: LetterSession;
  /** All that has come so far. */
  text(): string;
  until(condition: () => boolean): Promise<void>;
}

async function serve(limitsOverride: Partial<NbdListenerLimits> = {}, address?: StreamAddress): Promise<Served> {
  const turns = new TurnScheduler(machineClock());
  const buffers = new BufferPool(1 << 26);
  const sessions: LetterSession[] = [];
  const told: string[] = [];
  let arrived: (session: LetterSession) => void = () => {};
  const listener = await openNbdListener({
    listen: [address ?? { path: join(folder, `socket-${sockets++}`) }],
    turns,
    buffers,
    limitsOverride,
    journal: (event, facts) => told.push(typeof facts['reason'] === 'string' ? `${event} ${facts['reason']}` : event),
    newSession: () => {
      const session = new LetterSession(served);
      sessions.push(session);
      arrived(session);
      return session;
    },
  });
  const client = async (): Promise<Client> => {
    const arriving = new Promise<LetterSession>((resolve) => {
      arrived = resolve;
    });
    const socket = connect({ ...(listener.addresses[0] as StreamAddress), allowHalfOpen: true });
    let text = '';
    let check = (): void => {};
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
      check();
    });
    for (const event of ['end', 'close']) socket.on(event, () => check());
    socket.on('error', () => check());
    const until = (condition: () => boolean): Promise<void> =>
      new Promise((resolve) => {
        check = (): void => {
          if (condition()) resolve();
        };
        check();
      });
    return { socket, session: await arriving, text: () => text, until };
  };
  const served: Served = { turns, sessions, listener, buffers, told, client, received: () => {} };
  return served;
}

/** Answers all requests at the end of the turn. */
function answering(text: string | Uint8Array): (this: Served, session: LetterSession) => void {
  const bytes = Buffer.from(text);
  return function (session) {
    this.turns.touch(() => {
      while (session.outstanding > 0) session.answer(bytes);
    });
  };
}

/** Bytes that differ wherever one looks, and are no letters of the protocol. */
function noise(byteCount: number, seed: number): Buffer {
  const words = new Uint32Array(byteCount / 4);
  for (let index = 0, word = seed + 1; index < words.length; index++)
    words[index] = (word = Math.imul(word, 1664525) + 1013904223) & 0x5f5f5f5f;
  return Buffer.from(words.buffer);
}

const loop = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(() => setImmediate(resolve));
  });

/** Turns of the event loop until nothing more is read by the server. */
async function settled(session: LetterSession): Promise<number> {
  for (let quiet = 0, last = -1; quiet < 20;) {
    await loop();
    quiet = session.receivedBytes === last ? quiet + 1 : 0;
    last = session.receivedBytes;
  }
  return session.receivedBytes;
}

describe('a client', () => {
  test('is greeted, answered once per turn, and let go when it disconnects, after all answers', async () => {
    const served = await serve();
    served.received = answering('yes ');
    const { socket, until, text } = await served.client();
    socket.write('hrrr');
    await until(() => text() === 'welcome yes yes yes ');
    socket.write('rrq');
    await once(socket, 'end');
    assert.equal(text(), 'welcome yes yes yes yes yes ');
    socket.end();
    while (served.listener.connectionCount() > 0) await loop();
    assert.deepEqual(served.told, ['nbd.connected', 'nbd.gone the client disconnected']);
    await loop();
    assert.equal(served.buffers.counters().taken, 0);
    await served.listener.close({ graceMillis: 1000 });
  });

  test('is answered too when the answer comes long after the request', async () => {
    const served = await serve();
    const { socket, session, until, text } = await served.client();
    socket.write('hrr');
    while (session.outstanding < 2) await loop();
    await loop();
    served.turns.touch(() => session.answer(Buffer.from('one ')));
    await until(() => text() === 'welcome one ');
    socket.write('q');
    while (session.state !== 'closing') await loop();
    served.turns.touch(() => session.answer(Buffer.from('two')));
    await once(socket, 'end');
    assert.equal(text(), 'welcome one two');
    await served.listener.close({ graceMillis: 10 });
  });

  test('finds its bytes unchanged until the turn has ended, however many come', async () => {
    const served = await serve({}, { host: '127.0.0.1', port: 0 });
    let viewsMax = 0;
    served.received = (session) => {
      served.turns.touch(() => {
        for (const { bytes, sum } of session.views) assert.equal(crc32(bytes), sum, 'memory was used again within the turn');
        viewsMax = Math.max(viewsMax, session.views.length);
        session.views = [];
      });
    };
    const clients = [await served.client(), await served.client()];
    let total = 0;
    // Over TCP a burst is larger than one piece of memory, once the connection's window has grown.
    for (let round = 0; viewsMax < 4 && round < 500; round++) {
      for (const { socket } of clients) socket.write(noise(2 << 20, round));
      total += 2 << 20;
      while (clients.some(({ session }) => session.receivedBytes < total)) await loop();
    }
    assert.ok(viewsMax >= 4, `${viewsMax} reads came in one turn`);
    assert.ok(served.buffers.counters().allocated < 40, `${served.buffers.counters().allocated} pieces: memory is used again`);
    served.listener.dropAll('done');
    await served.listener.close({ graceMillis: 1000 });
    await loop();
    assert.equal(served.buffers.counters().taken, 0);
  });

  test('that closes without disconnecting is dropped, with what it has asked for', async () => {
    const served = await serve();
    const { socket, session } = await served.client();
    socket.write('hrr');
    while (session.outstanding < 2) await loop();
    socket.end();
    while (served.listener.connectionCount() > 0) await loop();
    assert.equal(session.state, 'closed');
    await served.listener.close({ graceMillis: 1000 });
  });

  test('that does not end its handshake in time is cut, and no other', async () => {
    const served = await serve({ nbdHandshakeMillis: 1500 });
    const slow = await served.client();
    const good = await served.client();
    good.socket.write('h');
    slow.socket.write('.');
    await slow.until(() => slow.socket.readableEnded);
    while (served.listener.connectionCount() > 1) await loop();
    assert.equal(slow.session.state, 'closed');
    assert.equal(good.session.state, 'transmission');
    assert.ok(served.told.includes('nbd.connected') && !served.told.some((line) => line.startsWith('nbd.gone')));
    served.listener.dropAll('done');
    await served.listener.close({ graceMillis: 1000 });
  });

  test('above the limit of connections is refused', async () => {
    const served = await serve({ nbdConnectionsMax: 1 });
    await served.client();
    const second = connect(served.listener.addresses[0] as { path: string });
    second.on('error', () => {});
    second.resume();
    await once(second, 'close');
    assert.equal(served.sessions.length, 1);
    await served.listener.close({ graceMillis: 10 });
  });
});

describe('a client is not read from', () => {
  test('while its session is full', async () => {
    const served = await serve();
    served.received = (session) => {
      session.paused = session.outstanding > 0;
    };
    const { socket, session, until, text } = await served.client();
    socket.write(Buffer.from(`hr${'.'.repeat(8 << 20)}`));
    const before = await settled(session);
    assert.ok(before > 0 && before < 4 << 20, `${before} bytes were read`);
    served.turns.touch(() => {
      session.paused = false;
      session.answer(Buffer.from('go'));
    });
    await until(() => text() === 'welcome go');
    while (session.receivedBytes < (8 << 20) + 2) await loop();
    served.listener.dropAll('done');
    await served.listener.close({ graceMillis: 1000 });
  });

  test('while it does not take its answers, and gets them all in the end', async () => {
    const served = await serve({ nbdUnsentBytesMax: 1 << 20 });
    const answer = Buffer.alloc(1 << 16, 'x');
    served.received = answering(answer);
    const { socket, session, until, text } = await served.client();
    socket.pause();
    socket.write('h');
    const requests = 400;
    for (let index = 0; index < requests; index++) {
      socket.write(`r${'.'.repeat(999)}`);
      await loop();
    }
    const read = await settled(session);
    assert.ok(read < requests * 1000, `${read} bytes were read`);
    socket.resume();
    await until(() => text().length === 'welcome '.length + requests * answer.length);
    assert.equal(session.receivedBytes, requests * 1000 + 1);
    served.listener.dropAll('done');
    await served.listener.close({ graceMillis: 1000 });
  });
});

test('memory that was lent for an answer is free once the answer is on its way, and not before', async () => {
  const served = await serve();
  const { buffers } = served;
  const answerBytes = 1 << 18;
  let answers = 0;
  served.received = (session) => {
    served.turns.touch(() => {
      while (session.outstanding > 0) session.answer(buffers.take(answerBytes).fill(0x41 + (answers++ % 26)), true);
    });
  };
  const { socket, session, until, text } = await served.client();
  socket.pause();
  socket.write('h');
  const idle = buffers.counters().taken;
  for (let index = 0; index < 20; index++) {
    socket.write('r');
  }
  await settled(session);
  assert.ok(buffers.counters().taken > idle + 5, 'what the client has not taken is not free');
  socket.resume();
  await until(() => text().length === 'welcome '.length + 20 * answerBytes);
  for (let index = 0; index < 20; index++) {
    const answer = text().slice(8 + index * answerBytes, 8 + (index + 1) * answerBytes);
    assert.equal(answer, String.fromCodePoint(0x41 + (index % 26)).repeat(answerBytes), `answer ${index}`);
  }
  await loop();
  assert.equal(buffers.counters().taken, idle);
  assert.ok(buffers.counters().allocated < 25);
  served.listener.dropAll('done');
  await served.listener.close({ graceMillis: 1000 });
});

describe('the listener', () => {
  test('cuts all clients when the site stops serving, and takes new ones', async () => {
    const served = await serve();
    const clients = [await served.client(), await served.client()];
    for (const { socket } of clients) socket.write('hr');
    while (clients.some(({ session }) => session.outstanding === 0)) await loop();
    served.listener.dropAll('not primary any more');
    await Promise.all(clients.map(({ socket, until }) => until(() => socket.readableEnded || socket.destroyed)));
    assert.deepEqual(
      clients.map(({ session }) => session.state),
      ['closed', 'closed'],
    );
    while (served.listener.connectionCount() > 0) await loop();
    const next = await served.client();
    await next.until(() => next.text() === 'welcome ');
    await served.listener.close({ graceMillis: 10 });
  });

  test('at its end answers what is under way, takes nothing new, and closes', async () => {
    const served = await serve();
    const busy = await served.client();
    const idle = await served.client();
    busy.socket.write('hr');
    idle.socket.write('h');
    while (busy.session.outstanding === 0 || idle.session.state === 'handshake') await loop();
    for (const { socket } of [busy, idle]) socket.on('end', () => socket.end());
    const closing = served.listener.close({ graceMillis: 10_000 });
    busy.socket.write('r');
    await once(idle.socket, 'close');
    while (served.listener.connectionCount() > 1) await loop();
    served.turns.touch(() => busy.session.answer(Buffer.from('last')));
    await closing;
    await busy.until(() => busy.socket.readableEnded);
    assert.equal(busy.text(), 'welcome last');
    assert.equal(served.listener.connectionCount(), 0);
  });

  test('at its end cuts clients that are stuck', async () => {
    const served = await serve();
    const { socket, session } = await served.client();
    socket.pause();
    socket.write('hr');
    while (session.outstanding === 0) await loop();
    await served.listener.close({ graceMillis: 30 });
    assert.equal(served.listener.connectionCount(), 0);
    socket.destroy();
  });
});
