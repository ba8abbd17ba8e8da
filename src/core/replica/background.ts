// What a replica has under way with its storage. Files may be closed, and bases written anew, only when nothing uses them any more, and a
// failure of any of it is a failure of the replica: so every lasting call is begun and ended here.

import { assert } from '../base/assert.ts';
import type { DiskDone, DiskFailure } from '../base/ports.ts';
import type { Superblock } from './superblock.ts';

/** Counts what is under way. */
export class Background {
  readonly #failed: (failure: DiskFailure) => void;
  #count = 0;
  #waiting: (() => void)[] = [];

  /** `failed` is told of each failure before the one who asked for the work is. */
  constructor(failed: (failure: DiskFailure) => void) {
    this.#failed = failed;
  }

  get idle(): boolean {
    return this.#count === 0;
  }

  /** Begins one piece of work; the result is to be called when it has ended. */
  begin(done: DiskDone): DiskDone {
    this.#count++;
    return (failure) => {
      assert(this.#count > 0, 'work that ends was begun');
      this.#count--;
      if (failure !== null) this.#failed(failure);
      done(failure);
      this.#wake();
    };
  }

  /** The same for work whose failure is not a failure of the replica by itself: whoever asked for it decides. */
  attempt(done: DiskDone): DiskDone {
    let failure: DiskFailure | null = null;
    const ended = this.begin(() => done(failure));
    return (found) => {
      failure = found;
      ended(null);
    };
  }

  /** Calls `done` when nothing is under way: at once if that is so. */
  whenIdle(done: () => void): void {
    if (this.#count === 0) done();
    else this.#waiting.push(done);
  }

  #wake(): void {
    while (this.#count === 0) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      next();
    }
  }
}

/** The superblock as others than the replica may use it. */
export type SharedSuperblock = Pick<Superblock, 'value' | 'durableValue' | 'update'>;

/** A superblock whose updates are counted, so that its file is not closed under them. */
export function trackUpdates(block: Superblock, background: Background): SharedSuperblock {
  return {
    get value() {
      return block.value;
    },
    get durableValue() {
      return block.durableValue;
    },
    update: (patch, done) => block.update(patch, background.begin(done)),
  };
}
