// The site's questions to the witness, made from its options.

import { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessView } from '../arbiter/witness-state.ts';
import type { SiteOptions } from './contract.ts';

/** What an answer leads to may meet a broken disk, like any other event: `run` stands around it. */
export function deskOf(options: SiteOptions, run: (work: () => void) => void, onView: (view: WitnessView) => void): WitnessDesk {
  return new WitnessDesk({
    group: options.group,
    site: options.site,
    port: { call: (operation, done) => options.witness.call(operation, (reply) => run(() => done(reply))) },
    clock: options.clock,
    random: options.random,
    journal: options.journal,
    retryMillis: options.timings.witnessRetryMillis,
    onView,
  });
}
