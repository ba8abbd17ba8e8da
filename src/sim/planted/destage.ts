// Planted bugs of writes to a base image that are under way together: part of the list in planted.ts.

import type { PlantedBug } from '../planted.ts';

const WRITES = 'replica/pass-writes.ts';
/** Small steps, many hosts' writes to the same blocks, and slow disks. */
const settings = {
  destageSteps: { roundBytes: 4096, flushBytes: 64 * 1024, longPieceBytes: 1 },
  destageIdleMillis: 20,
  diskSlowness: [30, 30, 30],
} as const;

export const DESTAGE_PLANTED: readonly PlantedBug[] = [
  {
    // Was there once: seed 664 found it.
    name: 'a copy that is lost in the middle of destaging still holds what it held',
    breaks: '14 coverage',
    edits: [{ file: 'site/lead.ts', find: '    if (!join.consistent) peer.knownDurable = null;\n', replace: '' }],
    focus: {
      settings: {
        farInMemory: true,
        chaosMillis: 30_000,
        diskSlowness: [1, 1, 5],
        destageSteps: { roundBytes: 4096, flushBytes: 16 * 1024, longPieceBytes: 1 },
      },
    },
  },
  {
    name: 'base images are flushed before all writes to them have ended',
    breaks: 'C1 durable',
    edits: [
      {
        file: 'replica/destage.ts',
        find: "    yield { kind: 'written' };\n    yield { kind: 'flush'",
        replace: "    yield { kind: 'flush'",
      },
    ],
    focus: { settings },
  },
  {
    name: 'two writes to one block of a base image are under way at once',
    breaks: 'C1 durable',
    edits: [
      {
        file: WRITES,
        find: 'if (other.file === write.file && meet(other, write)) return true;',
        replace: 'if (other === write) return true;',
      },
    ],
    focus: { settings },
  },
  {
    name: 'memory of a round goes back while it is being written',
    breaks: 'C1 durable',
    edits: [
      { file: 'replica/destage.ts', find: '  memory.retain();\n', replace: '' },
      { file: 'replica/destage.ts', find: '    memory.release();\n  };', replace: '  };' },
    ],
    focus: { settings },
  },
];
