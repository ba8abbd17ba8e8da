// Keeps a connection to one peer: dials, hands what comes to the site, and dials again after it has ended, at growing intervals so that a peer
// that is away costs little, and at irregular ones so that a peer that comes back is not met by everybody at the same moment.

import { randomInt } from 'node:crypto';

import type { Buffers, LinkPort } from '../core/base/ports.ts';
import type { Millis } from '../core/base/units.ts';
import type { LinkReceiver } from '../core/mirror/link.ts';
import type { StreamAddress } from '../host/stream-address.ts';
import type { DialOptions, SocketLink } from '../host/tcp-link.ts';
import { dial } from '../host/tcp-link.ts';
import type { TurnScheduler } from '../host/wake.ts';

/** First and longest pause between two tries; each is twice the one before. */
const PAUSE_MILLIS_MIN = 50;
const PAUSE_MILLIS_MAX = 2_000;
/** A connection that lasted this long was a good one: the next pause is the shortest again. */
const GOOD_MILLIS = 2_000;
/** Share of a pause that chance takes away. */
const JITTER_PERCENT = 50;
const CONNECT_MILLIS_MAX = 3_000;

export interface DialerOptions {
  readonly address: StreamAddress;
  readonly buffers: Buffers;
  readonly turns: TurnScheduler;
  /** With certificates: which, and whose the peer must show. */
  readonly tls?: DialOptions['tls'];
  readonly now: () => Millis;
  /** A connection was made: returns what its bytes go to. */
  readonly connected: (port: LinkPort) => LinkReceiver;
  /** The peer could not be reached. `isFirst`: of those in a row. */
  readonly failed: (reason: string, isFirst: boolean) => void;
  /** Whether a connection is wanted; asked before each try. Always when left out. */
  readonly wanted?: () => boolean;
}

/** Dials one peer of one group until it is stopped, and rests while no connection is wanted. */
export class Dialer {
  readonly #options: DialerOptions;
  #pauseMillis = PAUSE_MILLIS_MIN;
  #failures = 0;
  #stopped = false;
  #giveUp: () => void = () => undefined;
  #resting = true;

  constructor(options: DialerOptions) {
    this.#options = options;
  }

  /** Begins, where it rests and a connection is wanted. */
  start(): void {
    const { wanted = (): boolean => true } = this.#options;
    if (this.#resting && !this.#stopped && wanted()) this.#try();
  }

  #try(): void {
    const { address, buffers, turns, connected, failed, now, tls } = this.#options;
    this.#resting = false;
    this.#giveUp = dial(address, { buffers, turns, timeoutMillis: CONNECT_MILLIS_MAX, tls }, (outcome) => {
      if (outcome.kind === 'failed') {
        failed(outcome.reason, this.#failures++ === 0);
        this.#later();
        return;
      }
      this.#failures = 0;
      const since = now();
      attachLink(outcome.link, connected, () => {
        if (now() - since >= GOOD_MILLIS) this.#pauseMillis = PAUSE_MILLIS_MIN;
        this.#later();
      });
    });
  }

  /** No further try. A connection that stands is the site's to close. */
  stop(): void {
    this.#stopped = true;
    this.#giveUp();
  }

  #later(): void {
    if (this.#stopped) return;
    const pause = this.#pauseMillis - (this.#pauseMillis * randomInt(JITTER_PERCENT + 1)) / 100;
    this.#pauseMillis = Math.min(2 * this.#pauseMillis, PAUSE_MILLIS_MAX);
    const timer = setTimeout(() => {
      this.#resting = true;
      this.start();
    }, pause);
    this.#giveUp = () => clearTimeout(timer);
  }
}

/** Ties a connection to its receiver. `ended` is called once when it is over, whichever side ended it. */
export function attachLink(link: SocketLink, connected: (port: LinkPort) => LinkReceiver, ended: () => void): void {
  let over = false;
  const end = (): void => {
    if (over) return;
    over = true;
    ended();
  };
  const port: LinkPort = {
    send: (parts, sent) => link.send(parts, sent),
    get backlogBytes() {
      return link.backlogBytes;
    },
    identity: link.identity,
    close: () => {
      // After this the link itself says nothing more.
      link.close();
      end();
    },
  };
  const receiver = connected(port);
  link.attach({
    receive: (bytes) => receiver.receive(bytes),
    closed: () => {
      receiver.closed();
      end();
    },
  });
}
