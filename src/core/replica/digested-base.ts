// A base image that keeps the digests of its blocks as it is written, and can say which blocks no longer agree with them. It stands in front of
// the file, so that whatever brings content into a base image (destaging, copies, resyncs) cannot forget the digests; and its flush covers both.

import { assert } from '../base/assert.ts';
import {
  type BlockDigests,
  type DigestHow,
  type Digests,
  type DigestsDone,
  type DiskDone,
  type DiskFailure,
  type Extent,
  type FilePart,
  type Storage,
  type StoredFile,
} from '../base/ports.ts';
import { viewOf } from '../base/bytes.ts';
import { BLOCK_BYTES, type VolumeIndex } from '../base/units.ts';
import { DigestLog, type DigestLogOptions, type LogPlace } from './digest-log.ts';
import { DigestTable } from './digest-table.ts';
import type { VolumeOptions } from './options.ts';

/** What is wrong with a block of a base image. `rot`: it does not have its digest. `digest`: its digest cannot be believed. */
export type BaseFault = { readonly block: number; readonly kind: 'rot' | 'digest' };

/** What a look at a range of a base image came to. */
export type BaseCheck =
  | {
      readonly kind: 'checked';
      readonly faults: readonly BaseFault[];
      /** Blocks of which no digest is known, or none that can be believed: what they hold may be right or wrong. */
      readonly unknown: readonly number[];
    }
  /** It was written to meanwhile: to be looked at again. */
  | { readonly kind: 'written' }
  /** The disk could not read it. */
  | { readonly kind: 'unreadable'; readonly failure: DiskFailure };

/** Somebody looks at a range and must know whether it is written to meanwhile. */
export interface RangeWatch {
  readonly offset: number;
  readonly end: number;
  written: boolean;
}

/** So many blocks that follow one another are worth a page of the table. */
const APART_BLOCKS_MAX = 16;

/** Name of the file of a volume's digests. */
function digestFileOf(volume: { readonly name: string }): string {
  return `digests-${volume.name}`;
}

/** Name of one of the two files of their log. */
function digestLogOf(volume: { readonly name: string }, index: 0 | 1): string {
  return `digest-log-${index}-${volume.name}`;
}

/** A base image with the digests of its blocks. */
export class DigestedBase implements StoredFile {
  readonly name: string;
  readonly table: DigestTable;
  readonly #file: StoredFile;
  readonly #digests: Digests;
  readonly #watches = new Set<RangeWatch>();
  readonly #underWay = new Set<readonly FilePart[]>();
  #users = 0;

  constructor(file: StoredFile, table: DigestTable, digests: Digests) {
    this.name = file.name;
    this.table = table;
    this.#file = file;
    this.#digests = digests;
  }

  /** The image itself, for a flush. */
  get file(): StoredFile {
    return this.#file;
  }

  size(): number {
    return this.#file.size();
  }

  write(offset: number, parts: readonly Uint8Array[]): void {
    let at = offset;
    for (const bytes of parts) {
      this.#note({ offset: at, bytes });
      at += bytes.length;
    }
    this.#file.write(offset, parts);
  }

  read(offset: number, into: Uint8Array): number {
    return this.#file.read(offset, into);
  }

  readCached(offset: number, into: Uint8Array): boolean {
    return this.#file.readCached(offset, into);
  }

  truncate(size: number): void {
    this.#file.truncate(size);
    this.table.resize(Math.ceil(size / BLOCK_BYTES));
  }

  reserve(size: number): boolean {
    return this.#file.reserve(size);
  }

  punch(offset: number, length: number): void {
    assert(offset % BLOCK_BYTES === 0 && length % BLOCK_BYTES === 0, 'a base image is written by whole blocks', { offset, length });
    this.#touch(offset, offset + length);
    this.table.clear(offset / BLOCK_BYTES, length / BLOCK_BYTES);
    this.#file.punch(offset, length);
  }

  extents(offset: number, length: number, extentsMax: number): readonly Extent[] {
    return this.#file.extents(offset, length, extentsMax);
  }

  readParts(parts: readonly FilePart[], done: DiskDone): void {
    this.#file.readParts(parts, done);
  }

  digestBlocks(range: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): void {
    this.#file.digestBlocks(range, how, done);
  }

  /** Its digests are not known any more: they are learnt again by comparing. */
  cloneFrom(source: StoredFile, done: DiskDone): void {
    const size = this.#file.size();
    this.#touch(0, size);
    this.table.clear(0, size / BLOCK_BYTES);
    this.#file.cloneFrom(source, done);
  }

  writeParts(parts: readonly FilePart[], done: DiskDone): void {
    for (const part of parts) this.#note(part);
    this.#underWay.add(parts);
    // Entries that have become many are written before the flush that needs them, and nothing goes on until they are.
    let left = this.table.crowded ? 2 : 1;
    let failure: DiskFailure | null = null;
    const ended = (failed: DiskFailure | null): void => {
      failure ??= failed;
      if (--left === 0) done(failure);
    };
    const spills = left > 1;
    this.#file.writeParts(parts, (failed) => {
      this.#underWay.delete(parts);
      ended(failed);
    });
    if (spills) this.table.writeBack(ended);
  }

  /** Another user; each closes once. */
  opened(): void {
    this.#users++;
  }

  get isClosed(): boolean {
    return this.#users === 0;
  }

  close(): void {
    this.#file.close();
    this.#users--;
    if (this.#users === 0) this.table.close();
  }

  /** Tells from now on whether a range is written to; also when a write to it is under way already. */
  watch(offset: number, length: number): RangeWatch {
    const watch = { offset, end: offset + length, written: false };
    for (const parts of this.#underWay) {
      for (const part of parts) if (part.offset < watch.end && part.offset + part.bytes.length > offset) watch.written = true;
    }
    this.#watches.add(watch);
    return watch;
  }

  unwatch(watch: RangeWatch): void {
    this.#watches.delete(watch);
  }

  /** Compares the blocks of a range with their digests. `done` comes later. Nothing is changed. */
  check(offset: number, length: number, blockDigests: BlockDigests, done: (check: BaseCheck) => void): void {
    const firstBlock = offset / BLOCK_BYTES;
    const blockCount = length / BLOCK_BYTES;
    assert(Number.isInteger(firstBlock) && Number.isInteger(blockCount), 'a base image is looked at by whole blocks', { offset, length });
    const watch = this.watch(offset, length);
    const snapshot = this.table.snapshot(firstBlock, blockCount);
    const bytes = blockDigests.take(length);
    let failure: DiskFailure | null = null;
    let left = 2;
    const read = (failed: DiskFailure | null): void => {
      failure ??= failed;
      if (--left > 0) return;
      if (failure !== null || watch.written) {
        this.unwatch(watch);
        return done(watch.written || failure === null ? { kind: 'written' } : { kind: 'unreadable', failure });
      }
      blockDigests.digest('crc32', bytes, BLOCK_BYTES, (digests) => {
        this.unwatch(watch);
        if (watch.written) return done({ kind: 'written' });
        const view = viewOf(digests);
        const faults: BaseFault[] = [];
        const unknown: number[] = [];
        for (let i = 0; i < blockCount; i++) {
          const block = firstBlock + i;
          const crc = view.getUint32(4 * i, true);
          const known = snapshot.at(block);
          if (known.kind === 'known' && known.crc !== crc) faults.push({ block, kind: 'rot' });
          if (known.kind === 'damaged') faults.push({ block, kind: 'digest' });
          if (known.kind !== 'known') unknown.push(block);
        }
        done({ kind: 'checked', faults, unknown });
      });
    };
    this.#file.readParts([{ offset, bytes }], read);
    this.table.file.readParts([snapshot.part], read);
  }

  /**
   * Reads whole blocks that nobody writes meanwhile. `done` comes later, with a failure, or with where the first block begins that has not its digest;
   * null where all have, or where none is known.
   */
  readChecked(offset: number, into: Uint8Array, done: (failure: DiskFailure | null, changed: number | null) => void): void {
    const [first, count] = [offset / BLOCK_BYTES, into.length / BLOCK_BYTES];
    const snapshot = this.table.snapshot(first, count);
    let failure: DiskFailure | null = null;
    let left = 2;
    const read = (failed: DiskFailure | null): void => {
      failure ??= failed;
      if (--left > 0) return;
      if (failure !== null) return done(failure, null);
      for (let i = 0; i < count; i++) {
        const known = snapshot.at(first + i);
        const block = into.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
        if (known.kind === 'damaged' || (known.kind === 'known' && known.crc !== this.digestOf(block)))
          return done(null, offset + i * BLOCK_BYTES);
      }
      done(null, null);
    };
    this.#file.readParts([{ offset, bytes: into }], read);
    this.table.file.readParts([snapshot.part], read);
  }

  /** Blocks of a range of which no digest is known, or none that can be believed; none when that cannot be read. `done` comes later, or before this returns. */
  unknownBlocks(offset: number, length: number, done: (blocks: readonly number[]) => void): void {
    const [first, count] = [offset / BLOCK_BYTES, length / BLOCK_BYTES];
    const snapshot = this.table.snapshot(first, count);
    const look = (failure: DiskFailure | null): void => {
      const unknown: number[] = [];
      for (let block = first; failure === null && block < first + count; block++)
        if (snapshot.at(block).kind !== 'known') unknown.push(block);
      done(unknown);
    };
    if (this.table.file.readCached(snapshot.part.offset, snapshot.part.bytes)) look(null);
    else this.table.file.readParts([snapshot.part], look);
  }

  digestOf(block: Uint8Array): number {
    return this.#digests.crc32(block, 0);
  }

  /** The content of a block is known to be right, and has this digest. It counts for good with the next flush. */
  learn(block: number, crc: number): void {
    this.table.set(block, crc);
    // A failure is told by the flush that needs them.
    if (this.table.crowded && this.table.isIdle) this.table.writeBack(() => undefined);
  }

  #note(part: FilePart): void {
    const { offset, bytes, blockCrcs } = part;
    assert(offset % BLOCK_BYTES === 0 && bytes.length % BLOCK_BYTES === 0, 'a base image is written by whole blocks', { offset });
    this.#touch(offset, offset + bytes.length);
    const firstBlock = offset / BLOCK_BYTES;
    const crcs = new Uint32Array(bytes.length / BLOCK_BYTES);
    for (let i = 0; i < crcs.length; i++) {
      const known = blockCrcs?.[i] ?? 0;
      crcs[i] = known !== 0 ? known : this.#digests.crc32(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES), 0);
    }
    if (crcs.length < APART_BLOCKS_MAX) for (let i = 0; i < crcs.length; i++) this.table.setApart(firstBlock + i, crcs[i] as number);
    else this.table.setRun(firstBlock, crcs);
  }

  #touch(offset: number, end: number): void {
    for (const watch of this.#watches) if (offset < watch.end && end > watch.offset) watch.written = true;
  }
}

/** Calls `done`, at once or later, when none of the digests of base images are being written. */
export function whenAllWritten(bases: readonly StoredFile[], done: () => void): void {
  const busy = bases.find((base) => base instanceof DigestedBase && !base.table.isIdle);
  if (busy instanceof DigestedBase) busy.table.whenIdle(() => whenAllWritten(bases, done));
  else done();
}

/** How far the logs of digests of base images are on stable storage, as a superblock notes it. */
export function logPlaces(bases: readonly StoredFile[]): readonly number[] {
  return bases.flatMap((base) => {
    const { generation, batches } = base instanceof DigestedBase ? base.table.logPlace : { generation: 0, batches: 0 };
    return [generation, batches];
  });
}

/** What a superblock has noted of a volume's log; null when there was none. */
export function notedPlace(noted: readonly number[] | undefined, volume: VolumeIndex): LogPlace | null {
  const [generation, batches] = [noted?.[2 * volume], noted?.[2 * volume + 1]];
  return generation === undefined || batches === undefined ? null : { generation, batches };
}

/** A storage whose base images keep digests. */
export class DigestedStorage implements Storage {
  readonly #storage: Storage;
  readonly #digests: Digests;
  readonly #volumes: ReadonlyMap<string, VolumeOptions>;
  readonly #log: DigestLogOptions | undefined;
  readonly #open = new Map<string, DigestedBase>();

  constructor(
    storage: Storage,
    volumes: readonly VolumeOptions[],
    { digests, log }: { digests: Digests; log?: DigestLogOptions | undefined },
  ) {
    this.#storage = storage;
    this.#digests = digests;
    this.#log = log;
    this.#volumes = new Map(volumes.map((volume) => [volume.baseFile, volume]));
  }

  list(): readonly string[] {
    return this.#storage.list();
  }

  open(name: string, options: { create: boolean }): StoredFile {
    const volume = this.#volumes.get(name);
    if (volume === undefined) return this.#storage.open(name, options);
    const file = this.#storage.open(name, options);
    let base = this.#open.get(name);
    if (base === undefined || base.isClosed) {
      const [table, first, second] = [digestFileOf(volume), digestLogOf(volume, 0), digestLogOf(volume, 1)].map((each) =>
        this.#storage.open(each, { create: true }),
      ) as [StoredFile, StoredFile, StoredFile];
      const log = new DigestLog([first, second], this.#digests, this.#log);
      const beside = { log, flush: (files: readonly StoredFile[], done: DiskDone) => this.#storage.flush(files, done) };
      base = new DigestedBase(file, new DigestTable(table, volume.sizeBytes / BLOCK_BYTES, beside), this.#digests);
      this.#open.set(name, base);
    }
    base.opened();
    return base;
  }

  remove(name: string): void {
    this.#storage.remove(name);
  }

  rename(file: StoredFile, name: string): void {
    assert(!(file instanceof DigestedBase), 'a base image keeps its name', { file: file.name });
    this.#storage.rename(file, name);
  }

  freeBytes(): number | null {
    return this.#storage.freeBytes();
  }

  flush(files: readonly StoredFile[], done: DiskDone): void {
    const bases = files.filter((file) => file instanceof DigestedBase);
    let left = 1;
    let failure: DiskFailure | null = null;
    const written = (failed: DiskFailure | null): void => {
      failure ??= failed;
      if (--left > 0) return;
      const unwritten = failure;
      const marks = bases.map(({ table }) => table.mark());
      const all = files.flatMap((file) => (file instanceof DigestedBase ? [file.file, ...file.table.unflushed] : [file]));
      this.#storage.flush(unwritten === null ? all : [], (unflushed) => {
        const end = unwritten ?? unflushed;
        if (end === null) for (const [index, { table }] of bases.entries()) table.flushed(marks[index] as ReturnType<DigestTable['mark']>);
        done(end);
      });
    };
    for (const base of bases) {
      left++;
      base.table.writeBack(written);
    }
    written(null);
  }
}
