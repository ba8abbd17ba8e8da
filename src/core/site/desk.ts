// The site's questions to the witness, made from its options.

import { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessView } from '../arbiter/witness-state.ts';
import { limits } from '../base/limits.ts';
import type { Epoch, Millis, SiteName } from '../base/units.ts';
import type { Role, SiteOptions, Timings } from './contract.ts';

/** What an answer leads to may meet a broken disk, like any other event: `run` stands around it. */
export function deskOf(
  options: SiteOptions,
  run: (work: () => void) => void,
  on: { readonly groupId: () => string | null; readonly view: (view: WitnessView) => void },
): WitnessDesk {
  return new WitnessDesk({
    group: options.group,
    site: options.site,
    port: { call: (operation, done) => options.witness.call(operation, (reply) => run(() => done(reply))) },
    clock: options.clock,
    random: options.random,
    journal: options.journal,
    retryMillis: options.timings.witnessRetryMillis,
    groupId: on.groupId,
    onView: on.view,
    proveMillis: options.timings.witnessProveMillis ?? limits.witnessProveMillis,
  });
}

/** How old the newest question to the witness may become: whoever wants to become primary, or to resign, asks often. */
export function probeMillisOf(role: Role, { witnessRetryMillis, leaseMillis }: Timings): Millis {
  return role === 'standby' || role === 'claiming' || role === 'failed'
    ? witnessRetryMillis
    : Math.max(leaseMillis, 2 * witnessRetryMillis);
}

/** Why a primary must step down, as a view of the witness tells; null when it need not. */
export function whyDeposed(view: WitnessView, of: { site: SiteName; epoch: Epoch; groupId: string | null }): string | null {
  const { site, epoch, groupId } = of;
  // This copy's group was deleted, and its name given away, while this site did not hear of it: epochs of the two say nothing of each other.
  if (view.groupId !== groupId) return 'the witness knows another group of this name, and not this one any more';
  if (view.epoch > epoch) return `the witness says that epoch ${view.epoch} has begun, with ${view.primary ?? 'nobody'} as primary`;
  const own = view.copies.find((copy) => copy.site === site);
  const isNamed = view.primary === site && own?.flag === true;
  return view.epoch === epoch && !isNamed ? 'the witness says that this copy may not serve' : null;
}
