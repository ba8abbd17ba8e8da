// `npm test`: everything that must hold, in the order in which it fails fastest. Stops at the first part that fails and says how long each
// took. `npm test -- --only unit` (check, unit, sim or e2e; may be given several times) runs a part alone.

import { spawn } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

import { EXIT, TercetError } from '../src/core/base/errors.ts';
import { ensurePackages } from './packages.ts';

const ROOT = join(import.meta.dirname, '..');
const SIM_SEEDS = 2000;
const PARTS = ['check', 'unit', 'sim', 'e2e'] as const;
type Part = (typeof PARTS)[number];

/** One command of the run. A step that lasts longer than it may is ended and counts as failed: a hang is a fault, and must have a name. */
interface Step {
  readonly part: Part;
  readonly name: string;
  /** Arguments of Node.js: a script and its own arguments. */
  readonly args: readonly string[];
  readonly minutesMax: number;
}

const bin = (name: string, ...args: string[]): string[] => [join('node_modules', name), ...args];
const files = (...patterns: string[]): string[] => globSync(patterns, { cwd: ROOT }).sort();
const nodeTest = (paths: string[], ...options: string[]): string[] => ['--test', '--test-reporter=spec', ...options, ...paths];

/** All steps in their order. A part of the tests that has no files at all would pass without a word, so it is a fault instead. */
function stepsOf(parts: readonly Part[]): Step[] {
  const unit = files('test/*.test.ts', 'test/unit/**/*.test.ts', 'test/property/**/*.test.ts');
  const e2e = files('test/e2e/*.test.ts');
  const steps: Step[] = [
    { part: 'check', name: 'types', args: bin('typescript/bin/tsc', '-p', '.'), minutesMax: 5 },
    { part: 'check', name: 'types of the core', args: bin('typescript/bin/tsc', '-p', 'src/core'), minutesMax: 5 },
    { part: 'check', name: 'types of the page', args: bin('typescript/bin/tsc', '-p', 'src/page'), minutesMax: 5 },
    { part: 'check', name: 'lint', args: bin('oxlint/bin/oxlint', '--type-aware'), minutesMax: 5 },
    { part: 'check', name: 'format', args: bin('oxfmt/bin/oxfmt', '--check'), minutesMax: 5 },
    { part: 'check', name: 'unused code', args: bin('knip/bin/knip.js', '--no-progress', '--no-config-hints'), minutesMax: 5 },
    {
      part: 'unit',
      name: 'unit',
      args: nodeTest(unit, '--test-isolation=none', '--import', './test/support/fixed-seed.ts'),
      minutesMax: 10,
    },
    { part: 'sim', name: "the simulator's own tests", args: nodeTest(files('test/sim/*.test.ts')), minutesMax: 10 },
    { part: 'sim', name: 'simulator', args: ['src/sim/main.ts', '--seeds', String(SIM_SEEDS)], minutesMax: 15 },
    { part: 'e2e', name: 'e2e', args: ['scripts/e2e.ts'], minutesMax: 60 },
  ];
  const empty = [unit.length === 0 ? 'unit' : '', existsSync(join(ROOT, 'src/sim/main.ts')) ? '' : 'sim', e2e.length === 0 ? 'e2e' : ''];
  const wanted = parts.filter((part) => empty.includes(part));
  if (wanted.length > 0) throw new Error(`there is nothing to run for: ${wanted.join(', ')}`);
  return steps.filter((step) => parts.includes(step.part));
}

/** Runs a step with the terminal's output and no input; null when it succeeded, else why it did not. */
function run(step: Step): Promise<string | null> {
  // Bare names in a child's PATH must mean this Node.js and the tools of this repository, however the run was started.
  const path = [dirname(process.execPath), join(ROOT, 'node_modules', '.bin'), process.env['PATH'] ?? ''].join(delimiter);
  const env = { ...process.env, PATH: path };
  return new Promise((resolve, reject) => {
    // A process group of its own, so that nothing a step has started outlives its deadline or a Ctrl-C.
    const child = spawn(process.execPath, step.args, { cwd: ROOT, env, stdio: ['ignore', 'inherit', 'inherit'], detached: true });
    const group = -(child.pid ?? 0);
    let stopped: string | null = null;
    const stop = (reason: string): void => {
      stopped = reason;
      if (group !== 0) process.kill(group, 'SIGKILL');
    };
    const interrupt = (signal: NodeJS.Signals): void => stop(`was interrupted by ${signal}`);
    const deadline = setTimeout(() => stop(`did not end within ${step.minutesMax} minutes`), step.minutesMax * 60_000);
    for (const signal of INTERRUPTS) process.on(signal, interrupt);
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      clearTimeout(deadline);
      for (const name of INTERRUPTS) process.off(name, interrupt);
      resolve(stopped ?? (code === 0 ? null : `ended with ${signal ?? `exit code ${code}`}`));
    });
  });
}

const INTERRUPTS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

function wantedParts(): Part[] {
  const { values } = parseArgs({ options: { only: { type: 'string', multiple: true } } });
  const only = values.only;
  if (only === undefined) return [...PARTS];
  const unknown = only.filter((name) => !PARTS.some((part) => part === name));
  if (unknown.length > 0)
    throw new TercetError('TERCET_BAD_REQUEST', {
      what: 'npm test',
      reason: `--only ${unknown.join(', ')}; parts are ${PARTS.join(', ')}`,
    });
  return PARTS.filter((part) => only.includes(part));
}

async function main(): Promise<number> {
  const begun = performance.now();
  const parts = wantedParts();
  const steps = stepsOf(parts);
  const times: string[] = [];
  if (parts.includes('e2e')) ensurePackages();
  for (const step of steps) {
    console.log(`\n== ${step.name}`);
    const started = performance.now();
    const fault = await run(step);
    times.push(`${step.name.padEnd(18)} ${seconds(started).padStart(9)}  ${fault ?? 'passed'}`);
    if (fault === null) continue;
    console.error(`\n${times.join('\n')}\n\n${step.name} ${fault}; run it alone with: npm test -- --only ${step.part}`);
    return EXIT.failed;
  }
  console.log(`\n${times.join('\n')}\n${'all'.padEnd(18)} ${seconds(begun).padStart(9)}  passed on Node.js ${process.version}`);
  return EXIT.done;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof TercetError ? `${error.code}: ${error.message}` : error);
  process.exitCode = error instanceof TercetError ? error.exit : EXIT.failed;
}
