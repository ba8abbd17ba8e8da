// Adopt or cut (docs/internals/delta.md): a new primary has taken what another survivor that it was connected to held beyond it, along the same
// chain, before it claimed. Behind that such records would be cut. Judged as of the decision to claim: from there on the site takes nothing, because
// its claim may have been granted, however long it has to ask again (rule 5). Judged only where nothing keeps the two from hearing each other: in
// the midst of that nobody can say how long a survivor should have waited.

import type { SiteName } from '../../core/base/units.ts';
import type { Rule, Scene, SeenSite } from './observe.ts';

/** Two survivors that are connected for this long have compared their copies. */
const COMPARED_MILLIS = 600;

/** The oracle of adopting. */
export function adopt(): Rule {
  const standbySince = new Map<SiteName, number>();
  /** What each site that claims has left with another survivor: null is nothing. */
  const left = new Map<SiteName, string | null>();
  return {
    name: '7 adopt',
    ended: (_scene, site) => {
      standbySince.delete(site.name);
    },
    afterEvent: (scene, site) => {
      // After a restart it asks for what it has decided before.
      if (site.role === 'claiming' && !left.has(site.name)) left.set(site.name, leftBy(scene, site, standbySince));
      else if (site.role !== 'claiming' && site.role !== 'starting') left.delete(site.name);
      if (site.role !== 'standby') standbySince.delete(site.name);
      else if (!standbySince.has(site.name)) standbySince.set(site.name, scene.world.now);
    },
    witnessStep: (scene, { operation, reply }) => {
      if (operation.kind !== 'claim' || reply.outcome !== 'done' || reply.repeated === true || scene.forced) return;
      const what = left.get(operation.from) ?? null;
      if (what !== null) scene.world.fail('7 adopt', `${operation.from} claims ${what}`);
    },
  };
}

/** What another survivor holds beyond a site that has just decided to claim, and should have given it; null for nothing. */
function leftBy(scene: Scene, claimant: SeenSite, standbySince: ReadonlyMap<SiteName, number>): string | null {
  for (const other of scene.sites) {
    if (other === claimant || other.role !== 'standby' || !isFurther(other, claimant)) continue;
    const since = Math.max(
      scene.calmSince,
      standbySince.get(claimant.name) ?? Infinity,
      standbySince.get(other.name) ?? Infinity,
      scene.connectedSince(claimant.name, other.name) ?? Infinity,
    );
    if (since + COMPARED_MILLIS < scene.world.now)
      return `with records up to ${claimant.inside?.marks.received}, though ${other.name}, which it is connected to, holds those up to ${other.inside?.marks.received}`;
  }
  return null;
}

/** Whether a copy holds more than another along the same chain, and could give it. */
function isFurther(other: SeenSite, claimant: SeenSite): boolean {
  const a = other.inside;
  const b = claimant.inside;
  if (a === null || b === null || !a.consistent || !b.consistent || a.epoch !== b.epoch) return false;
  return a.marks.received > b.marks.received && a.marks.oldest <= b.marks.received + 1;
}
