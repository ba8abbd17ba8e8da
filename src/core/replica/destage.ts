// Moves records from the sidefile to the base images. Only committed and durable ones: a record that could still be cut back must never reach
// a base (DESIGN, rule 7). While a pass runs the bases are a mixture, which nobody sees: the target is durable in the superblock before the
// first byte, every block of an unfinished record stays in the overlay, and after a crash the overlay is rebuilt from all of them.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { Buffers, FilePart, StoredFile } from '../base/ports.ts';
import { BLOCK_BYTES, type Seq } from '../base/units.ts';
import type { FrameView } from '../record/decode.ts';
import { RECORD_KIND } from '../record/layout.ts';
import { SharedMemory } from './lent.ts';
import { Overlay, TRIMMED, ZEROES } from './overlay.ts';
import type { Sidefile } from './sidefile.ts';
import type { SuperblockValue } from './superblock.ts';

/**
 * What a pass asks of its driver. Each but a write is carried out to its end before the pass is resumed; when one fails, or when the replica has been
 * closed, reset or has failed meanwhile, the pass is abandoned and never resumed.
 */
export type DestageEffect =
  | { readonly kind: 'superblock'; readonly patch: Partial<SuperblockValue> }
  /** Wait for the background reads of the base images that have begun by now. */
  | { readonly kind: 'settle' }
  | BaseWrite
  /** Wait for all writes of this pass. */
  | { readonly kind: 'written' }
  | { readonly kind: 'flush'; readonly files: readonly StoredFile[] };

/** To be begun; the pass goes on while it is under way. Never beside another one to the same blocks: of two the older content could come last. */
export interface BaseWrite {
  readonly kind: 'write';
  readonly file: StoredFile;
  /** In ascending order. */
  readonly parts: readonly FilePart[];
  /** Called once when it has ended, or will never be begun: its memory is free then. */
  readonly ended: () => void;
}

/** What a pass works on. */
export interface DestageLayers {
  readonly overlays: readonly Overlay[];
  readonly bases: readonly StoredFile[];
  readonly sidefile: Pick<Sidefile, 'visit' | 'chainAt'>;
  readonly buffers: Buffers;
  /** Bytes read and written in one step. */
  readonly roundBytes: number;
  /** Bytes between two flushes of the base images. */
  readonly flushBytes: number;
  /** Seq up to which everything is destaged now. */
  readonly destaged: Seq;
  /** Never taken back: after a whole copy it may be behind the pass's own target. */
  readonly destageTarget: Seq;
  /** Everything up to `upTo` is in the base images and recorded so; `byteCount` of the sidefile's records were moved. */
  readonly finished: (upTo: Seq, byteCount: number) => void;
}

/** Pieces below this are copied together where they are adjacent in the base. */
const MERGE_BYTES = 64 * 1024;
const ZERO_BYTES = 256 * 1024;
const ZERO_PARTS_MAX = 32;
const BASE_EXTENTS_MAX = 64;
const zeroes = new Uint8Array(ZERO_BYTES);
const NOTHING = (): void => undefined;

/** Bytes that a record counts for in a round and in the backlog: its payload and its table entry, zeroed ranges by what they cost to enter. */
export function recordCost(frame: FrameView, index: number): number {
  const length = frame.lengthAt(index);
  const isWrite = frame.kindAt(index) === RECORD_KIND.write;
  const moved = isWrite ? frame.payloadBytesAt(index) : Math.min(length, limits.overlayZeroBlocksMax * BLOCK_BYTES);
  return moved + 32;
}

/**
 * Enters the records `firstIndex` to `lastIndex` of a frame that lies at `at` in a segment. Their ranges are whole blocks. What is folded has no
 * content here, and needs none: those that cover it are entered with it.
 */
export function enterRecords(
  overlays: readonly Overlay[],
  frame: FrameView,
  place: { segment: number; at: number },
  indices: { first: number; last: number },
): void {
  for (let index = indices.first; index <= indices.last; index++) {
    const overlay = overlays[frame.volumeAt(index)];
    assert(overlay !== undefined, 'a record names a volume of its group', { seq: frame.firstSeq + index, volume: frame.volumeAt(index) });
    const block = frame.offsetAt(index) / BLOCK_BYTES;
    const blockCount = frame.lengthAt(index) / BLOCK_BYTES;
    const kind = frame.kindAt(index);
    const seq = frame.firstSeq + index;
    if (frame.foldedAt(index)) continue;
    if (kind === RECORD_KIND.write) overlay.putData(block, blockCount, seq, place.segment, place.at + frame.payloadAt(index));
    else overlay.putZeroes(block, blockCount, seq, kind === RECORD_KIND.trim ? TRIMMED : ZEROES);
  }
}

/** The newest content per block among some records that follow one another. */
interface Round {
  /** Per volume; in place of a segment stands the index of a frame in `frames`, and a place is one in that frame. */
  readonly overlays: readonly Overlay[];
  frames: FrameView[];
  /** What the frames were read into: is given back when they have been gone through, and every write of them has ended. */
  memory: SharedMemory;
}

/** The pass that brings everything up to `target` into the base images. */
export function* destage(layers: DestageLayers, target: Seq): Generator<DestageEffect, void, void> {
  yield { kind: 'superblock', patch: { destageTarget: Math.max(target, layers.destageTarget) } };
  const round: Round = { overlays: layers.overlays.map(() => new Overlay()), frames: [], memory: new SharedMemory(layers.buffers) };
  let destaged = layers.destaged;
  while (destaged < target) {
    const touched = new Touched(layers.overlays);
    let upTo = destaged;
    while (touched.byteCount < layers.flushBytes && upTo < target) {
      upTo = gather(layers, round, touched, { from: upTo + 1, target });
      yield* writeRound(layers, round);
    }
    yield { kind: 'written' };
    yield { kind: 'flush', files: layers.bases };
    const destagedChain = layers.sidefile.chainAt(upTo);
    assert(destagedChain !== null, 'the sidefile holds what is destaged until the superblock says so', { upTo });
    yield { kind: 'superblock', patch: { destaged: upTo, destagedChain } };
    touched.forget(upTo);
    layers.finished(upTo, touched.byteCount);
    destaged = upTo;
  }
}

/** Brings what a round has collected into the bases. */
function* writeRound(layers: DestageLayers, round: Round): Generator<DestageEffect, void, void> {
  const { memory } = round;
  try {
    // A read that began before these records were appended may still be reading their blocks from a base.
    yield { kind: 'settle' };
    for (const [volume, newest] of round.overlays.entries()) {
      if (newest.empty) continue;
      yield* writeVolume(layers, layers.bases[volume] as StoredFile, round, newest);
      newest.clear();
    }
  } finally {
    round.frames = [];
    round.memory = new SharedMemory(layers.buffers);
    memory.release();
  }
}

/**
 * Collects about one round's worth of records, newest content per block, and returns the last seq of them. A block that a newer record up to
 * the target writes again is left to that one: until then, and after a crash too, the overlay covers it. Throws SidefileDamage.
 */
function gather(layers: DestageLayers, round: Round, touched: Touched, seqs: { from: Seq; target: Seq }): Seq {
  let cost = 0;
  let upTo = seqs.from - 1;
  round.frames = [];
  const take = (byteCount: number): Uint8Array => round.memory.take(byteCount);
  layers.sidefile.visit(
    seqs.from,
    seqs.target,
    (frame, _segment, _at, firstIndex, lastIndex) => {
      const place = { segment: round.frames.length, at: 0 };
      round.frames.push(frame);
      // Of a folded frame all or nothing is destaged: no base is ever as of a record within it.
      for (let index = firstIndex; index <= lastIndex && (frame.isFolded || cost < layers.roundBytes); index++) {
        cost += recordCost(frame, index);
        upTo = frame.firstSeq + index;
        if (frame.foldedAt(index)) assertCovered(layers.overlays, frame, index);
        else if (frame.kindAt(index) === RECORD_KIND.write) gatherWrite(layers.overlays, round, { frame, index }, seqs.target);
        else enterRecords(round.overlays, frame, place, { first: index, last: index });
        touched.add(frame, index);
      }
      return cost < layers.roundBytes;
    },
    { take, notesBlocks: true, bytesMax: layers.roundBytes },
  );
  assert(upTo >= seqs.from, 'a round has a record', seqs);
  touched.byteCount += cost;
  return upTo;
}

/** What is folded has no content to be destaged: every block of it is covered by a newer record. */
function assertCovered(overlays: readonly Overlay[], frame: FrameView, index: number): void {
  const first = frame.offsetAt(index) / BLOCK_BYTES;
  const seq = frame.firstSeq + index;
  for (let i = 0; i < frame.lengthAt(index) / BLOCK_BYTES; i++) {
    const newest = overlays[frame.volumeAt(index)]?.seek(first + i) ?? 0;
    assert(newest > seq, 'a record that is folded is covered by later ones', { seq, block: first + i, newest });
  }
}

function gatherWrite(overlays: readonly Overlay[], round: Round, record: { frame: FrameView; index: number }, target: Seq): void {
  const { frame, index } = record;
  const volume = frame.volumeAt(index);
  const overlay = overlays[volume];
  const into = round.overlays[volume];
  assert(overlay !== undefined && into !== undefined, 'a record names a volume of its group', { volume });
  const seq = frame.firstSeq + index;
  const first = frame.offsetAt(index) / BLOCK_BYTES;
  const blockCount = frame.lengthAt(index) / BLOCK_BYTES;
  const payloadAt = frame.payloadAt(index);
  for (let i = 0; i < blockCount; i++) {
    const newest = overlay.seek(first + i);
    assert(newest >= seq, 'the overlay covers every record that is not destaged', { volume, block: first + i, seq, newest });
    if (newest > seq && newest <= target) continue;
    into.putData(first + i, 1, seq, round.frames.length - 1, payloadAt + i * BLOCK_BYTES);
  }
}
/** The single blocks that the records of a pass since its last flush have touched: what the overlays may forget after the next one. */
class Touched {
  /** Of the sidefile's records, by recordCost(). */
  byteCount = 0;
  readonly #overlays: readonly Overlay[];
  readonly #blocks: Float64Array[];
  readonly #counts: number[];

  constructor(overlays: readonly Overlay[]) {
    this.#overlays = overlays;
    this.#blocks = overlays.map(() => new Float64Array(0));
    this.#counts = overlays.map(() => 0);
  }

  add(frame: FrameView, index: number): void {
    const blockCount = frame.lengthAt(index) / BLOCK_BYTES;
    if (frame.kindAt(index) !== RECORD_KIND.write && blockCount > limits.overlayZeroBlocksMax) return;
    const volume = frame.volumeAt(index);
    const first = frame.offsetAt(index) / BLOCK_BYTES;
    const count = this.#counts[volume] as number;
    let blocks = this.#blocks[volume] as Float64Array;
    if (count + blockCount > blocks.length) {
      const larger = new Float64Array(Math.max(256, 2 * (count + blockCount)));
      larger.set(blocks);
      this.#blocks[volume] = larger;
      blocks = larger;
    }
    for (let i = 0; i < blockCount; i++) blocks[count + i] = first + i;
    this.#counts[volume] = count + blockCount;
  }

  /** Removes the blocks and ranges of records up to `upTo` from the overlays. */
  forget(upTo: Seq): void {
    for (const [volume, overlay] of this.#overlays.entries()) {
      const blocks = this.#blocks[volume] as Float64Array;
      const count = this.#counts[volume] as number;
      for (let i = 0; i < count; i++) overlay.remove(blocks[i] as number, upTo);
      overlay.removeRanges(upTo);
    }
  }
}

/** A run of blocks to be brought into a base image, with its content. */
interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** The record's frame, and where in it the content lies: its blocks' checksums are known there. */
  readonly frame: FrameView;
  readonly at: number;
}

/** Brings the newest content of one volume's blocks into its base image, in ascending order, about a round's bytes at a time. */
function* writeVolume(layers: DestageLayers, base: StoredFile, round: Round, newest: Overlay): Generator<DestageEffect, void, void> {
  let batch: Piece[] = [];
  let batchBytes = 0;
  for (const run of runsOf(newest, layers.roundBytes)) {
    // Older content of these blocks may be on its way.
    if (run.segment < 0) yield { kind: 'written' };
    if (run.segment === TRIMMED) {
      base.punch(run.offset, run.length);
    } else if (run.segment === ZEROES) {
      yield* writeZeroes(base, run.offset, run.length);
    } else {
      if (batchBytes + run.length > layers.roundBytes && batch.length > 0) {
        yield* writeBatch(layers.buffers, base, { batch, memory: round.memory });
        batch = [];
        batchBytes = 0;
      }
      const frame = round.frames[run.segment] as FrameView;
      batch.push({ offset: run.offset, bytes: frame.bytes.subarray(run.at, run.at + run.length), frame, at: run.at });
      batchBytes += run.length;
    }
  }
  if (batch.length > 0) yield* writeBatch(layers.buffers, base, { batch, memory: round.memory });
}

interface Run {
  readonly offset: number;
  readonly length: number;
  /** Index of the round's frame that holds the content, or ZEROES or TRIMMED. */
  readonly segment: number;
  readonly at: number;
}

/** The runs of an overlay in bytes; those with data are at most `bytesMax` long each. */
function runsOf(newest: Overlay, bytesMax: number): Run[] {
  const runs: Run[] = [];
  const blocksMax = Math.max(1, Math.floor(bytesMax / BLOCK_BYTES));
  newest.visitRuns((block, blockCount, segment, at) => {
    for (let done = 0; done < blockCount;) {
      const count = segment >= 0 ? Math.min(blockCount - done, blocksMax) : blockCount;
      runs.push({ offset: (block + done) * BLOCK_BYTES, length: count * BLOCK_BYTES, segment, at: at + done * BLOCK_BYTES });
      done += count;
    }
  });
  return runs;
}

/**
 * Makes a range read as zeroes without giving space back. What is a hole already stays one, and is punched all the same: after a flush that failed,
 * the system may show a hole that is not on stable storage, with older content below it, and no later flush would bring it there.
 */
function* writeZeroes(base: StoredFile, offset: number, length: number): Generator<DestageEffect, void, void> {
  const end = offset + length;
  let parts: FilePart[] = [];
  for (let at = offset; at < end;) {
    for (const extent of base.extents(at, end - at, BASE_EXTENTS_MAX)) {
      const extentEnd = Math.min(extent.offset + extent.length, end);
      if (extent.hole) base.punch(at, extentEnd - at);
      while (!extent.hole && at < extentEnd) {
        if (parts.length === ZERO_PARTS_MAX) {
          yield { kind: 'write', file: base, parts, ended: NOTHING };
          yield { kind: 'written' };
          parts = [];
        }
        const bytes = zeroes.subarray(0, Math.min(ZERO_BYTES, extentEnd - at));
        parts.push({ offset: at, bytes });
        at += bytes.length;
      }
      at = extentEnd;
    }
  }
  if (parts.length === 0) return;
  yield { kind: 'write', file: base, parts, ended: NOTHING };
  yield { kind: 'written' };
}

/** The checksums of the blocks from `at` on in a frame, as far as they are known; null when none is. */
function crcsOf(frame: FrameView, at: number, byteCount: number): Uint32Array | null {
  const first = (at - frame.payloadStart) / BLOCK_BYTES;
  if (frame.blockCrcs === null || !Number.isInteger(first)) return null;
  return frame.blockCrcs.subarray(first, first + byteCount / BLOCK_BYTES);
}

/** Writes the pieces into the base; small ones that are adjacent there are copied together, because a copy is cheaper than a call. */
function* writeBatch(
  buffers: Buffers,
  base: StoredFile,
  { batch, memory }: { readonly batch: readonly Piece[]; readonly memory: SharedMemory },
): Generator<DestageEffect, void, void> {
  const taken: Uint8Array[] = [];
  const parts: FilePart[] = [];
  for (let first = 0; first < batch.length;) {
    const { offset, bytes, frame, at } = batch[first] as Piece;
    let end = offset + bytes.length;
    let next = first + 1;
    for (; bytes.length < MERGE_BYTES && next < batch.length; next++) {
      const piece = batch[next] as Piece;
      if (piece.offset !== end || piece.bytes.length >= MERGE_BYTES) break;
      end += piece.bytes.length;
    }
    if (next === first + 1) {
      const blockCrcs = crcsOf(frame, at, bytes.length);
      parts.push(blockCrcs === null ? { offset, bytes } : { offset, bytes, blockCrcs });
    } else {
      const merged = buffers.take(end - offset);
      taken.push(merged);
      const blockCrcs = new Uint32Array((end - offset) / BLOCK_BYTES);
      for (let i = first; i < next; i++) {
        const piece = batch[i] as Piece;
        merged.set(piece.bytes, piece.offset - offset);
        const known = crcsOf(piece.frame, piece.at, piece.bytes.length);
        if (known !== null) blockCrcs.set(known, (piece.offset - offset) / BLOCK_BYTES);
      }
      parts.push({ offset, bytes: merged, blockCrcs });
    }
    first = next;
  }
  memory.retain();
  const ended = (): void => {
    for (const merged of taken) buffers.give(merged);
    memory.release();
  };
  yield { kind: 'write', file: base, parts, ended };
}
