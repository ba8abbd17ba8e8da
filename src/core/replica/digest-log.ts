// The digests of blocks that are written one here and one there: noted in a log of two files, 16 bytes each, in place of a page of the table each, so
// that what destaging such a block costs does not depend on how large the volume is around it. In memory they are a hash table. When a file is full the
// other one begins with all that counts; when there are many entries, the oldest half goes into the table meanwhile. Like an entry of the table one
// of the log can be wrong after a crash only where the overlay covers the block.

import { assert } from '../base/assert.ts';
import type { Digests, FilePart, StoredFile } from '../base/ports.ts';
import { type Batch, batchBytes, type BlockRange, encodeBatch, readBatches } from './digest-batch.ts';
import { DigestMap } from './digest-map.ts';

/** How large a log of digests becomes. */
export interface DigestLogOptions {
  /** Entries from which on they are brought into the table. 0: everything goes there at once. */
  readonly entriesMax: number;
  /** Bytes of each of the two files. */
  readonly fileBytes: number;
}

/** Unless given: at most 10 MiB of memory for a volume, 8 MiB on the disk, and a quarter of a million entries that a start reads. */
const USUAL: DigestLogOptions = { entriesMax: 96 * 1024, fileBytes: 4 * 1024 * 1024 };
/** No file of a log, of whatever program, is longer. */
const READ_BYTES_MAX = 64 * 1024 * 1024;
/** Share of the entries that may wait to be written: above it they are written without waiting for a flush. */
const FRESH_SHARE = 0.5;
/** Share of a file that entries may take: the rest is for what comes afterwards. */
const FILE_SHARE = 0.75;
const ENTRY_BYTES = 16;
/** So many blocks, as a power of two, have their entries in one page of the table. */
const PAGE_SHIFT = 9;
const PAGE_BYTES = 4096;
/** So many entries go into the table for each that comes: the log is never full before they are there. */
const MERGED_FOR_EACH = 2;
const NO_BLOCKS: Float64Array = new Float64Array(0);

/** What the log had to say when it was opened. */
export type LogFound = 'sound' | 'damaged';

/** How far a log is on stable storage: so many batches of its file of that generation. */
export interface LogPlace {
  readonly generation: number;
  readonly batches: number;
}

/** How much was written when a flush was begun. */
export interface LogMark extends LogPlace {
  readonly merge: number;
}

/** The log of one table. */
export class DigestLog {
  readonly files: readonly [StoredFile, StoredFile];
  readonly #digests: Digests;
  readonly #options: DigestLogOptions;
  // Newest first: of a block that is in several the first one counts.
  /** Not in a file yet. */
  #fresh = new DigestMap();
  /** In the file. */
  #logged = new DigestMap();
  /** In the file, and on the way into the table. */
  #merging = new DigestMap();
  /** The file says things that are on stable storage in the table as well, and are not in memory any more: the other one is to begin. */
  #isSettled = false;
  /** Of which the file says something that does not count any more. */
  #ranges: BlockRange[] = [];
  /** Blocks of `#merging` in order, and how many of them are in the table. */
  #order: Float64Array = NO_BLOCKS;
  #merged = 0;
  #mergeNumber = 0;
  /** What came since the last share was merged. */
  #mergeDue = 0;
  #mergeWritten = false;

  #current: 0 | 1 = 0;
  #generation = 0;
  #start = 0;
  #batches = 0;
  #chain = 0;
  #end = 0;
  /** Of `#batches`: whose write has ended; which are on stable storage. */
  #written = 0;
  #durable = 0;
  #place: LogPlace = { generation: 0, batches: 0 };
  /** The other file says what does not count any more, and is to be made to say nothing. */
  #voidOther = false;
  #isLoaded = false;

  constructor(files: readonly [StoredFile, StoredFile], digests: Digests, options: DigestLogOptions = USUAL) {
    this.files = files;
    this.#digests = digests;
    this.#options = options;
  }

  /** Bytes of memory and disk follow this. */
  get size(): number {
    return this.#fresh.size + this.#logged.size + this.#merging.size;
  }

  /** Whether so many entries wait that they should be written now. */
  get crowded(): boolean {
    return this.#fresh.size > FRESH_SHARE * this.#options.entriesMax;
  }

  /**
   * Reads what is there. `noted`: how far it was on stable storage, by the superblock; null where nobody knows. `start`: a number that no start had before whose
   * batches may lie here: the same digests noted by two of them never make the same batch. 'damaged': something of what was noted is missing, so that neither
   * the table nor this is to be believed; reset() is to follow. Throws DiskError.
   */
  load(noted: LogPlace | null, start: number): LogFound {
    this.#isLoaded = true;
    this.#start = start;
    this.#place = noted ?? this.#place;
    const found = this.files.map((file) => {
      const bytes = new Uint8Array(Math.min(file.size(), READ_BYTES_MAX));
      file.read(0, bytes);
      return { bytes, ...readBatches(bytes, this.#digests) };
    });
    const generationOf = (index: number): number => found[index]?.batches[0]?.generation ?? -1;
    this.#current = generationOf(0) >= generationOf(1) ? 0 : 1;
    const newest = Math.max(generationOf(0), generationOf(1));
    this.#generation = Math.max(0, newest, noted?.generation ?? 0);
    const { batches, end, bytes } = found[this.#current] as (typeof found)[number];
    const last = batches.at(-1);
    this.#voidOther = found.every((each) => each.batches.length > 0);
    if (last === undefined || newest < this.#generation) return 'damaged';
    if (newest === noted?.generation && batches.length < noted.batches) return 'damaged';
    for (const batch of batches) this.#replay(batch);
    this.#batches = batches.length;
    this.#chain = last.crc;
    this.#end = end;
    // What is visible may never have come to stable storage, and would be missing before what is written next: so it is written again, with it.
    const file = this.files[this.#current];
    file.truncate(end);
    file.write(0, [bytes.subarray(0, end)]);
    this.#written = this.#batches;
    return 'sound';
  }

  #replay(batch: Batch): void {
    batch.visit(
      (first, count) => void this.#logged.deleteRange(first, count),
      (block, crc) => this.#logged.set(block, crc),
    );
  }

  /** Forgets everything, here and now: what was there before does not count, whatever it says. Throws DiskError. */
  reset(): void {
    if (!this.#isLoaded) this.load(null, 0);
    for (const map of this.#maps) map.clear();
    this.#isSettled = false;
    this.#endMerge();
    this.#ranges = [];
    this.#generation++;
    this.#batches = 0;
    this.#durable = 0;
    this.#end = 0;
    const { file, part } = this.#encode([], []);
    file.truncate(0);
    file.write(part.offset, [part.bytes]);
    this.#written = 1;
    this.#voidOther = true;
  }

  get #maps(): readonly DigestMap[] {
    return [this.#fresh, this.#logged, this.#merging];
  }

  get #fileBytesMax(): number {
    return Math.max(this.#options.fileBytes, 2 * PAGE_BYTES);
  }

  /** What is known of a block; -1 when the table has to be asked. */
  get(block: number): number {
    const fresh = this.#fresh.get(block);
    if (fresh >= 0) return fresh;
    const logged = this.#logged.get(block);
    return logged >= 0 ? logged : this.#merging.get(block);
  }

  /** Whether there is anything that get() could tell. */
  get isEmpty(): boolean {
    return this.size === 0;
  }

  /** Notes what a block holds; false when there is no room for it, and the table has to. */
  set(block: number, crc: number): boolean {
    if (this.#options.entriesMax === 0) return false;
    if (ENTRY_BYTES * (this.size + 1) > FILE_SHARE * this.#options.fileBytes) return false;
    this.#fresh.set(block, crc);
    return true;
  }

  /** From now on the table says what these blocks hold. */
  drop(first: number, count: number): void {
    this.#fresh.deleteRange(first, count);
    let isInFile = false;
    for (const map of [this.#logged, this.#merging]) isInFile = map.deleteRange(first, count) || isInFile;
    // What is settled needs none: the other file begins before anything is written beside it.
    if (isInFile) this.#ranges.push({ first, count });
  }

  /** Whether a flush of the file has to come before write(): the other file still is what a start would need. */
  get mustFlush(): boolean {
    return this.hasNews && this.#isSwitching && this.#durable === 0;
  }

  /** Whether write() has something to write. */
  get hasNews(): boolean {
    return this.#fresh.size > 0 || this.#ranges.length > 0 || this.#isSettled;
  }

  /** Whether the other file is to begin: this one is full, or has much that the table has on stable storage. */
  get #isSwitching(): boolean {
    return this.#isSettled || this.#end + batchBytes(this.#ranges.length, this.#fresh.size) > this.#fileBytesMax;
  }

  /** What is to be written of all that was noted; null when nothing is. Not called again before written(). */
  write(): { readonly file: StoredFile; readonly part: FilePart } | null {
    if (!this.hasNews) return null;
    assert(!this.mustFlush, 'one of the two files of a log of digests is always on stable storage', { generation: this.#generation });
    const isSwitching = this.#isSwitching;
    if (isSwitching) this.#begin();
    const batch = isSwitching ? this.#encode([], this.#maps) : this.#encode(this.#ranges, [this.#fresh]);
    this.#ranges = [];
    this.#mergeDue += this.#fresh.size;
    this.#fresh.visit((block, crc) => this.#logged.set(block, crc));
    this.#fresh.clear();
    return batch;
  }

  /** The other file is the one that counts from now on, once what is written into it first is on stable storage. */
  #begin(): void {
    this.#current = this.#current === 0 ? 1 : 0;
    this.#generation++;
    this.#batches = 0;
    this.#written = 0;
    this.#durable = 0;
    this.#chain = 0;
    this.#end = 0;
    this.#voidOther = true;
    this.#isSettled = false;
  }

  #encode(ranges: readonly BlockRange[], maps: readonly DigestMap[]): { readonly file: StoredFile; readonly part: FilePart } {
    const [generation, sequence, start] = [this.#generation, this.#batches, this.#start];
    const head = { generation, sequence, start, chain: sequence === 0 ? 0 : this.#chain };
    const { bytes, crc } = encodeBatch(head, ranges, maps, this.#digests);
    const part = { offset: this.#end, bytes };
    this.#chain = crc;
    this.#batches++;
    this.#end += bytes.length;
    return { file: this.files[this.#current], part };
  }

  /** How far it is on stable storage, as far as is known here. */
  get place(): LogPlace {
    return this.#place;
  }

  /** What write() gave is in the file. */
  written(): void {
    this.#written = this.#batches;
  }

  /** Blocks that are to go into the table now, in order, at most so many; none when nothing is due. */
  due(countMax: number): Float64Array {
    this.#beginMerge();
    const left = this.#order.length - this.#merged;
    const count = Math.min(left, countMax, MERGED_FOR_EACH * this.#mergeDue);
    if (count <= 0) return NO_BLOCKS;
    this.#mergeDue -= Math.ceil(count / MERGED_FOR_EACH);
    const blocks = this.#order.subarray(this.#merged, this.#merged + count);
    this.#merged += count;
    return blocks;
  }

  #beginMerge(): void {
    if (this.#logged.size <= this.#options.entriesMax || this.#merging.size > 0 || this.#order.length > 0 || this.#isSettled) return;
    this.#merging = this.#logged;
    this.#logged = new DigestMap();
    this.#order = this.#merging.blocksByPage(PAGE_SHIFT);
    this.#merged = 0;
    this.#mergeNumber++;
    this.#mergeDue = 0;
  }

  #endMerge(): void {
    this.#order = NO_BLOCKS;
    this.#merged = 0;
    this.#mergeDue = 0;
    this.#mergeWritten = false;
  }

  /** What due() has given: what is to be in the table of a block; -1 when it says so itself by now. */
  mergingAt(block: number): number {
    return this.#merging.get(block);
  }

  /** What due() gave is in the table. */
  merged(): void {
    this.#mergeWritten = this.#order.length > 0 && this.#merged === this.#order.length;
  }

  /** To be taken when a flush begins, of the table and of both files. */
  mark(): LogMark {
    return { generation: this.#generation, batches: this.#written, merge: this.#mergeWritten ? this.#mergeNumber : 0 };
  }

  /** A flush that was begun then has ended well. */
  flushed(mark: LogMark): void {
    if (mark.generation === this.#generation && mark.batches > this.#durable) {
      this.#durable = mark.batches;
      this.#place = { generation: mark.generation, batches: mark.batches };
    }
    if (mark.merge !== this.#mergeNumber || !this.#mergeWritten) return;
    this.#isSettled = true;
    this.#merging = new DigestMap();
    this.#endMerge();
  }

  /** A file that says what does not count any more, once: it is to be made to say nothing, so that nobody ever goes back to it. Null when there is none. */
  takeVoid(): { readonly file: StoredFile; readonly part: FilePart } | null {
    if (!this.#voidOther || this.#durable === 0) return null;
    this.#voidOther = false;
    const file = this.files[this.#current === 0 ? 1 : 0];
    return file.size() === 0 ? null : { file, part: { offset: 0, bytes: new Uint8Array(PAGE_BYTES) } };
  }
}
