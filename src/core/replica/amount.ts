// How many bytes of records lie behind a position: what a peer lags by. Counted in steps, because a number for every frame would cost more
// than the answer is worth.

import type { Seq } from '../base/units.ts';

const STEP_BYTES_MIN = 1024;
const STEP_BYTES_MAX = 256 * 1024;
/** Steps that the whole sidefile has at least. */
const STEPS_MIN = 1024;
const DROP_STEPS = 1024;

/** Bytes of frames by position, exact to a step. */
export class Amount {
  // A step: its first record, and the bytes of all frames before it.
  #seqs: Seq[] = [];
  #before: number[] = [];
  #total = 0;
  readonly #stepBytes: number;

  /** `capacityBytes`: what the sidefile may take. */
  constructor(capacityBytes: number) {
    this.#stepBytes = Math.max(STEP_BYTES_MIN, Math.min(STEP_BYTES_MAX, Math.floor(capacityBytes / STEPS_MIN)));
  }

  /** Counts a frame that was appended behind all others. */
  add(firstSeq: Seq, byteCount: number): void {
    const last = this.#before[this.#before.length - 1];
    if (last === undefined || this.#total - last >= this.#stepBytes) {
      this.#seqs.push(firstSeq);
      this.#before.push(this.#total);
    }
    this.#total += byteCount;
  }

  /** Forgets everything: counting begins anew. */
  clear(): void {
    this.#seqs = [];
    this.#before = [];
    this.#total = 0;
  }

  /** Counts what another one has counted, and nothing else. */
  takeOver(other: Amount): void {
    this.#seqs = other.#seqs;
    this.#before = other.#before;
    this.#total = other.#total;
  }

  /** Forgets what lies before `seq`, now and then. */
  dropBefore(seq: Seq): void {
    if (this.#seqs.length < 2 * DROP_STEPS || (this.#seqs[DROP_STEPS] as Seq) > seq) return;
    this.#seqs = this.#seqs.slice(DROP_STEPS);
    this.#before = this.#before.slice(DROP_STEPS);
  }

  /** Bytes of the frames from record `seq` on, at most a step too many; null when counting began behind it. */
  from(seq: Seq): number | null {
    let low = 0;
    let high = this.#seqs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#seqs[middle] as Seq) <= seq) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? null : this.#total - (this.#before[low - 1] as number);
  }
}
