// The records of the sidefile as they lie on the disk now: whether each still is what was appended, and bringing back the bytes of one that is not.
// The index in memory knows place and chain of every frame, and a frame is the same bytes at every copy that holds it: so what a disk has changed is
// told for certain, and what a peer offers for it is proven right before it is put in its place. Nothing else is ever written into a segment.

import { assert } from '../base/assert.ts';
import { type Digests, DiskError, type DiskFailure, type StoredFile } from '../base/ports.ts';
import { BLOCK_BYTES, type Epoch, type Seq, type VolumeIndex } from '../base/units.ts';
import { type FrameView, readFrame } from '../record/decode.ts';
import type { Background } from './background.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Overlay } from './overlay.ts';
import {
  decodeMark,
  decodeSegmentHeader,
  encodeMark,
  encodeSegmentHeader,
  MARK_BYTES,
  SEGMENT_HEADER_BYTES,
  segmentName,
} from './segment.ts';

/** A frame that is held, as the index knows it. */
export interface HeldFrame {
  readonly epoch: Epoch;
  readonly firstSeq: Seq;
  /** Its last record that counts. */
  readonly lastSeq: Seq;
  readonly segment: number;
  readonly at: number;
  /** Its bytes, records that were cut off included. */
  readonly byteCount: number;
  readonly chainBefore: number;
  /** Chain of `lastSeq`. */
  readonly chainAfter: number;
  /** Epoch of the record before it. */
  readonly epochBefore: Epoch;
  readonly firstOfSegment: boolean;
}

/** What is needed of the sidefile. */
export interface RecordStore {
  readonly oldest: Seq;
  readonly received: Seq;
  /** The frame that holds a record; null when it is not held. */
  frameOf(seq: Seq): HeldFrame | null;
  fileOf(segment: number): StoredFile;
  /** Puts bytes of a segment right. */
  overwrite(segment: number, at: number, bytes: Uint8Array): void;
}

/** Something that does not lie where it was written. `frame`: a record. The others are of this copy alone, and made anew from what is known. */
export interface RecordFault {
  readonly part: 'frame' | 'mark' | 'header';
  readonly epoch: Epoch;
  /** First record that is wrong, or that the mark or header stands for. */
  readonly seq: Seq;
  /** First record of the frame. */
  readonly firstSeq: Seq;
  readonly file: string;
  readonly offset: number;
  readonly length: number;
  readonly why: string;
}

/** What a look at some records came to. */
export type RecordsCheck =
  | { readonly kind: 'checked'; readonly faults: readonly RecordFault[]; readonly next: Seq | null; readonly byteCount: number }
  | { readonly kind: 'unreadable'; readonly failure: DiskFailure };

export interface RecordsOptions {
  readonly digests: Digests;
  readonly groupTag: number;
  readonly overlays: readonly Overlay[];
  readonly commit: Pick<GroupCommit, 'usable' | 'whenMended'>;
  /** A failure of the storage. */
  readonly note: (error: unknown) => void;
}

const DISK_FAILED = 'the disk has failed';

/** Frames of one segment that lie behind one another. */
interface Run {
  readonly frames: readonly HeldFrame[];
  readonly at: number;
  readonly byteCount: number;
  readonly next: Seq | null;
}

/** The records of one replica. */
export class Records {
  readonly #store: RecordStore;
  readonly #background: Background;
  readonly #options: RecordsOptions;

  constructor(store: RecordStore, background: Background, options: RecordsOptions) {
    this.#store = store;
    this.#background = background;
    this.#options = options;
  }

  /** Looks at the frames from the one on that holds `fromSeq`, or the oldest one, about `bytesMax` of them. `done` comes later, or before this returns. */
  check(fromSeq: Seq, bytesMax: number, done: (check: RecordsCheck) => void): void {
    const run = this.#run(fromSeq, bytesMax);
    if (run === null) return done({ kind: 'checked', faults: [], next: null, byteCount: 0 });
    const file = this.#store.fileOf((run.frames[0] as HeldFrame).segment);
    const bytes = new Uint8Array(run.byteCount);
    const judged = (): void => done({ kind: 'checked', faults: this.#judge(run, bytes), next: run.next, byteCount: run.byteCount });
    if (file.readCached(run.at, bytes)) return judged();
    file.readParts(
      [{ offset: run.at, bytes }],
      this.#background.attempt((failure) => (failure === null ? judged() : done({ kind: 'unreadable', failure }))),
    );
  }

  /** Those blocks of a range whose newest content waits in the sidefile: what the base image holds there does not count. */
  waitingBlocks(volume: VolumeIndex, offset: number, length: number): number[] {
    const overlay = this.#options.overlays[volume];
    assert(overlay !== undefined, 'there is no such volume', { volume });
    const waiting: number[] = [];
    if (overlay.empty) return waiting;
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + length; block++) {
      if (overlay.seek(block) !== 0) waiting.push(block);
    }
    return waiting;
  }

  /** Where the frame that holds a record is known to lie; null when it is not held. */
  placeOf(seq: Seq): HeldFrame | null {
    return this.#store.frameOf(seq);
  }

  #run(fromSeq: Seq, bytesMax: number): Run | null {
    const frames: HeldFrame[] = [];
    let begin = 0;
    let end = 0;
    let seq = Math.max(fromSeq, this.#store.oldest);
    while (seq <= this.#store.received) {
      const frame = this.#store.frameOf(seq);
      assert(frame !== null, 'a record from the oldest to the newest is held', { seq });
      const frameEnd = frame.at + frame.byteCount + MARK_BYTES;
      const first = frames[0];
      if (first === undefined) begin = frame.firstOfSegment ? 0 : frame.at;
      else if (first.segment !== frame.segment || frameEnd - begin > bytesMax) break;
      frames.push(frame);
      end = frameEnd;
      seq = frame.lastSeq + 1;
    }
    if (frames.length === 0) return null;
    return { frames, at: begin, byteCount: end - begin, next: seq <= this.#store.received ? seq : null };
  }

  /** Frames that were dropped or cut off while they were read do not count. */
  #judge(run: Run, bytes: Uint8Array): RecordFault[] {
    const faults: RecordFault[] = [];
    for (const frame of run.frames) {
      if (!this.#isHeld(frame)) continue;
      const { firstSeq, epoch, segment, at, byteCount } = frame;
      const place = { epoch, firstSeq, file: segmentName(segment) };
      const begin = at - run.at;
      if (frame.firstOfSegment) {
        const why = this.#headerFault(bytes.subarray(0, SEGMENT_HEADER_BYTES), segment);
        if (why !== null) faults.push({ ...place, part: 'header', seq: firstSeq, offset: 0, length: SEGMENT_HEADER_BYTES, why });
      }
      const check = this.#checkFrame(frame, bytes.subarray(begin, begin + byteCount));
      if ('why' in check) faults.push({ ...place, part: 'frame', seq: check.seq, offset: at, length: byteCount, why: check.why });
      const lastSeq = 'why' in check ? null : check.frame.lastSeq;
      const mark = bytes.subarray(begin + byteCount, begin + byteCount + MARK_BYTES);
      const why = this.#markFault(frame, mark, lastSeq);
      if (why !== null) faults.push({ ...place, part: 'mark', seq: frame.lastSeq, offset: at + byteCount, length: MARK_BYTES, why });
    }
    return faults;
  }

  #isHeld(frame: HeldFrame): boolean {
    const now = this.#store.frameOf(frame.firstSeq);
    if (now === null) return false;
    const same = now.segment === frame.segment && now.at === frame.at && now.epoch === frame.epoch && now.lastSeq === frame.lastSeq;
    return same && now.chainAfter === frame.chainAfter;
  }

  #checkFrame(held: HeldFrame, bytes: Uint8Array): { readonly frame: FrameView } | { readonly why: string; readonly seq: Seq } {
    const { digests, groupTag } = this.#options;
    const check = readFrame(bytes, 0, { groupTag, digests, checkPayload: false });
    const seq = held.firstSeq;
    if (check.kind !== 'frame') return { seq, why: check.kind === 'short' ? 'the frame is cut short' : check.why };
    const { frame } = check;
    const same =
      frame.epoch === held.epoch &&
      frame.firstSeq === held.firstSeq &&
      frame.byteCount === held.byteCount &&
      frame.lastSeq >= held.lastSeq &&
      frame.chainBefore === held.chainBefore &&
      frame.chainAt(held.lastSeq - held.firstSeq) === held.chainAfter;
    if (!same) return { seq, why: 'another frame lies where this one was written' };
    const bad = frame.badPayload(0, held.lastSeq - held.firstSeq, digests);
    return bad < 0 ? { frame } : { seq: seq + bad, why: 'the payload does not have its checksum' };
  }

  #headerFault(bytes: Uint8Array, segment: number): string | null {
    const { digests, groupTag } = this.#options;
    const check = decodeSegmentHeader(bytes, segment, groupTag, digests);
    if (check.kind === 'segment') return null;
    return check.kind === 'short' ? 'the header of the segment is cut short' : check.why;
  }

  /** `lastSeq`: last record of the frame, those that were cut off included; null when the frame cannot say. */
  #markFault(frame: HeldFrame, bytes: Uint8Array, lastSeq: Seq | null): string | null {
    const mark = decodeMark(bytes, frame.segment, this.#options.groupTag, this.#options.digests);
    if (mark === null) return 'the mark behind the frame cannot be read';
    const fits = mark.epoch === frame.epoch && (lastSeq === null ? mark.lastSeq >= frame.lastSeq : mark.lastSeq === lastSeq);
    return fits ? null : 'another mark lies behind the frame';
  }

  /** The bytes of the frame that begins with this record, for a copy whose disk has changed its own; null when it is not here, or not whole. */
  frame(name: { readonly epoch: Epoch; readonly firstSeq: Seq; readonly byteCount: number }): Uint8Array | null {
    const held = this.#named(name);
    if (held === null) return null;
    const bytes = this.#readNow(held);
    if (bytes === null || 'why' in this.#checkFrame(held, bytes)) return null;
    return bytes;
  }

  #named(name: { readonly epoch: Epoch; readonly firstSeq: Seq; readonly byteCount: number }): HeldFrame | null {
    const held = this.#store.frameOf(name.firstSeq);
    const same = held?.firstSeq === name.firstSeq && held.epoch === name.epoch && held.byteCount === name.byteCount;
    return same ? held : null;
  }

  #readNow(held: HeldFrame): Uint8Array | null {
    const bytes = new Uint8Array(held.byteCount);
    try {
      this.#store.fileOf(held.segment).read(held.at, bytes);
      return bytes;
    } catch (error) {
      // What cannot be read is no answer; whoever needs it for itself meets the failure there.
      if (error instanceof DiskError) return null;
      throw error;
    }
  }

  /**
   * Brings back what a fault has named: a frame from bytes that a peer holds (null for the others). `done` is told null when it is as it was, on stable
   * storage too; else why not, which may be before this returns.
   */
  mend(
    fault: { readonly part: RecordFault['part']; readonly epoch: Epoch; readonly firstSeq: Seq },
    bytes: Uint8Array | null,
    done: (why: string | null) => void,
  ): void {
    const { commit } = this.#options;
    // A resync is about to begin, or the replica closes.
    if (!commit.usable) return done('nothing is put right at the moment');
    const why = this.#putRight(fault, bytes);
    if (why !== null) return done(why);
    commit.whenMended((failure) => done(failure === null ? null : DISK_FAILED));
  }

  #putRight(
    fault: { readonly part: RecordFault['part']; readonly epoch: Epoch; readonly firstSeq: Seq },
    bytes: Uint8Array | null,
  ): string | null {
    const held = this.#store.frameOf(fault.firstSeq);
    if (held === null || held.firstSeq !== fault.firstSeq || held.epoch !== fault.epoch) return 'the record is not held any more';
    try {
      if (fault.part === 'mark') return this.#mendMark(held);
      if (fault.part === 'header') return this.#mendHeader(held);
      if (bytes === null || bytes.length !== held.byteCount) return 'what was offered is not this frame';
      const check = this.#checkFrame(held, bytes);
      if ('why' in check) return `what was offered is not this frame: ${check.why}`;
      this.#replace(held.segment, held.at, bytes);
      return null;
    } catch (error) {
      this.#options.note(error);
      return DISK_FAILED;
    }
  }

  #mendMark(held: HeldFrame): string | null {
    const { digests, groupTag } = this.#options;
    const bytes = this.#readNow(held);
    const check = bytes === null ? null : this.#checkFrame(held, bytes);
    if (check === null || 'why' in check) return 'the frame before the mark is damaged too';
    const mark = new Uint8Array(MARK_BYTES);
    // It says of durable records nothing at all, which is always true.
    const { epoch, lastSeq } = check.frame;
    encodeMark({ segmentNumber: held.segment, epoch, lastSeq, durableEpoch: 0, durable: 0 }, mark, groupTag, digests);
    this.#replace(held.segment, held.at + held.byteCount, mark);
    return null;
  }

  #mendHeader(held: HeldFrame): string | null {
    const { digests, groupTag } = this.#options;
    if (!held.firstOfSegment) return 'the record is not the first of its segment any more';
    const { segment: segmentNumber, firstSeq, epochBefore, chainBefore } = held;
    this.#replace(segmentNumber, 0, encodeSegmentHeader({ segmentNumber, firstSeq, epochBefore, chainBefore }, groupTag, digests));
    return null;
  }

  /** Writes only from the first byte on that differs to the last: the rest lies as it should, and a crash in between must not harm it. */
  #replace(segment: number, at: number, bytes: Uint8Array): void {
    const now = new Uint8Array(bytes.length);
    this.#store.fileOf(segment).read(at, now);
    let first = 0;
    let end = bytes.length;
    while (first < end && now[first] === bytes[first]) first++;
    while (end > first && now[end - 1] === bytes[end - 1]) end--;
    if (end > first) this.#store.overwrite(segment, at + first, bytes.subarray(first, end));
  }
}
