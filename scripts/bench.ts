// `npm run bench`: the same workloads against Tercet with one, two and three sites, nbdkit's file plugin and qemu-nbd, all in one run and in turn,
// so that what disturbs the machine disturbs all of them. fio measures; medians and ratios are printed. docs/performance.md says how to read them.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { PortFinder } from '../demo/layout.ts';
import { mustRun } from '../demo/tools.ts';
import { fill, runFio } from './bench/fio.ts';
import { machineBusySeconds, processorText, processSeconds } from './bench/processor.ts';
import type { Round, Summary } from './bench/report.ts';
import { type Ratios, markdownOf, ratiosOf, REFERENCE, summarize, tableOf, worseThan } from './bench/report.ts';
import type { Server } from './bench/servers.ts';
import { SERVERS, USUAL_SERVERS } from './bench/servers.ts';
import type { Workload } from './bench/workloads.ts';
import { WORKLOADS } from './bench/workloads.ts';

const USAGE = `usage: npm run bench -- [options]

  --only NAME       a workload: ${WORKLOADS.map((workload) => workload.name).join(', ')}; may be given several times
  --server NAME     a server: ${Object.keys(SERVERS).join(', ')}; may be given several times; default: all but the one with TLS on its links
  --rounds N        rounds of each; default 5
  --seconds N       of each measurement; default 3: destaging begins after one
  --size MIB        of the volume; default 512
  --set KEY=NUMBER  a key of the group in the configuration, such as destage_idle_millis=5000; may be given several times
  --data DIR        where the images are; default: a new folder in ${tmpdir()}, removed in the end
  --json FILE       write every round and the medians there
  --markdown FILE   write the tables of docs/performance.md there; they are printed too
  --baseline FILE   write the ratios there, for --check
  --check FILE      fail when a ratio is more than a tenth below the one there
  --allocations     count what the daemons allocate on their heaps for an operation (they trace their collections; a little slower)
  --profile DIR     write processor profiles of all sites there (use it with --only)`;

const MIB = 1024 * 1024;
const WARM_UP_SECONDS = 1;

interface Wanted {
  readonly workloads: readonly Workload[];
  readonly servers: readonly string[];
  readonly rounds: number;
  readonly seconds: number;
  readonly sizeBytes: number;
  readonly group: Readonly<Record<string, number>>;
  readonly data: string | null;
  readonly json: string | null;
  readonly profiles: string | null;
  readonly markdown: string | null;
  readonly baseline: string | null;
  readonly check: string | null;
  readonly allocations: boolean;
}

function readArguments(): Wanted | null {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      server: { type: 'string', multiple: true },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '3' },
      size: { type: 'string', default: '512' },
      set: { type: 'string', multiple: true, default: [] },
      data: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'string' },
      markdown: { type: 'string' },
      baseline: { type: 'string' },
      check: { type: 'string' },
      allocations: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const path = (given: string | undefined): string | null => (given === undefined ? null : resolve(given));
  return {
    workloads: chosen(
      '--only',
      values.only,
      WORKLOADS.map((workload) => workload.name),
    ).map((name) => WORKLOADS.find((each) => each.name === name) as Workload),
    servers: values.server === undefined ? USUAL_SERVERS : chosen('--server', values.server, Object.keys(SERVERS)),
    rounds: positive('--rounds', values.rounds),
    seconds: positive('--seconds', values.seconds),
    sizeBytes: positive('--size', values.size) * MIB,
    group: Object.fromEntries(values.set.map((text) => [text.split('=')[0] ?? '', positive('--set', text.split('=')[1] ?? '')])),
    data: path(values.data),
    json: path(values.json),
    profiles: path(values.profile),
    markdown: path(values.markdown),
    baseline: path(values.baseline),
    check: path(values.check),
    allocations: values.allocations,
  };
}

function chosen(option: string, given: readonly string[] | undefined, known: readonly string[]): readonly string[] {
  const unknown = given?.filter((name) => !known.includes(name)) ?? [];
  if (unknown.length > 0) throw new Error(`${option} ${unknown.join(', ')}: known are ${known.join(', ')}`);
  return given === undefined ? known : known.filter((name) => given.includes(name));
}

function positive(option: string, text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new Error(`${option} ${text}: it must be a whole number above 0`);
}

/** Nothing of an earlier measurement is left to be written; for cold reads nothing is cached, and for all others the whole images are. */
async function prepare(server: Server, workload: Workload): Promise<void> {
  await server.settle();
  await mustRun('sync', []);
  for (const file of server.files()) {
    const how = workload.cold ? ['iflag=nocache', 'count=0'] : ['of=/dev/null', 'bs=1M'];
    await mustRun('dd', [`if=${file}`, ...how, 'status=none']);
  }
}

/** One round; the first of a workload warms up. */
async function measure(server: Server, workload: Workload, { seconds, sizeBytes }: Wanted, first: boolean): Promise<Round> {
  const target = { uri: server.uri, sizeBytes };
  if (first && !workload.cold) await runFio(workload, { ...target, seconds: WARM_UP_SECONDS });
  await prepare(server, workload);
  const allocated = server.allocatedBytes();
  const begun = { at: performance.now(), busy: machineBusySeconds(), own: processSeconds(server.pids()) };
  const result = await runFio(workload, { ...target, seconds });
  const during = {
    seconds: (performance.now() - begun.at) / 1000,
    busy: machineBusySeconds() - begun.busy,
    own: processSeconds(server.pids()) - begun.own,
  };
  // What a write still costs behind its answer belongs to it.
  await server.settle();
  const cores = Number.parseInt(processorText(), 10);
  const otherShare = Math.max(0, during.busy - during.own - result.clientCpuSeconds) / (during.seconds * cores);
  return {
    ...result,
    workload: workload.name,
    server: server.name,
    serverCpuSeconds: processSeconds(server.pids()) - begun.own,
    allocatedBytes: allocated === null ? null : (server.allocatedBytes() ?? 0) - allocated,
    otherShare,
  };
}

async function startServers(wanted: Wanted, folder: string): Promise<readonly Server[]> {
  const ports = new PortFinder();
  const servers: Server[] = [];
  try {
    for (const name of wanted.servers) {
      const start = SERVERS[name] ?? null;
      if (start === null) {
        console.log(`${name} is not installed: left out`);
        continue;
      }
      const { sizeBytes, profiles, group, allocations } = wanted;
      const server = await start({ folder, sizeBytes, ports, profiles, group, allocations });
      servers.push(server);
      await fill(server.uri, wanted.sizeBytes);
      await prepare(server, WORKLOADS[0] as Workload);
      console.log(`${name} is filled`);
    }
    return servers;
  } catch (error) {
    await Promise.all(servers.map((server) => server.stop()));
    throw error;
  }
}

/** Measures everything, a table after each workload. */
async function run(wanted: Wanted, folder: string): Promise<{ rounds: readonly Round[]; summaries: readonly Summary[] }> {
  const servers = await startServers(wanted, folder);
  const rounds: Round[] = [];
  try {
    for (const workload of wanted.workloads) {
      for (let round = 0; round < wanted.rounds; round++) {
        for (const server of servers) rounds.push(await measure(server, workload, wanted, round === 0));
      }
      console.log(`\n${tableOf(workload, summarize(rounds)).join('\n')}`);
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
  return { rounds, summaries: summarize(rounds) };
}

/** Prints and writes what was asked for besides the figures; false when a ratio is too much worse than before. */
function conclude(wanted: Wanted, summaries: readonly Summary[]): boolean {
  const markdown = markdownOf(wanted.workloads, summaries);
  console.log(`\n${markdown}`);
  if (wanted.markdown !== null) writeFileSync(wanted.markdown, `${markdown}\n`);
  const ratios = ratiosOf(summaries);
  if (wanted.baseline !== null) writeFileSync(wanted.baseline, `${JSON.stringify(ratios, null, 2)}\n`);
  if (wanted.check === null) return true;
  const worse = worseThan(JSON.parse(readFileSync(wanted.check, 'utf8')) as Ratios, ratios);
  console.log(worse.length === 0 ? '\nno ratio is more than a tenth below the baseline' : `\nbelow the baseline:\n${worse.join('\n')}`);
  return worse.length === 0;
}

async function main(): Promise<void> {
  const wanted = readArguments();
  if (wanted === null) {
    console.log(USAGE);
    return;
  }
  const machine = {
    processor: processorText(),
    node: process.version,
    fio: (await mustRun('fio', ['--version'])).trim(),
    load: loadavg()[0] ?? 0,
  };
  console.log(`${machine.processor}, Node.js ${machine.node}, ${machine.fio}; load before: ${machine.load.toFixed(2)}`);
  console.log(
    `${wanted.rounds} rounds of ${wanted.seconds} s each, in turn; medians; volume ${wanted.sizeBytes / MIB} MiB; ratios to ${REFERENCE}`,
  );
  const folder = wanted.data ?? mkdtempSync(join(tmpdir(), 'tercet-bench-'));
  if (wanted.data !== null && existsSync(wanted.data))
    throw new Error(`--data ${wanted.data}: it exists already, and a benchmark begins with new images`);
  mkdirSync(folder, { recursive: true });
  try {
    const result = await run(wanted, folder);
    if (wanted.json !== null)
      writeFileSync(wanted.json, `${JSON.stringify({ machine, at: new Date().toISOString(), ...result }, null, 2)}\n`);
    if (!conclude(wanted, result.summaries)) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
