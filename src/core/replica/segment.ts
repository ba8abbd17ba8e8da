// One file of the sidefile: its name, its header, and the marks behind its frames. A segment is written front to back and never rewritten; it
// goes away as a whole. Its file may be longer than what was written, and hold anything there: only what a mark of this segment ends counts.

import { assert } from '../base/assert.ts';
import { getU64, type Layout, layout, setU64, viewOf } from '../base/bytes.ts';
import { crc32OfRange } from '../base/crc32.ts';
import type { Digests, StoredFile } from '../base/ports.ts';
import { type Epoch, isCount, type Seq } from '../base/units.ts';

/** 'TCSG' as it reads in a dump. */
const SEGMENT_MAGIC = 0x4753_4354;
/** 'TCDM' as it reads in a dump. */
export const MARK_MAGIC = 0x4d44_4354;
/**
 * The only version of either form so far. Marks of another one stand in segments of another one only: what cannot be read as a mark here counts as torn.
 */
const SEGMENT_VERSION = 1;

const segmentFields = [
  ['magic', 'u32', "'TCSG'"],
  ['headerCrc', 'u32', 'CRC-32 of bytes 8 to 63 of this header'],
  ['version', 'u16', 'version of this form: 1'],
  ['flags', 'u16', '0'],
  ['groupTag', 'u32', 'CRC-32 of the group id'],
  ['segmentNumber', 'u64', 'number of the segment, the same as in its file name'],
  ['firstSeq', 'u64', 'seq of the first record that was appended to the segment'],
  ['epochBefore', 'u64', 'epoch of the record before firstSeq; 0 when there was none'],
  ['chainBefore', 'u32', 'chain of the record before firstSeq'],
  ['reserved', 'u32', '0'],
  ['reserved2', 'u64', '0'],
  ['reserved3', 'u64', '0'],
] as const;

/** Header of a segment file. */
export const segmentHeaderLayout: Layout<(typeof segmentFields)[number][0]> = layout(64, segmentFields);
/** Bytes of a segment's header: where its first frame or mark begins. */
export const SEGMENT_HEADER_BYTES: number = segmentHeaderLayout.bytes;

const markFields = [
  ['magic', 'u32', "'TCDM'"],
  ['markCrc', 'u32', 'CRC-32 of bytes 8 to 55 of this mark'],
  ['version', 'u16', 'version of this form: 1'],
  ['flags', 'u16', '0'],
  ['groupTag', 'u32', 'CRC-32 of the group id'],
  ['segmentNumber', 'u64', 'number of the segment that the mark is part of'],
  ['epoch', 'u64', 'epoch of the frame before the mark'],
  ['lastSeq', 'u64', 'last seq of the frame before the mark: all of it was written'],
  ['durableEpoch', 'u64', 'epoch of record `durable`; 0 when there is none'],
  ['durable', 'u64', 'every record up to this seq was on stable storage here when the mark was written'],
] as const;

/** A mark: stands behind each frame, is local to this replica and never sent. */
export const markLayout: Layout<(typeof markFields)[number][0]> = layout(56, markFields);
/** Bytes of a mark. */
export const MARK_BYTES: number = markLayout.bytes;

/** First byte that the checksum of a segment header or of a mark covers. */
const CRC_FROM = 8;
const NAME_PREFIX = 'sidefile-';
const NAME_DIGITS = 12;

/** File name of a segment; names sort as numbers do. */
export function segmentName(number: number): string {
  assert(isCount(number), 'a segment number is a count', { number });
  return NAME_PREFIX + String(number).padStart(NAME_DIGITS, '0');
}

/** Number of the segment that a file name names; null when it names none. */
export function segmentNumberOf(name: string): number | null {
  if (!name.startsWith(NAME_PREFIX) || name.length !== NAME_PREFIX.length + NAME_DIGITS) return null;
  const digits = name.slice(NAME_PREFIX.length);
  return /^[0-9]+$/.test(digits) ? Number(digits) : null;
}

/** What the header of a segment says. */
export interface SegmentHeader {
  readonly segmentNumber: number;
  readonly firstSeq: Seq;
  readonly epochBefore: Epoch;
  readonly chainBefore: number;
}

/** A segment whose file is open. */
export interface Segment {
  readonly number: number;
  readonly file: StoredFile;
  /** Bytes written: where the next frame goes. The file may be longer. */
  size: number;
  /** Whether it holds bytes that no flush has been begun for. */
  dirty: boolean;
}

/** What the first bytes of a segment turned out to be. */
export type SegmentCheck =
  | { readonly kind: 'segment'; readonly header: SegmentHeader }
  | { readonly kind: 'short' }
  | { readonly kind: 'damaged'; readonly why: string; readonly version?: number };

/** Bytes of a segment's header. */
export function encodeSegmentHeader(header: SegmentHeader, groupTag: number, digests: Digests): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = viewOf(bytes);
  const { at } = segmentHeaderLayout;
  view.setUint32(at.magic, SEGMENT_MAGIC, true);
  view.setUint16(at.version, SEGMENT_VERSION, true);
  view.setUint32(at.groupTag, groupTag, true);
  setU64(view, at.segmentNumber, header.segmentNumber);
  setU64(view, at.firstSeq, header.firstSeq);
  setU64(view, at.epochBefore, header.epochBefore);
  view.setUint32(at.chainBefore, header.chainBefore, true);
  view.setUint32(at.headerCrc, digests.crc32(bytes.subarray(CRC_FROM), 0), true);
  return bytes;
}

/** Reads the header of segment `number` from the first bytes of its file. */
export function decodeSegmentHeader(bytes: Uint8Array, number: number, groupTag: number, digests: Digests): SegmentCheck {
  if (bytes.length < SEGMENT_HEADER_BYTES) return { kind: 'short' };
  const head = bytes.subarray(0, SEGMENT_HEADER_BYTES);
  const view = viewOf(head);
  const { at } = segmentHeaderLayout;
  if (view.getUint32(at.magic, true) !== SEGMENT_MAGIC)
    return { kind: 'damaged', why: 'the file does not begin as a segment (no magic number)' };
  if (view.getUint32(at.headerCrc, true) !== digests.crc32(head.subarray(CRC_FROM), 0)) {
    return { kind: 'damaged', why: 'the header of the segment does not have its checksum' };
  }
  const version = view.getUint16(at.version, true);
  if (version !== SEGMENT_VERSION) {
    return { kind: 'damaged', why: `the segment has format version ${version}, this program reads ${SEGMENT_VERSION}`, version };
  }
  if (view.getUint32(at.groupTag, true) !== groupTag) return { kind: 'damaged', why: 'the segment belongs to another group' };
  const header = {
    segmentNumber: getU64(view, at.segmentNumber),
    firstSeq: getU64(view, at.firstSeq),
    epochBefore: getU64(view, at.epochBefore),
    chainBefore: view.getUint32(at.chainBefore, true),
  };
  if (header.segmentNumber !== number) return { kind: 'damaged', why: `the file holds segment ${header.segmentNumber}` };
  if (!isCount(header.firstSeq) || header.firstSeq < 1) return { kind: 'damaged', why: 'the first seq of the segment is out of range' };
  if (!isCount(header.epochBefore)) return { kind: 'damaged', why: 'the epoch before the segment is out of range' };
  const unknown = view.getUint16(at.flags, true) !== 0 || view.getUint32(at.reserved, true) !== 0;
  if (unknown || getU64(view, at.reserved2) !== 0 || getU64(view, at.reserved3) !== 0) {
    return { kind: 'damaged', why: 'the segment has fields that version 1 does not know' };
  }
  return { kind: 'segment', header };
}

/** What a mark says: which frame was written as a whole before it, and up to where everything was on stable storage then. */
export interface Mark {
  readonly segmentNumber: number;
  readonly epoch: Epoch;
  readonly lastSeq: Seq;
  readonly durableEpoch: Epoch;
  readonly durable: Seq;
}

/** Writes a mark into `bytes`, which are MARK_BYTES long and may have held another one. */
export function encodeMark(mark: Mark, bytes: Uint8Array, groupTag: number, digests: Digests): void {
  const view = viewOf(bytes);
  const { at } = markLayout;
  view.setUint32(at.magic, MARK_MAGIC, true);
  view.setUint16(at.version, SEGMENT_VERSION, true);
  view.setUint32(at.groupTag, groupTag, true);
  setU64(view, at.segmentNumber, mark.segmentNumber);
  setU64(view, at.epoch, mark.epoch);
  setU64(view, at.lastSeq, mark.lastSeq);
  setU64(view, at.durableEpoch, mark.durableEpoch);
  setU64(view, at.durable, mark.durable);
  view.setUint32(at.markCrc, crc32OfRange(bytes, view, { from: CRC_FROM, to: MARK_BYTES }, digests), true);
}

/** The mark at the begin of `bytes`; null when there is none that is sound, of this group and of this segment. */
export function decodeMark(bytes: Uint8Array, segmentNumber: number, groupTag: number, digests: Digests): Mark | null {
  if (bytes.length < MARK_BYTES) return null;
  const view = viewOf(bytes.subarray(0, MARK_BYTES));
  const { at } = markLayout;
  if (view.getUint32(at.magic, true) !== MARK_MAGIC) return null;
  if (view.getUint32(at.markCrc, true) !== digests.crc32(bytes.subarray(CRC_FROM, MARK_BYTES), 0)) return null;
  if (view.getUint16(at.version, true) !== SEGMENT_VERSION || view.getUint16(at.flags, true) !== 0) return null;
  if (view.getUint32(at.groupTag, true) !== groupTag || getU64(view, at.segmentNumber) !== segmentNumber) return null;
  const mark = {
    segmentNumber,
    epoch: getU64(view, at.epoch),
    lastSeq: getU64(view, at.lastSeq),
    durableEpoch: getU64(view, at.durableEpoch),
    durable: getU64(view, at.durable),
  };
  const counts = isCount(mark.epoch) && isCount(mark.lastSeq) && isCount(mark.durableEpoch) && isCount(mark.durable);
  return counts ? mark : null;
}
