// Files for the segments to come. A file that grows makes each flush wait for the file system's journal, and each append find new space; one
// that has had its full length before, and was on the disk once, costs neither. So the next segment's file is written with zeroes ahead of its
// time, and files of segments that were dropped are used again. What is in such a file means nothing: the marks in a segment name its number.

import { type DiskDone, DiskError, type DiskFailure, type FilePart, type Storage, type StoredFile } from '../base/ports.ts';
import { segmentName } from './segment.ts';
import { isSpaceLacking } from './staging-room.ts';

/** What preparing in the background needs of the replica. */
export interface SparesWork {
  /** Begins a piece of lasting work; the result is called when it has ended, unless the replica is gone. */
  readonly begin: (done: DiskDone) => DiskDone;
  /** Whether files may be prepared: not while the replica closes or has failed. */
  readonly usable: () => boolean;
  /** A file is about to be made, which may take so much of the disk. Returns whether that is set aside for it: then it takes it at once. */
  readonly making: (byteCount: number, isAhead: boolean) => boolean;
  /** The disk failed, otherwise than by being full. */
  readonly failed: (failure: DiskFailure) => void;
}

/** How the names of files begin that wait to become segments. */
export const SPARE_PREFIX = 'spare-';
/** Files that wait at least: one to be used next, one that was dropped meanwhile. */
const KEPT_MIN = 2;
/** Share of the sidefile's room that files may wait in: about as many as a backlog of destaging takes, and gives back. */
const KEPT_SHARE = 1 / 4;
/** And no more than this: a sidefile that was long for the sake of a peer that was away gives its space back. */
const KEPT_BYTES_MAX = 512 * 1024 * 1024;
/** Bytes between two flushes of a file that is prepared: a flush of the sidefile may have to wait for that much. */
const STEP_BYTES = 4 * 1024 * 1024;
const ZEROES = new Uint8Array(256 * 1024);
/** Places of a file that are looked at to tell whether it is still cached. */
const PROBES = 8;
/** Answers to a write that mean "no room": nothing is wrong with the disk, there is only no spare. */
const NO_ROOM: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** Whether a file is of no use to a restart: a segment that was never begun. */
function isSpareName(name: string): boolean {
  return name.startsWith(SPARE_PREFIX);
}

/**
 * Gives a file its full length, so that what is written to it takes nothing more of the disk; a disk without room leaves it as it is. Returns whether
 * there was room.
 */
export function lengthen(file: StoredFile, size: number): boolean {
  try {
    file.reserve(size);
    return true;
  } catch (error) {
    if (!(error instanceof DiskError) || !isSpaceLacking(error.failure)) throw error;
    return false;
  }
}

/** The spare files of one sidefile. */
export class Spares {
  readonly #storage: Storage;
  readonly #segmentBytes: number;
  readonly #keptMax: number;
  #work: SparesWork | null = null;
  #ready: StoredFile[] = [];
  #preparing: StoredFile | null = null;
  /** Kept files whose new name is not durable yet. */
  readonly #renaming = new Set<StoredFile>();
  /** Files whose space was needed at once, to be removed when what is under way with them has ended. */
  readonly #givenUp = new Set<StoredFile>();
  #made = 0;

  /** For a sidefile that may take `capacityBytes`. Removes what an earlier process left: whatever it holds is no part of the sidefile. */
  constructor(storage: Storage, segmentBytes: number, capacityBytes = 0) {
    this.#storage = storage;
    this.#segmentBytes = segmentBytes;
    this.#keptMax = Math.max(KEPT_MIN, Math.floor(Math.min(capacityBytes * KEPT_SHARE, KEPT_BYTES_MAX) / segmentBytes));
    for (const name of storage.list()) if (isSpareName(name)) storage.remove(name);
  }

  /** From here on files are prepared ahead and used again; before, and without, every segment begins with an empty file. */
  start(work: SparesWork): void {
    this.#work = work;
  }

  /** The file for a segment that begins with so many bytes, under a name that a restart would remove. */
  take(byteCount: number): StoredFile {
    while (byteCount <= this.#segmentBytes) {
      // The newest: most of it is still cached.
      const file = this.#ready.pop();
      if (file === undefined) break;
      if (this.#isCached(file)) return file;
      // Each append would have to read the rest of its last page from the disk first.
      this.#remove(file);
    }
    return this.#create(byteCount);
  }

  /**
   * Takes the file of a segment that is no longer part of the sidefile, to be used again or removed. Nobody reads it any more. Its new name is
   * durable before it is written to: a power loss must not bring it back as the segment that it was, with other contents.
   */
  give(file: StoredFile): void {
    const work = this.#work;
    const room = this.#ready.length + this.#renaming.size < this.#keptMax;
    if (work?.usable() !== true || !room || file.size() > this.#segmentBytes) return this.#remove(file);
    this.#storage.rename(file, this.#newName());
    this.#renaming.add(file);
    const renamed = work.begin((failure) => {
      if (!this.#renaming.delete(file)) return this.#over(file, work, failure);
      if (failure === null) this.#renamed(file, work);
      else {
        file.close();
        work.failed(failure);
      }
    });
    this.#storage.flush([file], renamed);
  }

  /** A file that was kept may be written to. One that began empty, as none was ready then, lacks its last bytes: it gets them now. */
  #renamed(file: StoredFile, work: SparesWork): void {
    if (file.size() === this.#segmentBytes) {
      this.#ready.push(file);
    } else if (this.#preparing === null && work.usable()) {
      this.#preparing = file;
      this.#step(file, work, file.size());
    } else {
      this.#remove(file);
    }
  }

  /** The newest segment fills up: sees to it that there is a file for the next one. */
  prepare(): void {
    if (this.#ready.length + this.#renaming.size > 0 || this.#preparing !== null || this.#work?.usable() !== true) return;
    const file = this.#create(0);
    this.#preparing = file;
    this.#step(file, this.#work, 0);
  }

  /** What the files take that wait, or are made ready to. */
  get bytes(): number {
    const unready = this.#preparing === null ? [] : [this.#preparing];
    return [...this.#ready, ...this.#renaming, ...unready].reduce((sum, file) => sum + file.size(), 0);
  }

  /** Closes the files; a restart removes them. Nothing is under way any more. */
  close(): void {
    for (const file of [...this.#ready.splice(0), ...this.#renaming, ...this.#givenUp]) file.close();
    this.#renaming.clear();
    this.#givenUp.clear();
    this.#preparing?.close();
    this.#preparing = null;
    this.#work = null;
  }

  #create(byteCount: number): StoredFile {
    const size = Math.max(byteCount, this.#segmentBytes);
    const isSetAside = this.#work?.making(size, byteCount === 0) ?? false;
    const file = this.#storage.open(this.#newName(), { create: true });
    // At once: nobody else gets what was just given back for it.
    while (isSetAside && !lengthen(file, size)) {
      // What is made ahead never takes the place of what is needed now.
      if (byteCount === 0 || !this.#giveUpOne()) break;
    }
    return file;
  }

  /** Gives back the space of a file that cannot be used yet, though it has its full length. Returns whether there was one. */
  #giveUpOne(): boolean {
    const [renaming] = this.#renaming;
    const file = this.#preparing ?? renaming;
    if (file === undefined) return false;
    if (file === this.#preparing) this.#preparing = null;
    else this.#renaming.delete(file);
    this.#givenUp.add(file);
    // Something is under way with it, so that it cannot be closed.
    file.truncate(0);
    return true;
  }

  /** What was under way with a file has ended, and the file is no spare any more. */
  #over(file: StoredFile, work: SparesWork, failure: DiskFailure | null): void {
    // Otherwise it was closed meanwhile.
    if (!this.#givenUp.delete(file)) return;
    this.#remove(file);
    if (failure !== null && !NO_ROOM.has(failure.code)) work.failed(failure);
  }

  #newName(): string {
    return segmentName(this.#made++).replace(/^.*-/, SPARE_PREFIX);
  }

  #remove(file: StoredFile): void {
    file.close();
    this.#storage.remove(file.name);
  }

  #isCached(file: StoredFile): boolean {
    const byte = new Uint8Array(1);
    for (let i = 0; i < PROBES; i++) if (!file.readCached(Math.floor((i * file.size()) / PROBES), byte)) return false;
    return true;
  }

  /** Writes and flushes the next bytes of the file, from a place on. */
  #step(file: StoredFile, work: SparesWork, from: number): void {
    const end = Math.min(from + STEP_BYTES, this.#segmentBytes);
    const parts: FilePart[] = [];
    for (let at = from; at < end; at += ZEROES.length) parts.push({ offset: at, bytes: ZEROES.subarray(0, end - at) });
    const ended = (failure: DiskFailure | null, next: () => void): void => {
      if (this.#preparing !== file) return this.#over(file, work, failure);
      if (failure === null && work.usable()) return next();
      this.#preparing = null;
      if (failure !== null && !NO_ROOM.has(failure.code)) {
        file.close();
        return work.failed(failure);
      }
      this.#remove(file);
    };
    const stored = (failure: DiskFailure | null): void =>
      ended(failure, () => {
        if (end < this.#segmentBytes) return this.#step(file, work, end);
        this.#preparing = null;
        this.#ready.push(file);
      });
    file.writeParts(
      parts,
      work.begin((failure) => ended(failure, () => this.#storage.flush([file], work.begin(stored)))),
    );
  }
}
