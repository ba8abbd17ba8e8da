// Records to bytes: makes the frame of one batch, on the primary's path from host to sidefile and peers. It runs once for each turn, so it
// works in the caller's memory, copies each payload once and allocates nothing that lasts.

import { assert } from '../base/assert.ts';
import { setU64, viewOf } from '../base/bytes.ts';
import { crc32OfRange, crc32OfWords } from '../base/crc32.ts';
import { limits } from '../base/limits.ts';
import type { Digests } from '../base/ports.ts';
import { type Epoch, isCount, type Seq, type WallMillis } from '../base/units.ts';
import {
  CHAIN_FROM,
  CHAIN_WORDS,
  FRAME_HEADER_BYTES,
  FRAME_MAGIC,
  FRAME_VERSION,
  FOLDED_FRAME_VERSION,
  frameHeaderLayout,
  HEADER_CRC_FROM,
  payloadStartOf,
  RECORD_ENTRY_BYTES,
  RECORD_KIND,
  recordEntryLayout,
  recordFault,
  type RecordKind,
} from './layout.ts';

/** A record before it has a number. */
export interface NewRecord {
  readonly kind: RecordKind;
  /** Index of the volume in its group. */
  readonly volume: number;
  /** First byte of the range in the volume. */
  readonly offset: number;
  /** Bytes of the range. */
  readonly length: number;
  /** `length` bytes for a write, null for zeroes and trim. Copied. */
  readonly payload: Uint8Array | null;
}

/** What the header of a new frame says. */
export interface FrameHead {
  /** groupTagOf(group id). */
  readonly groupTag: number;
  readonly epoch: Epoch;
  /** Number of the first record; the others follow. */
  readonly firstSeq: Seq;
  readonly timeMillis: WallMillis;
  /** Chain of the record before firstSeq. */
  readonly chainBefore: number;
  /** Newest committed seq that the primary knows of; less than firstSeq. */
  readonly committed: Seq;
}

/** A finished frame: what the sidefile appends and peers are sent. */
export interface EncodedFrame {
  /** The whole frame: the memory that the caller gave. */
  readonly bytes: Uint8Array;
  readonly epoch: Epoch;
  readonly firstSeq: Seq;
  readonly lastSeq: Seq;
  readonly chainBefore: number;
  /** Chain of the last record. */
  readonly chain: number;
  readonly timeMillis: WallMillis;
  /** Where in `bytes` the payload of the first write begins; each further one begins where the one before ends. */
  readonly payloadStart: number;
}

/** Size of the frame of these records. */
export function frameBytes(records: readonly NewRecord[]): number {
  let byteCount = FRAME_HEADER_BYTES + records.length * RECORD_ENTRY_BYTES;
  for (const record of records) if (record.payload !== null) byteCount += record.payload.length;
  return byteCount;
}

/** Writes one frame into `into`, which must be exactly frameBytes(records) long. Throws InvariantError on records that no frame may hold. */
export function encodeFrame(head: FrameHead, records: readonly NewRecord[], into: Uint8Array, digests: Digests): EncodedFrame {
  assert(records.length >= 1, 'a frame holds at least one record');
  assert(records.length <= limits.frameRecordsMax, 'too many records for one frame', { count: records.length });
  assert(into.length <= limits.frameBytesMax, 'a frame is too large', { bytes: into.length });
  const payloadStart = FRAME_HEADER_BYTES + records.length * RECORD_ENTRY_BYTES;
  const view = viewOf(into);
  let chain = head.chainBefore;
  let payloadAt = payloadStart;
  let entryAt = FRAME_HEADER_BYTES;
  for (const record of records) {
    assertRecord(record, into.length - payloadAt);
    let payloadCrc = 0;
    if (record.payload !== null) {
      into.set(record.payload, payloadAt);
      payloadCrc = digests.crc32(record.payload, 0);
      payloadAt += record.length;
    }
    writeEntry(view, entryAt, record, payloadCrc);
    chain = crc32OfWords(view, entryAt + CHAIN_FROM, CHAIN_WORDS, chain);
    view.setUint32(entryAt + recordEntryLayout.at.chain, chain, true);
    entryAt += RECORD_ENTRY_BYTES;
  }
  assert(payloadAt === into.length, 'a frame fills the memory that it is given', { used: payloadAt, given: into.length });
  writeFrameHeader(head, records.length, into, digests);
  return {
    bytes: into,
    epoch: head.epoch,
    firstSeq: head.firstSeq,
    lastSeq: head.firstSeq + records.length - 1,
    chainBefore: head.chainBefore,
    chain,
    timeMillis: head.timeMillis,
    payloadStart,
  };
}

function assertRecord(record: NewRecord, room: number): void {
  const fault = recordFault(record.kind, record.volume, record.offset, record.length);
  assert(fault === null, 'a record is out of range', { fault });
  assert(isCount(record.offset), 'an offset is a count', { offset: record.offset });
  assert(isCount(record.length), 'a length is a count', { length: record.length });
  assert(isCount(record.volume), 'a volume index is a count', { volume: record.volume });
  if (record.kind === RECORD_KIND.write) {
    assert(record.payload !== null, 'a write has a payload');
    assert(record.payload.length === record.length, 'a payload is as long as its range', {
      payload: record.payload.length,
      length: record.length,
    });
    assert(record.length <= room, 'a frame fits the memory that it is given', { length: record.length, room });
  } else {
    assert(record.payload === null, 'only a write has a payload', { kind: record.kind });
  }
}

function writeEntry(view: DataView, entryAt: number, record: NewRecord, payloadCrc: number): void {
  const { at } = recordEntryLayout;
  view.setUint8(entryAt + at.kind, record.kind);
  view.setUint8(entryAt + at.flags, 0);
  view.setUint16(entryAt + at.volume, record.volume, true);
  view.setUint32(entryAt + at.length, record.length, true);
  view.setUint32(entryAt + at.payloadCrc, payloadCrc, true);
  setU64(view, entryAt + at.offset, record.offset);
  setU64(view, entryAt + at.reserved, 0);
}

/** Writes the header of a frame whose table (`recordCount` entries), foldings if it has them, and payloads are in place. */
export function writeFrameHeader(
  head: FrameHead & { readonly isFolded?: boolean },
  recordCount: number,
  frame: Uint8Array,
  digests: Digests,
): void {
  assert(isCount(head.epoch), 'an epoch is a count', { epoch: head.epoch });
  assert(head.epoch >= 1, 'records begin with epoch 1');
  assert(isCount(head.firstSeq), 'a seq is a count', { firstSeq: head.firstSeq });
  assert(head.firstSeq >= 1, 'records begin with seq 1');
  assert(isCount(head.committed), 'committed is a count', { committed: head.committed });
  assert(head.committed < head.firstSeq, 'a new record is not committed', { committed: head.committed, firstSeq: head.firstSeq });
  assert(isCount(head.timeMillis), 'a time is a count of milliseconds', { timeMillis: head.timeMillis });
  const view = viewOf(frame);
  const { at } = frameHeaderLayout;
  const { isFolded = false } = head;
  const payloadStart = payloadStartOf(recordCount, isFolded);
  view.setUint32(at.magic, FRAME_MAGIC, true);
  view.setUint16(at.version, isFolded ? FOLDED_FRAME_VERSION : FRAME_VERSION, true);
  view.setUint16(at.flags, 0, true);
  view.setUint32(at.groupTag, head.groupTag, true);
  setU64(view, at.epoch, head.epoch);
  setU64(view, at.firstSeq, head.firstSeq);
  setU64(view, at.timeMillis, head.timeMillis);
  view.setUint32(at.recordCount, recordCount, true);
  view.setUint32(at.payloadBytes, frame.length - payloadStart, true);
  view.setUint32(at.chainBefore, head.chainBefore, true);
  view.setUint32(at.tableCrc, crc32OfRange(frame, view, { from: FRAME_HEADER_BYTES, to: payloadStart }, digests), true);
  setU64(view, at.committed, head.committed);
  view.setUint32(at.headerCrc, crc32OfRange(frame, view, { from: HEADER_CRC_FROM, to: FRAME_HEADER_BYTES }, digests), true);
}
