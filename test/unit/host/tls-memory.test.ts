// Where the bytes lie that TLS has decrypted: in memory of our own that is used again, as those of plain connections. Real sockets.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect as tlsConnect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { crc32 } from 'node:zlib';

import { until as waitFor } from '../../../demo/waiting.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { giveStream } from '../../../src/host/moved-stream.ts';
import { openStreamServer, type StreamServer } from '../../../src/host/stream-server.ts';
import { acceptStream, type ReceiveOptions, securedStream, type StreamSocket } from '../../../src/host/stream-socket.ts';
import { dial, openLinkServer, type SocketLink } from '../../../src/host/tcp-link.ts';
import type { TlsIdentity } from '../../../src/host/tls-identity.ts';
import { TlsMaterial } from '../../../src/host/tls-material.ts';
import { tlsServerOptions, upgradeClient, upgradePeer, upgradeServer } from '../../../src/host/tls-stream.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';
import { holder, TestAuthority } from '../../support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-tls-memory-'));
after(() => rmSync(folder, { recursive: true }));
const authority = new TestAuthority(folder);
const near = new TlsMaterial(authority.issue('near', holder.site('near')), null);
const far = new TlsMaterial(authority.issue('far', holder.site('far')), null);
const turns = new TurnScheduler(machineClock());
const until = (what: string, look: () => boolean): Promise<unknown> => waitFor(what, 20_000, look);

/** Copies what it hears during the call, and remembers in which memory it lay. */
class Ear {
  readonly memories = new Set<ArrayBufferLike>();
  readonly #parts: Buffer[] = [];
  #views: { readonly bytes: Uint8Array; readonly sum: number }[] = [];
  byteCount = 0;
  /** Views that were no longer what they had been when their turn had ended. */
  spoilt = 0;
  ends: string[] = [];

  receive(bytes: Uint8Array): void {
    this.memories.add(bytes.buffer);
    this.#parts.push(Buffer.from(bytes));
    this.byteCount += bytes.length;
    this.#views.push({ bytes, sum: crc32(bytes) });
  }

  closed(reason: string): void {
    this.ends.push(reason);
  }

  readonly endTurn = (): void => {
    this.spoilt += this.#views.filter(({ bytes, sum }) => crc32(bytes) !== sum).length;
    this.#views = [];
  };

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

const SENT = [randomBytes(100), randomBytes(6 << 20), randomBytes(17), randomBytes(70_000)];
const ALL = Buffer.concat(SENT);

test('what a link with TLS receives lies in one piece of memory at each end, from the first byte behind the handshake', async () => {
  const buffers = new BufferPool(1 << 24);
  const ears = [new Ear(), new Ear()] as const;
  const begin = (link: SocketLink, ear: Ear): void => {
    link.attach(ear);
    for (const part of SENT) link.send([part.subarray(0, 50), part.subarray(50)]);
  };
  const server = await openLinkServer({
    listen: [{ host: '127.0.0.1', port: 0 }],
    buffers,
    turns,
    connectionsMax: 2,
    journal: () => undefined,
    tls: near,
    accept: (link) => begin(link, ears[1]),
  });
  const [address] = server.addresses;
  assert.ok(address !== undefined);
  const link = await new Promise<SocketLink>((resolve, reject) => {
    const tls = { material: far, site: 'near', group: 'db' };
    dial(address, { buffers, turns, timeoutMillis: 5_000, tls }, (outcome) => {
      if (outcome.kind === 'failed') return reject(new Error(outcome.reason));
      begin(outcome.link, ears[0]);
      resolve(outcome.link);
    });
  });
  for (const ear of ears) {
    await until('everything is here', () => ear.byteCount === ALL.length);
    assert.ok(ear.bytes.equals(ALL));
    assert.equal(ear.memories.size, 1);
  }
  link.close();
  await until('the other side knows', () => ears[1].ends.length > 0);
  assert.deepEqual([ears[0].ends, ears[1].ends], [[], ['closed by the other side']]);
  await server.stop();
  await until('the memory is given back', () => buffers.counters().taken === 0);
});

interface Accepted {
  readonly server: StreamServer;
  readonly stream: StreamSocket;
  readonly ear: Ear;
  readonly client: TLSSocket;
}

/** A stream that a server has accepted, and a client of it. */
async function accepted(receive: ReceiveOptions): Promise<Accepted> {
  const ear = new Ear();
  let taken: (stream: StreamSocket) => void = () => undefined;
  const taking = new Promise<StreamSocket>((resolve) => {
    taken = resolve;
  });
  const server = await openStreamServer({
    listen: [{ host: '127.0.0.1', port: 0 }],
    what: 'a test',
    connectionsMax: 1,
    keepAliveMillis: 1000,
    receive,
    journal: () => undefined,
    tls: near,
    accept: (stream) => {
      taken(stream);
      return {
        received: (bytes) => ear.receive(bytes),
        ended: () => ear.ends.push('ended'),
        closed: (reason) => ear.closed(reason),
      };
    },
  });
  const { port } = server.addresses[0] as { port: number };
  const { ca, cert, key } = far.pem;
  const client = tlsConnect({ host: '127.0.0.1', port, ca, cert, key, checkServerIdentity: () => undefined });
  const [stream] = await Promise.all([taking, once(client, 'secureConnect')]);
  return { server, stream, ear, client };
}

test('bytes that are promised for a turn stay as they are until it has ended', async () => {
  const buffers = new BufferPool(1 << 24);
  const { server, stream, ear, client } = await accepted({ buffers, turns, validity: 'turn' });
  assert.equal(stream.usesOwnMemory, true);
  const end = turns.everyTurn(ear.endTurn);
  const look = setInterval(() => turns.arm(), 1);
  for (let round = 0; round < 4; round++) {
    client.write(ALL);
    await until('a round is here', () => ear.byteCount === (round + 1) * ALL.length);
  }
  clearInterval(look);
  end();
  assert.equal(ear.spoilt, 0);
  assert.ok(ear.bytes.equals(Buffer.concat([ALL, ALL, ALL, ALL])));
  assert.ok(buffers.counters().allocated < 40, `${buffers.counters().allocated} pieces: memory is used again`);
  client.destroy();
  await until('it is gone', () => ear.ends.length > 0);
  await server.stop();
  await until('the memory is given back', () => buffers.counters().taken === 0);
});

test('a stream with TLS that is paused receives no more than was under way, and goes on where it was, to its end in order', async () => {
  const { server, stream, ear, client } = await accepted({ buffers: new BufferPool(1 << 24), turns, validity: 'call' });
  const { receive } = ear;
  ear.receive = (bytes): void => {
    receive.call(ear, bytes);
    if (ear.byteCount >= 1 << 20) stream.pause();
  };
  client.end(ALL);
  await until('it has paused', () => ear.byteCount >= 1 << 20);
  const paused = ear.byteCount;
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  assert.equal(ear.byteCount, paused);
  // What one read of the system brought.
  assert.ok(paused < (1 << 20) + (256 << 10), `${paused} bytes`);
  assert.deepEqual(ear.ends, []);
  ear.receive = receive;
  stream.resume();
  await until('it has ended', () => ear.ends.length > 0);
  assert.ok(ear.bytes.equals(ALL));
  await until('it is closed', () => ear.ends.length === 2);
  assert.equal(ear.ends[0], 'ended');
  await server.stop();
});

test('a stream with TLS is given away by being carried only, and closes when it is silent', async () => {
  const { server, stream, ear, client } = await accepted({ buffers: new BufferPool(1 << 24), turns, validity: 'call' });
  assert.equal(stream.giveAway(), null);
  const given = giveStream(stream, () => undefined);
  assert.ok(given?.carrier);
  given.carrier.stop('seen');
  stream.closeWhenSilent(20);
  await once(client.resume(), 'close');
  await until('it knows why', () => ear.ends.length > 0);
  assert.match(ear.ends.join(), /silent for 20 ms|the session has ended/);
  await server.stop();
});

for (const [side, upgrade] of [
  ['a host', (plain, done) => upgradeServer(plain, near, 'needed', done)],
  ['a peer', (plain, done) => upgradePeer(plain, near, new Uint8Array(0), done)],
] as readonly [string, Parameters<StreamSocket['secure']>[0]][]) {
  test(`a connection of ${side} that becomes TLS in the middle goes on in its own memory`, async () => {
    const buffers = new BufferPool(1 << 24);
    const ear = new Ear();
    let stream: StreamSocket | null = null;
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      const made = acceptStream(socket, { buffers, turns, validity: 'call' });
      made.start({ received: (bytes) => ear.receive(bytes), ended: () => made.end('ended', 1000), closed: (reason) => ear.closed(reason) });
      made.secure<TlsIdentity | null>(upgrade as never, (outcome) => assert.ok('identity' in outcome && outcome.identity?.name === 'far'));
      stream = made;
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const plain: Socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const client = await new Promise<TLSSocket>((resolve) => {
      upgradeClient(plain, far, { kind: 'site', name: 'near' }, (handshake) => {
        assert.ok('socket' in handshake);
        handshake.socket.write(ALL);
        resolve(handshake.socket);
      });
    });
    await until('everything is here', () => ear.byteCount === ALL.length);
    assert.equal((stream as StreamSocket | null)?.usesOwnMemory, true);
    assert.ok(ear.bytes.equals(ALL));
    assert.equal(ear.memories.size, 1);
    client.destroy();
    server.close();
    await until('the memory is given back', () => buffers.counters().taken === 0);
  });
}

test('what was received before somebody took the connection comes first, and in the usual way', async () => {
  const buffers = new BufferPool(1 << 24);
  const server = createTlsServer(tlsServerOptions(near));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { ca, cert, key } = far.pem;
  const { port } = server.address() as AddressInfo;
  const client = tlsConnect({ host: '127.0.0.1', port, ca, cert, key, checkServerIdentity: () => undefined });
  const [secured] = (await once(server, 'secureConnection')) as [TLSSocket];
  client.write(ALL);
  await until('something waits', () => secured.readableLength > 0);
  const stream = securedStream(secured, { buffers, turns, validity: 'call' });
  assert.equal(stream.usesOwnMemory, false);
  const ear = new Ear();
  stream.start({ received: (bytes) => ear.receive(bytes), ended: () => undefined, closed: (reason) => ear.closed(reason) });
  await until('everything is here', () => ear.byteCount === ALL.length);
  assert.ok(ear.bytes.equals(ALL));
  stream.destroy('the test is over');
  client.destroy();
  server.close();
  await until('the memory is given back', () => buffers.counters().taken === 0);
});
