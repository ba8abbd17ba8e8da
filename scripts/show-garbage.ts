// `npm run show:garbage -- --minutes 10`: strangers at every port for ten minutes, in plain text and inside TLS: noise, half a message, half-open
// connections that stay, connections that are reset in the middle of a handshake. Meanwhile hosts write. Shows the memory, the open files and the
// work of each process at the end of each minute; fails when anything grows without end, a role changes, or a write is lost.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { parseArgs } from 'node:util';

import type { Address } from '../src/api/address.ts';
import { pause } from '../demo/waiting.ts';
import type { TestCluster } from '../test/support/cluster.ts';
import { MIB, residentBytes, withCluster } from '../test/support/cluster.ts';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' }, tls: { type: 'boolean', default: false } } });
const MINUTES = Number(values.minutes);
/** At each port at a time. */
const STRANGERS = 12;
/** What a process may have more at the end than after the first minute: what the collector has not given back. */
const GROWTH_BYTES_MAX = 64 * MIB;
const GROWTH_FILES_MAX = 40;

const BEGINNINGS: readonly (() => Uint8Array)[] = [
  () => new Uint8Array(0),
  () => randomBytes(1 + Math.floor(Math.random() * 4096)),
  () => Buffer.from('GET /v1/status HTTP/1.1\r\nhost: localhost\r\nx: '),
  () => Buffer.from('POST /v1/groups/demo/operations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000\r\n\r\n{'),
  () => Buffer.from('00000003' + '49484156454f5054' + '00000007ffffffff', 'hex'),
  // The first record of a TLS handshake that never goes on.
  () => Buffer.from('16030100c8010000c40303', 'hex'),
];

/** One stranger after the other at one port, until it is time. */
async function besiege(address: Address, until: number, count: { connections: number }): Promise<void> {
  while (performance.now() < until) {
    const socket: Socket = connect({
      ...(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port }),
      allowHalfOpen: true,
    });
    socket.on('error', () => undefined);
    socket.resume();
    const bytes = (BEGINNINGS[Math.floor(Math.random() * BEGINNINGS.length)] as () => Uint8Array)();
    if (bytes.length > 0) socket.write(bytes);
    const closed = new Promise((resolve) => {
      socket.on('close', resolve);
    });
    count.connections++;
    // Most go away by themselves, some end their half and stay, some wait until they are thrown out.
    const way = Math.random();
    if (way < 0.3) socket.end();
    await Promise.race([closed, pause(way < 0.7 ? 50 + Math.random() * 500 : 30_000)]);
    if (way > 0.5 && address.kind === 'tcp') socket.resetAndDestroy();
    else socket.destroy();
  }
}

function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

function measure(test: TestCluster): readonly { name: string; bytes: number; files: number }[] {
  return test.cluster.daemons.map((daemon) => {
    const pid = daemon.pid as number;
    return { name: daemon.name, bytes: residentBytes(pid), files: openFiles(pid) };
  });
}

await withCluster({ tls: values.tls }, async (test) => {
  const watch = test.watch();
  const load = test.load({ depth: 2, blockCount: 512 });
  await test.acknowledged(load, 100);
  const before = await test.status('alpha');
  const until = performance.now() + MINUTES * 60_000;
  const ports = [
    test.layout.witness.address,
    ...test.layout.sites.flatMap((site) => [site.link, site.nbd, site.control, ...(site.nbdSocket === null ? [] : [site.nbdSocket])]),
  ];
  const count = { connections: 0 };
  const strangers = ports.flatMap((port) => Array.from({ length: STRANGERS }, () => besiege(port, until, count)));
  const rows: ReturnType<typeof measure>[] = [];
  while (performance.now() < until) {
    await pause(Math.min(60_000, Math.max(0, until - performance.now())));
    rows.push(measure(test));
    const line = rows.at(-1)?.map(({ name, bytes, files }) => `${name} ${Math.round(bytes / MIB)} MiB ${files} files`);
    console.log(`minute ${rows.length}: ${line?.join(', ')}; ${load.ledger.acknowledgedCount} writes, ${count.connections} strangers`);
  }
  await Promise.all(strangers);
  const after = await test.status('alpha');
  assert.deepEqual([after.epoch, after.counters.excludes, after.serving], [before.epoch, before.counters.excludes, true]);
  const [first, last] = [rows[0] ?? [], measure(test)];
  for (const [index, { name, bytes, files }] of last.entries()) {
    const from = first[index];
    assert.ok(from);
    assert.ok(bytes - from.bytes < GROWTH_BYTES_MAX, `${name} has grown by ${Math.round((bytes - from.bytes) / MIB)} MiB`);
    assert.ok(files - from.files < GROWTH_FILES_MAX, `${name} has ${files - from.files} more files open`);
  }
  assert.deepEqual((await watch.stop()).faults, []);
  await test.compareCopies(load);
  console.log(
    `${count.connections} strangers at ${ports.length} ports in ${MINUTES} minutes: no change of roles, no growth, all copies equal`,
  );
});
