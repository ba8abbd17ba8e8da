// The witness over real HTTP on loopback: the whole life of a group through the client, restarts, and everything that is not an operation.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { CreateOperation, WitnessOperation, WitnessReply } from '../../../src/core/arbiter/witness-state.ts';
import { TercetError } from '../../../src/core/base/errors.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { WitnessClient } from '../../../src/witness/client.ts';
import { memoryStore } from '../../../src/witness/memory-store.ts';
import { type RunningWitness, startWitness, type WitnessOptions } from '../../../src/witness/server.ts';
import { creation as creationOfThree } from '../../support/witness-group.ts';

const log = (): void => undefined;

/** Everything that a test opened, closed after it, last opened first. */
const closers: (() => unknown)[] = [];
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tercet-witness-'));
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  rmSync(folder, { recursive: true });
});

async function start(options: Partial<WitnessOptions> = {}): Promise<RunningWitness> {
  const witness = await startWitness({ dataFolder: folder, log, ...options });
  closers.push(() => witness.close());
  return witness;
}

function clientOf({ address }: { address: { host: string; port: number } }, timeoutMillis = 5000): WitnessClient {
  const client = new WitnessClient({ ...address, timeoutMillis });
  closers.push(() => client.close());
  return client;
}

function ask(client: WitnessClient, operation: WitnessOperation): Promise<WitnessReply> {
  return new Promise((resolve) => {
    client.call(operation, resolve);
  });
}

/** Of a pair. */
const creation: CreateOperation = { ...creationOfThree, copies: creationOfThree.copies.slice(0, 2) };
const claim: WitnessOperation = { kind: 'claim', requestId: 'claim-1', group: 'vm', from: 'primary', revision: 1, epoch: 0 };
const read: WitnessOperation = { kind: 'read', requestId: 'read-1', group: 'vm', from: 'near' };

async function http(witness: RunningWitness, path: string, init?: RequestInit): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`http://${witness.address.host}:${witness.address.port}${path}`, init);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const post = (witness: RunningWitness, body: string, path = '/v1/groups/vm/operations'): ReturnType<typeof http> =>
  http(witness, path, { method: 'POST', body });

/** Sends bytes on a connection of its own and collects what comes back until the other side closes it. */
function raw(witness: RunningWitness, bytes: string | Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(witness.address.port, witness.address.host, () => socket.write(bytes));
    let text = '';
    socket.on('data', (part) => (text += part.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(text));
  });
}

describe('a running witness', () => {
  test('takes a group through create, claim, admit, handover and resign, and shows it', async () => {
    const witness = await start();
    const client = clientOf(witness);
    const operations: WitnessOperation[] = [
      creation,
      claim,
      { kind: 'admit', requestId: 'admit-1', group: 'vm', from: 'primary', revision: 2, epoch: 1, site: 'near' },
      { kind: 'handover', requestId: 'handover-1', group: 'vm', from: 'primary', revision: 3, epoch: 1, to: 'near' },
      { kind: 'resign', requestId: 'resign-1', group: 'vm', from: 'primary', revision: 4 },
    ];
    for (const operation of operations) assert.equal((await ask(client, operation)).outcome, 'done', operation.kind);
    const view = {
      group: 'vm',
      groupId: 'id-1',
      instance: witness.instance,
      revision: 5,
      epoch: 2,
      primary: 'near',
      copies: [
        { site: 'primary', mode: 'sync', flag: false },
        { site: 'near', mode: 'sync', flag: true },
      ],
    };
    assert.deepEqual(await ask(client, read), { outcome: 'done', view });
    assert.deepEqual(await http(witness, '/v1/groups/vm'), { status: 200, body: view });
    assert.deepEqual(await http(witness, '/v1/health'), { status: 200, body: { status: 'ok', instance: witness.instance, groups: 1 } });
    assert.equal(client.lastFailure, null);
  });

  test('refuses with the reason, also to people who ask by hand', async () => {
    const witness = await start();
    const client = clientOf(witness);
    const unknown = await ask(client, read);
    assert.equal(unknown.outcome === 'refused' && unknown.reason, 'unknown-group');
    assert.equal((await http(witness, '/v1/groups/vm')).status, 404);
    assert.equal((await post(witness, JSON.stringify(claim))).status, 404);
    await ask(client, creation);
    const refused = await post(witness, JSON.stringify({ ...claim, requestId: 'n', from: 'near' }));
    assert.equal(refused.status, 409);
    assert.equal(refused.body['reason'], 'flag-false');
  });

  test('gives the answer that it gave before a restart to the same request, and knows its groups', async () => {
    const first = await start();
    const client = clientOf(first);
    await ask(client, creation);
    const answer = await ask(client, claim);
    assert.equal(answer.outcome, 'done');
    await first.close();
    const second = await start();
    assert.equal(second.instance, first.instance);
    assert.deepEqual(await ask(clientOf(second), claim), { ...answer, repeated: true });
  });

  test('is the only one in its folder, and the only one on its port', async () => {
    const witness = await start();
    await assert.rejects(() => startWitness({ dataFolder: folder, log }), { code: 'TERCET_WITNESS_LOCKED' });
    const error = await startWitness({ dataFolder: join(folder, 'other'), listen: witness.address, log }).catch(
      (caught: unknown) => caught,
    );
    assert.ok(error instanceof TercetError);
    assert.match(error.message, /EADDRINUSE/);
    // The folder of the one that could not listen is free again.
    const other = await startWitness({ dataFolder: join(folder, 'other'), log });
    await other.close();
  });

  test('answers what was asked before it was closed, then lets nobody in', async () => {
    const store = memoryStore('w');
    const gate = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const witness = await start({ store });
    const client = clientOf(witness);
    await ask(client, creation);
    store.beforeWrite = () => {
      reached.resolve();
      return gate.promise;
    };
    const answer = ask(client, claim);
    await reached.promise;
    const closing = witness.close();
    gate.resolve();
    assert.equal((await answer).outcome, 'done');
    await closing;
    assert.equal((await ask(client, read)).outcome, 'unknown');
  });

  test('says so when its disk has failed, and grants nothing more', async () => {
    const store = memoryStore('w');
    const witness = await start({ store });
    const client = clientOf(witness);
    await ask(client, creation);
    store.beforeWrite = () => Promise.reject(new Error('write of group-vm.cell failed with EIO'));
    assert.equal((await ask(client, claim)).outcome, 'unknown');
    assert.match(client.lastFailure ?? '', /status 500.*failed with EIO/);
    store.beforeWrite = () => Promise.resolve();
    assert.equal((await ask(client, claim)).outcome, 'unknown');
    assert.equal((await http(witness, '/v1/groups/vm')).status, 500);
    const health = await http(witness, '/v1/health');
    assert.equal(health.status, 500);
    assert.match(String(health.body['error']), /failed with EIO/);
  });
});

describe('garbage', () => {
  test('in a body gets 400 and a sentence that names the fault, and changes nothing', async () => {
    const witness = await start();
    await ask(clientOf(witness), creation);
    const cases: [string, RegExp][] = [
      ['', /not JSON/],
      ['{"kind":', /not JSON/],
      ['null', /no operation/],
      ['[]', /no operation/],
      [JSON.stringify({ ...claim, kind: 'destroy' }), /kind/],
      [JSON.stringify({ ...claim, epoch: -1 }), /epoch/],
      [JSON.stringify({ ...claim, epoch: 1e300 }), /epoch/],
      [JSON.stringify({ ...claim, epoch: 0.5 }), /epoch/],
      [JSON.stringify({ ...claim, revision: '1' }), /revision/],
      [JSON.stringify({ ...claim, revision: undefined }), /revision/],
      [JSON.stringify({ ...claim, from: '../etc' }), /from/],
      [JSON.stringify({ ...claim, from: 'x'.repeat(33) }), /from/],
      [JSON.stringify({ ...claim, requestId: '' }), /requestId/],
      [JSON.stringify({ ...claim, requestId: 'y'.repeat(65) }), /requestId/],
      [JSON.stringify({ ...claim, requestId: 'two words' }), /requestId/],
      [JSON.stringify({ ...claim, byHand: false }), /byHand/],
      [JSON.stringify({ ...claim, extra: 1 }), /extra/],
      [JSON.stringify({ ...claim, group: 'db' }), /another group/],
      [JSON.stringify({ ...creation, copies: [] }), /copies/],
      [JSON.stringify({ ...creation, copies: [creation.copies[0], creation.copies[0]] }), /a site of its own/],
    ];
    for (const [body, fault] of cases) {
      const answer = await post(witness, body);
      assert.equal(answer.status, 400, body);
      assert.match(String(answer.body['error']), fault, body);
    }
    const binary = await http(witness, '/v1/groups/vm/operations', { method: 'POST', body: Uint8Array.of(0xff, 0xfe, 0, 1) });
    assert.equal(binary.status, 400);
    assert.equal((await http(witness, '/v1/groups/vm')).body['revision'], 1);
  });

  test('larger than any operation is not read', async () => {
    const witness = await start();
    const answer = await post(witness, ' '.repeat(limits.httpBodyBytesMax + 1));
    assert.equal(answer.status, 413);
    assert.match(String(answer.body['error']), /larger than 65536 bytes/);
    const chunk = `${(4096).toString(16)}\r\n${' '.repeat(4096)}\r\n`;
    const endless = `POST /v1/groups/vm/operations HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n${chunk.repeat(17)}`;
    assert.match(
      await raw(witness, `${endless}0\r\n\r\nGET /v1/health HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n`),
      /^HTTP\/1.1 413/,
    );
    assert.equal((await http(witness, '/v1/health')).status, 200);
  });

  test('on another path or method gets a sentence that names what there is', async () => {
    const witness = await start();
    for (const [method, path] of [
      ['GET', '/'],
      ['DELETE', '/v1/groups/vm'],
      ['PUT', '/v1/groups/vm/operations'],
      ['GET', '/v1/groups/%ff'],
      ['GET', `/v1/groups/${'x'.repeat(3000)}`],
    ] as const) {
      const answer = await http(witness, path, { method });
      assert.equal(answer.status, 404, path);
      assert.match(String(answer.body['error']), /witness/);
    }
  });

  test('that is no HTTP gets a sentence and a closed connection, and nobody else notices', async () => {
    const witness = await start();
    const client = clientOf(witness);
    await ask(client, creation);
    for (const bytes of [
      'NBDMAGICIHAVEOPT',
      '\0\0\0\0\0\0',
      'GET / SPDY/9\r\n\r\n',
      `GET /${'x'.repeat(limits.httpHeadBytesMax)} HTTP/1.1\r\n\r\n`,
    ]) {
      assert.match(await raw(witness, bytes), /^HTTP\/1.1 400 Bad Request\r\n.*port of a Tercet witness/s, bytes.slice(0, 20));
    }
    const upgrade = 'GET / HTTP/1.1\r\nhost: w\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
    assert.doesNotMatch(await raw(witness, upgrade), /101/);
    assert.equal((await ask(client, claim)).outcome, 'done');
  });
});

describe('slow and silent clients', () => {
  const bounds = { headMillis: 200, requestMillis: 400, idleMillis: 200, connectionsMax: 4 };

  test('lose their connection: one that says nothing, one that stops in a head, one that stops in a body', async () => {
    const witness = await start({ bounds });
    const begun = [
      '',
      'POST /v1/groups/vm/operations HT',
      'POST /v1/groups/vm/operations HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\n{"kind"',
    ];
    const answers = await Promise.all(begun.map((bytes) => raw(witness, bytes)));
    for (const answer of answers.slice(1)) assert.match(answer, /408 Request Timeout/);
  });

  test('are bounded in number, and the next one gets in as soon as one of them is gone', async () => {
    const witness = await start({ bounds });
    const silent: Socket[] = [];
    const gone = Promise.withResolvers<void>();
    for (let i = 0; i < bounds.connectionsMax; i++) {
      const socket = connect(witness.address.port, witness.address.host);
      socket.on('error', () => undefined);
      socket.on('close', () => gone.resolve());
      socket.resume();
      silent.push(socket);
      await once(socket, 'connect');
    }
    const client = clientOf(witness);
    assert.equal((await ask(client, read)).outcome, 'unknown');
    await gone.promise;
    for (const socket of silent) socket.destroy();
    let reply = await ask(client, read);
    for (let tries = 0; reply.outcome === 'unknown' && tries < 100; tries++) reply = await ask(client, read);
    assert.equal(reply.outcome, 'refused');
  });
});

describe('the client', () => {
  async function listening(server: Server): Promise<{ address: { host: string; port: number } }> {
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const sockets: Socket[] = [];
    server.on('connection', (socket) => sockets.push(socket));
    closers.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    });
    return { address: { host: '127.0.0.1', port: (server.address() as AddressInfo).port } };
  }
  const answering = (listener: RequestListener): ReturnType<typeof listening> => listening(createHttpServer(listener));

  test('never calls back from inside the call', async () => {
    const witness = await start();
    for (const client of [
      clientOf(witness),
      new WitnessClient({ host: 'not a host name', port: 1 }),
      new WitnessClient({ host: '127.0.0.1', port: 70000 }),
    ]) {
      let inside = true;
      const replied = new Promise<WitnessReply>((resolve) => {
        client.call(read, (reply) => {
          assert.equal(inside, false);
          resolve(reply);
        });
      });
      inside = false;
      await replied;
      client.close();
    }
  });

  test('learns that a witness of before does not understand an operation', async () => {
    const older = await answering((_request, response) => response.writeHead(400).end('{"error":"the body is no operation"}'));
    const mode: WitnessOperation = { ...read, kind: 'mode', site: 'gamma', mode: 'sync', epoch: 1, revision: 1 };
    assert.deepEqual(await ask(clientOf(older), mode), { outcome: 'not-understood' });
    // Whoever does not understand what every witness does is none.
    assert.deepEqual(await ask(clientOf(older), read), { outcome: 'unknown' });
  });

  test('learns unknown from a witness that is not there, does not answer, or answers something else', async () => {
    const gone = await start({ dataFolder: join(folder, 'gone') });
    await gone.close();
    const silent = await listening(createServer());
    const view = {
      group: 'vm',
      groupId: 'g',
      instance: 'w',
      revision: 1,
      epoch: 0,
      primary: null,
      copies: [{ site: 'a', mode: 'sync', flag: true }],
    };
    const cases: [RegExp, { address: { host: string; port: number } }][] = [
      [/ECONNREFUSED/, gone],
      [/no answer within 300 ms/, silent],
      [/broke off|ECONNRESET|hang up/, await listening(createServer((socket) => socket.destroy()))],
      [/HPE_|Parse Error/, await listening(createServer((socket) => socket.end('SSH-2.0-something\r\n')))],
      [/status 500/, await answering((_, response) => response.writeHead(500).end('{}'))],
      [/status 302/, await answering((_, response) => response.writeHead(302, { location: '/' }).end())],
      [/not JSON/, await answering((_, response) => response.end('<html>'))],
      [/not a witness's/, await answering((_, response) => response.end('{"outcome":"done"}'))],
      [
        /not a witness's/,
        await answering((_, response) => response.end(JSON.stringify({ outcome: 'done', view: { ...view, epoch: 'x' } }))),
      ],
      [
        /about group "db"/,
        await answering((_, response) => response.end(JSON.stringify({ outcome: 'done', view: { ...view, group: 'db' } }))),
      ],
      [/broke off/, await answering((_, response) => response.end('x'.repeat(2 * limits.httpBodyBytesMax)))],
      [
        /broke off/,
        await answering((_, response) => {
          response.writeHead(200, { 'content-length': 100 }).write('{"outcome"');
          setImmediate(() => response.destroy());
        }),
      ],
    ];
    for (const [why, where] of cases) {
      const client = clientOf(where, where === silent ? 300 : 5000);
      assert.deepEqual(await ask(client, read), { outcome: 'unknown' });
      assert.match(client.lastFailure ?? '', why);
      client.close();
    }
  });

  test('asks again on a new connection when a kept one was closed meanwhile: a restarted witness costs no unknown', async () => {
    const first = await start();
    const client = clientOf(first);
    await ask(client, creation);
    await first.close();
    const second = await start({ listen: first.address });
    const answer = await ask(client, claim);
    assert.equal(answer.outcome, 'done');
    assert.equal(second.instance, first.instance);
  });

  test('tries a kept connection that breaks under it once more on a new one, and a new one that breaks not again', async () => {
    const served = new Map<object, number>();
    let reply = '';
    const witness = await answering((request, response) => {
      served.set(request.socket, (served.get(request.socket) ?? 0) + 1);
      if (served.get(request.socket) === 2 || reply === '') request.socket.destroy();
      else response.end(reply);
    });
    const client = clientOf(witness);
    assert.equal((await ask(client, read)).outcome, 'unknown');
    assert.deepEqual([...served.values()], [1]);
    reply = JSON.stringify({ outcome: 'refused', reason: 'unknown-group', text: 'no', view: null });
    assert.equal((await ask(client, read)).outcome, 'refused');
    assert.equal((await ask(client, read)).outcome, 'refused');
    assert.deepEqual([...served.values()], [1, 2, 1]);
  });

  test('tells each call under way unknown when it is closed, once, and each call after that', async () => {
    const silent = await listening(createServer());
    const client = clientOf(silent);
    const replies: WitnessReply[] = [];
    const underWay = new Promise<void>((resolve) => {
      client.call(read, (reply) => {
        replies.push(reply);
        resolve();
      });
    });
    client.close();
    await underWay;
    assert.deepEqual(await ask(client, read), { outcome: 'unknown' });
    assert.deepEqual(replies, [{ outcome: 'unknown' }]);
  });
});
