// Planted bugs of what a copy does with its disk.

import type { PlantedBug } from '../planted.ts';

export const DISK_BUGS: readonly PlantedBug[] = [
  {
    name: 'a record that was put right waits for a flush that nobody asks for',
    breaks: 'scrub',
    edits: [
      {
        file: 'replica/records.ts',
        find: 'commit.whenMended((failure) => done(failure === null ? null : DISK_FAILED));',
        replace: 'done(null);',
      },
    ],
  },
];
