// Bugs in how volumes grow.

import type { PlantedBug } from '../planted.ts';

const GROWTH = 'site/growth.ts';
const SERVED = 'const now = leastOf(sizeBytes, said, (state) => state.agreedBytes?.[index]);';

export const GROWTH_BUGS: readonly PlantedBug[] = [
  {
    name: 'serves as much as its own copy can hold',
    breaks: '17 growth',
    edits: [{ file: GROWTH, find: SERVED, replace: 'const now = replica.volumes[index]?.sizeBytes ?? sizeBytes;' }],
  },
  {
    name: 'serves what is agreed before every copy has noted it',
    breaks: '17 growth',
    edits: [{ file: GROWTH, find: SERVED, replace: 'const now = sizeBytes;' }],
    focus: { settings: { growthBlocks: 8, chaosMillis: 30_000, leftOut: null, preElectionMillis: undefined }, story: 'growthUnnoted' },
  },
  {
    name: 'what is agreed is not kept over a restart',
    breaks: '17 growth',
    edits: [
      {
        file: 'replica/volume-sizes.ts',
        find: 'this.#ground.update(sizesPatch(this.#held, next), (failure)',
        replace: 'this.#ground.update({}, (failure)',
      },
    ],
  },
  // Both were there once: seeds 94746 and 90590 found them.
  {
    name: 'a base image that is as long as it is to be counts as made longer, whatever flush has failed',
    breaks: '17 growth',
    edits: [{ file: 'replica/open.ts', find: 'if (!clean) cutBack(base, before);', replace: '' }],
    focus: { settings: { growthBlocks: 8, chaosMillis: 30_000, leftOut: null }, story: 'unflushedGrowth' },
  },
  {
    name: 'survivors are made equal before both have noted how large the volumes are',
    breaks: '17 growth',
    edits: [
      {
        file: GROWTH,
        find: 'return said?.agreedBytes === undefined || this.mayFollow(said);',
        replace: 'return said !== undefined;',
      },
    ],
    focus: { settings: { growthBlocks: 8, chaosMillis: 60_000, leftOut: null, preElectionMillis: undefined }, story: 'growthWhileAway' },
  },
];
