// Where connections of peers come in of a daemon whose groups live in several threads: reads which group the first bytes name, and hands the connection to
// the thread that has it, bytes and all. That thread does everything that is to be done with a stranger, from the first byte on.

import { limits } from '../core/base/limits.ts';
import { groupOfHello } from '../core/mirror/accept.ts';
import { giveStream, type MovedStream } from '../host/moved-stream.ts';
import type { StreamEvents, StreamSocket } from '../host/stream-socket.ts';
import type { TlsIdentity } from '../host/tls-identity.ts';
import { Door, type DoorOptions } from './door.ts';

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

export interface LinkDoorOptions extends DoorOptions {
  readonly identity: TlsIdentity | null;
  /** It is this thread's, or nobody's: returns what its bytes go to. */
  readonly own: () => StreamEvents;
  /** Takes a connection for a group of another thread; null for one of this thread, or none. */
  readonly takerOf: (group: string) => LinkTaker | null;
}

/** One connection that has not said yet which group it is for. */
export class LinkDoor extends Door<ReturnType<typeof groupOfHello>> {
  readonly #options: LinkDoorOptions;

  constructor(options: LinkDoorOptions) {
    super(options, 'it has not said which group it is for');
    this.#options = options;
  }

  protected override read(bytes: Uint8Array): ReturnType<typeof groupOfHello> {
    return groupOfHello(bytes);
  }

  protected override known(hello: ReturnType<typeof groupOfHello>, bytes: Uint8Array): void {
    const { identity, own, stream, takerOf } = this.#options;
    const take = hello === null || hello === 'more' ? null : takerOf(hello.group);
    if (take !== null) return this.handedOn(moveLink(stream, take, { identity, bytes: new Uint8Array(bytes) }));
    this.taken(own());
    this.received(bytes);
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
