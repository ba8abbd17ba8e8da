// `npm run chaos -- --schedules N [--tls] [--thread]`: random fault schedules on real processes, in batches, each on a cluster of its own. What was run is in a file,
// so that a long run can be interrupted and goes on where it was. Ends with 1 as soon as a schedule shows a violation, its folder kept.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { Chaos, type ScheduleOutcome } from '../test/support/chaos.ts';
import { MIB, withCluster } from '../test/support/cluster.ts';

const BATCH = 25;

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    state: { type: 'string', default: 'chaos.jsonl' },
    tls: { type: 'boolean', default: false },
    thread: { type: 'boolean', default: false },
  },
});

function outcomesIn(file: string): ScheduleOutcome[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as ScheduleOutcome);
}

async function runBatch(seeds: readonly number[], file: string): Promise<void> {
  const group = values.thread ? { thread: 'true' } : {};
  await withCluster({ network: true, sizeBytes: 16 * MIB, tls: values.tls, group }, async (test) => {
    const chaos = new Chaos(test);
    for (const seed of seeds) {
      const outcome = await chaos.run(seed);
      if (outcome.faults.length > 0)
        throw new Error(`seed ${seed} (${outcome.text}), after seeds ${seeds[0]} and on: ${outcome.faults.join('; ')}`);
      appendFileSync(file, `${JSON.stringify(outcome)}\n`);
      const { healMillis, reads, text, writes } = outcome;
      console.log(`seed ${seed}: well; ${writes} writes, ${reads} reads, healed after ${healMillis} ms (${text})`);
    }
    await test.compareCopies();
  });
}

const [from, count] = [Number(values.from), Number(values.schedules)];
const done = new Set(outcomesIn(values.state).map((outcome) => outcome.seed));
const left = Array.from({ length: count }, (_, index) => from + index).filter((seed) => !done.has(seed));
for (let at = 0; at < left.length; at += BATCH) await runBatch(left.slice(at, at + BATCH), values.state);
const all = outcomesIn(values.state);
const sum = (of: (outcome: ScheduleOutcome) => number): number => all.reduce((total, outcome) => total + of(outcome), 0);
const heals = all.map((outcome) => outcome.healMillis).sort((a, b) => a - b);
const share = (part: number): number => heals[Math.min(heals.length - 1, Math.floor(heals.length * part))] ?? 0;
console.log(
  `${all.length} schedules, no violation: ${sum(({ writes }) => writes)} acknowledged writes and ${sum(({ reads }) => reads)} reads held against their registers; ` +
    `healed within ${share(0.5)} ms (median), ${share(0.99)} ms (99 of 100)`,
);
