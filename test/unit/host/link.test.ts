// Connections between sites, and the servers below them, over real sockets.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { TercetError } from '../../../src/core/base/errors.ts';
import type { Journal } from '../../../src/core/base/ports.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { addressText, type StreamAddress } from '../../../src/host/stream-address.ts';
import { openStreamServer, type StreamServer } from '../../../src/host/stream-server.ts';
import { StreamSocket } from '../../../src/host/stream-socket.ts';
import { dial, openLinkServer, type SocketLink } from '../../../src/host/tcp-link.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-link-'));
after(() => rmSync(folder, { recursive: true }));
let sockets = 0;
const newPath = (): string => join(folder, `socket-${sockets++}`);
const TCP: StreamAddress = { host: '127.0.0.1', port: 0 };
const quiet: Journal = () => {};

interface World {
  readonly turns: TurnScheduler;
  readonly buffers: BufferPool;
}

function newWorld(): World {
  return { turns: new TurnScheduler(machineClock()), buffers: new BufferPool(1 << 24) };
}

function dialled(address: StreamAddress, world: World, timeoutMillis = 5000): Promise<SocketLink> {
  return new Promise((resolve, reject) => {
    dial(address, { ...world, timeoutMillis }, (outcome) =>
      outcome.kind === 'link' ? resolve(outcome.link) : reject(new Error(outcome.reason)),
    );
  });
}

/** Remembers what one end of a connection was told. */
class Ear {
  bytes = Buffer.alloc(0);
  calls = 0;
  reasons: string[] = [];
  #check = (): void => {};
  receive(bytes: Uint8Array): void {
    this.calls++;
    this.bytes = Buffer.concat([this.bytes, bytes]);
    this.#check();
  }
  closed(reason: string): void {
    this.reasons.push(reason);
    this.#check();
  }
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#check = (): void => {
        if (condition()) resolve();
      };
      this.#check();
    });
  }
}

interface Pair {
  readonly world: World;
  readonly server: StreamServer;
  readonly here: SocketLink;
  readonly there: SocketLink;
  readonly hereEar: Ear;
  readonly thereEar: Ear;
}

async function pair(address: StreamAddress): Promise<Pair> {
  const world = newWorld();
  const [hereEar, thereEar] = [new Ear(), new Ear()];
  let accepted: (link: SocketLink) => void = () => {};
  const accepting = new Promise<SocketLink>((resolve) => {
    accepted = resolve;
  });
  const server = await openLinkServer({
    ...world,
    listen: [address],
    connectionsMax: 4,
    journal: quiet,
    accept: (link) => {
      link.attach(thereEar);
      accepted(link);
    },
  });
  const [listening] = server.addresses;
  assert.ok(listening !== undefined);
  const here = await dialled(listening, world);
  here.attach(hereEar);
  return { world, server, here, there: await accepting, hereEar, thereEar };
}

async function end({ server, here, there }: Pair): Promise<void> {
  here.close();
  there.close();
  await server.stop();
}

const loop = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(() => setImmediate(resolve));
  });

for (const kind of ['TCP', 'a local socket'] as const) {
  describe(`a link over ${kind}`, () => {
    const address = (): StreamAddress => (kind === 'TCP' ? TCP : { path: newPath() });

    test('carries bytes both ways, in order, at once', async () => {
      const links = await pair(address());
      const parts = Array.from({ length: 400 }, (_, index) => Buffer.alloc((index * 7919) % 40_000, index));
      const expected = Buffer.concat(parts);
      let sent = 0;
      for (let index = 0; index < parts.length; index += 4) {
        links.here.send(parts.slice(index, index + 4), () => sent++);
        links.there.send(parts.slice(index, index + 4));
        if (index % 64 === 0) await loop();
      }
      const whole = (ear: Ear) => (): boolean => ear.bytes.length === expected.length;
      await Promise.all([links.hereEar.until(whole(links.hereEar)), links.thereEar.until(whole(links.thereEar))]);
      assert.equal(crc32(links.hereEar.bytes), crc32(expected));
      assert.equal(crc32(links.thereEar.bytes), crc32(expected));
      await loop();
      assert.equal(sent, 100);
      assert.equal(links.here.backlogBytes, 0);
      await end(links);
    });

    test('tells the other side of its end, once, and hears nothing more itself', async () => {
      const links = await pair(address());
      links.here.send([Buffer.from('last words')]);
      links.here.close();
      links.there.send([Buffer.from('unheard')]);
      await links.thereEar.until(() => links.thereEar.reasons.length > 0);
      assert.equal(links.thereEar.bytes.toString(), 'last words');
      let isSent = false;
      links.here.send([Buffer.from('too late')], () => (isSent = true));
      assert.ok(isSent, 'the bytes of a closed link are free at once');
      await links.server.stop();
      while (links.world.buffers.counters().taken > 0) await loop();
      assert.deepEqual(links.thereEar.reasons, ['closed by the other side']);
      assert.deepEqual(links.hereEar.reasons, []);
      assert.equal(links.hereEar.calls, 0);
      assert.equal(links.server.connectionCount(), 0);
    });
  });
}

describe('a link', () => {
  test('sends what one turn has produced with one call', async () => {
    const links = await pair({ path: newPath() });
    links.world.turns.touch(() => {
      for (let index = 0; index < 50; index++) links.here.send([Buffer.alloc(10, 1), Buffer.alloc(20, 2)]);
      assert.equal(links.here.backlogBytes, 1500);
    });
    await links.thereEar.until(() => links.thereEar.bytes.length === 1500);
    assert.equal(links.thereEar.calls, 1);
    await end(links);
  });

  test('gives the bytes free when it ends before they were sent, and says why it ended', async () => {
    const path = newPath();
    const deaf = createServer().listen({ path });
    await once(deaf, 'listening');
    const [[socket], link] = (await Promise.all([once(deaf, 'connection'), dialled({ path }, newWorld())])) as [[Socket], SocketLink];
    const ear = new Ear();
    link.attach(ear);
    let sent = 0;
    for (let index = 0; index < 8; index++) link.send([Buffer.alloc(1 << 20)], () => sent++);
    await loop();
    assert.ok(link.backlogBytes > 7 << 20, `${link.backlogBytes} bytes wait`);
    assert.ok(sent < 8);
    socket.destroy();
    await ear.until(() => ear.reasons.length > 0);
    await loop();
    assert.equal(sent, 8);
    assert.match(String(ear.reasons), /EPIPE|ECONNRESET/);
    deaf.close();
  });

  test('closes itself when it was silent for too long', async () => {
    const links = await pair(TCP);
    links.there.closeWhenSilent(20);
    await Promise.all([
      links.thereEar.until(() => links.thereEar.reasons.length > 0),
      links.hereEar.until(() => links.hereEar.reasons.length > 0),
    ]);
    assert.deepEqual(links.thereEar.reasons, ['silent for 20 ms']);
    await links.server.stop();
  });

  test('is received into memory of our own on both ends with this version of Node', async () => {
    const world = newWorld();
    let seen: boolean | null = null;
    const server = await openStreamServer({
      listen: [TCP],
      what: 'a test',
      connectionsMax: 1,
      keepAliveMillis: 1000,
      receive: { ...world, validity: 'call' },
      journal: quiet,
      accept: (stream) => {
        seen = stream.usesOwnMemory;
        return { received: () => {}, ended: () => stream.destroy('ended'), closed: () => {} };
      },
    });
    const socket = connect(server.addresses[0] as { host: string; port: number });
    socket.end();
    socket.resume();
    await once(socket, 'close');
    assert.equal(seen, true);
    await server.stop();
  });

  test('behaves alike over a socket that receives in the usual way', async () => {
    const path = newPath();
    const plain = createServer({ allowHalfOpen: true }).listen({ path });
    await once(plain, 'listening');
    const [[socket], link] = (await Promise.all([once(plain, 'connection'), dialled({ path }, newWorld())])) as [[Socket], SocketLink];
    const ear = new Ear();
    const stream = new StreamSocket(socket, null);
    assert.equal(stream.usesOwnMemory, false);
    let isEnded = false;
    stream.start({ received: (bytes) => ear.receive(bytes), ended: () => (isEnded = true), closed: (reason) => ear.closed(reason) });
    stream.pause();
    const bytes = Buffer.alloc(3 << 20, 7);
    link.send([bytes]);
    await loop();
    assert.equal(ear.calls, 0);
    stream.resume();
    await ear.until(() => ear.bytes.length === bytes.length);
    assert.deepEqual(ear.bytes, bytes);
    link.close();
    while (!isEnded) await loop();
    stream.end('done', 1000);
    await ear.until(() => ear.reasons.length > 0);
    assert.deepEqual(ear.reasons, ['done']);
    plain.close();
  });
});

describe('dialling', () => {
  test('says why nobody answers', async () => {
    await assert.rejects(dialled({ path: newPath() }, newWorld()), /^Error: ENOENT$/);
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as { port: number };
    closed.close();
    await once(closed, 'close');
    const world = newWorld();
    await assert.rejects(dialled({ host: '127.0.0.1', port }, world), /^Error: ECONNREFUSED$/);
    await loop();
    assert.equal(world.buffers.counters().taken, 0);
  });

  test('is given up after its time against a machine that does not answer', async () => {
    // A stopped process whose queue of connections is full: the system drops what comes then, as a dead machine would.
    const program = `
      const server = require('net').createServer();
      server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    child.kill('SIGSTOP');
    const links: SocketLink[] = [];
    try {
      await assert.rejects(async () => {
        for (let index = 0; index < 10; index++)
          links.push(await dialled({ host: '127.0.0.1', port: Number(line.toString()) }, newWorld(), 150));
      }, /^Error: no answer for 150 ms$/);
    } finally {
      for (const link of links) link.close();
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  test('that was called off says nothing', async () => {
    const world = newWorld();
    const cancel = dial({ path: newPath() }, { ...world, timeoutMillis: 1000 }, () => assert.fail('told of an attempt that was given up'));
    cancel();
    await loop();
    await loop();
    assert.equal(world.buffers.counters().taken, 0);
  });
});

describe('a server', () => {
  const open = (listen: StreamAddress[], journal: Journal = quiet, connectionsMax = 2): Promise<StreamServer> =>
    openLinkServer({
      ...newWorld(),
      listen,
      connectionsMax,
      journal,
      accept: (link) => link.attach({ receive: () => {}, closed: () => {} }),
    });

  const refusesIn = async (attempt: Promise<StreamServer>, text: RegExp): Promise<void> => {
    await assert.rejects(
      attempt,
      (error) => error instanceof TercetError && error.code === 'TERCET_PORT_IN_USE' && text.test(error.message),
    );
  };

  test('listens on all of its addresses or on none', async () => {
    const first = await open([TCP, { path: newPath() }]);
    const [taken] = first.addresses as [{ host: string; port: number }];
    const path = newPath();
    await refusesIn(open([{ path }, taken]), new RegExp(`127.0.0.1:${taken.port} for peers \\(EADDRINUSE\\)`));
    await assert.rejects(dialled({ path }, newWorld()), /ENOENT|ECONNREFUSED/);
    await first.stop();
    await (await open([{ path }, taken])).stop();
  });

  test('replaces the file of a local socket that nobody answers on, and no other', async () => {
    const path = newPath();
    const server = createServer().listen({ path });
    await once(server, 'listening');
    await refusesIn(open([{ path }]), /unix:.*EADDRINUSE/);
    const leftOver = newPath();
    linkSync(path, leftOver);
    await closed(server);
    const next = await open([{ path: leftOver }]);
    (await dialled({ path: leftOver }, newWorld())).close();
    await next.stop();
  });

  test('refuses connections above its limit, says so once, and accepts again when one has gone', async () => {
    const told: string[] = [];
    const server = await open([{ path: newPath() }], (event) => told.push(event));
    const [address] = server.addresses as [StreamAddress];
    const world = newWorld();
    const links = [await dialled(address, world), await dialled(address, world)];
    for (let index = 0; index < 2; index++) {
      const refused = new Ear();
      (await dialled(address, world)).attach(refused);
      await refused.until(() => refused.reasons.length > 0);
    }
    assert.equal(server.connectionCount(), 2);
    assert.deepEqual(told, ['stream.full']);
    links[0]?.close();
    while (server.connectionCount() === 2) await loop();
    links.push(await dialled(address, world));
    while (server.connectionCount() < 2) await loop();
    for (const link of links) link.close();
    await server.stop();
  });

  test('names its addresses as people write them', () => {
    assert.equal(addressText({ host: '::1', port: 10809 }), '[::1]:10809');
    assert.equal(addressText({ host: 'near.example', port: 1 }), 'near.example:1');
    assert.equal(addressText({ path: '/run/x' }), 'unix:/run/x');
  });
});

async function closed(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}
