// Safety rule 5 and the witness's algebra (W1, W5): a claim is granted only to a copy that holds everything hosts were told of, on its disk, and
// that follows nobody any more; some sync flag is always true; epochs rise by one with each new primary.

import { flagOf, type Rule, type Scene, type SeenSite } from './observe.ts';
import type { WitnessState } from '../../core/arbiter/witness-state.ts';
import type { WitnessStep } from '../witness.ts';

/** The oracle of rule 5. */
export function claim(): Rule {
  return {
    name: '5 claim',
    witnessStep: (scene, step) => {
      const { operation, before, after, reply } = step;
      if (before !== null && after !== null) checkAlgebra(scene, step);
      if (scene.forced || reply.outcome !== 'done' || reply.repeated === true || operation.kind !== 'claim') return;
      const site = scene.sites.find((candidate) => candidate.name === operation.from);
      if (site === undefined) return;
      const others = after?.copies.filter((copy) => copy.mode === 'sync' && copy.site !== operation.from && copy.flag) ?? [];
      if (others.length > 0)
        scene.world.fail('5 claim', `${operation.from} is made primary, and the flag of ${others[0]?.site} stays true`);
      if (!flagOf(before, site.name)) scene.world.fail('5 claim', `${site.name} claims with its own flag false`);
      if (site.mode === 'async' && operation.byHand !== true)
        scene.world.fail('9 far', `${site.name}, which is asynchronous, claims by itself`);
      if (site.mode === 'sync') checkClaimant(scene, site);
    },
  };
}

function checkClaimant(scene: Scene, site: SeenSite): void {
  const lacking = scene.truth.firstLacking(site.held);
  if (lacking !== null) {
    scene.world.fail('5 claim', `${site.name} is made primary without record (${lacking.epoch}, ${lacking.seq}), which hosts were told of`);
  }
  if (site.inside === null) return;
  if (site.inside.attached) scene.world.fail('5 claim', `${site.name} is made primary while it follows another one`);
  if (site.durable.upTo < site.held.upTo) {
    scene.world.fail('5 claim', `${site.name} is made primary with records ${site.durable.upTo + 1} to ${site.held.upTo} not on its disk`);
  }
}

function checkAlgebra(scene: Scene, { operation, before, after, reply }: WitnessStep): void {
  if (before === null || after === null) return;
  const able = after.copies.some((copy) => copy.flag && (copy.mode === 'sync' || copy.site === after.primary));
  if (!able && after.deleted !== true)
    scene.world.fail('W1 never all false', `after ${operation.kind} by ${operation.from} no copy may serve`);
  // A new witness begins with what the copies have adopted, which may be less than the old one had granted (check/replaced.ts).
  if (operation.kind === 'report') return;
  const decided = ({ revision, epoch, primary, copies, seeded }: WitnessState): string =>
    JSON.stringify([revision, epoch, primary, copies, seeded]);
  if (operation.kind === 'prove' && reply.outcome === 'done' && decided(before) !== decided(after))
    scene.world.fail('W5 epochs', `a proof of the path by ${operation.from} changes what the witness decides on`);
  if (after.epoch < before.epoch) scene.world.fail('W5 epochs', `the epoch falls from ${before.epoch} to ${after.epoch}`);
  if (after.primary !== null && after.primary !== before.primary && after.epoch <= before.epoch) {
    scene.world.fail('W5 epochs', `${after.primary} becomes primary without a new epoch`);
  }
}
