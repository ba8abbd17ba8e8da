// A connection as this daemon uses it: bytes are received into memory of our own that is used again, and sent with one call for many parts.
//
// Node can receive into given memory (`onread`), but offers that for outgoing connections only. For an accepted one its handle is taken
// over by a second Socket; one that has become TLS is told afterwards, as if it had been made so. That touches properties without documentation, so it is
// done in this file alone, tested, and where they are missing the usual 'data' events are used: same behaviour, half the throughput of large writes (2.9
// against 6.2 GiB/s), and more than twice the processor time for each byte that TLS has decrypted.

import { Socket, type SocketConstructorOpts } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Buffers } from '../core/base/ports.ts';
import { limits } from '../core/base/limits.ts';
import { duplicate, setSendBuffer } from './libc.ts';
import type { TurnScheduler } from './wake.ts';

/** What a connection tells its user. */
export interface StreamEvents {
  /** Bytes have arrived. How long they stay valid was agreed when the connection was made (Validity). */
  received(bytes: Uint8Array): void;
  /** The other side will send nothing more. It may still receive. */
  ended(): void;
  /** The connection is gone; nothing comes after this, and it comes once. `reason` is for people. */
  closed(reason: string): void;
}

/** How long received bytes stay as they are: during the call, or until the turn of the event loop has ended (TurnScheduler). */
export type Validity = 'call' | 'turn';

/** What a connection receives into. */
export interface ReceiveOptions {
  readonly buffers: Buffers;
  readonly turns: TurnScheduler;
  readonly validity: Validity;
}

/**
 * What a local connection takes before the other end has read some of it. The system gives it 208 KiB, so that both ends sleep and wake five times for
 * a MiB: with this 1 MiB reads are 1.8 times as fast where that bound is 4 MiB. The system doubles it, and bounds it by net.core.wmem_max; TCP finds its own.
 */
const LOCAL_SEND_BYTES = 512 * 1024;

/** With less room than this in a piece of memory the next one is begun: a short read would cost more calls. */
const ROOM_BYTES_MIN = 64 * 1024;

/** What Node wants to know: where the next bytes go, and whom it tells that they are there. */
interface Onread {
  readonly buffer: () => Uint8Array;
  readonly callback: (byteCount: number, memory: Uint8Array) => boolean;
}

/** Memory for one connection's input: filled from front to back, one piece after the other. */
export class ReceiveMemory {
  readonly #options: ReceiveOptions;
  #piece: Uint8Array;
  #used = 0;
  /** Full ones, which bytes of this turn may still lie in. */
  #spent: Uint8Array[] = [];
  #deliver: (bytes: Uint8Array) => void = () => {};

  constructor(options: ReceiveOptions) {
    this.#options = options;
    this.#piece = options.buffers.take(limits.receiveBytes);
  }

  /** To be given to a Socket when it is made. */
  readonly onread: Onread = {
    buffer: () => this.#room(),
    callback: (byteCount, memory) => {
      this.#used += byteCount;
      this.#deliver(memory.subarray(0, byteCount));
      return true;
    },
  };

  deliverTo(deliver: (bytes: Uint8Array) => void): void {
    this.#deliver = deliver;
  }

  /** Gives the memory back, not before the end of this turn. Nothing may be received into it any more. */
  dispose(): void {
    this.#deliver = (): void => {};
    this.#spent.push(this.#piece);
    this.#options.turns.touchSend(this.#release);
  }

  /** Where the next bytes go. */
  #room(): Uint8Array {
    if (this.#options.validity === 'call') this.#used = 0;
    if (this.#piece.length - this.#used < ROOM_BYTES_MIN) {
      this.#spent.push(this.#piece);
      this.#options.turns.touchSend(this.#release);
      this.#piece = this.#options.buffers.take(limits.receiveBytes);
      this.#used = 0;
    }
    return this.#used === 0 ? this.#piece : this.#piece.subarray(this.#used);
  }

  readonly #release = (): void => {
    for (const piece of this.#spent) this.#options.buffers.give(piece);
    this.#spent = [];
  };
}

/** Makes a connection TLS, from either side; tells whose certificate the other end has shown, or why it failed. */
export type Upgrade<Identity> = (plain: Socket, done: (outcome: Secured<Identity>) => void) => void;
type Secured<Identity> = { readonly socket: Socket; readonly identity: Identity } | { readonly failed: string };

/** One connection. Made by acceptStream, securedStream or dial, or over any Socket that nobody else reads from. */
export class StreamSocket {
  #socket: Socket;
  #events: StreamEvents | null = null;
  readonly #memory: ReceiveMemory | null;
  /** Bytes come by 'data' events. */
  #isByData: boolean;
  #reason = 'closed by the other side';
  #isEnding = false;
  /** The handshake of TLS is under way: bytes belong to it, and the end of the connection is told by it. */
  #isSecuring = false;
  /** Bytes go through TLS, whose state cannot be given away. */
  #isSecured: boolean;
  /** Whom it was given away from: told when it has ended, wherever it went on. */
  #givenBy: StreamEvents | null = null;
  readonly #name: string | null;
  #isCut = false;
  readonly #onData = (bytes: Uint8Array): void => this.#events?.received(bytes);
  readonly #onEnd = (): void => this.#events?.ended();
  readonly #onClose = (): void => this.#events?.closed(this.#reason);

  /** `memory`: what the socket was made to receive into; null when it delivers 'data' events. `name`: the other end, where the socket does not know it. */
  constructor(socket: Socket, memory: ReceiveMemory | null, name: string | null = null) {
    this.#socket = socket;
    this.#memory = memory;
    this.#isByData = memory === null;
    this.#isSecured = socket instanceof TLSSocket;
    this.#name = name;
    this.#nameErrors(socket);
  }

  /** Whether what it delivers lies in memory that is used again. */
  get usesOwnMemory(): boolean {
    return !this.#isByData;
  }

  /** The other end, for people. */
  get remote(): string {
    if (this.#name !== null) return this.#name;
    const { remoteAddress, remotePort } = this.#socket;
    return remoteAddress === undefined ? 'local socket' : `${remoteAddress}:${remotePort}`;
  }

  /** Bytes handed to write() that the system has not taken yet. */
  get backlogBytes(): number {
    return this.#socket.writableLength;
  }

  /** Begins to receive. Called once, in the turn in which the connection was made. */
  start(events: StreamEvents): void {
    const memory = this.#memory;
    this.#events = events;
    const { remoteAddress, _handle: handle } = this.#socket as unknown as { remoteAddress?: string; _handle: Handle | null };
    // Where that is refused the connection works as well, with more sleep.
    if (remoteAddress === undefined && handle?.fd !== undefined) setSendBuffer(handle.fd, LOCAL_SEND_BYTES);
    if (memory !== null) {
      memory.deliverTo((bytes) => events.received(bytes));
      this.#socket.on('close', () => memory.dispose());
    }
    this.#listen(this.#socket);
  }

  /**
   * Makes the connection TLS. What was written before goes out in the clear, what the other side sends from now on must be TLS. `done` is called
   * once, later, unless the connection is gone before; after a failure the connection is closed, and its reason says so.
   */
  secure<Identity>(
    upgrade: Upgrade<Identity>,
    done: (outcome: { readonly identity: Identity } | { readonly failed: string }) => void,
  ): void {
    const plain = this.#socket;
    plain.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onClose);
    this.#isSecuring = true;
    upgrade(plain, (outcome) => {
      this.#isSecuring = false;
      if ('failed' in outcome) {
        if (!this.#isCut) this.#reason = outcome.failed;
        plain.destroy();
        done(outcome);
        this.#events?.closed(this.#reason);
        return;
      }
      this.#isSecured = true;
      this.#socket = outcome.socket;
      this.#nameErrors(outcome.socket);
      // The plain connection below hands its bytes to TLS, and receives nothing into this memory any more.
      this.#isByData = this.#memory === null || !receiveInto(outcome.socket, this.#memory);
      this.#listen(outcome.socket);
      done(outcome);
      if (this.#isCut) outcome.socket.destroy();
    });
  }

  /** Named, and told by 'close', which follows. */
  #nameErrors(socket: Socket): void {
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (!this.#isCut) this.#reason = error.code ?? error.message;
    });
  }

  #listen(socket: Socket): void {
    if (this.#isByData) socket.on('data', this.#onData);
    socket.on('end', this.#onEnd).on('close', this.#onClose);
    socket.resume();
  }

  /**
   * Sends the parts in order, with one call of the system. `written` is called when they are no longer needed: later, or at once when the
   * connection is ending. Until then they must not change.
   */
  write(parts: readonly Uint8Array[], written?: () => void): void {
    const lastIndex = parts.length - 1;
    if (lastIndex < 0 || this.#isEnding || this.#socket.destroyed) {
      written?.();
      return;
    }
    if (lastIndex > 0) this.#socket.cork();
    for (let index = 0; index < lastIndex; index++) this.#socket.write(parts[index] as Uint8Array);
    // Called with an error when the connection is gone: then too nobody needs the bytes.
    if (written === undefined) this.#socket.write(parts[lastIndex] as Uint8Array);
    else this.#socket.write(parts[lastIndex] as Uint8Array, () => written());
    if (lastIndex > 0) this.#socket.uncork();
  }

  /** Holds back what is written until uncork(), to send it with one call. */
  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  /** Calls back, once, when a backlog above Node's own mark (16 or 64 KiB) has gone. Not when the connection is cut before. */
  whenDrained(done: () => void): void {
    this.#socket.once('drain', done);
  }

  /** Stops receiving: the other side is slowed down by the network. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Closes the connection with this reason when neither side has sent anything for so long; 0 for never. */
  closeWhenSilent(millis: number): void {
    this.#socket.removeAllListeners('timeout');
    this.#socket.setTimeout(millis);
    if (millis > 0) this.#socket.on('timeout', () => this.destroy(`silent for ${millis} ms`));
  }

  /**
   * Ends the connection in good order: sends what was written, says so to the other side, and waits up to `graceMillis` for it to close as
   * well; then it is cut. Closing at once would make TCP throw away what the other side has not read yet.
   */
  end(reason: string, graceMillis: number): void {
    if (this.#isSecuring) return this.destroy(reason);
    if (this.#isEnding || this.#socket.destroyed) return;
    this.#isEnding = true;
    this.#reason = reason;
    const socket = this.#socket;
    socket.end();
    socket.resume();
    if (socket.readableEnded) socket.once('finish', () => socket.destroy());
    else socket.once('end', () => (socket.writableFinished ? socket.destroy() : socket.once('finish', () => socket.destroy())));
    const timer = setTimeout(() => socket.destroy(), graceMillis);
    socket.once('close', () => clearTimeout(timer));
  }

  /**
   * Gives the connection away, as it is between two bytes: returns a descriptor of it, with which adoptStream goes on in any thread of this process. Its
   * events do not come here any more; that it has ended, when wentAway() says so. Null where that cannot be done: bytes of it are here, or TLS.
   */
  giveAway(): number | null {
    const { _handle: handle } = this.#socket as unknown as { _handle: Handle | null };
    const isWhole = this.#memory !== null && !this.#isSecured && !this.#isSecuring && this.backlogBytes === 0;
    if (!isWhole || this.#isEnding || this.#socket.destroyed) return null;
    this.#socket.pause();
    const fd = duplicate(handle?.fd ?? -1);
    if (typeof fd === 'string') return null;
    this.#givenBy = this.#events;
    this.#events = null;
    // Closes the descriptor here; the connection is open as long as there is the other one.
    this.#socket.destroy();
    return fd;
  }

  /** A connection that was given away has ended. */
  wentAway(reason: string): void {
    const events = this.#givenBy;
    this.#givenBy = null;
    events?.closed(reason);
  }

  /** Cuts the connection; what was not sent yet is lost. One that was given away is no matter of this thread any more, and counts as ended. */
  destroy(reason: string): void {
    if (this.#givenBy !== null) return this.wentAway(reason);
    if (this.#socket.destroyed) return;
    this.#reason = reason;
    this.#isCut = true;
    this.#socket.destroy();
  }
}

/** Goes on with a connection that was given away: `fd` is its descriptor, `name` its other end. */
export function adoptStream(fd: number, name: string, options: ReceiveOptions): StreamSocket {
  const memory = new ReceiveMemory(options);
  const how = { fd, readable: true, writable: true, allowHalfOpen: true, onread: memory.onread, manualStart: true };
  return new StreamSocket(new Socket(how as SocketConstructorOpts), memory, name);
}

/** A Socket's handle, as far as it is used here: what receives, and its descriptor. */
interface Handle {
  readonly useUserBuffer?: ((memory: Uint8Array) => void) | undefined;
  readonly fd?: number;
}

/** What a Socket that was made with `onread` remembers of it, by names of Node's own: the present piece of memory, what gives the next, what is told. */
const ONREAD_NAMES = ['kBuffer', 'kBufferGen', 'kBufferCb'] as const;

/** Makes a connection receive into memory from now on, as if it had been made with `onread`. False where it does not, and delivers 'data' events as before. */
function receiveInto(socket: Socket, { onread }: ReceiveMemory): boolean {
  const inside = socket as unknown as Record<symbol, unknown> & { readonly _handle: Handle | null };
  const own = Object.getOwnPropertySymbols(socket);
  const [piece, next, told] = ONREAD_NAMES.map((name) => own.find(({ description }) => description === name));
  const handle = inside._handle;
  if (piece === undefined || next === undefined || told === undefined || typeof handle?.useUserBuffer !== 'function') return false;
  // What was received before would be delivered after what comes now.
  if (socket.readableLength > 0) return false;
  const first = onread.buffer();
  inside[piece] = first;
  inside[next] = onread.buffer;
  inside[told] = onread.callback;
  handle.useUserBuffer(first);
  return true;
}

/** Takes over a connection that is TLS, in the turn in which its handshake has ended. */
export function securedStream(secured: TLSSocket, options: ReceiveOptions): StreamSocket {
  const memory = new ReceiveMemory(options);
  if (receiveInto(secured, memory)) return new StreamSocket(secured, memory);
  memory.dispose();
  return new StreamSocket(secured, null);
}

/** Takes over a socket that a server has accepted with `pauseOnConnect` and `allowHalfOpen`. */
export function acceptStream(accepted: Socket, options: ReceiveOptions): StreamSocket {
  const inside = accepted as unknown as { _handle: Handle | null };
  const handle = inside._handle;
  if (typeof handle?.useUserBuffer !== 'function') return new StreamSocket(accepted, null);
  const memory = new ReceiveMemory(options);
  const socket = new Socket({ handle, allowHalfOpen: true, onread: memory.onread, manualStart: true } as SocketConstructorOpts);
  // The first Socket now has nothing to close, but it tells its server that it is done.
  inside._handle = null;
  accepted.destroy();
  return new StreamSocket(socket, memory);
}
