// The numbers of the system, named by meaning. All are plain doubles: 2^53 bytes are 8 PiB and 2^53 records outlast the hardware, so no
// 64-bit integer type is needed outside the byte codecs, which check the bound.

/** Number of a record within its group: +1 for each record. 0 means "none yet"; the first record is 1. */
export type Seq = number;
/** Number of a primary's reign, given by the witness. 0 means "no primary has ever been". */
export type Epoch = number;
/** Milliseconds of a site's own monotonic clock, which starts anywhere and never jumps. */
export type Millis = number;
/** Milliseconds since 1970 by the wall clock; for people and record times only, never for a decision. */
export type WallMillis = number;
/** Name of a site, as in the configuration: 1 to 32 of a-z, 0-9, '-'. */
export type SiteName = string;
/** Index of a volume within its group, in the order of the configuration. */
export type VolumeIndex = number;

/** Bytes in a block: the unit that never tears, in which the overlay thinks, and that a volume's size is a multiple of. */
export const BLOCK_BYTES = 4096;

/** Whether a value is an integer that a double holds exactly, at least 0: checked on everything that comes from disk or network. */
export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
