// Folding, the sender's half: what a peer lacks is gathered for an interval and goes as one step, in which only the newest content of what was written
// over travels. Only records that are committed are folded, so that nobody ever has to cut back to a place within. Whatever is not committed yet, and
// whatever nothing covers, goes as it is.

import { limits } from '../base/limits.ts';
import type { Buffers, Digests } from '../base/ports.ts';
import type { Millis, Seq } from '../base/units.ts';
import { type FrameView, readFrame } from '../record/decode.ts';
import { foldFrames, foldingFault, payloadBytesOf } from '../record/fold.ts';
import { payloadStartOf } from '../record/layout.ts';
import { coveredRecords } from '../replica/cover.ts';
import type { ReadFrames, TailFrame } from './tail.ts';

/** What folding has saved on the way to a peer, since this site started. */
export interface FoldingCount {
  /** Frames that went as one step. */
  frames: number;
  /** Records that went without their payloads. */
  records: number;
  /** Bytes by which those frames are smaller than the ones that they stand for. */
  savedBytes: number;
}

/** Something to send: one frame. */
export interface FoldedPart {
  readonly bytes: Uint8Array;
  readonly firstSeq: Seq;
  readonly lastSeq: Seq;
  /** It is one step. */
  readonly isFolded: boolean;
  readonly release: () => void;
}

/** Where records that are not in memory are read from. */
export interface FoldingSource {
  framesFrom(seq: Seq, bytesMax: number): ReadFrames | null;
}

/** A frame that is gathered, and what gives its memory back. */
interface Gathered {
  readonly frame: FrameView;
  readonly release: () => void;
}

/** Header and tables of the longest frame. */
const FOLDED_TABLES_MAX = payloadStartOf(limits.frameRecordsMax, true);

/** Read from the sidefile at once. */
const READ_BYTES = 256 * 1024;

/** Records that come to lack their payloads by this. */
function newlyFolded(frames: readonly FrameView[], covered: Uint8Array): number {
  let number = 0;
  let records = 0;
  for (const frame of frames) {
    for (let index = 0; index < frame.recordCount; index++) if (covered[number++] === 1 && !frame.foldedAt(index)) records++;
  }
  return records;
}

/** Folds what goes to one peer. */
export class Folder {
  readonly millis: Millis;
  readonly count: FoldingCount;
  readonly #buffers: Buffers;
  readonly #digests: Digests;
  readonly #groupTag: number;
  /** Bytes of the frames that one step stands for. */
  readonly bytesMax: number;

  constructor(options: {
    millis: Millis;
    count: FoldingCount;
    buffers: Buffers;
    digests: Digests;
    groupTag: number;
    segmentBytes: number;
  }) {
    this.bytesMax = Math.min(limits.foldBytesMax, options.segmentBytes / 2);
    this.millis = options.millis;
    this.count = options.count;
    this.#buffers = options.buffers;
    this.#digests = options.digests;
    this.#groupTag = options.groupTag;
  }

  /**
   * What goes next of the records from `seq` on that are committed: frames of the sidefile as they are, or one that stands for all of them. Empty when
   * there is none. `collected`: the first of these frames, where they are in memory; they are released here, or by what is returned.
   */
  next(source: FoldingSource, seq: Seq, committed: Seq, collected: readonly TailFrame[]): FoldedPart[] {
    const gathered = this.#gather(source, seq, committed, collected);
    let frames = gathered.map(({ frame }) => frame);
    let covered = coveredRecords(frames);
    // A larger one would not be packed, and be long on its way. What is given back here is read again.
    while (gathered.length > 1 && payloadBytesOf(frames, covered) > limits.packBytesMax - FOLDED_TABLES_MAX) {
      for (const { release } of gathered.splice(gathered.length >> 1)) release();
      frames = gathered.map(({ frame }) => frame);
      covered = coveredRecords(frames);
    }
    const records = newlyFolded(frames, covered);
    if (records === 0 || foldingFault(frames) !== null) {
      return gathered.map(({ frame: { bytes, firstSeq, lastSeq, isFolded }, release }) => ({
        bytes,
        firstSeq,
        lastSeq,
        isFolded,
        release,
      }));
    }
    const bytes = foldFrames(frames, covered, this.#buffers, this.#digests);
    const rawBytes = frames.reduce((sum, frame) => sum + frame.byteCount, 0);
    for (const { release } of gathered) release();
    this.count.frames++;
    this.count.records += records;
    this.count.savedBytes += Math.max(0, rawBytes - bytes.length);
    const [first, last] = [frames[0], frames[frames.length - 1]] as [FrameView, FrameView];
    return [{ bytes, firstSeq: first.firstSeq, lastSeq: last.lastSeq, isFolded: true, release: () => this.#buffers.give(bytes) }];
  }

  /** Whole frames from `seq` on, all of them committed and of one epoch, as many as one step may hold. */
  #gather(source: FoldingSource, seq: Seq, committed: Seq, collected: readonly TailFrame[]): Gathered[] {
    const gathered: Gathered[] = [];
    const room = { bytes: this.bytesMax, records: limits.frameRecordsMax as number };
    let next = seq;
    let isFull = false;
    const add = (bytes: Uint8Array, release: () => void): void => {
      const frame = isFull ? null : this.#frameOf(bytes, next);
      const first = gathered[0]?.frame ?? frame;
      isFull ||= frame === null || frame.lastSeq > committed || frame.epoch !== first?.epoch;
      isFull ||= gathered.length > 0 && (bytes.length > room.bytes || (frame?.recordCount ?? 0) > room.records);
      if (isFull || frame === null) return release();
      gathered.push({ frame, release });
      room.bytes -= bytes.length;
      room.records -= frame.recordCount;
      next = frame.lastSeq + 1;
    };
    for (const frame of collected) add(frame.bytes, () => frame.release());
    while (!isFull && next <= committed) {
      const run = source.framesFrom(next, Math.max(1, Math.min(READ_BYTES, room.bytes)));
      if (run === null) break;
      for (const part of run.parts) add(part, () => run.release());
    }
    return gathered;
  }

  /** A frame that was appended or read here; null when it is not the one that is next. */
  #frameOf(bytes: Uint8Array, seq: Seq): FrameView | null {
    const check = readFrame(bytes, 0, { groupTag: this.#groupTag, checkPayload: false, digests: this.#digests });
    return check.kind === 'frame' && check.frame.firstSeq === seq ? check.frame : null;
  }
}
