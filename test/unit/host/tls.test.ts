// Mutual TLS between sites: certificates that say who somebody is, links that are made with the right ones only, and certificates that are
// changed while everything runs.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect, type ConnectionOptions } from 'node:tls';
import { after, test } from 'node:test';

import { TercetError } from '../../../src/core/base/errors.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { dial, type DialOutcome, openLinkServer, type SocketLink } from '../../../src/host/tcp-link.ts';
import type { StreamAddress } from '../../../src/host/stream-address.ts';
import type { StreamServer } from '../../../src/host/stream-server.ts';
import { identityText, identityUris, readIdentity } from '../../../src/host/tls-identity.ts';
import { describeCertificate, TlsMaterial } from '../../../src/host/tls-material.ts';
import { type Handshake, upgradeServer } from '../../../src/host/tls-stream.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';
import { holder, TestAuthority } from '../../support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-tls-'));
after(() => rmSync(folder, { recursive: true }));
const ours = new TestAuthority(join(folder, 'ours'));
const theirs = new TestAuthority(join(folder, 'theirs'));
const receive = { buffers: new BufferPool(1 << 20), turns: new TurnScheduler(machineClock()) };

function faultsOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof TercetError);
    assert.equal(error.code, 'TERCET_TLS');
    return error.message;
  }
  return assert.fail('there should be faults');
}

test('a certificate says in its own words who its holder is, and is read back as that', () => {
  for (const identity of [holder.site('near', ['db', 'web']), holder.site('near'), holder.client('app1'), holder.witness, holder.admin]) {
    const { cert } = ours.issue('who', identity, { hosts: ['near.example', '10.0.0.1', 'fe80::1'] });
    const certificate = new X509Certificate(readFileSync(cert));
    assert.deepEqual(readIdentity(certificate), identity);
    assert.match(certificate.subjectAltName ?? '', /DNS:near\.example, IP Address:10\.0\.0\.1, IP Address:FE80:0:0:0:0:0:0:1$/);
    assert.ok(describeCertificate(cert).startsWith(identityText(identity)));
  }
});

test('a certificate that names nobody, two holders, or something of Tercet that means nothing here, speaks for nobody', () => {
  const uris = (...names: string[]): string => names.map((name) => `URI:${name}`).join(', ');
  assert.equal(readIdentity({ subjectAltName: undefined }), null);
  assert.equal(readIdentity({ subjectAltName: 'DNS:near' }), null);
  assert.equal(readIdentity({ subjectAltName: uris('tercet://site/near', 'tercet://site/far') }), null);
  assert.equal(readIdentity({ subjectAltName: uris('tercet://site/near', 'tercet://only/reads') }), null);
  assert.equal(readIdentity({ subjectAltName: uris('tercet://group/db') }), null);
  assert.equal(readIdentity({ subjectAltName: uris('tercet://site/Near') }), null);
  assert.deepEqual(
    readIdentity({ subjectAltName: `DNS:x, ${uris('https://example', ...identityUris(holder.site('near')))}` }),
    holder.site('near'),
  );
});

test('all faults of the files are told at once, and nothing of the key', () => {
  const near = ours.issue('near', holder.site('near'));
  const far = ours.issue('far', holder.site('far'));
  chmodSync(far.key, 0o644);
  const text = faultsOf(() => new TlsMaterial({ ...near, ca: join(theirs.folder, 'ca.crt'), key: far.key }, { kind: 'site', name: 'far' }));
  assert.match(text, /4 fault\(s\)/);
  assert.match(text, /may be read by everybody on this machine: chmod 600/);
  assert.match(text, /is the key of another certificate/);
  assert.match(text, /was not signed by an authority in ca/);
  assert.match(text, /is the certificate of site near, not of site far/);
  const secret = readFileSync(far.key, 'utf8').split('\n')[1] as string;
  assert.equal(text.includes(secret), false);
  const spoilt = join(folder, 'spoilt.key');
  writeFileSync(spoilt, readFileSync(near.key, 'utf8').replace('-----BEGIN PRIVATE KEY-----', '-----BEGIN NONSENSE-----'), { mode: 0o600 });
  assert.match(
    faultsOf(() => new TlsMaterial({ ...near, key: spoilt }, null)),
    /holds no private key in PEM form/,
  );
  assert.match(
    faultsOf(() => new TlsMaterial({ ...near, cert: spoilt }, null)),
    /holds no certificate in PEM form/,
  );
  assert.match(
    faultsOf(() => new TlsMaterial({ ...near, ca: join(folder, 'gone') }, null)),
    /gone cannot be read \(ENOENT\)/,
  );
});

test('an expiry is warned of in time, and told when it has come', () => {
  const at = (days: number): ReturnType<TlsMaterial['status']> =>
    new TlsMaterial(ours.issue('soon', holder.site('near'), { days }), null).status(Date.now() + 1000);
  assert.deepEqual([at(40).warning, at(40).daysLeft], [null, 39]);
  assert.match(at(20).warning ?? '', /expires in 19 days/);
  assert.match(at(-2).warning ?? '', /has expired, so no peer accepts a new connection/);
  const early = new TlsMaterial(ours.issue('soon', holder.site('near')), null).status(Date.now() - 3 * 24 * 3_600_000);
  assert.match(early.warning ?? '', /is not valid yet/);
});

interface Listening {
  readonly server: StreamServer;
  readonly address: StreamAddress;
  readonly links: SocketLink[];
  readonly heard: string[];
  readonly told: string[];
}

async function listen(t: { after: (close: () => unknown) => void }, tls: TlsMaterial): Promise<Listening> {
  const [links, heard, told]: [SocketLink[], string[], string[]] = [[], [], []];
  const server = await openLinkServer({
    listen: [{ host: '127.0.0.1', port: 0 }],
    ...receive,
    connectionsMax: 8,
    tls,
    journal: (_event, _facts, text) => told.push(text),
    accept: (link) => {
      links.push(link);
      link.attach({ receive: (bytes) => heard.push(Buffer.from(bytes).toString()), closed: () => heard.push('closed') });
    },
  });
  t.after(async () => {
    for (const link of [...links, ...dialled.splice(0)]) link.close();
    await server.stop();
  });
  return { server, address: server.addresses[0] as StreamAddress, links, heard, told };
}

/** Closed when the test is over. */
const dialled: SocketLink[] = [];

function dialAs(material: TlsMaterial, { address, site = 'near' }: { address: StreamAddress; site?: string }): Promise<DialOutcome> {
  return new Promise((resolve) => {
    dial(address, { ...receive, timeoutMillis: 5_000, tls: { material, site, group: 'db' } }, (outcome) => {
      if (outcome.kind === 'link') {
        outcome.link.attach({ receive: () => undefined, closed: () => undefined });
        dialled.push(outcome.link);
      }
      resolve(outcome);
    });
  });
}

async function until(what: string, look: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!look()) {
    assert.ok(performance.now() < deadline, what);
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}

test('two sites with certificates of one authority have a link, and each knows who the other is', async (t) => {
  const near = new TlsMaterial(ours.issue('near', holder.site('near')), { kind: 'site', name: 'near' });
  const far = new TlsMaterial(ours.issue('far', holder.site('far', ['db'])), { kind: 'site', name: 'far' });
  const listening = await listen(t, near);
  const outcome = await dialAs(far, listening);
  assert.equal(outcome.kind, 'link');
  if (outcome.kind !== 'link') return;
  assert.deepEqual(outcome.link.identity, { site: 'near', groups: null });
  // Large enough that it is no single TLS record.
  const text = 'x'.repeat(100_000);
  outcome.link.send([Buffer.from(text)]);
  await until('the bytes arrive', () => listening.heard.join('').length === text.length);
  assert.deepEqual(listening.links[0]?.identity, { site: 'far', groups: ['db'] });
  outcome.link.close();
  await until('the other side hears of the end', () => listening.heard.at(-1) === 'closed');
});

test('a client, the witness or an administrator is no site, whatever it says', async (t) => {
  const listening = await listen(t, new TlsMaterial(ours.issue('near', holder.site('near')), null));
  const outcome = await dialAs(new TlsMaterial(ours.issue('app', holder.client('far')), null), listening);
  assert.equal(outcome.kind, 'link');
  await until('it is accepted', () => listening.links.length === 1);
  assert.equal(listening.links[0]?.identity?.site, '');
});

/** Connects with raw TLS, sends something, and resolves with what ended it. */
function stranger(address: StreamAddress, options: ConnectionOptions): Promise<string> {
  const { port } = address as { port: number };
  return new Promise((resolve) => {
    const socket = tlsConnect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options }, () => socket.write('let me in'));
    let reason = 'closed';
    socket.on('error', (error: NodeJS.ErrnoException) => (reason = error.code ?? error.message));
    socket.on('close', () => resolve(reason));
    socket.resume();
  });
}

test('without a certificate, with one of another authority, with an expired one, in an older TLS or in plain text nobody gets in', async (t) => {
  const listening = await listen(t, new TlsMaterial(ours.issue('near', holder.site('near')), null));
  const pem = ({ cert, key }: { cert: string; key: string }): ConnectionOptions => ({ cert: readFileSync(cert), key: readFileSync(key) });
  await stranger(listening.address, {});
  await stranger(listening.address, pem(theirs.issue('far', holder.site('far'))));
  await stranger(listening.address, pem(ours.issue('late', holder.site('far'), { days: -3 })));
  await stranger(listening.address, { ...pem(ours.issue('far', holder.site('far'))), maxVersion: 'TLSv1.2' });
  await new Promise<void>((resolve) => {
    const socket: Socket = connect({ host: '127.0.0.1', port: (listening.address as { port: number }).port }, () =>
      socket.write('GET / HTTP/1.0\r\n\r\n'),
    );
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
    socket.resume();
  });
  assert.deepEqual([listening.links.length, listening.heard, listening.server.connectionCount()], [0, [], 0]);
  // Told once for all of them.
  assert.equal(listening.told.length, 1);
  assert.match(listening.told[0] ?? '', /was refused: it shows no certificate/);
});

test('a peer is dialled only if it is the one that is expected, and valid', async (t) => {
  const far = new TlsMaterial(ours.issue('far', holder.site('far')), null);
  const reason = async (material: TlsMaterial, site = 'near'): Promise<string> => {
    const outcome = await dialAs(far, { address: (await listen(t, material)).address, site });
    return outcome.kind === 'failed' ? outcome.reason : 'a link';
  };
  assert.match(await reason(new TlsMaterial(ours.issue('third', holder.site('third')), null)), /that of site third, not of site near/);
  assert.match(await reason(new TlsMaterial(ours.issue('w', holder.witness), null)), /that of the witness, not of site near/);
  assert.match(await reason(new TlsMaterial(theirs.issue('near', holder.site('near')), null)), /of another authority/);
  assert.match(await reason(new TlsMaterial(ours.issue('late', holder.site('near'), { days: -3 }), null)), /has expired/);
  assert.equal(await reason(new TlsMaterial(ours.issue('near', holder.site('near')), null)), 'a link');
});

test('certificates are changed while everything runs: links that stand go on, new ones take the new ones, and unsound files change nothing', async (t) => {
  const files = ours.issue('near', holder.site('near'));
  const near = new TlsMaterial(files, { kind: 'site', name: 'near' });
  const listening = await listen(t, near);
  const far = new TlsMaterial(ours.issue('far', holder.site('far')), null);
  const first = await dialAs(far, listening);
  assert.equal(first.kind, 'link');
  assert.equal(near.reload(), null);

  // Another authority for all: trusted beside the old one first, then alone.
  const next = new TestAuthority(join(folder, 'next'));
  const both = join(folder, 'both.crt');
  writeFileSync(both, ours.certificate + next.certificate);
  const farOfNext = new TlsMaterial({ ...next.issue('far', holder.site('far')), ca: both }, null);
  assert.notEqual((await dialAs(farOfNext, listening)).kind === 'link' && listening.links.length > 1, true);
  writeFileSync(files.ca, ours.certificate + next.certificate);
  assert.match(near.reload() ?? '', /read again: site near/);
  const outcome = await dialAs(farOfNext, listening);
  assert.equal(outcome.kind, 'link');
  await until('the new one is accepted', () => listening.links.length === 2);

  if (first.kind === 'link') first.link.send([Buffer.from('still here')]);
  await until('the old link goes on', () => listening.heard.includes('still here'));

  const { key } = ours.issue('near', holder.site('near'));
  writeFileSync(key, 'nonsense');
  assert.match(
    faultsOf(() => near.reload()),
    /holds no private key/,
  );
  assert.equal((await dialAs(farOfNext, listening)).kind, 'link');
});

test('a connection that is in use already becomes TLS in the middle, with or without a certificate of the client', async (t) => {
  const near = new TlsMaterial(ours.issue('near', holder.site('near')), null);
  const shake = (clients: 'needed' | 'not-asked', options: ConnectionOptions): Promise<Handshake> =>
    new Promise((resolve) => {
      const server = createServer((socket) => {
        socket.once('data', () => {
          socket.pause();
          upgradeServer(socket, near, clients, (handshake) => {
            resolve(handshake);
            if ('socket' in handshake) handshake.socket.destroy();
          });
          socket.write('go on');
        });
      });
      t.after(() => server.close());
      server.listen(0, '127.0.0.1', () => {
        const plain = connect((server.address() as AddressInfo).port, '127.0.0.1', () => plain.write('please'));
        plain.once('data', () => {
          const secured = tlsConnect({ socket: plain, rejectUnauthorized: false, ...options });
          secured.on('error', () => undefined);
        });
      });
    });
  const app = ours.issue('app', holder.client('app1'));
  const known = await shake('needed', { cert: readFileSync(app.cert), key: readFileSync(app.key) });
  assert.deepEqual('identity' in known && known.identity, holder.client('app1'));
  const unknown = await shake('not-asked', {});
  assert.equal('identity' in unknown && unknown.identity, null);
  const refused = await shake('needed', {});
  assert.match('failed' in refused ? refused.failed : '', /it shows no certificate/);
});
