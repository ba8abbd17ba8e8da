// The few system calls that Node does not offer: holes in files, reads that do not wait for the disk, file locks, a clock that goes on in a
// suspended machine. Each wrapper returns a number, or the name of the error; none throws. Where the C library cannot be reached at all,
// every wrapper answers ENOSYS, and callers do without.

import koffi from 'koffi';
import { constants } from 'node:os';

/** A number that is at least 0, or the system's name of the error, such as EAGAIN. */
export type CallResult = number | string;

/** fallocate(2): keep the file's size. */
export const FALLOCATE_KEEP_SIZE = 1;
/** fallocate(2): make a hole; only with FALLOCATE_KEEP_SIZE. */
export const FALLOCATE_PUNCH_HOLE = 2;
/** fallocate(2): make a range read as zeroes; its space stays or is reserved. */
export const FALLOCATE_ZERO_RANGE = 16;

interface NativeCall {
  (...args: (number | string)[]): number;
  /** The same on a thread of libuv's pool. */
  async(...args: (number | ((error: Error | null, result: number) => void))[]): void;
}

const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const LOCK_EXCLUSIVE = 2;
const LOCK_DO_NOT_WAIT = 4;
const RWF_NOWAIT = 8;
const CLOCK_BOOTTIME = 7;
const DUPLICATE_CLOSE_ON_EXEC = 1030;
const AF_UNIX = 1;
const SOCK_STREAM_CLOSE_ON_EXEC = 1 | 0o2000000;
const U32 = 2 ** 32;

const ERROR_NAMES: ReadonlyMap<number, string> = errorNames();
const native = bind();

/** fallocate(2) on `length` bytes from `offset`. EOPNOTSUPP where the file system or device cannot do that. */
export function fallocate(fd: number, mode: number, offset: number, length: number): CallResult {
  return native === null ? 'ENOSYS' : named(native.fallocate(fd, mode, offset, length));
}

/** Where data begins at or behind `offset`; ENXIO when there is none up to the end of the file. */
export function seekData(fd: number, offset: number): CallResult {
  return native === null ? 'ENOSYS' : named(native.lseek(fd, offset, SEEK_DATA));
}

/** Where a hole begins at or behind `offset`; the end of a file counts as one. ENXIO when `offset` is at or beyond the end. */
export function seekHole(fd: number, offset: number): CallResult {
  return native === null ? 'ENOSYS' : named(native.lseek(fd, offset, SEEK_HOLE));
}

/** Size of a file or block device in bytes (fstat says 0 for devices). */
export function seekEnd(fd: number): CallResult {
  return native === null ? 'ENOSYS' : named(native.lseek(fd, 0, SEEK_END));
}

/** Takes the exclusive lock of an open file, which lasts until it is closed. EAGAIN when another process has it. */
export function tryLock(fd: number): CallResult {
  return native === null ? 'ENOSYS' : named(native.flock(fd, LOCK_EXCLUSIVE | LOCK_DO_NOT_WAIT));
}

/**
 * Reads into `into` from `offset` as much as the page cache has. Returns how many bytes that were: fewer when the rest would have to be
 * waited for or lies beyond the end. EAGAIN when not even the first byte is cached, EOPNOTSUPP where the file system cannot tell.
 */
export function readCachedPart(fd: number, offset: number, into: Uint8Array): CallResult {
  if (native === null) return 'ENOSYS';
  const address = addressOf(into);
  native.vector[0] = address % U32;
  native.vector[1] = Math.floor(address / U32);
  native.vector[2] = into.length;
  native.vector[3] = 0;
  return named(native.preadv2(fd, native.vectorAddress, 1, offset, RWF_NOWAIT));
}

/** FICLONE of ioctl(2). */
const SHARE_BLOCKS = 0x4004_9409;

/**
 * Makes a file hold what another one holds, by sharing its blocks, on a thread of the pool. `done` comes later with null, or with the name of the
 * error: EOPNOTSUPP, EXDEV, EINVAL and others where that is not possible.
 */
export function shareBlocks(from: number, to: number, done: (code: string | null) => void): void {
  if (native === null) {
    setImmediate(done, 'ENOSYS');
    return;
  }
  const { ioctl } = native;
  ioctl.async(to, SHARE_BLOCKS, from, (error, result) => {
    if (error === null && result === 0) return done(null);
    // The number of an error stays on its thread: what was refused there is refused here too, and says why.
    const again = named(ioctl(to, SHARE_BLOCKS, from));
    done(typeof again === 'string' ? again : null);
  });
}

/** Whether descriptors can be given from one thread to another. */
export const canDuplicate: boolean = native !== null;

/** A second descriptor of the same open file or connection, closed in programs that are started from here. */
export function duplicate(fd: number): CallResult {
  return native === null ? 'ENOSYS' : named(native.fcntl(fd, DUPLICATE_CLOSE_ON_EXEC, 0));
}

/** Two connected local sockets; or the name of the error. */
export function socketPair(): readonly [number, number] | string {
  if (native === null) return 'ENOSYS';
  const pair = new Int32Array(2);
  const result = named(native.socketpair(AF_UNIX, SOCK_STREAM_CLOSE_ON_EXEC, 0, addressOf(new Uint8Array(pair.buffer))));
  return typeof result === 'string' ? result : [pair[0] as number, pair[1] as number];
}

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const sizeValue = new Int32Array(1);

/** Sets how many bytes a socket takes before whoever reads has taken some. The system bounds it, and doubles it for its own use. */
export function setSendBuffer(fd: number, byteCount: number): CallResult {
  if (native === null) return 'ENOSYS';
  sizeValue[0] = byteCount;
  return named(native.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, addressOf(new Uint8Array(sizeValue.buffer)), 4));
}

/** Ends the process at once, whichever thread asks for it; returns where that cannot be done. */
export function endProcess(code: number): void {
  native?.exit(code);
}

/** Milliseconds since the machine started, the time that it was suspended included; null where that cannot be had. */
export function bootMillis(): number | null {
  if (native === null || native.clockGettime(CLOCK_BOOTTIME, native.timeAddress) !== 0) return null;
  const [secondsLow = 0, secondsHigh = 0, nanos = 0] = native.time;
  return (secondsLow + secondsHigh * U32) * 1000 + nanos / 1e6;
}

/** posix_fadvise(2): a range will be read soon. */
const ADVICE_WILL_NEED = 3;

/** Asks the system to bring a range of a file into its cache. It waits only for room in the disk's queue and for metadata. Advice: nothing depends on it. */
export function bringIn(fd: number, offset: number, length: number): void {
  native?.fadvise(fd, offset, length, ADVICE_WILL_NEED);
}

/** SYNC_FILE_RANGE_WRITE of sync_file_range(2): begin to write, and do not wait. Without the others it takes no error away from a flush. */
const BEGIN_TO_WRITE = 2;

/** Begins to bring a range of a file to the disk, on a thread of the pool; `ended` is called later. Advice: nothing depends on it. */
export function beginWriteBack(fd: number, offset: number, length: number, ended: () => void): void {
  if (native === null) setImmediate(ended);
  else native.syncFileRange.async(fd, offset, length, BEGIN_TO_WRITE, ended);
}

/** What became of one transfer of AsyncBatch: bytes moved, the name of the error, or undefined when it was not carried out. */
export type TransferResult = number | string | undefined;

/** Submission of asynchronous I/O (io_submit): numbers of the system calls, which the C library has no functions for. */
const AIO_CALLS = process.arch === 'x64' ? { setup: 206, getEvents: 208, submit: 209 } : { setup: 0, getEvents: 4, submit: 2 };
const AIO_OPERATIONS = { read: 0, write: 1 } as const;
const AIO_BLOCK_WORDS = 16;
const AIO_EVENT_WORDS = 8;

/** An area for transfers that are handed to the system together, in one call on a thread of the pool. Used for one set of them at a time. */
export class AsyncBatch {
  readonly #native: Native;
  readonly #context: number;
  /** struct iocb, pointers to them, and struct io_event. */
  readonly #blocks: Uint32Array;
  readonly #pointers: Uint32Array;
  readonly #events: Uint32Array;
  readonly #eventsAddress: number;
  #count = 0;
  /** What the system is moving bytes from or to: kept from the garbage collector. */
  #held: Uint8Array[] = [];

  /** An area for so many transfers; null where the system has none to give. */
  static open(transfersMax: number): AsyncBatch | null {
    if (native === null) return null;
    const context = new Uint32Array(2);
    if (native.syscall(AIO_CALLS.setup, transfersMax, addressOf(bytesOf(context)), 0, 0, 0) !== 0) return null;
    return new AsyncBatch(native, transfersMax, (context[0] as number) + (context[1] as number) * U32);
  }

  private constructor(from: Native, transfersMax: number, context: number) {
    this.#native = from;
    this.#context = context;
    this.#blocks = new Uint32Array(transfersMax * AIO_BLOCK_WORDS);
    const blocksAddress = addressOf(bytesOf(this.#blocks));
    this.#pointers = new Uint32Array(transfersMax * 2);
    for (let i = 0; i < transfersMax; i++) setWide(this.#pointers, 2 * i, blocksAddress + 4 * AIO_BLOCK_WORDS * i);
    this.#events = new Uint32Array(transfersMax * AIO_EVENT_WORDS);
    this.#eventsAddress = addressOf(bytesOf(this.#events));
  }

  /** Adds a transfer to those that submit() hands over. */
  add(operation: 'read' | 'write', fd: number, offset: number, bytes: Uint8Array): void {
    const at = AIO_BLOCK_WORDS * this.#count;
    const block = this.#blocks;
    block.fill(0, at, at + AIO_BLOCK_WORDS);
    block[at] = this.#count;
    block[at + 4] = AIO_OPERATIONS[operation];
    block[at + 5] = fd;
    setWide(block, at + 6, addressOf(bytes));
    setWide(block, at + 8, bytes.length);
    setWide(block, at + 10, offset);
    this.#held.push(bytes);
    this.#count++;
  }

  /** Carries out what was added; `done` gets one result for each, in the order of add(). */
  submit(done: (results: readonly TransferResult[]) => void): void {
    const results: TransferResult[] = Array.from({ length: this.#count }, () => undefined);
    const end = (): void => {
      this.#count = 0;
      this.#held = [];
      done(results);
    };
    const pointersAddress = addressOf(bytesOf(this.#pointers));
    this.#native.syscall.async(AIO_CALLS.submit, this.#context, this.#count, pointersAddress, 0, 0, (error, submitted) => {
      // Those behind the first that was refused have not been carried out.
      if (error !== null || submitted <= 0) return end();
      this.#collect(results, submitted, end);
    });
  }

  /** Takes the results of `left` transfers: they are there already unless the system carries them out later, which is waited for in the pool. */
  #collect(results: TransferResult[], left: number, end: () => void): void {
    const taken = (error: Error | null, count: number): void => {
      if (error !== null || count < 0) throw new Error('io_getevents failed', { cause: error });
      for (let i = 0; i < count; i++) {
        const at = AIO_EVENT_WORDS * i;
        const result = wide(this.#events, at + 4);
        results[this.#events[at] as number] = result >= 0 ? result : (ERROR_NAMES.get(-result) ?? `E${-result}`);
      }
      if (count < left) this.#collect(results, left - count, end);
      else end();
    };
    const { syscall } = this.#native;
    const ready = syscall(AIO_CALLS.getEvents, this.#context, 0, left, this.#eventsAddress, 0);
    if (ready > 0) return taken(null, ready);
    syscall.async(AIO_CALLS.getEvents, this.#context, 1, left, this.#eventsAddress, 0, taken);
  }
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer);
}

/** Puts a 64-bit number into two words. */
function setWide(words: Uint32Array, at: number, value: number): void {
  words[at] = value % U32;
  words[at + 1] = Math.floor(value / U32);
}

/** A signed 64-bit number out of two words. */
function wide(words: Uint32Array, at: number): number {
  return (words[at] as number) + ((words[at + 1] as number) | 0) * U32;
}

/** Addresses of memory that was used before: asking for one takes longer than the rest of a call. Memory outside V8's heap never moves. */
const addresses = new WeakMap<ArrayBufferLike, number>();

/** Where bytes lie, for a call that ends before they are given up. */
export function addressOf(bytes: Uint8Array | Uint32Array): number {
  const memory = bytes.buffer;
  let address = addresses.get(memory);
  if (address === undefined) {
    address = Number(koffi.address(memory));
    addresses.set(memory, address);
  }
  return address + bytes.byteOffset;
}

function named(result: number): CallResult {
  if (result >= 0) return result;
  const errno = koffi.errno();
  return ERROR_NAMES.get(errno) ?? `E${errno}`;
}

function errorNames(): Map<number, string> {
  const names = new Map<number, string>();
  for (const [name, number] of Object.entries(constants.errno)) if (!names.has(number)) names.set(number, name);
  // Linux has one number for each of these pairs; the first name is the one that manual pages use here.
  names.set(constants.errno.EAGAIN, 'EAGAIN');
  names.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');
  return names;
}

interface Native {
  readonly fallocate: NativeCall;
  readonly lseek: NativeCall;
  readonly flock: NativeCall;
  readonly preadv2: NativeCall;
  readonly fadvise: NativeCall;
  readonly ioctl: NativeCall;
  readonly clockGettime: NativeCall;
  readonly fcntl: NativeCall;
  readonly socketpair: NativeCall;
  readonly setsockopt: NativeCall;
  readonly syncFileRange: NativeCall;
  readonly exit: NativeCall;
  readonly syscall: NativeCall;
  /** One struct iovec, and its address. It is filled anew for each call; encoding an object each time would double the call's cost. */
  readonly vector: Uint32Array;
  readonly vectorAddress: number;
  /** One struct timespec, and its address. */
  readonly time: Uint32Array;
  readonly timeAddress: number;
}

/** Binds the functions of the C library that this process already runs on, whichever that is. Null when it lacks one of them. */
function bind(): Native | null {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) return null;
  try {
    const library = koffi.load(null);
    const bound = (name: string, result: string, parameters: string[]): NativeCall => library.func(name, result, parameters) as NativeCall;
    const vector = new Uint32Array(4);
    const time = new Uint32Array(4);
    return {
      fallocate: bound('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t']),
      lseek: bound('lseek', 'int64_t', ['int', 'int64_t', 'int']),
      flock: bound('flock', 'int', ['int', 'int']),
      preadv2: bound('preadv2', 'int64_t', ['int', 'uintptr_t', 'int', 'int64_t', 'int']),
      fadvise: bound('posix_fadvise', 'int', ['int', 'int64_t', 'int64_t', 'int']),
      ioctl: bound('ioctl', 'int', ['int', 'uint64_t', 'int']),
      clockGettime: bound('clock_gettime', 'int', ['int', 'uintptr_t']),
      fcntl: bound('fcntl', 'int', ['int', 'int', 'int']),
      socketpair: bound('socketpair', 'int', ['int', 'int', 'int', 'uintptr_t']),
      setsockopt: bound('setsockopt', 'int', ['int', 'int', 'int', 'uintptr_t', 'int']),
      syncFileRange: bound('sync_file_range', 'int', ['int', 'int64_t', 'int64_t', 'int']),
      exit: bound('_exit', 'void', ['int']),
      syscall: bound('syscall', 'int64_t', ['int64_t', 'uintptr_t', 'int64_t', 'uintptr_t', 'uintptr_t', 'uintptr_t']),
      vector,
      vectorAddress: Number(koffi.address(vector.buffer)),
      time,
      timeAddress: Number(koffi.address(time.buffer)),
    };
  } catch (error) {
    process.emitWarning(`the C library cannot be called (${String(error)}): file locks and holes are not available`);
    return null;
  }
}
