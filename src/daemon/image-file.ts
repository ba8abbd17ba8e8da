// A raw image that is being written: sparse, and under its name only once it is whole and on stable storage. Nothing is ever written over.

import { closeSync, existsSync, fsyncSync, fstatSync, ftruncateSync, linkSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { TercetError } from '../core/base/errors.ts';
import { syncFolder } from '../host/disk.ts';

/** Zeroes of this size that begin at a multiple of it become a hole. */
const HOLE_BYTES = 64 * 1024;
const ZEROES = Buffer.alloc(HOLE_BYTES);

/** An image that is written. */
export class ImageFile {
  readonly path: string;
  readonly #what: string;
  readonly #part: string;
  readonly #fd: number;
  /** Nothing was written from here on. */
  #writtenTo = 0;

  /** `what` is exported: for messages. Throws TERCET_NOT_IN_STATE. */
  constructor(file: string, what: string) {
    this.path = resolve(file);
    this.#what = what;
    this.#part = `${this.path}.part-${process.pid}`;
    if (existsSync(this.path)) throw this.#wrong(`${this.path} exists already, and nothing is written over`);
    this.#fd = this.#attempt(() => openSync(this.#part, 'wx', 0o600));
  }

  /** Puts bytes at their place; what was put there before is gone. */
  write(offset: number, bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      const at = offset + from;
      const end = Math.min(bytes.length, from + HOLE_BYTES - (at % HOLE_BYTES));
      const piece = bytes.subarray(from, end);
      const isHole = at >= this.#writtenTo && ZEROES.subarray(0, piece.length).equals(piece);
      if (!isHole) {
        for (let done = 0; done < piece.length;)
          done += this.#attempt(() => writeSync(this.#fd, piece, done, piece.length - done, at + done));
        this.#writtenTo = Math.max(this.#writtenTo, at + piece.length);
      }
      from = end;
    }
  }

  /** Gives the whole image its name; returns how many bytes it takes on its disk. */
  finish(sizeBytes: number): number {
    this.#attempt(() => {
      ftruncateSync(this.#fd, sizeBytes);
      fsyncSync(this.#fd);
    });
    const { blocks } = fstatSync(this.#fd);
    try {
      // Unlike a rename, this leaves a file alone that has appeared under that name meanwhile.
      linkSync(this.#part, this.path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') throw this.#wrong(`${this.path} has appeared meanwhile, and nothing is written over`, error);
      throw this.#wrong(`${this.#part} cannot be named ${this.path} (${code}): choose a folder whose file system has hard links`, error);
    }
    syncFolder(dirname(this.path));
    return blocks * 512;
  }

  /** Ends it, whether it has its name or not. */
  close(): void {
    closeSync(this.#fd);
    rmSync(this.#part, { force: true });
  }

  #attempt<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw code === undefined ? error : this.#wrong(`${this.#part} cannot be written (${code})`, error);
    }
  }

  #wrong(reason: string, cause?: unknown): TercetError {
    return new TercetError('TERCET_NOT_IN_STATE', { what: `${this.#what} was not exported`, reason }, { cause });
  }
}
