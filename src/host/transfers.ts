// Reads and writes in the background, on the threads of libuv's pool: for everything that may have to wait for the disk. How many run at
// once is bounded, because more threads are slower (four read 43 000 cold blocks a second, sixteen 28 000), and so
// that a flush finds a thread, or one that is about to be free: the call that begins to write back long writes (write-back.ts) is one more.

import { read, readv, write, writev } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import type { FilePart } from '../core/base/ports.ts';

/** Called when a transfer has ended: null, or the system's code of the error. */
export type TransferDone = (code: string | null) => void;

/** A stretch of a file without gaps, and the pieces of memory for it. */
export interface Run {
  readonly offset: number;
  readonly pieces: readonly Uint8Array[];
}

/** Largest stretch that one call moves: long enough to be worth a call, short enough that a large transfer uses several threads. */
const RUN_BYTES_MAX = 1024 * 1024;
/** Pieces of one call; the system takes 1024. */
const RUN_PIECES_MAX = 256;
/** Threads of libuv's pool, which flushes and look-ups of host names share. */
const POOL_THREADS = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) || 4;
/**
 * Transfers at once: not more than are fast, and one thread left for a flush. Groups in threads of their own share the pool, and each has fewer: with
 * two of them all threads may be taken for as long as a read takes.
 */
const PARALLEL_MAX = isMainThread ? Math.max(1, Math.min(4, POOL_THREADS - 1)) : Math.max(1, Math.floor(POOL_THREADS / 2));

type Transfer = (done: () => void) => void;

/** Starts transfers in the order in which they were asked for, a bounded number at a time. */
export class TransferQueue {
  readonly #parallelMax: number;
  #waiting: Transfer[] = [];
  #next = 0;
  #running = 0;

  constructor(parallelMax: number = PARALLEL_MAX) {
    this.#parallelMax = parallelMax;
  }

  /** Runs `transfer` when its turn comes, at once if there is room; it must call what it is given, later and once. */
  add(transfer: Transfer): void {
    this.#waiting.push(transfer);
    this.#fill();
  }

  #fill(): void {
    while (this.#running < this.#parallelMax) {
      const transfer = this.#waiting[this.#next];
      if (transfer === undefined) {
        this.#waiting = [];
        this.#next = 0;
        return;
      }
      this.#next++;
      this.#running++;
      transfer(() => {
        this.#running--;
        this.#fill();
      });
    }
  }
}

/** The queue of this thread. */
export const processTransfers: TransferQueue = new TransferQueue();

/** Joins parts that follow one another in the file, as far as one call should go. */
export function joinRuns(parts: readonly FilePart[]): Run[] {
  const runs: { offset: number; pieces: Uint8Array[] }[] = [];
  let run: { offset: number; pieces: Uint8Array[] } | null = null;
  let byteCount = 0;
  for (const { offset, bytes } of parts) {
    if (bytes.length === 0) continue;
    const follows =
      run !== null && run.offset + byteCount === offset && byteCount + bytes.length <= RUN_BYTES_MAX && run.pieces.length < RUN_PIECES_MAX;
    if (run !== null && follows) {
      run.pieces.push(bytes);
      byteCount += bytes.length;
      continue;
    }
    run = { offset, pieces: [bytes] };
    byteCount = bytes.length;
    runs.push(run);
  }
  return runs;
}

/** Fills the pieces of a run from the file; what lies beyond its end becomes zeroes. */
export function readRun(fd: number, run: Run, done: TransferDone): void {
  const { offset, pieces } = run;
  const step = (error: NodeJS.ErrnoException | null, byteCount: number): void => {
    if (error !== null) return done(codeOf(error));
    if (byteCount === 0) {
      for (const piece of pieces) piece.fill(0);
      return done(null);
    }
    const rest = withoutFirst(pieces, byteCount);
    return rest.length === 0 ? done(null) : readRun(fd, { offset: offset + byteCount, pieces: rest }, done);
  };
  const [first] = pieces;
  if (pieces.length === 1 && first !== undefined) read(fd, first, 0, first.length, offset, step);
  else readv(fd, pieces, offset, step);
}

/** Writes the pieces of a run to the file, all of them. */
export function writeRun(fd: number, run: Run, done: TransferDone): void {
  const { offset, pieces } = run;
  const step = (error: NodeJS.ErrnoException | null, byteCount: number): void => {
    if (error !== null) return done(codeOf(error));
    if (byteCount === 0) return done('EIO');
    const rest = withoutFirst(pieces, byteCount);
    return rest.length === 0 ? done(null) : writeRun(fd, { offset: offset + byteCount, pieces: rest }, done);
  };
  const [first] = pieces;
  if (pieces.length === 1 && first !== undefined) write(fd, first, 0, first.length, offset, step);
  else writev(fd, pieces, offset, step);
}

/** The pieces without their first `byteCount` bytes. */
export function withoutFirst(pieces: readonly Uint8Array[], byteCount: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = byteCount;
  for (const piece of pieces) {
    if (skip < piece.length) rest.push(skip === 0 ? piece : piece.subarray(skip));
    skip = Math.max(0, skip - piece.length);
  }
  return rest;
}

/** The system's code of an error that Node threw or handed over; EIO when it has none. */
export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? 'EIO';
}
