// npm run show:sizes [-- --rounds 5 --seconds 3 --places 65536 --sidefile-gib 10 --region-gib 1024 --no-memory --no-sizes]: that an operation costs the same on a small volume and on a huge one: 1 GiB,
// 100 GiB and 10 TiB, sparse, served in turn in one run; and what memory sites need whose volume is 1 TiB and whose sidefile is full with 10 GiB of
// records that far lacks. On real processes on this machine, everything on the same cores. Writes as much as the sidefiles of two sites hold.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { PortFinder } from '../../demo/layout.ts';
import { pause } from '../../demo/waiting.ts';
import { MIB, residentBytes, type TestCluster, withCluster } from '../../test/support/cluster.ts';
import { runFio } from '../bench/fio.ts';
import { processSeconds } from '../bench/processor.ts';
import { type Server, tercet } from '../bench/servers.ts';
import { type Workload, WORKLOADS } from '../bench/workloads.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    places: { type: 'string', default: '65536' },
    'sidefile-gib': { type: 'string', default: '10' },
    'region-gib': { type: 'string', default: '1024' },
    memory: { type: 'boolean', default: true },
    sizes: { type: 'boolean', default: true },
  },
  allowNegative: true,
});
const SECONDS = Number(values.seconds);
const GIB = 1024 * MIB;
const SIZES = [
  { text: '1 GiB', bytes: GIB },
  { text: '100 GiB', bytes: 100 * GIB },
  { text: '10 TiB', bytes: 10 * 1024 * GIB },
] as const;
const ROWS = ['write32', 'mix32', 'write1'];
/** Blocks that are written, everywhere in the volume: as many in each, so that only how far apart they lie differs. */
const PLACES = Number(values.places);
/** Before anything is measured each place has been written, and so has its space in the file system. */
const WARM_UP_SECONDS = Math.ceil(PLACES / 16_384);
const SIDEFILE_MIB = Number(values['sidefile-gib']) * 1024;
/** Of the sidefile: the rest is what is freed and written anew by the segment. */
const FULL_SHARE = 0.97;
/** How much of the volume is written to, from its begin on: all of it fills the sidefile more slowly, because each block is destaged by itself. */
const REGION_GIB = Number(values['region-gib']);
const SLICE_SECONDS = 5;
const SAMPLE_MILLIS = 200;

const say = (text: string): void => console.log(text);
const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? NaN;
const mib = (bytes: number): string => (bytes / MIB).toFixed(0);

function workload(name: string): Workload {
  const found = WORKLOADS.find((each) => each.name === name);
  if (found === undefined) throw new Error(`there is no workload ${name}`);
  return found;
}

/** A workload over places that are spread evenly over a volume. */
function spread(row: Workload, sizeBytes: number): Workload {
  return { ...row, fio: [...row.fio, `--blockalign=${sizeBytes / PLACES}`] };
}

/** Processor microseconds of a server for an operation: while the host is there, and with all that follows until everything is in the base image. */
interface Cost {
  readonly answered: number;
  readonly destaged: number;
}

async function costOf(server: Server, row: Workload, sizeBytes: number): Promise<Cost> {
  await server.settle();
  const before = processSeconds(server.pids());
  const { operations } = await runFio(spread(row, sizeBytes), { uri: server.uri, sizeBytes, seconds: SECONDS });
  const answered = ((processSeconds(server.pids()) - before) / operations) * 1e6;
  await server.settle();
  return { answered, destaged: ((processSeconds(server.pids()) - before) / operations) * 1e6 };
}

async function volumes(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-sizes-'));
  const servers: Server[] = [];
  try {
    const ports = new PortFinder();
    for (const [index, { bytes }] of SIZES.entries())
      servers.push(await tercet({ folder, sizeBytes: bytes, ports, profiles: null, group: {}, allocations: false }, `tercet-${index}`, 1));
    for (const [index, { bytes, text }] of SIZES.entries()) {
      const server = servers[index] as Server;
      await runFio(spread(workload('write32'), bytes), { uri: server.uri, sizeBytes: bytes, seconds: WARM_UP_SECONDS });
      await server.settle();
      say(`  ${text}: ${PLACES} places have been written`);
    }
    say(
      `processor time of one site for an operation while the host is there, and with destaging, µs: medians of ${values.rounds} rounds of ${SECONDS} s, volumes in turn`,
    );
    say(`| workload | ${SIZES.map(({ text }) => text).join(' | ')} |`);
    say(`| --- |${SIZES.map(() => ' --- |').join('')}`);
    for (const name of ROWS) {
      const costs: Cost[][] = SIZES.map(() => []);
      for (let round = 0; round < Number(values.rounds); round++)
        for (const [index, { bytes }] of SIZES.entries()) costs[index]?.push(await costOf(servers[index] as Server, workload(name), bytes));
      const cells = costs.map(
        (list) => `${median(list.map(({ answered }) => answered)).toFixed(1)}, ${median(list.map(({ destaged }) => destaged)).toFixed(1)}`,
      );
      say(`| ${workload(name).label} | ${cells.join(' | ')} |`);
    }
    const largest = servers.map((server) => Math.max(...server.pids().map(residentBytes)));
    say(`| resident memory afterwards, MiB | ${largest.map(mib).join(' | ')} |`);
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Writes until the sidefile is full of what far lacks; returns the largest resident memory that each site had meanwhile. */
async function fillSidefile(test: TestCluster): Promise<ReadonlyMap<string, number>> {
  const sites = ['alpha', 'beta'] as const;
  const most = new Map<string, number>();
  let ended = false;
  const sampling = (async (): Promise<void> => {
    while (!ended) {
      for (const name of sites) {
        const { pid } = test.member(name).daemon;
        if (pid !== null) most.set(name, Math.max(most.get(name) ?? 0, residentBytes(pid)));
      }
      await pause(SAMPLE_MILLIS);
    }
  })();
  try {
    for (;;) {
      const { sidefileBytes } = await test.status('alpha');
      say(
        `  ${mib(sidefileBytes)} MiB in the sidefile; resident so far: ${sites.map((name) => `${name} ${mib(most.get(name) ?? 0)}`).join(', ')} MiB`,
      );
      if (sidefileBytes >= FULL_SHARE * SIDEFILE_MIB * MIB) return most;
      const target = { uri: test.uri('alpha', 'unix'), sizeBytes: REGION_GIB * GIB, seconds: SLICE_SECONDS };
      await runFio({ ...workload('write32'), fio: ['--rw=randwrite', '--bs=4k', '--norandommap', '--iodepth=8'] }, target);
    }
  } finally {
    ended = true;
    await sampling;
  }
}

async function memory(): Promise<void> {
  // As after an installation, but for the size of the sidefile.
  const group = {
    lease_millis: 1500,
    heartbeat_millis: 250,
    peer_timeout_millis: 1000,
    segment_mib: 64,
    sidefile_mib: SIDEFILE_MIB,
    destage_idle_millis: 1000,
    destage_backlog_mib: 256,
  };
  say(
    `three sites, a volume of 1 TiB, a sidefile of ${SIDEFILE_MIB} MiB, far away; 4 KiB writes all over the first ${REGION_GIB} GiB of it, 8 deep`,
  );
  await withCluster({ sizeBytes: 1024 * GIB, group }, async (test) => {
    await test.healed();
    await test.member('gamma').daemon.kill();
    const most = await fillSidefile(test);
    for (const [name, bytes] of most) say(`| ${name}, largest resident memory | ${mib(bytes)} MiB |`);
  });
}

if (values.sizes) await volumes();
if (values.memory) await memory();
