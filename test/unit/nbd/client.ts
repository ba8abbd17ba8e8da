// The client's side of NBD for tests: encodes what a client sends, takes apart what a server answers, and a session with everything that it
// is handed. Written from the protocol document with numbers of its own, so that a wrong constant in the server is not repeated here.

import assert from 'node:assert/strict';
import type { NbdCatalog, NbdExport, NbdTls } from '../../../src/core/nbd/handshake.ts';
import type { HostMemory } from '../../../src/core/nbd/memory.ts';
import type { NbdSessionLimits } from '../../../src/core/nbd/session-options.ts';
import { type NbdRequest, NbdSession } from '../../../src/core/nbd/session.ts';

const IHAVEOPT = 0x49484156454f5054n;

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

/** A string with its length before it. */
export function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u32(bytes.length), bytes]);
}

export function clientFlags(flags = 3): Buffer {
  return u32(flags);
}

export function option(code: number, data: Uint8Array = new Uint8Array(0)): Buffer {
  return Buffer.concat([u64(IHAVEOPT), u32(code), u32(data.length), data]);
}

/** Data of INFO and GO. */
export function infoData(name: string, infos: readonly number[] = []): Buffer {
  return Buffer.concat([text(name), u16(infos.length), ...infos.map(u16)]);
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function metaData(name: string, queries: readonly string[]): Buffer {
  return Buffer.concat([text(name), u32(queries.length), ...queries.map(text)]);
}

export interface ClientRequest {
  readonly type: number;
  readonly flags?: number;
  readonly cookie?: bigint;
  readonly offset?: bigint | number;
  readonly length?: number;
  readonly payload?: Uint8Array;
}

export function request(fields: ClientRequest): Buffer {
  const { type, flags = 0, cookie = 1n, offset = 0, payload = new Uint8Array(0), length = payload.length } = fields;
  return Buffer.concat([u32(0x25609513), u16(flags), u16(type), u64(cookie), u64(BigInt(offset)), u32(length), payload]);
}

/** READ, WRITE, ... as on the wire. */
export const CMD = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, ZEROES: 6, STATUS: 7 } as const;
export const OPT = {
  NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED: 8,
  LIST_META: 9,
  SET_META: 10,
  EXTENDED: 11,
} as const;
export const REP = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META: 4,
  UNSUP: 0x80000001,
  INVALID: 0x80000003,
  TLS_REQD: 0x80000005,
  UNKNOWN: 0x80000006,
  SHUTDOWN: 0x80000007,
  TOO_BIG: 0x80000009,
} as const;

export interface OptionReply {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

/** Takes option replies apart; the bytes must hold nothing else. */
export function optionReplies(bytes: Buffer): OptionReply[] {
  const replies: OptionReply[] = [];
  for (let at = 0; at < bytes.length;) {
    assert.equal(bytes.readBigUInt64BE(at), 0x3e889045565a9n);
    const length = bytes.readUInt32BE(at + 16);
    const data = bytes.subarray(at + 20, at + 20 + length);
    assert.equal(data.length, length);
    replies.push({ option: bytes.readUInt32BE(at + 8), type: bytes.readUInt32BE(at + 12), data });
    at += 20 + length;
  }
  return replies;
}

/** Simple replies that carry no data: [cookie, error]. */
export function simpleReplies(bytes: Buffer): [bigint, number][] {
  const replies: [bigint, number][] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    assert.equal(bytes.readUInt32BE(at), 0x67446698);
    replies.push([bytes.readBigUInt64BE(at + 8), bytes.readUInt32BE(at + 4)]);
  }
  return replies;
}

export interface Chunk {
  readonly done: boolean;
  readonly type: number;
  readonly cookie: bigint;
  readonly payload: Buffer;
}

/** Structured reply chunks, in order; the bytes must hold nothing else. */
export function chunks(bytes: Buffer): Chunk[] {
  const all: Chunk[] = [];
  for (let at = 0; at < bytes.length;) {
    assert.equal(bytes.readUInt32BE(at), 0x668e33ef);
    const length = bytes.readUInt32BE(at + 16);
    const payload = bytes.subarray(at + 20, at + 20 + length);
    assert.equal(payload.length, length);
    all.push({ done: bytes.readUInt16BE(at + 4) === 1, type: bytes.readUInt16BE(at + 6), cookie: bytes.readBigUInt64BE(at + 8), payload });
    at += 20 + length;
  }
  return all;
}

/** [errno, text] of an error chunk. */
export function errorOf(chunk: Chunk | undefined): [number, string] {
  assert.equal(chunk?.type, 0x8001);
  assert.equal(chunk.done, true);
  assert.equal(chunk.payload.readUInt16BE(4), chunk.payload.length - 6);
  return [chunk.payload.readUInt32BE(0), chunk.payload.subarray(6).toString()];
}

export const DB: NbdExport = {
  name: 'bank/db',
  description: 'The ledger',
  sizeBytes: 1 << 20,
  volume: 0,
  readOnly: false,
  multiConn: true,
};
export const OLD: NbdExport = { name: 'bank/old', description: '', sizeBytes: 8192, volume: 1, readOnly: true, multiConn: false };

export function catalogOf(exports: readonly NbdExport[], serving = true): NbdCatalog {
  return {
    list: () => exports,
    find: (name) => {
      if (!serving) return { refused: 'not-serving', text: 'near serves this group' };
      const found = name === '' && exports.length === 1 ? exports[0] : exports.find((each) => each.name === name);
      return found ?? { refused: 'unknown', text: `there is no export "${name}"` };
    },
  };
}

export interface Connection {
  readonly session: NbdSession;
  /** Requests that the handler was given, with a copy of their payload as of then. */
  readonly requests: NbdRequest[];
  readonly payloads: (Buffer | null)[];
  /** Gives bytes to the session and returns all output that followed. */
  readonly send: (...parts: Uint8Array[]) => Buffer;
  /** Output that is there now. */
  readonly output: () => Buffer;
}

export interface ConnectionOptions {
  readonly catalog?: NbdCatalog;
  readonly limits?: Partial<NbdSessionLimits>;
  readonly tls?: NbdTls;
  readonly memory?: HostMemory;
  /** Answers at once, from within the handler. */
  readonly answer?: (request: NbdRequest) => void;
}

/** A session before its greeting. */
export function connect(options: ConnectionOptions = {}): Connection {
  const requests: NbdRequest[] = [];
  const payloads: (Buffer | null)[] = [];
  const session = new NbdSession({
    catalog: options.catalog ?? catalogOf([DB, OLD]),
    handler: {
      request: (each) => {
        requests.push(each);
        payloads.push(each.payload === null ? null : Buffer.from(each.payload));
        options.answer?.(each);
      },
    },
    ...(options.limits === undefined ? {} : { limitsOverride: options.limits }),
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    ...(options.memory === undefined ? {} : { memory: options.memory }),
  });
  const output = (): Buffer => Buffer.concat(session.takeOutput());
  const send = (...parts: Uint8Array[]): Buffer => {
    for (const part of parts) session.receive(part);
    return output();
  };
  return { session, requests, payloads, send, output };
}

/** A session after greeting and client flags, with no output left. */
export function haggling(options: ConnectionOptions = {}): Connection {
  const connection = connect(options);
  connection.session.start();
  connection.send(clientFlags());
  return connection;
}

/** A session in the transmission phase, with no output left. */
export function attached(options: ConnectionOptions & { name?: string; structured?: boolean; status?: boolean } = {}): Connection {
  const { name = DB.name, structured = false, status = false } = options;
  const connection = haggling(options);
  if (structured) connection.send(option(OPT.STRUCTURED));
  if (status) connection.send(option(OPT.SET_META, metaData(name, ['base:allocation'])));
  connection.send(option(OPT.GO, infoData(name)));
  assert.equal(connection.session.state, 'transmission');
  return connection;
}
