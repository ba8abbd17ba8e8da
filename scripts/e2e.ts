// Runs the end-to-end tests, one file after the other: they start real processes and wait for real time, so a file that fails is run a second
// time, alone, and both outcomes are shown. That is for a machine that was too busy for a deadline, and for nothing else: a failure that speaks of
// data (lost, different, served twice) is never run again. Files may be named as arguments; without any, all are run.

import { globSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { run } from 'node:test';
import type { TestEvent } from 'node:test/reporters';
import { spec } from 'node:test/reporters';

const ROOT = join(import.meta.dirname, '..');
/** What a failure says when data is wrong. Such a failure counts, whatever a second run would say. */
const DATA_IS_WRONG = /\blost\b|differ|acknowledged write|two sites|serves? twice|stale|violation|corrupt|not equal byte/iu;

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

/** The events of some files, one file after the other. A file that hangs is ended, and has failed. */
async function* eventsOf(files: readonly string[], outcome: { failed: Set<string>; dataWrong: boolean }): AsyncGenerator<TestEvent> {
  for (const file of files) {
    const signal = AbortSignal.timeout(FILE_MILLIS_MAX);
    for await (const event of run({ files: [file], signal }) as AsyncIterable<TestEvent>) {
      if (event.type === 'test:fail') {
        outcome.failed.add(file);
        if (DATA_IS_WRONG.test(reasonOf(event.data.details.error))) outcome.dataWrong = true;
      }
      // The counts of a single file tell nobody anything.
      if (event.type !== 'test:diagnostic' && event.type !== 'test:summary') yield event;
    }
    if (signal.aborted) {
      outcome.failed.add(file);
      console.error(`${relative(ROOT, file)} did not end within ${FILE_MILLIS_MAX / 1000} seconds`);
    }
  }
}

async function runFiles(files: readonly string[]): Promise<Outcome> {
  const outcome = { failed: new Set<string>(), dataWrong: false };
  await pipeline(Readable.from(eventsOf(files, outcome)), spec(), process.stdout, { end: false });
  return outcome;
}

async function main(): Promise<number> {
  const named = process.argv.slice(2);
  const files = (named.length > 0 ? named : globSync('test/e2e/*.test.ts', { cwd: ROOT })).sort().map((name) => join(ROOT, name));
  const first = await runFiles(files);
  if (first.failed.size === 0) return 0;
  const again = [...first.failed].filter((file) => files.includes(file));
  const names = [...first.failed].map((file) => relative(ROOT, file)).join(', ');
  if (first.dataWrong || again.length !== first.failed.size || again.length > 3) {
    console.error(`\n${names} failed, and is not run again${first.dataWrong ? ': a failure speaks of data' : ''}`);
    return 1;
  }
  console.log(`\n== a second time, since a deadline may have been too short for this machine: ${names}\n`);
  const second = await runFiles(again);
  if (second.failed.size > 0) return 1;
  console.log(`\n${names} failed once and passed when run again: look at the failure above, it may be a real one`);
  return 0;
}

process.exitCode = await main();
