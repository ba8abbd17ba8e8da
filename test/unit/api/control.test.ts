// The control API over real sockets: what the commands rely on, and what garbage meets.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';

import type { Address } from '../../../src/api/address.ts';
import { isLocal, readAddress } from '../../../src/api/address.ts';
import { ControlClient } from '../../../src/api/client.ts';
import { addPointRoutes } from '../../../src/api/points.ts';
import { addReloadRoute } from '../../../src/api/reload.ts';
import { daemonStatusSchema } from '../../../src/api/schema.ts';
import type { Control, ControlBounds } from '../../../src/api/server.ts';
import { controlRoutes, startControl } from '../../../src/api/server.ts';
import { EXIT, TercetError } from '../../../src/core/base/errors.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { mirrorSample, pointSample, statusSample } from '../cli/sample.ts';
import { fakeControl, REFUSED } from './fake-control.ts';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'tercet-api-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

function addressOf(text: string): Address {
  const reading = readAddress(text);
  assert.ok('address' in reading, text);
  return reading.address;
}

/** A control API on a unix socket. */
async function start(
  t: TestContext,
  control: Control,
  bounds?: ControlBounds,
): Promise<{ address: Address; path: string; client: ControlClient }> {
  const path = join(folder(t), 'run', 'control.sock');
  const address = addressOf(`unix:${path}`);
  const running = await startControl(control, address, { log: () => {}, ...(bounds !== undefined && { bounds }) });
  t.after(() => running.close());
  return { address, path, client: new ControlClient(address) };
}

/** Sends bytes and returns all that comes back until the connection ends. */
function talk(path: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path, () => socket.write(bytes));
    socket.setEncoding('utf8');
    socket.on('data', (part: string) => (text += part));
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
  });
}

test('a client learns the status over a unix socket that only owner and group can use', async (t) => {
  const { path, client } = await start(t, fakeControl());
  assert.equal(statSync(path).mode & 0o777, 0o660);
  assert.deepEqual(await client.status(), { site: 'alpha', version: '0.1.0', tls: null, groups: [statusSample()] });
  assert.deepEqual(await client.health(), { site: 'alpha', healthy: true, failed: [] });
});

test('a status with all its parts passes its schema unchanged', () => {
  const status = {
    site: 'beta',
    version: '1',
    tls: null,
    groups: [mirrorSample({ points: [pointSample()] }), statusSample({ group: 'other', marks: null, failure: 'EIO' })],
  };
  assert.deepEqual(daemonStatusSchema.parse(JSON.parse(JSON.stringify(status))), status);
});

test('an answer with fields that this version does not know is read without them', () => {
  const status = { site: 'beta', version: '2', tls: null, groups: [], uptimeSeconds: 3 };
  assert.deepEqual(daemonStatusSchema.parse(status), { site: 'beta', version: '2', tls: null, groups: [] });
});

test('orders reach the daemon, and their outcome comes back', async (t) => {
  const control = fakeControl();
  const { client } = await start(t, control);
  assert.deepEqual(await client.create('db'), { kind: 'done', text: 'created' });
  assert.deepEqual(await client.promote('db', { force: false }), REFUSED);
  assert.deepEqual(await client.promote('db', { force: true }), { kind: 'done', text: 'promoted' });
  assert.deepEqual(await client.pause('db', { site: 'beta', force: true }), { kind: 'done', text: 'paused' });
  assert.deepEqual(await client.resume('db', 'beta'), { kind: 'done', text: 'resumed' });
  assert.deepEqual(control.orders, ['create db', 'promote db false', 'promote db true', 'pause db beta true', 'resume db beta']);
});

test('orders about points reach their group, and a body that is none is refused', async (t) => {
  const orders: unknown[] = [];
  const group = {
    createPoint: async (order: unknown) => {
      orders.push(order);
      return { kind: 'done', text: 'made' } as const;
    },
    removePoint: async (name: string) => {
      orders.push(name);
      return REFUSED;
    },
  };
  const path = join(folder(t), 'control.sock');
  const more = (app: Parameters<typeof addPointRoutes>[0]): void => addPointRoutes(app, (name) => (name === 'db' ? group : null));
  const running = await startControl(fakeControl(), addressOf(`unix:${path}`), { log: () => {}, more });
  t.after(() => running.close());
  const client = new ControlClient(addressOf(`unix:${path}`));
  assert.deepEqual(await client.createPoint('db', { name: 'noon', at: null }), { kind: 'done', text: 'made' });
  await client.createPoint('db', { name: 'noon', at: { seq: 17 } });
  assert.deepEqual(await client.removePoint('db', 'noon'), REFUSED);
  assert.deepEqual(orders, [{ name: 'noon', at: null }, { name: 'noon', at: { seq: 17 } }, 'noon']);
  await assert.rejects(client.createPoint('web', { name: 'noon', at: null }), { code: 'TERCET_NO_SUCH_GROUP' });
  await assert.rejects(client.createPoint('db', { name: 'noon', at: { seq: -1 } }), { code: 'TERCET_BAD_REQUEST' });
  await assert.rejects(client.createPoint('db', { name: 'n'.repeat(limits.nameCharsMax + 1), at: null }), { code: 'TERCET_BAD_REQUEST' });
});

test('an order for a group that is not there comes back with the code and sentence of the daemon', async (t) => {
  const { client } = await start(t, fakeControl());
  await assert.rejects(client.create('web'), {
    name: 'RemoteError',
    code: 'TERCET_NO_SUCH_GROUP',
    exit: EXIT.usage,
    message: 'there is no group "web" here: the configuration has db',
  });
});

test('an order that takes too long is reported as still under way', async (t) => {
  const never: Control = { ...fakeControl(), create: () => new Promise(() => {}) };
  const { client } = await start(t, never, { orderMillis: 20 });
  await assert.rejects(client.create('db'), {
    code: 'TERCET_DEADLINE',
    exit: EXIT.deadline,
    message: 'creating group db did not happen within 0.02 s: it is still under way; see `tercet status`',
  });
});

test('a failed copy makes the daemon unhealthy', async (t) => {
  const failed: Control = {
    ...fakeControl(),
    status: () => ({
      site: 'alpha',
      version: '0.1.0',
      tls: null,
      groups: [statusSample({ role: 'failed', failure: 'write failed: EIO' })],
    }),
  };
  const { client } = await start(t, failed);
  assert.deepEqual(await client.health(), { site: 'alpha', healthy: false, failed: [{ group: 'db', reason: 'write failed: EIO' }] });
});

const LOCAL = { host: 'localhost' };
const GARBAGE: readonly { what: string; path: string; init: RequestInit; status: number; text: RegExp }[] = [
  {
    what: 'a body that is not JSON',
    path: '/v1/groups/db/create',
    init: { method: 'POST', body: '{' },
    status: 400,
    text: /^bad request to the control API: the body is not JSON/,
  },
  {
    what: 'a body with unknown keys',
    path: '/v1/groups/db/create',
    init: { method: 'POST', body: '{"x":1}' },
    status: 400,
    text: /Unrecognized key: "x"/,
  },
  {
    what: 'an order without its choice',
    path: '/v1/groups/db/promote',
    init: { method: 'POST', body: '{}' },
    status: 400,
    text: /force: /,
  },
  {
    what: 'a choice of a wrong type',
    path: '/v1/groups/db/promote',
    init: { method: 'POST', body: '{"force":"yes"}' },
    status: 400,
    text: /force: /,
  },
  {
    what: 'a name that is none',
    path: '/v1/groups/..%2fdb/create',
    init: { method: 'POST' },
    status: 400,
    text: /the name of the group must be 1 to 32 of a-z, 0-9 and '-'/,
  },
  {
    what: 'an unknown route',
    path: '/v2/status',
    init: {},
    status: 404,
    text: /there is no GET \/v2\/status: the control API has GET \/v1\/status/,
  },
  { what: 'a wrong method', path: '/v1/status', init: { method: 'DELETE' }, status: 404, text: /there is no DELETE/ },
  {
    what: 'a request of a web page',
    path: '/v1/status',
    init: { headers: { ...LOCAL, origin: 'http://example.com' } },
    status: 403,
    text: /web pages/,
  },
  {
    what: 'a host of elsewhere',
    path: '/v1/status',
    init: { headers: { host: 'evil.example:80' } },
    status: 403,
    text: /not of this machine/,
  },
  {
    what: 'a body beyond the limit',
    path: '/v1/groups/db/create',
    init: {
      method: 'POST',
      body: 'x'.repeat(limits.httpBodyBytesMax + 1),
      headers: { ...LOCAL, 'content-length': String(limits.httpBodyBytesMax + 1) },
    },
    status: 413,
    text: /larger than 65536 bytes/,
  },
];

for (const { what, path, init, status, text } of GARBAGE) {
  test(`${what} is answered with ${status} and a sentence, and orders nothing`, async () => {
    const control = fakeControl();
    const response = await controlRoutes(control).request(path, { headers: LOCAL, ...init });
    assert.equal(response.status, status);
    const body = (await response.json()) as { error: { code: string; text: string } };
    assert.match(body.error.text, text);
    assert.equal(body.error.code, 'TERCET_BAD_REQUEST');
    assert.deepEqual(control.orders, []);
  });
}

test('what is not HTTP gets a sentence and loses its own connection only', async (t) => {
  const { path, client } = await start(t, fakeControl());
  const answer = await talk(path, '\0\0NBDMAGIC\r\n\r\n');
  assert.match(answer, /^HTTP\/1\.1 400 Bad Request/);
  assert.match(answer, /that was no request that it can read/);
  assert.equal((await client.status()).site, 'alpha');
});

test('an order without a body is carried out, one in pieces is refused', async (t) => {
  const control = fakeControl();
  const { path } = await start(t, control);
  const asked = (head: string): Promise<string> =>
    talk(path, `POST /v1/groups/db/drain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${head}`);
  assert.match(await asked('\r\n'), /^HTTP\/1.1 200 .*drained/s);
  assert.match(await asked('content-length: 2\r\n\r\n{}'), /^HTTP\/1.1 200 /);
  assert.match(await asked('transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n'), /^HTTP\/1.1 411 .*content-length/s);
  assert.deepEqual(control.orders, ['drain db', 'drain db']);
});

test('a socket that a killed daemon left behind is replaced, a used one is not', async (t) => {
  const path = join(folder(t), 'control.sock');
  const address = addressOf(`unix:${path}`);
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  assert.ok(existsSync(path), 'the killed process left its socket');
  const first = await startControl(fakeControl(), address, { log: () => {} });
  assert.equal(statSync(path).mode & 0o777, 0o660);
  await assert.rejects(startControl(fakeControl(), address, { log: () => {} }), {
    code: 'TERCET_PORT_IN_USE',
    message: `cannot listen on unix:${path} for the control API (EADDRINUSE): another process has it, or the address is not of this machine`,
  });
  assert.equal((await new ControlClient(address).status()).site, 'alpha');
  await first.close();
  writeFileSync(path, 'a file of somebody else');
  await assert.rejects(startControl(fakeControl(), address, { log: () => {} }), { code: 'TERCET_PORT_IN_USE' });
  assert.ok(existsSync(path));
});

test('a client says what is wrong when nothing answers, or something else does', async (t) => {
  const path = join(folder(t), 'none.sock');
  await assert.rejects(new ControlClient(addressOf(`unix:${path}`)).status(), {
    code: 'TERCET_UNREACHABLE',
    exit: EXIT.unreachable,
    message: `the daemon at unix:${path} does not answer (ENOENT): is it running, and is this its address?`,
  });
  const silent = createServer(() => {});
  const talkative = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'));
  for (const server of [silent, talkative]) await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => [silent, talkative].forEach((server) => server.close()));
  const at = (server: typeof silent): Address => addressOf(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  await assert.rejects(new ControlClient(at(silent), { questionMillis: 30 }).status(), {
    message: /does not answer \(no answer within 30 ms\)/,
  });
  await assert.rejects(new ControlClient(at(talkative)).status(), { message: /what answers there is no Tercet daemon/ });
});

test('addresses are read in all their forms', () => {
  assert.deepEqual(addressOf('[::1]:80'), { kind: 'tcp', host: '::1', port: 80, text: '[::1]:80' });
  assert.deepEqual(addressOf('unix:/a b'), { kind: 'unix', path: '/a b', text: 'unix:/a b' });
  for (const text of ['localhost:1', '127.0.0.1:1', '127.9.9.9:1', '[::1]:1', 'unix:/x']) assert.ok(isLocal(addressOf(text)), text);
  for (const text of ['10.0.0.1:1', 'example.com:1', '127.example.com:1', '[::]:1', '0.0.0.0:1'])
    assert.ok(!isLocal(addressOf(text)), text);
  for (const text of [
    '',
    'x',
    ':1',
    'x:',
    'x:0',
    'x:65536',
    'x:1:2',
    '::1:80',
    'unix:',
    'unix:rel',
    `unix:/${'x'.repeat(107)}`,
    'a b:1',
    'x:+1',
  ]) {
    assert.ok('wrong' in readAddress(text), text);
  }
});

test('a configuration that is refused is the fault of whoever wrote it, and no failure of the daemon', async () => {
  const facts = { group: 'db', volume: 'disk0', had: 8192, wanted: 4096, site: 'alpha', file: 'tercet.toml', count: 1, faults: 'x' };
  const answers = await Promise.all(
    (['TERCET_VOLUME_SHRINKS', 'TERCET_CONFIG', 'TERCET_LAST_SYNC_COPY', 'TERCET_DISK'] as const).map(async (code) => {
      const app = controlRoutes(fakeControl());
      addReloadRoute(app, () => {
        throw new TercetError(code, facts);
      });
      return (await app.request('/v1/reload', { method: 'POST', headers: LOCAL })).status;
    }),
  );
  assert.deepEqual(answers, [400, 400, 409, 500]);
});
