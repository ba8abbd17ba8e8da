// The control API by certificates: who may order, who may look, who is let in at all; and the way of a command to a site on another machine.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { readAddress, type Address } from '../../../src/api/address.ts';
import { startControl } from '../../../src/api/server.ts';
import { Reach } from '../../../src/cli/reach.ts';
import { callersBy } from '../../../src/daemon/callers.ts';
import { loadConfig, siteOf } from '../../../src/daemon/config.ts';
import type { TlsIdentity } from '../../../src/host/tls-identity.ts';
import { type TlsFiles, TlsMaterial } from '../../../src/host/tls-material.ts';
import { holder, TestAuthority } from '../../support/certificates.ts';
import { freePort } from '../../support/free-port.ts';
import { fakeControl } from './fake-control.ts';

interface World {
  readonly folder: string;
  readonly authority: TestAuthority;
  readonly address: Extract<Address, { kind: 'tcp' }>;
  readonly orders: readonly string[];
  readonly material: TlsMaterial;
}

/** Site alpha with a control API for other machines. */
async function world(t: TestContext): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-remote-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const authority = new TestAuthority(join(folder, 'tls'));
  const material = new TlsMaterial(authority.issue('alpha', holder.site('alpha')), { kind: 'site', name: 'alpha' });
  const reading = readAddress(`127.0.0.1:${await freePort()}`);
  assert.ok('address' in reading && reading.address.kind === 'tcp');
  const { address } = reading;
  const control = fakeControl();
  const running = await startControl(control, address, { log: () => {}, callers: callersBy(material) });
  t.after(() => running.close());
  return { folder, authority, address, orders: control.orders, material };
}

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Status and body of an answer; null when there was none. */
function ask({ address }: World, files: TlsFiles | null, asked: Asked = {}): Promise<{ status: number; text: string } | null> {
  const { method = 'GET', path = '/v1/status', body = '', headers = {} } = asked;
  return new Promise((resolve) => {
    const sent = request(
      {
        host: address.host,
        port: address.port,
        agent: false,
        rejectUnauthorized: false,
        ...(files !== null && { cert: readFileSync(files.cert), key: readFileSync(files.key) }),
        method,
        path,
        headers: { ...headers, 'content-length': Buffer.byteLength(body) },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => (text += part));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    sent.on('error', () => resolve(null));
    sent.end(body);
  });
}

const CREATE: Asked = { method: 'POST', path: '/v1/groups/db/create', body: '{}' };

test('an administrator orders; a site of the installation only looks', async (t) => {
  const there = await world(t);
  const admin = there.authority.issue('admin', holder.admin);
  assert.equal((await ask(there, admin))?.status, 200);
  assert.equal((await ask(there, admin, CREATE))?.status, 200);
  const beta = there.authority.issue('beta', holder.site('beta'));
  assert.equal((await ask(there, beta))?.status, 200);
  const refused = await ask(there, beta, CREATE);
  assert.equal(refused?.status, 403);
  assert.match(refused?.text ?? '', /TERCET_FORBIDDEN.*site beta: orders need the certificate of an administrator/);
  assert.deepEqual(there.orders, ['create db']);
});

test('hosts, the witness, strangers and web pages are not let in', async (t) => {
  const there = await world(t);
  const admin = there.authority.issue('admin', holder.admin);
  for (const [name, identity] of [
    ['client-db1', holder.client('db1')],
    ['witness', holder.witness],
  ] as const) {
    const files = there.authority.issue(name, identity);
    for (const asked of [{}, CREATE]) assert.equal((await ask(there, files, asked))?.status, 403, name);
  }
  const foreign = new TestAuthority(join(there.folder, 'foreign')).issue('admin', holder.admin);
  assert.equal(await ask(there, foreign, CREATE), null);
  assert.equal(await ask(there, null, CREATE), null);
  assert.equal(await ask(there, there.authority.issue('old', holder.admin, { days: -1 }), CREATE), null);
  assert.equal((await ask(there, admin, { ...CREATE, headers: { origin: 'https://example.org' } }))?.status, 403);
  assert.deepEqual(there.orders, []);
});

test('an administrator of some groups has these and nothing else', async (t) => {
  const there = await world(t);
  const limited = (groups: readonly string[]): TlsIdentity => ({ kind: 'admin', name: '', groups });
  const web = there.authority.issue('web', limited(['web']));
  const db = there.authority.issue('db', limited(['db', 'web']));
  assert.equal((await ask(there, db, CREATE))?.status, 200);
  assert.equal((await ask(there, web, CREATE))?.status, 403);
  assert.equal((await ask(there, web, { ...CREATE, path: '/v1/groups/%64b/create' }))?.status, 403);
  const all = await ask(there, db);
  assert.equal(all?.status, 403);
  assert.match(all?.text ?? '', /it opens \/v1\/groups\/NAME\/\.\.\. of db, web, and nothing else/);
  assert.deepEqual(there.orders, ['create db']);
});

/** A configuration in which alpha and beta are on other machines. */
function configuration({ folder, address }: World): ReturnType<typeof loadConfig> {
  const site = (name: string, port: number, more: string): string =>
    `[site.${name}]\ndata = "${name}"\nlink = "127.0.0.1:${port}"\nnbd = ["unix:/x/${name}"]\ncontrol = "unix:${folder}/not-here-${name}.sock"\n${more}`;
  const remote = `remote_control = "${address.text}"\n`;
  const file = join(folder, 'tercet.toml');
  writeFileSync(
    file,
    '[witness]\naddress = "127.0.0.1:1"\n[tls]\nca = "tls/ca.crt"\ncert = "tls/{site}.crt"\nkey = "tls/{site}.key"\n' +
      site('alpha', 2, remote) +
      site('beta', 3, '') +
      '[group.db]\nsites = ["alpha", "beta"]\n[[group.db.volume]]\nname = "disk0"\nsize = "1GiB"\n',
  );
  return loadConfig(file);
}

test('a command finds a site on another machine, with the certificate that this user has', async (t) => {
  const there = await world(t);
  const config = configuration(there);
  // The site's own certificate lies here: it is enough for looking.
  const looking = await new Reach(config, {}).site(siteOf(config, 'alpha'));
  assert.equal(looking.client.address, there.address.text);
  await assert.rejects(looking.client.create('db'), { code: 'TERCET_FORBIDDEN' });
  there.authority.issue('admin', holder.admin);
  const ordering = await new Reach(config, {}).site(siteOf(config, 'alpha'));
  assert.equal((await ordering.client.create('db')).kind, 'done');
  const elsewhere = there.authority.issue('of-my-own', holder.admin);
  const named = await new Reach(config, { TERCET_ADMIN_CERT: elsewhere.cert, TERCET_ADMIN_KEY: elsewhere.key }).site(
    siteOf(config, 'alpha'),
  );
  assert.equal((await named.client.create('db')).kind, 'done');
  assert.deepEqual(there.orders, ['create db', 'create db']);
});

test('a site without a way from here is told of with its socket; one that is not who it should be is not asked', async (t) => {
  const there = await world(t);
  const config = configuration(there);
  const beta = siteOf(config, 'beta');
  await assert.rejects(new Reach(config, {}).site(beta), /not-here-beta\.sock.*ENOENT/);
  await assert.rejects(
    new Reach(config, {}).site({ ...beta, remoteControl: there.address }),
    /the certificate there is that of site alpha, not of site beta/,
  );
});

test('a listener takes new certificates with a reload', async (t) => {
  const there = await world(t);
  const admin = there.authority.issue('admin', holder.admin);
  assert.equal((await ask(there, admin))?.status, 200);
  there.authority.issue('alpha', holder.site('alpha'), { days: 50 });
  assert.match(there.material.reload() ?? '', /read again/);
  assert.equal((await ask(there, admin))?.status, 200);
});
