// Changes of a replica as a whole: a new epoch, an adoption, a copy's begin and end, closing. They come one after the other, because each builds
// on what the one before made durable; and nothing is appended while one is under way, but at the end of a copy, when records go on coming. A link
// that breaks and comes back may ask for the next before the last has ended, so they queue.

import { assert } from '../base/assert.ts';

/** A change, as it reads in a sentence. */
export type Change =
  | 'a new epoch'
  | 'an adoption'
  | 'the begin of a copy'
  | 'the end of a copy'
  | 'a return to the older volume'
  | 'closing';

/** The changes of one replica. */
export class Changes {
  #current: Change | null = null;
  #queue: { readonly change: Change; readonly run: () => void }[] = [];
  #closed = false;

  /** What is under way; null when nothing is. */
  get current(): Change | null {
    return this.#current;
  }

  /** What is under way and keeps records from being appended; null when nothing does. */
  get barring(): Change | null {
    return this.#current === 'the end of a copy' ? null : this.#current;
  }

  /** Runs a change as soon as those before it have ended: now, if there is none. It must call end() once. */
  begin(change: Change, run: () => void): void {
    assert(!this.#closed, 'a replica that closes is not changed', { change });
    if (this.#current !== null) {
      this.#queue.push({ change, run });
      return;
    }
    this.#current = change;
    run();
  }

  /** Runs something as soon as no change is under way; never, if the replica closes before that. */
  whenOver(run: () => void): void {
    if (this.#closed) return;
    this.begin('an adoption', () => {
      this.end();
      run();
    });
  }

  /** The change under way has ended. */
  end(): void {
    assert(this.#current !== null, 'a change that ends has begun');
    if (this.#closed) return;
    this.#current = null;
    const next = this.#queue.shift();
    if (next !== undefined) this.begin(next.change, next.run);
  }

  /** Nothing is changed any more; what waits never happens. */
  close(): void {
    assert(!this.#closed, 'a replica is closed once');
    this.#closed = true;
    this.#queue = [];
    this.#current = 'closing';
  }

  get closed(): boolean {
    return this.#closed;
  }
}
