// The writes of a destaging pass to the base images that are under way. Long ones keep the disk busy: the next round is read while the one before is
// being written. Short ones keep the processor busy, and go one after the other: hosts come first. None begins beside another one to the same blocks.

import { assert } from '../base/assert.ts';
import type { DiskDone } from '../base/ports.ts';
import type { BaseWrite } from './destage.ts';

/** Long writes under way: as many as are worth their memory, a round each, and that of the one that is read meanwhile. */
const UNDER_WAY_MAX = 2;
/** Mean length of its parts from which on a write is a long one, unless given. */
const LONG_PART_BYTES = 32 * 1024;

/** Begins the writes of one pass. */
export class PassWrites {
  readonly #begin: (write: BaseWrite, done: DiskDone) => void;
  readonly #longPartBytes: number;
  readonly #underWay = new Set<BaseWrite>();
  /** What waits for some of them to end; whether it may go on. */
  #waiting: { readonly may: () => boolean; readonly goOn: () => void } | null = null;

  /** `begin` carries out a write; what it is given is called later, once. */
  constructor(begin: (write: BaseWrite, done: DiskDone) => void, longPartBytes: number = LONG_PART_BYTES) {
    this.#begin = begin;
    this.#longPartBytes = longPartBytes;
  }

  /** Whether one to the same blocks is under way: then this one must not begin before allEnded(). */
  meets(write: BaseWrite): boolean {
    for (const other of this.#underWay) if (other.file === write.file && meet(other, write)) return true;
    return false;
  }

  /** Begins a write. True when the pass may go on at once; else `goOn` is called when it may. */
  begin(write: BaseWrite, goOn: () => void): boolean {
    assert(!this.meets(write), 'two writes to one block of a base image are not under way at once', { file: write.file.name });
    this.#underWay.add(write);
    this.#begin(write, () => this.#ended(write));
    return this.#isLong(write) ? this.#wait(() => this.#underWay.size < UNDER_WAY_MAX, goOn) : this.allEnded(goOn);
  }

  /** True when none is under way; else `goOn` is called when that is so. */
  allEnded(goOn: () => void): boolean {
    return this.#wait(() => this.#underWay.size === 0, goOn);
  }

  /** The pass is abandoned: nobody is told to go on. What is under way goes on to its end. */
  abandon(): void {
    this.#waiting = null;
  }

  #wait(may: () => boolean, goOn: () => void): boolean {
    if (may()) return true;
    this.#waiting = { may, goOn };
    return false;
  }

  #ended(write: BaseWrite): void {
    this.#underWay.delete(write);
    write.ended();
    const waiting = this.#waiting;
    if (waiting === null || !waiting.may()) return;
    this.#waiting = null;
    waiting.goOn();
  }

  #isLong({ parts }: BaseWrite): boolean {
    return parts.reduce((sum, { bytes }) => sum + bytes.length, 0) >= this.#longPartBytes * parts.length;
  }
}

/** Whether two writes have a byte of the file in common. */
function meet(one: BaseWrite, other: BaseWrite): boolean {
  for (let i = 0, j = 0; i < one.parts.length && j < other.parts.length;) {
    const [a, b] = [one.parts[i], other.parts[j]];
    if (a === undefined || b === undefined) return false;
    if (a.offset + a.bytes.length <= b.offset) i++;
    else if (b.offset + b.bytes.length <= a.offset) j++;
    else return true;
  }
  return false;
}
