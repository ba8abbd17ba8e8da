// What is true of every state of the witness, and of every step from one to the next: asserted after each operation, and asked of what is read from
// a disk.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { SiteName } from '../base/units.ts';
import type { WitnessCopy, WitnessState, WitnessView } from './witness-state.ts';

/** The copy at a site. */
export function copyOf(state: Pick<WitnessView, 'copies'>, site: SiteName): WitnessCopy | undefined {
  return state.copies.find((copy) => copy.site === site);
}

/** Which rule a state breaks that no step of the witness leads to; null for a sound one. For what is read from a disk. */
export function stateFault(state: Pick<WitnessState, 'copies' | 'primary' | 'epoch' | 'seeded' | 'deleted'>): string | null {
  const { copies, primary, epoch } = state;
  if (state.deleted === true) return primary === null && !copies.some((copy) => copy.flag) ? null : 'nobody serves a deleted group';
  // It grants nothing, and its flags say nothing.
  if (!state.seeded) return null;
  if (epoch === 0 && primary !== null) return 'there is no primary before the first epoch';
  if (primary !== null && copyOf(state, primary)?.flag !== true) return "the primary's flag must be true";
  // W1: a sync copy may serve, or else the primary is an async one that was promoted by hand.
  const able = copies.some((copy) => copy.flag && (copy.mode === 'sync' || copy.site === primary));
  return able ? null : 'some copy must be able to serve alone';
}

export function assertState(state: WitnessState): void {
  const { copies, primary, epoch } = state;
  const fault = stateFault(state);
  assert(fault === null, fault ?? '', { copies, primary, epoch });
  assert(state.requests.length <= limits.witnessRequestsMax, 'remembered requests are bounded', { count: state.requests.length });
}

/** W5 and compare-and-set, for one step. */
export function assertStep(before: WitnessState, after: WitnessState): void {
  assertState(after);
  const facts = { before: factsOf(before), after: factsOf(after) };
  assert(after.writes === before.writes + 1, 'each stored state is one write further', { before: before.writes, after: after.writes });
  const changed =
    before.epoch !== after.epoch ||
    before.primary !== after.primary ||
    before.seeded !== after.seeded ||
    before.copies.length !== after.copies.length ||
    before.copies.some(({ site, mode, flag }, index) => {
      const now = after.copies[index];
      return now?.site !== site || now.mode !== mode || now.flag !== flag;
    });
  const counted = after.revision - before.revision;
  // An exclusion of a copy whose flag is false already changes nothing but the revision. Who begins without a past leaps (seeding.ts).
  const begins = after.seeded && (!before.seeded || before.instance !== after.instance) && counted === limits.witnessSeedRevisions;
  assert(counted === 1 || (counted === 0 && !changed) || begins, 'the revision counts the changes', facts);
  assert(after.epoch >= before.epoch, 'epochs never fall', facts);
  const reigns = after.primary !== before.primary && after.primary !== null;
  assert(!reigns || after.epoch > before.epoch, 'a new primary has a new epoch', facts);
  const oneEpoch = !before.seeded || before.instance !== after.instance || after.epoch <= before.epoch + 1;
  assert(oneEpoch, 'an epoch is never skipped', facts);
}

function factsOf({ revision, epoch, primary, copies }: WitnessState): Pick<WitnessState, 'revision' | 'epoch' | 'primary' | 'copies'> {
  return { revision, epoch, primary, copies };
}
