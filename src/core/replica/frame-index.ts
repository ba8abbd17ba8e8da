// Where each frame of the sidefile lies, kept in memory: 41 bytes for each frame in typed arrays, so that a sidefile of a million frames
// costs the garbage collector nothing. A ring: frames come in at the back, go out at the front, and are found by seq in log time.

import { assert } from '../base/assert.ts';
import type { Epoch, Seq, WallMillis } from '../base/units.ts';

/** One frame of the sidefile. Its last live record is the one before the next frame's first. */
export interface FrameEntry {
  readonly epoch: Epoch;
  readonly firstSeq: Seq;
  readonly timeMillis: WallMillis;
  /** Number of the segment that holds it. */
  readonly segment: number;
  /** Where in the segment it begins. */
  readonly at: number;
  /** Its bytes, records that were cut off included. */
  readonly byteCount: number;
  /** Chain of its last live record. */
  readonly chainAfter: number;
  /** It is one step: nothing is ever cut off within it. */
  readonly isFolded: boolean;
}

const CAPACITY_FIRST = 1024;

/** The frames that are held, oldest first; `i` counts from the oldest. */
export class FrameIndex {
  #count = 0;
  #head = 0;
  #capacity = CAPACITY_FIRST;
  #epochs = new Float64Array(CAPACITY_FIRST);
  #firstSeqs = new Float64Array(CAPACITY_FIRST);
  #times = new Float64Array(CAPACITY_FIRST);
  #segments = new Uint32Array(CAPACITY_FIRST);
  #places = new Uint32Array(CAPACITY_FIRST);
  #byteCounts = new Uint32Array(CAPACITY_FIRST);
  #chains = new Uint32Array(CAPACITY_FIRST);
  #folded = new Uint8Array(CAPACITY_FIRST);

  get count(): number {
    return this.#count;
  }

  push(entry: FrameEntry): void {
    assert(this.#count === 0 || entry.firstSeq > this.firstSeq(this.#count - 1), 'frames rise', { firstSeq: entry.firstSeq });
    if (this.#count === this.#capacity) this.#grow();
    const slot = this.#slot(this.#count);
    this.#epochs[slot] = entry.epoch;
    this.#firstSeqs[slot] = entry.firstSeq;
    this.#times[slot] = entry.timeMillis;
    this.#segments[slot] = entry.segment;
    this.#places[slot] = entry.at;
    this.#byteCounts[slot] = entry.byteCount;
    this.#chains[slot] = entry.chainAfter;
    this.#folded[slot] = entry.isFolded ? 1 : 0;
    this.#count++;
  }

  /** Index of the frame that holds a record, for a seq at or behind the oldest frame's first; -1 for an earlier one. */
  find(seq: Seq): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.firstSeq(middle) <= seq) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Index of the first frame that lies in a segment behind `segment`; segments never fall along the index. */
  firstBehind(segment: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.segment(middle) <= segment) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  epoch(i: number): Epoch {
    return this.#epochs[this.#slot(i)] as number;
  }

  firstSeq(i: number): Seq {
    return this.#firstSeqs[this.#slot(i)] as number;
  }

  timeMillis(i: number): WallMillis {
    return this.#times[this.#slot(i)] as number;
  }

  segment(i: number): number {
    return this.#segments[this.#slot(i)] as number;
  }

  at(i: number): number {
    return this.#places[this.#slot(i)] as number;
  }

  byteCount(i: number): number {
    return this.#byteCounts[this.#slot(i)] as number;
  }

  chainAfter(i: number): number {
    return this.#chains[this.#slot(i)] as number;
  }

  isFolded(i: number): boolean {
    return this.#folded[this.#slot(i)] === 1;
  }

  /** Index of the newest frame that is one step; -1 when there is none. */
  get lastFolded(): number {
    let i = this.#count - 1;
    while (i >= 0 && !this.isFolded(i)) i--;
    return i;
  }

  /** Says that the newest frame now ends with an earlier record, which has this chain. */
  setLastChain(chain: number): void {
    assert(this.#count > 0, 'there is a frame');
    this.#chains[this.#slot(this.#count - 1)] = chain;
  }

  /** All of one frame. */
  entry(i: number): FrameEntry {
    return {
      epoch: this.epoch(i),
      firstSeq: this.firstSeq(i),
      timeMillis: this.timeMillis(i),
      segment: this.segment(i),
      at: this.at(i),
      byteCount: this.byteCount(i),
      chainAfter: this.chainAfter(i),
      isFolded: this.isFolded(i),
    };
  }

  /** Keeps the oldest `count` frames. */
  keepFirst(count: number): void {
    assert(count <= this.#count, 'an index is not cut beyond its end', { count, held: this.#count });
    this.#count = count;
  }

  /** Forgets the oldest `count` frames. */
  dropFirst(count: number): void {
    assert(count <= this.#count, 'an index is not dropped beyond its end', { count, held: this.#count });
    this.#head = this.#slot(count);
    this.#count -= count;
  }

  #slot(i: number): number {
    return (this.#head + i) & (this.#capacity - 1);
  }

  #grow(): void {
    const unroll = <A extends Float64Array | Uint32Array | Uint8Array>(from: A, into: A): A => {
      into.set(from.subarray(this.#head), 0);
      into.set(from.subarray(0, this.#head), this.#capacity - this.#head);
      return into;
    };
    const capacity = this.#capacity * 2;
    this.#epochs = unroll(this.#epochs, new Float64Array(capacity));
    this.#firstSeqs = unroll(this.#firstSeqs, new Float64Array(capacity));
    this.#times = unroll(this.#times, new Float64Array(capacity));
    this.#segments = unroll(this.#segments, new Uint32Array(capacity));
    this.#places = unroll(this.#places, new Uint32Array(capacity));
    this.#byteCounts = unroll(this.#byteCounts, new Uint32Array(capacity));
    this.#chains = unroll(this.#chains, new Uint32Array(capacity));
    this.#folded = unroll(this.#folded, new Uint8Array(capacity));
    this.#head = 0;
    this.#capacity = capacity;
  }
}
