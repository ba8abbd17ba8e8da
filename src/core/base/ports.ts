// What the core is handed instead of importing it: time, chance, checksums, files, the witness. The daemon gives real ones (host/), the
// simulator gives simulated ones, and the core cannot tell them apart. Every call here returns at once; what takes time calls back later,
// as an event of its own, and never from inside the call that began it. A callback of a site that has stopped is never called.

import type { Millis, SiteName, WallMillis } from './units.ts';

export interface Clock {
  /** Monotonic: never jumps, unlike the wall clock. */
  now(): Millis;
  /** For record times and messages to people only. */
  wall(): WallMillis;
}

export interface Random {
  /** A string that no other call anywhere returns: names of requests and sessions. */
  id(): string;
}

export interface Digests {
  /** CRC-32 (IEEE) of the bytes, going on from `seed` (0 to begin). */
  crc32(bytes: Uint8Array, seed: number): number;
}

/** How the content of blocks is digested when copies are compared. crc32 and md5 find accidents, not forgeries; sha256 is proof enough for both. */
export type DigestAlgorithm = 'crc32' | 'md5' | 'sha1' | 'sha256';

/** How bytes are digested: each `blockBytes` of them; the last block may be shorter. */
export interface DigestHow {
  readonly algorithm: DigestAlgorithm;
  readonly blockBytes: number;
}

/** Digests of much data: other threads may compute them. */
export interface BlockDigests {
  /** Memory for bytes that are to be digested, which goes back with digest(). Contents are undefined. */
  take(byteCount: number): Uint8Array;
  /**
   * Digests each `blockBytes` of the bytes (the last block may be shorter) and calls back, as an event of its own, with the digests one behind
   * the other. The bytes are the port's from this call on, with the whole of their buffer: they may move to another thread.
   */
  digest(algorithm: DigestAlgorithm, bytes: Uint8Array, blockBytes: number, done: (digests: Uint8Array) => void): void;
  /** The digest of a few bytes, here and now: for digests of digests. */
  digestNow(algorithm: DigestAlgorithm, bytes: Uint8Array): Uint8Array;
}

/** Why a file operation failed. It is final for the replica: a failed write or flush is never tried again (fsync may have dropped the data). */
export interface DiskFailure {
  readonly operation: 'open' | 'read' | 'write' | 'flush' | 'punch' | 'remove' | 'rename' | 'truncate' | 'list';
  readonly file: string;
  /** The system's code, such as ENOSPC or EIO. */
  readonly code: string;
}

/** Thrown by the synchronous calls of Storage and StoredFile. */
export class DiskError extends Error {
  override readonly name = 'DiskError';
  readonly failure: DiskFailure;
  constructor(failure: DiskFailure, options?: ErrorOptions) {
    super(`${failure.operation} of ${failure.file} failed: ${failure.code}`, options);
    this.failure = failure;
  }
}

/** Called once when a lasting operation ends: null when it succeeded. */
export type DiskDone = (failure: DiskFailure | null) => void;

/** Called once with digests one behind the other, or with why there are none. */
export type DigestsDone = (digests: Uint8Array | DiskFailure) => void;

/** A part of a file, and the memory that it is read into or written from. */
export interface FilePart {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Of a write, CRC-32 of each block of `bytes` where it is known already; 0 where it is not. */
  readonly blockCrcs?: Uint32Array;
}

/** What lies in a range of a file: data, or a hole that reads as zeroes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly hole: boolean;
}

/** An open file or block device. Writes are visible to reads at once and durable after a flush. */
export interface StoredFile {
  readonly name: string;
  /** Size in bytes. */
  size(): number;
  /** Writes the parts one behind the other from `offset`, through the page cache. */
  write(offset: number, parts: readonly Uint8Array[]): void;
  /** Fills `into` from `offset`; the bytes beyond the end read as zeroes. Returns how many bytes were there. Waits for the disk if it must. */
  read(offset: number, into: Uint8Array): number;
  /** Fills `into` from `offset` only when that needs no wait for the disk; false when it would, with `into` undefined. */
  readCached(offset: number, into: Uint8Array): boolean;
  /** Makes a file that long; what is added reads as zeroes and takes no space. */
  truncate(size: number): void;
  /**
   * Makes a file that long, with space for all of it, which nobody else can take then; ENOSPC when there is not so much. False where the file
   * system cannot do that, and the file is that long without.
   */
  reserve(size: number): boolean;
  /** Makes a range read as zeroes, giving its space back where the file system can (else by writing zeroes). */
  punch(offset: number, length: number): void;
  /** Holes and data of a range, in order, covering it exactly, at most `extentsMax` of them (then the last ends before the range does). */
  extents(offset: number, length: number, extentsMax: number): readonly Extent[];
  /** Reads parts in the background, without stopping the event loop for the disk. */
  readParts(parts: readonly FilePart[], done: DiskDone): void;
  /**
   * Digests the blocks of a range in the background, without bringing their content here: one digest behind the other, or why it could not be
   * read. What lies beyond the end reads as zeroes.
   */
  digestBlocks(range: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): void;
  /**
   * Makes this file hold what another open one of this storage holds, in the background and without a copy of it: both share their blocks until one
   * of them is written to. Fails with EOPNOTSUPP, EXDEV and the like where the file system cannot do that. Cut off by a crash, it may hold anything.
   */
  cloneFrom(source: StoredFile, done: DiskDone): void;
  /** Writes parts in the background. */
  writeParts(parts: readonly FilePart[], done: DiskDone): void;
  close(): void;
}

/** The files of one replica: its superblock, sidefile segments and base images, each by a short name. */
export interface Storage {
  /** Names of the files that exist, sorted. */
  list(): readonly string[];
  /** Opens a file; creates it empty when `create` and it is not there. */
  open(name: string, options: { create: boolean }): StoredFile;
  /** Removes a closed file. */
  remove(name: string): void;
  /** Bytes that files may still take; null where that cannot be told. */
  freeBytes(): number | null;
  /** Gives an open file another name, which no file has; durable with the next flush of the file. */
  rename(file: StoredFile, name: string): void;
  /**
   * Makes durable everything that was written to these files before this call, and their names in the directory. Several flushes may be
   * under way; each covers what was written before it began.
   */
  flush(files: readonly StoredFile[], done: DiskDone): void;
}

/** Makes bytes fewer for a link that is slow, and restores them. */
export interface Compression {
  /** The parts one behind the other, made fewer; null when that does not pay. */
  pack(parts: readonly Uint8Array[]): Uint8Array | null;
  /** What was packed; null when it is damaged, or not exactly `byteCount` bytes. Takes no more memory than those. */
  unpack(bytes: Uint8Array, byteCount: number): Uint8Array | null;
}

/** Bytes that may be reused: taken for one frame, given back when the last user of it is done. Contents are undefined when taken. */
export interface Buffers {
  take(byteCount: number): Uint8Array;
  give(bytes: Uint8Array): void;
}

/** Whom the other end of a connection has proved to be. */
export interface LinkIdentity {
  /** Empty for a holder that is no site. */
  readonly site: SiteName;
  /** The only groups that it may speak about; null for all. */
  readonly groups: readonly string[] | null;
}

/** One connection to a peer, as an ordered stream of bytes that ends when either side closes it. */
export interface LinkPort {
  /**
   * Sends the parts in order. `sent` is called when the bytes of the parts are no longer needed, at once or later, also when the link closes
   * before; until then they must not change.
   */
  send(parts: readonly Uint8Array[], sent?: () => void): void;
  /** Bytes handed to send() that the network has not taken yet. */
  readonly backlogBytes: number;
  /** Whom the other end has proved to be; null, or left out, where nobody proves anything. */
  readonly identity?: LinkIdentity | null;
  /** Ends the connection; nothing more is delivered from it. */
  close(): void;
}

/** Writes one line for people: transitions, never traffic. */
export interface Journal {
  (event: string, facts: Readonly<Record<string, unknown>>, text: string): void;
}
