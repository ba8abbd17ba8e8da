// A storage that shows what a start would do to a replica's files without doing it: writes stay in memory and are read back from there. So a look
// from outside uses the very code that opens a replica, and can say nothing else than what that would do.

import { assert } from '../core/base/assert.ts';
import type { DigestHow, DigestsDone, DiskDone, Extent, FilePart, Storage, StoredFile } from '../core/base/ports.ts';
import { DiskError } from '../core/base/ports.ts';
import { digestBlocks } from '../host/block-digests.ts';

/** What would be written to one file is kept up to here. */
const PATCH_BYTES_MAX = 256 * 1024 * 1024;

/** The files of a folder, with changes that only this object knows. */
export class DryStorage implements Storage {
  readonly #under: Storage;
  readonly #files = new Map<string, DryFile>();
  readonly #removed = new Set<string>();

  constructor(under: Storage) {
    this.#under = under;
  }

  list(): readonly string[] {
    const names = new Set(this.#under.list());
    for (const name of this.#files.keys()) names.add(name);
    for (const name of this.#removed) names.delete(name);
    return [...names].sort();
  }

  open(name: string, { create }: { create: boolean }): StoredFile {
    const known = this.#files.get(name);
    if (known !== undefined && !this.#removed.has(name)) return known;
    const gone = this.#removed.has(name) || !exists(this.#under, name);
    if (gone && !create) throw new DiskError({ operation: 'open', file: name, code: 'ENOENT' });
    const file = new DryFile(name, gone ? null : this.#under.open(name, { create: false }));
    this.#removed.delete(name);
    this.#files.set(name, file);
    return file;
  }

  rename(file: StoredFile, name: string): void {
    this.#files.set(name, file as DryFile);
    this.remove(file.name);
    this.#removed.delete(name);
    (file as DryFile).name = name;
  }

  remove(name: string): void {
    this.#files.delete(name);
    this.#removed.add(name);
  }

  freeBytes(): number | null {
    return this.#under.freeBytes();
  }

  flush(_files: readonly StoredFile[], done: DiskDone): void {
    setImmediate(() => done(null));
  }
}

/** Base images may lie elsewhere: those are not listed. */
function exists(storage: Storage, name: string): boolean {
  if (storage.list().includes(name)) return true;
  try {
    storage.open(name, { create: false }).close();
    return true;
  } catch (error) {
    if (error instanceof DiskError && error.failure.code === 'ENOENT') return false;
    throw error;
  }
}

class DryFile implements StoredFile {
  name: string;
  readonly #under: StoredFile | null;
  readonly #patches: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  /** Bytes of the file below that still count. */
  #kept: number;
  #size: number;
  #patchBytes = 0;

  constructor(name: string, under: StoredFile | null) {
    this.name = name;
    this.#under = under;
    this.#size = under?.size() ?? 0;
    this.#kept = this.#size;
  }

  size(): number {
    return this.#size;
  }

  write(offset: number, parts: readonly Uint8Array[]): void {
    let at = offset;
    for (const part of parts) {
      this.#patch(at, part.slice());
      at += part.length;
    }
  }

  read(offset: number, into: Uint8Array): number {
    into.fill(0);
    const below = Math.max(0, Math.min(into.length, this.#kept - offset));
    if (below > 0) this.#under?.read(offset, into.subarray(0, below));
    for (const { offset: at, bytes } of this.#patches) {
      const start = Math.max(at, offset);
      const end = Math.min(at + bytes.length, offset + into.length);
      if (start < end) into.set(bytes.subarray(start - at, end - at), start - offset);
    }
    return Math.max(0, Math.min(into.length, this.#size - offset));
  }

  readCached(offset: number, into: Uint8Array): boolean {
    this.read(offset, into);
    return true;
  }

  truncate(size: number): void {
    this.#kept = Math.min(this.#kept, size);
    for (const [index, { offset, bytes }] of this.#patches.entries()) {
      if (offset + bytes.length > size) this.#patches[index] = { offset, bytes: bytes.subarray(0, Math.max(0, size - offset)) };
    }
    this.#size = size;
  }

  reserve(size: number): boolean {
    this.truncate(size);
    return false;
  }

  punch(offset: number, length: number): void {
    this.#patch(offset, new Uint8Array(length));
  }

  extents(offset: number, length: number, extentsMax: number): readonly Extent[] {
    return this.#under !== null && this.#patches.length === 0
      ? this.#under.extents(offset, length, extentsMax)
      : [{ offset, length, hole: false }];
  }

  readParts(parts: readonly FilePart[], done: DiskDone): void {
    for (const { offset, bytes } of parts) this.read(offset, bytes);
    setImmediate(() => done(null));
  }

  digestBlocks({ offset, length }: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): void {
    const bytes = new Uint8Array(length);
    this.readParts([{ offset, bytes }], (failure) => done(failure ?? digestBlocks(how.algorithm, bytes, how.blockBytes)));
  }

  cloneFrom(_source: StoredFile, done: DiskDone): void {
    setImmediate(() => done({ operation: 'write', file: this.name, code: 'EOPNOTSUPP' }));
  }

  writeParts(parts: readonly FilePart[], done: DiskDone): void {
    for (const { offset, bytes } of parts) this.#patch(offset, bytes.slice());
    setImmediate(() => done(null));
  }

  close(): void {
    // The folder closes what lies below, when all is over.
  }

  #patch(offset: number, bytes: Uint8Array): void {
    this.#patchBytes += bytes.length;
    assert(this.#patchBytes <= PATCH_BYTES_MAX, 'a look at a replica writes more than it may keep in memory', { file: this.name });
    this.#patches.push({ offset, bytes });
    this.#size = Math.max(this.#size, offset + bytes.length);
  }
}
