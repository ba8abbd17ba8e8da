// The ordered log of writes that a replica holds: append-only segments with an index in memory from seq to place. Everything that a site
// knows beyond its base image is here, so nothing is overwritten, nothing is trusted unread, and only whole segments ever go away.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { Digests, Storage, StoredFile } from '../base/ports.ts';
import type { Epoch, Seq, WallMillis } from '../base/units.ts';
import { type FrameView, readFrame, readFrameTable, subFrame } from '../record/decode.ts';
import { FRAME_HEADER_BYTES, RECORD_ENTRY_BYTES } from '../record/layout.ts';
import { FrameIndex } from './frame-index.ts';
import type { HeldFrame } from './records.ts';
import {
  encodeMark,
  encodeSegmentHeader,
  MARK_BYTES,
  type Segment,
  SEGMENT_HEADER_BYTES,
  segmentName,
  segmentNumberOf,
} from './segment.ts';
import { lengthen, Spares, type SparesWork } from './spares.ts';

/** Where a frame begins: number of its segment, and byte in it. The payload of a record lies at `at` plus its payloadAt in the frame. */
export interface Place {
  readonly segment: number;
  readonly at: number;
}

export interface SidefileOptions {
  readonly storage: Storage;
  readonly digests: Digests;
  /** groupTagOf(group id): frames of another group are refused. */
  readonly groupTag: number;
  /** Size that a segment reaches before the next one is begun. */
  readonly segmentBytes: number;
  /** Size that the sidefile may reach: files that wait to be used again are a share of it. */
  readonly capacityBytes?: number | undefined;
}

/** Where an empty sidefile begins: the next record's seq, and chain and epoch of the record before it. */
export interface SidefileStart {
  readonly nextSeq: Seq;
  readonly chain: number;
  readonly epoch: Epoch;
}

/** What append() needs to know of a frame: an EncodedFrame is one, and so is a FrameView. */
export interface AppendedFrame {
  readonly epoch: Epoch;
  readonly firstSeq: Seq;
  readonly lastSeq: Seq;
  readonly chainBefore: number;
  /** Chain of the last record. */
  readonly chain: number;
  readonly timeMillis: WallMillis;
  readonly isFolded?: boolean;
}

/** Called with each frame in order and the indices of its first and last record that were asked for; false ends the visit. */
export type FrameVisitor = (frame: FrameView, segment: number, at: number, firstIndex: number, lastIndex: number) => boolean;

/** Gives memory that frames are read into. */
export type TakeMemory = (byteCount: number) => Uint8Array;

function newMemory(byteCount: number): Uint8Array {
  return new Uint8Array(byteCount);
}

/** How visit() reads. */
export interface VisitReading {
  /** New memory unless given. */
  readonly take?: TakeMemory;
  /** Whether the frames are to tell the checksum of each block of their payloads (FrameView.blockCrcs). */
  readonly notesBlocks?: boolean;
  /** About how many bytes of frames are wanted: no more is read ahead. */
  readonly bytesMax?: number;
}

/** Frames read back for a peer that lags. */
export interface FrameRun {
  /** One frame each. */
  readonly parts: Uint8Array[];
  readonly firstSeq: Seq;
  readonly lastSeq: Seq;
  /** Sum of the parts. */
  readonly bytes: number;
}

/** What a recovery found (recover.ts): segments and index fit each other, and `index` ends at `received`. */
export interface RecoveredFrames {
  readonly segments: Segment[];
  readonly index: FrameIndex;
  /** Chain and epoch of the record before the oldest one. */
  readonly chainBefore: number;
  readonly epochBefore: Epoch;
  readonly received: Seq;
  readonly durable: Seq;
  readonly nextSegment: number;
}

/** The sidefile does not hold what it held when it was written: a position to name, and nothing to go on with. */
export class SidefileDamage extends Error {
  override readonly name = 'SidefileDamage';
  readonly file: string;
  readonly offset: number;
  readonly epoch: Epoch;
  readonly seq: Seq;
  readonly why: string;
  constructor(damage: { file: string; offset: number; epoch: Epoch; seq: Seq; why: string }) {
    super(`sidefile damaged at record (${damage.epoch}, ${damage.seq}), ${damage.file} offset ${damage.offset}: ${damage.why}`);
    this.file = damage.file;
    this.offset = damage.offset;
    this.epoch = damage.epoch;
    this.seq = damage.seq;
    this.why = damage.why;
  }
}

/** Names of all segment files, oldest first. */
export function segmentFiles(storage: Storage): string[] {
  return storage.list().filter((name) => segmentNumberOf(name) !== null);
}

/**
 * Removes all segment files of a sidefile that is to be given up (none may be open). Returns the number that the next segment must have:
 * removed files may come back with a power loss, and must then be older than what replaces them.
 */
export function discardSidefile(storage: Storage): number {
  let next = 0;
  for (const name of segmentFiles(storage)) {
    next = (segmentNumberOf(name) as number) + 1;
    storage.remove(name);
  }
  return next;
}

/** Records of a table that are read at first. */
const TABLE_RECORDS_FIRST = 16;

/** Bytes of frames that visit() reads at once. */
const READ_BYTES = limits.framePayloadBytesTarget;

/** The log of one replica. A DiskError from any call is final: nothing more may be appended. */
export class Sidefile {
  readonly #options: SidefileOptions;
  #index: FrameIndex;
  #segments: Segment[];
  #byNumber = new Map<number, Segment>();
  #nextSegment: number;
  #received: Seq;
  #chain: number;
  #epoch: Epoch;
  // Of the record before the oldest one.
  #baseChain: number;
  #baseEpoch: Epoch;
  /** Null where a restart has not seen it. */
  #baseTime: WallMillis | null = null;
  #heldBytes = 0;
  /** Last record of the newest folded frame that is held, or was; 0 when there was none. */
  #foldedUpTo: Seq = 0;
  #durable: Seq;
  /** What the newest mark says of `durable`, and the memory that marks are made in. */
  #markedDurable: Seq = -1;
  #markedEpoch: Epoch = 0;
  readonly #mark = new Uint8Array(MARK_BYTES);
  readonly #spares: Spares;
  /** The flush that is under way: up to where it makes durable. */
  #flight: { upTo: Seq } | null = null;
  /** Segments that are no longer held, but whose files a flush still uses. */
  #retired: { readonly segment: Segment; readonly reusable: boolean }[] = [];
  #failed = false;

  /** Makes an empty sidefile where no segment file exists (else: recoverSidefile, or discardSidefile first), or takes over what a recovery found. */
  constructor(
    options: SidefileOptions & { readonly firstSegment?: number },
    start: SidefileStart,
    recovered: RecoveredFrames | null = null,
  ) {
    assert(options.segmentBytes > SEGMENT_HEADER_BYTES, 'a segment has room for more than its header', {
      segmentBytes: options.segmentBytes,
    });
    this.#options = options;
    this.#spares = new Spares(options.storage, options.segmentBytes, options.capacityBytes);
    if (recovered === null) {
      const files = segmentFiles(options.storage);
      assert(files.length === 0, 'an empty sidefile begins where no segment is', { files });
      this.#index = new FrameIndex();
      this.#segments = [];
      this.#nextSegment = options.firstSegment ?? 0;
      this.#baseChain = start.chain;
      this.#baseEpoch = start.epoch;
      this.#received = start.nextSeq - 1;
      this.#durable = start.nextSeq - 1;
      this.#chain = start.chain;
      this.#epoch = start.epoch;
      return;
    }
    this.#index = recovered.index;
    this.#segments = recovered.segments;
    this.#nextSegment = recovered.nextSegment;
    this.#baseChain = recovered.chainBefore;
    this.#baseEpoch = recovered.epochBefore;
    this.#received = recovered.received;
    this.#durable = recovered.durable;
    const last = this.#index.count - 1;
    this.#chain = last < 0 ? recovered.chainBefore : this.#index.chainAfter(last);
    this.#epoch = last < 0 ? recovered.epochBefore : this.#index.epoch(last);
    for (const segment of this.#segments) {
      this.#byNumber.set(segment.number, segment);
      this.#heldBytes += segment.size;
    }
    this.#findFolded();
  }

  /** First seq that is still held; received + 1 when nothing is. */
  get oldest(): Seq {
    return this.#index.count === 0 ? this.#received + 1 : this.#index.firstSeq(0);
  }

  /** Last seq that is held. */
  get received(): Seq {
    return this.#received;
  }

  /** Chain of record `received`. */
  get chain(): number {
    return this.#chain;
  }

  /** Epoch of record `received`. */
  get epoch(): Epoch {
    return this.#epoch;
  }

  /** Last seq that a flush has made durable here. */
  get durable(): Seq {
    return this.#durable;
  }

  /** Records up to here may lie in folded frames, which not every program takes; 0 when none does. */
  get foldedUpTo(): Seq {
    return this.#foldedUpTo < this.oldest ? 0 : this.#foldedUpTo;
  }

  #findFolded(): void {
    const i = this.#index.lastFolded;
    this.#foldedUpTo = i < 0 ? 0 : this.#lastLive(i);
  }

  /** Whether the copy can be as of a record: everywhere but within a folded frame. For records that are held, and the one before them. */
  endsAt(seq: Seq): boolean {
    if (seq >= this.#received || seq < this.oldest) return true;
    const i = this.#index.find(seq);
    return !this.#index.isFolded(i) || seq === this.#lastLive(i);
  }

  /** Bytes that were written to all segments. Their files may be longer. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Appends one frame, which must continue behind `received`, with one write through the page cache. Throws DiskError, which is final. */
  append(bytes: Uint8Array, frame: AppendedFrame): Place {
    assert(!this.#failed, 'nothing is appended after a failed write or flush');
    assert(frame.firstSeq === this.#received + 1, 'records are dense', { firstSeq: frame.firstSeq, received: this.#received });
    assert(frame.lastSeq >= frame.firstSeq, 'a frame has a record', { firstSeq: frame.firstSeq, lastSeq: frame.lastSeq });
    assert(frame.chainBefore === this.#chain, 'a frame continues the chain', { chainBefore: frame.chainBefore, chain: this.#chain });
    assert(frame.epoch >= this.#epoch, 'epochs never fall', { epoch: frame.epoch, newest: this.#epoch });
    const byteCount = bytes.length + MARK_BYTES;
    const { segmentBytes } = this.#options;
    let segment = this.#segments[this.#segments.length - 1];
    try {
      if (segment === undefined || segment.size + byteCount > segmentBytes) {
        segment = this.#beginSegment(bytes, frame);
        this.#heldBytes += SEGMENT_HEADER_BYTES;
      } else {
        segment.file.write(segment.size, [bytes, this.#markBehind(segment.number, frame)]);
        segment.size += byteCount;
      }
    } catch (failure) {
      this.#failed = true;
      throw failure;
    }
    segment.dirty = true;
    this.#heldBytes += byteCount;
    const at = segment.size - byteCount;
    this.#index.push({
      epoch: frame.epoch,
      firstSeq: frame.firstSeq,
      timeMillis: frame.timeMillis,
      segment: segment.number,
      at,
      byteCount: bytes.length,
      chainAfter: frame.chain,
      isFolded: frame.isFolded === true,
    });
    if (frame.isFolded === true) this.#foldedUpTo = frame.lastSeq;
    this.#received = frame.lastSeq;
    this.#chain = frame.chain;
    this.#epoch = frame.epoch;
    if (segment.size > segmentBytes / 2) this.#spares.prepare();
    return { segment: segment.number, at };
  }

  /** What all its files take, or may come to take before another one is begun. */
  get filesBytes(): number {
    const { segmentBytes } = this.#options;
    const others = this.#retired.length * segmentBytes + this.#spares.bytes;
    return this.#segments.reduce((sum, { size }) => sum + Math.max(size, segmentBytes), others);
  }

  /**
   * Gives the newest file its full length: one that a restart has cut off, or that was begun before anything was set aside. `making` is told how much
   * it takes now.
   */
  lengthen(making: (byteCount: number) => void): void {
    const { segmentBytes } = this.#options;
    const newest = this.#segments.at(-1);
    if (newest === undefined || this.#failed || newest.file.size() >= segmentBytes) return;
    making(segmentBytes - newest.file.size());
    lengthen(newest.file, segmentBytes);
  }

  /** Lets files for the segments to come be made ahead, and used again. */
  startSpares(work: SparesWork): void {
    this.#spares.start(work);
  }

  /** The mark that is written behind a frame, in the same write; valid until the next one is made. */
  #markBehind(segmentNumber: number, frame: AppendedFrame): Uint8Array {
    if (this.#durable !== this.#markedDurable) {
      this.#markedDurable = this.#durable;
      this.#markedEpoch = this.epochAt(this.#durable) ?? 0;
    }
    const { epoch, lastSeq } = frame;
    const mark = { segmentNumber, epoch, lastSeq, durableEpoch: this.#markedEpoch, durable: this.#markedDurable };
    encodeMark(mark, this.#mark, this.#options.groupTag, this.#options.digests);
    return this.#mark;
  }

  #segmentHeader(number: number): Uint8Array {
    const header = { segmentNumber: number, firstSeq: this.#received + 1, epochBefore: this.#epoch, chainBefore: this.#chain };
    return encodeSegmentHeader(header, this.#options.groupTag, this.#options.digests);
  }

  /** Begins a segment with its first frame. The file gets its name only then: no segment that a restart finds lacks its header or first frame. */
  #beginSegment(bytes: Uint8Array, frame: AppendedFrame): Segment {
    const number = this.#nextSegment++;
    const size = SEGMENT_HEADER_BYTES + bytes.length + MARK_BYTES;
    const file = this.#spares.take(size);
    file.write(0, [this.#segmentHeader(number), bytes, this.#markBehind(number, frame)]);
    this.#options.storage.rename(file, segmentName(number));
    const segment = { number, file, size, dirty: true };
    this.#segments.push(segment);
    this.#byNumber.set(number, segment);
    return segment;
  }

  /** Chain of a record: for the records that are held and the one before them; null for any other. May read the file (throws SidefileDamage). */
  chainAt(seq: Seq): number | null {
    if (seq === this.#received) return this.#chain;
    if (seq > this.#received || seq < this.oldest - 1) return null;
    const i = this.#index.find(seq);
    if (i < 0) return this.#baseChain;
    if (seq === this.#lastLive(i)) return this.#index.chainAfter(i);
    const { frame } = this.#readTable(i);
    return frame.chainAt(seq - frame.firstSeq);
  }

  /** Epoch of a record: for the records that are held and the one before them; null for any other. */
  epochAt(seq: Seq): Epoch | null {
    if (seq > this.#received || seq < this.oldest - 1) return null;
    const i = this.#index.find(seq);
    return i < 0 ? this.#baseEpoch : this.#index.epoch(i);
  }

  /** Wall clock of the primary when it numbered a record; null when the record is not held. */
  timeAt(seq: Seq): WallMillis | null {
    if (seq > this.#received || seq < this.oldest) return null;
    return this.#index.timeMillis(this.#index.find(seq));
  }

  /** Wall clock of the primary when it numbered the record before the oldest one that is held; null where it was not held since the start. */
  get timeBefore(): WallMillis | null {
    return this.#baseTime;
  }

  /** The first record from a held one on that was numbered later than a time; null when there is none. */
  firstLater(timeMillis: WallMillis, from: Seq): Seq | null {
    for (let i = Math.max(this.#index.find(from), 0); i < this.#index.count; i++)
      if (this.#index.timeMillis(i) > timeMillis) return Math.max(from, this.#index.firstSeq(i));
    return null;
  }

  /** Fills `into` with bytes of a segment, from the page cache where they are there. For places that append() or visit() gave; not verified. */
  read(segment: number, at: number, into: Uint8Array): void {
    this.fileOf(segment).read(at, into);
  }

  /** The file of a segment that is held. */
  fileOf(number: number): StoredFile {
    return this.#heldSegment(number).file;
  }

  #heldSegment(number: number): Segment {
    const segment = this.#byNumber.get(number);
    assert(segment !== undefined, 'a segment that is read is held', { segment: number });
    return segment;
  }

  /** The frame that holds a record; null when it is not held. */
  frameOf(seq: Seq): HeldFrame | null {
    if (seq > this.#received || seq < this.oldest) return null;
    const i = this.#index.find(seq);
    const { epoch, firstSeq, segment, at, byteCount } = this.#index.entry(i);
    return {
      epoch,
      firstSeq,
      segment,
      at,
      byteCount,
      lastSeq: this.#lastLive(i),
      chainBefore: i === 0 ? this.#baseChain : this.#index.chainAfter(i - 1),
      chainAfter: this.#index.chainAfter(i),
      epochBefore: i === 0 ? this.#baseEpoch : this.#index.epoch(i - 1),
      firstOfSegment: i === 0 || this.#index.segment(i - 1) !== segment,
    };
  }

  /** Puts bytes of a segment right that its disk has changed: see Records. */
  overwrite(number: number, at: number, bytes: Uint8Array): void {
    const segment = this.#heldSegment(number);
    assert(at + bytes.length <= segment.size, 'what is put right was written before', { segment: number, at, size: segment.size });
    segment.file.write(at, [bytes]);
    segment.dirty = true;
  }

  /**
   * Frames for a peer that lacks everything from `seq` on, verified as they are read: at least one, and no more than bytesMax together unless
   * the first alone is larger. The first begins exactly at `seq`. null when there is no such record yet. `take` gives the memory that they are read
   * into: parts are views of it, or have memory of their own. Throws SidefileDamage.
   */
  framesFrom(seq: Seq, bytesMax: number, take: TakeMemory = newMemory): FrameRun | null {
    if (seq > this.#received) return null;
    assert(seq >= this.oldest, 'only records that are held can be read', { seq, oldest: this.oldest });
    const parts: Uint8Array[] = [];
    let total = 0;
    let next = seq;
    for (let i = this.#index.find(seq); i < this.#index.count;) {
      const run = this.#readRun(i, this.#index.count - 1, bytesMax - total, take);
      for (; i <= run.last; i++) {
        const frame = this.#frameIn(run, i);
        const lastLive = this.#lastLive(i);
        const whole = frame.firstSeq === next && frame.lastSeq === lastLive;
        const part = whole ? frame.bytes : subFrame(frame, next, lastLive, this.#options.digests);
        if (parts.length > 0 && total + part.length > bytesMax) return { parts, firstSeq: seq, lastSeq: next - 1, bytes: total };
        parts.push(part);
        total += part.length;
        next = lastLive + 1;
      }
      if (total >= bytesMax) break;
    }
    return { parts, firstSeq: seq, lastSeq: next - 1, bytes: total };
  }

  /**
   * Reads the records fromSeq to toSeq in order, verified with their payloads. Frames stay valid for as long as the visitor keeps them. The
   * visitor must not change the sidefile. Throws SidefileDamage.
   */
  visit(
    fromSeq: Seq,
    toSeq: Seq,
    visitor: FrameVisitor,
    { take = newMemory, notesBlocks = false, bytesMax = Infinity }: VisitReading = {},
  ): void {
    if (fromSeq > toSeq) return;
    assert(fromSeq >= this.oldest, 'only records that are held can be read', { fromSeq, oldest: this.oldest });
    assert(toSeq <= this.#received, 'only records that are held can be read', { toSeq, received: this.#received });
    const end = this.#index.find(toSeq);
    let left = bytesMax;
    for (let i = this.#index.find(fromSeq); i <= end;) {
      const run = this.#readRun(i, end, Math.min(READ_BYTES, left), take);
      left -= run.bytes.length;
      for (; i <= run.last; i++) {
        const frame = this.#frameIn(run, i, notesBlocks);
        const firstIndex = Math.max(fromSeq - frame.firstSeq, 0);
        const lastIndex = Math.min(toSeq, this.#lastLive(i)) - frame.firstSeq;
        const isWhole = firstIndex === 0 && lastIndex === frame.recordCount - 1;
        assert(!frame.isFolded || isWhole, 'a folded frame is one step', { fromSeq, toSeq, firstSeq: frame.firstSeq });
        if (!visitor(frame, this.#index.segment(i), this.#index.at(i), firstIndex, lastIndex)) return;
      }
    }
  }

  /** Reads the tables alone of the frames from `fromSeq` on, of at most so many of them, in order; their payloads are not looked at. Throws SidefileDamage. */
  visitTables(fromSeq: Seq, framesMax: number, visitor: (frame: FrameView, firstIndex: number, lastIndex: number) => void): void {
    if (fromSeq > this.#received) return;
    assert(fromSeq >= this.oldest, 'only records that are held can be read', { fromSeq, oldest: this.oldest });
    const first = this.#index.find(fromSeq);
    const end = Math.min(this.#index.count, first + framesMax);
    for (let i = first; i < end; i++) {
      const { frame } = this.#readTable(i);
      visitor(frame, Math.max(fromSeq - frame.firstSeq, 0), this.#lastLive(i) - frame.firstSeq);
    }
  }

  #lastLive(i: number): Seq {
    return i + 1 < this.#index.count ? this.#index.firstSeq(i + 1) - 1 : this.#received;
  }

  /** Reads frame i and those behind it in the same segment that fit bytesMax with it, up to `end`. */
  #readRun(i: number, end: number, bytesMax: number, take = newMemory): { bytes: Uint8Array; at: number; last: number } {
    const segment = this.#index.segment(i);
    const at = this.#index.at(i);
    let last = i;
    while (last < end && this.#index.segment(last + 1) === segment) {
      if (this.#index.at(last + 1) + this.#index.byteCount(last + 1) - at > bytesMax) break;
      last++;
    }
    const bytes = take(this.#index.at(last) + this.#index.byteCount(last) - at);
    this.fileOf(segment).read(at, bytes);
    return { bytes, at, last };
  }

  /** Frame i out of a run, checked: it is whole, and the one that was appended; the payloads of records that were cut off do not matter. */
  #frameIn(run: { bytes: Uint8Array; at: number }, i: number, notesBlocks = false): FrameView {
    const begin = this.#index.at(i) - run.at;
    const bytes = run.bytes.subarray(begin, begin + this.#index.byteCount(i));
    const { groupTag, digests } = this.#options;
    const check = readFrame(bytes, 0, { groupTag, digests, checkPayload: false });
    if (check.kind !== 'frame')
      throw this.#damage(i, this.#index.firstSeq(i), check.kind === 'short' ? 'the frame is cut short' : check.why);
    const { frame } = check;
    this.#checkIdentity(i, frame);
    const bad = frame.badPayload(0, this.#lastLive(i) - frame.firstSeq, digests, notesBlocks);
    if (bad >= 0) throw this.#damage(i, frame.firstSeq + bad, 'the payload does not have its checksum');
    return frame;
  }

  /** Header and table of frame i, checked. */
  #readTable(i: number): { frame: FrameView } {
    const file = this.fileOf(this.#index.segment(i));
    const read = (byteCount: number): ReturnType<typeof readFrameTable> => {
      const bytes = new Uint8Array(Math.min(this.#index.byteCount(i), byteCount));
      file.read(this.#index.at(i), bytes);
      return readFrameTable(bytes, 0, this.#options);
    };
    // Most tables are short, and the payloads behind them are not wanted.
    let check = read(FRAME_HEADER_BYTES + TABLE_RECORDS_FIRST * RECORD_ENTRY_BYTES);
    if (check.kind === 'short') check = read(check.needBytes);
    if (check.kind !== 'frame')
      throw this.#damage(i, this.#index.firstSeq(i), check.kind === 'short' ? 'the frame is cut short' : check.why);
    this.#checkIdentity(i, check.frame);
    return check;
  }

  #checkIdentity(i: number, frame: FrameView): void {
    const last = this.#lastLive(i);
    const same =
      frame.epoch === this.#index.epoch(i) && frame.firstSeq === this.#index.firstSeq(i) && frame.byteCount === this.#index.byteCount(i);
    if (!same || frame.lastSeq < last || frame.chainAt(last - frame.firstSeq) !== this.#index.chainAfter(i)) {
      throw this.#damage(i, this.#index.firstSeq(i), 'another frame lies where this one was written');
    }
  }

  #damage(i: number, seq: Seq, why: string): SidefileDamage {
    return new SidefileDamage({
      file: segmentName(this.#index.segment(i)),
      offset: this.#index.at(i),
      epoch: this.#index.epoch(i),
      seq,
      why,
    });
  }

  /**
   * Says which files a flush must cover to make everything received so far durable; `files` may be empty. One flush at a time: end it with
   * endFlush(). Frames that are appended meanwhile belong to the next one.
   */
  beginFlush(): { files: StoredFile[]; upTo: Seq } {
    assert(!this.#failed, 'nothing is flushed after a failed write or flush');
    assert(this.#flight === null, 'one flush of the sidefile at a time');
    const files: StoredFile[] = [];
    for (const segment of this.#segments) {
      if (segment.dirty) files.push(segment.file);
      segment.dirty = false;
    }
    this.#flight = { upTo: this.#received };
    return { files, upTo: this.#received };
  }

  /**
   * The flush that was begun has ended. Returns the seq up to which records are now durable: what beginFlush() said, less what was cut back
   * meanwhile. A failed flush is final: nothing more may be appended or flushed.
   */
  endFlush(ok: boolean): Seq {
    const flight = this.#flight;
    assert(flight !== null, 'a flush that ends was begun');
    this.#flight = null;
    if (ok) this.#durable = Math.max(this.#durable, flight.upTo);
    else this.#failed = true;
    for (const { segment, reusable } of this.#retired) this.#letGo(segment, reusable);
    this.#retired = [];
    return this.#durable;
  }

  /**
   * Drops the records behind `seq`; the next one appended is seq + 1. Their bytes stay where they are, void: until the superblock says durably
   * that another epoch begins there, a restart must find the old tail, and afterwards recovery tells them by their epoch.
   */
  cutTo(seq: Seq): void {
    assert(seq <= this.#received, 'a sidefile is cut back, not on', { seq, received: this.#received });
    assert(seq >= this.oldest - 1, 'records that are gone cannot be cut back to', { seq, oldest: this.oldest });
    if (seq === this.#received) return;
    assert(this.endsAt(seq), 'nothing is cut off within a folded frame', { seq });
    const chain = this.chainAt(seq) as number;
    const epoch = this.epochAt(seq) as Epoch;
    const i = this.#index.find(seq);
    this.#index.keepFirst(i + 1);
    if (i >= 0) this.#index.setLastChain(chain);
    this.#received = seq;
    this.#findFolded();
    this.#chain = chain;
    this.#epoch = epoch;
    this.#durable = Math.min(this.#durable, seq);
    this.#markedDurable = -1;
    if (this.#flight !== null) this.#flight.upTo = Math.min(this.#flight.upTo, seq);
  }

  /** Removes whole segments whose records are all before `seq`; the newest segment stays. Returns the bytes freed. */
  dropBefore(seq: Seq): number {
    assert(seq <= this.#received + 1, 'records that are not there cannot be dropped', { seq, received: this.#received });
    // A segment without live records goes only together with a later one: until then a restart may still need what was cut back in it.
    let dropSegments = 0;
    let dropFrames = 0;
    for (let k = 0; k < this.#segments.length - 1; k++) {
      const behind = this.#index.firstBehind((this.#segments[k] as Segment).number);
      if (behind === dropFrames) continue;
      if (this.#lastLive(behind - 1) >= seq) break;
      dropSegments = k + 1;
      dropFrames = behind;
    }
    if (dropSegments === 0) return 0;
    this.#baseChain = this.#index.chainAfter(dropFrames - 1);
    this.#baseEpoch = this.#index.epoch(dropFrames - 1);
    this.#baseTime = this.#index.timeMillis(dropFrames - 1);
    this.#index.dropFirst(dropFrames);
    const before = this.#heldBytes;
    for (const segment of this.#segments.splice(0, dropSegments)) this.#retire(segment, true);
    return before - this.#heldBytes;
  }

  /** Forgets everything and begins anew somewhere else, as a whole copy does. Numbers of segments go on. */
  reset(start: SidefileStart): void {
    assert(!this.#failed, 'a sidefile does not begin anew on a failed disk');
    // What is in them may have numbers that are yet to come: no file for those.
    for (const segment of this.#segments.splice(0)) this.#retire(segment, false);
    this.#index = new FrameIndex();
    this.#foldedUpTo = 0;
    this.#received = start.nextSeq - 1;
    this.#durable = start.nextSeq - 1;
    this.#markedDurable = -1;
    this.#chain = start.chain;
    this.#epoch = start.epoch;
    this.#baseChain = start.chain;
    this.#baseEpoch = start.epoch;
    this.#baseTime = null;
    if (this.#flight !== null) this.#flight.upTo = 0;
  }

  #retire(segment: Segment, reusable: boolean): void {
    this.#byNumber.delete(segment.number);
    this.#heldBytes -= segment.size;
    if (this.#flight === null) this.#letGo(segment, reusable);
    else this.#retired.push({ segment, reusable });
  }

  #letGo({ file }: Segment, reusable: boolean): void {
    if (reusable && !this.#failed) return this.#spares.give(file);
    file.close();
    this.#options.storage.remove(file.name);
  }

  /** Closes all files. The sidefile may not be used afterwards. */
  close(): void {
    for (const segment of this.#segments) segment.file.close();
    for (const { segment } of this.#retired) segment.file.close();
    this.#spares.close();
    this.#failed = true;
  }
}
