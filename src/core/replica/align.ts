// Host requests may begin and end anywhere; records cover whole blocks, because a block is what the overlay, destaging and the promise not to
// tear go by. Here that is checked, and a request is widened to whole blocks with what the volume holds around it, or a trim narrowed to them.

import { assert } from '../base/assert.ts';
import type { Digests } from '../base/ports.ts';
import { type History, inHistory } from '../base/position.ts';
import { BLOCK_BYTES, type Seq, type VolumeIndex } from '../base/units.ts';
import { FrameView, readFrame, subFrame } from '../record/decode.ts';
import { encodeFrame, frameBytes, type FrameHead, type NewRecord } from '../record/encode.ts';
import { RECORD_KIND } from '../record/layout.ts';
import { coverFault } from './cover.ts';
import type { Acceptance, ReplicaOptions } from './options.ts';

/** Fills `into` with the newest content from a byte offset on. */
export type ReadNow = (offset: number, into: Uint8Array) => void;

/** Whether a range is made of whole blocks. */
function isAligned(offset: number, length: number): boolean {
  return offset % BLOCK_BYTES === 0 && length % BLOCK_BYTES === 0;
}

/** Why a record cannot be of these volumes; null when it can: it must cover whole blocks within one of them. */
function rangeFault(
  volumes: readonly { name: string; sizeBytes: number }[],
  volume: VolumeIndex,
  offset: number,
  length: number,
): string | null {
  const found = volumes[volume];
  if (found === undefined) return `there is no volume ${volume}`;
  if (!isAligned(offset, length)) return `${length} bytes at ${offset} are not whole blocks`;
  if (offset + length > found.sizeBytes) return `${length} bytes at ${offset} reach beyond volume ${found.name}`;
  return null;
}

/** Why the records of a frame cannot be of a replica with this history and these volumes; null when they can. */
function frameFault(frame: FrameView, history: History, volumes: readonly { name: string; sizeBytes: number }[]): string | null {
  const { epoch, firstSeq, lastSeq } = frame;
  if (!inHistory(history, epoch, firstSeq) || !inHistory(history, epoch, lastSeq)) {
    return `records ${firstSeq} to ${lastSeq} are not of epoch ${epoch} in the history of this copy`;
  }
  for (let index = 0; index < frame.recordCount; index++) {
    const fault = rangeFault(volumes, frame.volumeAt(index), frame.offsetAt(index), frame.lengthAt(index));
    if (fault !== null) return fault;
  }
  return null;
}

/** A frame of new records, which cover whole blocks of these volumes, in memory that was taken for it. */
export function ownFrame(
  records: readonly NewRecord[],
  head: Omit<FrameHead, 'timeMillis'>,
  given: Pick<ReplicaOptions, 'buffers' | 'clock' | 'digests' | 'volumes'>,
): FrameView {
  for (const { volume, offset, length } of records) {
    const fault = rangeFault(given.volumes, volume, offset, length);
    assert(fault === null, 'a record covers whole blocks of a volume', { fault });
  }
  const bytes = given.buffers.take(frameBytes(records));
  const timed = { ...head, timeMillis: Math.floor(given.clock.wall()) };
  encodeFrame(timed, records, bytes, given.digests);
  return new FrameView(bytes, { ...timed, recordCount: records.length, frameBytes: bytes.length });
}

/** The frame in bytes that a peer has sent, with everything in it checked; or what is wrong with it. */
export function peerFrame(
  bytes: Uint8Array,
  options: { readonly groupTag: number; readonly digests: Digests },
  replica: { readonly history: History; readonly volumes: readonly { name: string; sizeBytes: number }[] },
): FrameView | { readonly kind: 'damaged' | 'foreign'; readonly why: string } {
  const check = readFrame(bytes, 0, { ...options, checkPayload: true });
  if (check.kind === 'short') return { kind: 'damaged', why: 'the frame is cut short' };
  if (check.kind === 'damaged') return { kind: 'damaged', why: check.why };
  const { frame } = check;
  if (frame.bytes.length !== bytes.length) return { kind: 'damaged', why: 'there are bytes behind the frame' };
  const fault = frameFault(frame, replica.history, replica.volumes);
  if (fault !== null) return { kind: 'foreign', why: fault };
  const uncovered = coverFault(frame);
  return uncovered === null ? frame : { kind: 'damaged', why: uncovered };
}

/** Newest record that is known to be committed by a frame: all of what is one step was. */
export function committedOf(frame: FrameView): Seq {
  return frame.isFolded ? frame.lastSeq : frame.committed;
}

/** What of a sound frame of a peer is not here yet; or why nothing of it is to be taken. */
export function newPart(
  frame: FrameView,
  here: { readonly received: Seq; chainAt(seq: Seq): number | null },
  options: { readonly groupTag: number; readonly digests: Digests },
): FrameView | Exclude<Acceptance, { readonly kind: 'appended' }> {
  const { received } = here;
  if (frame.firstSeq > received + 1) return { kind: 'gap', expected: received + 1 };
  const shared = Math.min(frame.lastSeq, received);
  const theirs = shared < frame.firstSeq ? frame.chainBefore : frame.chainAt(shared - frame.firstSeq);
  const ours = here.chainAt(shared);
  // A record that is no longer in the sidefile is in the base image: nothing is left to compare with.
  if (ours !== null && ours !== theirs) return { kind: 'foreign', why: `record ${shared} is another one here: the chains differ` };
  if (frame.lastSeq <= received) return { kind: 'held' };
  return frame.firstSeq > received ? frame : restOf(frame, received + 1, options);
}

/** The records of a sound frame from one on, as a frame of their own. */
function restOf(frame: FrameView, from: Seq, options: { readonly groupTag: number; readonly digests: Digests }): FrameView {
  const part = readFrame(subFrame(frame, from, frame.lastSeq, options.digests), 0, { ...options, checkPayload: false });
  assert(part.kind === 'frame', 'a part of a sound frame is sound');
  return part.frame;
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
