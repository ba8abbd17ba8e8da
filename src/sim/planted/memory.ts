// Planted bugs of a sidefile that is in memory alone (decision 0011): part of the list in planted.ts.

import type { PlantedBug } from '../planted.ts';

const MEMORY = 'replica/memory.ts';
const REPLICA = 'replica/replica.ts';
const MARKS = 'replica/marks.ts';

export const MEMORY_BUGS: readonly PlantedBug[] = [
  {
    name: 'a copy in memory is believed consistent in the middle of destaging',
    breaks: '9 far prefix',
    edits: [
      {
        file: MEMORY,
        find: 'return { consistent: false, copying: { fromSeq: destaged }, destageTarget: destaged };',
        replace: 'return { destageTarget: destaged };',
      },
    ],
  },
  {
    name: 'what is in memory is told to be durable before it is destaged',
    breaks: '24 in memory',
    edits: [
      {
        file: REPLICA,
        find: 'if (!this.inMemory) this.#becameDurable(durable);',
        replace: 'this.#becameDurable(durable);',
      },
      {
        file: MARKS,
        find: "if (inMemory) assert(marks.durable === marks.destaged, 'a record that is in memory alone counts as durable', facts);",
        replace: '',
      },
      { file: REPLICA, find: 'if (this.inMemory) this.#marks.durable = destaged;', replace: '' },
    ],
  },
  {
    name: 'a start forgets that the last run was in memory',
    breaks: 'assertion',
    edits: [{ file: MEMORY, find: "return value.sidefile === 'memory' && !value.cleanShutdown;", replace: 'return false;' }],
  },
];
