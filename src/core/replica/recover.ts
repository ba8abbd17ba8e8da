// Opens the sidefile at a start: finds which of the bytes on disk are records of this replica, and tells apart three things that look alike.
// A torn tail (a crash in the middle of an append) is cut off. Void records (cut back when a new epoch was adopted) are passed over. Anything
// else that is missing is damage, which is named and never cut away: the records may have been acknowledged. docs/internals/sidefile.md
// gives the rules with their reasons.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { StoredFile } from '../base/ports.ts';
import { epochOf, type History, inHistory, lastSeqOf } from '../base/position.ts';
import type { Epoch, Seq } from '../base/units.ts';
import { type FrameView, readFrame, readFrameTable } from '../record/decode.ts';
import { FRAME_HEADER_BYTES, FRAME_MAGIC, payloadStartOf } from '../record/layout.ts';
import { FrameIndex } from './frame-index.ts';
import {
  decodeMark,
  decodeSegmentHeader,
  encodeMark,
  encodeSegmentHeader,
  type Mark,
  MARK_BYTES,
  MARK_MAGIC,
  type Segment,
  SEGMENT_HEADER_BYTES,
  segmentName,
  segmentNumberOf,
} from './segment.ts';
import { Sidefile, type SidefileOptions, segmentFiles } from './sidefile.ts';

/** What a recovery goes by: mostly the superblock. */
export interface RecoverOptions extends SidefileOptions {
  /** Records that it does not name are void. */
  readonly history: History;
  /** Records up to here are in the base image: the sidefile may begin anywhere up to the one behind. */
  readonly destaged: Seq;
  /** Records up to here must be found, because the base image may hold parts of them. */
  readonly destageTarget: Seq;
  /** Records up to here must be found, because they were on stable storage. */
  readonly durable: Seq;
  /** The record that an empty sidefile goes on with (destaged + 1), and the chain of the one before it. */
  readonly startSeq: Seq;
  readonly startChain: number;
  /**
   * Whether writes that no flush covered may be missing in any part and order: the machine lost power since the last orderly stop, or the
   * superblock says `unclean`. After a mere crash of the program only the end of the last write can be missing, and anything else is damage.
   */
  readonly powerLost: boolean;
}

/** What a recovery came to. After `damaged` no file has been changed. */
export type Recovery =
  | {
      readonly kind: 'ok';
      readonly sidefile: Sidefile;
      /** Bytes of the torn tail that was cut off. */
      readonly tornBytes: number;
      /** Records that could be read behind the torn place and were given up with it: never flushed, so nobody was told they were durable. */
      readonly droppedTail: { readonly firstSeq: Seq; readonly lastSeq: Seq } | null;
    }
  | SidefileFault;

/** The first place where records are missing that must not be. */
export interface SidefileFault {
  readonly kind: 'damaged';
  readonly file: string;
  readonly offset: number;
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly why: string;
  /** Set when that is no damage, but the work of another version of the program. */
  readonly version: number | null;
}

/**
 * Recovers the sidefile of a replica. Idempotent: may be cut short at any call to the storage and begun again. Throws DiskError.
 * `received` of the result may be before the start of the newest epoch in the history: then the replica has yet to get its records.
 */
export function recoverSidefile(options: RecoverOptions): Recovery {
  assert(options.startSeq === options.destaged + 1, 'an empty sidefile goes on behind what is destaged', {
    startSeq: options.startSeq,
    destaged: options.destaged,
  });
  assert(options.destageTarget >= options.destaged, 'the target of destaging is not behind it', {
    destaged: options.destaged,
    destageTarget: options.destageTarget,
  });
  const scan = new Scan(options);
  try {
    for (const name of segmentFiles(options.storage)) scan.segment(name);
    const result = scan.finish();
    if (result.kind === 'damaged') scan.close();
    return result;
  } catch (failure) {
    scan.close();
    throw failure;
  }
}

/** Where the records stop fitting together. */
interface Break {
  readonly file: string;
  readonly segment: number;
  readonly offset: number;
  readonly why: string;
  /** First record that is missing because of it. */
  readonly seq: Seq;
  /** No crash makes this: damage whatever follows. */
  readonly certain: boolean;
  readonly version: number | null;
}

/** What lies at one place of a segment. */
type Item =
  /** `mark`: the one behind it, which says that it was written as a whole; null when there is none. */
  | { readonly kind: 'frame'; readonly frame: FrameView; readonly mark: Mark | null }
  | { readonly kind: 'mark'; readonly mark: Mark }
  | BadItem;

/** Bytes that are no part of the segment, or no longer: what was torn, what was damaged, or what the file held before. */
interface BadItem {
  readonly kind: 'bad';
  readonly why: string;
  readonly certain: boolean;
  readonly version?: number | undefined;
}

/** Where the items of a segment stop. */
interface End {
  readonly at: number;
  readonly why: string;
  readonly certain: boolean;
  readonly version?: number | undefined;
  /** Bytes that were clearly meant to be part of it. */
  readonly tornBytes: number;
}

const WINDOW_BYTES = 256 * 1024;
/** So much of what was read is worth to be searched before the next read. */
const SEARCH_BYTES_MIN = 1024;
const TABLE_BYTES_MAX = payloadStartOf(limits.frameRecordsMax, true);

/** A file read through one buffer, front to back: small frames cost one read for many, large payloads that nobody needs are passed over. */
class FileWindow {
  readonly file: StoredFile;
  readonly size: number;
  #buffer: Uint8Array;
  #from = 0;
  #count = 0;
  /** Reads so far: what get() gave before the newest is void. */
  reads = 0;

  constructor(file: StoredFile) {
    this.file = file;
    this.size = file.size();
    this.#buffer = new Uint8Array(Math.min(WINDOW_BYTES, this.size));
  }

  /** Bytes from `offset`, fewer at the end of the file. Valid until the next call. */
  get(offset: number, byteCount: number): Uint8Array {
    const wanted = Math.min(byteCount, this.size - offset);
    if (offset < this.#from || offset + wanted > this.#from + this.#count) {
      if (wanted > this.#buffer.length) this.#buffer = new Uint8Array(wanted);
      this.#count = Math.min(this.#buffer.length, this.size - offset);
      this.#from = offset;
      this.file.read(offset, this.#buffer.subarray(0, this.#count));
      this.reads++;
    }
    return this.#buffer.subarray(offset - this.#from, offset - this.#from + wanted);
  }

  /** First place from `offset` on where a frame or mark may begin; the file's size when there is none. */
  findMagic(offset: number): number {
    for (let at = offset; at < this.size;) {
      const buffered = this.#from + this.#count - at;
      const bytes = this.get(at, at >= this.#from && buffered >= SEARCH_BYTES_MIN ? buffered : WINDOW_BYTES);
      for (let i = bytes.indexOf(FRAME_MAGIC & 0xff); i >= 0 && i + 4 <= bytes.length; i = bytes.indexOf(FRAME_MAGIC & 0xff, i + 1)) {
        const magic = magicAt(bytes, i);
        if (magic === FRAME_MAGIC || magic === MARK_MAGIC) return at + i;
      }
      if (at + bytes.length >= this.size) break;
      // The last bytes may be the beginning of a magic number.
      at += bytes.length - 3;
    }
    return this.size;
  }
}

function magicAt(bytes: Uint8Array, at: number): number {
  const byte = (i: number): number => bytes[at + i] ?? 0;
  return byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24);
}

/** Records in the order in which they go on from one another: what a sidefile would hold of the frames that were taken. */
class Line {
  readonly #options: RecoverOptions;
  readonly #segments: readonly Segment[];
  index = new FrameIndex();
  received: Seq = 0;
  #chain = 0;
  chainBefore = 0;

  constructor(options: RecoverOptions, segments: readonly Segment[]) {
    this.#options = options;
    this.#segments = segments;
  }

  get empty(): boolean {
    return this.index.count === 0;
  }

  /** First record; for a line that is not empty. */
  get oldest(): Seq {
    return this.index.firstSeq(0);
  }

  /** Begins anew behind a record with this chain. */
  clear(received: Seq, chain: number): void {
    this.index = new FrameIndex();
    this.received = received;
    this.#chain = chain;
    this.chainBefore = chain;
  }

  /** Becomes the same as another line. */
  copyFrom(other: Line): void {
    this.clear(other.received, other.#chain);
    this.chainBefore = other.chainBefore;
    for (let i = 0; i < other.index.count; i++) this.index.push(other.index.entry(i));
  }

  /** Whether a frame goes on from these records, be it by replacing the last of them. */
  connects(frame: FrameView): boolean {
    if (frame.firstSeq > this.received + 1 || this.empty || frame.firstSeq < this.oldest) return false;
    return frame.chainBefore === this.chainAt(frame.firstSeq - 1);
  }

  /** Takes a frame up to a record; it connects, or is the first. */
  take(segment: Segment, at: number, frame: FrameView, lastSeq: Seq): void {
    if (this.empty) this.chainBefore = frame.chainBefore;
    else if (frame.firstSeq <= this.received) this.#cutBack(frame.firstSeq - 1);
    const chainAfter = frame.chainAt(lastSeq - frame.firstSeq);
    const { epoch, firstSeq, timeMillis, byteCount, isFolded } = frame;
    this.index.push({ epoch, firstSeq, timeMillis, segment: segment.number, at, byteCount, chainAfter, isFolded });
    this.received = lastSeq;
    this.#chain = chainAfter;
  }

  /** Leaves out the records behind `seq`, which a later frame replaces. */
  #cutBack(seq: Seq): void {
    const chain = this.chainAt(seq);
    const i = this.index.find(seq);
    this.index.keepFirst(i + 1);
    if (i >= 0) this.index.setLastChain(chain);
    this.received = seq;
    this.#chain = chain;
  }

  /** Chain of one of the records, or of the one before them. */
  chainAt(seq: Seq): number {
    if (seq === this.received) return this.#chain;
    const i = this.index.find(seq);
    if (i < 0) return this.chainBefore;
    if (i + 1 < this.index.count && this.index.firstSeq(i + 1) === seq + 1) return this.index.chainAfter(i);
    const segment = this.#segments.find((one) => one.number === this.index.segment(i));
    assert(segment !== undefined, 'a frame that was taken lies in a segment that was read', { segment: this.index.segment(i) });
    const bytes = new Uint8Array(Math.min(TABLE_BYTES_MAX, this.index.byteCount(i)));
    segment.file.read(this.index.at(i), bytes);
    const check = readFrameTable(bytes, 0, this.#options);
    assert(check.kind === 'frame', 'a frame that was read before reads the same again', { seq });
    return check.frame.chainAt(seq - check.frame.firstSeq);
  }
}

/** One pass over the segments, in order. */
class Scan {
  readonly #options: RecoverOptions;
  readonly #segments: Segment[] = [];
  /** The records that count. */
  readonly #live: Line;
  /** The same with those that have become void: what the sidefile held while it was written. */
  readonly #ever: Line;
  #epochBefore: Epoch = 0;
  #break: Break | null = null;
  /** Evidence found behind the break: records that do not connect, and what a mark says was durable. */
  #behind: { firstSeq: Seq; lastSeq: Seq } | null = null;
  #markedBehind: Seq = 0;
  /** Where the segment that was read last ends, when its file goes on; bytes behind the ends of all segments that were torn. */
  #end: { file: string; offset: number; why: string } | null = null;
  #leftBytes = 0;
  /** Segments whose header could not be read. */
  readonly #headless = new Set<Segment>();
  /** Places where a frame that was taken has no mark. */
  readonly #unmarked: { segment: Segment; at: number; epoch: Epoch; lastSeq: Seq }[] = [];

  constructor(options: RecoverOptions) {
    this.#options = options;
    this.#live = new Line(options, this.#segments);
    this.#ever = new Line(options, this.#segments);
  }

  close(): void {
    for (const segment of this.#segments) segment.file.close();
  }

  /** Reads one segment file. */
  segment(name: string): void {
    const number = segmentNumberOf(name) as number;
    const file = this.#options.storage.open(name, { create: false });
    const window = new FileWindow(file);
    const segment: Segment = { number, file, size: 0, dirty: false };
    this.#segments.push(segment);
    const check = decodeSegmentHeader(window.get(0, SEGMENT_HEADER_BYTES), number, this.#options.groupTag, this.#options.digests);
    // The place where the items stop, until one behind it is found: then something is wrong there, else it is the end of what was written.
    let end: End | null = null;
    if (check.kind !== 'segment') {
      const why = check.kind === 'short' ? 'the header of the segment is cut short' : check.why;
      const version = check.kind === 'damaged' ? check.version : undefined;
      this.#setBreak(segment, 0, { why, certain: version !== undefined, version });
      this.#headless.add(segment);
    }
    let at = check.kind === 'segment' ? SEGMENT_HEADER_BYTES : window.findMagic(0);
    if (check.kind === 'segment') segment.size = at;
    this.#end = null;
    // Until a record of the segment was taken, a gap before it may be the trace of segments that were dropped.
    let atHead = check.kind === 'segment';
    while (at < window.size) {
      const item = this.#itemAt(window, segment, at);
      const counts = item.kind === 'mark' || (item.kind === 'frame' && (item.mark !== null || (end === null && this.#isNext(item.frame))));
      if (!counts) {
        end ??= { at, ...this.#whyEnd(item) };
        at = window.findMagic(at + 1);
        continue;
      }
      if (end !== null) this.#setBreak(segment, end.at, end);
      end = null;
      if (item.kind === 'mark') this.#mark(item.mark);
      else if (this.#frame(segment, at, item.frame, atHead)) {
        atHead = false;
        if (item.mark === null)
          this.#unmarked.push({ segment, at: at + item.frame.byteCount, epoch: item.frame.epoch, lastSeq: item.frame.lastSeq });
      }
      at += item.kind === 'mark' ? MARK_BYTES : item.frame.byteCount + (item.mark === null ? 0 : MARK_BYTES);
      if (item.kind === 'frame' && item.mark !== null) this.#mark(item.mark);
      segment.size = at;
    }
    if (end !== null) this.#endsAt(segment, window, end);
  }

  #whyEnd(item: Item): Omit<End, 'at'> {
    if (item.kind === 'bad') return { why: item.why, certain: item.certain, version: item.version, tornBytes: 0 };
    const tornBytes = item.kind === 'frame' && item.frame.firstSeq === this.#missing ? item.frame.byteCount : 0;
    return { why: 'the frame was not written as a whole', certain: false, tornBytes };
  }

  /** A segment ends at a place: what lies there was torn, or was never part of it. */
  #endsAt(segment: Segment, window: FileWindow, end: End): void {
    if (end.certain) this.#setBreak(segment, end.at, end);
    // Behind the end, a file of full length holds what it held before; a shorter one was written up to its end.
    this.#leftBytes += window.size < this.#options.segmentBytes ? window.size - end.at : end.tornBytes;
    this.#end = { file: segment.file.name, offset: end.at, why: end.why };
  }

  /** Whether a frame goes on from the newest record, and is there in full: then it needs no mark. What a file held before never does. */
  #isNext(frame: FrameView): boolean {
    const live = this.#live;
    if (this.#break !== null || live.empty || frame.firstSeq !== live.received + 1) return false;
    const lastSeq = this.#lastLive(frame);
    if (lastSeq < 0 || frame.chainBefore !== live.chainAt(live.received)) return false;
    if (lastSeq <= this.#options.destaged) return true;
    return frame.bytes.length === frame.byteCount && frame.badPayload(0, lastSeq - frame.firstSeq, this.#options.digests) < 0;
  }

  /** The first record that is not there. */
  get #missing(): Seq {
    return this.#live.empty ? this.#options.startSeq : this.#live.received + 1;
  }

  #setBreak(segment: Segment, offset: number, fault: { why: string; certain: boolean; version?: number | undefined; seq?: Seq }): void {
    if (this.#break !== null) return;
    const { why, certain, version = null } = fault;
    const file = segment.file.name;
    this.#break = { file, segment: segment.number, offset, why, certain, version, seq: fault.seq ?? this.#missing };
    this.#behind = null;
    this.#markedBehind = 0;
  }

  /** Reads what begins at `at`; of a frame only header and table, unless its payloads are needed. */
  #itemAt(window: FileWindow, segment: Segment, at: number): Item {
    const { groupTag, digests } = this.#options;
    const start = window.get(at, FRAME_HEADER_BYTES);
    if (magicAt(start, 0) === MARK_MAGIC) {
      const mark = decodeMark(start, segment.number, groupTag, digests);
      return mark === null ? { kind: 'bad', why: 'a mark cannot be read', certain: false } : { kind: 'mark', mark };
    }
    const check = readFrameTable(window.get(at, TABLE_BYTES_MAX), 0, { groupTag, digests });
    if (check.kind === 'damaged') return { kind: 'bad', why: check.why, certain: check.version !== undefined, version: check.version };
    if (check.kind === 'short' || check.frame.byteCount > window.size - at)
      return { kind: 'bad', why: 'the frame is cut short', certain: false };
    const { byteCount } = check.frame;
    const needsPayload = check.frame.bytes.length < byteCount && this.#lastLive(check.frame) > this.#options.destaged;
    const readsBefore = window.reads;
    const mark = this.#markBehind(window, segment, at, check.frame);
    // Views of what was read before are void with the next read.
    if (!needsPayload && window.reads === readsBefore) return { kind: 'frame', frame: check.frame, mark };
    const bytes = window.get(at, needsPayload ? byteCount : Math.min(TABLE_BYTES_MAX, byteCount));
    const again = needsPayload
      ? readFrame(bytes, 0, { groupTag, digests, checkPayload: false })
      : readFrameTable(bytes, 0, { groupTag, digests });
    assert(again.kind === 'frame', 'a frame that was read before reads the same again', { file: window.file.name, at });
    return { kind: 'frame', frame: again.frame, mark };
  }

  /** The mark that a frame was written with; null when another one, or none, stands behind it. */
  #markBehind(window: FileWindow, segment: Segment, at: number, frame: FrameView): Mark | null {
    const { epoch, lastSeq, byteCount } = frame;
    const mark = decodeMark(window.get(at + byteCount, MARK_BYTES), segment.number, this.#options.groupTag, this.#options.digests);
    return mark !== null && mark.epoch === epoch && mark.lastSeq === lastSeq ? mark : null;
  }

  /** Last record of a frame that is not void; -1 when all are. */
  #lastLive(frame: FrameView): Seq {
    const { history } = this.#options;
    return inHistory(history, frame.epoch, frame.firstSeq) ? Math.min(frame.lastSeq, lastSeqOf(history, frame.epoch)) : -1;
  }

  /** What a mark behind the break proves: records up to its `durable`, as far as they still count, were on stable storage. */
  #mark(mark: Mark): void {
    if (this.#break === null) return;
    this.#markedBehind = Math.max(this.#markedBehind, Math.min(mark.durable, lastSeqOf(this.#options.history, mark.durableEpoch)));
  }

  /** Takes in one frame whose table is sound. True when its records count, false when it is void or does not connect. */
  #frame(segment: Segment, at: number, frame: FrameView, atHead: boolean): boolean {
    const { destaged } = this.#options;
    const lastSeq = this.#lastLive(frame);
    if (lastSeq < 0) {
      this.#voidFrame(segment, at, frame);
      return false;
    }
    // A front that ends before a gap, all of it destaged: segments that were dropped, and came back with a power loss.
    const gap = !this.#live.empty && frame.firstSeq > this.#live.received + 1;
    const reaches = this.#break === null || frame.firstSeq <= this.#options.startSeq;
    if (gap && reaches && atHead && this.#live.received <= destaged) this.#forgetFront();
    const leftover = !this.#live.empty && frame.firstSeq < this.#live.oldest && lastSeq <= destaged;
    if (leftover) return false;
    const why = this.#whyNot(frame);
    if (why !== null) {
      if (this.#break === null) this.#setBreak(segment, at, why);
      this.#foundBehind(frame.firstSeq, lastSeq);
      return false;
    }
    if (frame.isFolded && lastSeq < frame.lastSeq) {
      this.#setBreak(segment, at, { why: 'an epoch begins within records that are one step', certain: true });
      return false;
    }
    const bad = this.#badPayload(frame, lastSeq);
    if (bad >= 0) {
      this.#setBreak(segment, at, {
        why: 'the payload does not have its checksum',
        certain: false,
        seq: frame.firstSeq + bad,
      });
      return false;
    }
    this.#mend();
    if (this.#live.empty) this.#epochBefore = epochOf(this.#options.history, frame.firstSeq - 1);
    this.#live.take(segment, at, frame, lastSeq);
    if (this.#ever.connects(frame)) this.#ever.take(segment, at, frame, frame.lastSeq);
    else this.#ever.copyFrom(this.#live);
    return true;
  }

  /**
   * A frame of an epoch that was given up goes on from what the sidefile held when it was appended: whatever cannot be read before it had been
   * cut back by then. An epoch that the history does not reach proves nothing, for its cut may never have been durable.
   */
  #voidFrame(segment: Segment, at: number, frame: FrameView): void {
    const { history, startSeq } = this.#options;
    const newest = history[history.length - 1]?.epoch ?? 0;
    const goesOn = this.#ever.empty ? frame.firstSeq <= startSeq : this.#ever.connects(frame);
    if (frame.epoch > newest || !goesOn) return;
    if (this.#break?.certain !== true) this.#mend();
    this.#ever.take(segment, at, frame, frame.lastSeq);
  }

  /** Nothing is missing before the frame that was just read, so whatever could not be read there was void. */
  #mend(): void {
    this.#break = null;
    this.#behind = null;
  }

  #foundBehind(firstSeq: Seq, lastSeq: Seq): void {
    const before = this.#behind ?? { firstSeq, lastSeq };
    this.#behind = { firstSeq: Math.min(before.firstSeq, firstSeq), lastSeq: Math.max(before.lastSeq, lastSeq) };
  }

  /** Why a frame does not go on from the records so far; null when it does (also by replacing the last of them). */
  #whyNot(frame: FrameView): { why: string; certain: boolean } | null {
    const gap = (from: Seq): { why: string; certain: boolean } => ({
      why: `records ${from} to ${frame.firstSeq - 1} are missing before this frame`,
      certain: false,
    });
    const found = this.#break;
    if (found !== null && found.certain) return found;
    // The base image holds everything before startSeq: where the front cannot be read, the sidefile begins behind it.
    if (this.#live.empty) return frame.firstSeq <= this.#options.startSeq ? null : gap(this.#options.startSeq);
    if (this.#live.connects(frame)) return null;
    if (frame.firstSeq > this.#live.received + 1) return gap(this.#live.received + 1);
    const behind = frame.firstSeq < this.#live.oldest;
    const why = behind
      ? `record ${frame.firstSeq} stands behind record ${this.#live.received}`
      : 'the frame does not continue the chain of the records before it';
    return { why, certain: true };
  }

  /** Index of the first record whose payload is needed (not destaged, not void) and wrong; -1 when there is none. */
  #badPayload(frame: FrameView, lastSeq: Seq): number {
    const { destaged, digests } = this.#options;
    if (lastSeq <= destaged) return -1;
    return frame.badPayload(Math.max(destaged + 1 - frame.firstSeq, 0), lastSeq - frame.firstSeq, digests);
  }

  #forgetFront(): void {
    this.#live.clear(0, 0);
    this.#ever.clear(0, 0);
  }

  /** Decides, and brings the files into the state that was decided on. */
  finish(): Recovery {
    const { destaged, startChain, startSeq, history, storage, digests, groupTag, segmentBytes, capacityBytes } = this.#options;
    // All that can be read are segments that were dropped, before the torn tail if there is one: the base image holds more than they do.
    if (!this.#live.empty && this.#live.received < destaged) this.#forgetFront();
    if (this.#live.empty) {
      this.#live.clear(startSeq - 1, startChain);
      this.#epochBefore = epochOf(history, startSeq - 1);
    }
    const fault = this.#fault();
    if (fault !== null) return fault;
    const tornBytes = this.#tornBytes();
    const segments = this.#tidy();
    const recovered = {
      segments,
      index: this.#live.index,
      chainBefore: this.#live.chainBefore,
      epochBefore: this.#epochBefore,
      received: this.#live.received,
      durable: Math.min(Math.max(this.#options.durable, destaged), this.#live.received),
      nextSegment: (this.#segments[this.#segments.length - 1]?.number ?? -1) + 1,
    };
    const start = { nextSeq: startSeq, chain: startChain, epoch: this.#epochBefore };
    return {
      kind: 'ok',
      sidefile: new Sidefile({ storage, digests, groupTag, segmentBytes, capacityBytes }, start, recovered),
      tornBytes,
      droppedTail: this.#behind,
    };
  }

  /** Damage, or null when everything that must be there is, and whatever is wrong may be cut off. */
  #fault(): SidefileFault | null {
    const { durable, destageTarget, startChain, startSeq, powerLost } = this.#options;
    const required = Math.max(durable, destageTarget);
    const found = this.#break;
    if (found !== null) {
      const needed = Math.max(required, this.#markedBehind) > this.#live.received;
      if (found.certain || needed || !powerLost) return this.#damaged(found, found.why);
    }
    const last = this.#segments[this.#segments.length - 1];
    const end = { file: last?.file.name ?? segmentName(0), offset: last?.size ?? 0, seq: this.#live.received + 1 };
    if (this.#live.received < required) {
      const why = `records up to ${required} were on stable storage, but the sidefile ends before this one`;
      return this.#damaged({ ...end, ...this.#end }, this.#end?.why ?? why);
    }
    if (this.#live.chainAt(startSeq - 1) !== startChain) {
      return this.#damaged({ ...end, offset: 0, seq: startSeq - 1 }, 'the base image was made from other records than the sidefile holds');
    }
    return null;
  }

  #damaged(place: { file: string; offset: number; seq: Seq; version?: number | null }, why: string): SidefileFault {
    const { file, offset, seq, version = null } = place;
    return { kind: 'damaged', file, offset, epoch: epochOf(this.#options.history, seq), seq, why, version };
  }

  #tornBytes(): number {
    const found = this.#break;
    if (found === null) return this.#leftBytes;
    return this.#segments.reduce((sum, segment) => {
      if (segment.number < found.segment) return sum;
      return sum + segment.size - (segment.number === found.segment ? found.offset : 0);
    }, this.#leftBytes);
  }

  /** Removes what is not part of the sidefile, from the back to the front, so that a crash in between leaves less of the same. */
  #tidy(): Segment[] {
    const { storage, durable } = this.#options;
    const count = this.#live.index.count;
    const first = count === 0 ? Infinity : this.#live.index.segment(0);
    const last = count === 0 ? -1 : this.#live.index.segment(count - 1);
    const remove = (segment: Segment): void => {
      segment.file.close();
      storage.remove(segment.file.name);
    };
    for (const segment of this.#segments.toReversed()) if (segment.number > last && segment.number >= first) remove(segment);
    const kept = this.#segments.filter((segment) => segment.number >= first && segment.number <= last);
    const newest = kept[kept.length - 1];
    if (newest !== undefined) {
      this.#writeMarks(newest.number);
      this.#cutOff(newest);
    }
    for (const segment of this.#segments.toReversed()) if (segment.number < first) remove(segment);
    for (const segment of kept) {
      if (this.#headless.has(segment)) this.#writeHeader(segment);
      const behind = this.#live.index.firstBehind(segment.number);
      const lastSeq = behind < count ? this.#live.index.firstSeq(behind) - 1 : this.#live.received;
      if (lastSeq > durable) this.#rewrite(segment, behind, durable);
    }
    return kept;
  }

  /**
   * Gives a segment its header again, of which a power loss took the only write: a later start must not take for damage what this one has found
   * to be none. Nothing is missing in front of the records behind it, or it would not be kept.
   */
  #writeHeader(segment: Segment): void {
    const { index, chainBefore } = this.#live;
    const next = index.firstBehind(segment.number - 1);
    const before = next - 1;
    const header = {
      segmentNumber: segment.number,
      firstSeq: index.firstSeq(next),
      epochBefore: before < 0 ? this.#epochBefore : index.epoch(before),
      chainBefore: before < 0 ? chainBefore : index.chainAfter(before),
    };
    segment.file.write(0, [encodeSegmentHeader(header, this.#options.groupTag, this.#options.digests)]);
    segment.size = Math.max(segment.size, SEGMENT_HEADER_BYTES);
    segment.dirty = true;
  }

  /** Gives frames that count without a mark theirs: when they are void one day, only that tells that they were there. */
  #writeMarks(newest: number): void {
    const { groupTag, digests } = this.#options;
    for (const { segment, at, epoch, lastSeq } of this.#unmarked) {
      if (segment.number > newest) continue;
      const mark = new Uint8Array(MARK_BYTES);
      encodeMark({ segmentNumber: segment.number, epoch, lastSeq, durableEpoch: 0, durable: 0 }, mark, groupTag, digests);
      segment.file.write(at, [mark]);
      segment.size = Math.max(segment.size, at + MARK_BYTES);
      segment.dirty = true;
    }
  }

  /** Ends the file of the newest segment behind its last frame, so that nothing that follows can be mistaken for a part of it. */
  #cutOff(newest: Segment): void {
    const { index } = this.#live;
    const last = index.count - 1;
    const end = index.at(last) + index.byteCount(last) + MARK_BYTES;
    newest.size = end;
    if (newest.file.size() === end) return;
    newest.file.truncate(end);
    newest.dirty = true;
  }

  /**
   * Writes what is not known to be durable once more, as it was read: where a flush had failed the system may hold it for clean, and would
   * never write it, whatever a later flush says. `behind`: index of the first frame of a later segment.
   */
  #rewrite(segment: Segment, behind: number, durable: Seq): void {
    segment.dirty = true;
    const { index } = this.#live;
    let first = behind - 1;
    while (first > 0 && index.segment(first - 1) === segment.number && index.firstSeq(first) - 1 > durable) first--;
    const isHead = first === 0 || index.segment(first - 1) !== segment.number;
    for (let at = isHead ? 0 : index.at(first); at < segment.size;) {
      const bytes = new Uint8Array(Math.min(WINDOW_BYTES, segment.size - at));
      segment.file.read(at, bytes);
      segment.file.write(at, [bytes]);
      at += bytes.length;
    }
  }
}
