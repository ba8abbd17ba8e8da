// A sidefile in memory alone (decision 0011): durable there is what is destaged and nothing else, it has a bound, and whoever reigns has it on the disk.

import type { Rule } from './observe.ts';

/** What may come at once, beyond the bound, before the next frame waits. */
const FRAME_BYTES = 512 * 1024;

/** The oracle of sidefiles in memory. */
export function memory(): Rule {
  return {
    name: '24 in memory',
    afterEvent: (scene, site) => {
      const { inside } = site;
      if (inside?.inMemory !== true) return;
      const { marks, heldBytes, capacityBytes } = inside;
      if (site.role === 'primary') scene.world.fail('24 in memory', `${site.name} is primary, and its sidefile is in memory`);
      if (marks.durable !== marks.destaged)
        scene.world.fail(
          '24 in memory',
          `${site.name} calls record ${marks.durable} durable, and has destaged those up to ${marks.destaged}`,
        );
      if (heldBytes > capacityBytes + FRAME_BYTES)
        scene.world.fail('24 in memory', `the sidefile of ${site.name} takes ${heldBytes} bytes of memory, and may take ${capacityBytes}`);
    },
  };
}
