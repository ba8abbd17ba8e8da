// A set of numbers that may reach far, such as the blocks of a volume: bits in pages that are made when they are first touched.

import { assert } from './assert.ts';

/** Numbers of one page; it takes an eighth of that in bytes. */
export const BITS_OF_PAGE = 32_768;
const BYTES_OF_PAGE = BITS_OF_PAGE / 8;

/** The numbers from `from` on, up to but not including `to`. */
export interface BitRun {
  readonly from: number;
  readonly to: number;
}

export class PagedBits {
  readonly #pages = new Map<number, Uint8Array>();
  #order: number[] | null = null;
  #count = 0;

  /** How many numbers it holds. */
  get count(): number {
    return this.#count;
  }

  has(number: number): boolean {
    const page = this.#pages.get(Math.floor(number / BITS_OF_PAGE));
    if (page === undefined) return false;
    const bit = number % BITS_OF_PAGE;
    return ((page[bit >> 3] as number) & (1 << (bit & 7))) !== 0;
  }

  /** Adds the numbers from `from` up to but not including `to`. */
  add(from: number, to: number): void {
    for (let number = from; number < to; number++) {
      const page = this.#pageOf(Math.floor(number / BITS_OF_PAGE));
      const bit = number % BITS_OF_PAGE;
      const at = bit >> 3;
      const mask = 1 << (bit & 7);
      const byte = page[at] as number;
      if ((byte & mask) !== 0) continue;
      page[at] = byte | mask;
      this.#count++;
    }
  }

  clear(): void {
    this.#pages.clear();
    this.#order = null;
    this.#count = 0;
  }

  /** The first run of numbers at or behind `from`; null when there is none. It ends with its page at the latest. */
  nextRun(from: number): BitRun | null {
    this.#order ??= [...this.#pages.keys()].sort((a, b) => a - b);
    const first = Math.floor(from / BITS_OF_PAGE);
    for (const index of this.#order) {
      if (index < first) continue;
      const run = runIn(this.#pages.get(index) as Uint8Array, index === first ? from % BITS_OF_PAGE : 0);
      if (run !== null) return { from: index * BITS_OF_PAGE + run.from, to: index * BITS_OF_PAGE + run.to };
    }
    return null;
  }

  /** The pages that hold something, by their numbers: to be stored or sent. */
  pages(): readonly { readonly index: number; readonly bytes: Uint8Array }[] {
    return [...this.#pages].sort(([a], [b]) => a - b).map(([index, bytes]) => ({ index, bytes }));
  }

  /** Adds what a page that was stored or sent holds. */
  addPage(index: number, bytes: Uint8Array): void {
    assert(bytes.length === BYTES_OF_PAGE, 'a page has its length', { length: bytes.length });
    const page = this.#pageOf(index);
    for (let at = 0; at < BYTES_OF_PAGE; at++) {
      const before = page[at] as number;
      const now = before | (bytes[at] as number);
      page[at] = now;
      this.#count += ones(now) - ones(before);
    }
  }

  #pageOf(index: number): Uint8Array {
    let page = this.#pages.get(index);
    if (page === undefined) {
      page = new Uint8Array(BYTES_OF_PAGE);
      this.#pages.set(index, page);
      this.#order = null;
    }
    return page;
  }
}

function runIn(page: Uint8Array, from: number): BitRun | null {
  let at = from;
  while (at < BITS_OF_PAGE) {
    const byte = page[at >> 3] as number;
    if (byte === 0) at = ((at >> 3) + 1) << 3;
    else if ((byte & (1 << (at & 7))) === 0) at++;
    else break;
  }
  if (at >= BITS_OF_PAGE) return null;
  let end = at + 1;
  while (end < BITS_OF_PAGE) {
    const byte = page[end >> 3] as number;
    if (byte === 0xff && (end & 7) === 0) end += 8;
    else if ((byte & (1 << (end & 7))) !== 0) end++;
    else break;
  }
  return { from: at, to: end };
}

function ones(byte: number): number {
  let left = byte;
  let count = 0;
  while (left !== 0) {
    left &= left - 1;
    count++;
  }
  return count;
}
