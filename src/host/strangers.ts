// Somebody was turned away at the door: told now and then, not for each of a thousand.

import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';

export class Strangers {
  readonly #journal: Journal;
  /** What the door is for. */
  readonly #what: string;
  /** Turned away since that was told last, and when it may be told again. */
  #count = 0;
  #tellAt = -Infinity;

  constructor(journal: Journal, what: string) {
    this.#journal = journal;
    this.#what = what;
  }

  refused(from: string | undefined, reason: string): void {
    this.#count++;
    const now = performance.now();
    if (now < this.#tellAt) return;
    this.#tellAt = now + limits.strangersTellMillis;
    const count = this.#count;
    this.#count = 0;
    const remote = from ?? 'unknown';
    const facts = { what: this.#what, from: remote, reason, count };
    this.#journal('stream.refused', facts, `a connection for ${this.#what} from ${remote} was refused: ${reason}`);
  }
}
