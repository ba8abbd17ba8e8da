// A connection that is passed on to another site: real sockets, real sessions at both, and a small client.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { NbdClient, NbdConnectionError } from '../../../demo/nbd-client.ts';
import type { NbdCatalog, NbdElsewhere } from '../../../src/core/nbd/handshake.ts';
import { type NbdRequest, NbdSession } from '../../../src/core/nbd/session.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { type NbdListener, openNbdListener } from '../../../src/host/nbd-listener.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';
import { until as waitFor } from '../../../demo/waiting.ts';
import { catalogOf, clientFlags, CMD, DB, option, OPT, request } from '../nbd/client.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-relay-'));
after(() => rmSync(folder, { recursive: true }));

interface Site {
  readonly path: string;
  readonly listener: NbdListener;
  readonly sessions: NbdSession[];
}

async function openSite(name: string, catalog: NbdCatalog, answer: (request: NbdRequest) => void, other?: string): Promise<Site> {
  const turns = new TurnScheduler(machineClock());
  const buffers = new BufferPool(1 << 26);
  const path = join(folder, name);
  const sessions: NbdSession[] = [];
  const listener = await openNbdListener({
    listen: [{ path }],
    turns,
    buffers,
    journal: () => undefined,
    newSession: () => {
      const session = new NbdSession({ catalog, handler: { request: answer }, payloads: buffers });
      sessions.push(session);
      return session;
    },
    waysTo: () => (other === undefined ? [] : [{ address: { path: other }, tls: null }]),
  });
  return { path, listener, sessions };
}

const until = (look: () => boolean): Promise<unknown> => waitFor('the connection has got there', 10_000, look);

const passing: NbdElsewhere = { elsewhere: 'near', export: DB, name: `${DB.name}@direct` };
const passingOn: NbdCatalog = { list: () => [DB], find: () => passing };
const address = (path: string): { kind: 'unix'; path: string; text: string } => ({ kind: 'unix', path, text: `unix:${path}` });

/** The site that serves: its export is asked for by the name that is passed on, and its bytes are a memory. */
async function servingSite(name: string): Promise<Site & { memory: Buffer }> {
  const memory = Buffer.alloc(DB.sizeBytes);
  const site = await openSite(name, catalogOf([{ ...DB, name: passing.name }]), (each) => {
    const range = memory.subarray(each.offset, each.offset + each.length);
    if (each.command === 'write') range.set(each.payload as Uint8Array);
    each.session.reply(each, 0, each.command === 'read' ? Buffer.from(range) : null);
  });
  return { ...site, memory };
}

test('bytes go both ways, large ones too, and the end of either side is the end of the other', async () => {
  const near = await servingSite('near-1');
  const far = await openSite('far-1', passingOn, () => assert.fail('nothing is carried out here'), near.path);
  const client = await NbdClient.connect({ address: address(far.path), exportName: 'db' });
  assert.equal(client.sizeBytes, DB.sizeBytes);
  const bytes = Buffer.alloc(700_000, 'bytes that go round');
  await Promise.all([client.write(1000, bytes), client.write(900_000, Buffer.from('small'))]);
  await client.flush();
  assert.ok(bytes.equals(near.memory.subarray(1000, 701_000)));
  const reads = await Promise.all(Array.from({ length: 20 }, () => client.read(1000, 700_000)));
  assert.ok(reads.every((each) => each.equals(bytes)));
  await client.close();
  await until(() => near.sessions[0]?.gone === true);
  assert.equal(near.sessions[0]?.closeReason, 'the client disconnected', 'the orderly end was passed on');

  const second = await NbdClient.connect({ address: address(far.path), exportName: 'db' });
  near.listener.dropAll('the site does not serve any more');
  await assert.rejects(second.read(0, 4096), NbdConnectionError);

  const third = connect(far.path);
  third.write(Buffer.concat([clientFlags(), option(OPT.NAME, Buffer.from('db'))]));
  await once(third, 'data');
  await until(() => near.sessions[2]?.state === 'transmission');
  third.destroy();
  await until(() => near.sessions[2]?.gone === true);
  await Promise.all([far.listener.close({ graceMillis: 10 }), near.listener.close({ graceMillis: 10 })]);
});

test('requests that were sent with the handshake are passed on with it, and EXPORT_NAME works as well as GO', async () => {
  const near = await servingSite('near-2');
  near.memory.write('here', 4096);
  const far = await openSite('far-2', passingOn, () => assert.fail('nothing is carried out here'), near.path);
  const socket = connect(far.path);
  socket.write(
    Buffer.concat([
      clientFlags(),
      option(OPT.NAME, Buffer.from('db')),
      request({ type: CMD.READ, offset: 4096, length: 4, cookie: 5n }),
      request({ type: CMD.DISC }),
    ]),
  );
  const parts: Buffer[] = [];
  socket.on('data', (part) => parts.push(part));
  await once(socket, 'end');
  const got = Buffer.concat(parts).subarray(18);
  assert.equal(got.readBigUInt64BE(0), BigInt(DB.sizeBytes));
  assert.equal(got.subarray(10 + 16).toString(), 'here');
  socket.destroy();
  await Promise.all([far.listener.close({ graceMillis: 10 }), near.listener.close({ graceMillis: 10 })]);
});

test('a site that cannot be reached, or that refuses, is a refusal with its reason, and the handshake goes on', async () => {
  const refusing = await openSite('near-3', catalogOf([DB], false), () => assert.fail('no request'));
  for (const [name, other, reason] of [
    ['far-3', undefined, /no address that can be reached/],
    ['far-4', join(folder, 'nobody'), /ENOENT/],
    ['far-5', refusing.path, /near serves this group/],
  ] as const) {
    const far = await openSite(name, passingOn, () => assert.fail('nothing is carried out here'), other);
    await assert.rejects(NbdClient.connect({ address: address(far.path), exportName: 'db' }), reason);
    await far.listener.close({ graceMillis: 10 });
  }
  await refusing.listener.close({ graceMillis: 10 });
});
