// The files of a replica in a data folder of the real file system. Base images may lie elsewhere, on block devices too, by configuration.
// A lock keeps a second daemon out, and stays until the last operation in the background has ended.

import {
  closeSync,
  constants,
  fdatasync,
  fsync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  statfsSync,
  statSync,
  unlink,
  unlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { assert } from '../core/base/assert.ts';
import { TercetError } from '../core/base/errors.ts';
import { type DiskDone, DiskError, type DiskFailure, type Storage, type StoredFile } from '../core/base/ports.ts';
import { DigestThreads } from './digest-threads.ts';
import { DiskFile, type FileOwner } from './disk-file.ts';
import { type FileLock, lockFile } from './flock.ts';
import { tryLock } from './libc.ts';
import { codeOf, processTransfers, type TransferQueue } from './transfers.ts';
import { earlyWriteBack } from './write-back.ts';

export interface FolderOptions {
  /** Files that lie elsewhere: name → path of a raw file or block device. */
  readonly paths?: Readonly<Record<string, string>>;
  /** Called after each callback, so that the owner ends its turn. */
  readonly afterCallback?: () => void;
  /** Where reads and writes in the background queue; the process's own queue unless given. */
  readonly transfers?: TransferQueue;
  /** Threads that digest what lies in files; threads of its own unless given. */
  readonly digests?: DigestThreads;
}

/** A locked data folder. */
export interface ReplicaFolder {
  readonly storage: Storage;
  /**
   * Closes every file and gives the lock back once nothing is under way any more. No callback comes after the call. Nothing is flushed.
   */
  close(): Promise<void>;
}

/** The lock file is no file of the replica: list() does not show it. */
const LOCK_NAME = 'lock';
/** A removed file whose space is not free yet. */
const REMOVED_PREFIX = '.removed-';
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * Opens a data folder, creating it when it is missing, and locks it. Throws TercetError TERCET_REPLICA_LOCKED when another process has it,
 * and DiskError when it cannot be made or opened.
 */
export function openReplicaFolder(folder: string, options: FolderOptions = {}): ReplicaFolder {
  const path = resolve(folder);
  createFolder(path);
  const lock = lockFile(join(path, LOCK_NAME));
  if (lock === null) throw new TercetError('TERCET_REPLICA_LOCKED', { folder: path });
  const storage = new FolderStorage(path, options);
  storage.clearRemoved();
  return { storage, close: () => storage.close(lock) };
}

/** Opens a folder that exists, without a lock: for tools that only look, and where the lock is held already. */
export function openFolder(folder: string, options: FolderOptions = {}): Storage {
  return new FolderStorage(resolve(folder), options);
}

/** A directory whose entries have to be made durable. */
interface Directory {
  readonly path: string;
  /** Entries made or removed, and how many of these changes are durable. */
  changes: number;
  flushed: number;
  failed: string | null;
}

class FolderStorage implements Storage, FileOwner {
  readonly transfers: TransferQueue;
  readonly digests: DigestThreads;
  readonly #folder: string;
  readonly #paths: ReadonlyMap<string, string>;
  readonly #afterCallback: () => void;
  readonly #open = new Map<string, DiskFile>();
  readonly #directories = new Map<string, Directory>();
  /** Files whose flush has failed once, by name: the system may have dropped what was written, so no later flush may succeed. */
  readonly #poisoned = new Map<string, string>();
  #removed = 0;
  #underWay = 0;
  #closed = false;
  #idle: (() => void) | null = null;

  constructor(folder: string, options: FolderOptions) {
    this.#folder = folder;
    this.#paths = new Map(Object.entries(options.paths ?? {}).map(([name, path]) => [name, resolve(path)]));
    this.#afterCallback = options.afterCallback ?? ((): void => {});
    this.transfers = options.transfers ?? processTransfers;
    this.digests = options.digests ?? new DigestThreads();
  }

  list(): readonly string[] {
    const names = new Set<string>();
    const entries = attempt('list', this.#folder, () => readdirSync(this.#folder, { withFileTypes: true }));
    for (const entry of entries) {
      if (entry.isFile() && entry.name !== LOCK_NAME && !entry.name.startsWith(REMOVED_PREFIX)) names.add(entry.name);
    }
    for (const [name, path] of this.#paths) {
      if (attempt('list', name, () => statSync(path, { throwIfNoEntry: false })) === undefined) names.delete(name);
      else names.add(name);
    }
    return [...names].sort();
  }

  open(name: string, { create }: { create: boolean }): StoredFile {
    assert(!this.#closed, 'a file of a closed folder is opened', { name });
    const present = this.#open.get(name);
    if (present !== undefined && !present.isClosed) {
      present.opened();
      return present;
    }
    const fd = this.#descriptor(name, create);
    let file;
    try {
      file = new DiskFile(name, fd, this);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    file.opened();
    this.#open.set(name, file);
    return file;
  }

  remove(name: string): void {
    const open = this.#open.get(name);
    assert(open === undefined || open.isClosed, 'an open file is removed', { name });
    // What the configuration named is the administrator's, and may be a device.
    if (this.#paths.has(name)) throw new DiskError({ operation: 'remove', file: name, code: 'EPERM' });
    const path = this.#pathOf(name);
    // Freeing the space of a large file takes tens of milliseconds: its name goes at once, its space in the background.
    const doomed = join(dirname(path), `${REMOVED_PREFIX}${++this.#removed}`);
    attempt('remove', name, () => renameSync(path, doomed));
    this.begun();
    unlink(doomed, (error) => {
      const failure: DiskFailure | null = error === null ? null : { operation: 'remove', file: name, code: codeOf(error) };
      // Space that is not freed is no danger to any data: the next start tries again.
      this.ended(() => {}, failure);
    });
    this.#open.delete(name);
    this.#poisoned.delete(name);
    this.#directoryOf(path).changes++;
  }

  freeBytes(): number {
    const { bavail, bsize } = attempt('list', this.#folder, () => statfsSync(this.#folder));
    return bavail * bsize;
  }

  rename(file: StoredFile, name: string): void {
    assert(file instanceof DiskFile && this.#open.get(file.name) === file && !file.isClosed, 'a file that is not open here is renamed', {
      file: file.name,
    });
    const before = file.name;
    const [from, to] = [this.#pathOf(before), this.#pathOf(name)];
    assert(!this.#paths.has(before) && !this.#paths.has(name), 'a base image that lies elsewhere is renamed', { file: before, name });
    const taken = attempt('rename', before, () => statSync(to, { throwIfNoEntry: false }));
    if (taken !== undefined) throw new DiskError({ operation: 'rename', file: before, code: 'EEXIST' });
    attempt('rename', before, () => renameSync(from, to));
    file.renamed(name);
    this.#open.delete(before);
    this.#open.set(name, file);
    const poisoned = this.#poisoned.get(before);
    this.#poisoned.delete(before);
    this.#poisoned.delete(name);
    if (poisoned !== undefined) this.#poisoned.set(name, poisoned);
    this.#directoryOf(to).changes++;
  }

  /** What an earlier process removed, and had no time to free. */
  clearRemoved(): void {
    for (const name of attempt('list', this.#folder, () => readdirSync(this.#folder))) {
      if (name.startsWith(REMOVED_PREFIX)) attempt('remove', name, () => unlinkSync(join(this.#folder, name)));
    }
  }

  flush(files: readonly StoredFile[], done: DiskDone): void {
    let failure: DiskFailure | null = null;
    let left = 1;
    const ended = (file: string, code: string | null): void => {
      if (code !== null) failure ??= { operation: 'flush', file, code };
      left--;
      if (left === 0) this.ended(done, failure);
    };
    this.begun();
    for (const file of new Set(files)) {
      assert(file instanceof DiskFile && this.#open.get(file.name) === file && !file.isClosed, 'a flush of a file that is not open here', {
        file: file.name,
      });
      left++;
      this.#flushFile(file, (code) => ended(file.name, code));
    }
    for (const directory of this.#directories.values()) {
      if (directory.changes === directory.flushed && directory.failed === null) continue;
      left++;
      flushDirectory(directory, (code) => ended(directory.path, code));
    }
    // Nothing to wait for is still an event of its own.
    if (left === 1) setImmediate(ended, this.#folder, null);
    else left--;
  }

  begun(): void {
    this.#underWay++;
  }

  ended(done: DiskDone, failure: DiskFailure | null): void {
    this.#underWay--;
    if (this.#closed) {
      if (this.#underWay === 0) this.#idle?.();
      return;
    }
    done(failure);
    this.#afterCallback();
  }

  async close(lock: FileLock): Promise<void> {
    assert(!this.#closed, 'a folder is closed twice', { folder: this.#folder });
    this.#closed = true;
    for (const file of this.#open.values()) while (!file.isClosed) file.close();
    if (this.#underWay > 0) await this.#whenIdle();
    lock.release();
  }

  #whenIdle(): Promise<void> {
    return new Promise((idle) => {
      this.#idle = idle;
    });
  }

  #flushFile(file: DiskFile, done: (code: string | null) => void): void {
    const poisoned = this.#poisoned.get(file.name);
    if (poisoned !== undefined) {
      setImmediate(done, poisoned);
      return;
    }
    earlyWriteBack.flushed(file);
    file.busy(
      (finish) => fdatasync(file.fd, (error) => finish(error === null ? null : codeOf(error))),
      (code) => {
        if (code !== null) this.#poisoned.set(file.name, code);
        // It may have been poisoned by another flush meanwhile: that one saw the error, and the system reports an error only once.
        done(code ?? this.#poisoned.get(file.name) ?? null);
      },
    );
  }

  #descriptor(name: string, create: boolean): number {
    const path = this.#pathOf(name);
    const mapped = this.#paths.has(name);
    const stat = attempt('open', name, () => statSync(path, { throwIfNoEntry: false }));
    if (stat === undefined) {
      if (!create) throw new DiskError({ operation: 'open', file: name, code: 'ENOENT' });
      const fd = attempt('open', name, () => openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600));
      this.#directoryOf(path).changes++;
      return mapped ? locked(name, fd) : fd;
    }
    // O_EXCL on a block device: refused while it is mounted or another program has claimed it in the same way.
    const flags = stat.isBlockDevice() ? constants.O_RDWR | constants.O_EXCL : constants.O_RDWR;
    const fd = attempt('open', name, () => openSync(path, flags));
    return mapped && stat.isFile() ? locked(name, fd) : fd;
  }

  #pathOf(name: string): string {
    const mapped = this.#paths.get(name);
    if (mapped !== undefined) return mapped;
    assert(FILE_NAME.test(name), 'a file name outside the folder or with odd characters', { name });
    assert(name !== LOCK_NAME, 'the lock file is opened as a file of the replica', { name });
    return join(this.#folder, name);
  }

  #directoryOf(path: string): Directory {
    const folder = dirname(path);
    let directory = this.#directories.get(folder);
    if (directory === undefined) {
      directory = { path: folder, changes: 0, flushed: 0, failed: null };
      this.#directories.set(folder, directory);
    }
    return directory;
  }
}

/** Locks a base image outside the folder: two replicas, or two daemons, must not be configured with the same one. */
function locked(name: string, fd: number): number {
  const result = tryLock(fd);
  if (typeof result === 'number') return fd;
  closeSync(fd);
  throw new DiskError({ operation: 'open', file: name, code: result === 'EAGAIN' ? 'EBUSY' : result });
}

function flushDirectory(directory: Directory, done: (code: string | null) => void): void {
  if (directory.failed !== null) {
    setImmediate(done, directory.failed);
    return;
  }
  const changes = directory.changes;
  let fd: number;
  try {
    fd = openSync(directory.path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    setImmediate(done, codeOf(error));
    return;
  }
  fsync(fd, (error) => {
    closeSync(fd);
    if (error === null) directory.flushed = Math.max(directory.flushed, changes);
    else directory.failed = codeOf(error);
    done(directory.failed);
  });
}

/** Makes a folder and the ones above it as far as they are missing, each durable in the one above it. */
function createFolder(path: string): void {
  const first = attempt('open', path, () => mkdirSync(path, { recursive: true, mode: 0o700 }));
  if (first === undefined) return;
  for (let made = path; ; made = dirname(made)) {
    attempt('flush', dirname(made), () => syncFolder(dirname(made)));
    if (made === first) return;
  }
}

/** Makes the names in a folder durable, here and now. */
export function syncFolder(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function attempt<T>(operation: DiskFailure['operation'], file: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw new DiskError({ operation, file, code: codeOf(cause) }, { cause });
  }
}
