// The listener for hosts with TLS, on real sockets: who gets in, what a large transfer looks like, and that a handshake which does not end, or is
// none, holds nothing.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test, type TestContext } from 'node:test';

import type { Described } from '../../../src/core/nbd/asking.ts';
import { NbdSession } from '../../../src/core/nbd/session.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { type HostTls, type NbdListener, openNbdListener } from '../../../src/host/nbd-listener.ts';
import { type NotGiven, Outgoing, type Way } from '../../../src/host/nbd-outgoing.ts';
import { TlsMaterial } from '../../../src/host/tls-material.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';
import { holder, TestAuthority } from '../../support/certificates.ts';
import { until as waitFor } from '../../../demo/waiting.ts';
import { catalogOf, clientFlags, CMD, DB, option, OPT, request } from '../nbd/client.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-nbd-tls-'));
after(() => rmSync(folder, { recursive: true }));
const ours = new TestAuthority(join(folder, 'ours'));
const near = new TlsMaterial(ours.issue('near', holder.site('near')), null);
const client = new TlsMaterial(ours.issue('db1', holder.client('db1')), null);
const turns = new TurnScheduler(machineClock());
const buffers = new BufferPool(1 << 26);
const memory = randomBytes(DB.sizeBytes);

const until = (what: string, look: () => boolean): Promise<unknown> => waitFor(what, 20_000, look);

interface Site {
  readonly listener: NbdListener;
  readonly told: string[];
  readonly holders: (string | null)[];
  way(tls: Way['tls']): Way;
}

async function openSite(t: TestContext, tls: Partial<HostTls> = {}, handshakeMillis = 20_000): Promise<Site> {
  const told: string[] = [];
  const holders: (string | null)[] = [];
  const listener = await openNbdListener({
    listen: [{ host: '127.0.0.1', port: 0 }],
    turns,
    buffers,
    journal: (event, facts) => told.push(`${event} ${String(facts['reason'])}`),
    limitsOverride: { nbdHandshakeMillis: handshakeMillis },
    tls: { mode: 'required', clients: 'needed', material: near, ...tls },
    newSession: (mode) =>
      new NbdSession({
        catalog: {
          ...catalogOf([DB]),
          find: (name, who) => {
            holders.push(who?.text ?? null);
            return catalogOf([DB]).find(name, who);
          },
        },
        handler: { request: (each) => each.session.reply(each, 0, memory.subarray(each.offset, each.offset + each.length)) },
        tls: mode,
      }),
  });
  t.after(() => listener.close({ graceMillis: 0 }));
  const [address] = listener.addresses;
  assert.ok(address !== undefined);
  return { listener, told, holders, way: (wanted) => ({ address, tls: wanted }) };
}

function ask(way: Way): Promise<{ answer: Described | NotGiven; outgoing: Outgoing; received: Buffer[] }> {
  const outgoing = new Outgoing({ way, buffers, turns, timeoutMillis: 20_000, structured: false });
  const received: Buffer[] = [];
  return new Promise((resolve) => {
    outgoing.ask({ name: DB.name, go: true, contexts: [], infos: [] }, (answer) => {
      if (answer.kind === 'described')
        outgoing.hand({ received: (bytes) => received.push(Buffer.from(bytes)), ended: () => undefined, closed: () => undefined });
      resolve({ answer, outgoing, received });
    });
  });
}

const expectNear = { kind: 'site', name: 'near' } as const;

test('a client with a certificate gets in, its holder is known, and long answers come whole', async (t) => {
  const site = await openSite(t);
  const { answer, outgoing, received } = await ask(site.way({ material: client, expected: expectNear }));
  assert.equal(answer.kind, 'described');
  assert.deepEqual(site.holders, ['client db1']);
  for (let count = 0; count < 8; count++) outgoing.stream.write([request({ type: CMD.READ, offset: 0, length: DB.sizeBytes })]);
  const all = 8 * (16 + DB.sizeBytes);
  await until('all answers are here', () => received.reduce((sum, part) => sum + part.length, 0) === all);
  const bytes = Buffer.concat(received);
  for (let count = 0; count < 8; count++) {
    const at = count * (16 + DB.sizeBytes) + 16;
    assert.ok(bytes.subarray(at, at + DB.sizeBytes).equals(memory));
  }
  outgoing.stream.write([request({ type: CMD.DISC })]);
  await until('the connection is gone', () => site.listener.connectionCount() === 0);
});

test('plain text, no certificate, one of another authority, and that of the witness are turned away; and so is another site by the client', async (t) => {
  const site = await openSite(t);
  const reason = async (way: Way): Promise<string> => {
    const { answer, outgoing } = await ask(way);
    outgoing.destroy('asked');
    return answer.kind === 'described' ? 'described' : answer.reason;
  };
  assert.match(await reason(site.way(null)), /with TLS only/);
  const foreign = new TestAuthority(join(folder, 'foreign'));
  const both = foreign.issue('both', holder.client('db1'));
  const stranger = new TlsMaterial({ ...both, ca: both.ca }, null);
  assert.match(await reason(site.way({ material: stranger, expected: expectNear })), /of another authority/);
  const witness = new TlsMaterial(ours.issue('witness', holder.witness), null);
  assert.notEqual(await reason(site.way({ material: witness, expected: expectNear })), 'described');
  await until('it is told', () => site.told.some((line) => line.startsWith('stream.refused')));
  assert.match(await reason(site.way({ material: client, expected: { kind: 'site', name: 'far' } })), /that of site near, not of site far/);
  await until('nobody is left', () => site.listener.connectionCount() === 0);
});

test('where certificates are not asked for, anybody gets in by TLS', async (t) => {
  const site = await openSite(t, { clients: 'not-asked' });
  const { answer, outgoing } = await ask(site.way({ material: client, expected: expectNear }));
  assert.equal(answer.kind, 'described');
  assert.deepEqual(site.holders, [null]);
  outgoing.destroy('done');
});

test('a handshake of TLS that does not begin is cut in time, one that is none at once, and a server that stops waits for neither', async (t) => {
  const start = Buffer.concat([clientFlags(), option(OPT.STARTTLS)]);
  const begin = (site: Site, then: Uint8Array | null): Promise<void> =>
    new Promise((closed) => {
      const { address } = site.way(null);
      const socket = connect(address as { host: string; port: number });
      let bytes = 0;
      socket.on('data', (part: Buffer) => {
        if (bytes === 0) socket.write(start);
        bytes += part.length;
        if (bytes === 38 && then !== null) socket.write(then);
      });
      socket.on('error', () => undefined);
      socket.on('close', () => closed());
    });
  const quick = await openSite(t, {}, 500);
  await begin(quick, null);
  const patient = await openSite(t);
  await begin(patient, Buffer.from('this is no TLS at all, and will never be any'));
  const waiting = begin(patient, null);
  await until('the client is there', () => patient.listener.connectionCount() === 1);
  await patient.listener.close({ graceMillis: 100 });
  await waiting;
  assert.equal(patient.listener.connectionCount(), 0);
});
