// Certificates as `tercet check` looks at them: the own files, and handshakes on real sockets with a side that answers, and with one that runs.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer as createPlain } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, after, test } from 'node:test';
import { createServer } from 'node:tls';

import { type Address, readAddress } from '../../../src/api/address.ts';
import { TlsMaterial } from '../../../src/host/tls-material.ts';
import { tlsServerOptions } from '../../../src/host/tls-stream.ts';
import { answerChecks } from '../../../src/preflight/answer.ts';
import { ownCertificate, shakenFinding, shakeWithAnswer, shakeWithDaemon } from '../../../src/preflight/certificates.ts';
import { holder, TestAuthority } from '../../support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-check-tls-'));
after(() => rmSync(folder, { recursive: true }));
const ours = new TestAuthority(join(folder, 'ours'));
const theirs = new TestAuthority(join(folder, 'theirs'));
const near = new TlsMaterial(ours.issue('near', holder.site('near')), null);
const far = new TlsMaterial(ours.issue('far', holder.site('far')), null);
const stranger = new TlsMaterial(theirs.issue('near', holder.site('near')), null);
const NEAR = { kind: 'site', name: 'near' } as const;
const DAY_MILLIS = 24 * 3_600_000;

function addressOf(port: number): Address {
  const reading = readAddress(`127.0.0.1:${port}`);
  assert('address' in reading);
  return reading.address;
}

async function answering(context: TestContext, tls: TlsMaterial | null): Promise<Address> {
  const port = createPlain().listen(0, '127.0.0.1');
  await once(port, 'listening');
  const address = addressOf((port.address() as AddressInfo).port);
  port.close();
  await once(port, 'close');
  const server = await answerChecks(address, { sites: new Map(), tls });
  context.after(() => server.close());
  return address;
}

/** A server that takes what `material` trusts, and says nothing: as a daemon does before it hears a hello. */
async function silentDaemon(context: TestContext, material: TlsMaterial): Promise<Address> {
  const server = createServer(tlsServerOptions(material), (socket) => socket.on('error', () => undefined));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  return addressOf((server.address() as AddressInfo).port);
}

test('the own certificate: its holder, its groups, its end, and all that is wrong with the files', () => {
  const files = ours.issue('alpha', holder.site('alpha', ['db']));
  const self = { kind: 'site', name: 'alpha' } as const;
  const levels = (groups: string[], now: number): string[] => ownCertificate(files, self, groups, now).findings.map(({ level }) => level);
  assert.deepEqual(levels(['db'], Date.now()), ['good']);
  assert.deepEqual(levels(['db', 'web'], Date.now()), ['bad']);
  assert.match(ownCertificate(files, self, ['db', 'web'], Date.now()).findings[0]?.text ?? '', /it is not for web/);
  const end = Date.parse(new TlsMaterial(files, null).status(Date.now()).expiresAt);
  assert.deepEqual(levels(['db'], end - 10 * DAY_MILLIS), ['doubtful']);
  assert.deepEqual(levels(['db'], end + DAY_MILLIS), ['bad']);
  const wrong = ownCertificate(files, NEAR, [], Date.now());
  assert.equal(wrong.material, null);
  assert.match(wrong.findings[0]?.text ?? '', /is the certificate of site alpha \(for db only\), not of site near/);
  const missing = ownCertificate({ ...files, key: join(folder, 'nothing.key') }, self, [], Date.now());
  assert.match(missing.findings[0]?.text ?? '', /nothing\.key cannot be read \(ENOENT\)/);
});

test('both sides that check show theirs, and each must believe the other', async (context) => {
  const sound = await shakeWithAnswer(await answering(context, near), far, NEAR);
  assert.equal(sound.kind, 'trusted');
  assert.equal(shakenFinding('near', sound, Date.now()).level, 'good');
  const other = await shakeWithAnswer(await answering(context, far), near, NEAR);
  assert.match(shakenFinding('near', other, Date.now()).text, /the certificate there is that of site far, not of site near/);
  const foreign = await shakeWithAnswer(await answering(context, stranger), far, NEAR);
  assert.match(shakenFinding('near', foreign, Date.now()).text, /its certificate is of another authority/);
  const plain = await shakeWithAnswer(await answering(context, null), far, NEAR);
  assert.deepEqual(plain, { kind: 'plain' });
  assert.match(shakenFinding('near', plain, Date.now()).text, /no \[tls\]/);
});

test('a daemon that runs is shown the certificate, and says that it does not believe it after the handshake is over', async (context) => {
  const address = await silentDaemon(context, near);
  const sound = await shakeWithDaemon(address, far, NEAR);
  assert.equal(sound.kind, 'trusted');
  assert(sound.kind === 'trusted');
  assert.equal(shakenFinding('near', sound, sound.expiresAt - 10 * DAY_MILLIS).level, 'doubtful');
  // It trusts us no more than we trust it: a certificate of an authority that only this side knows.
  const both = theirs.issue('far', holder.site('far'));
  const mixed = new TlsMaterial({ ...both, ca: both.ca }, null);
  const refused = await shakeWithDaemon(
    await silentDaemon(context, new TlsMaterial(theirs.issue('near', holder.site('near')), null)),
    far,
    NEAR,
  );
  assert.match(shakenFinding('near', refused, Date.now()).text, /another authority/);
  assert.match(shakenFinding('near', await shakeWithDaemon(address, mixed, NEAR), Date.now()).text, /another authority/);
});

test('what does not speak TLS is told as such', async (context) => {
  const server = createPlain((socket) => socket.end('hello\n')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  const shaken = await shakeWithDaemon(addressOf((server.address() as AddressInfo).port), far, NEAR);
  assert.match(shakenFinding('near', shaken, Date.now()).text, /it does not speak TLS/);
});
