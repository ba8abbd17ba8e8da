// The room of a sidefile: a primary never lets hosts write beyond it, and a copy whose overflow policy is to slow or to stop the writers never loses
// a record to its bitmap.

import type { SiteName } from '../../core/base/units.ts';
import type { Rule } from './observe.ts';

/** What one request may take beyond the room, being looked at as a whole: 64 KiB, its edges, a frame's head and that of a segment. */
export const ONE_REQUEST_BYTES = 64 * 1024 + 3 * 4096;

/** Writers that change their pace more often than that in a second go back and forth. */
const CHANGES_PER_SECOND_MAX = 8;

/** The oracle of the room. */
export function overflow(): Rule {
  /** The most that each site's sidefile has taken since it became primary. */
  const most = new Map<SiteName, number>();
  const changes = new Map<SiteName, { state: string; at: number[] }>();
  /** Peers whose records were forgotten while they were paused: nobody waits for those. */
  const excused = new Set<SiteName>();
  return {
    name: '15 overflow',
    afterEvent: (scene, { name, inside, role }) => {
      if (inside === null || role !== 'primary') {
        most.delete(name);
        changes.delete(name);
        return;
      }
      const { heldBytes, capacityBytes, forgotten, writers } = inside;
      // What it took over as a mirror may be more; it must not become more than that.
      const before = most.get(name) ?? heldBytes;
      if (heldBytes > before && heldBytes > capacityBytes + ONE_REQUEST_BYTES)
        scene.world.fail('15 overflow', `the sidefile of ${name} takes ${heldBytes} bytes and may take ${capacityBytes}`);
      most.set(name, Math.max(before, heldBytes));
      for (const { site } of inside.paused) excused.add(site);
      for (const peer of excused) if (!forgotten.includes(peer) && !inside.paused.some(({ site }) => site === peer)) excused.delete(peer);
      for (const peer of forgotten)
        if (!excused.has(peer)) scene.world.fail('15 overflow', `${name} has forgotten records of ${peer}, for which writers are to wait`);
      const last = changes.get(name) ?? { state: 'free', at: [] };
      if (writers === null || writers === last.state) return;
      if (writers !== 'free' && inside.outrun) scene.reached('writers slowed for a resync that was outrun');
      else if (writers !== 'free')
        scene.reached(writers === 'slowed' ? 'writers slowed for a copy that lags' : 'writers stopped for a copy that lags');
      else scene.reached('writers free again');
      const at = [...last.at.filter((each) => scene.world.now - each < 1000), scene.world.now];
      if (at.length > CHANGES_PER_SECOND_MAX)
        scene.world.fail('15 overflow', `${name} changed the pace of its writers ${at.length} times in a second`);
      changes.set(name, { state: writers, at });
    },
  };
}
