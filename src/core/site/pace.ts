// How fast work in the background may go beside hosts. It goes in small steps at a rate. The rate is halved when more answers to hosts are slow than
// would be without the work, and grows slowly as long as they are not: what counts is not the mean but the slow ones, because those are what is felt.
// It rests most of the time, so that there is something to compare with. Below a least rate it does not fall, however slow a machine that has too much
// to do becomes: what may rest for ever never ends, and a verify that does not end has verified nothing. Where nobody is answered it does not rest.

import { limits } from '../base/limits.ts';
import type { Millis } from '../base/units.ts';

/** An answer is slow when it takes longer than all but this share of those that are given while the work rests. */
const SLOW_SHARE = 0.05;
/** How far the bound between quick and slow answers moves with each one, as a share of itself. */
const SLOW_STEP = 0.02;
/** Where answers are all alike the bound moves around them. */
const TOLERANCE = 1.1;
/** Of all answers so many may be slow because of the work: above that the rate is halved, below half of that it grows. */
const BUDGET_SHARE = 0.005;
const GROWTH_BYTES_PER_SECOND = 1024 * 1024;
const GROWTH_SHARE = 1 / 8;
/** The rate is decided on anew after so long, when there were so many answers; after the longer time in any case. */
const DECIDE_MILLIS = 500;
const DECIDE_ANSWERS = 100;
const DECIDE_MILLIS_MAX = 2_000;
/** Rest after a step, in multiples of the time that it took, at least. */
const REST_MIN = 3;
/** Rest after a step that looked at no bytes, at most. */
const REST_MILLIS_MAX = 100;
/** A step is about what the rate allows in so long. */
const STEP_MILLIS = 30;
const STEP_BYTES_MIN = 64 * 1024;
const STEP_BYTES_MAX = 512 * 1024;
/** With no answer to a host for so long nobody is there to be disturbed. */
const IDLE_MILLIS = 250;

/** The pace of one work in the background. */
export class Pace {
  /** Bytes in a second below which it is not slowed down for the sake of hosts. */
  leastBytesPerSecond: number = limits.verifyBytesPerSecondMin;
  #bytesPerSecond = 0;
  /** Above this an answer is slow; null before the first. */
  #slow: Millis | null = null;
  #lastAnswer: Millis = -Infinity;
  /** Since the last decision: answers in all, those while it worked, the slow ones of these, and whether the rate was what bounded it. */
  #answers = 0;
  #besideWork = 0;
  #slowBesideWork = 0;
  #bounded = false;
  #decidedAt: Millis = 0;
  #workedSince: Millis | null = null;
  /** Bytes that were begun since it rested last. */
  #worked = 0;
  #restUntil: Millis = -Infinity;
  #rateUntil: Millis = -Infinity;

  /** A host was answered after so long. */
  answered(latencyMillis: Millis, now: Millis): void {
    this.#lastAnswer = now;
    this.#answers++;
    this.#slow ??= latencyMillis;
    if (this.#workedSince === null) {
      this.#slow *= 1 + SLOW_STEP * (latencyMillis > this.#slow ? 1 - SLOW_SHARE : -SLOW_SHARE);
      return;
    }
    this.#besideWork++;
    if (latencyMillis > this.#slow * TOLERANCE) this.#slowBesideWork++;
  }

  /** Work is under way, or has ended. */
  working(works: boolean, now: Millis): void {
    if (works) {
      this.#workedSince ??= now;
      return;
    }
    const since = this.#workedSince;
    if (since === null) return;
    this.#workedSince = null;
    const worked = this.#worked;
    this.#worked = 0;
    if (!this.hostsActive(now)) {
      this.#restUntil = now;
      return;
    }
    this.#decide(now);
    const rest = (now - since) * REST_MIN;
    const atRate = (worked / this.bytesPerSecond) * 1000 - (now - since);
    const atLeastRate = worked === 0 ? REST_MILLIS_MAX : (worked / this.leastBytesPerSecond) * 1000;
    this.#bounded ||= atRate >= rest;
    this.#restUntil = now + Math.max(1, Math.min(Math.max(rest, atRate), atLeastRate));
  }

  /** So many bytes were begun; 0 bytes in a second mean no bound. */
  began(byteCount: number, bytesPerSecond: number, now: Millis): void {
    this.#worked += byteCount;
    if (bytesPerSecond > 0) this.#rateUntil = Math.max(now, this.#rateUntil) + (byteCount / bytesPerSecond) * 1000;
  }

  /** When the next step may begin. */
  get nextAt(): Millis {
    return Math.max(this.#restUntil, this.#rateUntil);
  }

  /** The rate at which it goes beside hosts. */
  get bytesPerSecond(): number {
    return Math.max(this.leastBytesPerSecond, this.#bytesPerSecond);
  }

  /** Bytes of one step beside hosts. */
  get stepBytes(): number {
    const bytes = Math.floor((this.bytesPerSecond * STEP_MILLIS) / 1000 / STEP_BYTES_MIN) * STEP_BYTES_MIN;
    return Math.min(STEP_BYTES_MAX, Math.max(STEP_BYTES_MIN, bytes));
  }

  /** Whether hosts have been answered of late: then one step at a time is enough. */
  hostsActive(now: Millis): boolean {
    return now - this.#lastAnswer <= IDLE_MILLIS;
  }

  #decide(now: Millis): void {
    const elapsed = now - this.#decidedAt;
    if (elapsed < DECIDE_MILLIS || (this.#answers < DECIDE_ANSWERS && elapsed < DECIDE_MILLIS_MAX)) return;
    const excess = this.#slowBesideWork - SLOW_SHARE * this.#besideWork;
    const budget = BUDGET_SHARE * this.#answers;
    const rate = this.bytesPerSecond;
    if (excess > budget) this.#bytesPerSecond = Math.max(this.leastBytesPerSecond, rate / 2);
    // A rate that was not reached with the largest steps says nothing about a higher one.
    else if (excess < budget / 2 && (this.#bounded || this.stepBytes < STEP_BYTES_MAX))
      this.#bytesPerSecond = rate + Math.max(GROWTH_BYTES_PER_SECOND, rate * GROWTH_SHARE);
    this.#answers = 0;
    this.#besideWork = 0;
    this.#slowBesideWork = 0;
    this.#bounded = false;
    this.#decidedAt = now;
  }
}
