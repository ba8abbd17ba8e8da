// Moments that are over and that nothing is done about, so that a site turns in circles. Both were there once.

import type { PlantedBug } from '../planted.ts';

const MOVE = 'site/witness-move.ts';
const SOURCES = 'site/sources.ts';

export const CLOCK_BUGS: readonly PlantedBug[] = [
  {
    name: 'a failed copy wants to report to the new witness at once, for ever',
    breaks: 'L2 restless',
    edits: [
      { file: MOVE, find: '|| this.#unable() !== null) return Infinity;', replace: ') return Infinity;' },
      {
        file: MOVE,
        find: 'return this.#nextAt > now ? this.#nextAt : now + this.#site.options.timings.witnessRetryMillis;',
        replace: 'return this.#nextAt;',
      },
    ],
  },
  {
    name: 'a site that claims still waits for what was offered to it',
    breaks: 'L2 restless',
    edits: [
      {
        file: SOURCES,
        find: 'at: () => (TAKES_OVER.has(role()) ? successor.deadline() : Infinity),',
        replace: 'at: () => successor.deadline(),',
      },
    ],
  },
];
