// Runs the end-to-end tests, two files at a time: they start real processes and mostly wait for real time. A file that fails is run a second
// time, alone, and both outcomes are shown. That is for a machine that was too busy for a deadline, and for nothing else: a failure that speaks of
// data (lost, different, served twice) is never run again. Files may be named as arguments; without any, all are run.

import { globSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { run } from 'node:test';
import type { TestEvent } from 'node:test/reporters';
import { spec } from 'node:test/reporters';

const ROOT = join(import.meta.dirname, '..');
/** What a failure says when data is wrong. Such a failure counts, whatever a second run would say. */
const DATA_IS_WRONG = /\blost\b|differ|acknowledged write|two sites|serves? twice|stale|violation|corrupt|not equal byte/iu;

/** Each file has a cluster of its own and waits for it most of the time; more would only make deadlines come too soon on a machine of two cores. */
const AT_ONCE = 2;

/** A file that takes longer hangs; the longest take a minute. */
const FILE_MILLIS_MAX = 300_000;

/** What became of some files: those that failed, and whether a failure was of a kind that is never excused. */
interface Outcome {
  readonly failed: ReadonlySet<string>;
  readonly dataWrong: boolean;
}

/** What an error says at its root: those around it carry the ends of logs, which speak of much. */
function reasonOf(error: Error): string {
  return error.cause instanceof Error ? reasonOf(error.cause) : `${error.message} ${typeof error.cause === 'string' ? error.cause : ''}`;
}

/** Files that build packages do so in one folder of the repository: never both at once. They take longest, and so come first. */
const BUILDERS: readonly string[] = ['namespaces.test.ts', 'package.test.ts'];

/** All events of one file. A file that hangs is ended, and has failed. */
async function eventsOf(file: string, outcome: { failed: Set<string>; dataWrong: boolean }): Promise<readonly TestEvent[]> {
  const signal = AbortSignal.timeout(FILE_MILLIS_MAX);
  const events: TestEvent[] = [];
  for await (const event of run({ files: [file], signal }) as AsyncIterable<TestEvent>) {
    if (event.type === 'test:fail') {
      outcome.failed.add(file);
      if (DATA_IS_WRONG.test(reasonOf(event.data.details.error))) outcome.dataWrong = true;
    }
    // The counts of a single file tell nobody anything.
    if (event.type !== 'test:diagnostic' && event.type !== 'test:summary') events.push(event);
  }
  if (signal.aborted) {
    outcome.failed.add(file);
    console.error(`${relative(ROOT, file)} did not end within ${FILE_MILLIS_MAX / 1000} seconds`);
  }
  return events;
}

/** Runs some files, so many at a time, and shows each as a whole when it has ended. */
async function runFiles(files: readonly string[], atOnce: number): Promise<Outcome> {
  const outcome = { failed: new Set<string>(), dataWrong: false };
  const events = new PassThrough({ objectMode: true });
  const shown = pipeline(events, spec(), process.stdout, { end: false });
  const builders = files.filter((file) => BUILDERS.includes(basename(file)));
  const queue = [builders, ...files.filter((file) => !builders.includes(file)).map((file) => [file])];
  const lane = async (): Promise<void> => {
    for (let unit = queue.shift(); unit !== undefined; unit = queue.shift())
      for (const file of unit) for (const event of await eventsOf(file, outcome)) events.write(event);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  events.end();
  await shown;
  return outcome;
}

async function main(): Promise<number> {
  const named = process.argv.slice(2);
  const files = (named.length > 0 ? named : globSync('test/e2e/*.test.ts', { cwd: ROOT })).sort().map((name) => join(ROOT, name));
  const first = await runFiles(files, AT_ONCE);
  if (first.failed.size === 0) return 0;
  const again = [...first.failed].filter((file) => files.includes(file));
  const names = [...first.failed].map((file) => relative(ROOT, file)).join(', ');
  if (first.dataWrong || again.length !== first.failed.size || again.length > 3) {
    console.error(`\n${names} failed, and is not run again${first.dataWrong ? ': a failure speaks of data' : ''}`);
    return 1;
  }
  console.log(`\n== a second time, since a deadline may have been too short for this machine: ${names}\n`);
  const second = await runFiles(again, 1);
  if (second.failed.size > 0) return 1;
  console.log(`\n${names} failed once and passed when run again: look at the failure above, it may be a real one`);
  return 0;
}

process.exitCode = await main();
