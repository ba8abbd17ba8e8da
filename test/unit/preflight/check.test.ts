// `tercet check`: the two sides of a measure on real sockets, and what findings are made of measures.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

import { type Address, readAddress } from '../../../src/api/address.ts';
import { answerChecks } from '../../../src/preflight/answer.ts';
import { measurePath } from '../../../src/preflight/ask.ts';
import { measureDisk } from '../../../src/preflight/disk.ts';
import { expect } from '../../../src/preflight/expectation.ts';
import { diskFindings, pathFindings } from '../../../src/preflight/findings.ts';

function tcp(port: number): Address {
  const reading = readAddress(`127.0.0.1:${port}`);
  assert('address' in reading);
  return reading.address;
}

/** An address on which nothing listens any more. */
async function freeAddress(): Promise<Address> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return tcp(port);
}

async function answering(context: TestContext, sites: ReadonlyMap<string, Address>): Promise<Address> {
  const address = await freeAddress();
  const server = await answerChecks(address, { sites, tls: null });
  context.after(() => server.close());
  return address;
}

test('a path is measured both ways', async (context) => {
  const sites = new Map<string, Address>();
  const address = await answering(context, sites);
  sites.set('alpha', await answering(context, new Map()));
  const outcome = await measurePath(address, 'alpha', 0.1);
  assert(outcome.kind === 'measured', JSON.stringify(outcome));
  const { roundTripMillis, bytesPerSecond, clockAheadMillis, back } = outcome.measures;
  assert(roundTripMillis.median > 0 && roundTripMillis.median <= roundTripMillis.worst);
  assert(bytesPerSecond > 0);
  assert(Math.abs(clockAheadMillis) < 60_000);
  assert.equal(back, 'ok');
});

test('a way back that is closed is told, and only sites of the configuration are tried', async (context) => {
  const closed = await freeAddress();
  const address = await answering(context, new Map([['alpha', closed]]));
  const outcome = await measurePath(address, 'alpha', 0.05);
  assert(outcome.kind === 'measured', JSON.stringify(outcome));
  assert.equal(outcome.measures.back, 'ECONNREFUSED');
  const foreign = await measurePath(address, 'elsewhere', 0.05);
  assert(foreign.kind === 'measured');
  assert.match(foreign.measures.back, /no such site/);
  const findings = pathFindings('beta', 'sync', 60_000, outcome);
  assert.deepEqual(
    findings.map((finding) => finding.level),
    ['good', 'bad', 'good'],
  );
});

test('something else that listens there is no measure, and nothing that does is told', async (context) => {
  const server = createServer((socket) => socket.end('hello\n')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  assert.deepEqual(await measurePath(tcp((server.address() as AddressInfo).port), 'alpha', 0.05), { kind: 'silent' });
  const outcome = await measurePath(await freeAddress(), 'alpha', 0.05);
  assert.deepEqual(outcome, { kind: 'unreachable', reason: 'ECONNREFUSED' });
  const [finding] = pathFindings('beta', 'sync', 1500, outcome);
  assert.equal(finding?.level, 'bad');
  assert.match(finding?.text ?? '', /tercet check --answer --site beta/);
});

test('strangers at the answering side are hung up on', async (context) => {
  const address = await answering(context, new Map());
  assert(address.kind === 'tcp');
  for (const bytes of ['x'.repeat(4096), 'GET / HTTP/1.1\n', 'TERCET-CHECK/1 sink 99999999999999\n', 'TERCET-CHECK/1 sink -1\n']) {
    const socket = connect(address.port, address.host);
    socket.on('error', () => undefined);
    socket.write(bytes);
    socket.resume();
    await once(socket, 'close');
  }
});

test('a disk is measured and left as it was', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-check-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const disk = measureDisk(folder, 0.05);
  assert(disk.freeBytes > 0 && disk.freeBytes <= disk.totalBytes);
  assert(disk.flushMillis.median > 0 && disk.flushMillis.median <= disk.flushMillis.p99);
  assert.deepEqual(readdirSync(folder), []);
  const tooSmall = diskFindings(folder, { ...disk, freeBytes: 10, flushMillis: { median: 12, p99: 30 } }, 100);
  assert.deepEqual(
    tooSmall.map(({ level, subject }) => [level, subject]),
    [
      ['doubtful', 'space'],
      ['doubtful', 'flush'],
    ],
  );
});

test('what to expect of an async mirror', () => {
  const MIB = 1024 * 1024;
  const demand = {
    writtenBytesPerSecond: 10 * MIB,
    linkBytesPerSecond: 100 * MIB,
    roundTripMillis: 80,
    collectMillis: 20,
    sidefileBytes: 6000 * MIB,
  };
  assert.deepEqual(expect(demand), { rpoSeconds: 0.1, coveredSeconds: 600 });
  // Nine tenths of the link are counted on: 19 MiB/s written over a link of 10 leave a surplus of 10.
  const beyond = expect({ ...demand, writtenBytesPerSecond: 19 * MIB, linkBytesPerSecond: 10 * MIB });
  assert.deepEqual(beyond, { rpoSeconds: null, coveredSeconds: 600 });
  assert.equal(expect({ ...demand, writtenBytesPerSecond: 0 }).coveredSeconds, Infinity);
});
