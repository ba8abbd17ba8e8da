// Makes the sidefile durable for everybody who waits at once: one flush is under way, and whoever asks meanwhile shares the next. A flush costs
// the same for one record as for a thousand, so this is what flushed writes per second depend on.

import { assert } from '../base/assert.ts';
import type { DiskFailure, Storage } from '../base/ports.ts';
import type { Seq } from '../base/units.ts';
import type { Background } from './background.ts';
import type { Sidefile } from './sidefile.ts';

/** What flushing works on. */
export interface CommitLayers {
  readonly storage: Storage;
  readonly sidefile: Sidefile;
  readonly background: Background;
  /** Whether flushes may still be begun. */
  readonly usable: () => boolean;
  /** Everything up to `durable` is on stable storage: called once for each flush that succeeded, before those who wait are told. */
  readonly moved: (durable: Seq) => void;
}

/** The flushes of one sidefile. */
export class GroupCommit {
  readonly #layers: CommitLayers;
  #flying = false;
  #again = false;
  #waiting: { readonly seq: Seq; readonly done: (failure: DiskFailure | null) => void }[] = [];
  /** Flushes that have begun, and who waits for which of them. */
  #begun = 0;
  #mended: { readonly flush: number; readonly done: (failure: DiskFailure | null) => void }[] = [];

  constructor(layers: CommitLayers) {
    this.#layers = layers;
  }

  /** Whether a flush is under way. */
  get flying(): boolean {
    return this.#flying;
  }

  /** Asks that everything received now becomes durable. Nothing happens when it is. */
  flush(): void {
    const { sidefile } = this.#layers;
    if (!this.#layers.usable()) return;
    if (this.#flying) this.#again = true;
    else if (sidefile.received > sidefile.durable) this.#begin();
  }

  /** Calls `done` once everything up to `seq` is durable, or cut back: at once if that is so already. */
  whenDurable(seq: Seq, done: (failure: DiskFailure | null) => void): void {
    const { sidefile } = this.#layers;
    assert(this.#layers.usable(), 'nothing waits for a flush that cannot come', { seq });
    if (Math.min(seq, sidefile.received) <= sidefile.durable) return done(null);
    this.#waiting.push({ seq, done });
    this.flush();
  }

  /** Whether there will be flushes. */
  get usable(): boolean {
    return this.#layers.usable();
  }

  /** Calls `done` once what was put right among records before this call is on stable storage: they may all have been durable already. */
  whenMended(done: (failure: DiskFailure | null) => void): void {
    assert(this.#layers.usable(), 'nothing waits for a flush that cannot come');
    this.#mended.push({ flush: this.#begun + 1, done });
    if (this.#flying) this.#again = true;
    else this.#begin();
  }

  /** Tells all who wait that the replica has failed. */
  fail(failure: DiskFailure): void {
    for (const { done } of [...this.#waiting.splice(0), ...this.#mended.splice(0)]) done(failure);
  }

  #begin(): void {
    const { storage, sidefile, background } = this.#layers;
    this.#flying = true;
    this.#again = false;
    this.#begun++;
    const { files } = sidefile.beginFlush();
    storage.flush(
      files,
      background.begin((failure) => this.#ended(failure)),
    );
  }

  #ended(failure: DiskFailure | null): void {
    const { sidefile } = this.#layers;
    this.#flying = false;
    const durable = sidefile.endFlush(failure === null);
    if (failure !== null) return this.fail(failure);
    const mended = this.#mended.filter(({ flush }) => flush <= this.#begun);
    this.#mended = this.#mended.filter(({ flush }) => flush > this.#begun);
    // The next flush begins before anybody is told, so that what they do with the news shares the one after it.
    if (this.#again && this.#layers.usable() && (sidefile.received > durable || this.#mended.length > 0)) this.#begin();
    this.#layers.moved(durable);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (Math.min(one.seq, sidefile.received) <= durable) one.done(null);
      else this.#waiting.push(one);
    }
    for (const { done } of mended) done(null);
  }
}
