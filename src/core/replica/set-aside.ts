// Disk space that is set aside for the sidefile before it needs it, so that a disk which others have filled does not end the copy in the middle of an
// outage. How much: it moves between a least and a most with what the sidefile has to keep for a copy that lags. It grows early, because the lag
// does; it shrinks slowly, because a link that was gone once is gone again. A file without meaning holds the space that segments do not have yet.

import { DiskError, type DiskFailure, type Journal, type Storage, type StoredFile } from '../base/ports.ts';
import type { Millis } from '../base/units.ts';
import { isSpaceLacking } from './staging-room.ts';

/** Name of the file that holds the space. */
const SET_ASIDE_FILE = 'sidefile-set-aside';
/** Between two looks. */
const LOOK_MILLIS: Millis = 1000;
/** Looks between two tries to get space that the disk did not have. */
const LACKING_LOOKS = 10;
/** Grown when what is kept takes more than this share, to twice that; shrunk when it has taken less than the other for long enough. */
const GROW_ABOVE = 1 / 2;
const SHRINK_BELOW = 1 / 8;
/** Given back at a time, of what is set aside. */
const SHRINK_SHARE = 1 / 8;
/** Between two steps of shrinking, of the time that it waits before the first one. */
const STEP_SHARE = 1 / 6;

const NO_ROOM: DiskFailure = { operation: 'write', file: SET_ASIDE_FILE, code: 'ENOSPC' };

/**
 * By which record of the other copies the size goes. newest: the newest one up to which a copy is known to hold everything on stable storage; there is
 * room for what it lacks. oldest: the oldest one that its sidefile still holds; there is room for what it lacks and for what it holds there.
 */
export type SidefileGuide = 'newest' | 'oldest';

/** How much is set aside. */
export interface SetAsideOptions {
  /** 'newest' when left out. */
  readonly guide?: SidefileGuide | undefined;
  /** Always; 0: nothing is set aside, and the sidefile takes space as it needs it. */
  readonly leastBytes: number;
  /** How long little must have been kept before space is given back. */
  readonly calmMillis: Millis;
}

interface Parts extends SetAsideOptions {
  readonly storage: Storage;
  readonly journal: Journal;
  readonly segmentBytes: number;
  readonly mostBytes: number;
}

/** What the sidefile has at this moment. */
interface Use {
  /** Bytes of records that may not go yet. */
  readonly neededBytes: number;
  /** What its files take, each at its full length. */
  readonly filesBytes: number;
}

/** The space of one sidefile. Its calls throw DiskError, but for a lack of space, which is told. */
export class SetAside {
  readonly #parts: Parts;
  /** Null where nothing is set aside. */
  readonly #file: StoredFile | null;
  #held: number;
  #wanted: number;
  #filesBytes = 0;
  #lookAt: Millis = -Infinity;
  #calmSince: Millis | null = null;
  #lacking = 0;
  /** Whether the file system holds space for a file; where it does not, none is set aside, and status says so. */
  #canHold = true;

  /** What an earlier process has set aside is kept until it is known what is needed. */
  constructor(parts: Parts) {
    this.#parts = parts;
    const { storage, leastBytes } = parts;
    const isThere = storage.list().includes(SET_ASIDE_FILE);
    if (leastBytes === 0 && isThere) storage.remove(SET_ASIDE_FILE);
    this.#file = leastBytes === 0 ? null : storage.open(SET_ASIDE_FILE, { create: true });
    this.#held = this.#file?.size() ?? 0;
    this.#wanted = leastBytes;
  }

  /** Bytes that the sidefile has, or can have whatever else fills the disk; null where nothing is set aside, or nothing can be. */
  get bytes(): number | null {
    return this.#file === null || !this.#canHold ? null : this.#filesBytes + this.#held;
  }

  /** Of these, what no file of the sidefile has yet. */
  get heldBytes(): number {
    return this.#held;
  }

  /** What it is to be at the moment. */
  get wantedBytes(): number {
    return this.#wanted;
  }

  /**
   * A file of the sidefile is about to take so much: it takes it from here, and at once. One that is only made ahead gets nothing where there is less.
   * Returns whether it got something.
   */
  give(byteCount: number, isAhead = false): boolean {
    if (this.bytes === null || (isAhead && this.#held < byteCount)) return false;
    if (this.#held > 0) this.#hold(Math.max(0, this.#held - byteCount));
    this.#filesBytes += byteCount;
    return true;
  }

  /** Looks now and then whether it is the right amount. */
  turn(now: Millis, use: () => Use): void {
    if (this.#file === null || now < this.#lookAt) return;
    this.#lookAt = now + LOOK_MILLIS;
    const { neededBytes, filesBytes } = use();
    this.#filesBytes = filesBytes;
    this.#adapt(now, neededBytes);
    const missing = this.#wanted - filesBytes - this.#held;
    if (missing > 0) this.#take(missing);
    else if (missing < 0) this.#hold(Math.max(0, this.#held + missing));
  }

  close(): void {
    this.#file?.close();
  }

  #adapt(now: Millis, neededBytes: number): void {
    const { leastBytes, mostBytes, calmMillis } = this.#parts;
    if (neededBytes > this.#wanted * GROW_ABOVE && this.#wanted < mostBytes) {
      this.#want(this.#segments(2 * Math.max(this.#wanted, neededBytes)), neededBytes);
      this.#lacking = 0;
    }
    if (neededBytes >= this.#wanted * SHRINK_BELOW || this.#wanted === leastBytes) {
      this.#calmSince = null;
      return;
    }
    this.#calmSince ??= now;
    if (now - this.#calmSince < calmMillis) return;
    this.#calmSince = now - calmMillis * (1 - STEP_SHARE);
    this.#want(this.#wanted - this.#segments(this.#wanted * SHRINK_SHARE), neededBytes);
  }

  #want(byteCount: number, neededBytes: number): void {
    const { leastBytes, mostBytes, journal } = this.#parts;
    const was = this.#wanted;
    this.#wanted = Math.max(leastBytes, Math.min(mostBytes, byteCount));
    const text = this.#wanted > was ? 'more space is set aside for the sidefile' : 'space is given back to the disk';
    journal('sidefile.set-aside', { was, bytes: this.#wanted, neededBytes }, text);
  }

  /** In whole segments. */
  #segments(byteCount: number): number {
    return Math.ceil(byteCount / this.#parts.segmentBytes) * this.#parts.segmentBytes;
  }

  /** Sets so much more aside. Where the disk has not got that much it stays as it is, and is tried again later. */
  #take(byteCount: number): void {
    if (this.#lacking > 0 && --this.#lacking > 0) return;
    const before = this.#held;
    const failure = this.#isTooMuch(byteCount) ? NO_ROOM : this.#reserve(before + byteCount);
    if (failure === null) return;
    this.#hold(before);
    this.#lacking = LACKING_LOOKS;
    const { storage, journal } = this.#parts;
    const facts = { wantedBytes: this.#wanted, bytes: this.bytes, freeBytes: storage.freeBytes(), code: failure.code };
    journal('sidefile.set-aside-lack', facts, 'the disk has no room for what is to be set aside for the sidefile');
  }

  /** Beyond the least no more than half of what is free is taken: base images grow as well, and have nothing set aside. */
  #isTooMuch(byteCount: number): boolean {
    const free = this.#parts.storage.freeBytes();
    return free !== null && this.#wanted > this.#parts.leastBytes && byteCount > free / 2;
  }

  #reserve(size: number): DiskFailure | null {
    try {
      this.#canHold = (this.#file as StoredFile).reserve(size);
      if (this.#canHold) this.#held = size;
      else this.#hold(0);
      return null;
    } catch (error) {
      if (error instanceof DiskError && isSpaceLacking(error.failure)) return error.failure;
      throw error;
    }
  }

  #hold(size: number): void {
    this.#held = size;
    (this.#file as StoredFile).truncate(size);
  }
}
