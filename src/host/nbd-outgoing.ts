// Connections to an NBD server, for `tercet attach` and for a site that passes a host on to the one that serves.

import { connect } from 'node:net';
import type { Buffers } from '../core/base/ports.ts';
import { Asking, type Described, type Question } from '../core/nbd/asking.ts';
import type { StreamAddress } from './stream-address.ts';
import { ReceiveMemory, type StreamEvents, StreamSocket } from './stream-socket.ts';
import type { TlsIdentity } from './tls-identity.ts';
import type { ExpectedIdentity, TlsMaterial } from './tls-material.ts';
import { upgradeClient } from './tls-stream.ts';
import type { TurnScheduler } from './wake.ts';

/** A way to a server: by TLS, if at all, when `tls` says so; then only to the one who is expected there. */
export interface Way {
  readonly address: StreamAddress;
  readonly tls: { readonly material: TlsMaterial; readonly expected: ExpectedIdentity } | null;
}

export interface OutgoingOptions {
  readonly way: Way;
  readonly buffers: Buffers;
  readonly turns: TurnScheduler;
  /** For the connection and each question. */
  readonly timeoutMillis: number;
  readonly structured: boolean;
  readonly extended?: boolean;
}

/** Why a server does not give an export; `refused` when it said so itself. */
export interface NotGiven {
  readonly kind: 'refused' | 'failed';
  readonly reason: string;
}

/** A connection in its handshake, and then in its transmission phase, when its user has taken over the stream. */
export class Outgoing {
  readonly stream: StreamSocket;
  readonly #asking: Asking;
  readonly #timeoutMillis: number;
  readonly #tls: Way['tls'];
  #timer: NodeJS.Timeout | null = null;
  #done: ((answer: Described | NotGiven) => void) | null = null;
  #user: StreamEvents | null = null;
  #isConnected = false;
  #failure: string | null = null;

  constructor(options: OutgoingOptions) {
    const { buffers, turns } = options;
    const { address, tls } = options.way;
    this.#tls = tls;
    this.#timeoutMillis = options.timeoutMillis;
    this.#asking = new Asking({ structured: options.structured, extended: options.extended === true, tls: tls !== null });
    const memory = new ReceiveMemory({ buffers, turns, validity: 'call' });
    const socket = connect({ ...address, onread: memory.onread, allowHalfOpen: true });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MILLIS);
    this.stream = new StreamSocket(socket, memory);
    socket.once('connect', () => {
      this.#isConnected = true;
    });
    this.stream.start({
      received: (bytes) => this.#received(bytes),
      ended: () => {
        if (this.#user === null) this.#fail('closed by the other side');
        else this.#user.ended();
      },
      closed: (reason) => {
        const user = this.#user;
        this.#user = null;
        user?.closed(reason);
        this.#fail(this.#isConnected ? `the connection ended: ${reason}` : reason);
      },
    });
  }

  /** Asks for an export. `done` is called once, later, unless the connection is destroyed before. Not while another question is open. */
  ask(question: Question, done: (answer: Described | NotGiven) => void): void {
    if (this.#failure !== null) {
      const reason = this.#failure;
      setImmediate(() => done({ kind: 'failed', reason }));
      return;
    }
    this.#done = done;
    this.#timer = setTimeout(() => this.#fail(`no answer within ${this.#timeoutMillis} ms`), this.#timeoutMillis);
    this.#asking.ask(question);
    this.stream.write(this.#asking.takeOutput());
  }

  /** Hands the transmission over: from now on the bytes of the server go to `user`. Called from within ask()'s `done`. */
  hand(user: StreamEvents): void {
    this.#user = user;
  }

  /** Ends the connection at once, without a word to anybody. What was not sent yet is not sent any more. */
  destroy(reason: string): void {
    this.#done = null;
    this.#user = null;
    this.#failure ??= reason;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.stream.destroy(reason);
  }

  #received(bytes: Uint8Array): void {
    if (this.#user !== null) {
      this.#user.received(bytes);
      return;
    }
    const answer = this.#asking.receive(bytes);
    if (answer === null || this.#failure !== null) return;
    if (answer.kind === 'broken') this.#fail(answer.reason);
    else if (answer.kind === 'secure') this.#secure();
    else this.#answered(answer.kind === 'refused' ? { kind: 'refused', reason: answer.text } : answer);
  }

  #secure(): void {
    const tls = this.#tls;
    if (tls === null) throw new Error('TLS was not asked for');
    this.stream.secure<TlsIdentity | null>(
      (plain, done) => upgradeClient(plain, tls.material, tls.expected, done),
      (outcome) => {
        if ('failed' in outcome) {
          this.#fail(outcome.failed);
          return;
        }
        if (this.#failure !== null) return;
        this.#asking.secured();
        this.stream.write(this.#asking.takeOutput());
      },
    );
  }

  #answered(answer: Described | NotGiven): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const done = this.#done;
    this.#done = null;
    done?.(answer);
  }

  #fail(reason: string): void {
    if (this.#failure !== null) return;
    this.#failure = reason;
    this.stream.destroy(reason);
    this.#answered({ kind: 'failed', reason });
  }
}

/** After so long without traffic the system asks whether the other machine still lives. */
const KEEP_ALIVE_MILLIS = 10_000;
