// What is kept of the older volume while a resync goes straight into the base images, because there is no space to stage it: copies of the images
// that share their blocks with them, where the file system can make such. They cost nothing when they are made, and as much as what is written
// over since. So they are a gift that may be taken back: before what they hold is missing elsewhere they are given up, and this copy is then what
// it would have been without them. A copy that cannot end its resync goes back to them by an operator's force.

import { type DiskDone, DiskError, type DiskFailure, type Journal, type Storage, type StoredFile } from '../base/ports.ts';
import type { Background } from './background.ts';
import type { Changes } from './changes.ts';
import { DigestedBase } from './digested-base.ts';
import type { ReplicaFailure } from './options.ts';
import { failureOf } from './staging.ts';
import type { StagingValue, Superblock, SuperblockValue } from './superblock.ts';

/** Below so much free space they are given up, or not made: records and images that are on their way find room. */
const FREE_BYTES_MIN = 256 * 1024 * 1024;

function fileOf(volume: number): string {
  return `protection-${volume}`;
}

/** What protection images need of their replica. */
export interface ProtectionGround {
  readonly group: string;
  readonly storage: Storage;
  readonly bases: readonly StoredFile[];
  readonly journal: Journal;
  readonly block: Superblock;
  readonly background: Background;
  readonly changes: Changes;
  readonly failure: () => ReplicaFailure | null;
  readonly update: (patch: Partial<SuperblockValue>, done: DiskDone) => void;
  readonly note: (error: unknown) => void;
}

type Older = StagingValue['older'];

/** The protection images of a replica. They count while the superblock says so. */
export class Protection {
  readonly #ground: ProtectionGround;
  readonly #storage: Storage;
  readonly #bases: readonly StoredFile[];

  constructor(ground: ProtectionGround) {
    this.#ground = ground;
    this.#storage = ground.storage;
    this.#bases = ground.bases;
  }

  /** The volume that they are; null while there are none. */
  get older(): Older | null {
    return this.#ground.block.value.protection?.older ?? null;
  }

  /**
   * The bases, which hold this volume, are about to be written over, by `byteCount` that are staged already and more: copies them where file system and
   * space allow it, and tells what the superblock is to say of that.
   */
  keep(older: Older, byteCount: number, done: (protection: { readonly older: Older } | null) => void): void {
    const { background, journal, group } = this.#ground;
    if (!this.#hasRoom(byteCount)) return done(null);
    const { seq } = older;
    // That it is not possible is no failure of this copy.
    const ended = background.attempt((refused) => {
      if (refused === null) journal('copy.protected', { group, seq }, `the volume as of record ${seq} is kept as protection images`);
      else journal('copy.unprotected', { group, seq, ...refused }, 'no protection images can be made here');
      done(refused === null ? { older } : null);
    });
    this.#make(ended);
  }

  /** Gives them up, durably, when the space that they keep is about to be missing. There is enough left for what comes meanwhile. */
  spare(): void {
    const { changes, journal, group, background, failure, update } = this.#ground;
    const { older } = this;
    if (older === null || changes.current !== null || failure() !== null || this.#hasRoom(0)) return;
    const { seq } = older;
    journal(
      'copy.unprotected',
      { group, seq },
      'no space is left to keep protection images: this copy is inconsistent until the resync ends',
    );
    const over = background.begin(() => undefined);
    update({ protection: null }, (unwritten) => over(unwritten ?? failureOf(() => this.discard())));
  }

  /** Removes what there is of them and does not count. Throws DiskError. */
  discard(): void {
    if (this.older === null) this.#remove();
  }

  /** Whether there is space to keep what is written over, with `byteCount` more of it soon. */
  #hasRoom(byteCount: number): boolean {
    try {
      const free = this.#storage.freeBytes();
      const totalBytes = this.#bases.reduce((sum, base) => sum + base.size(), 0);
      return free !== null && free >= Math.min(FREE_BYTES_MIN, totalBytes) + byteCount;
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.#ground.note(error);
      return false;
    }
  }

  /** Copies the images as they are now, all of them or none; `done` is told null when the copies are on stable storage. */
  #make(done: DiskDone): void {
    this.#each(
      true,
      (base, copy, ended) => copy.cloneFrom(base instanceof DigestedBase ? base.file : base, ended),
      (failure) => done(failure === null ? null : (failureOf(() => this.#remove()) ?? failure)),
    );
  }

  /** Makes the images what the copies hold, on stable storage; may be begun again as often as it is cut off. */
  putBack(done: DiskDone): void {
    this.#each(
      false,
      (base, copy, ended) => {
        // It has grown since.
        if (base.size() > copy.size()) base.punch(copy.size(), base.size() - copy.size());
        base.cloneFrom(copy, ended);
      },
      (failure) => (failure === null ? this.#storage.flush(this.#bases, done) : done(failure)),
    );
  }

  #remove(): void {
    const there = new Set(this.#storage.list());
    for (const volume of this.#bases.keys()) if (there.has(fileOf(volume))) this.#storage.remove(fileOf(volume));
  }

  /** Does something to each image and its copy, one after the other, and flushes the copies. */
  #each(create: boolean, act: (base: StoredFile, copy: StoredFile, ended: DiskDone) => void, done: DiskDone): void {
    const copies: StoredFile[] = [];
    const end = (failure: DiskFailure | null): void => {
      for (const copy of copies) copy.close();
      done(failure);
    };
    const next = (failure: DiskFailure | null): void => {
      const base = this.#bases[copies.length];
      if (failure !== null) return end(failure);
      if (base === undefined) return this.#storage.flush(copies, end);
      const refused = failureOf(() => {
        const copy = this.#storage.open(fileOf(copies.length), { create });
        copies.push(copy);
        act(base, copy, next);
      });
      if (refused !== null) end(refused);
    };
    next(null);
  }
}
