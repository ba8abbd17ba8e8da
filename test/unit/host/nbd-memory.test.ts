// Clients that keep memory from others by doing nothing, on real sockets: they are cut, and whoever waits for it goes on.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test, type TestContext } from 'node:test';

import { until as waitFor } from '../../../demo/waiting.ts';
import { HostMemory } from '../../../src/core/nbd/memory.ts';
import { NbdSession } from '../../../src/core/nbd/session.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { openNbdListener } from '../../../src/host/nbd-listener.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';
import { catalogOf, clientFlags, CMD, DB, infoData, option, OPT, request } from '../nbd/client.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-nbd-memory-'));
after(() => rmSync(folder, { recursive: true }));
const MIB = 1 << 20;
/** Size and flags, behind an ACK. */
const HANDSHAKE_BYTES = 18 + 20 + 12 + 20;

interface Client {
  readonly socket: Socket;
  receivedBytes: number;
  closed: boolean;
}

interface Server {
  readonly memory: HostMemory;
  readonly told: string[];
  client(...then: Uint8Array[]): Client;
}

const until = (what: string, look: () => boolean): Promise<unknown> => waitFor(what, 30_000, look);

async function serve(t: TestContext, bytesMax: number, nbdStallMillis: number): Promise<Server> {
  const turns = new TurnScheduler(machineClock());
  const buffers = new BufferPool(1 << 26);
  const memory = new HostMemory(bytesMax);
  const told: string[] = [];
  const path = join(folder, `${t.name.length}.sock`);
  const answer = new Uint8Array(DB.sizeBytes);
  const listener = await openNbdListener({
    listen: [{ path }],
    turns,
    buffers,
    memory,
    journal: (event, facts) => told.push(`${event} ${String(facts['reason'])}`),
    limitsOverride: { nbdStallMillis },
    newSession: () =>
      new NbdSession({
        catalog: catalogOf([DB]),
        handler: { request: (each) => each.session.reply(each, 0, each.command === 'read' ? answer.subarray(0, each.length) : null) },
        memory,
      }),
  });
  const sockets: Socket[] = [];
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await listener.close({ graceMillis: 0 });
  });
  return {
    memory,
    told,
    client: (...then) => {
      const socket = connect(path);
      sockets.push(socket);
      const client: Client = { socket, receivedBytes: 0, closed: false };
      socket.on('data', (bytes) => (client.receivedBytes += bytes.length));
      socket.on('error', () => undefined);
      socket.on('close', () => (client.closed = true));
      socket.write(Buffer.concat([clientFlags(), option(OPT.GO, infoData(DB.name)), ...then]));
      return client;
    },
  };
}

const large = request({ type: CMD.READ, length: MIB });

test('a client that leaves a write unfinished keeps others waiting for a while, and is cut', async (t) => {
  const server = await serve(t, MIB, 500);
  const lazy = server.client(request({ type: CMD.WRITE, length: MIB, payload: Buffer.alloc(1000) }));
  await until('the memory is used up', () => server.memory.isShort);
  const other = server.client(large);
  await until('the other has its answer', () => other.receivedBytes === HANDSHAKE_BYTES + 16 + MIB);
  assert.equal(lazy.closed, true);
  assert.ok(server.told.some((line) => line.startsWith('nbd.memory-full')));
  assert.ok(server.told.some((line) => /nbd\.gone memory was short, and it neither sent nor took anything for 500 ms/.test(line)));
  other.socket.destroy();
  await until('nothing is held', () => server.memory.heldBytes === 0);
});

test('a client that takes none of its answers is cut as well', async (t) => {
  const server = await serve(t, 2 * MIB, 500);
  const deaf = server.client();
  await until('it is served', () => deaf.receivedBytes === HANDSHAKE_BYTES);
  deaf.socket.pause();
  deaf.socket.write(Buffer.concat(Array.from({ length: 16 }, () => large)));
  await until('the memory is used up', () => server.memory.isShort);
  const other = server.client(large);
  await until('the other has its answer', () => other.receivedBytes === HANDSHAKE_BYTES + 16 + MIB);
  assert.ok(server.told.some((line) => /nbd\.gone memory was short/.test(line)));
  other.socket.destroy();
  await until('nothing is held', () => server.memory.heldBytes === 0);
});

test('while there is memory, a client may take its time', async (t) => {
  const server = await serve(t, 8 * MIB, 100);
  const slow = server.client(request({ type: CMD.WRITE, length: MIB, payload: Buffer.alloc(1000) }));
  await until('its write is held', () => server.memory.heldBytes === MIB);
  const before = performance.now();
  await until('far more than the time has passed', () => performance.now() - before > 1_000);
  assert.equal(slow.closed, false);
  slow.socket.write(Buffer.alloc(MIB - 1000));
  await until('it has its answer', () => slow.receivedBytes === HANDSHAKE_BYTES + 16);
});
