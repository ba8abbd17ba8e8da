// A disk whose background work takes its time: reads and writes in parts are half done when they begin and done when a test says so, in any
// order, and reads may be cold. What was not ordered by its user shows as torn content. Stands on MemoryStorage, which can lose power.

import {
  type DigestHow,
  type DigestsDone,
  type DiskDone,
  DiskError,
  type DiskFailure,
  type Extent,
  type FilePart,
  type Storage,
  type StoredFile,
} from '../../src/core/base/ports.ts';
import { BLOCK_BYTES } from '../../src/core/base/units.ts';
import { digestBlocks } from '../../src/sim/digests.ts';
import type { MemoryFile, MemoryStorage } from './memory-storage.ts';

/** See the top of the file. */
export class StepStorage implements Storage {
  readonly disk: MemoryStorage;
  /** Whether a read must wait for the disk. */
  cold: (name: string, offset: number) => boolean = () => false;
  #events: (() => void)[] = [];

  constructor(disk: MemoryStorage) {
    this.disk = disk;
  }

  /** Events that have not happened yet. */
  get waiting(): number {
    return this.#events.length;
  }

  /** Lets one waiting event happen: the one at this share (0 to 1) of the queue. False when there is none. */
  step(share = 0): boolean {
    const [event] = this.#events.splice(Math.floor(share * this.#events.length), 1);
    event?.();
    return event !== undefined;
  }

  /** Lets all events happen, and those that they bring. */
  settle(): void {
    while (this.step()) continue;
  }

  /** Nothing that is waiting will ever happen: the process has ended. */
  forget(): void {
    this.#events = [];
  }

  list(): readonly string[] {
    return this.disk.list();
  }

  open(name: string, options: { create: boolean }): StoredFile {
    return new StepFile(this, this.disk.open(name, options));
  }

  remove(name: string): void {
    this.disk.remove(name);
  }

  rename(file: StoredFile, name: string): void {
    this.disk.rename((file as StepFile).inner, name);
  }

  flush(files: readonly StoredFile[], done: DiskDone): void {
    let result: Parameters<DiskDone>[0] = null;
    this.disk.flush(
      files.map((file) => (file as StepFile).inner),
      (failure) => {
        result = failure;
      },
    );
    this.later(() => {
      this.disk.settle();
      done(result);
    });
  }

  freeBytes(): number | null {
    return this.disk.freeBytes();
  }

  /** Ranges that were punched. */
  readonly punched: { readonly file: string; readonly offset: number; readonly length: number }[] = [];

  later(event: () => void): void {
    this.#events.push(event);
  }
}

class StepFile implements StoredFile {
  readonly inner: StoredFile;
  readonly #storage: StepStorage;
  #busy = 0;

  constructor(storage: StepStorage, inner: StoredFile) {
    this.#storage = storage;
    this.inner = inner;
  }

  get name(): string {
    return this.inner.name;
  }

  size(): number {
    return this.inner.size();
  }

  write(offset: number, parts: readonly Uint8Array[]): void {
    this.inner.write(offset, parts);
  }

  read(offset: number, into: Uint8Array): number {
    return this.inner.read(offset, into);
  }

  readCached(offset: number, into: Uint8Array): boolean {
    if (!this.#storage.cold(this.name, offset)) return this.inner.readCached(offset, into);
    into.fill(0xee);
    return false;
  }

  truncate(size: number): void {
    this.inner.truncate(size);
  }

  reserve(size: number): boolean {
    return this.inner.reserve(size);
  }

  punch(offset: number, length: number): void {
    this.#storage.punched.push({ file: this.name, offset, length });
    this.inner.punch(offset, length);
  }

  /** A block that reads as zeroes is a hole, but for every fifth: file systems fill those in now and then. */
  extents(offset: number, length: number, extentsMax: number): readonly Extent[] {
    const bytes = new Uint8Array(BLOCK_BYTES);
    const found: { offset: number; length: number; hole: boolean }[] = [];
    for (let at = offset; at < offset + length;) {
      const block = Math.floor(at / BLOCK_BYTES);
      const end = Math.min((block + 1) * BLOCK_BYTES, offset + length);
      this.inner.read(at, bytes.subarray(0, end - at));
      const hole = block % 5 !== 4 && isZero(bytes.subarray(0, end - at));
      const last = found.at(-1);
      if (last?.hole === hole) last.length += end - at;
      else if (found.length === extentsMax) break;
      else found.push({ offset: at, length: end - at, hole });
      at = end;
    }
    return found;
  }

  readParts(parts: readonly FilePart[], done: DiskDone): void {
    this.#halves(parts, done, (offset, bytes) => {
      this.inner.read(offset, bytes);
    });
  }

  digestBlocks({ offset, length }: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): void {
    const bytes = new Uint8Array(length);
    this.readParts([{ offset, bytes }], (failure) => done(failure ?? digestBlocks(how.algorithm, bytes, how.blockBytes)));
  }

  cloneFrom(source: StoredFile, done: DiskDone): void {
    this.#busy++;
    this.#storage.later(() => {
      this.#busy--;
      done((this.inner as MemoryFile).clone((source as StepFile).inner));
    });
  }

  writeParts(parts: readonly FilePart[], done: DiskDone): void {
    this.#halves(parts, done, (offset, bytes) => this.inner.write(offset, [bytes]));
  }

  close(): void {
    if (this.#busy > 0) throw new Error(`${this.name} is closed while it is read or written in the background`);
    this.inner.close();
  }

  /** Half of each part now, the other half when the event comes. */
  #halves(parts: readonly FilePart[], done: DiskDone, act: (offset: number, bytes: Uint8Array) => void): void {
    let failure: DiskFailure | null = null;
    const half = (from: (bytes: Uint8Array) => number, to: (bytes: Uint8Array) => number): void => {
      try {
        for (const { offset, bytes } of parts) if (failure === null) act(offset + from(bytes), bytes.subarray(from(bytes), to(bytes)));
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        failure = error.failure;
      }
    };
    const middle = (bytes: Uint8Array): number => Math.floor(bytes.length / 2);
    half(() => 0, middle);
    this.#busy++;
    this.#storage.later(() => {
      half(middle, (bytes) => bytes.length);
      this.#busy--;
      done(failure);
    });
  }
}

const zeroes = new Uint8Array(64 * 1024);

/** Whether bytes are all zero. */
export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeroes.length) {
    const part = bytes.subarray(at, at + zeroes.length);
    if (Buffer.compare(part, zeroes.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}
