// Planted bugs of folding.

import type { PlantedBug } from '../planted.ts';

const FOLD = 'mirror/fold.ts';
const REPLICA = 'replica/replica.ts';

/** See planted.ts. */
export const FOLDING_BUGS: readonly PlantedBug[] = [
  {
    name: 'folds what is not committed',
    breaks: '23 folding',
    edits: [
      { file: FOLD, find: 'frame === null || frame.lastSeq > committed || frame.epoch', replace: 'frame === null || frame.epoch' },
      { file: FOLD, find: 'while (!isFull && next <= committed) {', replace: 'while (!isFull) {' },
    ],
  },
  {
    name: 'folds a record of which a part is covered',
    breaks: '9 far prefix',
    edits: [
      {
        file: 'replica/cover.ts',
        find: 'for (let i = 0; i < blockCount; i++) if',
        replace: 'for (let i = 0; i < 1; i++) if',
      },
      {
        file: 'replica/destage.ts',
        find: "assert(newest > seq, 'a record that is folded",
        replace: "assert(newest >= 0, 'a record that is folded",
      },
    ],
  },
  {
    name: 'folds what an earlier record covers',
    breaks: '9 far prefix',
    edits: [
      {
        file: 'replica/cover.ts',
        find: 'if (newest.seek(block + i) === number) return false;\n  return true;',
        replace: 'if (newest.seek(block + i) !== number) return true;\n  return blockCount < 0;',
      },
      {
        file: 'replica/destage.ts',
        find: "assert(newest > seq, 'a record that is folded",
        replace: "assert(newest >= 0, 'a record that is folded",
      },
    ],
  },
  {
    name: 'a step is applied in two turns',
    breaks: '9 far prefix',
    edits: [
      {
        file: REPLICA,
        find: 'enterRecords(this.#overlays, frame, place, { first: 0, last: frame.recordCount - 1 });',
        replace:
          'const half = frame.isFolded ? Math.floor(frame.recordCount / 2) : 0;\n' +
          '    enterRecords(this.#overlays, frame, place, { first: 0, last: frame.recordCount - 1 - half });\n' +
          '    if (half > 0) this.#background.whenIdle(() => enterRecords(this.#overlays, frame, place, { first: frame.recordCount - half, last: frame.recordCount - 1 }));',
      },
    ],
  },
  {
    name: 'what a step covers is not committed with it',
    breaks: 'marks',
    edits: [
      {
        file: 'replica/align.ts',
        find: 'frame.isFolded ? frame.lastSeq : frame.committed',
        replace: 'frame.isFolded ? frame.lastSeq - 1 : frame.committed',
      },
    ],
  },
];
