// The client's side of the transmission phase: writes requests, and takes structured replies apart. What a reply means for the request is its
// user's business; here each reply ends in one call, with the bytes of a read in memory of their own.

import { viewOf } from '../base/bytes.ts';
import { decodeUtf8 } from '../base/utf8.ts';
import { BYTES, CMD, CMD_FLAG, ERRNO, MAGIC, type NbdErrno, REPLY_FLAG_DONE, REPLY_TYPE, STATE } from './constants.ts';
import { type NbdExtent, putU64, type ReplyBuffer } from './reply.ts';
import type { NbdCommand } from './request.ts';

/** A request as it is sent. */
export interface SentRequest {
  readonly command: NbdCommand;
  readonly offset: number;
  readonly length: number;
  readonly fua: boolean;
  readonly noHole: boolean;
  readonly fastZero: boolean;
  readonly reqOne: boolean;
  readonly payload: Uint8Array | null;
}

/** What a server answered to one request. */
export interface Reply {
  readonly error: NbdErrno | 0;
  readonly text: string;
  /** The bytes of a read. */
  readonly data: Uint8Array | null;
  /** Of BLOCK_STATUS. */
  readonly extents: readonly NbdExtent[];
  /** The sequence number that the answer stands for, where the server said it. */
  readonly seq: number | null;
}

export interface ReplyEvents {
  /** How long the data of a request will be, if it is a read without an answer; null for a number that was not given to a request. */
  expected(tag: number): { readonly offset: number; readonly length: number; readonly isRead: boolean } | null;
  /** The whole answer to a request. */
  replied(tag: number, reply: Reply): void;
}

const TYPE: Readonly<Record<NbdCommand, number>> = {
  read: CMD.READ,
  write: CMD.WRITE,
  flush: CMD.FLUSH,
  trim: CMD.TRIM,
  zeroes: CMD.WRITE_ZEROES,
  cache: CMD.CACHE,
  status: CMD.BLOCK_STATUS,
};

/** Appends a request, whose cookie is the tag, a number of up to 53 bits. */
export function putRequest(out: ReplyBuffer, tag: number, request: SentRequest): void {
  const at = out.reserve(BYTES.requestHead);
  const view = out.view;
  const flags =
    (request.fua ? CMD_FLAG.FUA : 0) |
    (request.noHole ? CMD_FLAG.NO_HOLE : 0) |
    (request.fastZero ? CMD_FLAG.FAST_ZERO : 0) |
    (request.reqOne ? CMD_FLAG.REQ_ONE : 0);
  view.setUint32(at, MAGIC.REQUEST);
  view.setUint16(at + 4, flags);
  view.setUint16(at + 6, TYPE[request.command]);
  putU64(view, at + 8, tag);
  putU64(view, at + 16, request.offset);
  view.setUint32(at + 24, request.length);
  if (request.payload !== null) out.append(request.payload);
}

/** Largest payload of a chunk that is no data of a read: extents, or an error with its text. */
const SMALL_PAYLOAD_BYTES_MAX = 1024 * 1024;
const NOTHING = new Uint8Array(0);

/** What is gathered of an answer in several chunks. */
interface Gathering {
  data: Uint8Array | null;
  dataBytes: number;
  error: NbdErrno | 0;
  text: string;
  extents: NbdExtent[];
  seq: number | null;
}

/** Takes replies apart. After a fault it takes nothing more. */
export class ReplyReader {
  readonly #events: ReplyEvents;
  readonly #gathering = new Map<number, Gathering>();
  #fault: string | null = null;
  /** A head, or a small payload, that has not come whole. */
  #held: Uint8Array = NOTHING;
  #tag = 0;
  #done = false;
  #type = -1;
  #payloadBytes = 0;
  /** Data of a read that is under way: where the next bytes go. */
  #into: Uint8Array = NOTHING;
  #intoAt = 0;

  constructor(events: ReplyEvents) {
    this.#events = events;
  }

  /** Takes bytes, cut anywhere, which are not kept. Returns why the server is not to be believed any more, or null. */
  receive(bytes: Uint8Array): string | null {
    let rest = bytes;
    while (this.#fault === null && rest.length > 0) {
      if (this.#intoAt < this.#into.length) {
        const step = Math.min(this.#into.length - this.#intoAt, rest.length);
        this.#into.set(rest.subarray(0, step), this.#intoAt);
        this.#intoAt += step;
        rest = rest.subarray(step);
        if (this.#intoAt === this.#into.length) this.#chunkEnded();
        continue;
      }
      const want = this.#wantBytes(this.#held.length > 0 ? this.#held : rest);
      if (this.#held.length === 0 && rest.length >= want) {
        this.#take(rest.subarray(0, want));
        rest = rest.subarray(want);
        continue;
      }
      const step = Math.min(want - this.#held.length, rest.length);
      const held = new Uint8Array(this.#held.length + step);
      held.set(this.#held);
      held.set(rest.subarray(0, step), this.#held.length);
      rest = rest.subarray(step);
      this.#held = held;
      if (held.length === want && this.#wantBytes(held) === want) {
        this.#held = NOTHING;
        this.#take(held);
      }
    }
    return this.#fault;
  }

  /** How long what comes next is. Heads of both kinds begin alike: the first four bytes say which it is. */
  #wantBytes(first: Uint8Array): number {
    if (this.#type >= 0) return this.#type === REPLY_TYPE.OFFSET_DATA ? 8 : this.#payloadBytes;
    if (first.length < 4) return 4;
    return viewOf(first).getUint32(0) === MAGIC.STRUCTURED_REPLY ? BYTES.chunkHead : BYTES.simpleReply;
  }

  #take(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    if (this.#type >= 0) return this.#payload(view, bytes);
    const magic = view.getUint32(0);
    if (magic !== MAGIC.SIMPLE_REPLY && magic !== MAGIC.STRUCTURED_REPLY) return this.#fail('a reply does not begin with its magic number');
    this.#tag = u64(view, 8);
    if (this.#events.expected(this.#tag) === null) return this.#fail('a reply to no request');
    if (magic === MAGIC.SIMPLE_REPLY) return this.#simple(view.getUint32(4));
    this.#done = (view.getUint16(4) & REPLY_FLAG_DONE) !== 0;
    this.#type = view.getUint16(6);
    this.#payloadBytes = view.getUint32(16);
    const isData = this.#type === REPLY_TYPE.OFFSET_DATA;
    if (isData && this.#payloadBytes < 9) return this.#fail('a chunk of data without data');
    if (!isData && this.#payloadBytes > SMALL_PAYLOAD_BYTES_MAX) return this.#fail(`a chunk of ${this.#payloadBytes} bytes`);
    if (this.#payloadBytes === 0) this.#payload(view, NOTHING);
  }

  #simple(error: number): void {
    const isRead = this.#events.expected(this.#tag)?.isRead === true;
    if (isRead && error === 0) return this.#fail('a read was answered without its bytes');
    this.#gathering.delete(this.#tag);
    this.#events.replied(this.#tag, { error: errnoOf(error), text: '', data: null, extents: [], seq: null });
  }

  #payload(view: DataView, bytes: Uint8Array): void {
    const type = this.#type;
    const gathered = this.#gatheringOf();
    if (type === REPLY_TYPE.OFFSET_DATA) {
      const piece = this.#pieceOf(gathered, u64(view, 0), this.#payloadBytes - 8);
      if (piece === null) return;
      this.#into = piece;
      this.#intoAt = 0;
      return;
    }
    if (type === REPLY_TYPE.OFFSET_HOLE) {
      if (bytes.length !== 12) return this.#fail('a chunk of a hole has the wrong length');
      const piece = this.#pieceOf(gathered, u64(view, 0), view.getUint32(8));
      if (piece === null) return;
      piece.fill(0);
    } else if (type === REPLY_TYPE.POSITION) {
      if (bytes.length !== 8) return this.#fail('a position has the wrong length');
      gathered.seq = u64(view, 0);
    } else if (type === REPLY_TYPE.BLOCK_STATUS) {
      if (bytes.length < 12 || (bytes.length - 4) % 8 !== 0) return this.#fail('a chunk of extents has the wrong length');
      for (let at = 4; at < bytes.length; at += 8) {
        const flags = view.getUint32(at + 4);
        gathered.extents.push({ length: view.getUint32(at), hole: (flags & STATE.HOLE) !== 0, zero: (flags & STATE.ZERO) !== 0 });
      }
    } else if ((type & 0x8000) !== 0) {
      if (bytes.length < 6) return this.#fail('an error has the wrong length');
      const error = errnoOf(view.getUint32(0));
      gathered.error = error === 0 ? ERRNO.EIO : error;
      gathered.text = decodeUtf8(bytes.subarray(6, 6 + view.getUint16(4))) ?? '';
    } else if (type !== REPLY_TYPE.NONE) return this.#fail(`a chunk of type ${type}, which is not known here`);
    this.#chunkEnded();
  }

  #gatheringOf(): Gathering {
    let gathered = this.#gathering.get(this.#tag);
    if (gathered === undefined) {
      gathered = { data: null, dataBytes: 0, error: 0, text: '', extents: [], seq: null };
      this.#gathering.set(this.#tag, gathered);
    }
    return gathered;
  }

  /** Where a part of a read's bytes goes; null, and a fault, when it is not part of what was asked for. */
  #pieceOf(gathered: Gathering, offset: number, length: number): Uint8Array | null {
    const expected = this.#events.expected(this.#tag);
    const at = expected === null ? Number.NaN : offset - expected.offset;
    if (expected === null || !expected.isRead || length === 0 || !(at >= 0 && at + length <= expected.length)) {
      this.#fail('bytes that no read has asked for');
      return null;
    }
    gathered.data ??= new Uint8Array(expected.length);
    gathered.dataBytes += length;
    return gathered.data.subarray(at, at + length);
  }

  #chunkEnded(): void {
    this.#type = -1;
    this.#into = NOTHING;
    this.#intoAt = 0;
    if (!this.#done) return;
    const tag = this.#tag;
    const gathered = this.#gatheringOf();
    this.#gathering.delete(tag);
    const expected = this.#events.expected(tag);
    if (expected?.isRead === true && gathered.error === 0 && gathered.dataBytes !== expected.length)
      return this.#fail('a read was answered with too few bytes');
    const { data, error, extents, seq, text } = gathered;
    this.#events.replied(tag, { error, text, data, extents, seq });
  }

  #fail(reason: string): void {
    this.#fault = reason;
  }
}

/** NaN where it is above what a Number holds exactly. */
function u64(view: DataView, at: number): number {
  const high = view.getUint32(at);
  return high > 0x1f_ffff ? Number.NaN : high * 0x1_0000_0000 + view.getUint32(at + 4);
}

/** An error value of the protocol; what is none counts as EIO. */
function errnoOf(value: number): NbdErrno | 0 {
  if (value === 0) return 0;
  return (Object.values(ERRNO) as number[]).includes(value) ? (value as NbdErrno) : ERRNO.EIO;
}
