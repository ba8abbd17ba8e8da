// The page's listener: what it serves, that it changes nothing without the token, and that other web pages get nothing out of it.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';

import type { Hono } from 'hono';

import { readAddress } from '../../../src/api/address.ts';
import type { Control } from '../../../src/api/server.ts';
import type { OrderOutcome } from '../../../src/core/site/contract.ts';
import { parseConfig } from '../../../src/daemon/config.ts';
import { otherPages, pageRoutes, startPage } from '../../../src/daemon/page.ts';
import { statusSample } from '../cli/sample.ts';

const DONE: OrderOutcome = { kind: 'done', text: 'beta is primary' };
const TOKEN = 'a-token-that-nobody-guesses';
const PAGE = join(import.meta.dirname, '../../../src/page');

interface Rig {
  readonly app: Hono;
  readonly orders: string[];
  readonly tokenFile: string;
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Response>;
  post(path: string, body: string, headers?: Readonly<Record<string, string>>): Promise<Response>;
}

function rig(t: TestContext, options: { token: boolean }): Rig {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-page-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const tokenFile = join(folder, 'token');
  writeFileSync(tokenFile, `${TOKEN}\n`);
  const orders: string[] = [];
  const order = (name: string) => async (group: string, given?: object) => {
    orders.push(`${name} ${group} ${JSON.stringify(given)}`);
    return DONE;
  };
  // What the page does not ask for is not here.
  const control = {
    status: () => ({ site: 'alpha', version: '0.1.0', tls: null, groups: [statusSample()] }),
    explain: async (group) => ({ site: 'alpha', group, sentences: [], decisions: [] }),
    create: order('create'),
    promote: order('promote'),
    switchover: order('switchover'),
    drain: order('drain'),
    resync: order('resync'),
  } as Partial<Control> as Control;
  const reading = readAddress('127.0.0.1:7480');
  assert.ok('address' in reading);
  const app = pageRoutes({
    address: reading.address,
    tokenFile: options.token ? tokenFile : null,
    site: 'alpha',
    others: [{ site: 'beta', url: 'http://10.0.0.2:7480/' }],
    control,
    journal: () => {},
    more: () => {},
  });
  const local = { host: '127.0.0.1:7480' };
  return {
    app,
    orders,
    tokenFile,
    get: async (path, headers = {}) => app.request(path, { headers: { ...local, ...headers } }),
    post: async (path, body, headers = {}) =>
      app.request(path, { method: 'POST', body, headers: { ...local, 'content-length': String(body.length), ...headers } }),
  };
}

const SWITCHOVER = '/v1/groups/db/switchover';
const BODY = JSON.stringify({ to: 'beta', dryRun: true });
const bearer = { authorization: `Bearer ${TOKEN}` };

test('every file of the page is served with its type, under a policy that lets nothing in from elsewhere', async (t) => {
  const { get } = rig(t, { token: false });
  const names = readdirSync(PAGE).filter((name) => !name.endsWith('.json'));
  assert.ok(names.length > 8);
  for (const name of names) {
    const response = await get(`/${name}`);
    assert.equal(response.status, 200, name);
    assert.equal(await response.text(), readFileSync(join(PAGE, name), 'utf8'));
    assert.match(response.headers.get('content-security-policy') ?? '', /^default-src 'none'; script-src 'self'; style-src 'self';/);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
  }
  assert.equal(await (await get('/')).text(), readFileSync(join(PAGE, 'index.html'), 'utf8'));
  assert.match((await get('/main.js')).headers.get('content-type') ?? '', /^text\/javascript/);
  for (const path of ['/tsconfig.json', '/../daemon/page.ts', '/%2e%2e/page.ts', '/nothing.js'])
    assert.equal((await get(path)).status, 404, path);
});

test('the page has no script, style or handler within, and names nothing that is elsewhere', () => {
  const html = readFileSync(join(PAGE, 'index.html'), 'utf8');
  assert.doesNotMatch(html, /<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=/i);
  for (const name of readdirSync(PAGE)) {
    const text = readFileSync(join(PAGE, name), 'utf8').replaceAll('http://www.w3.org/2000/svg', '');
    assert.doesNotMatch(text, /https?:|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/, name);
  }
});

test('a name that is not of this machine is refused: it may have been made to mean it', async (t) => {
  const { get } = rig(t, { token: false });
  assert.equal((await get('/v1/status', { host: 'evil.example:7480' })).status, 403);
  for (const host of ['127.0.0.1:7480', 'localhost:7480', '[::1]:7480', '10.0.0.1'])
    assert.equal((await get('/v1/status', { host })).status, 200, host);
});

test('without a token in the configuration nobody orders anything', async (t) => {
  const { get, post, orders } = rig(t, { token: false });
  assert.deepEqual(((await (await get('/v1/page')).json()) as { orders: string[] }).orders, []);
  assert.equal((await post(SWITCHOVER, BODY, bearer)).status, 403);
  for (const path of ['/v1/reload', '/v1/groups/db/promote', '/v1/groups/db/create', '/'])
    assert.equal((await post(path, '{}', bearer)).status, 405, path);
  assert.deepEqual(orders, []);
});

test('whoever has the token orders planned changes, and nothing that can lose a write', async (t) => {
  const { get, post, orders, tokenFile } = rig(t, { token: true });
  assert.deepEqual(((await (await get('/v1/page')).json()) as { orders: string[] }).orders, ['switchover', 'drain', 'resync']);
  assert.deepEqual(await (await post(SWITCHOVER, BODY, bearer)).json(), DONE);
  assert.deepEqual(orders, ['switchover db {"to":"beta","dryRun":true}']);
  for (const authorization of ['', 'Bearer ', 'Bearer wrong', `Basic ${TOKEN}`, `Bearer ${TOKEN}x`])
    assert.equal((await post(SWITCHOVER, BODY, { authorization })).status, 401, authorization);
  assert.equal((await post(SWITCHOVER, BODY, { ...bearer, origin: 'http://evil.example' })).status, 403);
  assert.equal((await post(SWITCHOVER, BODY, { ...bearer, origin: 'http://127.0.0.1:7480' })).status, 200);
  assert.equal((await post('/v1/groups/db/promote', '{"force":true}', bearer)).status, 405);
  assert.equal((await post(SWITCHOVER, BODY, { ...bearer, 'content-length': '70000' })).status, 413);
  writeFileSync(tokenFile, 'another-token-that-nobody-guesses');
  assert.equal((await post(SWITCHOVER, BODY, bearer)).status, 401);
  assert.equal(orders.length, 2);
});

test('a token that could be guessed, or is not there, keeps the page from starting', async (t) => {
  const { tokenFile } = rig(t, { token: true });
  const reading = readAddress('127.0.0.1:1');
  assert.ok('address' in reading);
  const start = (file: string): Promise<unknown> =>
    startPage({
      address: reading.address,
      tokenFile: file,
      site: 'alpha',
      others: [],
      control: {} as Control,
      journal: () => {},
      more: () => {},
    });
  writeFileSync(tokenFile, 'short');
  await assert.rejects(start(tokenFile), /a token has 20 to 1024 characters/);
  await assert.rejects(start(`${tokenFile}-none`), /ENOENT/);
});

const GROUP = '[group.db]\nsites = ["alpha"]\n[[group.db.volume]]\nname = "v"\nsize = 4096\n';

test('the page names the pages of other sites, as far as a link can lead there', async (t) => {
  const about = (await (await rig(t, { token: false }).get('/v1/page')).json()) as { others: unknown };
  assert.deepEqual(about.others, [{ site: 'beta', url: 'http://10.0.0.2:7480/' }]);
  const others = (pages: Readonly<Record<string, string>>): readonly string[] => {
    const site = (name: string, port: number): string =>
      `[site.${name}]\ndata = "${name}"\nlink = "127.0.0.1:${port}"\nnbd = ["127.0.0.1:${port + 1}"]\ncontrol = "127.0.0.1:${port + 2}"\n${name in pages ? `page = "${pages[name]}"\n` : ''}`;
    const text = `insecure = true\n[witness]\naddress = "127.0.0.1:1"\n${site('alpha', 10)}${site('beta', 20)}${site('gamma', 30)}${GROUP}`;
    return otherPages(parseConfig(text, 'test.toml'), 'alpha').map(({ site: name, url }) => `${name} ${url}`);
  };
  assert.deepEqual(others({ alpha: '10.0.0.1:7480', beta: '10.0.0.2:7480', gamma: 'db3.example:7480' }), [
    'beta http://10.0.0.2:7480/',
    'gamma http://db3.example:7480/',
  ]);
  assert.deepEqual(others({ alpha: '10.0.0.1:7480', beta: '127.0.0.1:7480', gamma: '0.0.0.0:7481' }), []);
  assert.deepEqual(others({ alpha: '127.0.0.1:7480', beta: '127.0.0.1:7481', gamma: 'unix:/run/page.sock' }), [
    'beta http://127.0.0.1:7481/',
  ]);
  assert.deepEqual(others({ beta: '10.0.0.2:7480' }), []);
});
