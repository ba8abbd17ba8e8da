// Safety rule 10 and W2: a primary that serves without a sync peer knows that the witness has put that peer's flag to false. Whatever the witness
// still calls true, the primary waits for.

import { type Rule, trueSyncPeers } from './observe.ts';

/** The oracle of rule 10. */
export function alone(): Rule {
  return {
    name: '10 alone',
    afterEvent: (scene, site) => {
      if (!site.serving || site.inside === null || scene.forced) return;
      for (const peer of trueSyncPeers(scene, site.name)) {
        if (site.inside.flagView(peer.name) !== 'false') continue;
        scene.world.fail('10 alone', `${site.name} serves without waiting for ${peer.name}, whose flag is true at the witness`);
      }
    },
  };
}
