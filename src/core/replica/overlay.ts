// The newest record per block of one volume, for all records that are not in the base image yet: what a read looks up first, and what keeps a
// half-destaged base invisible. Its size follows the records that wait for destaging, never the size of the volume. Single blocks live in a
// hash table of typed arrays (no object and no garbage per write); long zeroed ranges live in a short sorted list.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { BLOCK_BYTES, type Seq } from '../base/units.ts';
import { blockHash } from './block-hash.ts';

/** In place of a segment: the block reads as zeroes and is to stay allocated. */
export const ZEROES = -1;
/** In place of a segment: the block reads as zeroes and its space may be given back. */
export const TRIMMED = -2;
/** In place of a segment: the overlay has nothing for the block, the base image does. */
export const BASE = -3;

/** Parts of the table that grow one at a time, so that no single write pays for moving all entries. A power of two. */
const PARTS = 64;
const PART_SHIFT = 26;
const PART_SLOTS_MIN = 16;
/** Slots of a part that clear() keeps. */
const PART_SLOTS_KEPT = 64;
/** Stands for every part that has no entry yet: an overlay of nothing costs nothing. Never written. */
const NO_ENTRIES = new Float64Array(PART_SLOTS_MIN * 4);
/** Numbers of one slot: block + 1 (0: free), seq, segment (or ZEROES, TRIMMED), byte offset in the segment. */
const STRIDE = 4;
const STRIDE_SHIFT = 2;

/** Called with a run of blocks in ascending order: where its bytes begin in a segment, or ZEROES / TRIMMED in place of the segment. */
export type RunVisitor = (block: number, blockCount: number, segment: number, at: number) => void;

/** Newest record per block of one volume. Records are entered in the order of their seq. */
export class Overlay {
  /** Of the block that seek() found: its segment, or ZEROES, TRIMMED, BASE. */
  segment: number = BASE;
  /** Of the block that seek() found: byte offset of its content in the segment. */
  at = 0;
  readonly #parts: Float64Array[] = Array.from({ length: PARTS }, () => NO_ENTRIES);
  readonly #counts = new Int32Array(PARTS);
  #blockCount = 0;
  // Zeroed ranges, disjoint and ascending: [start, end) in blocks, the seq of their record, and ZEROES or TRIMMED.
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  readonly #seqs: Seq[] = [];
  readonly #kinds: number[] = [];

  /** Blocks that are entered one by one, those under a newer range included. */
  get blockCount(): number {
    return this.#blockCount;
  }

  /** Zeroed ranges that are entered as ranges. */
  get rangeCount(): number {
    return this.#starts.length;
  }

  /** Whether every block is found in the base image. */
  get empty(): boolean {
    return this.#blockCount === 0 && this.#starts.length === 0;
  }

  /** Enters a write of whole blocks whose content lies in a segment from byte `at` on. `seq` is not below any seq entered before. */
  putData(block: number, blockCount: number, seq: Seq, segment: number, at: number): void {
    assert(segment >= 0, 'data lies in a segment', { block, segment });
    for (let i = 0; i < blockCount; i++) this.#put(block + i, seq, segment, at + i * BLOCK_BYTES);
  }

  /** Enters blocks that read as zeroes: `kind` is ZEROES or TRIMMED. Long ones cost one range instead of an entry per block. */
  putZeroes(block: number, blockCount: number, seq: Seq, kind: number): void {
    assert(kind === ZEROES || kind === TRIMMED, 'not a kind of zeroes', { block, kind });
    if (blockCount > limits.overlayZeroBlocksMax) this.#putRange(block, block + blockCount, seq, kind);
    else for (let i = 0; i < blockCount; i++) this.#put(block + i, seq, kind, 0);
  }

  /** Seq of the newest record of a block, with `segment` and `at` set to its content; 0 with `segment` BASE when the base image has it. */
  seek(block: number): Seq {
    const hash = blockHash(block);
    const part = this.#parts[hash >>> PART_SHIFT] as Float64Array;
    const mask = part.length - 1;
    const key = block + 1;
    let slot = (hash << STRIDE_SHIFT) & mask;
    let seq = 0;
    this.segment = BASE;
    for (;;) {
      const found = part[slot] as number;
      if (found === 0) break;
      if (found === key) {
        seq = part[slot + 1] as number;
        this.segment = part[slot + 2] as number;
        this.at = part[slot + 3] as number;
        break;
      }
      slot = (slot + STRIDE) & mask;
    }
    return this.#starts.length === 0 ? seq : this.#seekRange(block, seq);
  }

  /** Forgets a block whose newest single entry is of a record up to `upTo`: the base image has it now. */
  remove(block: number, upTo: Seq): void {
    const hash = blockHash(block);
    const index = hash >>> PART_SHIFT;
    const part = this.#parts[index] as Float64Array;
    const mask = part.length - 1;
    let slot = (hash << STRIDE_SHIFT) & mask;
    for (;;) {
      const found = part[slot] as number;
      if (found === 0) return;
      if (found === block + 1) break;
      slot = (slot + STRIDE) & mask;
    }
    if ((part[slot + 1] as number) > upTo) return;
    closeGap(part, slot);
    this.#blockCount--;
    const count = (this.#counts[index] as number) - 1;
    this.#counts[index] = count;
    if (part.length > PART_SLOTS_MIN * STRIDE && count * 8 * STRIDE < part.length) this.#resize(index, part.length / 2);
  }

  /** Forgets the zeroed ranges of records up to `upTo`. */
  removeRanges(upTo: Seq): void {
    let kept = 0;
    for (let i = 0; i < this.#starts.length; i++) {
      if ((this.#seqs[i] as number) <= upTo) continue;
      this.#starts[kept] = this.#starts[i] as number;
      this.#ends[kept] = this.#ends[i] as number;
      this.#seqs[kept] = this.#seqs[i] as number;
      this.#kinds[kept] = this.#kinds[i] as number;
      kept++;
    }
    this.#starts.length = kept;
    this.#ends.length = kept;
    this.#seqs.length = kept;
    this.#kinds.length = kept;
  }

  /** Forgets everything. Parts that are small are emptied and kept: an overlay that is filled and cleared over and over takes no new memory. */
  clear(): void {
    for (let index = 0; index < PARTS; index++) {
      const part = this.#parts[index] as Float64Array;
      if (part.length > PART_SLOTS_KEPT * STRIDE) this.#parts[index] = NO_ENTRIES;
      else if ((this.#counts[index] as number) > 0) part.fill(0);
    }
    this.#counts.fill(0);
    this.#blockCount = 0;
    this.removeRanges(Infinity);
  }

  /** Visits everything that is entered, ascending, in runs that lie in one piece: adjacent blocks of one segment, or zeroes of one kind. */
  visitRuns(visitor: RunVisitor): void {
    const blocks = this.#sortedBlocks();
    let next = 0;
    for (let i = 0; i <= this.#starts.length; i++) {
      const start = i < this.#starts.length ? (this.#starts[i] as number) : Infinity;
      const end = i < this.#starts.length ? (this.#ends[i] as number) : Infinity;
      next = this.#visitBlocks(blocks, next, start, visitor);
      // Within the range: gaps between the blocks that are newer than it belong to it.
      let from = start;
      while (next < blocks.length && (blocks[next] as number) < end) {
        const block = blocks[next] as number;
        if (this.seek(block) <= (this.#seqs[i] as number)) {
          next++;
          continue;
        }
        if (block > from) visitor(from, block - from, this.#kinds[i] as number, 0);
        let stop = next + 1;
        while (stop < blocks.length && (blocks[stop] as number) < end && (blocks[stop] as number) === (blocks[stop - 1] as number) + 1) {
          if (this.seek(blocks[stop] as number) <= (this.#seqs[i] as number)) break;
          stop++;
        }
        from = (blocks[stop - 1] as number) + 1;
        next = this.#visitBlocks(blocks.subarray(0, stop), next, Infinity, visitor);
      }
      if (from < end) visitor(from, end - from, this.#kinds[i] as number, 0);
    }
  }

  /** Visits the sorted single blocks from index `next` up to block `before`; returns the index where it stopped. */
  #visitBlocks(blocks: Float64Array, next: number, before: number, visitor: RunVisitor): number {
    while (next < blocks.length && (blocks[next] as number) < before) {
      const first = blocks[next] as number;
      this.seek(first);
      const segment = this.segment;
      const at = this.at;
      let count = 1;
      for (next++; next < blocks.length && blocks[next] === first + count && first + count < before; next++) {
        this.seek(first + count);
        if (this.segment !== segment) break;
        if (segment >= 0 && this.at !== at + count * BLOCK_BYTES) break;
        count++;
      }
      visitor(first, count, segment, at);
    }
    return next;
  }

  #sortedBlocks(): Float64Array {
    const blocks = new Float64Array(this.#blockCount);
    let count = 0;
    for (const part of this.#parts) {
      for (let slot = 0; slot < part.length; slot += STRIDE) {
        if (part[slot] !== 0) blocks[count++] = (part[slot] as number) - 1;
      }
    }
    assert(count === this.#blockCount, 'the count of blocks must be that of the table', { count, blockCount: this.#blockCount });
    return blocks.sort();
  }

  #put(block: number, seq: Seq, segment: number, at: number): void {
    const hash = blockHash(block);
    const index = hash >>> PART_SHIFT;
    let part = this.#parts[index] as Float64Array;
    if (part === NO_ENTRIES) part = this.#resize(index, part.length);
    else if (((this.#counts[index] as number) + 1) * 5 * STRIDE > part.length * 3) part = this.#resize(index, part.length * 2);
    const mask = part.length - 1;
    let slot = (hash << STRIDE_SHIFT) & mask;
    for (;;) {
      const found = part[slot] as number;
      if (found === 0) {
        part[slot] = block + 1;
        this.#counts[index] = (this.#counts[index] as number) + 1;
        this.#blockCount++;
        break;
      }
      if (found === block + 1) {
        assert((part[slot + 1] as number) <= seq, 'records are entered in the order of their seq', { block, seq, newest: part[slot + 1] });
        break;
      }
      slot = (slot + STRIDE) & mask;
    }
    part[slot + 1] = seq;
    part[slot + 2] = segment;
    part[slot + 3] = at;
  }

  #resize(index: number, length: number): Float64Array {
    const from = this.#parts[index] as Float64Array;
    const into = new Float64Array(length);
    const mask = length - 1;
    for (let i = 0; i < from.length; i += STRIDE) {
      const key = from[i] as number;
      if (key === 0) continue;
      let slot = (blockHash(key - 1) << STRIDE_SHIFT) & mask;
      while (into[slot] !== 0) slot = (slot + STRIDE) & mask;
      for (let j = 0; j < STRIDE; j++) into[slot + j] = from[i + j] as number;
    }
    this.#parts[index] = into;
    return into;
  }

  /** Index of the first range that ends after the block; the count of ranges when none does. */
  #firstEndingAfter(block: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ends[middle] as number) > block) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #seekRange(block: number, seq: Seq): Seq {
    const index = this.#firstEndingAfter(block);
    if (index === this.#starts.length || (this.#starts[index] as number) > block) return seq;
    const rangeSeq = this.#seqs[index] as number;
    if (rangeSeq < seq) return seq;
    this.segment = this.#kinds[index] as number;
    return rangeSeq;
  }

  #putRange(start: number, end: number, seq: Seq, kind: number): void {
    const first = this.#firstEndingAfter(start);
    const starts: number[] = [];
    const ends: number[] = [];
    const seqs: Seq[] = [];
    const kinds: number[] = [];
    const keep = (from: number, to: number, of: number): void => {
      if (from >= to) return;
      starts.push(from);
      ends.push(to);
      seqs.push(of < 0 ? seq : (this.#seqs[of] as number));
      kinds.push(of < 0 ? kind : (this.#kinds[of] as number));
    };
    let stop = first;
    while (stop < this.#starts.length && (this.#starts[stop] as number) < end) {
      assert((this.#seqs[stop] as number) <= seq, 'records are entered in the order of their seq', {
        start,
        seq,
        newest: this.#seqs[stop],
      });
      stop++;
    }
    if (stop > first) keep(this.#starts[first] as number, start, first);
    keep(start, end, -1);
    if (stop > first) keep(end, this.#ends[stop - 1] as number, stop - 1);
    this.#starts.splice(first, stop - first, ...starts);
    this.#ends.splice(first, stop - first, ...ends);
    this.#seqs.splice(first, stop - first, ...seqs);
    this.#kinds.splice(first, stop - first, ...kinds);
  }
}

/** Frees a slot and moves up the entries behind it that would no longer be found from their own place (linear probing without tombstones). */
function closeGap(part: Float64Array, freed: number): void {
  const mask = part.length - 1;
  let gap = freed;
  let slot = (gap + STRIDE) & mask;
  while (part[slot] !== 0) {
    const home = (blockHash((part[slot] as number) - 1) << STRIDE_SHIFT) & mask;
    // Distance from home to its slot, against distance from the gap to it: moved only if home is not between the gap and the slot.
    if (((slot - home) & mask) >= ((slot - gap) & mask)) {
      for (let j = 0; j < STRIDE; j++) part[gap + j] = part[slot + j] as number;
      gap = slot;
    }
    slot = (slot + STRIDE) & mask;
  }
  part[gap] = 0;
}
