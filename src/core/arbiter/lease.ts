// Safety rule 2: promises given and leases held. Each side counts with its own monotonic clock, and the two counts are so placed that a lease
// always ends before the promise it rests on: the primary counts from when it sent the heartbeat, the peer from when it answered.

import { assert } from '../base/assert.ts';
import type { Millis } from '../base/units.ts';

/** What a peer has promised to this primary. */
export class Lease {
  readonly #driftShare: number;
  #sent: { number: number; at: Millis }[] = [];
  #until: Millis = -Infinity;

  constructor(driftShare: number) {
    assert(driftShare >= 0 && driftShare < 0.5, 'a drift share must be a small fraction', { driftShare });
    this.#driftShare = driftShare;
  }

  /** Until when this peer will surely not claim, by this site's clock. */
  get until(): Millis {
    return this.#until;
  }

  holds(now: Millis): boolean {
    return now < this.#until;
  }

  heartbeatSent(number: number, at: Millis): void {
    this.#sent.push({ number, at });
    if (this.#sent.length > 64) this.#sent.shift();
  }

  /** The peer has promised `promiseMillis` when it answered. Returns false for a heartbeat that was never sent, or is forgotten. */
  answered(number: number, promiseMillis: Millis): boolean {
    const index = this.#sent.findIndex((heartbeat) => heartbeat.number === number);
    if (index < 0) return false;
    const { at } = this.#sent[index] as { number: number; at: Millis };
    this.#sent.splice(0, index + 1);
    this.#until = Math.max(this.#until, at + promiseMillis * (1 - this.#driftShare));
    return true;
  }

  /** The peer's promises no longer matter, or are no longer believed. */
  drop(): void {
    this.#sent = [];
    this.#until = -Infinity;
  }
}

/** What this site has promised: not to claim before `until`. */
export class Promised {
  #until: Millis;

  /** A site that starts cannot know what it promised before: it waits out a full promise. */
  constructor(startedAt: Millis, fullPromise: Millis) {
    this.#until = startedAt + fullPromise;
  }

  get until(): Millis {
    return this.#until;
  }

  holds(now: Millis): boolean {
    return now < this.#until;
  }

  promise(now: Millis, span: Millis): void {
    this.#until = Math.max(this.#until, now + span);
  }
}
