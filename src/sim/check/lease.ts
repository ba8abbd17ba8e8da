// Safety rule 2. When the witness gives the reign to a site, no other site is still entitled to serve by a lease, frozen ones included: a lease
// always ends before the promise that it rests on.

import type { Rule, Scene, SeenSite } from './observe.ts';

/** The oracle of rule 2. */
export function lease(): Rule {
  return {
    name: '2 lease',
    witnessStep: (scene, { operation, before, after, reply }) => {
      if (
        scene.forced ||
        reply.outcome !== 'done' ||
        (operation.kind !== 'claim' && operation.kind !== 'handover') ||
        after === null ||
        after.epoch === before?.epoch
      )
        return;
      for (const site of scene.sites) {
        // A claim from before a restart was sent when its promises were over, and none was given since.
        if (site.name === operation.from && operation.kind === 'claim') {
          if (operation.requestId.startsWith(`${site.name}-${site.machine.life}-`)) checkPromise(scene, site);
        }
        // A lease counts by its holder's clock, which a frozen process does not look at, but will.
        else if (site.machine.site?.serving === true) {
          scene.world.fail(
            '2 lease',
            `${operation.from} is given epoch ${after.epoch} while ${site.name} still holds every lease it needs to serve`,
          );
        }
      }
    },
  };
}

function checkPromise(scene: Scene, site: SeenSite): void {
  if (site.inside === null || site.role === 'primary') return;
  const left = site.inside.promiseUntil - site.machine.now();
  if (left > 0) scene.world.fail('2 lease', `${site.name} claims ${left.toFixed(1)} ms before its own promise ends`);
}
