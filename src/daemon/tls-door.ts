// Where an encrypted connection of a peer begins in a daemon whose groups live in several threads: what it says in the clear may name a group of another
// thread (host/client-hello.ts). Then that thread is handed the connection as it is, so that it does the whole of TLS itself. One that names none, as those of
// older programs, becomes TLS here, and is carried afterwards. A thread that was handed one has such a door too, which hands nothing on.

import { type Beginning, offeredProtocols } from '../host/client-hello.ts';
import type { StreamEvents } from '../host/stream-socket.ts';
import type { TlsIdentity } from '../host/tls-identity.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import { upgradePeer } from '../host/tls-stream.ts';
import { Door, type DoorOptions } from './door.ts';
import { type LinkTaker, moveLink } from './link-door.ts';

export interface TlsDoorOptions extends DoorOptions {
  readonly material: TlsMaterial;
  /** Takes a connection that offers these protocols; null where that is this thread's matter. */
  readonly takerOf: (protocols: readonly string[]) => LinkTaker | null;
  /** It is TLS now, and the other end has shown this: returns what its bytes go to. */
  readonly secured: (identity: TlsIdentity) => StreamEvents;
  readonly refused: (remote: string, reason: string) => void;
}

/** One connection before its TLS. */
export class TlsDoor extends Door<Beginning> {
  readonly #options: TlsDoorOptions;
  #isCut = false;

  constructor(options: TlsDoorOptions) {
    super(options, 'it has not begun TLS');
    this.#options = options;
  }

  protected override read(bytes: Uint8Array): Beginning | 'more' {
    return offeredProtocols(bytes);
  }

  protected override known(offered: Beginning, begun: Uint8Array): void {
    // Not worth a context of TLS of its own.
    if (offered === 'no TLS') return this.#refuse('it does not speak TLS');
    const take = offered === null ? null : this.#options.takerOf(offered);
    if (take === null) return this.#secure(begun);
    this.handedOn(moveLink(this.#options.stream, take, { identity: null, bytes: new Uint8Array(begun), beginsTls: true }));
  }

  override cut(reason: string): void {
    this.#isCut = true;
    super.cut(reason);
  }

  #refuse(why: string): void {
    this.#options.refused(this.#options.stream.remote, why);
    this.cut(why);
  }

  #secure(begun: Uint8Array): void {
    const { material, refused, secured, stream } = this.#options;
    const { remote } = stream;
    stream.secure<TlsIdentity | null>(
      (plain, done) => upgradePeer(plain, material, begun, done),
      (outcome) => {
        if (this.#isCut) return;
        if ('failed' in outcome) return refused(remote, outcome.failed);
        if (outcome.identity === null) return this.#refuse('its certificate names nobody of Tercet');
        this.taken(secured(outcome.identity));
      },
    );
  }
}
