// Folded frames: many records as one step. A record that later ones of the same frame cover keeps its entry, and with it its number, its place in the
// chain and the checksum of its payload, and travels without the payload. Whoever takes such a frame takes all of it, and so goes from the state
// before its first record to the state behind its last one without ever being in between.

import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { limits } from '../base/limits.ts';
import type { Buffers, Digests } from '../base/ports.ts';
import type { FrameView } from './decode.ts';
import { writeFrameHeader } from './encode.ts';
import {
  FOLDED_BIT,
  FOLDING_BYTES,
  FOLDING_MILLIS_MAX,
  FRAME_HEADER_BYTES,
  frameHeaderLayout,
  payloadStartOf,
  RECORD_ENTRY_BYTES,
} from './layout.ts';

/** Why these frames cannot be one step; null when they can: they follow one another in one epoch, and times and bounds fit one frame. */
export function foldingFault(frames: readonly FrameView[]): string | null {
  const first = frames[0];
  if (first === undefined) return 'there is no frame';
  let recordCount = 0;
  let before: FrameView | null = null;
  const times = timesOf(frames);
  for (const frame of frames) {
    recordCount += frame.recordCount;
    if (frame.epoch !== first.epoch) return 'an epoch begins within';
    if (before !== null && (frame.firstSeq !== before.lastSeq + 1 || frame.chainBefore !== before.chainAfter))
      return 'a record is left out';
    before = frame;
  }
  if (recordCount > limits.frameRecordsMax) return 'there are too many records';
  return times.last - times.first > FOLDING_MILLIS_MAX ? 'the times are too far apart' : null;
}

function timesOf(frames: readonly FrameView[]): { readonly first: number; readonly last: number } {
  let first = Infinity;
  let last = 0;
  for (const frame of frames) {
    first = Math.min(first, frame.timeMillis);
    // Only what is folded already has times of its own for its records.
    for (let index = 0; index < (frame.isFolded ? frame.recordCount : 1); index++) last = Math.max(last, frame.timeAt(index));
  }
  return { first, last };
}

/**
 * One folded frame of frames that follow one another, in memory of `buffers`. `covered` says of each record in turn whether it goes without its
 * payload. All of them are committed.
 */
export function foldFrames(frames: readonly FrameView[], covered: Uint8Array, buffers: Buffers, digests: Digests): Uint8Array {
  const fault = foldingFault(frames);
  assert(fault === null, 'frames that are folded can be one step', { fault });
  const [first] = frames as [FrameView];
  const recordCount = covered.length;
  const payloadStart = payloadStartOf(recordCount, true);
  const into = buffers.take(payloadStart + payloadBytesOf(frames, covered));
  const view = viewOf(into);
  const timeMillis = timesOf(frames).first;
  let number = 0;
  let payloadAt = payloadStart;
  for (const frame of frames) {
    into.set(
      frame.bytes.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + frame.recordCount * RECORD_ENTRY_BYTES),
      FRAME_HEADER_BYTES + number * RECORD_ENTRY_BYTES,
    );
    for (let index = 0; index < frame.recordCount; index++, number++) {
      const isFolded = covered[number] === 1 || frame.foldedAt(index);
      const folding = frame.timeAt(index) - timeMillis + (isFolded ? FOLDED_BIT : 0);
      view.setUint32(FRAME_HEADER_BYTES + recordCount * RECORD_ENTRY_BYTES + number * FOLDING_BYTES, folding, true);
      const byteCount = isFolded ? 0 : frame.payloadBytesAt(index);
      if (byteCount === 0) continue;
      const from = frame.payloadAt(index);
      into.set(frame.bytes.subarray(from, from + byteCount), payloadAt);
      payloadAt += byteCount;
    }
  }
  assert(number === recordCount && payloadAt === into.length, 'a frame fills the memory that it is given', { number, recordCount });
  const groupTag = viewOf(first.bytes).getUint32(frameHeaderLayout.at.groupTag, true);
  const { epoch, firstSeq, chainBefore } = first;
  const head = { groupTag, epoch, firstSeq, timeMillis, chainBefore, committed: firstSeq - 1, isFolded: true };
  writeFrameHeader(head, recordCount, into, digests);
  return into;
}

/** Bytes of the payloads that are left. */
export function payloadBytesOf(frames: readonly FrameView[], covered: Uint8Array): number {
  let number = 0;
  let byteCount = 0;
  for (const frame of frames) {
    for (let index = 0; index < frame.recordCount; index++, number++) byteCount += covered[number] === 1 ? 0 : frame.payloadBytesAt(index);
  }
  return byteCount;
}
