// A disk for unit and property tests: it knows what is visible and what is on stable storage, and can lose power (any part of what no flush
// covered may be gone, in units of a sector, in any order), lose the process (nothing is lost), fail, or be killed at a given call.

import {
  DiskError,
  type DigestHow,
  type DigestsDone,
  type DiskDone,
  type DiskFailure,
  type Extent,
  type FilePart,
  type Storage,
  type StoredFile,
} from '../../src/core/base/ports.ts';
import { digestBlocks } from '../../src/sim/digests.ts';

/** Thrown out of the call at which the process dies. */
export class Killed extends Error {
  override readonly name = 'Killed';
}

type Change =
  | { readonly id: number; readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly id: number; readonly kind: 'truncate'; readonly size: number }
  | { readonly id: number; readonly kind: 'punch'; readonly offset: number; readonly length: number };

interface DirectoryChange {
  readonly id: number;
  readonly name: string;
  /** null: the name was removed. */
  readonly inode: Inode | null;
  /** The name that the file had before. */
  readonly from?: string;
}

/** Bytes that grow. */
class Content {
  bytes = new Uint8Array(0);
  size = 0;

  static of(bytes: Uint8Array): Content {
    const content = new Content();
    content.write(0, bytes);
    return content;
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#reserve(offset + bytes.length);
    this.bytes.set(bytes, offset);
    this.size = Math.max(this.size, offset + bytes.length);
  }

  truncate(size: number): void {
    if (size < this.size) this.bytes.fill(0, size, this.size);
    this.#reserve(size);
    this.size = size;
  }

  punch(offset: number, length: number): void {
    this.bytes.fill(0, offset, Math.min(offset + length, this.size));
  }

  apply(change: Change): void {
    if (change.kind === 'write') this.write(change.offset, change.bytes);
    else if (change.kind === 'truncate') this.truncate(change.size);
    else this.punch(change.offset, change.length);
  }

  copy(): Uint8Array {
    return this.bytes.slice(0, this.size);
  }

  #reserve(size: number): void {
    if (size <= this.bytes.length) return;
    const bytes = new Uint8Array(Math.max(size, this.bytes.length * 2, 4096));
    bytes.set(this.bytes.subarray(0, this.size));
    this.bytes = bytes;
  }
}

interface Inode {
  /** Blocks that take space. */
  readonly space: Set<number>;
  visible: Content;
  durable: Content;
  pending: Change[];
}

const SECTOR_BYTES = 512;
/** Space is taken in such pieces. */
const SPACE_BLOCK_BYTES = 4096;

/** See the top of the file. Callbacks wait until settle(). */
export class MemoryStorage implements Storage {
  /** Called before each operation; returns a code to make it fail with, or null. */
  faultAt: ((operation: DiskFailure['operation'], file: string) => string | null) | null = null;
  /** Calls since the last start, for killAt. */
  calls = 0;
  /** The process dies at this call (counted from 0), which then takes effect only in part: `tornShare` of a write's bytes. */
  killAt = Infinity;
  tornShare = 0;
  /** A flush that fails leaves everything as it shows, and the system no longer means to write it. */
  forgetsOnFailure = false;
  #visible = new Map<string, Inode>();
  #durable = new Map<string, Inode>();
  #directory: DirectoryChange[] = [];
  #queue: (() => void)[] = [];
  #nextId = 0;
  #incarnation = 0;

  /** Bytes that files may take altogether, holes left out. */
  spaceBytes = Infinity;
  /** Whether files can share their blocks. */
  clones = false;
  /** So long a file may hold its space in advance: a quota can forbid more while there is space. */
  reserveBytesMax = Infinity;

  /** By blocks that were written, or set aside. */
  get usedBytes(): number {
    let used = 0;
    for (const { space } of this.#visible.values()) used += space.size * SPACE_BLOCK_BYTES;
    return used;
  }

  freeBytes(): number {
    return this.spaceBytes - this.usedBytes;
  }

  list(): readonly string[] {
    this.#call('list', '');
    return [...this.#visible.keys()].sort();
  }

  open(name: string, options: { create: boolean }): StoredFile {
    this.#call('open', name);
    let inode = this.#visible.get(name);
    if (inode === undefined) {
      if (!options.create) throw new DiskError({ operation: 'open', file: name, code: 'ENOENT' });
      inode = { space: new Set(), visible: new Content(), durable: new Content(), pending: [] };
      this.#visible.set(name, inode);
      this.#directory.push({ id: this.#nextId++, name, inode });
    }
    return new MemoryFile(this, name, inode, this.#incarnation);
  }

  remove(name: string): void {
    this.#call('remove', name);
    if (!this.#visible.delete(name)) throw new DiskError({ operation: 'remove', file: name, code: 'ENOENT' });
    this.#directory.push({ id: this.#nextId++, name, inode: null });
  }

  rename(file: StoredFile, name: string): void {
    this.#call('rename', file.name);
    const memory = file as MemoryFile;
    if (this.#visible.get(file.name) !== memory.inode) throw new DiskError({ operation: 'rename', file: file.name, code: 'ENOENT' });
    if (this.#visible.has(name)) throw new DiskError({ operation: 'rename', file: file.name, code: 'EEXIST' });
    this.#visible.delete(file.name);
    this.#visible.set(name, memory.inode);
    this.#directory.push({ id: this.#nextId++, name, inode: memory.inode, from: file.name });
    memory.name = name;
  }

  flush(files: readonly StoredFile[], done: DiskDone): void {
    const upTo = this.#nextId;
    const inodes = files.map((file) => (file as MemoryFile).inode);
    const code = this.#faultOf('flush', files[0]?.name ?? '');
    this.#count();
    this.#queue.push(() => {
      if (code !== null && this.forgetsOnFailure)
        for (const inode of inodes) inode.pending = inode.pending.filter((change) => change.id >= upTo);
      if (code !== null) return done({ operation: 'flush', file: files[0]?.name ?? '', code });
      for (const inode of inodes) {
        for (const change of inode.pending) if (change.id < upTo) inode.durable.apply(change);
        inode.pending = inode.pending.filter((change) => change.id >= upTo);
      }
      if (files.length > 0) this.#flushDirectory(upTo);
      done(null);
    });
  }

  /** Runs what is waiting to call back, and what that begins. */
  settle(): void {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) next();
  }

  /** Operations that have not called back yet. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** The process ends and another begins: nothing that was written is lost, nothing calls back. */
  restart(): void {
    this.#queue = [];
    this.#incarnation++;
    this.calls = 0;
    this.killAt = Infinity;
  }

  /** Power is lost: of everything that no flush covered, `keep` chooses what reached the disk (numbers from 0 to 1; small ones keep). */
  losePower(keep: () => number, keepShare = 0.5): void {
    for (const change of this.#directory) if (keep() < keepShare) this.#changeName(this.#durable, change);
    this.#directory = [];
    const inodes = new Set([...this.#visible.values(), ...this.#durable.values()]);
    for (const inode of inodes) {
      for (const change of inode.pending) tear(inode.durable, change, () => keep() < keepShare);
      inode.pending = [];
      inode.visible = Content.of(inode.durable.copy());
    }
    this.#visible = new Map(this.#durable);
    this.restart();
  }

  /** Bytes of a file as they are visible now. */
  contentOf(name: string): Uint8Array {
    const inode = this.#visible.get(name);
    if (inode === undefined) throw new Error(`no file ${name}`);
    return inode.visible.copy();
  }

  /** Puts a file there, durable, with these bytes. */
  plant(name: string, bytes: Uint8Array): void {
    const inode: Inode = { space: new Set(), visible: Content.of(bytes), durable: Content.of(bytes), pending: [] };
    for (let block = 0; block * SPACE_BLOCK_BYTES < bytes.length; block++) inode.space.add(block);
    this.#visible.set(name, inode);
    this.#durable.set(name, inode);
    this.#directory = this.#directory.filter((change) => change.name !== name);
  }

  /** A storage with the same visible files, all durable. */
  copy(): MemoryStorage {
    const copy = new MemoryStorage();
    for (const [name, inode] of this.#visible) copy.plant(name, inode.visible.copy());
    return copy;
  }

  /** For MemoryFile: one call to the disk; may fail, and may be the last. */
  change(operation: DiskFailure['operation'], file: MemoryFile, change: Change | null, incarnation: number): void {
    if (incarnation !== this.#incarnation) throw new Error(`${file.name} is used after the process that opened it ended`);
    const code = this.#faultOf(operation, file.name) ?? (change === null ? null : this.#spaceFor(file.inode, change));
    if (code !== null) throw new DiskError({ operation, file: file.name, code });
    const dying = this.calls === this.killAt;
    if (change !== null && (!dying || change.kind === 'write')) {
      const done =
        dying && change.kind === 'write' ? { ...change, bytes: change.bytes.slice(0, change.bytes.length * this.tornShare) } : change;
      file.inode.visible.apply(done);
      file.inode.pending.push(done);
    }
    this.#count();
  }

  /** Takes or gives back the space that a change needs; ENOSPC when there is not so much. */
  #spaceFor({ space }: Inode, change: Change): string | null {
    if (change.kind === 'truncate') {
      for (const block of space) if (block * SPACE_BLOCK_BYTES >= change.size) space.delete(block);
    } else if (change.kind === 'punch') {
      const end = Math.floor((change.offset + change.length) / SPACE_BLOCK_BYTES);
      for (let block = Math.ceil(change.offset / SPACE_BLOCK_BYTES); block < end; block++) space.delete(block);
    } else {
      return this.takeSpace(space, change.offset, change.offset + change.bytes.length);
    }
    return null;
  }

  /** Takes the space of a range; ENOSPC, and nothing is taken, when there is not so much. */
  takeSpace(space: Set<number>, from: number, to: number): string | null {
    const wanted: number[] = [];
    for (let block = Math.floor(from / SPACE_BLOCK_BYTES); block * SPACE_BLOCK_BYTES < to; block++)
      if (!space.has(block)) wanted.push(block);
    if (wanted.length > 0 && this.spaceBytes !== Infinity && wanted.length * SPACE_BLOCK_BYTES > this.freeBytes()) return 'ENOSPC';
    for (const block of wanted) space.add(block);
    return null;
  }

  /** For MemoryFile: calls back later. */
  later(callback: () => void): void {
    this.#queue.push(callback);
  }

  nextId(): number {
    return this.#nextId++;
  }

  #call(operation: DiskFailure['operation'], name: string): void {
    const code = this.#faultOf(operation, name);
    if (code !== null) throw new DiskError({ operation, file: name, code });
    this.#count();
  }

  #count(): void {
    if (this.calls >= this.killAt) throw new Killed(`killed at call ${this.calls}`);
    this.calls++;
  }

  #faultOf(operation: DiskFailure['operation'], name: string): string | null {
    return this.faultAt === null ? null : this.faultAt(operation, name);
  }

  #flushDirectory(upTo: number): void {
    for (const change of this.#directory) if (change.id < upTo) this.#changeName(this.#durable, change);
    this.#directory = this.#directory.filter((change) => change.id >= upTo);
  }

  #changeName(names: Map<string, Inode>, change: DirectoryChange): void {
    // Whatever else of the directory reached the disk: a file that was renamed has one name.
    if (change.from !== undefined) for (const [name, inode] of names) if (inode === change.inode) names.delete(name);
    if (change.inode === null) names.delete(change.name);
    else names.set(change.name, change.inode);
  }
}

/** Applies the sectors of a change that reached the disk. */
function tear(durable: Content, change: Change, kept: () => boolean): void {
  if (change.kind !== 'write') {
    if (kept()) durable.apply(change);
    return;
  }
  for (let at = 0; at < change.bytes.length;) {
    const sectorEnd = Math.floor((change.offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES;
    const end = Math.min(sectorEnd - change.offset, change.bytes.length);
    if (kept()) durable.write(change.offset + at, change.bytes.subarray(at, end));
    at = end;
  }
}

export class MemoryFile implements StoredFile {
  name: string;
  readonly inode: Inode;
  readonly #storage: MemoryStorage;
  readonly #incarnation: number;
  #closed = false;

  constructor(storage: MemoryStorage, name: string, inode: Inode, incarnation: number) {
    this.#storage = storage;
    this.name = name;
    this.inode = inode;
    this.#incarnation = incarnation;
  }

  #use(operation: DiskFailure['operation'], change: Change | null): void {
    if (this.#closed) throw new Error(`${this.name} is used after it was closed`);
    this.#storage.change(operation, this, change, this.#incarnation);
  }

  size(): number {
    return this.inode.visible.size;
  }

  write(offset: number, parts: readonly Uint8Array[]): void {
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    this.#use('write', { id: this.#storage.nextId(), kind: 'write', offset, bytes });
  }

  read(offset: number, into: Uint8Array): number {
    this.#use('read', null);
    const { bytes, size } = this.inode.visible;
    const there = Math.max(0, Math.min(into.length, size - offset));
    into.fill(0);
    into.set(bytes.subarray(offset, offset + there));
    return there;
  }

  readCached(offset: number, into: Uint8Array): boolean {
    this.read(offset, into);
    return true;
  }

  truncate(size: number): void {
    this.#use('truncate', { id: this.#storage.nextId(), kind: 'truncate', size });
  }

  reserve(size: number): boolean {
    const code = size <= this.#storage.reserveBytesMax ? this.#storage.takeSpace(this.inode.space, 0, size) : 'EDQUOT';
    if (code !== null) throw new DiskError({ operation: 'write', file: this.name, code });
    if (size > this.size()) this.truncate(size);
    return true;
  }

  punch(offset: number, length: number): void {
    this.#use('punch', { id: this.#storage.nextId(), kind: 'punch', offset, length });
  }

  extents(offset: number, length: number): readonly Extent[] {
    return [{ offset, length, hole: false }];
  }

  readParts(parts: readonly FilePart[], done: DiskDone): void {
    for (const part of parts) this.read(part.offset, part.bytes);
    this.#storage.later(() => done(null));
  }

  digestBlocks({ offset, length }: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): void {
    const bytes = new Uint8Array(length);
    this.readParts([{ offset, bytes }], (failure) => done(failure ?? digestBlocks(how.algorithm, bytes, how.blockBytes)));
  }

  cloneFrom(source: StoredFile, done: DiskDone): void {
    const failure = this.clone(source);
    this.#storage.later(() => done(failure));
  }

  /** The same, here and now. */
  clone(source: StoredFile): DiskFailure | null {
    const storage = this.#storage;
    if (!storage.clones) return { operation: 'write', file: this.name, code: 'EOPNOTSUPP' };
    const bytes = new Uint8Array(source.size());
    source.read(0, bytes);
    // Shared blocks take no space.
    const { spaceBytes } = storage;
    storage.spaceBytes = Infinity;
    this.write(0, [bytes]);
    storage.spaceBytes = spaceBytes;
    return null;
  }

  writeParts(parts: readonly FilePart[], done: DiskDone): void {
    for (const part of parts) this.write(part.offset, [part.bytes]);
    this.#storage.later(() => done(null));
  }

  close(): void {
    this.#closed = true;
  }
}
