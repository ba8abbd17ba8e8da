// Space for the images of a resync, set aside before they come. They wait beside the sidefile for the end of the resync, and then go into the base
// images, which may grow by as much: without space of their own they would take it from the sidefile, whose next record then fails this copy for
// good, or run out of it in the middle. So a file without meaning holds the space; it shrinks by what an image is about to take.

import { type DiskFailure, DiskError, type Storage, type StoredFile } from '../base/ports.ts';

/** Set aside at once, when it is not known how much will come. */
export const ROOM_STEP_BYTES: number = 64 * 1024 * 1024;
/** Given back at once for images that are about to be written. */
const GIVE_BYTES = 4 * 1024 * 1024;

/** Name of the file that holds the space. */
export const ROOM_FILE = 'staging-room';

/** The space of one staging area. Its calls throw DiskError, but for a lack of space, which they return. */
export class StagingRoom {
  readonly #storage: Storage;
  /** What has to stay free for others: the sidefile. */
  readonly #leaveBytes: () => number;
  readonly file: StoredFile;
  /** Bytes that the file holds. */
  #held: number;
  /** Of these: what the base images will grow by when what is staged already goes into them. */
  #owed: number;
  /** Given back for images that have not come yet. */
  #given = 0;
  /** What was lacking when space was refused last; for people. */
  lack: { readonly wantedBytes: number; readonly freeBytes: number | null; readonly leftForSidefileBytes: number } | null = null;

  /** `leaveBytes` is asked whenever more is set aside. What an earlier process has set aside is kept for what it has staged. */
  constructor(storage: Storage, leaveBytes: () => number) {
    this.#storage = storage;
    this.#leaveBytes = leaveBytes;
    this.file = storage.open(ROOM_FILE, { create: true });
    this.#held = this.file.size();
    this.#owed = this.#held;
  }

  /** Sets aside so much for images that are to come; what is so already counts. Returns null, or the lack of space: then nothing has changed. */
  ensure(byteCount: number): DiskFailure | null {
    const want = this.#owed + byteCount - this.#given;
    if (want <= this.#held) return null;
    const refused = (code: string): DiskFailure => {
      this.file.truncate(this.#held);
      this.lack = { wantedBytes: want, freeBytes: this.#storage.freeBytes(), leftForSidefileBytes: this.#leaveBytes() };
      return { operation: 'write', file: ROOM_FILE, code };
    };
    try {
      const isHeld = this.file.reserve(want);
      const free = this.#storage.freeBytes();
      // Where space cannot be held, it is at least there now.
      if (free !== null && free < this.#leaveBytes() + (isHeld ? 0 : want)) return refused('ENOSPC');
    } catch (error) {
      if (!isLack(error)) throw error;
      return refused((error as DiskError).failure.code);
    }
    this.#held = want;
    return null;
  }

  /**
   * An image of so many bytes is about to be written, over a range of which the base image does not hold `baseBytes` yet. Returns null, or the
   * lack of space.
   */
  take(byteCount: number, baseBytes: number): DiskFailure | null {
    const lack = this.#ensureAhead(byteCount + baseBytes);
    if (lack !== null) return lack;
    this.#owed += baseBytes;
    if (byteCount > this.#given) {
      const give = Math.min(this.#held - this.#owed, Math.max(GIVE_BYTES, byteCount - this.#given));
      this.#held -= give;
      this.#given += give;
      this.file.truncate(this.#held);
    }
    this.#given -= byteCount;
    return null;
  }

  /** In large steps where there is space for them. */
  #ensureAhead(byteCount: number): DiskFailure | null {
    if (this.#owed + byteCount - this.#given <= this.#held) return null;
    return this.ensure(Math.max(ROOM_STEP_BYTES, byteCount)) === null ? null : this.ensure(byteCount);
  }

  /** Everything that was set aside is given back: what is staged goes where it belongs. */
  release(): void {
    this.#held = 0;
    this.#owed = 0;
    this.#given = 0;
    this.file.truncate(0);
  }
}

/** Whether an error is nothing but a lack of space: of the disk, or of what its owner may use. */
function isLack(error: unknown): boolean {
  return error instanceof DiskError && isSpaceLacking(error.failure);
}

export function isSpaceLacking({ code }: DiskFailure): boolean {
  return code === 'ENOSPC' || code === 'EDQUOT';
}
