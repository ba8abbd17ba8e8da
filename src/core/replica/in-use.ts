// Records that are being read in the background: the file of a segment is used again once its records are dropped, so what is being read stays.

import { assert } from '../base/assert.ts';
import type { Seq } from '../base/units.ts';

export class RecordsInUse {
  readonly #reads = new Set<{ readonly oldest: Seq }>();
  readonly #freed: () => void;

  /** `freed`: records that could not be dropped for a read may go now. */
  constructor(freed: () => void) {
    this.#freed = freed;
  }

  /** The oldest record that is being read; Infinity when none is. */
  get oldest(): Seq {
    let oldest: Seq = Infinity;
    for (const read of this.#reads) oldest = Math.min(oldest, read.oldest);
    return oldest;
  }

  /** A read of records from `oldest` on begins; what is returned is to be called when it has ended. */
  begin(oldest: Seq): () => void {
    const read = { oldest };
    this.#reads.add(read);
    return () => {
      assert(this.#reads.delete(read), 'a read ends once', { oldest });
      this.#freed();
    };
  }
}
