// A small NBD client for the demonstration and the tests: fixed newstyle, GO, simple replies. It is here so that both can know for each single
// write whether it was acknowledged; whether the server speaks NBD well is for foreign clients to judge.

import type { Socket } from 'node:net';
import { connect } from 'node:net';

import type { Address } from '../src/api/address.ts';

/** The server answered a request with an error of the protocol. Whether a write was carried out is then unknown. */
export class NbdRequestError extends Error {
  override readonly name = 'NbdRequestError';
  /** Error value of the protocol, such as 5 (EIO) or 108 (ESHUTDOWN). */
  readonly errno: number;
  constructor(command: string, errno: number) {
    super(`${command} was answered with error ${errno}`);
    this.errno = errno;
  }
}

/** The connection ended, or was never made. Requests without an answer are unknown: done or not. */
export class NbdConnectionError extends Error {
  override readonly name = 'NbdConnectionError';
}

export interface NbdConnectOptions {
  readonly address: Address;
  readonly exportName: string;
  /** For the connection and the handshake together. */
  readonly connectMillis?: number;
  /** A connection on which a request has had no answer for this long is given up. */
  readonly stallMillis?: number;
}

// Names as in the NBD protocol document, without NBD_.
const OPTION_MAGIC = 0x49484156_454f5054n;
const INIT_MAGIC = 0x4e42444d_41474943n;
const OPTION_REPLY_MAGIC = 0x0003e889_045565a9n;
const REQUEST_MAGIC = 0x25609513;
const SIMPLE_REPLY_MAGIC = 0x67446698;
const OPT_GO = 7;
const REP_ACK = 1;
const REP_INFO = 3;
const REP_ERROR_BIT = 0x8000_0000;
const INFO_EXPORT = 0;
const FIXED_NEWSTYLE_NO_ZEROES = 3;
const CMD = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, zeroes: 6 } as const;
const FLAG_FUA = 1;
const REPLY_BYTES = 16;
const OPTION_REPLY_BYTES = 20;

type Command = keyof typeof CMD;

interface Pending {
  readonly command: Command;
  readonly length: number;
  readonly since: number;
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/** One connection to one export, in its transmission phase. */
export class NbdClient {
  readonly sizeBytes: number;
  readonly #socket: Socket;
  readonly #bytes: ByteQueue;
  readonly #pending = new Map<number, Pending>();
  readonly #watch: NodeJS.Timeout | null;
  #cookie = 0;
  /** A reply whose data has not arrived whole. */
  #reading: Pending | null = null;
  #ended: string | null = null;
  #whenEnded: () => void = () => undefined;

  /** Rejects with NbdConnectionError, which has the server's own sentence when it refused the export. */
  static async connect(options: NbdConnectOptions): Promise<NbdClient> {
    const { socket, bytes, sizeBytes } = await openExport(options);
    return new NbdClient(socket, bytes, sizeBytes, options.stallMillis ?? Infinity);
  }

  private constructor(socket: Socket, bytes: ByteQueue, sizeBytes: number, stallMillis: number) {
    this.sizeBytes = sizeBytes;
    this.#socket = socket;
    this.#bytes = bytes;
    socket.on('data', (chunk) => {
      bytes.push(chunk);
      this.#receive();
    });
    socket.on('error', (error) => this.#end(error.message));
    socket.on('close', () => this.#end('the server closed the connection'));
    this.#watch = stallMillis === Infinity ? null : setInterval(() => this.#checkStall(stallMillis), Math.max(10, stallMillis / 8));
  }

  /** Why the connection has ended; null while it stands. */
  get ended(): string | null {
    return this.#ended;
  }

  read(offset: number, length: number): Promise<Buffer> {
    return this.#ask('read', { offset, length });
  }

  async write(offset: number, data: Uint8Array, options: { fua?: boolean } = {}): Promise<void> {
    await this.#ask('write', { offset, length: data.length, data, flags: options.fua === true ? FLAG_FUA : 0 });
  }

  async flush(): Promise<void> {
    await this.#ask('flush', { offset: 0, length: 0 });
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.#ask('trim', { offset, length });
  }

  async zeroes(offset: number, length: number): Promise<void> {
    await this.#ask('zeroes', { offset, length });
  }

  /** Ends in order. Requests that have no answer yet end as lost. */
  async close(): Promise<void> {
    if (this.#ended !== null) return;
    this.#socket.end(requestHead(CMD.disconnect, 0, { cookie: 0, offset: 0, length: 0 }));
    const late = setTimeout(() => this.#socket.destroy(), 1_000);
    await new Promise<void>((resolve) => {
      this.#whenEnded = resolve;
    });
    clearTimeout(late);
  }

  /** Ends at once. */
  destroy(reason: string): void {
    this.#socket.destroy();
    this.#end(reason);
  }

  #ask(command: Command, request: { offset: number; length: number; data?: Uint8Array; flags?: number }): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== null) {
        reject(new NbdConnectionError(this.#ended));
        return;
      }
      const cookie = ++this.#cookie;
      this.#pending.set(cookie, { command, length: command === 'read' ? request.length : 0, since: performance.now(), resolve, reject });
      const head = requestHead(CMD[command], request.flags ?? 0, { cookie, offset: request.offset, length: request.length });
      if (request.data === undefined) this.#socket.write(head);
      else {
        this.#socket.cork();
        this.#socket.write(head);
        this.#socket.write(request.data);
        this.#socket.uncork();
      }
    });
  }

  #receive(): void {
    for (;;) {
      if (this.#reading !== null) {
        const data = this.#bytes.take(this.#reading.length);
        if (data === null) return;
        this.#reading.resolve(data);
        this.#reading = null;
      }
      const head = this.#bytes.take(REPLY_BYTES);
      if (head === null) return;
      const cookie = Number(head.readBigUInt64BE(8));
      const pending = this.#pending.get(cookie);
      if (head.readUInt32BE(0) !== SIMPLE_REPLY_MAGIC || pending === undefined) {
        this.destroy('the server sent what is no reply to a request');
        return;
      }
      this.#pending.delete(cookie);
      const errno = head.readUInt32BE(4);
      if (errno !== 0) pending.reject(new NbdRequestError(pending.command, errno));
      else this.#reading = pending;
    }
  }

  #checkStall(stallMillis: number): void {
    const [oldest] = this.#pending.values();
    if (oldest !== undefined && performance.now() - oldest.since > stallMillis) this.destroy(`no answer for ${stallMillis} ms`);
  }

  #end(reason: string): void {
    if (this.#ended !== null) return;
    this.#ended = reason;
    if (this.#watch !== null) clearInterval(this.#watch);
    const error = new NbdConnectionError(reason);
    this.#reading?.reject(error);
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
    this.#whenEnded();
  }
}

function requestHead(command: number, flags: number, request: { cookie: number; offset: number; length: number }): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(REQUEST_MAGIC, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(command, 6);
  head.writeBigUInt64BE(BigInt(request.cookie), 8);
  head.writeBigUInt64BE(BigInt(request.offset), 16);
  head.writeUInt32BE(request.length, 24);
  return head;
}

/** Bytes that came in pieces, to be taken in lengths of one's own. */
class ByteQueue {
  #pieces: Buffer[] = [];
  #byteCount = 0;

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#byteCount += piece.length;
  }

  /** The next bytes; null while there are fewer. */
  take(byteCount: number): Buffer | null {
    if (this.#byteCount < byteCount) return null;
    this.#byteCount -= byteCount;
    const parts: Buffer[] = [];
    let missing = byteCount;
    while (missing > 0) {
      const piece = this.#pieces[0] as Buffer;
      if (piece.length > missing) {
        parts.push(piece.subarray(0, missing));
        this.#pieces[0] = piece.subarray(missing);
        break;
      }
      parts.push(piece);
      missing -= piece.length;
      this.#pieces.shift();
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }
}

interface OpenExport {
  readonly socket: Socket;
  readonly bytes: ByteQueue;
  readonly sizeBytes: number;
}

/** Connects and asks for the export. The socket that it gives has no listeners. */
function openExport({ address, exportName, connectMillis = 5_000 }: NbdConnectOptions): Promise<OpenExport> {
  return new Promise((resolve, reject) => {
    const socket = connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port, noDelay: true });
    const bytes = new ByteQueue();
    const fail = (reason: string): void => {
      clearTimeout(late);
      socket.removeAllListeners();
      socket.on('error', () => undefined);
      socket.destroy();
      reject(new NbdConnectionError(reason));
    };
    const late = setTimeout(() => fail(`no handshake with ${address.text} within ${connectMillis} ms`), connectMillis);
    const haggling = new Haggling(exportName);
    socket.on('error', (error) => fail(error.message));
    socket.on('close', () => fail('the server closed the connection in the handshake'));
    socket.on('data', (chunk) => {
      bytes.push(chunk);
      const outcome = haggling.advance(bytes, (data) => socket.write(data));
      if (outcome === null) return;
      if (typeof outcome === 'string') {
        fail(outcome);
        return;
      }
      clearTimeout(late);
      socket.removeAllListeners();
      resolve({ socket, bytes, sizeBytes: outcome.sizeBytes });
    });
  });
}

/** The client's side of the handshake. */
class Haggling {
  readonly #exportName: string;
  #greeted = false;
  #sizeBytes: number | null = null;
  #replyHead: Buffer | null = null;

  constructor(exportName: string) {
    this.#exportName = exportName;
  }

  /** What came of it: the export, why there is none, or null while more has to arrive. */
  advance(bytes: ByteQueue, send: (data: Buffer) => void): { sizeBytes: number } | string | null {
    if (!this.#greeted) {
      const greeting = bytes.take(18);
      if (greeting === null) return null;
      if (greeting.readBigUInt64BE(0) !== INIT_MAGIC || greeting.readBigUInt64BE(8) !== OPTION_MAGIC) return 'this is no NBD server';
      this.#greeted = true;
      send(this.#go());
    }
    for (;;) {
      this.#replyHead ??= bytes.take(OPTION_REPLY_BYTES);
      if (this.#replyHead === null) return null;
      if (this.#replyHead.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) return 'the server sent what is no reply to an option';
      const data = bytes.take(this.#replyHead.readUInt32BE(16));
      if (data === null) return null;
      const type = this.#replyHead.readUInt32BE(12);
      this.#replyHead = null;
      if (type === REP_ACK)
        return this.#sizeBytes === null ? 'the server did not say how large the export is' : { sizeBytes: this.#sizeBytes };
      if (type >= REP_ERROR_BIT) return `the server refused: ${data.toString('utf8')}`;
      if (type === REP_INFO && data.readUInt16BE(0) === INFO_EXPORT) this.#sizeBytes = Number(data.readBigUInt64BE(2));
    }
  }

  #go(): Buffer {
    const name = Buffer.from(this.#exportName, 'utf8');
    const bytes = Buffer.alloc(4 + 16 + 4 + name.length + 2);
    bytes.writeUInt32BE(FIXED_NEWSTYLE_NO_ZEROES, 0);
    bytes.writeBigUInt64BE(OPTION_MAGIC, 4);
    bytes.writeUInt32BE(OPT_GO, 12);
    bytes.writeUInt32BE(4 + name.length + 2, 16);
    bytes.writeUInt32BE(name.length, 20);
    name.copy(bytes, 24);
    return bytes;
  }
}
