// Bugs that are planted to see whether the simulated day finds them (`npm run show:day -- --planted NAME`): of what the size of a sidefile does over hours,
// which the short runs of the simulator do not show.

import type { PlantedBug } from '../planted.ts';

function bug(name: string, breaks: string, file: string, find: string, replace: string): PlantedBug {
  return { name, breaks, edits: [{ file, find, replace }] };
}

const SET_ASIDE = 'replica/set-aside.ts';

/** The list. */
export const DAY_PLANTED: readonly PlantedBug[] = [
  bug('space is given back at once', 'oscillation', SET_ASIDE, 'if (now - this.#calmSince < calmMillis) return;', ''),
  bug('space is taken late', 'grows early', SET_ASIDE, 'const GROW_ABOVE = 1 / 2;', 'const GROW_ABOVE = 2;'),
  bug(
    'records go while the copy that lacks them is away',
    'coverage',
    'site/lead.ts',
    'if (!peer.uncovered) retain = Math.min(',
    "if (!peer.uncovered && peer.attached !== 'no') retain = Math.min(",
  ),
  bug(
    'a sidefile is full only at one and a half times its maximum',
    'maximum',
    'replica/space.ts',
    'if (this.leftBytes > 0) return false;',
    'if (this.leftBytes > -this.#capacityBytes / 2) return false;',
  ),
];
