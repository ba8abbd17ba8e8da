// Many small transfers at places apart, in one call of the system on one thread of the pool. A trip of its own for each costs five times what the
// transfer does: destaging in random order is nothing but such writes, and many hosts' reads at once of what is not cached nothing but such reads.
// Linux carries out a submitted transfer through the page cache at once, one after the other. So that reads do not wait for the disk one after the
// other as well, the system is asked beforehand to bring all of them in.

import { assert } from '../core/base/assert.ts';
import type { FilePart } from '../core/base/ports.ts';
import { AsyncBatch, bringIn } from './libc.ts';
import { codeOf, readRun, type TransferDone, type TransferQueue, writeRun } from './transfers.ts';

/** Transfers of one call. */
const SCATTERED_MAX = 256;
/** Fewer than these are as well off with a trip each: those use several threads. */
const SCATTERED_MIN = 4;
/**
 * Longest write to a base image. The system caches what one write brings as one stretch, and each later small write to a stretch of a MiB costs as
 * much as ten to one of this length: it looks at all blocks of the stretch.
 */
const PIECE_BYTES_MAX = 64 * 1024;

/** Longest read that goes along with others: longer ones are worth a trip of their own. */
export const SMALL_READ_BYTES_MAX = 64 * 1024;

/** Submission areas that no call uses at the moment. They are made as needed: as many as there are transfers at once. */
const idle: AsyncBatch[] = [];
let available: boolean | null = null;

/** The parts in pieces that are written one by one; parts without bytes are left out. */
export function piecesOf(parts: readonly FilePart[]): readonly FilePart[] {
  if (parts.every(({ bytes }) => bytes.length > 0 && bytes.length <= PIECE_BYTES_MAX)) return parts;
  const pieces: FilePart[] = [];
  for (const { offset, bytes } of parts) {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES_MAX)
      pieces.push({ offset: offset + at, bytes: bytes.subarray(at, at + PIECE_BYTES_MAX) });
  }
  return pieces;
}

/** Whether the parts are small ones at places apart: what follows one another is better read as one. */
export function areApart(parts: readonly FilePart[]): boolean {
  let neighbours = 0;
  for (const [index, { offset, bytes }] of parts.entries()) {
    if (bytes.length === 0 || bytes.length > SMALL_READ_BYTES_MAX) return false;
    const before = parts[index - 1];
    if (before !== undefined && before.offset + before.bytes.length === offset) neighbours++;
  }
  return 2 * neighbours < parts.length;
}

/** Whether so many writes together are better written this way, and the system can do it. */
export function worthScattering(count: number): boolean {
  if (count < SCATTERED_MIN) return false;
  available ??= giveBack(AsyncBatch.open(SCATTERED_MAX));
  return available;
}

function giveBack(batch: AsyncBatch | null): boolean {
  if (batch !== null) idle.push(batch);
  return batch !== null;
}

/** The pieces in sets that one call takes. */
export function scattered(pieces: readonly FilePart[]): FilePart[][] {
  const sets: FilePart[][] = [];
  for (let first = 0; first < pieces.length; first += SCATTERED_MAX) sets.push(pieces.slice(first, first + SCATTERED_MAX));
  return sets;
}

/** Writes the parts, all of them; `done` is told when the last has ended. After a failure others may have been written or not. */
export function writeScattered(fd: number, parts: readonly FilePart[], done: TransferDone): void {
  assert(parts.length > 0 && parts.length <= SCATTERED_MAX, 'one call takes a bounded number of writes', { count: parts.length });
  const writes = idle.pop() ?? AsyncBatch.open(SCATTERED_MAX);
  if (writes === null) {
    // The system has no room for one more area: each write goes its own way.
    setImmediate(writeRest, fd, parts, done);
    return;
  }
  for (const { offset, bytes } of parts) writes.add('write', fd, offset, bytes);
  writes.submit((results) => {
    idle.push(writes);
    const rest: FilePart[] = [];
    for (const [index, { offset, bytes }] of parts.entries()) {
      const result = results[index];
      if (typeof result === 'string') return done(result);
      // Not carried out, or in part (no space, a limit of file size): the plain call goes on, and names what is wrong.
      if (result === undefined) rest.push({ offset, bytes });
      else if (result < bytes.length) rest.push({ offset: offset + result, bytes: bytes.subarray(result) });
    }
    writeRest(fd, rest, done);
  });
}

function writeRest(fd: number, parts: readonly FilePart[], done: TransferDone): void {
  const [first] = parts;
  if (first === undefined) return done(null);
  try {
    writeRun(fd, { offset: first.offset, pieces: [first.bytes] }, (code) => {
      if (code === null) writeRest(fd, parts.slice(1), done);
      else done(code);
    });
  } catch (error) {
    done(codeOf(error));
  }
}

/** A small read: `done` is told when `bytes` are filled. */
export interface SmallRead extends FilePart {
  readonly done: TransferDone;
}

/** Sets of reads under way at once; what comes meanwhile is the next set. */
const SETS_MAX = 2;
/**
 * Reads that the system has been asked to bring in and that have not ended, in the whole process. The call waits for a disk
 * whose queue is full, and for metadata that are not cached: this bounds for how long.
 */
const BRINGING_IN_MAX = 64;
let bringingIn = 0;

/** Reads of one file that would wait for the disk, gathered as they come. */
export class GatheredReads {
  readonly #fd: number;
  readonly #transfers: TransferQueue;
  #waiting: SmallRead[] = [];
  #underWay = 0;
  #armed = false;

  constructor(fd: number, transfers: TransferQueue) {
    this.#fd = fd;
    this.#transfers = transfers;
  }

  /** Fills `bytes` from `offset` on, with zeroes behind the end of the file; `done` comes later. */
  add(read: SmallRead): void {
    this.#waiting.push(read);
    if (this.#armed || this.#underWay >= SETS_MAX) return;
    this.#armed = true;
    // What else this turn of the event loop asks for goes along.
    setImmediate(() => {
      this.#armed = false;
      this.#begin();
    });
  }

  #begin(): void {
    while (this.#waiting.length > 0 && this.#underWay < SETS_MAX) {
      // Those that do not go together take a place of the pool each, like everything else.
      const set = this.#waiting.splice(0, worthScattering(this.#waiting.length) ? SCATTERED_MAX : 1);
      this.#underWay++;
      this.#transfers.add((free) =>
        readTogether(this.#fd, set, () => {
          this.#underWay--;
          free();
          this.#begin();
        }),
      );
    }
  }
}

/** Carries out all reads of a set; each is told by itself, and `ended` is called when the last has been. */
function readTogether(fd: number, set: readonly SmallRead[], ended: () => void): void {
  const batch = worthScattering(set.length) ? (idle.pop() ?? AsyncBatch.open(SCATTERED_MAX)) : null;
  if (batch === null) return readRest(fd, set, [], ended);
  const advised = Math.min(set.length, BRINGING_IN_MAX - bringingIn);
  bringingIn += advised;
  for (const { offset, bytes } of set.slice(0, advised)) bringIn(fd, offset, bytes.length);
  for (const { offset, bytes } of set) batch.add('read', fd, offset, bytes);
  batch.submit((results) => {
    idle.push(batch);
    bringingIn -= advised;
    const rest: SmallRead[] = [];
    const filled: number[] = [];
    for (const [index, read] of set.entries()) {
      const result = results[index];
      if (typeof result === 'string') read.done(result);
      else if (result === read.bytes.length) read.done(null);
      else {
        rest.push(read);
        filled.push(result ?? 0);
      }
    }
    readRest(fd, rest, filled, ended);
  });
}

/** Reads what was not carried out, or in part (the end of the file), one after the other: a place of the pool is one thread's. */
function readRest(fd: number, set: readonly SmallRead[], filled: readonly number[], ended: () => void): void {
  const [first, ...rest] = set;
  if (first === undefined) return ended();
  const { offset, bytes, done } = first;
  const from = filled[0] ?? 0;
  readRun(fd, { offset: offset + from, pieces: [bytes.subarray(from)] }, (code) => {
    done(code);
    readRest(fd, rest, filled.slice(1), ended);
  });
}

/** Reads the parts, all of them; `done` is told when the last has ended. */
export function readScattered(fd: number, parts: readonly FilePart[], done: TransferDone): void {
  let failed: string | null = null;
  const set = parts.map(({ offset, bytes }) => ({ offset, bytes, done: (code: string | null): void => void (failed ??= code) }));
  readTogether(fd, set, () => done(failed));
}
