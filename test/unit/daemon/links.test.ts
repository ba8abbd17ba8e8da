// Connections between daemons on real sockets: dialled again whenever they end, and strangers turned away.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { LinkPort } from '../../../src/core/base/ports.ts';
import { Dialer } from '../../../src/daemon/dialer.ts';
import { parseConfig } from '../../../src/daemon/config.ts';
import { PeerListener } from '../../../src/daemon/peer-listener.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';
import { freePort } from '../../support/free-port.ts';
import { SAMPLE } from '../config/sample.ts';

const clock = machineClock();

/** A dialer to `port` that notes what happens. */
function dialerTo(t: TestContext, port: number): { dialer: Dialer; ports: LinkPort[]; notes: string[] } {
  const ports: LinkPort[] = [];
  const notes: string[] = [];
  const dialer = new Dialer({
    address: { host: '127.0.0.1', port },
    buffers: new BufferPool(1 << 20),
    turns: new TurnScheduler(clock),
    now: () => clock.now(),
    connected: (link) => {
      ports.push(link);
      notes.push('connected');
      return {
        receive: (bytes) => notes.push(`received ${Buffer.from(bytes).toString()}`),
        closed: () => notes.push('closed'),
      };
    },
    failed: (reason) => notes.push(`failed ${reason}`),
  });
  t.after(() => dialer.stop());
  return { dialer, ports, notes };
}

test('a peer is dialled again after the connection has ended, whichever side ended it', async (t) => {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  const { dialer, ports, notes } = dialerTo(t, (server.address() as AddressInfo).port);
  const next = async (): Promise<Socket> => ((await once(server, 'connection')) as [Socket])[0];
  let arriving = next();
  dialer.start();
  const first = await arriving;
  arriving = next();
  first.end('hello');
  const second = await arriving;
  assert.deepEqual(notes, ['connected', 'received hello', 'closed']);
  arriving = next();
  const ended = once(second.resume(), 'end');
  // The dialling side sees the connection a moment after the server does.
  while (ports.length < 2) await nextTurn();
  ports[1]?.close();
  await ended;
  const third = await arriving;
  assert.deepEqual(notes.slice(0, 4), ['connected', 'received hello', 'closed', 'connected']);
  assert.ok(!notes.slice(3).includes('closed'), 'whoever closes a connection is not told of it');
  third.destroy();
});

test('a peer that cannot be reached is reported once, however often it is tried', async (t) => {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  const { dialer, notes } = dialerTo(t, port);
  dialer.start();
  while (notes.length === 0) await nextTurn();
  const back = createServer();
  await once(back.listen(port, '127.0.0.1'), 'listening');
  t.after(() => back.close());
  const [socket] = (await once(back, 'connection')) as [Socket];
  socket.destroy();
  assert.deepEqual(
    notes.filter((note) => note.startsWith('failed')),
    ['failed ECONNREFUSED'],
  );
  dialer.stop();
});

test('a stranger that sends garbage to the port for peers is turned away, and the listener stops cleanly', async () => {
  const port = await freePort();
  const config = parseConfig(SAMPLE.replace('127.0.0.1:7410', `127.0.0.1:${port}`), '/etc/tercet/tercet.toml');
  const [site] = config.sites;
  assert.ok(site !== undefined);
  const turns = new TurnScheduler(clock);
  const parts = { config, site, clock, turns, buffers: new BufferPool(1 << 20), journal: (): void => {}, tls: null };
  const listener = new PeerListener({ ...parts, findSite: () => null });
  await listener.open();
  const stranger = connect(port, '127.0.0.1');
  stranger.write('GET / HTTP/1.1\r\nhost: here\r\n\r\n'.repeat(10));
  const silent = connect(port, '127.0.0.1');
  await once(silent, 'connect');
  const told: Buffer[] = [];
  for await (const part of stranger) told.push(part as Buffer);
  assert.ok(Buffer.concat(told).length > 0, 'it is told why');
  listener.stop();
  await listener.gone();
  await once(silent.resume(), 'close');
});
