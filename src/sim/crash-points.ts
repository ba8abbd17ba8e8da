// Crash points: short scenarios that are run once to count the port calls of each site, and then once for each of those calls, ended before it,
// after it or in its middle, by a crash or by a power loss. What a random schedule would hit once in a million, this hits by design.

import { run, type RunOptions } from './run.ts';
import type { Fault } from './schedule.ts';

/** A short scenario: a seed for the hosts and the times, and the faults that make it one. */
interface Scenario {
  readonly seed: number;
  readonly schedule: readonly Fault[];
  /** How long it lasts before everything is mended. */
  readonly chaosMillis: number;
  /** Whether the making of the group belongs to it. */
  readonly fromStart?: true;
}

const base: Omit<Fault, 'at' | 'kind'> = { site: 0, other: 1, millis: 1500, amount: 100, calls: -1, moment: 'before' };

/** By name. The seeds are ones with short leases, so that each run is short too. */
const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'a group is made and filled': { seed: 2, schedule: [], chaosMillis: 500, fromStart: true },
  'plain service': { seed: 2, schedule: [], chaosMillis: 1500 },
  'the primary is lost and comes back': { seed: 8, schedule: [{ ...base, at: 300, kind: 'crash', millis: 2500 }], chaosMillis: 4500 },
  'the mirror is lost and comes back': {
    seed: 18,
    schedule: [{ ...base, at: 300, kind: 'power', site: 1, millis: 1800 }],
    chaosMillis: 3500,
  },
  'the mirror gets a new disk': { seed: 2, schedule: [{ ...base, at: 300, kind: 'wipe', site: 1, millis: 500 }], chaosMillis: 2500 },
  'the far copy is away and comes back': {
    seed: 8,
    schedule: [{ ...base, at: 200, kind: 'power', site: 2, millis: 1000 }],
    chaosMillis: 2500,
  },
  'power is lost at both sync sites': { seed: 18, schedule: [{ ...base, at: 500, kind: 'double-power', millis: 300 }], chaosMillis: 3000 },
  'the primary is cut off': { seed: 2, schedule: [{ ...base, at: 300, kind: 'isolate', amount: 1000, millis: 2500 }], chaosMillis: 4500 },
  'the witness is away': { seed: 8, schedule: [{ ...base, at: 200, kind: 'witness-down', millis: 1500 }], chaosMillis: 2000 },
};

/** Every point of every scenario, thinned out to each `stride`-th call. */
export function crashPointJobs(stride: number): readonly RunOptions[] {
  const jobs: RunOptions[] = [];
  for (const scenario of Object.values(SCENARIOS)) {
    const plain = run(scenario);
    plain.portCalls.forEach((calls, site) => {
      for (let call = 0; call < calls; call += stride) {
        for (const moment of ['before', 'after', 'torn'] as const) {
          for (const kind of ['crash', 'power'] as const) jobs.push({ ...scenario, crashPoint: { site, call, moment, kind } });
        }
      }
    });
  }
  return jobs;
}
