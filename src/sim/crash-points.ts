// Crash points: short scenarios that are run once to count the port calls of each site, and then once for each of those calls, ended before it,
// after it or in its middle, by a crash or by a power loss. What a random schedule would hit once in a million, this hits by design.

import { run, type RunOptions } from './run.ts';
import type { Fault } from './schedule.ts';

/** A short scenario: a seed for the hosts and the times, and the faults that make it one. */
interface Scenario {
  readonly name: string;
  readonly seed: number;
  readonly schedule: readonly Fault[];
}

const base: Omit<Fault, 'at' | 'kind'> = { site: 0, other: 1, millis: 1500, amount: 100, calls: -1, moment: 'before' };

/** The scenarios. */
const SCENARIOS: readonly Scenario[] = [
  { name: 'plain service', seed: 101, schedule: [] },
  { name: 'the primary is lost', seed: 102, schedule: [{ ...base, at: 300, kind: 'crash', millis: 4000 }] },
  { name: 'the near mirror is lost and comes back', seed: 103, schedule: [{ ...base, at: 300, kind: 'crash', site: 1 }] },
  { name: 'power of both is lost', seed: 104, schedule: [{ ...base, at: 300, kind: 'double-power' }] },
];

/** Every point of every scenario, thinned out to each `stride`-th call. */
export function crashPointJobs(stride = 1): readonly RunOptions[] {
  const jobs: RunOptions[] = [];
  for (const { seed, schedule } of SCENARIOS) {
    const plain = run({ seed, schedule });
    plain.portCalls.forEach((calls, site) => {
      for (let call = 0; call < calls; call += stride) {
        for (const moment of ['before', 'after', 'torn'] as const) {
          for (const kind of ['crash', 'power'] as const) jobs.push({ seed, schedule, crashPoint: { site, call, moment, kind } });
        }
      }
    });
  }
  return jobs;
}
