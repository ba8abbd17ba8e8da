// Where an encrypted connection of a peer begins in a daemon whose groups live in several threads: what it says in the clear may name a group of another
// thread (host/client-hello.ts). Then that thread is handed the connection as it is, so that it does the whole of TLS itself. One that names none, as those of
// older programs, becomes TLS here, and is carried afterwards. A thread that was handed one has such a door too, which hands nothing on.

import { offeredProtocols } from '../host/client-hello.ts';
import type { StreamEvents, StreamSocket } from '../host/stream-socket.ts';
import type { TlsIdentity } from '../host/tls-identity.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import { upgradePeer } from '../host/tls-stream.ts';
import { type LinkTaker, moveLink } from './link-door.ts';

export interface TlsDoorOptions {
  readonly stream: StreamSocket;
  readonly material: TlsMaterial;
  /** How long it may say nothing that can be understood. */
  readonly helloMillisMax: number;
  /** Takes a connection that offers these protocols; null where that is this thread's matter. */
  readonly takerOf: (protocols: readonly string[]) => LinkTaker | null;
  /** It is TLS now, and the other end has shown this: returns what its bytes go to. */
  readonly secured: (identity: TlsIdentity) => StreamEvents;
  readonly refused: (remote: string, reason: string) => void;
  /** It has ended, or is no matter of this door any more. */
  readonly left: () => void;
}

const NOTHING = new Uint8Array(0);
/** First byte of whoever begins TLS. */
const TLS_HANDSHAKE = 22;

/** One connection before its TLS; and behind it, what its bytes go to. */
export class TlsDoor implements StreamEvents {
  readonly #options: TlsDoorOptions;
  readonly #silent: NodeJS.Timeout;
  #bytes: Uint8Array = NOTHING;
  #events: StreamEvents | null = null;
  #isCut = false;

  constructor(options: TlsDoorOptions) {
    this.#options = options;
    this.#silent = setTimeout(() => options.stream.destroy('it has not begun TLS'), options.helloMillisMax);
  }

  received(bytes: Uint8Array): void {
    if (this.#events !== null) return this.#events.received(bytes);
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    // Not worth a context of TLS of its own.
    if (this.#bytes[0] !== TLS_HANDSHAKE) {
      this.#options.refused(this.#options.stream.remote, 'it does not speak TLS');
      return this.cut('it does not speak TLS');
    }
    const protocols = offeredProtocols(this.#bytes);
    if (protocols === 'more') return;
    clearTimeout(this.#silent);
    const begun = this.#bytes;
    this.#bytes = NOTHING;
    const take = protocols === null ? null : this.#options.takerOf(protocols);
    if (take === null) this.#secure(begun);
    else this.#events = moveLink(this.#options.stream, take, { identity: null, bytes: new Uint8Array(begun), beginsTls: true });
  }

  ended(): void {
    if (this.#events === null) this.#options.stream.destroy('closed by the other side');
    else this.#events.ended();
  }

  closed(reason: string): void {
    clearTimeout(this.#silent);
    this.#events?.closed(reason);
    this.#options.left();
  }

  /** Whether another thread has it, whose bytes are carried through this one. */
  get isCarried(): boolean {
    return this.#events !== null;
  }

  cut(reason: string): void {
    this.#isCut = true;
    this.#options.stream.destroy(reason);
  }

  #secure(begun: Uint8Array): void {
    const { left, material, refused, secured, stream } = this.#options;
    const remote = stream.remote;
    stream.secure<TlsIdentity | null>(
      (plain, done) => upgradePeer(plain, material, begun, done),
      (outcome) => {
        if (this.#isCut) return;
        if ('failed' in outcome) return refused(remote, outcome.failed);
        if (outcome.identity === null) {
          refused(remote, 'its certificate names nobody of Tercet');
          return this.cut('its certificate names nobody of Tercet');
        }
        this.#events = secured(outcome.identity);
        left();
      },
    );
  }
}
