// Strangers and broken clients on every listening port: noise, wrong versions, other groups, lengths beyond all bounds, clients that die in the
// middle or never read. Each loses its own connection; nobody else is disturbed, and no process grows without bound.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { test } from 'node:test';

import type { Address } from '../../src/api/address.ts';
import { encodeHeader, encodeJson, encodeMessage } from '../../src/core/mirror/messages.ts';
import { machineDigests } from '../../src/host/digests.ts';
import { pause } from '../../demo/waiting.ts';
import type { TestCluster } from '../support/cluster.ts';
import { MIB, residentBytes, withCluster } from '../support/cluster.ts';

const CLOSED_MILLIS_MAX = 20_000;
/** What a process may grow by: what one NBD connection may hold at most, and what the collector has not given back yet. */
const GROWTH_BYTES_MAX = 350 * MIB;

function open(address: Address): Socket {
  return connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
}

/** Sends bytes, reads whatever comes, and resolves when the other side has closed the connection. */
function closes(address: Address, what: string, ...pieces: readonly Uint8Array[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = open(address);
    const late = setTimeout(() => {
      socket.destroy();
      reject(new Error(`${what}: ${address.text} kept the connection for ${CLOSED_MILLIS_MAX / 1000} s`));
    }, CLOSED_MILLIS_MAX);
    // A reset is a way of closing too.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(late);
      resolve();
    });
    socket.resume();
    for (const piece of pieces) socket.write(piece);
  });
}

const text = (value: string): Uint8Array => Buffer.from(value, 'latin1');
const HTTP = text('GET / HTTP/1.1\r\nhost: x\r\n\r\n');

function hello(fields: Record<string, unknown>): Uint8Array {
  return encodeMessage('hello', encodeJson({ group: 'demo', groupId: null, from: 'beta', to: 'alpha', ...fields }), machineDigests);
}

/** The same message in another version of the protocol, with a right checksum. */
function otherVersion(message: Uint8Array): Uint8Array {
  const bytes = Buffer.from(message);
  bytes.writeUInt16LE(bytes.readUInt16LE(8) + 1, 8);
  bytes.writeUInt32LE(machineDigests.crc32(bytes.subarray(8, 24), 0), 4);
  return bytes;
}

function linkStrangers(link: Address): Promise<void>[] {
  return [
    closes(link, 'noise', randomBytes(65_536)),
    closes(link, 'HTTP', HTTP),
    closes(link, 'silence'),
    closes(link, 'a head that never ends', hello({}).subarray(0, 10)),
    closes(link, 'another version', otherVersion(hello({}))),
    closes(link, 'another group', hello({ group: 'other' })),
    closes(link, 'another group of the same name', hello({ groupId: 'ffffffff-ffff-4fff-8fff-ffffffffffff' })),
    closes(link, 'for another site', hello({ to: 'gamma' })),
    closes(link, 'from nobody', hello({ from: 'delta' })),
    closes(link, 'no hello first', encodeMessage('ping', new Uint8Array(0), machineDigests)),
    closes(link, 'a huge hello', encodeHeader('hello', { bytes: 60 * MIB, crc: 0 }, machineDigests), randomBytes(MIB)),
  ];
}

const NBD_HELLO = Buffer.from('00000003' + '49484156454f5054', 'hex');

function nbdStrangers(nbd: Address): Promise<void>[] {
  const option = (number: number, length: number): Buffer => {
    const head = Buffer.alloc(16);
    head.write('IHAVEOPT', 'latin1');
    head.writeUInt32BE(number, 8);
    head.writeUInt32BE(length, 12);
    return head;
  };
  return [
    closes(nbd, 'noise', randomBytes(65_536)),
    closes(nbd, 'HTTP', HTTP),
    closes(nbd, 'silence'),
    closes(nbd, 'unknown client flags', Buffer.from('ffffffff', 'hex')),
    closes(nbd, 'half an option', NBD_HELLO),
    closes(nbd, 'an option of 4 GiB', NBD_HELLO.subarray(0, 4), option(7, 0xffff_ffff), randomBytes(MIB)),
    closes(nbd, 'options without end', NBD_HELLO.subarray(0, 4), ...Array.from({ length: 2000 }, () => option(99, 0))),
  ];
}

test('strangers lose their own connection, and nobody else notices', async () => {
  await withCluster({}, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 300);
    const before = await test.status('alpha');
    const sizes = test.cluster.daemons.map((daemon) => residentBytes(daemon.pid as number));
    const { control } = test.member('alpha').layout;

    await Promise.all([
      ...test.layout.sites.flatMap((site) => [...linkStrangers(site.link), ...nbdStrangers(site.nbd)]),
      closes(control, 'noise', randomBytes(65_536)),
      closes(control, 'a head without end', text(`GET / HTTP/1.1\r\nx: ${'y'.repeat(100_000)}`)),
      closes(control, 'NBD', NBD_HELLO),
      closes(test.layout.witness.address, 'noise', randomBytes(65_536)),
      closes(test.layout.witness.address, 'a head without end', text(`GET / HTTP/1.1\r\nx: ${'y'.repeat(100_000)}`)),
      closes(
        test.layout.witness.address,
        'a body without end',
        text('POST /v1/groups/demo/operations HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n'),
        randomBytes(MIB),
      ),
    ]);

    await test.acknowledged(load, 300);
    const after = await test.status('alpha');
    assert.deepEqual([after.epoch, after.counters.excludes, after.serving], [before.epoch, before.counters.excludes, true]);
    assert.equal(await test.healed(), 'alpha');
    for (const [index, daemon] of test.cluster.daemons.entries()) {
      const grown = residentBytes(daemon.pid as number) - (sizes[index] as number);
      assert.ok(grown < GROWTH_BYTES_MAX, `${daemon.name} has grown by ${Math.round(grown / MIB)} MiB`);
    }
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

/** Attaches by hand, to send what no client would. */
async function transmission(test: TestCluster): Promise<Socket> {
  const socket = open(test.member('alpha').layout.nbd);
  const name = text(test.exportName);
  const option = Buffer.alloc(20 + name.length);
  option.writeUInt32BE(3, 0);
  option.write('IHAVEOPT', 4, 'latin1');
  option.writeUInt32BE(1, 12);
  option.writeUInt32BE(name.length, 16);
  option.set(name, 20);
  socket.write(option);
  socket.on('error', () => undefined);
  let received = 0;
  // Greeting, then size and flags: EXPORT_NAME has no other answer.
  await new Promise<void>((resolve) => {
    socket.on('data', function count(bytes) {
      received += bytes.length;
      if (received < 28) return;
      socket.off('data', count);
      socket.pause();
      resolve();
    });
  });
  return socket;
}

function requestHead(command: number, offset: number, length: number): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(0x25609513, 0);
  head.writeUInt16BE(command, 6);
  head.writeBigUInt64BE(7n, 8);
  head.writeBigUInt64BE(BigInt(offset), 16);
  head.writeUInt32BE(length, 24);
  return head;
}

test('a client that dies in the middle of a write has written nothing of it', async () => {
  await withCluster({}, async (test) => {
    const client = await test.attach('alpha');
    const old = randomBytes(MIB);
    await client.write(0, old);
    for (const sent of [1, 4096, 300_000, MIB - 1]) {
      const socket = await transmission(test);
      socket.write(requestHead(1, 0, MIB));
      socket.write(Buffer.alloc(sent, 0xee));
      await pause(100);
      socket.resetAndDestroy();
    }
    await test.until('the dead clients are gone', async () => (await test.status('alpha')).heldRequests === 0);
    assert.ok((await client.read(0, MIB)).equals(old));
    await test.compareCopies();
  });
});

test('clients that send nonsense in the transmission, or never read, are bounded', async () => {
  await withCluster({}, async (test) => {
    const load = test.load();
    await test.acknowledged(load, 200);
    const { pid } = test.member('alpha').daemon;
    const before = residentBytes(pid as number);

    const noise = await transmission(test);
    const huge = await transmission(test);
    const gone = new Promise((resolve) => {
      noise.on('close', resolve).resume();
    });
    noise.write(randomBytes(4096));
    // A write of 4 GiB: its bytes are not kept, whether the server skips them all or closes the connection.
    huge.write(requestHead(1, 0, 0xffff_ffff));
    for (let sent = 0; sent < 400; sent++) huge.write(Buffer.alloc(MIB));
    await Promise.race([gone, pause(CLOSED_MILLIS_MAX).then(() => Promise.reject(new Error('noise was not answered by a close')))]);

    // Asks for 2 GiB and reads nothing.
    const greedy = await transmission(test);
    for (let count = 0; count < 1024; count++) greedy.write(requestHead(0, 0, 2 * MIB));
    await test.acknowledged(load, 1000);
    const grown = residentBytes(pid as number) - before;
    assert.ok(grown < GROWTH_BYTES_MAX, `alpha has grown by ${Math.round(grown / MIB)} MiB`);
    for (const socket of [greedy, huge]) socket.resetAndDestroy();
    await test.acknowledged(load, 200);
    await test.compareCopies(load);
  });
});
