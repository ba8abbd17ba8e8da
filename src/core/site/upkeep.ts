// What a copy needs from time to time whatever its site's role: records made durable that nobody waits for, and moved to the base image.

import type { Millis } from '../base/units.ts';
import type { Replica } from '../replica/replica.ts';

export class Upkeep {
  readonly #idleMillis: Millis;
  #lastFlush: Millis = -Infinity;

  constructor(idleMillis: Millis) {
    this.#idleMillis = idleMillis;
  }

  turn(replica: Replica, now: Millis): void {
    if (replica.marks.durable < replica.marks.received && now - this.#lastFlush >= this.#idleMillis) {
      this.#lastFlush = now;
      replica.flush();
    }
    replica.work(now);
  }

  deadline(replica: Replica, now: Millis): Millis {
    const flushAt = replica.marks.durable < replica.marks.received ? Math.max(this.#lastFlush, now - 1) + this.#idleMillis : Infinity;
    return Math.min(replica.nextWork, flushAt);
  }
}
