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
  {
    name: 'a unit of a scan that begins with zeroes counts as empty',
    breaks: '9 far prefix',
    edits: [
      {
        file: 'scan/local.ts',
        find: 'return first?.zero === true && first.offset === offset && first.length >= length;',
        replace: 'return first?.zero === true && first.offset === offset;',
      },
    ],
  },
  {
    name: 'what is staged is not looked at before it counts, nor when it goes into the bases',
    breaks: '9 far prefix',
    edits: [
      {
        file: 'replica/digested-base.ts',
        find: "if (known.kind === 'damaged' || (known.kind === 'known' && known.crc !== this.digestOf(block)))",
        replace: "if (known.kind === 'damaged')",
      },
    ],
    focus: {
      story: 'stagedRot',
      settings: { bitmapOnly: true, overflow: 'bitmap', segmentBytes: 16 * 1024, destageIdleMillis: 20, chaosMillis: 20_000 },
    },
  },
];
