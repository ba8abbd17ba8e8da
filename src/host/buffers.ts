// Memory that is used again. A fresh megabyte costs page faults and a garbage collection; a used one costs nothing. Sizes are powers of
// two, so that what one frame gave back fits the next.

import { assert } from '../core/base/assert.ts';
import type { Buffers } from '../core/base/ports.ts';

/** Smallest piece: below it the bookkeeping would cost more than the memory. */
const PIECE_BYTES_MIN = 512;

export interface BufferPoolCounters {
  /** Bytes that wait to be taken again. */
  readonly keptBytes: number;
  /** Pieces that had to be allocated. */
  readonly allocated: number;
  /** Pieces taken and not given back. */
  readonly taken: number;
}

/** A pool of memory outside V8's heap, which never moves. */
export class BufferPool implements Buffers {
  readonly #keptBytesMax: number;
  /** By the exponent of their size. */
  readonly #free: ArrayBuffer[][] = [];
  /** What is out. Weak: a piece that its last user forgets is the garbage collector's, not a leak for ever. */
  readonly #out = new WeakSet<ArrayBufferLike>();
  #keptBytes = 0;
  #allocated = 0;
  #taken = 0;

  /** `keptBytesMax`: bytes that the pool keeps for later; what comes back above that is let go. */
  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax;
  }

  take(byteCount: number): Uint8Array {
    assert(Number.isSafeInteger(byteCount) && byteCount >= 0, 'bytes to take must be a count', { byteCount });
    const exponent = exponentFor(byteCount);
    let memory = this.#free[exponent]?.pop();
    if (memory === undefined) {
      memory = Buffer.allocUnsafeSlow(2 ** exponent).buffer;
      this.#allocated++;
    } else this.#keptBytes -= memory.byteLength;
    this.#out.add(memory);
    this.#taken++;
    return new Uint8Array(memory, 0, byteCount);
  }

  /** Takes back what take() returned, or any part of it. Throws InvariantError for foreign memory and for what was given back before. */
  give(bytes: Uint8Array): void {
    const memory = bytes.buffer;
    assert(this.#out.delete(memory), 'memory given back that was not taken, or twice', { byteCount: memory.byteLength });
    this.#taken--;
    if (this.#keptBytes + memory.byteLength > this.#keptBytesMax) return;
    this.#keptBytes += memory.byteLength;
    const exponent = exponentFor(memory.byteLength);
    const free = (this.#free[exponent] ??= []);
    free.push(memory as ArrayBuffer);
  }

  counters(): BufferPoolCounters {
    return { keptBytes: this.#keptBytes, allocated: this.#allocated, taken: this.#taken };
  }
}

function exponentFor(byteCount: number): number {
  return byteCount <= PIECE_BYTES_MIN ? Math.log2(PIECE_BYTES_MIN) : 32 - Math.clz32(byteCount - 1);
}
