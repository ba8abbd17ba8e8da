// Host requests may begin and end anywhere; records cover whole blocks, because a block is what the overlay, destaging and the promise not to
// tear go by. Here a request is widened to whole blocks with what the volume holds around it, or a trim narrowed to them.

import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { NewRecord } from '../record/encode.ts';
import { RECORD_KIND } from '../record/layout.ts';

/** Fills `into` with the newest content from a byte offset on. */
export type ReadNow = (offset: number, into: Uint8Array) => void;

/** Whether a range is made of whole blocks. */
export function isAligned(offset: number, length: number): boolean {
  return offset % BLOCK_BYTES === 0 && length % BLOCK_BYTES === 0;
}

/**
 * The records of whole blocks that stand for one that is not: at most three, none when a trim covers no whole block. What lies around the range
 * is read now, so they must be appended before any other record of the volume is.
 */
export function alignRecord(record: NewRecord, readNow: ReadNow): NewRecord[] {
  const { kind, volume, offset, length } = record;
  if (isAligned(offset, length)) return [record];
  if (kind === RECORD_KIND.write) {
    assert(record.payload !== null, 'a write has a payload', { volume, offset });
    return [widen(volume, offset, record.payload, readNow)];
  }
  const first = Math.ceil(offset / BLOCK_BYTES) * BLOCK_BYTES;
  const last = Math.floor((offset + length) / BLOCK_BYTES) * BLOCK_BYTES;
  const middle: NewRecord[] = last > first ? [{ kind, volume, offset: first, length: last - first, payload: null }] : [];
  if (kind === RECORD_KIND.trim) return middle;
  const end = offset + length;
  if (last < first) return [widen(volume, offset, new Uint8Array(length), readNow)];
  const head = first > offset ? [widen(volume, offset, new Uint8Array(first - offset), readNow)] : [];
  const tail = end > last ? [widen(volume, last, new Uint8Array(end - last), readNow)] : [];
  return [...head, ...middle, ...tail];
}

/** A write of whole blocks: the payload with the newest content before and behind it. */
function widen(volume: number, offset: number, payload: Uint8Array, readNow: ReadNow): NewRecord {
  const end = offset + payload.length;
  const from = Math.floor(offset / BLOCK_BYTES) * BLOCK_BYTES;
  const to = Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES;
  const bytes = new Uint8Array(to - from);
  // The edges only: what lies between is about to be written over.
  if (offset > from) readNow(from, bytes.subarray(0, offset - from));
  if (to > end) readNow(end, bytes.subarray(end - from));
  bytes.set(payload, offset - from);
  return { kind: RECORD_KIND.write, volume, offset: from, length: to - from, payload: bytes };
}
