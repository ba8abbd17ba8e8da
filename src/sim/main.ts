// The simulator's command line. One seed is replayed in this process; many are spread over worker processes, each of which is this program again.
//
//   npm run sim -- --seed 7 [--trace] [--shrink]      replay one run, exactly
//   npm run sim -- --replay JSON [--trace]            the same for one crash point, as it was printed
//   npm run sim -- --seeds 2000 [--from 1] [--jobs 2]  many runs; fails when a rule is broken or a listed state was never reached
//   npm run sim -- --seeds 200 --twice                 the same runs in two processes: their hashes must be equal
//   npm run sim -- --planted all|NAME [--seeds 300]    does it find the bugs that are planted on purpose?
//   npm run sim -- --traces 400 [--from 1] [--trace]    traces of the model (spec/) against the real core; with --planted NAME, against a wrong one
//   npm run sim -- --crash-points [--stride 10]        every (tenth) port call of short scenarios x before, after, torn x crash, power loss

import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Coverage, type State } from './coverage.ts';
import { PLANTED, plant } from './planted.ts';
import type { RunOptions, RunResult } from './run.ts';

const SELF = fileURLToPath(import.meta.url);
/** States are demanded of sets of at least this many seeds. */
const COVERAGE_SEEDS = 1000;
/** A long run tells how far it is each time it has carried out so many. */
const PROGRESS_SEEDS = 5000;
/** Processor time after which a run counts as hanging: the longest take a few seconds. Real time says nothing on a machine that does much else. */
const HANG_CPU_MILLIS = 60_000;
/** How often it is looked at. */
const HANG_LOOK_MILLIS = 10_000;

const { values: flags } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    trace: { type: 'boolean', default: false },
    shrink: { type: 'boolean', default: false },
    twice: { type: 'boolean', default: false },
    planted: { type: 'string' },
    traces: { type: 'string' },
    'crash-points': { type: 'boolean', default: false },
    stride: { type: 'string', default: '1' },
    replay: { type: 'string' },
    worker: { type: 'boolean', default: false },
  },
});

/** What a worker tells of a run, as JSON. */
type Told = Omit<RunResult, 'coverage' | 'schedule'> & {
  readonly coverage: readonly (readonly [State, number])[];
  readonly faults: number;
  readonly options: RunOptions;
};

/** The runner, loaded late: a planted bug must be in place before the core is. */
async function load(): Promise<typeof import('./run.ts')> {
  return import('./run.ts');
}

function count(text: string | undefined, name: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    console.error(`--${name} needs a whole number, not "${text}"`);
    process.exit(2);
  }
  return value;
}

/** A worker: runs what it is sent, one after the other, and tells the results. */
async function work(): Promise<void> {
  if (flags.planted !== undefined) plantHere(flags.planted);
  const { run } = await load();
  process.on('message', (options: RunOptions) => {
    process.send?.(tell(options, () => run(options)));
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.('ready');
}

/** A run's result as it is sent; an error that no oracle took is a result too. */
function tell(options: RunOptions, runNow: () => RunResult): Told {
  try {
    const { schedule, coverage, ...result } = runNow();
    return { ...result, faults: schedule.length, coverage: [...coverage], options };
  } catch (error) {
    return lost(options, 'uncaught', error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}

/** What is told of a run that came to no result. */
function lost(options: RunOptions, rule: string, text: string): Told {
  const counts = { events: 0, simulatedMillis: 0, hash: 0, acknowledged: 0, readsChecked: 0, faults: 0 };
  return { seed: options.seed, options, violation: { rule, text, time: 0 }, settled: null, portCalls: [], coverage: [], ...counts };
}

function plantHere(name: string): void {
  const bug = PLANTED.find((candidate) => candidate.name === name);
  if (bug === undefined) {
    console.error(`there is no planted bug "${name}"; there are: ${PLANTED.map((candidate) => candidate.name).join(', ')}`);
    process.exit(2);
  }
  registerHooks({ load: plant(bug) });
}

/** Processor time that a worker has used so far; 0 once it has ended. */
function cpuMillis(child: ChildProcess): number {
  const path = `/proc/${child.pid}/stat`;
  if (!existsSync(path)) return 0;
  const stat = readFileSync(path, 'utf8');
  // Behind the name, which ends with the last parenthesis: utime and stime are the 12th and 13th field, in hundredths of a second.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** Runs jobs in worker processes; `take` gets each result and returns false to stop early. */
async function spread(jobs: readonly RunOptions[], workers: number, planted: string | null, take: (told: Told) => boolean): Promise<void> {
  let next = 0;
  let stopped = false;
  const one = async (): Promise<void> => {
    const child: ChildProcess = fork(SELF, ['--worker', ...(planted === null ? [] : ['--planted', planted])], {
      execPath: process.execPath,
    });
    await new Promise<void>((resolve, reject) => {
      let job: RunOptions | undefined;
      let watchdog: NodeJS.Timeout | undefined;
      const end = (told: Told | null): void => {
        clearInterval(watchdog);
        if (told !== null && !stopped && !take(told)) stopped = true;
        job = stopped ? undefined : jobs[next++];
        if (job === undefined) {
          child.disconnect();
          return;
        }
        const current = job;
        child.send(current);
        const began = cpuMillis(child);
        watchdog = setInterval(() => {
          if (cpuMillis(child) - began < HANG_CPU_MILLIS) return;
          clearInterval(watchdog);
          take(lost(current, 'hang', `no result after ${HANG_CPU_MILLIS} ms of processor time`));
          stopped = true;
          child.kill('SIGKILL');
        }, HANG_LOOK_MILLIS);
      };
      child.on('message', (message: Told | 'ready') => end(message === 'ready' ? null : message));
      child.on('exit', (code) => {
        clearInterval(watchdog);
        if (code === 0 || stopped) resolve();
        else reject(new Error(`a worker ended with code ${code}: ${JSON.stringify(job)}`));
      });
    });
  };
  await Promise.all(Array.from({ length: Math.min(workers, jobs.length) }, one));
}

function replayLine({ options }: Told): string {
  const plain = Object.keys(options).length === 1;
  return `npm run sim -- ${plain ? `--seed ${options.seed}` : `--replay '${JSON.stringify(options)}'`} --trace`;
}

/** Options of a run as they were printed; what is in them is the simulator's own. */
function parseReplay(text: string): RunOptions {
  const options: unknown = JSON.parse(text);
  if (typeof options === 'object' && options !== null && 'seed' in options && typeof options.seed === 'number')
    return options as RunOptions;
  console.error('--replay needs the options of a run as they were printed: an object with a seed');
  return process.exit(2);
}

async function one(options: RunOptions): Promise<number> {
  if (flags.planted !== undefined) plantHere(flags.planted);
  const { run } = await load();
  const sink = (line: string): void => console.log(line);
  const result = run({ ...options, trace: flags.trace && !flags.shrink ? sink : null });
  const { violation, seed } = result;
  console.log(
    `seed ${seed}: ${violation === null ? 'ok' : 'VIOLATION'}, ${result.events} events, ${(result.simulatedMillis / 1000).toFixed(1)} s simulated, ` +
      `${result.acknowledged} writes acknowledged, ${result.readsChecked} reads checked, hash ${result.hash.toString(16).padStart(8, '0')}`,
  );
  if (violation === null) return 0;
  console.log(`  at ${violation.time.toFixed(3)} ms, rule ${violation.rule}: ${violation.text}`);
  if (flags.shrink) {
    const { shrink } = await import('./shrink.ts');
    const small = shrink(result.schedule, (schedule) => run({ ...options, schedule }).violation?.rule === violation.rule, 200);
    console.log(`  ${small.items.length} of ${result.schedule.length} faults are enough (${small.runs} runs):`);
    for (const fault of small.items) console.log(`    ${JSON.stringify(fault)}`);
    if (flags.trace) run({ ...options, schedule: small.items, trace: sink });
  }
  return 1;
}

async function many(seeds: number, from: number, workers: number): Promise<number> {
  const began = process.hrtime.bigint();
  const coverage = new Coverage();
  let events = 0;
  let millis = 0;
  let done = 0;
  let settled = 0;
  let failures = 0;
  const jobs = Array.from({ length: seeds }, (_, index) => ({ seed: from + index }));
  await spread(jobs, workers, flags.planted ?? null, (told) => {
    done++;
    events += told.events;
    millis += told.simulatedMillis;
    if (told.settled === true) settled++;
    coverage.add(new Map(told.coverage));
    if (told.violation !== null) {
      failures++;
      console.log(`seed ${told.seed}: rule ${told.violation.rule}: ${told.violation.text.split('\n')[0]}\n    ${replayLine(told)}`);
    }
    if (done % PROGRESS_SEEDS === 0) console.log(`${done} seeds so far, ${failures} violations`);
    return failures < 20;
  });
  const seconds = Number(process.hrtime.bigint() - began) / 1e9;
  const cpuSeconds = seconds * workers;
  console.log(coverage.table());
  console.log(
    `${done} seeds, ${failures} violations, ${settled} settled after healing; ${(millis / 3_600_000).toFixed(1)} simulated hours in ${seconds.toFixed(1)} s on ${workers} workers: ` +
      `${Math.round(millis / 1000 / cpuSeconds)} x real time and ${Math.round(events / cpuSeconds)} events per worker-second`,
  );
  const missing = coverage.missing();
  if (missing.length > 0) console.log(`never reached: ${missing.join('; ')}`);
  return failures > 0 || (missing.length > 0 && done >= COVERAGE_SEEDS) ? 1 : 0;
}

async function twice(seeds: number, from: number): Promise<number> {
  const jobs = Array.from({ length: seeds }, (_, index) => ({ seed: from + index }));
  const passes = await Promise.all(
    [0, 1].map(async () => {
      const hashes = new Map<number, number>();
      await spread(jobs, 1, null, (told) => {
        hashes.set(told.seed, told.hash);
        return true;
      });
      return hashes;
    }),
  );
  let different = 0;
  for (const { seed } of jobs) {
    if (passes[0]?.get(seed) === passes[1]?.get(seed)) continue;
    different++;
    console.log(
      `seed ${seed}: hash ${passes[0]?.get(seed)?.toString(16)} in one process, ${passes[1]?.get(seed)?.toString(16)} in the other`,
    );
  }
  console.log(`${seeds} seeds run in two processes: ${different} with different hashes`);
  return different === 0 ? 0 : 1;
}

async function findPlanted(seeds: number, from: number, workers: number): Promise<number> {
  let found = 0;
  const chosen = flags.planted === 'all' ? PLANTED : PLANTED.filter((bug) => bug.name === flags.planted);
  for (const bug of chosen) {
    let runs = 0;
    let first: Told | null = null;
    const { focus } = bug;
    const jobs = Array.from({ length: seeds }, (_, index) => ({ seed: from + index, ...(focus !== undefined && { focus }) }));
    await spread(jobs, workers, bug.name, (told) => {
      runs++;
      if (told.violation !== null) first ??= told;
      return first === null;
    });
    const caught = first as Told | null;
    if (caught !== null) found++;
    const how =
      caught === null
        ? `NOT FOUND in ${runs} seeds`
        : `seed ${String(caught.seed).padStart(5)} after ${String(runs).padStart(4)} runs by ${caught.violation?.rule}`;
    console.log(`${bug.name.padEnd(34)} breaks ${bug.breaks.padEnd(18)} ${how}`);
  }
  console.log(`${found} of ${chosen.length} planted bugs were found`);
  return found === chosen.length ? 0 : 1;
}

async function crashPoints(workers: number): Promise<number> {
  const { crashPointJobs } = await import('./crash-points.ts');
  const jobs = crashPointJobs(Math.max(1, count(flags.stride, 'stride')));
  let failures = 0;
  let runs = 0;
  await spread(jobs, workers, null, (told) => {
    runs++;
    if (told.violation !== null) {
      failures++;
      console.log(`rule ${told.violation.rule}: ${told.violation.text.split('\n')[0]}\n    ${replayLine(told)}`);
    }
    return failures < 20;
  });
  console.log(`${runs} crash points, ${failures} violations`);
  return failures === 0 ? 0 : 1;
}

async function traces(number: number, from: number): Promise<number> {
  if (flags.planted !== undefined) plantHere(flags.planted);
  const { replayAll } = await import('./replay/told.ts');
  return replayAll(number, from, flags.trace);
}

async function main(): Promise<number> {
  const workers = Math.max(1, count(flags.jobs, 'jobs'));
  const from = count(flags.from, 'from');
  if (flags.traces !== undefined) return traces(count(flags.traces, 'traces'), from);
  if (flags['crash-points']) return crashPoints(workers);
  if (flags.replay !== undefined) return one(parseReplay(flags.replay));
  if (flags.seed !== undefined) return one({ seed: count(flags.seed, 'seed') });
  const seeds = count(flags.seeds ?? '300', 'seeds');
  if (flags.twice) return twice(seeds, from);
  if (flags.planted !== undefined) return findPlanted(seeds, from, workers);
  return many(seeds, from, workers);
}

if (flags.worker) await work();
else process.exitCode = await main();
