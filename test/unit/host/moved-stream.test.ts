// Connections that go on elsewhere in this process: as they are, or carried. Both ends are in one thread here; what is real is the sockets.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { NbdClient } from '../../../demo/nbd-client.ts';
import { until as waitFor } from '../../../demo/waiting.ts';
import type { HandshakeState, NbdCatalog } from '../../../src/core/nbd/handshake.ts';
import { NbdSession } from '../../../src/core/nbd/session.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { giveStream } from '../../../src/host/moved-stream.ts';
import { type MovedHost, type NbdListener, openNbdListener } from '../../../src/host/nbd-listener.ts';
import { acceptStream, adoptStream, StreamSocket } from '../../../src/host/stream-socket.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';
import { catalogOf, clientFlags, DB, infoData, option, OPT } from '../nbd/client.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-moved-'));
after(() => rmSync(folder, { recursive: true }));
const until = (what: string, look: () => boolean): Promise<unknown> => waitFor(what, 10_000, look);
const descriptors = (): number => readdirSync('/proc/self/fd').length;

interface Place {
  readonly listener: NbdListener;
  readonly memory: Buffer;
}

/** A listener whose sessions move by its catalog; `others` are where they can go. */
async function openPlace(path: string | null, catalog: NbdCatalog, others: Record<string, () => NbdListener>): Promise<Place> {
  const turns = new TurnScheduler(machineClock());
  const buffers = new BufferPool(1 << 24);
  const memory = randomBytes(DB.sizeBytes);
  const listener = await openNbdListener({
    listen: path === null ? [] : [{ path }, { host: '127.0.0.1', port: 0 }],
    turns,
    buffers,
    journal: () => undefined,
    newSession: (tls, state?: HandshakeState) =>
      new NbdSession({
        catalog,
        tls,
        ...(state !== undefined && { state }),
        payloads: buffers,
        handler: {
          request: (each) => {
            if (each.command === 'read') return each.session.reply(each, 0, memory.subarray(each.offset, each.offset + each.length));
            if (each.payload !== null) memory.set(each.payload, each.offset);
            each.session.reply(each, 0);
          },
        },
      }),
    move: (to: string, host: MovedHost, gone: () => void) => others[to]?.().adopt(structuredClone(host), gone),
  });
  return { listener, memory };
}

test('a host is handed over by a local socket and by TCP, and both sides know when it is gone', async () => {
  const keeper: Place = await openPlace(null, { ...catalogOf([DB]), list: () => ({ moveTo: 'main' }) }, { main: () => main.listener });
  const main: Place = await openPlace(
    join(folder, 'a'),
    { list: () => [DB], find: () => ({ moveTo: 'keeper' }) },
    { keeper: () => keeper.listener },
  );
  const before = descriptors();
  for (const at of main.listener.addresses) {
    const address = 'path' in at ? { kind: 'unix' as const, path: at.path, text: at.path } : { kind: 'tcp' as const, ...at, text: 'tcp' };
    const client = await NbdClient.connect({ address, exportName: DB.name });
    assert.equal(keeper.listener.connectionCount(), 1);
    const bytes = randomBytes(300_000);
    await client.write(4096, bytes);
    assert.ok((await client.read(4096, bytes.length)).equals(bytes));
    assert.ok(keeper.memory.subarray(4096, 4096 + bytes.length).equals(bytes));
    assert.equal(main.listener.connectionCount(), 1, 'counted as long as it lasts');
    await client.close();
    await until('nobody has it any more', () => main.listener.connectionCount() + keeper.listener.connectionCount() === 0);
  }
  await until('no descriptor is left', () => descriptors() <= before);

  // To and fro within one handshake.
  const socket = connect(join(folder, 'a'));
  let heard = Buffer.alloc(0);
  socket.on('data', (part: Buffer) => (heard = Buffer.concat([heard, part])));
  socket.write(Buffer.concat([clientFlags(), option(OPT.INFO, infoData(DB.name)), option(OPT.LIST), option(OPT.INFO, infoData(DB.name))]));
  const count = (): number => heard.toString('latin1').split(Buffer.from('0003e889045565a9', 'hex').toString('latin1')).length - 1;
  await until('all is answered', () => count() >= 3 && heard.includes(DB.name));
  keeper.listener.dropAll('the test cuts it');
  await once(socket, 'close');
  await until('nobody has it any more', () => main.listener.connectionCount() + keeper.listener.connectionCount() === 0);
  await until('no descriptor is left', () => descriptors() <= before);

  const late = await NbdClient.connect({ address: { kind: 'unix', path: join(folder, 'a'), text: 'a' }, exportName: DB.name });
  await Promise.all([main.listener.close({ graceMillis: 5_000 }), keeper.listener.close({ graceMillis: 5_000 })]);
  await assert.rejects(late.read(0, 4096));
});

/** Two ends of a connection: what a client has, and what a server has accepted. */
async function pair(): Promise<{ client: Socket; accepted: Socket }> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as { port: number }).port, '127.0.0.1');
  const [accepted] = (await once(server, 'connection')) as [Socket];
  server.close();
  return { client, accepted };
}

for (const carried of [false, true]) {
  test(`bytes go both ways, however many, through a stream that is ${carried ? 'carried' : 'given away'}`, async () => {
    const { client, accepted } = await pair();
    const before = descriptors();
    const turns = new TurnScheduler(machineClock());
    const receive = { buffers: new BufferPool(1 << 24), turns, validity: 'call' as const };
    const stream = carried ? new StreamSocket(accepted, null) : acceptStream(accepted, receive);
    let carrier: ReturnType<typeof giveStream> = null;
    let endedBy = '';
    stream.start({
      received: (bytes) => carrier?.carrier?.received(bytes),
      ended: () => carrier?.carrier?.ended(),
      closed: (reason) => (endedBy = reason),
    });
    carrier = giveStream(stream, (reason) => stream.end(reason, 1000));
    assert.ok(carrier !== null);
    assert.equal(carrier.carrier !== null, carried);
    assert.match(carrier.name, /^127\.0\.0\.1:[0-9]+$/);
    const there = adoptStream(carrier.fd, carrier.name, receive);
    assert.equal(there.remote, carrier.name);
    // Everything goes back as it came.
    const held: Buffer[] = [];
    there.start({
      received: (bytes) => {
        there.write([Buffer.from(bytes)]);
        if (there.backlogBytes > 1 << 20) {
          there.pause();
          there.whenDrained(() => there.resume());
        }
      },
      ended: () => there.end('the other side has ended it', 1000),
      closed: () => carrier?.carrier === null && stream.wentAway('it has ended'),
    });
    const sent = randomBytes(24 << 20);
    client.on('data', (part: Buffer) => held.push(part)).pause();
    client.end(sent);
    // What cannot leave stays as it is.
    await until('much waits for a client that takes nothing', () => (carried ? stream : there).backlogBytes > 1 << 19);
    client.resume();
    await once(client, 'close');
    assert.ok(Buffer.concat(held).equals(sent));
    await until('the first owner knows', () => endedBy !== '');
    await until('no descriptor is left', () => descriptors() <= before);
  });
}

test('a connection that was reset on its way is adopted, and is gone', async () => {
  const { client, accepted } = await pair();
  const before = descriptors();
  const receive = { buffers: new BufferPool(1 << 24), turns: new TurnScheduler(machineClock()), validity: 'call' as const };
  const stream = acceptStream(accepted, receive);
  stream.start({ received: () => undefined, ended: () => undefined, closed: () => undefined });
  const given = giveStream(stream, () => undefined);
  assert.ok(given !== null);
  client.resetAndDestroy();
  await once(client, 'close');
  const ends: string[] = [];
  const there = adoptStream(given.fd, given.name, receive);
  there.start({ received: () => undefined, ended: () => ends.push('ended'), closed: (reason) => ends.push(reason) });
  there.write([Buffer.from('hello')]);
  await until('it is gone', () => ends.length > 0);
  assert.match(ends[0] ?? '', /^(ECONNRESET|EPIPE)$/);
  await until('no descriptor is left', () => descriptors() <= before);
});
