// Bytes to records. Whatever comes from a disk or a peer passes here before anything is done with it: lengths are bounded first, then the
// header's checksum, then the table, and only then does any field count. No input makes this throw.

import { assert } from '../base/assert.ts';
import { getU64, viewOf } from '../base/bytes.ts';
import { crc32OfRange, crc32OfWords, crc32WithBlock } from '../base/crc32.ts';
import { limits } from '../base/limits.ts';
import type { Digests } from '../base/ports.ts';
import { BLOCK_BYTES, type Epoch, isCount, type Seq, type WallMillis } from '../base/units.ts';
import { writeFrameHeader } from './encode.ts';
import {
  CHAIN_FROM,
  CHAIN_WORDS,
  FOLDED_BIT,
  FOLDED_FRAME_VERSION,
  FOLDING_BYTES,
  FRAME_HEADER_BYTES,
  FRAME_MAGIC,
  FRAME_VERSION,
  frameHeaderLayout,
  HEADER_CRC_FROM,
  payloadStartOf,
  RECORD_ENTRY_BYTES,
  RECORD_KIND,
  recordEntryLayout,
  recordFault,
  type RecordKind,
} from './layout.ts';

/** What bytes turned out to be. */
export type FrameCheck =
  | { readonly kind: 'frame'; readonly frame: FrameView }
  /** The bytes end before the frame does; it needs this many from its start (64 until the header can be read). */
  | { readonly kind: 'short'; readonly needBytes: number }
  | FrameDamage;

/** Bytes that are no frame of this group and version. */
export interface FrameDamage {
  readonly kind: 'damaged';
  readonly why: string;
  /** Name of the first record and size of the frame, when the header is sound, so that a reader may look behind the frame. */
  readonly head?: { readonly epoch: Epoch; readonly seq: Seq; readonly frameBytes: number };
  /** Set when a sound header names another version of the form: not damage, but another program's work. */
  readonly version?: number;
}

/** How to read a frame. */
export interface FrameOptions {
  readonly groupTag: number;
  /** Whether to check the payloads as well; else badPayload() can do it later. */
  readonly checkPayload: boolean;
  readonly digests: Digests;
}

/** One record of a frame. */
export interface RecordView {
  readonly kind: RecordKind;
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  /** Where in the frame its payload begins; for zeroes and trim, where it would. */
  readonly payloadAt: number;
  /** Chain up to and with this record. */
  readonly chain: number;
}

/** What the header of a frame says, once it is known to be sound. */
interface HeaderFields {
  readonly epoch: Epoch;
  readonly firstSeq: Seq;
  readonly timeMillis: WallMillis;
  readonly recordCount: number;
  readonly payloadBytes: number;
  readonly chainBefore: number;
  readonly tableCrc: number;
  readonly committed: Seq;
  readonly frameBytes: number;
  readonly isFolded: boolean;
}

type HeaderCheck =
  | { readonly kind: 'header'; readonly header: HeaderFields }
  | { readonly kind: 'short'; readonly needBytes: number }
  | FrameDamage;

/** A frame that has been checked, over the bytes that it was read from (not a copy). Records are counted from 0 here. */
export class FrameView {
  /** The whole frame, or as much of it as readFrameTable() was given. */
  readonly bytes: Uint8Array;
  /** Size of the whole frame. */
  readonly byteCount: number;
  readonly epoch: Epoch;
  readonly firstSeq: Seq;
  readonly lastSeq: Seq;
  readonly recordCount: number;
  readonly timeMillis: WallMillis;
  readonly committed: Seq;
  /** Chain of the record before firstSeq. */
  readonly chainBefore: number;
  /** Where in `bytes` the payloads begin. */
  readonly payloadStart: number;
  /**
   * It is one step: some of its records may lack their payloads, which later ones of it cover. No copy is ever as of a record within it, and all of
   * it was committed when it was made.
   */
  readonly isFolded: boolean;
  /**
   * CRC-32 of each block of the payloads, counted from payloadStart, where badPayload() was to note it and has found it right; 0 for others. Null
   * before that, and where the payloads are not whole blocks.
   */
  blockCrcs: Uint32Array | null = null;
  readonly #view: DataView;
  // Where the payload of one record begins follows from the lengths before it; going on from the last answer makes a pass linear.
  #cursorIndex = 0;
  #cursorAt: number;

  constructor(bytes: Uint8Array, header: Omit<HeaderFields, 'tableCrc' | 'payloadBytes' | 'isFolded'> & { readonly isFolded?: boolean }) {
    this.bytes = bytes;
    this.byteCount = header.frameBytes;
    this.epoch = header.epoch;
    this.firstSeq = header.firstSeq;
    this.lastSeq = header.firstSeq + header.recordCount - 1;
    this.recordCount = header.recordCount;
    this.timeMillis = header.timeMillis;
    this.committed = header.committed;
    this.chainBefore = header.chainBefore;
    this.isFolded = header.isFolded ?? false;
    this.payloadStart = payloadStartOf(header.recordCount, this.isFolded);
    this.#view = viewOf(bytes);
    this.#cursorAt = this.payloadStart;
  }

  /** Chain of the last record. */
  get chainAfter(): number {
    return this.chainAt(this.recordCount - 1);
  }

  /** Chain of the last record: the name that EncodedFrame uses. */
  get chain(): number {
    return this.chainAfter;
  }

  #entry(index: number): number {
    return FRAME_HEADER_BYTES + index * RECORD_ENTRY_BYTES;
  }

  kindAt(index: number): RecordKind {
    return this.#view.getUint8(this.#entry(index) + recordEntryLayout.at.kind) as RecordKind;
  }

  volumeAt(index: number): number {
    return this.#view.getUint16(this.#entry(index) + recordEntryLayout.at.volume, true);
  }

  offsetAt(index: number): number {
    return getU64(this.#view, this.#entry(index) + recordEntryLayout.at.offset);
  }

  lengthAt(index: number): number {
    return this.#view.getUint32(this.#entry(index) + recordEntryLayout.at.length, true);
  }

  /** Chain up to and with record `index`. */
  chainAt(index: number): number {
    return this.#view.getUint32(this.#entry(index) + recordEntryLayout.at.chain, true);
  }

  #foldingAt(index: number): number {
    return this.#view.getUint32(FRAME_HEADER_BYTES + this.recordCount * RECORD_ENTRY_BYTES + index * FOLDING_BYTES, true);
  }

  /** Whether a record has no payload here though it is a write: later records of this frame cover all of it. */
  foldedAt(index: number): boolean {
    return this.isFolded && this.#foldingAt(index) >= FOLDED_BIT;
  }

  /** Wall clock of the primary when it numbered a record. */
  timeAt(index: number): WallMillis {
    return this.isFolded ? this.timeMillis + (this.#foldingAt(index) % FOLDED_BIT) : this.timeMillis;
  }

  /** Bytes of payload that a record has in this frame: its length, or 0 for zeroes, trim, and what is folded. */
  payloadBytesAt(index: number): number {
    return this.kindAt(index) === RECORD_KIND.write && !this.foldedAt(index) ? this.lengthAt(index) : 0;
  }

  /** Where in the frame the payload of a record begins. Constant time for records asked for in rising order. */
  payloadAt(index: number): number {
    if (index < this.#cursorIndex) {
      this.#cursorIndex = 0;
      this.#cursorAt = this.payloadStart;
    }
    while (this.#cursorIndex < index) this.#cursorAt += this.payloadBytesAt(this.#cursorIndex++);
    return this.#cursorAt;
  }

  /** All of one record; the accessors above are cheaper where one field is enough. */
  record(index: number): RecordView {
    assert(index >= 0 && index < this.recordCount, 'a frame has no such record', { index, recordCount: this.recordCount });
    return {
      kind: this.kindAt(index),
      volume: this.volumeAt(index),
      offset: this.offsetAt(index),
      length: this.lengthAt(index),
      payloadAt: this.payloadAt(index),
      chain: this.chainAt(index),
    };
  }

  /**
   * Index of the first record from `first` to `last` whose payload does not have its checksum; -1 when all are right. Needs the whole frame.
   * `notesBlocks`: blockCrcs tells afterwards what each block has; a long payload costs more that way than as a whole.
   */
  badPayload(first: number, last: number, digests: Digests, notesBlocks = false): number {
    assert(this.bytes.length === this.byteCount, 'payloads are checked in a whole frame', {
      bytes: this.bytes.length,
      byteCount: this.byteCount,
    });
    const payloadBytes = this.byteCount - this.payloadStart;
    const blockCrcs = notesBlocks && payloadBytes % BLOCK_BYTES === 0 ? new Uint32Array(payloadBytes / BLOCK_BYTES) : null;
    for (let index = first; index <= last; index++) {
      const byteCount = this.payloadBytesAt(index);
      if (byteCount === 0) continue;
      const payloadAt = this.payloadAt(index);
      const crc = blockCrcs === null ? null : this.#crcByBlocks(payloadAt, byteCount, digests, blockCrcs);
      const payloadCrc = this.#view.getUint32(this.#entry(index) + recordEntryLayout.at.payloadCrc, true);
      if ((crc ?? digests.crc32(this.bytes.subarray(payloadAt, payloadAt + byteCount), 0)) !== payloadCrc) return index;
    }
    if (notesBlocks) this.blockCrcs = blockCrcs;
    return -1;
  }

  /** CRC-32 of a payload, by those of its blocks, which are noted; null where it is not whole blocks. */
  #crcByBlocks(payloadAt: number, byteCount: number, digests: Digests, blockCrcs: Uint32Array): number | null {
    const from = payloadAt - this.payloadStart;
    if (from % BLOCK_BYTES !== 0 || byteCount % BLOCK_BYTES !== 0) return null;
    let crc = 0;
    for (let done = 0; done < byteCount; done += BLOCK_BYTES) {
      const block = digests.crc32(this.bytes.subarray(payloadAt + done, payloadAt + done + BLOCK_BYTES), 0);
      blockCrcs[(from + done) / BLOCK_BYTES] = block;
      crc = done === 0 ? block : crc32WithBlock(crc, block);
    }
    return crc;
  }
}

/** Reads the frame that begins at `offset`. Bytes behind the frame are not looked at. */
export function readFrame(bytes: Uint8Array, offset: number, options: FrameOptions): FrameCheck {
  const check = readHeader(bytes, offset, options);
  if (check.kind !== 'header') return check;
  const { header } = check;
  const head = { epoch: header.epoch, seq: header.firstSeq, frameBytes: header.frameBytes };
  if (bytes.length - offset < header.frameBytes) return { kind: 'short', needBytes: header.frameBytes };
  const frame = new FrameView(bytes.subarray(offset, offset + header.frameBytes), header);
  const fault = tableFault(frame.bytes, header, options.digests);
  if (fault !== null) return { kind: 'damaged', why: fault, head };
  if (options.checkPayload) {
    const index = frame.badPayload(0, frame.recordCount - 1, options.digests);
    if (index >= 0) return { kind: 'damaged', why: `the payload of record ${header.firstSeq + index} does not have its checksum`, head };
  }
  return { kind: 'frame', frame };
}

/**
 * Reads a frame of which only header and table need to be there, as for looking up chain values without reading the payloads. The view's
 * accessors work; its `bytes` end where the given ones do.
 */
export function readFrameTable(bytes: Uint8Array, offset: number, options: Omit<FrameOptions, 'checkPayload'>): FrameCheck {
  const check = readHeader(bytes, offset, options);
  if (check.kind !== 'header') return check;
  const { header } = check;
  const tableEnd = payloadStartOf(header.recordCount, header.isFolded);
  if (bytes.length - offset < tableEnd) return { kind: 'short', needBytes: tableEnd };
  const frame = new FrameView(bytes.subarray(offset, Math.min(bytes.length, offset + header.frameBytes)), header);
  const fault = tableFault(frame.bytes, header, options.digests);
  if (fault !== null) {
    return { kind: 'damaged', why: fault, head: { epoch: header.epoch, seq: header.firstSeq, frameBytes: header.frameBytes } };
  }
  return { kind: 'frame', frame };
}

function readHeader(bytes: Uint8Array, offset: number, options: Omit<FrameOptions, 'checkPayload'>): HeaderCheck {
  if (bytes.length - offset < FRAME_HEADER_BYTES) return { kind: 'short', needBytes: FRAME_HEADER_BYTES };
  const head = bytes.subarray(offset, offset + FRAME_HEADER_BYTES);
  const view = viewOf(head);
  const { at } = frameHeaderLayout;
  if (view.getUint32(at.magic, true) !== FRAME_MAGIC) return { kind: 'damaged', why: 'there is no frame (no magic number)' };
  if (view.getUint32(at.headerCrc, true) !== crc32OfRange(head, view, { from: HEADER_CRC_FROM, to: FRAME_HEADER_BYTES }, options.digests)) {
    return { kind: 'damaged', why: 'the header of the frame does not have its checksum' };
  }
  const version = view.getUint16(at.version, true);
  if (version !== FRAME_VERSION && version !== FOLDED_FRAME_VERSION) {
    const why = `the frame has format version ${version}, this program reads ${FRAME_VERSION} and ${FOLDED_FRAME_VERSION}`;
    return { kind: 'damaged', why, version };
  }
  const isFolded = version === FOLDED_FRAME_VERSION;
  if (view.getUint32(at.groupTag, true) !== options.groupTag) return { kind: 'damaged', why: 'the frame belongs to another group' };
  const recordCount = view.getUint32(at.recordCount, true);
  const payloadBytes = view.getUint32(at.payloadBytes, true);
  const header: HeaderFields = {
    epoch: getU64(view, at.epoch),
    firstSeq: getU64(view, at.firstSeq),
    timeMillis: getU64(view, at.timeMillis),
    recordCount,
    payloadBytes,
    chainBefore: view.getUint32(at.chainBefore, true),
    tableCrc: view.getUint32(at.tableCrc, true),
    committed: getU64(view, at.committed),
    frameBytes: payloadStartOf(recordCount, isFolded) + payloadBytes,
    isFolded,
  };
  const fault = view.getUint16(at.flags, true) !== 0 ? `the frame has flags that version ${version} does not know` : headerFault(header);
  return fault === null ? { kind: 'header', header } : { kind: 'damaged', why: fault };
}

/** Why the fields of a header cannot be; null when they can. */
function headerFault(header: HeaderFields): string | null {
  if (header.recordCount < 1 || header.recordCount > limits.frameRecordsMax) return `a frame cannot hold ${header.recordCount} records`;
  if (header.frameBytes > limits.frameBytesMax) return `a frame of ${header.frameBytes} bytes is larger than ${limits.frameBytesMax}`;
  if (!isCount(header.epoch) || header.epoch < 1) return 'the epoch of the frame is out of range';
  if (!isCount(header.firstSeq) || header.firstSeq < 1) return 'the first seq of the frame is out of range';
  if (!isCount(header.firstSeq + header.recordCount)) return 'the last seq of the frame is out of range';
  if (!isCount(header.timeMillis)) return 'the time of the frame is out of range';
  if (!isCount(header.committed) || header.committed >= header.firstSeq) return 'the frame says that its own records are committed';
  if (header.isFolded && header.committed !== header.firstSeq - 1) return 'a folded frame follows on a record that is not committed';
  return null;
}

/** Why the table of a frame is not what its header says: checksum, chain, fields of each record, sum of the payloads; null when it is. */
function tableFault(frame: Uint8Array, header: HeaderFields, digests: Digests): string | null {
  const view = viewOf(frame);
  const { at } = recordEntryLayout;
  const tableEnd = FRAME_HEADER_BYTES + header.recordCount * RECORD_ENTRY_BYTES;
  const foldingsEnd = payloadStartOf(header.recordCount, header.isFolded);
  if (crc32OfRange(frame, view, { from: FRAME_HEADER_BYTES, to: foldingsEnd }, digests) !== header.tableCrc)
    return 'the table of the frame does not have its checksum';
  let chain = header.chainBefore;
  let payloadBytes = 0;
  for (let entry = FRAME_HEADER_BYTES; entry < tableEnd; entry += RECORD_ENTRY_BYTES) {
    chain = crc32OfWords(view, entry + CHAIN_FROM, CHAIN_WORDS, chain);
    if (chain !== view.getUint32(entry + at.chain, true)) return 'the records of the frame do not form a chain';
    const kind = view.getUint8(entry + at.kind);
    const length = view.getUint32(entry + at.length, true);
    const fault = recordFault(kind, view.getUint16(entry + at.volume, true), getU64(view, entry + at.offset), length);
    if (fault !== null) return fault;
    if (view.getUint8(entry + at.flags) !== 0 || getU64(view, entry + at.reserved) !== 0)
      return 'a record has fields that version 1 does not know';
    const index = (entry - FRAME_HEADER_BYTES) / RECORD_ENTRY_BYTES;
    const isFolded = header.isFolded && view.getUint32(tableEnd + index * FOLDING_BYTES, true) >= FOLDED_BIT;
    if (kind !== RECORD_KIND.write) {
      if (isFolded) return 'a record without payload is folded';
      if (view.getUint32(entry + at.payloadCrc, true) !== 0) return 'a record without payload has a checksum of one';
    } else if (!isFolded) payloadBytes += length;
  }
  return payloadBytes === header.payloadBytes ? null : 'the lengths of the records do not add up to the payload of the frame';
}

/**
 * The records fromSeq to toSeq of a frame as a frame of their own: entries and payloads unchanged, so the chain and each record are too. Of a folded
 * frame only an end can be had: what is folded is covered by what comes behind it.
 */
export function subFrame(frame: FrameView, fromSeq: Seq, toSeq: Seq, digests: Digests): Uint8Array {
  assert(fromSeq >= frame.firstSeq, 'the part begins in the frame', { fromSeq, firstSeq: frame.firstSeq });
  assert(fromSeq <= toSeq, 'the part has a record', { fromSeq, toSeq });
  assert(toSeq <= frame.lastSeq, 'the part ends in the frame', { toSeq, lastSeq: frame.lastSeq });
  assert(!frame.isFolded || toSeq === frame.lastSeq, 'a folded frame has no beginning of its own', { toSeq, lastSeq: frame.lastSeq });
  const first = fromSeq - frame.firstSeq;
  const last = toSeq - frame.firstSeq;
  const recordCount = last - first + 1;
  const payloadFrom = frame.payloadAt(first);
  const payloadTo = frame.payloadAt(last) + frame.payloadBytesAt(last);
  const payloadStart = payloadStartOf(recordCount, frame.isFolded);
  const part = new Uint8Array(payloadStart + payloadTo - payloadFrom);
  part.set(
    frame.bytes.subarray(FRAME_HEADER_BYTES + first * RECORD_ENTRY_BYTES, FRAME_HEADER_BYTES + (last + 1) * RECORD_ENTRY_BYTES),
    FRAME_HEADER_BYTES,
  );
  if (frame.isFolded) {
    const foldings = FRAME_HEADER_BYTES + frame.recordCount * RECORD_ENTRY_BYTES;
    part.set(
      frame.bytes.subarray(foldings + first * FOLDING_BYTES, frame.payloadStart),
      FRAME_HEADER_BYTES + recordCount * RECORD_ENTRY_BYTES,
    );
  }
  part.set(frame.bytes.subarray(payloadFrom, payloadTo), payloadStart);
  const head = {
    isFolded: frame.isFolded,
    groupTag: viewOf(frame.bytes).getUint32(frameHeaderLayout.at.groupTag, true),
    epoch: frame.epoch,
    firstSeq: fromSeq,
    timeMillis: frame.timeMillis,
    chainBefore: first === 0 ? frame.chainBefore : frame.chainAt(first - 1),
    committed: frame.isFolded ? fromSeq - 1 : frame.committed,
  };
  writeFrameHeader(head, recordCount, part, digests);
  return part;
}
