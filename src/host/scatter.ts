// Many small writes at places apart, in one call of the system on one thread of the pool. A trip of its own for each costs five times what the
// write does: destaging in random order is nothing but such writes. Linux carries out a submitted write through the page cache at once.

import { assert } from '../core/base/assert.ts';
import type { FilePart } from '../core/base/ports.ts';
import { AsyncWrites } from './libc.ts';
import { codeOf, type TransferDone, writeRun } from './transfers.ts';

/** Writes of one call. */
const SCATTERED_MAX = 256;
/** Fewer writes than these are as well off with a trip each: those use several threads. */
const SCATTERED_MIN = 4;
/**
 * Longest write to a base image. The system caches what one write brings as one stretch, and each later small write to a stretch of a MiB costs as
 * much as ten to one of this length: it looks at all blocks of the stretch.
 */
const PIECE_BYTES_MAX = 64 * 1024;

/** Submission areas that no call uses at the moment. They are made as needed: as many as there are transfers at once. */
const idle: AsyncWrites[] = [];
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

/** Whether so many writes together are better written this way, and the system can do it. */
export function worthScattering(count: number): boolean {
  if (count < SCATTERED_MIN) return false;
  available ??= giveBack(AsyncWrites.open(SCATTERED_MAX));
  return available;
}

function giveBack(writes: AsyncWrites | null): boolean {
  if (writes !== null) idle.push(writes);
  return writes !== null;
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
  const writes = idle.pop() ?? AsyncWrites.open(SCATTERED_MAX);
  if (writes === null) {
    // The system has no room for one more area: each write goes its own way.
    setImmediate(writeRest, fd, parts, done);
    return;
  }
  for (const { offset, bytes } of parts) writes.add(fd, offset, bytes);
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
