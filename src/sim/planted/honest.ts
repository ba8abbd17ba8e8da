// Bugs in what a site says of itself and of others.

import type { PlantedBug } from '../planted.ts';

export const HONEST_BUGS: readonly PlantedBug[] = [
  {
    name: 'the lag of a copy in a resync is told by what it has received of that',
    breaks: '12 honest',
    edits: [{ file: 'site/status.ts', find: "const shows = followed?.attached === 'following';", replace: 'const shows = attached;' }],
  },
];
