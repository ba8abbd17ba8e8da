// Safety rule 6. A copy that may lack unflushed records does not become primary while another copy that may be true is clean, or holds more.

import { flagOf, holds, type Rule } from './observe.ts';

/** The oracle of rule 6. */
export function unclean(): Rule {
  return {
    name: '6 unclean',
    witnessStep: (scene, { operation, before, reply }) => {
      if (reply.outcome !== 'done' || reply.repeated === true || operation.kind !== 'claim' || operation.byHand === true) return;
      const site = scene.sites.find((candidate) => candidate.name === operation.from);
      if (site?.inside?.unclean !== true) return;
      for (const other of scene.sites) {
        if (other === site || other.mode !== 'sync' || !flagOf(before, other.name)) continue;
        if (other.inside?.unclean === false) {
          scene.world.fail('6 unclean', `${site.name}, which is unclean, claims while ${other.name} is clean and its flag true`);
        }
        const last = other.held.history[other.held.history.length - 1];
        if (last === undefined || other.harmed || other.held.upTo < last.firstSeq) continue;
        if (!holds(site.held, last.epoch, other.held.upTo)) {
          scene.world.fail('6 unclean', `${site.name}, which is unclean, claims without record (${last.epoch}, ${other.held.upTo}) of ${other.name}`);
        }
      }
    },
  };
}
