// Where connections of peers come in of a daemon whose groups live in several threads: reads which group the first bytes name, and hands the connection to
// the thread that has it, bytes and all. That thread does everything that is to be done with a stranger, from the first byte on.

import { limits } from '../core/base/limits.ts';
import { groupOfHello } from '../core/mirror/accept.ts';
import { giveStream, type MovedStream } from '../host/moved-stream.ts';
import type { StreamEvents, StreamSocket } from '../host/stream-socket.ts';
import type { TlsIdentity } from '../host/tls-identity.ts';

/** A connection of a peer that goes on in another thread. */
export interface MovedLink extends MovedStream {
  /** Whose certificate the other end has shown; null without TLS. */
  readonly identity: TlsIdentity | null;
  /** What it has sent so far. */
  readonly bytes: Uint8Array;
  /** These bytes begin TLS, which is to be carried out there. */
  readonly beginsTls?: boolean;
}

/** Takes a connection for another thread. `gone` is called when that one is done with it. */
export type LinkTaker = (link: MovedLink, gone: () => void) => void;

export interface LinkDoorOptions {
  readonly stream: StreamSocket;
  readonly identity: TlsIdentity | null;
  /** How long it may stay silent. */
  readonly helloMillisMax: number;
  /** It is this thread's, or nobody's: returns what its bytes go to. */
  readonly own: () => StreamEvents;
  /** Takes a connection for a group of another thread; null for one of this thread, or none. */
  readonly takerOf: (group: string) => LinkTaker | null;
  /** It has ended, or is no matter of this door any more. */
  readonly left?: () => void;
}

const NOTHING = new Uint8Array(0);

/** One connection that has not said yet which group it is for. */
export class LinkDoor implements StreamEvents {
  readonly #options: LinkDoorOptions;
  readonly #silent: NodeJS.Timeout;
  #bytes: Uint8Array = NOTHING;
  /** What its bytes go to, once that is known. */
  #events: StreamEvents | null = null;
  #isOwn = false;

  constructor(options: LinkDoorOptions) {
    this.#options = options;
    this.#silent = setTimeout(() => options.stream.destroy('it has not said which group it is for'), options.helloMillisMax);
  }

  received(bytes: Uint8Array): void {
    if (this.#events !== null) return this.#events.received(bytes);
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    const hello = groupOfHello(this.#bytes);
    if (hello === 'more') return;
    clearTimeout(this.#silent);
    const take = hello === null ? null : this.#options.takerOf(hello.group);
    if (take === null) {
      this.#isOwn = true;
      this.#events = this.#options.own();
      this.#options.left?.();
      this.#events.received(this.#bytes);
    } else {
      const { identity, stream } = this.#options;
      this.#events = moveLink(stream, take, { identity, bytes: new Uint8Array(this.#bytes) });
    }
    this.#bytes = NOTHING;
  }

  ended(): void {
    if (this.#events === null) this.#options.stream.destroy('closed by the other side');
    else this.#events.ended();
  }

  closed(reason: string): void {
    clearTimeout(this.#silent);
    this.#events?.closed(reason);
    this.#options.left?.();
  }

  /** Whether another thread has it, whose bytes are carried through this one. */
  get isCarried(): boolean {
    return this.#events !== null && !this.#isOwn;
  }

  /** Cuts it, whoever has it; one of this thread is cut by its owner. */
  cut(reason: string): void {
    if (!this.#isOwn) this.#options.stream.destroy(reason);
  }
}

/** Hands a connection over. Returns what its bytes go to from now on, where they still come here. */
export function moveLink(stream: StreamSocket, take: LinkTaker, link: Omit<MovedLink, 'fd' | 'name'>): StreamEvents | null {
  // What the thread has said last is still to leave.
  const given = giveStream(stream, (reason) => stream.end(reason, limits.lingerMillis));
  if (given === null) {
    stream.destroy('there is no descriptor to hand it over with');
    return null;
  }
  const { carrier, fd, name } = given;
  take({ ...link, fd, name }, () => {
    if (carrier === null) stream.wentAway('it has ended');
  });
  return carrier;
}
