// npm run show:scrub [-- --rounds N --seconds S --no-damage]: what disks do to each of three copies is found, named and mended; and what hosts feel of a
// scrub: latencies of a host with one running and with none, in rounds of two slices that take turns, within one run, on real processes on this machine.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { pause } from '../../demo/waiting.ts';
import { ControlClient } from '../../src/api/client.ts';
import { MIB, TestCluster } from '../../test/support/cluster.ts';
import { assertFound, damageAll, settle, verifyCommand } from '../../test/support/scrub.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '12' },
    seconds: { type: 'string', default: '6' },
    damage: { type: 'boolean', default: true },
  },
  allowNegative: true,
});
const ROUNDS = Number(values.rounds);
const SLICE_MILLIS = Number(values.seconds) * 1000;
const VOLUME_BYTES = 512 * MIB;
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

/** What a scrub does while it is measured: it looks at records of sidefiles first, and then compares volumes. */
type Phase = 'records' | 'volumes';

/** One slice of a host's load. */
interface Slice {
  /** In milliseconds, ascending. */
  readonly latencies: readonly number[];
  /** What the scrub looked at meanwhile, of all copies' records or of the volume. */
  readonly scrubbedBytes: number;
  /** Processor time of the three daemons, in milliseconds. */
  readonly processorMillis: number;
}

const group = (test: TestCluster): string => test.exportName.split('/')[0] as string;

/** Has a scrub under way in a phase, so that the host comes to one that runs already. */
async function beginScrub(control: ControlClient, name: string, phase: Phase): Promise<void> {
  await control.verify(name, { algorithm: 'sha256', reportOnly: false, bytesPerSecond: 0 });
  while (phase === 'volumes' && (await control.verifyStatus(name)).recordsCheckedSites.length < 3) await pause(5);
}

async function slice(test: TestCluster, scrub: Phase | null): Promise<Slice> {
  const client = await test.attach('alpha');
  const control = new ControlClient(test.member('alpha').layout.control);
  const latencies: number[] = [];
  const data = noise(BLOCK_BYTES, 7);
  if (scrub !== null) await beginScrub(control, group(test), scrub);
  const before = scrub === null ? null : await control.verifyStatus(group(test));
  const processorBefore = processorMillis(test);
  const until = performance.now() + SLICE_MILLIS;
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
  await Promise.all(Array.from({ length: LANES }, (_, number) => lane(number)));
  const processor = processorMillis(test) - processorBefore;
  let scrubbedBytes = 0;
  if (before !== null) {
    const after = await control.verifyStatus(group(test));
    if (!after.running) throw new Error('the scrub had ended before the slice did: give it less time, --seconds');
    scrubbedBytes = after.verifiedBytes + after.recordsCheckedBytes - before.verifiedBytes - before.recordsCheckedBytes;
    await control.cancelVerify(group(test));
  }
  await client.close();
  return { latencies: latencies.sort((a, b) => a - b), scrubbedBytes, processorMillis: processor };
}

/** Processor time of the daemons so far, by the tenth and eleventh number behind their names in /proc; NaN where there is none. */
function processorMillis(test: TestCluster): number {
  let ticks = 0;
  for (const { daemon } of test.cluster.members) {
    const stat = existsSync(`/proc/${daemon.pid}/stat`) ? readFileSync(`/proc/${daemon.pid}/stat`, 'utf8') : '';
    const numbers = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(numbers[11] ?? NaN) + Number(numbers[12] ?? NaN);
  }
  return ticks * 10;
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

const median = (numbers: readonly number[]): number =>
  percentile(
    [...numbers].sort((a, b) => a - b),
    0.5,
  );

/** Rounds of two slices, one with a scrub and one without, which take turns in being the first. */
async function showLatency(test: TestCluster): Promise<void> {
  await slice(test, null);
  const rounds: { readonly phase: Phase; readonly without: Slice; readonly with: Slice }[] = [];
  for (let number = 0; number < ROUNDS; number++) {
    const phase: Phase = number % 2 === 0 ? 'volumes' : 'records';
    const scrubFirst = number % 4 >= 2;
    const first = await slice(test, scrubFirst ? phase : null);
    const second = await slice(test, scrubFirst ? null : phase);
    rounds.push({ phase, without: scrubFirst ? second : first, with: scrubFirst ? first : second });
  }
  for (const [name, chosen] of [
    ['while it compares volumes', rounds.filter(({ phase }) => phase === 'volumes')],
    ['while it looks at records', rounds.filter(({ phase }) => phase === 'records')],
    ['all rounds', rounds],
  ] as const)
    if (chosen.length > 0) showRounds(name, chosen);
}

function showRounds(name: string, rounds: readonly { readonly without: Slice; readonly with: Slice }[]): void {
  say(`${name}: medians of ${rounds.length} rounds, without a scrub and with one`);
  for (const share of [0.5, 0.95, 0.99]) {
    const [without, withScrub] = (['without', 'with'] as const).map((which) =>
      rounds.map((round) => percentile(round[which].latencies, share)),
    ) as [number[], number[]];
    const ratios = withScrub.map((millis, i) => millis / (without[i] as number)).sort((a, b) => a - b);
    const [low, high] = [ratios[0] as number, ratios.at(-1) as number];
    say(
      `  p${share * 100}: ${median(without).toFixed(2)} ms and ${median(withScrub).toFixed(2)} ms; ` +
        `in one round ${median(ratios).toFixed(2)} times (${low.toFixed(2)} to ${high.toFixed(2)})`,
    );
  }
  const sum = (of: (slice: Slice) => number, which: 'without' | 'with'): number =>
    rounds.reduce((total, round) => total + of(round[which]), 0);
  const requests = (which: 'without' | 'with'): number => sum(({ latencies }) => latencies.length, which);
  const perRequest = (which: 'without' | 'with'): string =>
    ((sum((slice) => slice.processorMillis, which) / requests(which)) * 1000).toFixed(0);
  const scrubbed = sum(({ scrubbedBytes }) => scrubbedBytes, 'with') / MIB / ((rounds.length * SLICE_MILLIS) / 1000);
  say(
    `  ${requests('without')} and ${requests('with')} requests of 4 KiB; the scrub looked at ${scrubbed.toFixed(1)} MiB/s; ` +
      `processor time of the daemons for one request ${perRequest('without')} and ${perRequest('with')} µs`,
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
  if (values.damage) await showDamage(test);
  await showLatency(test);
  await test.compareCopies();
  say('the three copies are equal byte for byte');
} finally {
  await test.close();
}
rmSync(test.layout.folder, { recursive: true, force: true });
