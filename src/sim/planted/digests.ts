// Planted bugs of the log of digests: part of the list in planted.ts.

import type { PlantedBug } from '../planted.ts';

const LOG = 'replica/digest-log.ts';
/** A small log, verified all the time, on machines that lose power. */
const settings = {
  digestLog: { entriesMax: 2, fileBytes: 2 * 4096 },
  destageIdleMillis: 20,
  scrub: { everyMillis: 500, algorithm: 'sha256', reportOnly: true, bytesPerSecond: 0, window: null },
} as const;

export const DIGEST_BUGS: readonly PlantedBug[] = [
  {
    name: 'the log of digests is not flushed with its image',
    breaks: 'verify digests',
    edits: [
      {
        file: 'replica/digest-table.ts',
        find: 'return this.#flushed === this.#changes ? [] : [this.file, ...(this.#log?.files ?? [])];',
        replace: 'return this.#flushed === 0 ? [this.file, ...(this.#log?.files ?? [])] : [this.file];',
      },
    ],
    focus: { settings: { ...settings, digestLog: undefined } },
  },
  {
    name: 'what the table says again stays in the log',
    breaks: 'verify digests',
    edits: [{ file: LOG, find: 'if (isInFile) this.#ranges.push({ first, count });', replace: '' }],
    focus: { settings: { ...settings, digestLog: undefined } },
  },
  {
    name: 'what a crash left of a log is taken for more of it',
    breaks: 'verify digests',
    edits: [
      {
        file: 'replica/digest-batch.ts',
        find: 'batch.generation === generation && batch.sequence === sequence + 1 && batch.chain === crc && batch.start >= start',
        replace: 'batch.generation <= generation + 1',
      },
    ],
    focus: { settings: { ...settings, digestLog: { entriesMax: 20, fileBytes: 8 * 4096 } } },
  },
];
