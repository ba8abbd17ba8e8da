// A pool that overwrites what it is given back, so that whoever still uses it reads rubbish, and that knows what is still out.

import assert from 'node:assert/strict';
import type { Buffers } from '../../../src/core/base/ports.ts';

export class WatchedBuffers implements Buffers {
  readonly #out = new Set<Uint8Array>();

  take(byteCount: number): Uint8Array {
    const bytes = new Uint8Array(byteCount).fill(0xdd);
    this.#out.add(bytes);
    return bytes;
  }

  give(bytes: Uint8Array): void {
    assert.ok(this.#out.delete(bytes), 'memory is given back once, to the pool that it came from');
    bytes.fill(0xee);
  }

  /** Pieces that were taken and not given back. */
  get outCount(): number {
    return this.#out.size;
  }
}
