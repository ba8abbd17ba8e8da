// Connections between daemons on real sockets: dialled again whenever they end, and strangers turned away.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { LinkPort } from '../../../src/core/base/ports.ts';
import { encodeJson, HELLO_VERSION, MESSAGE_HEADER, MESSAGE_TYPES } from '../../../src/core/mirror/messages.ts';
import { Dialer } from '../../../src/daemon/dialer.ts';
import { parseConfig } from '../../../src/daemon/config.ts';
import { PeerListener, type PeerListenerOptions } from '../../../src/daemon/peer-listener.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { adoptStream, type StreamSocket } from '../../../src/host/stream-socket.ts';
import { TlsMaterial } from '../../../src/host/tls-material.ts';
import { dial } from '../../../src/host/tcp-link.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';
import { holder, TestAuthority } from '../../support/certificates.ts';
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

/** A listener for peers on a port of its own. */
async function listening(more: Pick<PeerListenerOptions, 'takerOf'> & { readonly tls?: TlsMaterial } = {}): Promise<{
  readonly listener: PeerListener;
  readonly port: number;
}> {
  const port = await freePort();
  const config = parseConfig(SAMPLE.replace('127.0.0.1:7410', `127.0.0.1:${port}`), '/etc/tercet/tercet.toml');
  const [site] = config.sites;
  assert.ok(site !== undefined);
  const turns = new TurnScheduler(clock);
  const parts = { config, site, clock, turns, buffers: new BufferPool(1 << 20), journal: (): void => {}, tls: null };
  const listener = new PeerListener({ ...parts, findSite: () => null, ...more });
  await listener.open();
  return { listener, port };
}

test('a stranger that sends garbage to the port for peers is turned away, and the listener stops cleanly', async () => {
  const { listener, port } = await listening();
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

/** A link's first message. */
function hello(group: string): Uint8Array {
  const body = encodeJson({ group, groupId: null, from: 'beta', to: 'alpha', versions: { min: 1, max: 1 } });
  const head = Buffer.alloc(MESSAGE_HEADER.bytes);
  head.writeUInt16LE(HELLO_VERSION, MESSAGE_HEADER.at.version);
  head.writeUInt16LE(MESSAGE_TYPES.hello, MESSAGE_HEADER.at.type);
  head.writeUInt32LE(body.length, MESSAGE_HEADER.at.bodyBytes);
  return Buffer.concat([head, body]);
}

test('who has not said yet which group he is for is cut as the listener stops', async () => {
  const { listener, port } = await listening({ takerOf: () => null });
  const silent = connect(port, '127.0.0.1');
  await once(silent, 'connect');
  const began = performance.now();
  listener.stop();
  await listener.gone();
  await once(silent.resume(), 'close');
  assert.ok(performance.now() - began < 900, 'at once');
});

test('what is carried for another thread still brings what that one said last, and is cut when it says nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-links-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const authority = new TestAuthority(folder);
  const material = (name: string): TlsMaterial => new TlsMaterial(authority.issue(name, holder.site(name)), null);
  const turns = new TurnScheduler(clock);
  const buffers = new BufferPool(1 << 20);
  for (const hangs of [false, true]) {
    let taken: StreamSocket | null = null;
    const { listener, port } = await listening({
      tls: material('alpha'),
      takerOf: () => (link) => {
        taken = adoptStream(link.fd, link.name, { buffers, turns, validity: 'call' });
        taken.start({ received: () => {}, ended: () => {}, closed: () => {} });
      },
    });
    const notes: string[] = [];
    const ended = new Promise<void>((resolve) => {
      const tls = { material: material('beta'), site: 'alpha' };
      dial({ host: '127.0.0.1', port }, { buffers, turns, timeoutMillis: 5_000, tls }, (outcome) => {
        if (outcome.kind === 'failed') return assert.fail(outcome.reason);
        outcome.link.attach({ receive: (bytes) => notes.push(Buffer.from(bytes).toString()), closed: () => resolve() });
        outcome.link.send([hello('db')]);
      });
    });
    while (taken === null) await nextTurn();
    const stream: StreamSocket = taken;
    listener.stop();
    if (!hangs) {
      stream.write([Buffer.from('that is all')]);
      stream.end('it has ended', 1_000);
    }
    const began = performance.now();
    await listener.gone();
    assert.equal(performance.now() - began > 900, hangs, 'a thread that hangs is given a moment');
    await ended;
    assert.deepEqual(notes, hangs ? [] : ['that is all']);
    stream.destroy('the test is over');
  }
});
