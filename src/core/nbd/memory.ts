// What all clients of one server may make it hold together: payloads and replies of requests without an answer, and answers that their clients do
// not take. Each client has a share of its own besides (NbdSession); this is for the sum of them.

import { assert } from '../base/assert.ts';

export class HostMemory {
  readonly bytesMax: number;
  #heldBytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** The limit is met: nobody begins a large request, and whoever has one under way none at all. */
  get isShort(): boolean {
    return this.#heldBytes >= this.bytesMax;
  }

  /** Notes that more is held, or, below 0, less. */
  add(bytes: number): void {
    this.#heldBytes += bytes;
    // The facts are made only when they are needed: this is called for every request.
    if (this.#heldBytes < 0) assert(false, 'no more is given back than was held', { heldBytes: this.#heldBytes, bytes });
  }
}
