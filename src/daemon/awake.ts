// When it pays to stay awake for a host. One that asks for one thing at a time asks for the next some microseconds after an answer, and near answers
// about as soon: a core that has gone to sleep meanwhile takes longer to wake up than all the work takes. So after a request the event loop goes on
// turning for a moment, but only where the last ones came within such a moment, and never when many come together: then there is no sleep anyway. Nor
// while a flush is waited for: it is a thread of the pool that works then, and wants the core.

import type { Millis } from '../core/base/units.ts';
import type { TurnScheduler } from '../host/wake.ts';

/** For how long after a request. */
const AWAKE_MILLIS: Millis = 0.15;
/** A request that comes so long after the one before is one of a host that waits for answers. */
const SOON_MILLIS: Millis = 0.2;
/** Requests of one turn from which on nobody waits for a single answer. */
const MANY = 4;
/** So many requests that came in time, less three for each that did not, before it is believed; and how much is remembered of either. */
const CREDIT_MIN = 16;
const CREDIT_MAX = 64;
const LATE_COST = 3;

/** Keeps one event loop awake for the requests of the hosts of one group. */
export class Awake {
  readonly #turns: Pick<TurnScheduler, 'stayAwake' | 'sleep'>;
  readonly #now: () => Millis;
  #credit = 0;
  #count = 0;
  #flushes = false;
  #last: Millis = -Infinity;

  constructor(turns: Pick<TurnScheduler, 'stayAwake' | 'sleep'>, now: () => Millis) {
    this.#turns = turns;
    this.#now = now;
  }

  /** A request of a host has come; one that `flushes` is answered when a disk has done its part. */
  asked(flushes: boolean): void {
    this.#count++;
    this.#flushes ||= flushes;
  }

  /** A turn has ended. */
  turned(): void {
    const count = this.#count;
    if (count === 0) return;
    this.#count = 0;
    const now = this.#now();
    const inTime = !this.#flushes && count < MANY && now - this.#last <= SOON_MILLIS;
    if (this.#flushes) this.#turns.sleep();
    this.#flushes = false;
    this.#last = now;
    this.#credit = Math.max(0, Math.min(CREDIT_MAX, this.#credit + (inTime ? 1 : -LATE_COST)));
    if (inTime && this.#credit >= CREDIT_MIN) this.#turns.stayAwake(AWAKE_MILLIS);
  }
}
