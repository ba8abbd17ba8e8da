// Growing: nobody serves more of a volume than every copy can hold, and whoever serves serves no less than hosts were served before, after any
// failover.

import type { SiteName } from '../../core/base/units.ts';
import type { Rule } from './observe.ts';

/** The oracle of growth. `initialBytes`: what the volumes had when the group was made. */
export function growth(initialBytes: readonly number[]): Rule {
  /** What each copy could hold when it was seen last. */
  const held = new Map<SiteName, readonly number[]>();
  const most = [...initialBytes];
  let grower: SiteName | null = null;
  /** Removed from the group, or added again and not admitted yet: such a copy grows before it follows. */
  const left = new Set<SiteName>();
  return {
    name: '17 growth',
    witnessStep: (_scene, { operation, reply }) => {
      // The answer to what was asked again tells of the past.
      if (reply.outcome !== 'done' || reply.repeated === true) return;
      if (operation.kind === 'remove') left.add(operation.site);
      else if (operation.kind === 'admit') left.delete(operation.site);
    },
    afterEvent: (scene, site) => {
      if (site.inside === null) return;
      held.set(site.name, site.inside.volumeBytes);
      const { served } = site.inside;
      if (!site.serving || served === null || scene.forced) return;
      for (const [volume, bytes] of served.entries()) {
        for (const [name, sizes] of held) {
          if ((sizes[volume] ?? 0) >= bytes || left.has(name) || scene.sites.some((other) => other.name === name && other.flipped))
            continue;
          scene.world.fail('17 growth', `${site.name} serves ${bytes} bytes of volume ${volume}, and ${name} can hold ${sizes[volume]}`);
        }
        const before = most[volume] ?? 0;
        if (bytes < before)
          scene.world.fail('17 growth', `${site.name} serves ${bytes} bytes of volume ${volume}, ${before} were served before`);
        if (bytes > before) {
          scene.reached('a volume has grown while it was served');
          grower = site.name;
          most[volume] = bytes;
        }
      }
      if (grower !== null && grower !== site.name) scene.reached('a volume that has grown is served by another primary');
    },
  };
}
