// npm run show:scrub [-- --slices N --seconds S]: what disks do to each of three copies is found, named and mended; and what hosts feel of a scrub:
// latencies of a host with one running and with none, in slices that take turns within one run, on real processes on this machine.

import { rmSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { pause } from '../../demo/waiting.ts';
import { ControlClient } from '../../src/api/client.ts';
import { MIB, TestCluster } from '../../test/support/cluster.ts';
import { assertFound, damageAll, settle, verifyCommand } from '../../test/support/scrub.ts';

const { values } = parseArgs({ options: { slices: { type: 'string', default: '12' }, seconds: { type: 'string', default: '6' } } });
const SLICES = Number(values.slices);
const SLICE_MILLIS = Number(values.seconds) * 1000;
const VOLUME_BYTES = 256 * MIB;
const BLOCK_BYTES = 4096;
/** Requests of the host under way at once; every other one reads. */
const LANES = 4;

const say = (text: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);

/** Bytes that no compression or hole hides. */
function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0;
  for (let at = 0; at < length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}

async function showDamage(test: TestCluster): Promise<void> {
  await settle(test);
  const injected = damageAll(test);
  say(`damaged on disk: ${injected.length} places, at each copy rot in its base image, rot in its sidefile, and a write that it missed`);
  const { report } = await verifyCommand(test);
  assertFound(report, injected, true);
  for (const { site, kind, volume, file, offset, length, seq, repaired } of report.findings)
    say(
      `  ${site} ${kind}: ${file ?? `volume ${volume}`}, ${length} bytes at ${offset}, record ${seq}: ${repaired ? 'mended' : 'NOT mended'}`,
    );
  const again = await verifyCommand(test);
  if (again.code !== 0) throw new Error('the copies still differ');
  say('all of it found, at the right copy, of the right kind, and mended; a second verify finds nothing');
}

/** Latencies of one slice, in milliseconds. */
async function slice(test: TestCluster, scrub: boolean): Promise<{ latencies: number[]; scrubbedBytes: number }> {
  const client = await test.attach('alpha');
  const control = new ControlClient(test.member('alpha').layout.control);
  const group = test.exportName.split('/')[0] as string;
  const latencies: number[] = [];
  const until = performance.now() + SLICE_MILLIS;
  const data = noise(BLOCK_BYTES, 7);
  let scrubbedBytes = 0;
  const lane = async (number: number): Promise<void> => {
    for (let i = number; performance.now() < until; i += LANES) {
      const offset = Math.floor(Math.random() * (VOLUME_BYTES / BLOCK_BYTES)) * BLOCK_BYTES;
      const begun = performance.now();
      if (i % 2 === 0) await client.write(offset, data);
      else await client.read(offset, BLOCK_BYTES);
      latencies.push(performance.now() - begun);
      await pause(1);
    }
  };
  const scrubbing = async (): Promise<void> => {
    while (scrub && performance.now() < until) {
      await control.verify(group, { algorithm: 'sha256', reportOnly: false, bytesPerSecond: 0 });
      await pause(200);
    }
    if (!scrub) return;
    scrubbedBytes = (await control.verifyStatus(group)).verifiedBytes;
    await control.cancelVerify(group);
  };
  await Promise.all([...Array.from({ length: LANES }, (_, number) => lane(number)), scrubbing()]);
  await client.close();
  return { latencies, scrubbedBytes };
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

async function showLatency(test: TestCluster): Promise<void> {
  const all: Record<'with' | 'without', number[]> = { with: [], without: [] };
  let scrubbed = 0;
  await slice(test, false);
  for (let number = 0; number < SLICES; number++) {
    const { latencies, scrubbedBytes } = await slice(test, number % 2 === 1);
    all[number % 2 === 1 ? 'with' : 'without'].push(...latencies);
    scrubbed += scrubbedBytes;
  }
  const [quiet, busy] = [all.without, all.with].map((list) => list.sort((a, b) => a - b)) as [number[], number[]];
  for (const [name, share] of [
    ['p50', 0.5],
    ['p95', 0.95],
    ['p99', 0.99],
  ] as const) {
    const [without, withScrub] = [percentile(quiet, share), percentile(busy, share)];
    say(
      `${name}: ${without.toFixed(2)} ms without a scrub, ${withScrub.toFixed(2)} ms with one: ${(withScrub / without).toFixed(2)} times`,
    );
  }
  const seconds = (SLICES * SLICE_MILLIS) / 2000;
  say(
    `${quiet.length} and ${busy.length} requests of 4 KiB, ${LANES} at once, half of them writes; the scrub compared ${(scrubbed / MIB / seconds).toFixed(0)} MiB/s`,
  );
}

const test = await TestCluster.open({ sizeBytes: VOLUME_BYTES });
try {
  await test.begin();
  const client = await test.attach('alpha');
  for (let at = 0; at < VOLUME_BYTES; at += MIB) await client.write(at, noise(MIB, at + 1));
  // Records that all sidefiles hold: those of the data have been dropped by now.
  for (let i = 0; i < 64; i++) await client.write(8 * MIB + i * 4 * BLOCK_BYTES, noise(4 * BLOCK_BYTES, i));
  await client.close();
  say(`three copies of ${VOLUME_BYTES / MIB} MiB of data`);
  await showDamage(test);
  await showLatency(test);
  await test.compareCopies();
  say('the three copies are equal byte for byte');
} finally {
  await test.close();
}
rmSync(test.layout.folder, { recursive: true, force: true });
