// Opens the sidefile at a start: finds which of the bytes on disk are records of this replica, and tells apart three things that look alike.
// A torn tail (a crash in the middle of an append) is cut off. Void records (cut back when a new epoch was adopted) are passed over. Anything
// else that is missing is damage, which is named and never cut away: the records may have been acknowledged. docs/internals/sidefile.md
// gives the rules with their reasons.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { StoredFile } from '../base/ports.ts';
import { epochOf, type History, inHistory, lastSeqOf } from '../base/position.ts';
import type { Epoch, Seq } from '../base/units.ts';
import { type FrameDamage, type FrameView, readFrame, readFrameTable } from '../record/decode.ts';
import { FRAME_HEADER_BYTES, FRAME_MAGIC, RECORD_ENTRY_BYTES } from '../record/layout.ts';
import { FrameIndex } from './frame-index.ts';
import {
  decodeMark,
  decodeSegmentHeader,
  type DurableMark,
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
  /** The file ends in the middle of something that begins rightly: what a crash of the program leaves behind. */
  readonly short: boolean;
  /** No crash makes this: damage whatever follows. */
  readonly certain: boolean;
}

/** What lies at one place of a segment. */
type Item =
  | { readonly kind: 'frame'; readonly frame: FrameView }
  | { readonly kind: 'mark'; readonly mark: DurableMark }
  | { readonly kind: 'bad'; readonly why: string; readonly short: boolean; readonly certain: boolean; readonly skipBytes: number };

const WINDOW_BYTES = 256 * 1024;
const TABLE_BYTES_MAX = FRAME_HEADER_BYTES + limits.frameRecordsMax * RECORD_ENTRY_BYTES;

/** A file read through one buffer, front to back: small frames cost one read for many, large payloads that nobody needs are passed over. */
class FileWindow {
  readonly file: StoredFile;
  readonly size: number;
  #buffer: Uint8Array;
  #from = 0;
  #count = 0;

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
    }
    return this.#buffer.subarray(offset - this.#from, offset - this.#from + wanted);
  }

  /** First place from `offset` on where a frame or mark may begin; the file's size when there is none. */
  findMagic(offset: number): number {
    for (let at = offset; at < this.size;) {
      const bytes = this.get(at, WINDOW_BYTES);
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
    const { epoch, firstSeq, timeMillis, byteCount } = frame;
    this.index.push({ epoch, firstSeq, timeMillis, segment: segment.number, at, byteCount, chainAfter });
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
    const segment: Segment = { number, file, size: window.size, dirty: false };
    this.#segments.push(segment);
    const check = decodeSegmentHeader(window.get(0, SEGMENT_HEADER_BYTES), number, this.#options.groupTag, this.#options.digests);
    let at = SEGMENT_HEADER_BYTES;
    if (check.kind !== 'segment') {
      const short = check.kind === 'short';
      const why = check.kind === 'short' ? 'the header of the segment is cut short' : check.why;
      this.#setBreak(segment, 0, { why, short, certain: check.kind === 'damaged' && check.version !== undefined });
      at = window.findMagic(0);
    }
    // Until a record of the segment was taken, a gap before it may be the trace of segments that were dropped.
    let atHead = check.kind === 'segment';
    while (at < window.size) {
      const item = this.#itemAt(window, at);
      if (item.kind === 'bad') {
        this.#setBreak(segment, at, item);
        at = item.skipBytes > 0 ? at + item.skipBytes : window.findMagic(at + 1);
      } else if (item.kind === 'mark') {
        this.#mark(item.mark);
        at += MARK_BYTES;
      } else {
        const { byteCount } = item.frame;
        if (this.#frame(segment, at, item.frame, atHead)) atHead = false;
        at += byteCount;
      }
    }
  }

  /** The first record that is not there. */
  get #missing(): Seq {
    return this.#live.empty ? this.#options.startSeq : this.#live.received + 1;
  }

  #setBreak(segment: Segment, offset: number, fault: { why: string; short: boolean; certain: boolean; seq?: Seq }): void {
    if (this.#break !== null) return;
    const { why, short, certain } = fault;
    this.#break = { file: segment.file.name, segment: segment.number, offset, why, short, certain, seq: fault.seq ?? this.#missing };
    this.#behind = null;
    this.#markedBehind = 0;
  }

  /** Reads what begins at `at`; of a frame only header and table. */
  #itemAt(window: FileWindow, at: number): Item {
    const { groupTag, digests } = this.#options;
    const start = window.get(at, FRAME_HEADER_BYTES);
    if (magicAt(start, 0) === MARK_MAGIC) {
      const mark = decodeMark(start, 0, groupTag, digests);
      if (mark !== null) return { kind: 'mark', mark };
      return { kind: 'bad', why: 'a durable mark cannot be read', short: start.length < MARK_BYTES, certain: false, skipBytes: 0 };
    }
    const check = readFrameTable(window.get(at, TABLE_BYTES_MAX), 0, { groupTag, digests });
    if (check.kind === 'damaged') return badItem(check, window.size - at);
    const cut = check.kind === 'short' || check.frame.byteCount > window.size - at;
    if (cut) return { kind: 'bad', why: 'the frame is cut short', short: true, certain: false, skipBytes: 0 };
    if (check.frame.bytes.length === check.frame.byteCount || this.#lastLive(check.frame) <= this.#options.destaged) return check;
    // The table came without the payloads; the view of it ends with this read.
    const whole = readFrame(window.get(at, check.frame.byteCount), 0, { groupTag, digests, checkPayload: false });
    assert(whole.kind === 'frame', 'a frame that was read before reads the same again', { file: window.file.name, at });
    return whole;
  }

  /** Last record of a frame that is not void; -1 when all are. */
  #lastLive(frame: FrameView): Seq {
    const { history } = this.#options;
    return inHistory(history, frame.epoch, frame.firstSeq) ? Math.min(frame.lastSeq, lastSeqOf(history, frame.epoch)) : -1;
  }

  /** What a durable mark behind the break proves: records up to it, as far as they still count, were on stable storage. */
  #mark(mark: DurableMark): void {
    if (this.#break === null) return;
    this.#markedBehind = Math.max(this.#markedBehind, Math.min(mark.durable, lastSeqOf(this.#options.history, mark.epoch)));
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
    const bad = this.#badPayload(frame, lastSeq);
    if (bad >= 0) {
      this.#setBreak(segment, at, {
        why: 'the payload does not have its checksum',
        short: false,
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
  #whyNot(frame: FrameView): { why: string; short: boolean; certain: boolean } | null {
    const gap = (from: Seq): { why: string; short: boolean; certain: boolean } => ({
      why: `records ${from} to ${frame.firstSeq - 1} are missing before this frame`,
      short: false,
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
    return { why, short: false, certain: true };
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
    const { destaged, startChain, startSeq, history, storage, digests, groupTag, segmentBytes } = this.#options;
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
      sidefile: new Sidefile({ storage, digests, groupTag, segmentBytes }, start, recovered),
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
      const tornByCrash = found.short && this.#behind === null;
      if (found.certain || needed || !(powerLost || tornByCrash)) return this.#damaged(found, found.why);
    }
    const last = this.#segments[this.#segments.length - 1];
    const end = { file: last?.file.name ?? segmentName(0), offset: last?.size ?? 0, seq: this.#live.received + 1 };
    if (this.#live.received < required)
      return this.#damaged(end, `records up to ${required} were on stable storage, but the sidefile ends before this one`);
    if (this.#live.chainAt(startSeq - 1) !== startChain) {
      return this.#damaged({ ...end, offset: 0, seq: startSeq - 1 }, 'the base image was made from other records than the sidefile holds');
    }
    return null;
  }

  #damaged(place: { file: string; offset: number; seq: Seq }, why: string): SidefileFault {
    const { file, offset, seq } = place;
    return { kind: 'damaged', file, offset, epoch: epochOf(this.#options.history, seq), seq, why };
  }

  #tornBytes(): number {
    const found = this.#break;
    if (found === null) return 0;
    return this.#segments.reduce((sum, segment) => {
      if (segment.number < found.segment) return sum;
      return sum + segment.size - (segment.number === found.segment ? found.offset : 0);
    }, 0);
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
    const end = count === 0 ? 0 : this.#live.index.at(count - 1) + this.#live.index.byteCount(count - 1);
    const newest = kept[kept.length - 1];
    if (newest !== undefined && newest.size > end) {
      newest.file.truncate(end);
      newest.size = end;
      newest.dirty = true;
    }
    for (const segment of this.#segments.toReversed()) if (segment.number < first) remove(segment);
    for (const segment of kept) {
      const behind = this.#live.index.firstBehind(segment.number);
      const lastSeq = behind < count ? this.#live.index.firstSeq(behind) - 1 : this.#live.received;
      if (lastSeq > durable) this.#rewrite(segment, behind, durable);
    }
    return kept;
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

function badItem(damage: FrameDamage, restBytes: number): Item {
  // Behind a frame with a sound header its neighbour is where the header says; else it has to be searched for.
  const skipBytes = damage.head === undefined || damage.head.frameBytes > restBytes ? 0 : damage.head.frameBytes;
  return { kind: 'bad', why: damage.why, short: false, certain: damage.version !== undefined, skipBytes };
}
