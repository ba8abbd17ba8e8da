// Planted bugs of how much a sidefile keeps: part of the list in planted.ts.

import type { PlantedBug } from '../planted.ts';

const LEAD = 'site/lead.ts';

/** Of a fixed count of records. */
export const SIDEFILE_PLANTED: readonly PlantedBug[] = [
  {
    name: 'a file of the sidefile does not take the space that is set aside for it',
    breaks: '19 set aside',
    edits: [
      { file: 'replica/set-aside.ts', find: 'if (this.#held > 0) this.#hold(Math.max(0, this.#held - byteCount));', replace: '' },
      { file: 'replica/set-aside.ts', find: 'else if (missing < 0) this.#hold(Math.max(0, this.#held + missing));', replace: '' },
    ],
  },
  {
    name: 'more records are kept for a copy than the count says',
    breaks: '22 record count',
    edits: [{ file: LEAD, find: 'this.#fixed.share(peer) <= 1 ||', replace: 'this.#fixed.share(peer) <= 2 ||' }],
  },
  {
    name: 'the oldest record is overwritten, and the copy that lacks it is not told',
    breaks: '22 record count',
    edits: [
      {
        file: LEAD,
        find: '    return retain;\n',
        replace: '    return Math.max(retain, this.#replica.marks.received + 1 - (this.#options.recordsMax || Infinity));\n',
      },
      { file: LEAD, find: 'this.#fixed.share(peer) <= 1 ||', replace: 'this.#fixed.share(peer) <= 1e9 ||' },
    ],
  },
];
