// npm run show:threads [-- --rounds N --seconds S --sites N --workload NAME]: two groups under write load at once, each in a thread of its own and both in
// one, in rounds of two slices that take turns, within one run, on real processes on this machine. Ratios are of the slices of one round.

import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Cluster } from '../../demo/cluster.ts';
import { nbdUri, planLayout, PortFinder } from '../../demo/layout.ts';
import { until } from '../../demo/waiting.ts';
import { fill, type FioResult, runFio } from '../bench/fio.ts';
import { machineBusySeconds, processorText, processSeconds } from '../bench/processor.ts';
import { WORKLOADS } from '../bench/workloads.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '6' },
    seconds: { type: 'string', default: '6' },
    sites: { type: 'string', default: '1' },
    workload: { type: 'string', default: 'write32' },
  },
});
const SECONDS = Number(values.seconds);
const SIZE_BYTES = 256 * 1024 * 1024;
const START_MILLIS = 60_000;
const OTHER = 'other';

const workload = WORKLOADS.find(({ name }) => name === values.workload);
if (workload === undefined) throw new Error(`there is no workload ${values.workload}: ${WORKLOADS.map(({ name }) => name).join(', ')}`);

const say = (text: string): void => console.log(text);

interface Side {
  readonly cluster: Cluster;
  readonly uris: readonly string[];
}

/** A site, or several, with two groups, which are served by the first one. */
async function open(folder: string, ports: PortFinder, thread: boolean): Promise<Side> {
  const layout = await planLayout({ folder, sizeBytes: SIZE_BYTES, usualPorts: false, ports, siteCount: Number(values.sites) });
  const cluster = new Cluster({
    layout,
    ownGroup: false,
    config: { group: { thread: String(thread) } },
    died: (daemon) => say(daemon.logTail()),
  });
  const names = (async: boolean): string =>
    JSON.stringify(layout.sites.filter(({ mode }) => !async || mode === 'async').map(({ name }) => name));
  const lines = [`[group.${OTHER}]`, `sites = ${names(false)}`, `async = ${names(true)}`, `thread = ${thread}`];
  appendFileSync(layout.configFile, [...lines, `[[group.${OTHER}.volume]]`, 'name = "disk0"', `size = ${SIZE_BYTES}`, ''].join('\n'));
  await cluster.start();
  await cluster.create();
  const [first] = cluster.members;
  if (first === undefined) throw new Error('there is no site');
  await first.client.create(OTHER);
  const count = layout.sites.length;
  await until('both groups are served, and mirrored where there are mirrors', START_MILLIS, async () => {
    const { groups } = await first.client.status();
    return groups.every(({ serving, protection }) => serving && (count === 1 || protection === 'mirrored'));
  });
  const uri = nbdUri(layout, first.layout.nbdSocket ?? first.layout.nbd);
  const uris = [uri, uri.replace(`${layout.group}/${layout.volume}`, `${OTHER}/disk0`)];
  for (const each of uris) await fill(each, SIZE_BYTES);
  return { cluster, uris };
}

interface Slice {
  readonly results: readonly FioResult[];
  readonly iops: number;
  readonly cpuPerMillion: number;
  /** Of all cores. */
  readonly busyShare: number;
}

async function settle({ cluster }: Side): Promise<void> {
  await until('everything is in the base images', START_MILLIS, async () => {
    const all = await Promise.all(cluster.members.map(({ client }) => client.status()));
    return all.every(({ groups }) => groups.every(({ marks }) => marks === null || marks.destaged === marks.received));
  });
}

async function slice(side: Side): Promise<Slice> {
  const { cluster, uris } = side;
  await settle(side);
  const pids = cluster.daemons.flatMap(({ pid }) => (pid === null ? [] : [pid]));
  const [cpu, busy, began] = [processSeconds(pids), machineBusySeconds(), performance.now()];
  const results = await Promise.all(
    uris.map((uri) => runFio(workload as NonNullable<typeof workload>, { uri, sizeBytes: SIZE_BYTES, seconds: SECONDS })),
  );
  const busyShare = (machineBusySeconds() - busy) / (((performance.now() - began) / 1000) * availableParallelism());
  await settle(side);
  const operations = results.reduce((sum, each) => sum + each.operations, 0);
  return {
    results,
    iops: results.reduce((sum, each) => sum + each.iops, 0),
    cpuPerMillion: (processSeconds(pids) - cpu) / (operations / 1e6),
    busyShare,
  };
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-threads-'));
  const ports = new PortFinder();
  const sides: Side[] = [];
  say(`${processorText()}; ${values.sites} site(s), two groups, ${workload?.label ?? ''}, ${SECONDS} s each`);
  try {
    for (const thread of [false, true]) sides.push(await open(join(folder, String(thread)), ports, thread));
    const [off, on] = sides as [Side, Side];
    const ratios: { iops: number; cpu: number; p99: number }[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      const order = round % 2 === 0 ? [off, on] : [on, off];
      const slices = new Map<Side, Slice>();
      for (const side of order) slices.set(side, await slice(side));
      const [without, withThreads] = [slices.get(off) as Slice, slices.get(on) as Slice];
      const p99 = ({ results }: Slice): number => Math.max(...results.map(({ p99Micros }) => p99Micros));
      const ratio = {
        iops: withThreads.iops / without.iops,
        cpu: withThreads.cpuPerMillion / without.cpuPerMillion,
        p99: p99(withThreads) / p99(without),
      };
      ratios.push(ratio);
      const text = (each: Slice): string =>
        `${each.iops.toFixed(0)} IOPS (${each.results.map(({ iops }) => iops.toFixed(0)).join(' + ')}), ${each.cpuPerMillion.toFixed(1)} CPU s/M, p99 ${(p99(each) / 1000).toFixed(1)} ms, cores ${(each.busyShare * 100).toFixed(0)} % busy`;
      say(`round ${round + 1}: one thread ${text(without)}; two threads ${text(withThreads)}; ratio ${ratio.iops.toFixed(2)}`);
    }
    const of = (pick: (ratio: (typeof ratios)[number]) => number): string => `${median(ratios.map(pick)).toFixed(2)}`;
    say(
      `two threads / one thread, medians: operations ${of(({ iops }) => iops)}, CPU for each ${of(({ cpu }) => cpu)}, p99 ${of(({ p99 }) => p99)}`,
    );
    for (const { cluster } of sides) await cluster.stop();
  } finally {
    for (const { cluster } of sides) await cluster.kill();
  }
  rmSync(folder, { recursive: true });
}

await main();
