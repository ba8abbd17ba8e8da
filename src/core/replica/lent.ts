// Frames on their way out, in memory of a pool: whoever sends one says when its bytes are no longer needed, and with the last of them the memory
// goes back, to be used for the next frame.

import { assert } from '../base/assert.ts';
import type { Buffers } from '../base/ports.ts';
import type { Seq } from '../base/units.ts';
import type { FrameRun, Sidefile } from './sidefile.ts';

/** Pieces of memory of a pool that several use: they go back with the last release(). */
export class SharedMemory {
  readonly #buffers: Buffers;
  #pieces: Uint8Array[] = [];
  #users = 1;

  constructor(buffers: Buffers) {
    this.#buffers = buffers;
  }

  take(byteCount: number): Uint8Array {
    const bytes = this.#buffers.take(byteCount);
    this.#pieces.push(bytes);
    return bytes;
  }

  /** Says that one more user, or so many, need the bytes. */
  retain(users = 1): void {
    assert(this.#users > 0, 'memory that was given back is not taken again');
    this.#users += users;
  }

  /** Says that one user needs them no longer; whoever has made this is the first. */
  release(): void {
    assert(this.#users > 0, 'memory is given back once');
    if (--this.#users > 0) return;
    for (const bytes of this.#pieces.splice(0)) this.#buffers.give(bytes);
  }
}

/** A frame that was just appended, in memory that goes back to the pool with the last release(). */
export class AppendedFrame {
  readonly bytes: Uint8Array;
  readonly firstSeq: Seq;
  readonly lastSeq: Seq;
  readonly #buffers: Buffers;
  #users = 1;

  constructor(bytes: Uint8Array, seqs: { firstSeq: Seq; lastSeq: Seq }, buffers: Buffers) {
    this.bytes = bytes;
    this.firstSeq = seqs.firstSeq;
    this.lastSeq = seqs.lastSeq;
    this.#buffers = buffers;
  }

  /** Says that one more user needs the bytes. */
  retain(): void {
    assert(this.#users > 0, 'memory that was given back is not taken again');
    this.#users++;
  }

  /** Says that one user needs them no longer; the appender is the first user. */
  release(): void {
    assert(this.#users > 0, 'memory is given back once');
    if (--this.#users === 0) this.#buffers.give(this.bytes);
  }
}

/** Frames that were read back for a peer, in memory that goes back to the pool once release() was called for each of them. */
export class LentFrames {
  /** One frame each. */
  readonly parts: readonly Uint8Array[];
  readonly lastSeq: Seq;
  /** Sum of the parts. */
  readonly bytes: number;
  readonly #memory: SharedMemory;

  constructor(run: FrameRun, memory: SharedMemory) {
    this.parts = run.parts;
    this.lastSeq = run.lastSeq;
    this.bytes = run.bytes;
    this.#memory = memory;
    memory.retain(run.parts.length - 1);
  }

  /** One of the frames is needed no longer. */
  release(): void {
    this.#memory.release();
  }
}

/** Reads frames of a sidefile into memory of `buffers`; null when there is no such record yet. Throws what Sidefile.framesFrom does. */
export function lendFrames(sidefile: Sidefile, buffers: Buffers, { seq, bytesMax }: { seq: Seq; bytesMax: number }): LentFrames | null {
  const memory = new SharedMemory(buffers);
  const run = sidefile.framesFrom(seq, bytesMax, (byteCount) => memory.take(byteCount));
  return run === null ? null : new LentFrames(run, memory);
}
