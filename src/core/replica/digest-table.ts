// What each block of a base image is known to hold: one digest for each, in a file beside the image. A block that disagrees with its own digest
// has rotted on its disk; two copies that differ and both agree with theirs have missed a write. Entries are written with the image and flushed
// with it, before the superblock calls the records destaged. So after a crash an entry can be wrong only where the overlay covers the block.

import { assert } from '../base/assert.ts';
import { type Layout, layout, viewOf } from '../base/bytes.ts';
import { type DiskDone, DiskError, type DiskFailure, type FilePart, type StoredFile } from '../base/ports.ts';
import { BLOCK_BYTES } from '../base/units.ts';

const entryFields = [
  ['crc', 'u32', 'CRC-32 of the 4096 bytes of the block'],
  ['check', 'u32', 'made of `crc` and the number of the block; 0: the content is not known'],
] as const;

/** One block's entry; entry n lies at n times its length. */
export const digestEntryLayout: Layout<(typeof entryFields)[number][0]> = layout(8, entryFields);

const ENTRY_BYTES = digestEntryLayout.bytes;
/** Entries are read and written in pages; one stands for 2 MiB of the volume. */
const PAGE_BYTES = 4096;
const PAGE_ENTRIES = PAGE_BYTES / ENTRY_BYTES;
/** In memory, in place of a check: the entry on disk still stands. */
const UNCHANGED = 0;
/** In memory, in place of a check: the entry is to become unknown. */
const CLEARED = 1;
/** A page that becomes unknown as a whole; shared, never written. */
const CLEARED_PAGE: Uint32Array = Uint32Array.from({ length: PAGE_ENTRIES * 2 }, (_, i) => (i % 2 === 1 ? CLEARED : 0));
/** Changed pages kept in memory before they are written without waiting for a flush: 16 MiB. */
const CHANGED_PAGES_MAX = 4096;

/** What is known of a block. `damaged`: its entry cannot be believed. */
export type Known = { readonly kind: 'known'; readonly crc: number } | { readonly kind: 'unknown' } | { readonly kind: 'damaged' };
const UNKNOWN: Known = { kind: 'unknown' };
const DAMAGED: Known = { kind: 'damaged' };

/** The second half of an entry: never 0 or 1, different for each block, and wrong when any bit of the entry has flipped. */
export function digestCheck(crc: number, block: number): number {
  const low = block >>> 0;
  const high = Math.floor(block / 0x1_0000_0000);
  let hash = Math.imul(crc ^ Math.imul(low, 0x9e37_79b1) ^ Math.imul(high, 0x85eb_ca6b), 0xc2b2_ae35);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash ^= hash >>> 13;
  return (hash | 2) >>> 0;
}

/** Entries of some blocks as they were at one moment: what memory knows, over what the file holds. */
export class EntrySnapshot {
  readonly #firstBlock: number;
  /** Pairs as in a page. */
  readonly #changed: Uint32Array;
  /** The file's part; to be filled before at() is asked. */
  readonly part: FilePart;

  constructor(firstBlock: number, changed: Uint32Array) {
    this.#firstBlock = firstBlock;
    this.#changed = changed;
    this.part = { offset: firstBlock * ENTRY_BYTES, bytes: new Uint8Array((changed.length / 2) * ENTRY_BYTES) };
  }

  /** What is known of a block of the range. */
  at(block: number): Known {
    const i = block - this.#firstBlock;
    const changed = this.#changed[2 * i + 1] as number;
    if (changed === CLEARED) return UNKNOWN;
    if (changed !== UNCHANGED) return { kind: 'known', crc: this.#changed[2 * i] as number };
    const view = viewOf(this.part.bytes);
    const crc = view.getUint32(i * ENTRY_BYTES + digestEntryLayout.at.crc, true);
    const check = view.getUint32(i * ENTRY_BYTES + digestEntryLayout.at.check, true);
    if (crc === 0 && check === 0) return UNKNOWN;
    return check === digestCheck(crc, block) ? { kind: 'known', crc } : DAMAGED;
  }
}

/** The digests of one base image. */
export class DigestTable {
  /** Bytes of the image for each byte of the table. */
  static readonly bytesPerByte: number = BLOCK_BYTES / ENTRY_BYTES;
  readonly file: StoredFile;
  #blockCount: number;
  /** Pages with changes that are not in the file: crc and check of each entry in turn. */
  #changed = new Map<number, Uint32Array>();
  /** Pages that are being written. */
  #writing = new Map<number, Uint32Array>();
  #busy = false;
  #waiting: DiskDone[] = [];
  #failure: DiskFailure | null = null;

  /** Takes over the file, and makes it as long as it has to be: what was never written is unknown. Throws DiskError. */
  constructor(file: StoredFile, blockCount: number) {
    this.file = file;
    this.#blockCount = 0;
    this.resize(blockCount);
  }

  /** The image has so many blocks: what is new is unknown. Throws DiskError. */
  resize(blockCount: number): void {
    this.#blockCount = blockCount;
    const size = Math.ceil(blockCount / PAGE_ENTRIES) * PAGE_BYTES;
    if (this.file.size() !== size) this.file.truncate(size);
  }

  /** Makes everything unknown, here and now. Throws DiskError. */
  reset(): void {
    assert(!this.#busy, 'a table begins anew before it is used');
    this.#changed.clear();
    const size = this.file.size();
    this.file.truncate(0);
    this.file.truncate(size);
  }

  /** Notes what a block holds. */
  set(block: number, crc: number): void {
    assert(block < this.#blockCount, 'a digest is of a block of its image', { block });
    const page = this.#pageOf(Math.floor(block / PAGE_ENTRIES));
    const i = 2 * (block % PAGE_ENTRIES);
    page[i] = crc;
    page[i + 1] = digestCheck(crc, block);
  }

  /** Makes blocks unknown, as a hole is. */
  clear(firstBlock: number, blockCount: number): void {
    const end = firstBlock + blockCount;
    assert(end <= this.#blockCount, 'a digest is of a block of its image', { firstBlock, blockCount });
    for (let block = firstBlock; block < end;) {
      const page = Math.floor(block / PAGE_ENTRIES);
      const stop = Math.min(end, (page + 1) * PAGE_ENTRIES);
      if (stop - block === PAGE_ENTRIES) this.#changed.set(page, CLEARED_PAGE);
      else this.#pageOf(page).set(CLEARED_PAGE.subarray(0, 2 * (stop - block)), 2 * (block % PAGE_ENTRIES));
      block = stop;
    }
  }

  /** Whether so many changes wait that they should be written now. */
  get crowded(): boolean {
    return this.#changed.size > CHANGED_PAGES_MAX && !this.#busy;
  }

  /** The entries of some blocks as of now; the caller reads its `part` from the file before it asks. */
  snapshot(firstBlock: number, blockCount: number): EntrySnapshot {
    const changed = new Uint32Array(2 * blockCount);
    for (const pages of [this.#writing, this.#changed]) {
      if (pages.size === 0) continue;
      for (let block = firstBlock; block < firstBlock + blockCount;) {
        const number = Math.floor(block / PAGE_ENTRIES);
        const stop = Math.min(firstBlock + blockCount, (number + 1) * PAGE_ENTRIES);
        const page = pages.get(number);
        for (; page !== undefined && block < stop; block++) {
          const i = 2 * (block % PAGE_ENTRIES);
          if (page[i + 1] === UNCHANGED) continue;
          changed[2 * (block - firstBlock)] = page[i] as number;
          changed[2 * (block - firstBlock) + 1] = page[i + 1] as number;
        }
        block = stop;
      }
    }
    return new EntrySnapshot(firstBlock, changed);
  }

  /** Writes what was noted before this call to the file. `done` may be called before this returns. A failure is final. */
  writeBack(done: DiskDone): void {
    if (this.#failure !== null || (!this.#busy && this.#changed.size === 0)) return done(this.#failure);
    this.#waiting.push(done);
    if (!this.#busy) this.#begin();
  }

  #pageOf(number: number): Uint32Array {
    let page = this.#changed.get(number);
    if (page === undefined || page === CLEARED_PAGE) {
      page = page === undefined ? new Uint32Array(2 * PAGE_ENTRIES) : CLEARED_PAGE.slice();
      this.#changed.set(number, page);
    }
    return page;
  }

  /** Reads the pages that are changed in part, then writes all of them. Whoever asks meanwhile waits for another round. */
  #begin(): void {
    this.#busy = true;
    this.#writing = this.#changed;
    this.#changed = new Map();
    const waiting = this.#waiting.splice(0);
    const pages = [...this.#writing].filter(([, page]) => page !== CLEARED_PAGE).sort(([a], [b]) => a - b);
    const parts = pages.map(([number, page]) => ({ offset: number * PAGE_BYTES, bytes: new Uint8Array(PAGE_BYTES), page, number }));
    const ended = (failure: DiskFailure | null): void => {
      this.#busy = false;
      this.#writing = new Map();
      this.#failure ??= failure;
      for (const done of waiting) done(this.#failure);
      if (this.#waiting.length === 0 || this.#busy) return;
      if (this.#failure === null) this.#begin();
      else for (const done of this.#waiting.splice(0)) done(this.#failure);
    };
    const old = parts.filter(({ page }) => isPartial(page));
    this.file.readParts(old, (failure) => {
      if (failure !== null) return ended(failure);
      for (const { page, bytes } of parts) mergePage(page, bytes);
      const unpunched = this.#punchCleared();
      if (parts.length === 0 || unpunched !== null) ended(unpunched);
      else this.file.writeParts(parts, ended);
    });
  }

  /** Pages that become unknown as a whole give their space back. */
  #punchCleared(): DiskFailure | null {
    const cleared = [...this.#writing].filter(([, page]) => page === CLEARED_PAGE).map(([number]) => number);
    cleared.sort((a, b) => a - b);
    for (let first = 0; first < cleared.length;) {
      let next = first + 1;
      while (next < cleared.length && cleared[next] === (cleared[next - 1] as number) + 1) next++;
      try {
        this.file.punch((cleared[first] as number) * PAGE_BYTES, (next - first) * PAGE_BYTES);
      } catch (error) {
        if (error instanceof DiskError) return error.failure;
        throw error;
      }
      first = next;
    }
    return null;
  }
}

function isPartial(page: Uint32Array): boolean {
  for (let i = 1; i < page.length; i += 2) if (page[i] === UNCHANGED) return true;
  return false;
}

/** Puts the changed entries of a page over those of the file. */
function mergePage(page: Uint32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let i = 0; i < PAGE_ENTRIES; i++) {
    const check = page[2 * i + 1] as number;
    if (check === UNCHANGED) continue;
    view.setUint32(i * ENTRY_BYTES + digestEntryLayout.at.crc, page[2 * i] as number, true);
    view.setUint32(i * ENTRY_BYTES + digestEntryLayout.at.check, check === CLEARED ? 0 : check, true);
  }
}
