// Safety rule 6. A copy that may lack unflushed records does not become primary while another copy that may be true is clean, or holds more.

import type { Position } from '../../core/base/position.ts';
import type { SiteName } from '../../core/base/units.ts';
import { asAgreed, endOf, flagOf, holds, type Rule } from './observe.ts';

/** The oracle of rule 6. */
export function unclean(): Rule {
  /** What the others held when a site decided to claim: what one of them gets from a third copy since is news to it. */
  const compared = new Map<SiteName, ReadonlyMap<SiteName, Position>>();
  return {
    name: '6 unclean',
    afterEvent: (scene, site) => {
      if (site.role !== 'claiming') compared.delete(site.name);
      else if (!compared.has(site.name)) compared.set(site.name, new Map(scene.sites.map(({ name, held }) => [name, endOf(held)])));
    },
    witnessStep: (scene, { operation, before, reply }) => {
      if (scene.forced || reply.outcome !== 'done' || reply.repeated === true || operation.kind !== 'claim' || operation.byHand === true)
        return;
      const site = scene.sites.find((candidate) => candidate.name === operation.from);
      if (site?.inside?.unclean !== true) return;
      // A claim of an earlier life was sent by a copy that was on its disk as a whole, and has followed nobody since.
      if (!operation.requestId.startsWith(`${site.name}-${site.machine.life}-`)) return;
      // One that its primary went on without may lack what that one has acknowledged since, whatever the witness has heard.
      const known = asAgreed(scene, before);
      for (const other of scene.sites) {
        if (other === site || other.mode !== 'sync' || !flagOf(known, other.name)) continue;
        if (other.inside?.unclean === false && other.inside.consistent) {
          scene.world.fail('6 unclean', `${site.name}, which is unclean, claims while ${other.name} is clean and its flag true`);
        }
        const { epoch, seq } = compared.get(site.name)?.get(other.name) ?? endOf(other.held);
        if (seq === 0 || other.harmed || holds(site.held, epoch, seq)) continue;
        scene.world.fail('6 unclean', `${site.name}, which is unclean, claims without record (${epoch}, ${seq}) of ${other.name}`);
      }
    },
  };
}
