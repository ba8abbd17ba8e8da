// Safety rule 4. A peer's flag goes false only after everything that hosts were told of is on the primary's own disk, and only by a primary that
// no longer counts on that peer.

import { flagOf, type Rule } from './observe.ts';

/** The oracle of rule 4. */
export function exclude(): Rule {
  return {
    name: '4 exclude',
    witnessStep: (scene, { operation, before, reply }) => {
      if (scene.forced || reply.outcome !== 'done' || reply.repeated === true || operation.kind !== 'exclude') return;
      const site = scene.sites.find((candidate) => candidate.name === operation.from);
      if (site === undefined || !flagOf(before, operation.site)) return;
      if (!flagOf(before, operation.from))
        scene.world.fail('4 exclude', `${operation.from} excludes ${operation.site} with its own flag false`);
      if (site.mode === 'sync' && scene.sites.find((peer) => peer.name === operation.site)?.mode === 'async') return;
      const lacking = scene.truth.firstLacking(site.durable);
      if (lacking !== null && !site.harmed) {
        const { epoch, seq } = lacking;
        scene.world.fail(
          '4 exclude',
          `${site.name} excludes ${operation.site} before record (${epoch}, ${seq}), which hosts were told of, is on its own disk`,
        );
      }
      if (site.inside?.epoch === operation.epoch && site.inside.flagView(operation.site) === 'true') {
        scene.world.fail('4 exclude', `${site.name} has ${operation.site} excluded and still relies on it`);
      }
    },
  };
}
