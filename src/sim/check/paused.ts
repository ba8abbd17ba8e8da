// Pauses by order: a site that has said that a mirror is paused sends it nothing while it is primary, after a restart too, until it was resumed or
// another site has been primary.

import type { SiteName } from '../../core/base/units.ts';
import type { Rule } from './observe.ts';

/** The oracle of pauses. */
export function paused(): Rule {
  /** Sites that have been started again with mirrors paused. */
  const restarted = new Set<SiteName>();
  return {
    name: '16 pause',
    ended: (scene, { name }) => {
      if ((scene.pauses.get(name)?.size ?? 0) > 0) restarted.add(name);
    },
    afterEvent: (scene, { name, inside, role }) => {
      const told = scene.pauses.get(name);
      if (inside === null || role !== 'primary' || told === undefined || told.size === 0) {
        if (told === undefined || told.size === 0) restarted.delete(name);
        return;
      }
      for (const site of told) {
        const seen = inside.paused.find((peer) => peer.site === site);
        if (seen === undefined) scene.world.fail('16 pause', `${name} was told to pause ${site}, has said that it is, and sends to it`);
        else if (!seen.isLetGo && inside.flagView(site) === 'false')
          scene.world.fail('16 pause', `${name} has paused ${site} and still sends to it although nothing waits for it`);
        else if (restarted.has(name)) scene.reached('pause kept over a restart of the primary');
      }
    },
  };
}
