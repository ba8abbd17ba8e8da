// Digests of single blocks, wherever in a volume they lie: a hash table of typed arrays, without an object or garbage for each entry, whose size
// follows how many there are and not how far apart.

import { blockHash } from './block-hash.ts';

/** Slots of an empty map. A power of two. */
const SLOTS_MIN = 16;
/** Slots that clear() keeps: a map that is filled and emptied over and over takes no new memory. */
const SLOTS_KEPT = 64 * 1024;

/** Looking for a block costs as much as going past so many slots. */
const LOOK_COST = 16;
/** Blocks are sorted by digits to this base. */
const DIGITS = 4096;

/** One pass of a radix sort, stable. */
function sortByDigit(from: Float64Array, into: Float64Array, divisor: number): void {
  const places = new Uint32Array(DIGITS + 1);
  const digitOf = (block: number): number => Math.floor(block / divisor) % DIGITS;
  for (const block of from) places[digitOf(block) + 1] = (places[digitOf(block) + 1] as number) + 1;
  for (let digit = 0; digit < DIGITS; digit++) places[digit + 1] = (places[digit + 1] as number) + (places[digit] as number);
  for (const block of from) {
    const digit = digitOf(block);
    const place = places[digit] as number;
    into[place] = block;
    places[digit] = place + 1;
  }
}

/** CRC-32 by block number. */
export class DigestMap {
  /** Block + 1; 0: free. */
  #keys = new Float64Array(SLOTS_MIN);
  #crcs = new Uint32Array(SLOTS_MIN);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The digest of a block; -1 when there is none. */
  get(block: number): number {
    if (this.#size === 0) return -1;
    const slot = this.#slotOf(block);
    return this.#keys[slot] === 0 ? -1 : (this.#crcs[slot] as number);
  }

  set(block: number, crc: number): void {
    let slot = this.#slotOf(block);
    if (this.#keys[slot] === 0) {
      // At most half full: what is looked for is found within a few slots.
      if (2 * (this.#size + 1) > this.#keys.length) {
        this.#grow();
        slot = this.#slotOf(block);
      }
      this.#keys[slot] = block + 1;
      this.#size++;
    }
    this.#crcs[slot] = crc;
  }

  /** Forgets a block; whether there was something to forget. */
  delete(block: number): boolean {
    if (this.#size === 0) return false;
    const freed = this.#slotOf(block);
    if (this.#keys[freed] === 0) return false;
    this.#closeGap(freed);
    this.#size--;
    return true;
  }

  /** Forgets the blocks of a range; whether there was something to forget. Costs what is less, looking for each of them or going through all. */
  deleteRange(first: number, count: number): boolean {
    if (this.#size === 0) return false;
    const before = this.#size;
    if (count * LOOK_COST <= this.#keys.length) {
      for (let block = first; block < first + count && this.#size > 0; block++) this.delete(block);
    } else {
      const found: number[] = [];
      for (const key of this.#keys) if (key > first && key <= first + count) found.push(key - 1);
      for (const block of found) this.delete(block);
    }
    return this.#size < before;
  }

  clear(): void {
    this.#size = 0;
    if (this.#keys.length > SLOTS_KEPT) {
      this.#keys = new Float64Array(SLOTS_MIN);
      this.#crcs = new Uint32Array(SLOTS_MIN);
    } else this.#keys.fill(0);
  }

  /** Its blocks, those of a stretch of `2 ** shift` of them together, the stretches in ascending order: in time that is linear in how many there are. */
  blocksByPage(shift: number): Float64Array {
    let from = new Float64Array(this.#size);
    let count = 0;
    let most = 0;
    for (const key of this.#keys) {
      if (key === 0) continue;
      most = Math.max(most, key - 1);
      from[count++] = key - 1;
    }
    let into = new Float64Array(count);
    for (let divisor = 2 ** shift; divisor <= most; divisor *= DIGITS) {
      sortByDigit(from, into, divisor);
      [from, into] = [into, from];
    }
    return from;
  }

  /** Visits all, in no order. Nothing may be changed meanwhile. */
  visit(visitor: (block: number, crc: number) => void): void {
    for (let slot = 0; slot < this.#keys.length; slot++) {
      const key = this.#keys[slot] as number;
      if (key !== 0) visitor(key - 1, this.#crcs[slot] as number);
    }
  }

  /** Where a block is, or would be. */
  #slotOf(block: number): number {
    const mask = this.#keys.length - 1;
    let slot = blockHash(block) & mask;
    for (;;) {
      const key = this.#keys[slot] as number;
      if (key === 0 || key === block + 1) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #grow(): void {
    const [keys, crcs] = [this.#keys, this.#crcs];
    this.#keys = new Float64Array(2 * keys.length);
    this.#crcs = new Uint32Array(2 * crcs.length);
    for (let from = 0; from < keys.length; from++) {
      const key = keys[from] as number;
      if (key === 0) continue;
      const slot = this.#slotOf(key - 1);
      this.#keys[slot] = key;
      this.#crcs[slot] = crcs[from] as number;
    }
  }

  /** Frees a slot, and moves up what is behind it and would no longer be found from its own place. */
  #closeGap(freed: number): void {
    const mask = this.#keys.length - 1;
    let gap = freed;
    for (let slot = (gap + 1) & mask; this.#keys[slot] !== 0; slot = (slot + 1) & mask) {
      const home = blockHash((this.#keys[slot] as number) - 1) & mask;
      if (((slot - home) & mask) < ((slot - gap) & mask)) continue;
      this.#keys[gap] = this.#keys[slot] as number;
      this.#crcs[gap] = this.#crcs[slot] as number;
      gap = slot;
    }
    this.#keys[gap] = 0;
  }
}
