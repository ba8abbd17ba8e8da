// Adopt or cut (docs/internals/delta.md): a new primary has taken what another survivor that it was connected to held beyond it, along the same
// chain, before its epoch begins. Behind that such records would be cut. Judged only where nothing keeps the two from hearing each other: in the
// midst of that nobody can say how long a survivor should have waited.

import type { SiteName } from '../../core/base/units.ts';
import type { Rule, Scene, SeenSite } from './observe.ts';

/** Two survivors that are connected for this long have compared their copies. */
const COMPARED_MILLIS = 600;

/** The oracle of adopting. */
export function adopt(): Rule {
  const standbySince = new Map<SiteName, number>();
  return {
    name: '7 adopt',
    ended: (_scene, site) => {
      standbySince.delete(site.name);
    },
    afterEvent: (scene, site) => {
      if (site.role !== 'standby' && site.role !== 'claiming') standbySince.delete(site.name);
      else if (!standbySince.has(site.name)) standbySince.set(site.name, scene.world.now);
    },
    witnessStep: (scene, { operation, reply, askedAt }) => {
      if (operation.kind !== 'claim' || reply.outcome !== 'done' || reply.repeated === true || scene.forced) return;
      const claimant = scene.sites.find((site) => site.name === operation.from);
      if (claimant === undefined || claimant.inside === null) return;
      for (const other of scene.sites) {
        if (other === claimant || other.role !== 'standby' || !isFurther(other, claimant)) continue;
        const since = Math.max(
          scene.calmSince,
          standbySince.get(claimant.name) ?? Infinity,
          standbySince.get(other.name) ?? Infinity,
          scene.connectedSince(claimant.name, other.name) ?? Infinity,
        );
        if (since + COMPARED_MILLIS < askedAt) fail(scene, claimant, other);
      }
    },
  };
}

/** Whether a copy holds more than another along the same chain, and could give it. */
function isFurther(other: SeenSite, claimant: SeenSite): boolean {
  const a = other.inside;
  const b = claimant.inside;
  if (a === null || b === null || !a.consistent || !b.consistent || a.epoch !== b.epoch) return false;
  return a.marks.received > b.marks.received && a.marks.oldest <= b.marks.received + 1;
}

function fail(scene: Scene, claimant: SeenSite, other: SeenSite): void {
  scene.world.fail(
    '7 adopt',
    `${claimant.name} claims with records up to ${claimant.inside?.marks.received}, though ${other.name}, which it is connected to, holds those up to ${other.inside?.marks.received}`,
  );
}
