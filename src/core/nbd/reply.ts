// Replies as bytes, and the buffer that gathers them. All small replies of a turn end in one piece of memory, so that one write to the
// socket carries them; large read data goes out as it was handed in, without a copy.

import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { limits } from '../base/limits.ts';
import type { Seq } from '../base/units.ts';
import { encodeUtf8 } from '../base/utf8.ts';
import { BYTES, MAGIC, type NbdErrno, REPLY_FLAG_DONE, REPLY_TYPE, STATE, STATE_DIRTY, STRING_BYTES_MAX } from './constants.ts';

/** Memory that replies are written into one behind the other; many turns share one. */
const ARENA_BYTES = 64 * 1024;
/** Data up to this is copied beside its header: a further part of a write costs more than such a copy. */
const COPY_BYTES_MAX = 16 * 1024;
/** Zeroes that holes are sent from where a hole cannot be said. */
const ZEROES = new Uint8Array(64 * 1024);
/** Longest text that surely fits into a string of the protocol, whatever its characters. */
const TEXT_CHARS_MAX = Math.floor(STRING_BYTES_MAX / 3);

/** What of a request a reply needs. The cookie is the client's, opaque, in two words. */
export interface ReplyTo {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offset: number;
  readonly length: number;
  /** The client wants at most one content chunk. */
  readonly df: boolean;
  /** The client wants one extent. */
  readonly reqOne: boolean;
}

/** One stretch of the answer to a read, in order: its bytes, or null when it reads as zeroes. */
export interface NbdPiece {
  readonly length: number;
  readonly data: Uint8Array | null;
}

/** One stretch of the answer to BLOCK_STATUS. `zero` only when every byte of it surely reads as zero; both false is always safe. */
export interface NbdExtent {
  readonly length: number;
  readonly hole: boolean;
  readonly zero: boolean;
}

/** One stretch of what a copy lacks. */
export interface NbdLack {
  readonly length: number;
  readonly lacking: boolean;
}

/** The answer of one context: its number, and stretches that begin at the request's offset. */
export interface ToldStatus {
  readonly id: number;
  readonly extents: readonly (NbdExtent | NbdLack)[];
}

interface Context {
  readonly id: number;
  readonly done: boolean;
}

/** Gathers output. Small pieces are copied into shared memory, large ones kept as they are; take() gives both in order. */
export class ReplyBuffer {
  /** Memory being filled, and a view of it: valid for the range that reserve() gave, until the next call. */
  arena: Uint8Array = ZEROES.subarray(0, 0);
  view: DataView = viewOf(this.arena);
  /** Every reply is a chunk with an extended header. */
  extended = false;
  /** Bytes that take() would give. */
  queuedBytes = 0;
  readonly #allocate: (byteCount: number) => Uint8Array;
  #parts: Uint8Array[] = [];
  #lent: Uint8Array[] = [];
  /** The arena's bytes from #begin to #end are queued, but no part of #parts yet. */
  #begin = 0;
  #end = 0;

  /** `allocate` may give memory with any content. */
  constructor(allocate: (byteCount: number) => Uint8Array) {
    this.#allocate = allocate;
  }

  /** Queues `byteCount` bytes and returns their place in `arena` and `view`; the caller writes every one of them. */
  reserve(byteCount: number): number {
    if (this.#end + byteCount > this.arena.length) {
      this.#seal();
      this.arena = this.#allocate(Math.max(ARENA_BYTES, byteCount));
      this.view = viewOf(this.arena);
      this.#begin = this.#end = 0;
    }
    const at = this.#end;
    this.#end += byteCount;
    this.queuedBytes += byteCount;
    return at;
  }

  /** Queues bytes. Long ones are not copied: they must not change until they were written to the socket. */
  append(bytes: Uint8Array): void {
    if (bytes.length <= COPY_BYTES_MAX) {
      const at = this.reserve(bytes.length);
      this.arena.set(bytes, at);
      return;
    }
    this.#seal();
    this.#parts.push(bytes);
    this.queuedBytes += bytes.length;
  }

  /** Bytes that are queued are somebody's who wants them back once they were written. Those that were copied are not needed any more. */
  lend(bytes: Uint8Array): void {
    if (bytes.length > COPY_BYTES_MAX) this.#lent.push(bytes);
  }

  /** What was lent of the bytes that take() has given since the last time. */
  takeLent(): readonly Uint8Array[] {
    const lent = this.#lent;
    if (lent.length > 0) this.#lent = [];
    return lent;
  }

  /** Queues zeroes. */
  appendZeroes(byteCount: number): void {
    for (let left = byteCount; left > 0; left -= Math.min(left, ZEROES.length)) {
      this.append(left < ZEROES.length ? ZEROES.subarray(0, left) : ZEROES);
    }
  }

  /** Everything queued, in order, as few parts. The memory is the caller's: nothing here writes into it again. */
  take(): Uint8Array[] {
    this.#seal();
    const parts = this.#parts;
    if (parts.length > 0) this.#parts = [];
    this.queuedBytes = 0;
    return parts;
  }

  /** Forgets everything, memory included. */
  clear(): void {
    this.take();
    this.takeLent();
    this.arena = ZEROES.subarray(0, 0);
    this.view = viewOf(this.arena);
    this.#begin = this.#end = 0;
  }

  #seal(): void {
    if (this.#end > this.#begin) this.#parts.push(this.arena.subarray(this.#begin, this.#end));
    this.#begin = this.#end;
  }
}

/** "Simple reply message", without data. */
export function putSimpleReply(out: ReplyBuffer, to: ReplyTo, error: NbdErrno | 0): void {
  if (out.extended) {
    if (error === 0) putNoneChunk(out, to);
    else putErrorChunk(out, to, error, '');
    return;
  }
  const at = out.reserve(BYTES.simpleReply);
  const view = out.view;
  view.setUint32(at, MAGIC.SIMPLE_REPLY);
  view.setUint32(at + 4, error);
  view.setUint32(at + 8, to.cookieHigh);
  view.setUint32(at + 12, to.cookieLow);
}

/** The chunk that says no more than success: for a structured reply without content. */
export function putNoneChunk(out: ReplyBuffer, to: ReplyTo): void {
  putChunk(out, to, { done: true, type: REPLY_TYPE.NONE, payloadBytes: 0, writtenBytes: 0 });
}

/** Success, and the sequence number that it stands for: REPLY_TYPE.POSITION. */
export function putPositionChunk(out: ReplyBuffer, to: ReplyTo, seq: Seq): void {
  const at = putChunk(out, to, { done: true, type: REPLY_TYPE.POSITION, payloadBytes: 8, writtenBytes: 8 });
  putU64(out.view, at, seq);
}

/** An error with a sentence for people. */
export function putErrorChunk(out: ReplyBuffer, to: ReplyTo, error: NbdErrno, text: string): void {
  const message = encodeUtf8(text.slice(0, TEXT_CHARS_MAX).toWellFormed());
  const payloadBytes = 6 + message.length;
  const at = putChunk(out, to, { done: true, type: REPLY_TYPE.ERROR, payloadBytes, writtenBytes: payloadBytes });
  out.view.setUint32(at, error);
  out.view.setUint16(at + 4, message.length);
  out.arena.set(message, at + 6);
}

/** Success of a read whose bytes lie in one piece: the frequent case, without any list. */
export function putReadReply(out: ReplyBuffer, to: ReplyTo, structured: boolean, data: Uint8Array): void {
  assert(data.length === to.length, 'a read must be answered with as many bytes as it asked for', { data: data.length, length: to.length });
  if (!structured) putSimpleReply(out, to, 0);
  else if (data.length <= limits.requestBytesAdvertised) putDataHead(out, to, { done: true, offset: to.offset, length: data.length });
  else return putDataChunks(out, to, { done: true, offset: to.offset, data });
  out.append(data);
}

/**
 * Success of a read in pieces that cover it exactly. A hole is said as such only in structured replies and where one content chunk alone
 * was not asked for; elsewhere its zeroes are sent.
 */
export function putReadPieces(out: ReplyBuffer, to: ReplyTo, structured: boolean, pieces: readonly NbdPiece[]): void {
  assertPieces(pieces, to.length);
  if (!structured || (to.df && pieces.length > 1)) {
    if (structured) putDataHead(out, to, { done: true, offset: to.offset, length: to.length });
    else putSimpleReply(out, to, 0);
    for (const piece of pieces) {
      if (piece.data === null) out.appendZeroes(piece.length);
      else out.append(piece.data);
    }
    return;
  }
  let offset = to.offset;
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i] as NbdPiece;
    const done = i === pieces.length - 1;
    if (piece.data === null) putHoleChunk(out, to, { done, offset, length: piece.length });
    else putDataChunks(out, to, { done, offset, data: piece.data });
    offset += piece.length;
  }
}

/**
 * Success of BLOCK_STATUS for base:allocation. The extents begin at the request's offset; like neighbours are joined, what lies beyond the
 * request is cut off, and what is too much for one reply is left for the client's next question.
 */
export function putStatusReply(out: ReplyBuffer, to: ReplyTo, told: readonly ToldStatus[]): void {
  told.forEach(({ id, extents }, index) => putContext(out, to, { id, done: index === told.length - 1 }, extents));
}

function putContext(out: ReplyBuffer, to: ReplyTo, context: Context, extents: ToldStatus['extents']): void {
  const joined = joinExtents(extents, to.length, to.reqOne ? 1 : limits.nbdExtentsMax);
  assert(joined.length > 0, 'a status reply needs at least one extent', { offset: to.offset, length: to.length });
  if (out.extended) return putExtendedStatus(out, to, context, joined);
  const payloadBytes = 4 + 8 * joined.length;
  let at = putChunk(out, to, { done: context.done, type: REPLY_TYPE.BLOCK_STATUS, payloadBytes, writtenBytes: payloadBytes });
  const view = out.view;
  view.setUint32(at, context.id);
  at += 4;
  for (const { length, flags } of joined) {
    view.setUint32(at, length);
    view.setUint32(at + 4, flags);
    at += 8;
  }
}

/** "Extended block status": lengths and flags have 64 bits. */
function putExtendedStatus(out: ReplyBuffer, to: ReplyTo, { id, done }: Context, joined: readonly StatusDescriptor[]): void {
  const payloadBytes = 8 + 16 * joined.length;
  let at = putChunk(out, to, { done, type: REPLY_TYPE.BLOCK_STATUS_EXT, payloadBytes, writtenBytes: payloadBytes });
  const view = out.view;
  view.setUint32(at, id);
  view.setUint32(at + 4, joined.length);
  at += 8;
  for (const { length, flags } of joined) {
    putU64(view, at, length);
    putU64(view, at + 8, flags);
    at += 16;
  }
}

interface StatusDescriptor {
  length: number;
  readonly flags: number;
}

function flagsOf(extent: NbdExtent | NbdLack): number {
  if ('lacking' in extent) return extent.lacking ? STATE_DIRTY : 0;
  return (extent.hole ? STATE.HOLE : 0) | (extent.zero ? STATE.ZERO : 0);
}

function joinExtents(extents: ToldStatus['extents'], byteCount: number, countMax: number): StatusDescriptor[] {
  const joined: StatusDescriptor[] = [];
  let left = byteCount;
  for (const extent of extents) {
    assert(extent.length > 0, 'an extent must have bytes', { length: extent.length });
    const length = Math.min(extent.length, left);
    const flags = flagsOf(extent);
    const last = joined.at(-1);
    if (last !== undefined && last.flags === flags) last.length += length;
    else if (joined.length === countMax) break;
    else joined.push({ length, flags });
    left -= length;
    if (left === 0) break;
  }
  return joined;
}

function assertPieces(pieces: readonly NbdPiece[], byteCount: number): void {
  let covered = 0;
  for (const { length, data } of pieces) {
    assert(length > 0, 'a piece must have bytes', { length });
    assert(data === null || data.length === length, 'a piece must be as long as its bytes', { length, bytes: data?.length });
    covered += length;
  }
  assert(covered === byteCount, 'the pieces must cover the read', { covered, byteCount });
}

/** "A server MUST NOT send a chunk [with data] larger than any advertised maximum payload size". DF is never set on data that long. */
function putDataChunks(out: ReplyBuffer, to: ReplyTo, chunk: { done: boolean; offset: number; data: Uint8Array }): void {
  const step = limits.requestBytesAdvertised;
  for (let from = 0; from < chunk.data.length; from += step) {
    const data = chunk.data.subarray(from, from + step);
    putDataHead(out, to, {
      done: chunk.done && from + data.length === chunk.data.length,
      offset: chunk.offset + from,
      length: data.length,
    });
    out.append(data);
  }
}

/** Head of OFFSET_DATA; the data follows. */
function putDataHead(out: ReplyBuffer, to: ReplyTo, chunk: { done: boolean; offset: number; length: number }): void {
  const at = putChunk(out, to, { done: chunk.done, type: REPLY_TYPE.OFFSET_DATA, payloadBytes: 8 + chunk.length, writtenBytes: 8 });
  putU64(out.view, at, chunk.offset);
}

function putHoleChunk(out: ReplyBuffer, to: ReplyTo, chunk: { done: boolean; offset: number; length: number }): void {
  const at = putChunk(out, to, { done: chunk.done, type: REPLY_TYPE.OFFSET_HOLE, payloadBytes: 12, writtenBytes: 12 });
  putU64(out.view, at, chunk.offset);
  out.view.setUint32(at + 8, chunk.length);
}

interface Chunk {
  readonly done: boolean;
  readonly type: number;
  readonly payloadBytes: number;
  /** How much of the payload the caller writes at the place returned; the rest it appends. */
  readonly writtenBytes: number;
}

/** "Structured reply chunk message" or the extended one: writes the head and returns where its payload begins. */
function putChunk(out: ReplyBuffer, to: ReplyTo, chunk: Chunk): number {
  const headBytes = out.extended ? BYTES.extendedHead : BYTES.chunkHead;
  const at = out.reserve(headBytes + chunk.writtenBytes);
  const view = out.view;
  view.setUint32(at, out.extended ? MAGIC.EXTENDED_REPLY : MAGIC.STRUCTURED_REPLY);
  view.setUint16(at + 4, chunk.done ? REPLY_FLAG_DONE : 0);
  view.setUint16(at + 6, chunk.type);
  view.setUint32(at + 8, to.cookieHigh);
  view.setUint32(at + 12, to.cookieLow);
  if (out.extended) {
    putU64(view, at + 16, Number.isFinite(to.offset) ? to.offset : 0);
    putU64(view, at + 24, chunk.payloadBytes);
  } else view.setUint32(at + 16, chunk.payloadBytes);
  return at + headBytes;
}

/** Writes an unsigned 64-bit big-endian number. */
export function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value >>> 0);
}
