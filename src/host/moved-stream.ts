// A connection that goes on in another thread. As it is, where that is possible: descriptors are the process's, whichever thread uses them. TLS
// has a state that no descriptor carries: then this thread goes on carrying its bytes, to one end of a pair of local sockets of which the other thread
// has the other end. That costs two copies more and two turns of event loops.

import { type NetConnectOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { limits } from '../core/base/limits.ts';
import { socketPair } from './libc.ts';
import { type StreamEvents, StreamSocket } from './stream-socket.ts';

/** What the other thread needs: adoptStream takes it there. */
export interface MovedStream {
  readonly fd: number;
  /** The other end, for people. */
  readonly name: string;
}

/** Bytes that are read of the session's thread at once, and how many such pieces wait to be used again by any connection of this thread. */
const PIECE_BYTES = 256 * 1024;
const PIECES_KEPT = 16;
const free: Uint8Array[] = [];
const takePiece = (): Uint8Array => free.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
/** Fewer are copied: they would hold a whole piece until they have left. */
const COPIED_BYTES_MAX = PIECE_BYTES / 4;

/** What a session's bytes are read into on their way to its connection: memory that is used again, as soon as they have left. */
class CarriedMemory {
  readonly #write: (bytes: Uint8Array, written?: () => void) => void;
  #piece: Uint8Array = takePiece();

  constructor(write: (bytes: Uint8Array, written?: () => void) => void) {
    this.#write = write;
  }

  /** To be given to a Socket when it is made. */
  readonly onread: NonNullable<NetConnectOpts['onread']> = {
    buffer: () => this.#piece,
    callback: (byteCount) => {
      const piece = this.#piece;
      const bytes = piece.subarray(0, byteCount);
      if (byteCount <= COPIED_BYTES_MAX) this.#write(Buffer.from(bytes));
      else {
        this.#piece = takePiece();
        this.#write(bytes, () => {
          if (free.length < PIECES_KEPT) free.push(piece);
        });
      }
      return true;
    },
  };
}

/** Carries bytes between a connection of this thread and a thread that has the session. */
class StreamCarrier implements StreamEvents {
  readonly #stream: StreamSocket;
  readonly #pair: StreamSocket;
  readonly #ended: (reason: string) => void;
  /** The descriptor of the other end, for the other thread. */
  readonly fd: number;
  #isOver = false;

  /** `ended`: the other thread has ended the session. Null where no more descriptors can be had. */
  static open(stream: StreamSocket, ended: (reason: string) => void): StreamCarrier | null {
    const pair = socketPair();
    return typeof pair === 'string' ? null : new StreamCarrier(stream, ended, pair);
  }

  private constructor(stream: StreamSocket, ended: (reason: string) => void, [own, other]: readonly [number, number]) {
    this.#stream = stream;
    this.#ended = ended;
    this.fd = other;
    const { onread } = new CarriedMemory((bytes, written) => carry(bytes, this.#pair, this.#stream, written));
    const how = { fd: own, readable: true, writable: true, allowHalfOpen: true, onread };
    this.#pair = new StreamSocket(new Socket(how as SocketConstructorOpts), null);
    this.#pair.start({
      // They come by the memory that they are read into.
      received: () => {},
      ended: () => this.#pairEnded('the session has ended'),
      closed: (reason) => this.#pairEnded(reason),
    });
  }

  received(bytes: Uint8Array): void {
    this.send(bytes);
  }

  /** Bytes of the connection. */
  send(bytes: Uint8Array): void {
    carry(this.#stream.usesOwnMemory ? Buffer.from(bytes) : bytes, this.#stream, this.#pair);
  }

  ended(): void {
    this.hostEnded();
  }

  /** The other end sends no more: the session knows what that means. */
  hostEnded(): void {
    this.#pair.end('the other side has ended the connection', limits.lingerMillis);
  }

  closed(reason: string): void {
    this.stop(reason);
  }

  /** The connection is gone. */
  stop(reason: string): void {
    this.#isOver = true;
    this.#pair.destroy(reason);
  }

  #pairEnded(reason: string): void {
    if (this.#isOver) return;
    this.stop(reason);
    this.#ended(reason);
  }
}

/** Another thread's end of a connection; `carrier` is what the connection's bytes and its end go to from now on, where this thread still carries them. */
interface Given extends MovedStream {
  readonly carrier: StreamCarrier | null;
}

/** Gives a connection to another thread, by itself or carried. `ended`: the other thread has ended it. Null where no descriptor can be had. */
export function giveStream(stream: StreamSocket, ended: (reason: string) => void): Given | null {
  const name = stream.remote;
  const fd = stream.giveAway();
  if (fd !== null) return { fd, name, carrier: null };
  const carrier = StreamCarrier.open(stream, ended);
  return carrier === null ? null : { fd: carrier.fd, name, carrier };
}

/** From one to the other; whoever is too fast is slowed down. */
function carry(bytes: Uint8Array, from: StreamSocket, to: StreamSocket, written?: () => void): void {
  to.write([bytes], written);
  if (to.backlogBytes <= limits.nbdUnsentBytesMax) return;
  from.pause();
  to.whenDrained(() => from.resume());
}
