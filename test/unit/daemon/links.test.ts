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
import { encodeJson, encodeMessage } from '../../../src/core/mirror/messages.ts';
import { Dialer } from '../../../src/daemon/dialer.ts';
import { parseConfig } from '../../../src/daemon/config.ts';
import type { LinkTaker, MovedLink } from '../../../src/daemon/link-door.ts';
import { PeerListener, type PeerListenerOptions } from '../../../src/daemon/peer-listener.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { machineDigests } from '../../../src/host/digests.ts';
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
async function listening(more: Partial<Pick<PeerListenerOptions, 'takerOf' | 'findSite' | 'journal' | 'tls'>> = {}): Promise<{
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
  return encodeMessage(
    'hello',
    encodeJson({ group, groupId: null, from: 'beta', to: 'alpha', versions: { min: 1, max: 1 } }),
    machineDigests,
  );
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

const PARTS = { turns: new TurnScheduler(clock), buffers: new BufferPool(1 << 20) };

/** Certificates of an authority of the test's own. */
function authorityOf(t: TestContext): (name: string) => TlsMaterial {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-links-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const authority = new TestAuthority(folder);
  return (name) => new TlsMaterial(authority.issue(name, holder.site(name)), null);
}

/** A peer that says hello to a group, in TLS for a group; resolves to what it was told until the end, or why there was no link. */
function said(port: number, material: TlsMaterial, { group, tlsFor }: { group: string; tlsFor: string }): Promise<string> {
  let text = '';
  return new Promise((resolve) => {
    const tls = { material, site: 'alpha', group: tlsFor };
    dial({ host: '127.0.0.1', port }, { ...PARTS, timeoutMillis: 5_000, tls }, (outcome) => {
      if (outcome.kind === 'failed') return resolve(`failed: ${outcome.reason}`);
      outcome.link.attach({ receive: (bytes) => (text += Buffer.from(bytes).toString('latin1')), closed: () => resolve(text) });
      outcome.link.send([hello(group)]);
    });
  });
}

test('a peer that names a group of another thread as it begins TLS is handed over before that, and everything else is done there', async (t) => {
  const materialOf = authorityOf(t);
  const told: string[] = [];
  const findSite = (group: string): null => {
    told.push(`asked for ${group}`);
    return null;
  };
  const journal = (_event: string, _facts: unknown, text: string): void => void told.push(text);
  const material = materialOf('alpha');
  const thread = (await listening({ tls: material, findSite, journal })).listener;
  const moved: MovedLink[] = [];
  let gone = 0;
  const take: LinkTaker = (link, ended) => {
    moved.push(link);
    thread.adopt(link, () => (gone++, ended()));
  };
  const takerOf = (group: string): LinkTaker | null => (group === 'db' ? take : null);
  const mainTold: string[] = [];
  const { listener, port } = await listening({ tls: material, takerOf, journal: (_event, _facts, text) => void mainTold.push(text) });
  assert.match(await said(port, materialOf('beta'), { group: 'db', tlsFor: 'db' }), /there is no group \\"db\\" here/);
  assert.deepEqual(
    moved.map(({ identity, beginsTls }) => [identity, beginsTls]),
    [[null, true]],
  );
  assert.deepEqual(told.splice(0), ['asked for db']);

  // Who says one group in the clear and another one in TLS is told that there is no such group.
  await said(port, materialOf('beta'), { group: 'web', tlsFor: 'db' });
  assert.deepEqual(told.splice(0), ['asked for web']);
  const theirs = authorityOf(t);
  assert.match(await said(port, theirs('beta'), { group: 'db', tlsFor: 'db' }), /^failed: its certificate is of another authority/);
  const refusedAt = performance.now();
  while (told.length === 0) await nextTurn();
  assert.ok(performance.now() - refusedAt < 1_000, 'not by the time that a handshake may take');
  assert.match(told.splice(0).join(), /a connection for peers from 127.0.0.1:\d+ was refused/);
  while (gone < 3) await nextTurn();

  // Whoever names none of another thread becomes TLS here.
  assert.equal(moved.length, 3);
  await said(port, materialOf('beta'), { group: 'nobody', tlsFor: 'nobody' });
  assert.equal(moved.length, 3);

  const plain = connect(port, '127.0.0.1').on('error', () => undefined);
  plain.write('GET / HTTP/1.1\r\n\r\n');
  await new Promise<void>((resolve) => {
    plain.resume().on('close', () => resolve());
  });
  assert.match(mainTold.join(), /a connection for peers from 127.0.0.1:\d+ was refused: it does not speak TLS/);

  // One in the middle of it is cut at the end, in both.
  const silent = connect(port, '127.0.0.1').on('error', () => undefined);
  silent.write(Buffer.from([22, 3, 1, 1, 0]));
  await once(silent, 'connect');
  const closed = new Promise<void>((resolve) => {
    silent.resume().on('close', () => resolve());
  });
  await nextTurn();
  listener.stop();
  await Promise.all([listener.gone(), closed]);
  thread.stop();
  await thread.gone();
});

test('what is carried for another thread still brings what that one said last, and is cut when it says nothing', async (t) => {
  const material = authorityOf(t);
  const { turns, buffers } = PARTS;
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
      // As an older program, it names no group here before its hello does.
      const tls = { material: material('beta'), site: 'alpha', group: 'another' };
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
