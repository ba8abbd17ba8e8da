// Long writes go to the disk soon after they were written, not only when a flush asks for it: then the disk works while the next ones are made, a
// flush has little left to wait for, and so has whoever waits for that flush. Short writes are left alone: their block may well be written again, or
// its neighbours, before a flush. It is advice to the system. Nothing is durable by it, and a failed write is still told by the flush.

import { beginWriteBack } from './libc.ts';

/** From so many bytes in one place on it is worth a call. */
export const LONG_WRITE_BYTES = 256 * 1024;

/** A file, as far as it is needed here. */
export interface WrittenFile {
  readonly fd: number;
  readonly isClosed: boolean;
  /** Runs a call in the background, for which the descriptor stays open; `done` is told when it has ended. */
  hold(call: (ended: () => void) => void, done: () => void): void;
}

/** So many stretches wait; what comes then is left to the flush. */
const WAITING_MAX = 32;
/** One that is as long as this is not made longer: a call lasts about as long as the disk needs for it. */
const STRETCH_BYTES_MAX = 16 * 1024 * 1024;

interface Stretch {
  readonly file: WrittenFile;
  readonly from: number;
  to: number;
}

/** Begins to write back what was written, one call at a time: it may wait for a disk whose queue is full, on a thread that flushes need as well. */
export class EarlyWriteBack {
  readonly #begin: typeof beginWriteBack;
  #waiting: Stretch[] = [];
  #underWay = false;

  constructor(begin: typeof beginWriteBack = beginWriteBack) {
    this.#begin = begin;
  }

  /** Bytes of a file have been written. */
  written(file: WrittenFile, offset: number, length: number): void {
    const before = this.#waiting.find(
      (stretch) => stretch.file === file && stretch.to === offset && stretch.to - stretch.from < STRETCH_BYTES_MAX,
    );
    if (before !== undefined) before.to += length;
    else if (this.#waiting.length < WAITING_MAX) this.#waiting.push({ file, from: offset, to: offset + length });
    this.#next();
  }

  /** A flush of a file begins, which does all of that itself. */
  flushed(file: WrittenFile): void {
    this.#waiting = this.#waiting.filter((stretch) => stretch.file !== file);
  }

  #next(): void {
    while (!this.#underWay) {
      const stretch = this.#waiting.shift();
      if (stretch === undefined) return;
      const { file, from, to } = stretch;
      if (file.isClosed) continue;
      this.#underWay = true;
      file.hold(
        (ended) => this.#begin(file.fd, from, to - from, ended),
        () => {
          this.#underWay = false;
          this.#next();
        },
      );
    }
  }
}

/** That of this thread. */
export const earlyWriteBack: EarlyWriteBack = new EarlyWriteBack();
