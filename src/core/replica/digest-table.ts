// What each block of a base image is known to hold: one digest for each, in a file beside the image. A block that disagrees with its own digest
// has rotted on its disk; two copies that differ and both agree with theirs have missed a write. Entries are written with the image and flushed
// with it, before the superblock calls the records destaged. So after a crash an entry can be wrong only where the overlay covers the block.
// Blocks that are written apart from others go to a log first (digest-log.ts), which says more than the table as long as it says anything.

import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { type DiskDone, DiskError, type DiskFailure, type FilePart, type StoredFile } from '../base/ports.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { digestCheck, digestEntryLayout } from './digest-entry.ts';
import type { DigestLog, LogFound, LogMark, LogPlace } from './digest-log.ts';

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
/** Entries of the log that are brought into the table at once. */
const MERGE_ENTRIES = 1024;
/** So many entries of one page are worth reading and writing the page. */
const PAGE_ENTRIES_WORTH = 4;
const NO_BLOCKS: Float64Array = new Float64Array(0);

/** What is known of a block. `damaged`: its entry cannot be believed. */
export type Known = { readonly kind: 'known'; readonly crc: number } | { readonly kind: 'unknown' } | { readonly kind: 'damaged' };
const UNKNOWN: Known = { kind: 'unknown' };
const DAMAGED: Known = { kind: 'damaged' };

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

/** Brings files to stable storage. */
type Flush = (files: readonly StoredFile[], done: DiskDone) => void;

/** Where blocks that are written apart from others are noted first. */
export interface LogBeside {
  readonly log: DigestLog;
  readonly flush: Flush;
}

/** How much was written when a flush was begun. */
interface TableMark {
  readonly log: LogMark | null;
  readonly changes: number;
}

/** The digests of one base image. */
export class DigestTable {
  /** Bytes of the image for each byte of the table. */
  static readonly bytesPerByte: number = BLOCK_BYTES / ENTRY_BYTES;
  readonly file: StoredFile;
  readonly #beside: LogBeside | null;
  #blockCount: number;
  /** Pages with changes that are not in the file: crc and check of each entry in turn. */
  #changed = new Map<number, Uint32Array>();
  /** Pages that are being written. */
  #writing = new Map<number, Uint32Array>();
  #busy = false;
  #waiting: DiskDone[] = [];
  #failure: DiskFailure | null = null;
  /** The log that was found is not whole, and still says so. */
  #isLogLost = false;
  /** Wait until nothing is being written. */
  readonly #idle: (() => void)[] = [];
  /** Changes of the files, and how many of them are on stable storage: what is visible at a start may not be. */
  #changes = 1;
  #flushed = 0;

  /** Takes over the file, and makes it as long as it has to be: what was never written is unknown. Throws DiskError. */
  constructor(file: StoredFile, blockCount: number, beside: LogBeside | null = null) {
    this.file = file;
    this.#beside = beside;
    this.#blockCount = 0;
    this.resize(blockCount);
  }

  get #log(): DigestLog | null {
    return this.#beside?.log ?? null;
  }

  /**
   * Reads the log. `noted`: how far it was on stable storage by the superblock; null: there was none, and what lies there is of other times. `start`: see
   * DigestLog.load. 'damaged': something of it is missing, so that everything is unknown from now on. A flush has to follow before settle(). Throws DiskError.
   */
  load(noted: LogPlace | null, start: number): LogFound {
    if (this.#log === null) return 'sound';
    const found = this.#log.load(noted, start);
    if (noted === null) {
      this.#log.reset();
      return 'sound';
    }
    if (found === 'sound') return found;
    // As long as the table may come back with what it held, the log must not seem sound.
    this.#cut();
    this.#isLogLost = true;
    return found;
  }

  /** Whether nothing of what load() did has to be on stable storage before it may be used. */
  get isSettled(): boolean {
    return !this.#isLogLost;
  }

  /** What load() did to the table is on stable storage. Throws DiskError. */
  settle(): void {
    if (this.isSettled) return;
    this.#isLogLost = false;
    this.#changes++;
    this.#log?.reset();
  }

  /** How far the log is on stable storage. */
  get logPlace(): LogPlace {
    return this.#log?.place ?? { generation: 0, batches: 0 };
  }

  /** The image has so many blocks: what is new is unknown. Throws DiskError. */
  resize(blockCount: number): void {
    this.#blockCount = blockCount;
    const size = Math.ceil(blockCount / PAGE_ENTRIES) * PAGE_BYTES;
    if (this.file.size() === size) return;
    this.#changes++;
    this.file.truncate(size);
  }

  /** Makes everything unknown, here and now. Throws DiskError. */
  reset(): void {
    assert(!this.#busy, 'a table begins anew before it is used');
    this.#isLogLost = false;
    this.#cut();
    this.#log?.reset();
  }

  #cut(): void {
    this.#changes++;
    this.#changed.clear();
    const size = this.file.size();
    this.file.truncate(0);
    this.file.truncate(size);
  }

  /** Notes what a block holds. */
  set(block: number, crc: number): void {
    this.#log?.drop(block, 1);
    this.#enter(block, crc);
  }

  /** The same for blocks that follow one another. */
  setRun(firstBlock: number, crcs: ArrayLike<number>): void {
    this.#log?.drop(firstBlock, crcs.length);
    for (let i = 0; i < crcs.length; i++) this.#enter(firstBlock + i, crcs[i] as number);
  }

  /** The same for one that is written apart from others: a page of the table would have hardly anything but it. */
  setApart(block: number, crc: number): void {
    assert(block < this.#blockCount, 'a digest is of a block of its image', { block });
    if (this.#log?.set(block, crc) !== true) this.set(block, crc);
  }

  #enter(block: number, crc: number): void {
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
    this.#log?.drop(firstBlock, blockCount);
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
    return this.#changed.size > CHANGED_PAGES_MAX || this.#log?.crowded === true;
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
    const log = this.#log;
    for (let i = 0; log !== null && !log.isEmpty && i < blockCount; i++) {
      const crc = log.get(firstBlock + i);
      if (crc < 0) continue;
      changed[2 * i] = crc;
      changed[2 * i + 1] = digestCheck(crc, firstBlock + i);
    }
    return new EntrySnapshot(firstBlock, changed);
  }

  /** Writes what was noted before this call to the files. `done` may be called before this returns. A failure is final. */
  writeBack(done: DiskDone): void {
    if (this.#failure !== null || (!this.#busy && this.#changed.size === 0 && this.#log?.hasNews !== true)) return done(this.#failure);
    this.#waiting.push(done);
    if (!this.#busy) this.#begin();
  }

  /** The files that a flush has to bring to stable storage. Empty when nothing was changed since the last one. */
  get unflushed(): readonly StoredFile[] {
    return this.#flushed === this.#changes ? [] : [this.file, ...(this.#log?.files ?? [])];
  }

  /** To be taken when a flush begins. */
  mark(): TableMark {
    return { log: this.#log?.mark() ?? null, changes: this.#changes };
  }

  /** The flush that was begun then, of `unflushed`, has ended well. */
  flushed(mark: TableMark): void {
    this.#flushed = Math.max(this.#flushed, mark.changes);
    if (mark.log !== null) this.#log?.flushed(mark.log);
  }

  /** Whether nothing is being written. */
  get isIdle(): boolean {
    return !this.#busy;
  }

  /** Calls `done`, at once or later, when nothing is being written. */
  whenIdle(done: () => void): void {
    if (this.#busy) this.#idle.push(done);
    else done();
  }

  close(): void {
    this.file.close();
    for (const file of this.#log?.files ?? []) file.close();
  }

  #pageOf(number: number): Uint32Array {
    let page = this.#changed.get(number);
    if (page === undefined || page === CLEARED_PAGE) {
      page = page === undefined ? new Uint32Array(2 * PAGE_ENTRIES) : CLEARED_PAGE.slice();
      this.#changed.set(number, page);
    }
    return page;
  }

  /** Writes everything that is noted. Whoever asks meanwhile waits for another round. */
  #begin(): void {
    this.#busy = true;
    this.#changes++;
    const waiting = this.#waiting.splice(0);
    const ended = (failure: DiskFailure | null): void => {
      this.#busy = false;
      // A flush that was begun meanwhile may not cover it.
      this.#changes++;
      this.#writing = new Map();
      this.#failure ??= failure;
      for (const done of waiting) done(this.#failure);
      if (this.#waiting.length > 0 && !this.#busy) {
        if (this.#failure === null) this.#begin();
        else for (const done of this.#waiting.splice(0)) done(this.#failure);
      }
      while (!this.#busy && this.#idle.length > 0) this.#idle.shift()?.();
    };
    inTurn(
      [(done) => this.#ready(done), (done) => this.#writeLog(done), (done) => this.#writePages(done), (done) => this.#merge(done)],
      ended,
    );
  }

  /** Before a file of the log may be written anew the other one has to be on stable storage. */
  #ready(done: DiskDone): void {
    if (this.#beside?.log.mustFlush !== true) return done(null);
    const mark = this.#beside.log.mark();
    this.#beside.flush(this.#beside.log.files, (failure) => {
      if (failure === null) this.#log?.flushed({ ...mark, merge: 0 });
      done(failure);
    });
  }

  #writeLog(done: DiskDone): void {
    // What is noted from here on is for another round, in the log and in pages.
    this.#writing = this.#changed;
    this.#changed = new Map();
    const log = this.#log;
    const writes = log === null ? [] : [log.takeVoid(), log.write()].filter((write) => write !== null);
    const steps = writes.map(
      ({ file, part }) =>
        (next: DiskDone): void =>
          file.writeParts([part], next),
    );
    inTurn(steps, (failure) => {
      if (failure === null) log?.written();
      done(failure);
    });
  }

  /** Reads the pages that are changed in part, then writes all of them. */
  #writePages(done: DiskDone): void {
    const pages = [...this.#writing].filter(([, page]) => page !== CLEARED_PAGE).sort(([a], [b]) => a - b);
    const parts = pages.map(([number, page]) => ({ offset: number * PAGE_BYTES, bytes: new Uint8Array(PAGE_BYTES), page, number }));
    const old = parts.filter(({ page }) => isPartial(page));
    const merge: DiskDone = (failure) => {
      if (failure !== null) return done(failure);
      for (const { page, bytes } of parts) mergePage(page, bytes);
      const unpunched = this.#punchCleared();
      if (parts.length === 0 || unpunched !== null) return done(unpunched);
      this.file.writeParts(parts, done);
    };
    if (old.length === 0) merge(null);
    else this.file.readParts(old, merge);
  }

  /** Brings the share of the log that is due into the table, some entries at a time. */
  #merge(done: DiskDone): void {
    const log = this.#log;
    const blocks = log?.due(MERGE_ENTRIES) ?? NO_BLOCKS;
    if (log === null || blocks.length === 0) return done(null);
    const pages = pagesOf(blocks);
    const whole = pages.filter(({ blocks: all }) => all.length >= PAGE_ENTRIES_WORTH).map(wholePage);
    const written: DiskDone = (failure) => {
      if (failure !== null) return done(failure);
      log.merged();
      this.#merge(done);
    };
    const write: DiskDone = (failure) => {
      if (failure !== null) return done(failure);
      for (const { offset, bytes, blocks: all } of whole)
        for (const block of all) enterLogged(bytes, block * ENTRY_BYTES - offset, { log, block });
      const parts = [...whole, ...singles(pages, log)].sort((a, b) => a.offset - b.offset);
      if (parts.length === 0) written(null);
      else this.file.writeParts(parts, written);
    };
    if (whole.length === 0) write(null);
    else this.file.readParts(whole, write);
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

/** Blocks whose entries are in one page of the table. */
interface PageBlocks {
  readonly page: number;
  readonly blocks: readonly number[];
}

/** Blocks by the page that their entries are in; those of a page follow one another. */
function pagesOf(blocks: Float64Array): PageBlocks[] {
  const pages: { page: number; blocks: number[] }[] = [];
  for (const block of blocks) {
    const page = Math.floor(block / PAGE_ENTRIES);
    const last = pages.at(-1);
    if (last?.page === page) last.blocks.push(block);
    else pages.push({ page, blocks: [block] });
  }
  return pages;
}

function wholePage({ page, blocks }: PageBlocks): FilePart & PageBlocks {
  return { offset: page * PAGE_BYTES, bytes: new Uint8Array(PAGE_BYTES), page, blocks };
}

/** Entries that are written by themselves: their pages have hardly anything else, and are the system's to read and write. */
function singles(pages: readonly PageBlocks[], log: DigestLog): FilePart[] {
  const blocks = pages.flatMap(({ blocks: all }) => (all.length >= PAGE_ENTRIES_WORTH ? [] : all));
  const bytes = new Uint8Array(blocks.length * ENTRY_BYTES);
  const parts: FilePart[] = [];
  for (const [index, block] of blocks.entries()) {
    const at = index * ENTRY_BYTES;
    if (enterLogged(bytes, at, { log, block })) parts.push({ offset: block * ENTRY_BYTES, bytes: bytes.subarray(at, at + ENTRY_BYTES) });
  }
  return parts;
}

/** Puts what the log knows of a block to a place; false, and nothing, when it was written again since, with others: its page comes with the next round. */
function enterLogged(bytes: Uint8Array, at: number, { log, block }: { readonly log: DigestLog; readonly block: number }): boolean {
  const crc = log.mergingAt(block);
  if (crc < 0) return false;
  const view = viewOf(bytes);
  view.setUint32(at + digestEntryLayout.at.crc, crc, true);
  view.setUint32(at + digestEntryLayout.at.check, digestCheck(crc, block), true);
  return true;
}

/** Does one after the other, each when the one before has ended well. */
function inTurn(steps: readonly ((done: DiskDone) => void)[], done: DiskDone): void {
  const step = (index: number): void => {
    const next = steps[index];
    if (next === undefined) return done(null);
    next((failure) => (failure === null ? step(index + 1) : done(failure)));
  };
  step(0);
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
