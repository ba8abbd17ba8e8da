// How fast records and images go to a peer: no faster, over a moment, than its link is allowed to carry. A bucket of bytes that fills at that rate. What
// is sent may take more than is in it, since a frame goes as a whole; then nothing goes until the debt is paid. Heartbeats, acknowledgements and
// questions pass: they are small, and promises rest on them.

import type { Clock } from '../base/ports.ts';
import type { Millis } from '../base/units.ts';

/** What may go at once after a rest, in time at the rate. */
const BURST_SECONDS = 0.1;

export class LinkPace {
  readonly #clock: Pick<Clock, 'now'>;
  readonly bytesPerSecond: number;
  #tokens: number;
  #at: Millis;

  /** Infinity: no bound. */
  constructor(clock: Pick<Clock, 'now'>, bytesPerSecond: number) {
    this.#clock = clock;
    this.bytesPerSecond = bytesPerSecond;
    this.#tokens = this.#burst;
    this.#at = clock.now();
  }

  /** Whether something may be sent now. */
  get isOpen(): boolean {
    if (this.bytesPerSecond === Infinity) return true;
    this.#refill();
    return this.#tokens > 0;
  }

  /** So many bytes were sent. */
  spend(byteCount: number): void {
    if (this.bytesPerSecond === Infinity) return;
    this.#refill();
    this.#tokens -= byteCount;
  }

  /** When something may be sent again. */
  get opensAt(): Millis {
    if (this.isOpen) return this.#clock.now();
    return this.#at + Math.max(1, (1000 * -this.#tokens) / this.bytesPerSecond);
  }

  get #burst(): number {
    return this.bytesPerSecond * BURST_SECONDS;
  }

  #refill(): void {
    const now = this.#clock.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.bytesPerSecond);
    this.#at = now;
  }
}

/** For a peer whose link has no bound. */
export const UNPACED: LinkPace = new LinkPace({ now: () => 0 }, Infinity);
