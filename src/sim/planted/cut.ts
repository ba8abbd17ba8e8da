// Planted bugs of cutting the newest records off over several turns: part of the list in planted.ts.

import type { PlantedBug } from '../planted.ts';

const CUT_BACK = 'replica/cut-back.ts';
const focus = { settings: { points: false, cutStepBytes: 1, destageIdleMillis: 10000 }, story: 'lostReign' } as const;

export const CUT_BUGS: readonly PlantedBug[] = [
  {
    name: 'what is looked through before a cut has records that are cut off',
    breaks: '9 contents',
    edits: [
      { file: CUT_BACK, find: 'Math.min(held.lastSeq, cut.seq)', replace: 'held.lastSeq' },
      { file: CUT_BACK, find: 'goesOn && cut.next <= cut.seq', replace: 'goesOn && cut.next <= cut.marks.received' },
      { file: CUT_BACK, find: 'if (cut.next > cut.seq) return', replace: 'if (cut.next > cut.marks.received) return' },
    ],
    focus,
  },
  {
    name: 'a part of what stays is left out when a tail is cut off over several turns',
    breaks: '9 contents',
    edits: [{ file: CUT_BACK, find: 'if (!this.#enter(cut)) return', replace: 'if (!this.#enter(cut) && ++cut.next <= cut.seq) return' }],
    focus,
  },
  {
    name: 'the epoch is noted before its tail has been cut off',
    breaks: '7 join',
    edits: [
      { file: CUT_BACK, find: 'if (this.#preparing !== cut) return;', replace: 'if (this.#preparing !== cut) return;\n    cut.done();' },
    ],
    focus,
  },
];
