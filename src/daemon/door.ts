// Where a connection of a peer waits until its first bytes have said whose it is: with a bound on how long, and behind that, what its bytes go to.

import type { StreamEvents, StreamSocket } from '../host/stream-socket.ts';

/** What every door is given. */
export interface DoorOptions {
  readonly stream: StreamSocket;
  /** How long it may say nothing that can be understood. */
  readonly helloMillisMax: number;
  /** It has ended, or is no matter of this door any more. */
  readonly left?: () => void;
}

const NOTHING = new Uint8Array(0);

/** One connection that has not said yet whose it is. `Said`: what its first bytes say. */
export abstract class Door<Said> implements StreamEvents {
  readonly #stream: StreamSocket;
  readonly #left: () => void;
  readonly #silent: NodeJS.Timeout;
  #bytes: Uint8Array = NOTHING;
  #events: StreamEvents | null = null;
  #isOwn = false;

  /** `silent`: what is said of one that stays so. */
  constructor({ stream, helloMillisMax, left = () => undefined }: DoorOptions, silent: string) {
    this.#stream = stream;
    this.#left = left;
    this.#silent = setTimeout(() => stream.destroy(silent), helloMillisMax);
  }

  /** What the bytes so far say. */
  protected abstract read(bytes: Uint8Array): Said | 'more';

  /** It is known what they say. */
  protected abstract known(said: Said, bytes: Uint8Array): void;

  received(bytes: Uint8Array): void {
    if (this.#events !== null) return this.#events.received(bytes);
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    const said = this.read(this.#bytes);
    if (said === 'more') return;
    clearTimeout(this.#silent);
    const begun = this.#bytes;
    this.#bytes = NOTHING;
    this.known(said as Said, begun);
  }

  ended(): void {
    if (this.#events === null) this.#stream.destroy('closed by the other side');
    else this.#events.ended();
  }

  closed(reason: string): void {
    clearTimeout(this.#silent);
    this.#events?.closed(reason);
    this.#left();
  }

  /** Whether another thread has it, whose bytes are carried through this one. */
  get isCarried(): boolean {
    return this.#events !== null && !this.#isOwn;
  }

  /** Cuts it, whoever has it; one of this thread is cut by its owner. */
  cut(reason: string): void {
    if (!this.#isOwn) this.#stream.destroy(reason);
  }

  /** Another thread has it: its bytes go there, as far as they still come here. */
  protected handedOn(carrier: StreamEvents | null): void {
    this.#events = carrier;
  }

  /** It is this thread's, and no matter of this door any more. */
  protected taken(events: StreamEvents): void {
    this.#isOwn = true;
    this.#events = events;
    this.#left();
  }
}
