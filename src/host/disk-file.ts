// One open file or block device behind the core's StoredFile. Nothing here decides: it does what it is told, and says what went wrong.

import { closeSync, fstatSync, ftruncateSync, readSync, writeSync, writevSync } from 'node:fs';
import { assert } from '../core/base/assert.ts';
import {
  type DigestHow,
  type DigestsDone,
  DiskError,
  type DiskDone,
  type DiskFailure,
  type Extent,
  type FilePart,
  type StoredFile,
} from '../core/base/ports.ts';
import type { DigestThreads } from './digest-threads.ts';
import {
  FALLOCATE_KEEP_SIZE,
  FALLOCATE_PUNCH_HOLE,
  FALLOCATE_ZERO_RANGE,
  fallocate,
  readCachedPart,
  seekData,
  seekEnd,
  seekHole,
  shareBlocks,
} from './libc.ts';
import {
  areApart,
  GatheredReads,
  piecesOf,
  readScattered,
  scattered,
  SMALL_READ_BYTES_MAX,
  worthScattering,
  writeScattered,
} from './scatter.ts';
import { codeOf, joinRuns, readRun, type TransferDone, type TransferQueue, withoutFirst, writeRun } from './transfers.ts';
import { earlyWriteBack, LONG_WRITE_BYTES } from './write-back.ts';

/** What a file needs of the folder it is in. */
export interface FileOwner {
  readonly transfers: TransferQueue;
  readonly digests: DigestThreads;
  /** An operation in the background begins; the folder stays locked until it has ended. */
  begun(): void;
  /** It has ended, and `done` is to be told unless the folder has been closed. */
  ended(done: DiskDone, failure: DiskFailure | null): void;
}

/** Ways to make a range read as zeroes, the one that gives space back first. */
const ZEROING_MODES = [FALLOCATE_PUNCH_HOLE | FALLOCATE_KEEP_SIZE, FALLOCATE_ZERO_RANGE | FALLOCATE_KEEP_SIZE];
/** Answers that mean "not in this way here": another way is tried. EINVAL: a device that does that only for whole sectors. */
const NOT_IN_THIS_WAY: ReadonlySet<string> = new Set(['EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'ENOTTY', 'ENODEV']);
const ZEROES = Buffer.alloc(1024 * 1024);

/** Where the system cannot tell what is cached: a read that took longer than this waited for the disk, */
const SLOW_READ_MILLIS = 0.3;
/** and for so many reads after it the answer is "would wait", so that they go to the background. */
const READS_AFTER_SLOW = 32;

/** An open file or block device. */
export class DiskFile implements StoredFile {
  readonly fd: number;
  #name: string;
  readonly #owner: FileOwner;
  readonly #isDevice: boolean;
  readonly #reads: GatheredReads;
  #size: number;
  /** Users who have opened and not closed it. */
  #users = 0;
  #inFlight = 0;
  #knowsCached = true;
  #readsToRefuse = 0;

  /** Takes over `fd`, which is closed after the last user's close(). Throws DiskError when its size cannot be had. */
  constructor(name: string, fd: number, owner: FileOwner) {
    this.#name = name;
    this.fd = fd;
    this.#owner = owner;
    this.#reads = new GatheredReads(fd, owner.transfers);
    const stat = this.#attempt('open', () => fstatSync(fd));
    this.#isDevice = stat.isBlockDevice();
    if (!this.#isDevice && !stat.isFile()) throw this.#error('open', 'EINVAL');
    const size = this.#isDevice ? seekEnd(fd) : stat.size;
    if (typeof size === 'string') throw this.#error('open', size);
    this.#size = size;
  }

  get name(): string {
    return this.#name;
  }

  /** It has another name from now on. */
  renamed(name: string): void {
    this.#name = name;
  }

  size(): number {
    return this.#size;
  }

  write(offset: number, parts: readonly Uint8Array[]): void {
    this.#checkOpen();
    const [first] = parts;
    let rest: readonly Uint8Array[] = parts;
    let at = offset;
    let single = parts.length === 1 ? first : undefined;
    while (rest.length > 0) {
      const pieces = rest;
      const from = at;
      const only = single;
      const written = this.#attempt('write', () =>
        only === undefined ? writevSync(this.fd, pieces, from) : writeSync(this.fd, only, 0, only.length, from),
      );
      at += written;
      if (at > this.#size) this.#size = at;
      // Less than asked for: the next call says why (no space, a limit of file size), and until then nothing has failed.
      rest = withoutFirst(pieces, written);
      single = undefined;
      if (written === 0 && rest.length > 0) throw this.#error('write', 'EIO');
    }
    if (at - offset >= LONG_WRITE_BYTES) earlyWriteBack.written(this, offset, at - offset);
  }

  read(offset: number, into: Uint8Array): number {
    this.#checkOpen();
    let filled = 0;
    while (filled < into.length) {
      const from = filled;
      const byteCount = this.#attempt('read', () => readSync(this.fd, into, from, into.length - from, offset + from));
      if (byteCount === 0) break;
      filled += byteCount;
    }
    if (filled < into.length) into.fill(0, filled);
    return filled;
  }

  readCached(offset: number, into: Uint8Array): boolean {
    this.#checkOpen();
    if (!this.#knowsCached) return this.#readUnlessSlow(offset, into);
    const byteCount = readCachedPart(this.fd, offset, into);
    if (byteCount === into.length) return true;
    if (typeof byteCount === 'number') {
      if (offset + byteCount < this.#size) return false;
      into.fill(0, byteCount);
      return true;
    }
    // Any other error is met again, and named, by the read that waits.
    if (byteCount !== 'EOPNOTSUPP' && byteCount !== 'ENOSYS') return false;
    this.#knowsCached = false;
    return this.#readUnlessSlow(offset, into);
  }

  truncate(size: number): void {
    this.#checkOpen();
    if (this.#isDevice) {
      // It may have been made larger since it was opened.
      const found = seekEnd(this.fd);
      if (typeof found === 'string') throw this.#error('truncate', found);
      this.#size = found;
      if (size !== found) throw this.#error('truncate', 'EINVAL');
      return;
    }
    this.#attempt('truncate', () => ftruncateSync(this.fd, size));
    this.#size = size;
  }

  reserve(size: number): boolean {
    this.#checkOpen();
    if (this.#isDevice) return false;
    const result = fallocate(this.fd, 0, 0, size);
    if (typeof result === 'string') {
      if (!NOT_IN_THIS_WAY.has(result)) throw this.#error('write', result);
      this.truncate(size);
      return false;
    }
    this.#size = Math.max(this.#size, size);
    return true;
  }

  punch(offset: number, length: number): void {
    this.#checkOpen();
    const end = Math.min(offset + length, this.#size);
    if (end <= offset) return;
    for (const mode of ZEROING_MODES) {
      const result = fallocate(this.fd, mode, offset, end - offset);
      if (typeof result === 'number') return;
      if (!NOT_IN_THIS_WAY.has(result)) throw this.#error('punch', result);
    }
    for (let at = offset; at < end; at += ZEROES.length) this.write(at, [ZEROES.subarray(0, end - at)]);
  }

  extents(offset: number, length: number, extentsMax: number): readonly Extent[] {
    this.#checkOpen();
    const end = offset + length;
    const extents: Extent[] = [];
    for (let at = offset; at < end && extents.length < extentsMax;) {
      const extent = this.#extentAt(at, end);
      extents.push(extent);
      at += extent.length;
    }
    return extents;
  }

  readParts(parts: readonly FilePart[], done: DiskDone): void {
    this.#checkOpen();
    const [first] = parts;
    if (parts.length === 1 && first !== undefined && first.bytes.length <= SMALL_READ_BYTES_MAX) this.#readSmall(first, done);
    else if (worthScattering(parts.length) && areApart(parts)) this.#transfer('read', scattered(parts), readScattered, done);
    else this.#transfer('read', joinRuns(parts), readRun, done);
  }

  digestBlocks(range: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): void {
    this.#checkOpen();
    const owner = this.#owner;
    let digests: Uint8Array = new Uint8Array(0);
    owner.begun();
    this.busy(
      (finish) =>
        owner.digests.digestFile({ fd: this.fd, ...range }, how, (result) => {
          if (typeof result !== 'string') digests = result;
          finish(typeof result === 'string' ? result : null);
        }),
      (code) => {
        const failure: DiskFailure | null = code === null ? null : { operation: 'read', file: this.name, code };
        owner.ended((failed) => done(failed ?? digests), failure);
      },
    );
  }

  cloneFrom(source: StoredFile, done: DiskDone): void {
    this.#checkOpen();
    assert(source instanceof DiskFile, 'a file shares the blocks of a file of the same kind', { file: source.name });
    const owner = this.#owner;
    owner.begun();
    source.busy(
      (finish) => this.busy((cloned) => shareBlocks(source.fd, this.fd, cloned), finish),
      (code) => {
        if (code === null) this.#size = Math.max(this.#size, source.size());
        owner.ended(done, code === null ? null : { operation: 'write', file: this.name, code });
      },
    );
  }

  writeParts(parts: readonly FilePart[], done: DiskDone): void {
    this.#checkOpen();
    let end = 0;
    for (const { offset, bytes } of parts) end = Math.max(end, offset + bytes.length);
    const ended: DiskDone = (failure) => {
      if (failure === null && end > this.#size) this.#size = end;
      if (failure === null) this.#writeBackLong(parts);
      done(failure);
    };
    const pieces = piecesOf(parts);
    if (worthScattering(pieces.length)) this.#transfer('write', scattered(pieces), writeScattered, ended);
    else this.#transfer('write', joinRuns(pieces), writeRun, ended);
  }

  /** Of what was written in the background, what lies together and is long. */
  #writeBackLong(parts: readonly FilePart[]): void {
    let [from, to] = [0, 0];
    const stretch = (): void => {
      if (to - from >= LONG_WRITE_BYTES) earlyWriteBack.written(this, from, to - from);
    };
    for (const { offset, bytes } of parts) {
      if (offset !== to) {
        stretch();
        from = offset;
      }
      to = offset + bytes.length;
    }
    stretch();
  }

  /** Runs a call in the background that nobody waits for; the folder stays locked until it has ended. */
  hold(call: (ended: () => void) => void, done: () => void): void {
    const owner = this.#owner;
    owner.begun();
    this.busy(
      (finish) => call(() => finish(null)),
      () => {
        owner.ended(() => undefined, null);
        done();
      },
    );
  }

  close(): void {
    this.#checkOpen();
    this.#users--;
    this.#closeWhenIdle();
  }

  /** Another user; each closes once. */
  opened(): void {
    this.#users++;
  }

  /** Whether nobody uses it any more. Its descriptor may still be busy. */
  get isClosed(): boolean {
    return this.#users === 0;
  }

  /** Runs one call on the descriptor in the background, and keeps the descriptor open for it. */
  busy(begin: (done: TransferDone) => void, done: TransferDone): void {
    this.#inFlight++;
    begin((code) => {
      this.#inFlight--;
      this.#closeWhenIdle();
      done(code);
    });
  }

  #extentAt(at: number, end: number): Extent {
    const extent = (to: number, hole: boolean): Extent => ({ offset: at, length: Math.min(to, end) - at, hole });
    if (at >= this.#size) return extent(end, true);
    if (this.#isDevice) return extent(this.#size, false);
    const data = seekData(this.fd, at);
    if (data === 'ENXIO') return extent(end, true);
    if (typeof data === 'string') {
      if (NOT_IN_THIS_WAY.has(data)) return extent(this.#size, false);
      throw this.#error('read', data);
    }
    if (data > at) return extent(data, true);
    const hole = seekHole(this.fd, at);
    if (typeof hole === 'string') throw this.#error('read', hole);
    return extent(hole, false);
  }

  /** One small read, which goes along with others. */
  #readSmall({ offset, bytes }: FilePart, done: DiskDone): void {
    const owner = this.#owner;
    owner.begun();
    this.busy(
      (finish) => this.#reads.add({ offset, bytes, done: finish }),
      (code) => owner.ended(done, code === null ? null : { operation: 'read', file: this.name, code }),
    );
  }

  /** Every run, or set of scattered writes, is one transfer. After a failure no further one is begun; `done` is told when all that were begun have ended. */
  #transfer<T>(
    operation: 'read' | 'write',
    runs: readonly T[],
    move: (fd: number, run: T, done: TransferDone) => void,
    done: DiskDone,
  ): void {
    const owner = this.#owner;
    let left = runs.length;
    let failure: DiskFailure | null = null;
    owner.begun();
    if (left === 0) {
      setImmediate(() => owner.ended(done, null));
      return;
    }
    const ended = (code: string | null): void => {
      if (code !== null) failure ??= { operation, file: this.name, code };
      left--;
      if (left === 0) owner.ended(done, failure);
    };
    for (const run of runs) {
      this.#inFlight++;
      owner.transfers.add((free) => {
        const finish = (code: string | null): void => {
          this.#inFlight--;
          this.#closeWhenIdle();
          free();
          ended(code);
        };
        if (failure === null) move(this.fd, run, finish);
        else setImmediate(finish, null);
      });
    }
  }

  /** Without the system's help: reads, unless the last read has shown that the disk must be waited for. */
  #readUnlessSlow(offset: number, into: Uint8Array): boolean {
    if (this.#readsToRefuse > 0) {
      this.#readsToRefuse--;
      return false;
    }
    const begin = performance.now();
    this.read(offset, into);
    if (performance.now() - begin > SLOW_READ_MILLIS) this.#readsToRefuse = READS_AFTER_SLOW;
    return true;
  }

  #closeWhenIdle(): void {
    if (this.#users > 0 || this.#inFlight > 0) return;
    // What a close reports (on network file systems) is a write that did not reach the disk.
    this.#attempt('flush', () => closeSync(this.fd));
  }

  #checkOpen(): void {
    assert(this.#users > 0, 'a closed file is used', { file: this.name });
  }

  #attempt<T>(operation: DiskFailure['operation'], call: () => T): T {
    try {
      return call();
    } catch (cause) {
      throw this.#error(operation, codeOf(cause), cause);
    }
  }

  #error(operation: DiskFailure['operation'], code: string, cause?: unknown): DiskError {
    return new DiskError({ operation, file: this.name, code }, cause === undefined ? {} : { cause });
  }
}
