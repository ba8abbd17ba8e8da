// A sidefile that is kept in memory alone: a storage that holds the files of segments itself and passes everything else on, what a start has to say
// after a run of that kind, and the way out of it. What was not destaged goes with the process, so that `durable` is what is destaged, and bases that
// a pass was writing are of no moment in time afterwards (docs/decisions/0011).

import { assert } from '../base/assert.ts';
import {
  type DigestHow,
  type DigestsDone,
  type DiskDone,
  DiskError,
  type Extent,
  type FilePart,
  type Journal,
  type Storage,
  type StoredFile,
} from '../base/ports.ts';
import type { Background } from './background.ts';
import type { ReplicaDone, ReplicaFailure, ReplicaOptions, ReplicaParts } from './options.ts';
import { segmentNumberOf } from './segment.ts';
import { discardSidefile, type Sidefile } from './sidefile.ts';
import { SPARE_PREFIX } from './spares.ts';
import { failureOf } from './staging.ts';
import type { SuperblockValue } from './superblock.ts';

const FIRST_BYTES = 64 * 1024;
/** Written at once when memory goes to the disk. */
const STEP_BYTES = 1024 * 1024;
/** More segments than one run begins: their numbers go on from here with each start, so that no file of an earlier one has the number of a later one. */
const SEGMENTS_OF_A_RUN = 1_000_000;
/** What the digits of a name have room for. */
const RUNS_TOLD_APART = 900_000;

/** Whether a file is one of the sidefile: a segment, or one that is to become one. */
function isSidefileName(name: string): boolean {
  return segmentNumberOf(name) !== null || name.startsWith(SPARE_PREFIX);
}

/** A file of the sidefile: in memory, until it is written out and is nothing but the file on the disk. */
class MemoryFile implements StoredFile {
  name: string;
  #storage: Storage;
  #bytes = new Uint8Array(0);
  #size = 0;
  #real: StoredFile | null = null;

  constructor(storage: Storage, name: string) {
    this.#storage = storage;
    this.name = name;
  }

  /** The file on the disk; null while there is none. */
  get real(): StoredFile | null {
    return this.#real;
  }

  /** Brings what is here into a file on the disk, which it is from then on. Throws DiskError. */
  moveTo(real: StoredFile): void {
    if (real.size() > 0) real.truncate(0);
    for (let at = 0; at < this.#size; at += STEP_BYTES) real.write(at, [this.#bytes.subarray(at, Math.min(at + STEP_BYTES, this.#size))]);
    this.#real = real;
    this.#bytes = new Uint8Array(0);
  }

  size(): number {
    return this.#real?.size() ?? this.#size;
  }

  write(offset: number, parts: readonly Uint8Array[]): void {
    if (this.#real !== null) return this.#real.write(offset, parts);
    let at = offset;
    this.#grow(parts.reduce((sum, part) => sum + part.length, offset));
    for (const part of parts) {
      this.#bytes.set(part, at);
      at += part.length;
    }
  }

  read(offset: number, into: Uint8Array): number {
    if (this.#real !== null) return this.#real.read(offset, into);
    const there = this.#bytes.subarray(Math.min(offset, this.#size), Math.min(offset + into.length, this.#size));
    into.set(there);
    into.fill(0, there.length);
    return there.length;
  }

  readCached(offset: number, into: Uint8Array): boolean {
    if (this.#real !== null) return this.#real.readCached(offset, into);
    this.read(offset, into);
    return true;
  }

  truncate(size: number): void {
    if (this.#real !== null) return this.#real.truncate(size);
    if (size < this.#size) this.#bytes.fill(0, size, this.#size);
    this.#grow(size);
    this.#size = size;
  }

  reserve(size: number): boolean {
    if (this.#real !== null) return this.#real.reserve(size);
    this.truncate(size);
    return true;
  }

  punch(offset: number, length: number): void {
    if (this.#real !== null) return this.#real.punch(offset, length);
    this.#bytes.fill(0, offset, Math.min(offset + length, this.#size));
  }

  extents(offset: number, length: number, extentsMax: number): readonly Extent[] {
    return this.#real?.extents(offset, length, extentsMax) ?? [{ offset, length, hole: false }];
  }

  readParts(parts: readonly FilePart[], done: DiskDone): void {
    if (this.#real !== null) return this.#real.readParts(parts, done);
    for (const { offset, bytes } of parts) this.read(offset, bytes);
    this.#storage.flush([], done);
  }

  writeParts(parts: readonly FilePart[], done: DiskDone): void {
    if (this.#real !== null) return this.#real.writeParts(parts, done);
    for (const { offset, bytes } of parts) this.write(offset, [bytes]);
    this.#storage.flush([], done);
  }

  digestBlocks(range: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): void {
    assert(this.#real !== null, 'a segment in memory is not compared', { file: this.name });
    this.#real.digestBlocks(range, how, done);
  }

  cloneFrom(source: StoredFile): void {
    assert(false, 'a segment is nobody’s clone', { file: this.name, source: source.name });
  }

  close(): void {
    this.#real?.close();
  }

  #grow(size: number): void {
    if (size > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(FIRST_BYTES, size, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, this.#size));
      this.#bytes = larger;
    }
    this.#size = Math.max(this.#size, size);
  }
}

/** The files of a replica, those of the sidefile in memory from enter() to writeOut(). */
export class SidefileStorage implements Storage {
  readonly #disk: Storage;
  readonly #files = new Map<string, MemoryFile>();
  #inMemory = false;

  constructor(disk: Storage) {
    this.#disk = disk;
  }

  get inMemory(): boolean {
    return this.#inMemory;
  }

  /** From here on the files of the sidefile are in memory. There is none on the disk. */
  enter(): void {
    this.#inMemory = true;
  }

  /** Writes everything to the disk, where it is from here on; returns the files that are to be flushed. Throws DiskError. */
  writeOut(): readonly StoredFile[] {
    const files = [...this.#files.values()];
    for (const file of files) file.moveTo(this.#disk.open(file.name, { create: true }));
    this.#files.clear();
    this.#inMemory = false;
    return files;
  }

  list(): readonly string[] {
    const names = this.#disk.list();
    return this.#inMemory ? [...names.filter((name) => !isSidefileName(name)), ...this.#files.keys()].sort() : names;
  }

  open(name: string, options: { create: boolean }): StoredFile {
    if (!this.#inMemory || !isSidefileName(name)) return this.#disk.open(name, options);
    const known = this.#files.get(name);
    if (known !== undefined) return known;
    if (!options.create) throw new DiskError({ operation: 'open', file: name, code: 'ENOENT' });
    const file = new MemoryFile(this.#disk, name);
    this.#files.set(name, file);
    return file;
  }

  remove(name: string): void {
    if (!this.#files.delete(name)) this.#disk.remove(name);
  }

  freeBytes(): number | null {
    return this.#disk.freeBytes();
  }

  rename(file: StoredFile, name: string): void {
    if (!(file instanceof MemoryFile)) return this.#disk.rename(file, name);
    if (file.real === null) {
      this.#files.delete(file.name);
      this.#files.set(name, file);
    } else this.#disk.rename(file.real, name);
    file.name = name;
  }

  flush(files: readonly StoredFile[], done: DiskDone): void {
    const onDisk = files.flatMap((file) => {
      if (!(file instanceof MemoryFile)) return [file];
      return file.real === null ? [] : [file.real];
    });
    this.#disk.flush(onDisk, done);
  }
}

/** Whether a replica may keep its sidefile in memory: an async mirror whose bases hold everything that there is. */
export function mayBeInMemory(options: ReplicaOptions, value: SuperblockValue, received: number): boolean {
  const mode = value.members?.find(({ site }) => site === options.site)?.mode ?? 'async';
  const { staging, destaged, destageTarget } = value;
  const isWhole = received === destaged && destageTarget === destaged;
  return options.sidefileInMemory === true && mode === 'async' && isWhole && (staging === null || value.sidefile === 'memory');
}

/**
 * Whether the bitmaps of the last stop count. One of a sidefile that was in memory, or is from now on, may lack blocks of records that were here then and
 * are not any more.
 */
export function loadsBitmaps({ superblock, files }: ReplicaParts): boolean {
  const { cleanShutdown, sidefile } = superblock.value;
  return cleanShutdown && sidefile === undefined && files?.inMemory !== true;
}

/** A sidefile in memory has no space set aside for it on the disk. */
export function withoutDisk(options: ReplicaOptions): ReplicaOptions {
  return { ...options, setAside: options.setAside === undefined ? undefined : { ...options.setAside, leastBytes: 0 } };
}

/**
 * Removes what is on the disk of a sidefile of which nothing counts, before it begins anew in memory, or behind a run in memory. Returns the number of its
 * first segment: none that is there, or was, has it. Throws DiskError.
 */
export function discardAll(storage: Storage, value: SuperblockValue): number {
  for (const name of storage.list()) if (name.startsWith(SPARE_PREFIX)) storage.remove(name);
  return Math.max(discardSidefile(storage), ((value.startCount + 1) % RUNS_TOLD_APART) * SEGMENTS_OF_A_RUN);
}

/**
 * What a start has to say after a run that ended with records in memory. What that had received and not destaged is gone: where it was being destaged,
 * or had come with a resync, the bases are of no moment in time. A resync that is staged goes on behind its begin: its records come again.
 */
export function afterMemory(value: SuperblockValue): Partial<SuperblockValue> {
  const { consistent, destaged, destageTarget } = value;
  if (!isLost(value) || !consistent || destageTarget === destaged) return {};
  return { consistent: false, copying: { fromSeq: destaged }, destageTarget: destaged };
}

/** Whether the last run has ended with records in memory, or may have. */
export function isLost(value: SuperblockValue): boolean {
  return value.sidefile === 'memory' && !value.cleanShutdown;
}

/** What the way out of memory needs of its replica. */
export interface MemoryGround {
  readonly storage: Storage;
  readonly sidefile: Pick<Sidefile, 'durable'>;
  readonly background: Background;
  readonly group: string;
  readonly journal: Journal;
  readonly failure: () => ReplicaFailure | null;
  readonly later: (done: ReplicaDone) => void;
  readonly note: (error: unknown) => void;
  readonly update: (patch: Partial<SuperblockValue>, done: DiskDone) => void;
  /** The superblock says durably that the sidefile is on the disk. */
  readonly left: () => void;
}

/** Where the sidefile of a replica is. */
export class Whereabouts {
  readonly #files: SidefileStorage | null;
  #inMemory: boolean;
  #leaving: ReplicaDone[] | null = null;
  /** All of it is on stable storage, and the superblock is about to say so. */
  #isWritten = false;

  /** `files`: null where it is on the disk for good. */
  constructor(files: SidefileStorage | null) {
    this.#files = files;
    this.#inMemory = files?.inMemory ?? false;
  }

  /** Whether a crash leaves what is destaged and nothing else. */
  get inMemory(): boolean {
    return this.#inMemory;
  }

  /** The superblock is about to say that the sidefile is on the disk, and whatever it says meanwhile is of that one. */
  get isWritten(): boolean {
    return this.#isWritten;
  }

  /** It is on its way out: a flush uses its files. */
  get leaving(): boolean {
    return this.#leaving !== null;
  }

  /** Whether it is in memory, or could be after the next start: then everything is destaged before an orderly stop. */
  get drains(): boolean {
    return this.#files !== null;
  }

  /**
   * Writes the sidefile to the disk, where it stays as long as this process lives. First the files, then the superblock: until that says so durably, a
   * start takes nothing of them.
   */
  leave(ground: MemoryGround, done: ReplicaDone): void {
    const files = this.#files;
    if (!this.#inMemory || files === null || ground.failure() !== null) return ground.later(done);
    if (this.#leaving !== null) {
      this.#leaving.push(done);
      return;
    }
    this.#leaving = [done];
    let written: readonly StoredFile[] = [];
    const failure = failureOf(() => {
      written = files.writeOut();
    });
    if (failure !== null) ground.note(new DiskError(failure));
    if (failure !== null) return ground.later(() => this.#left(ground));
    const ended = ground.background.begin((unflushed) => {
      if (unflushed !== null) return this.#left(ground);
      this.#isWritten = true;
      ground.update({ sidefile: undefined, durable: ground.sidefile.durable }, (unwritten) => {
        this.#isWritten = false;
        if (unwritten === null) {
          this.#inMemory = false;
          ground.left();
          const { group, journal } = ground;
          journal('sidefile.on-disk', { group }, 'the sidefile was in memory, and is on the disk from now on');
        }
        this.#left(ground);
      });
    });
    ground.storage.flush(written, ended);
  }

  #left(ground: MemoryGround): void {
    const waiting = this.#leaving ?? [];
    this.#leaving = null;
    for (const done of waiting) done(ground.failure());
  }
}
