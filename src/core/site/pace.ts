// How fast work in the background may go beside hosts. It goes in small steps at a rate. The rate is halved when more answers to hosts are slow, or
// very slow, than would be without the work, and grows slowly as long as they are not: what counts is not the mean but the slow ones, because those are
// what is felt. It rests most of the time, so that there is something to compare with. Below a least rate it does not fall, however slow a machine that has too much
// to do becomes: what may rest for ever never ends, and a verify that does not end has verified nothing. Where nobody is answered it does not rest.

import { limits } from '../base/limits.ts';
import type { Millis } from '../base/units.ts';

/** Which answers count as slow: those that take longer than all but a share of those that are given while the work rests. */
interface Slowness {
  readonly share: number;
  /** Of all answers so many may be slow because of the work: above that the rate is halved, below half of that it grows. */
  readonly budgetShare: number;
  /** It is decided on after so many answers; fewer would tell nothing. */
  readonly answersMin: number;
}
/** The slowest twentieth, and the slowest hundredth. */
const SLOW: Slowness = { share: 0.05, budgetShare: 0.005, answersMin: 100 };
const VERY_SLOW: Slowness = { share: 0.01, budgetShare: 0.001, answersMin: 500 };
/** How far the bound between quick and slow answers moves with each one, as a share of itself. */
const SLOW_STEP = 0.02;
/** Where answers are all alike the bound moves around them. */
const TOLERANCE = 1.1;
const GROWTH_BYTES_PER_SECOND = 1024 * 1024;
const GROWTH_SHARE = 1 / 8;
/** The rate is decided on anew after so long, when there were enough answers; after the longer time in any case. */
const DECIDE_MILLIS = 500;
const DECIDE_MILLIS_MAX = 2_000;
/** Rest after a step, in multiples of the time that it took, at least: a step is under way for a tenth of the time at most. */
const REST_MIN = 9;
/** Rest after a step that looked at no bytes, at most. */
const REST_MILLIS_MAX = 100;
/** A step is about what the rate allows in so long. */
const STEP_MILLIS = 30;
const STEP_BYTES_MIN = 64 * 1024;
const STEP_BYTES_MAX = 256 * 1024;
/** With no answer to a host for so long nobody is there to be disturbed. */
const IDLE_MILLIS = 250;

type Verdict = 'too many' | 'some' | 'few';

/** Counts the answers that are slow, and those of them that the work may be to blame for. */
class SlowAnswers {
  readonly #slowness: Slowness;
  /** Above this an answer is slow; null before the first. */
  #bound: Millis | null = null;
  /** Since the last verdict: answers in all, those while it worked, and the slow ones of these. */
  #answers = 0;
  #besideWork = 0;
  #slowBesideWork = 0;
  #since: Millis = 0;

  constructor(slowness: Slowness) {
    this.#slowness = slowness;
  }

  answered(latencyMillis: Millis, works: boolean): void {
    const { share } = this.#slowness;
    this.#answers++;
    this.#bound ??= latencyMillis;
    if (!works) {
      this.#bound *= 1 + SLOW_STEP * (latencyMillis > this.#bound ? 1 - share : -share);
      return;
    }
    this.#besideWork++;
    if (latencyMillis > this.#bound * TOLERANCE) this.#slowBesideWork++;
  }

  /** Null while it is too early to say. */
  verdict(now: Millis): Verdict | null {
    const { share, budgetShare, answersMin } = this.#slowness;
    const elapsed = now - this.#since;
    if (elapsed < DECIDE_MILLIS || (this.#answers < answersMin && elapsed < DECIDE_MILLIS_MAX)) return null;
    const excess = this.#slowBesideWork - share * this.#besideWork;
    const budget = budgetShare * this.#answers;
    this.#answers = 0;
    this.#besideWork = 0;
    this.#slowBesideWork = 0;
    this.#since = now;
    if (excess > budget) return 'too many';
    return excess < budget / 2 ? 'few' : 'some';
  }
}

/** The pace of one work in the background. */
export class Pace {
  /** Bytes in a second below which it is not slowed down for the sake of hosts. */
  leastBytesPerSecond: number = limits.verifyBytesPerSecondMin;
  #bytesPerSecond = 0;
  readonly #slow = new SlowAnswers(SLOW);
  readonly #verySlow = new SlowAnswers(VERY_SLOW);
  #lastAnswer: Millis = -Infinity;
  /** Whether the rate was what bounded it since the last decision. */
  #bounded = false;
  #workedSince: Millis | null = null;
  /** Bytes that were begun since it rested last. */
  #worked = 0;
  #restUntil: Millis = -Infinity;
  #rateUntil: Millis = -Infinity;

  /** A host was answered after so long. */
  answered(latencyMillis: Millis, now: Millis): void {
    this.#lastAnswer = now;
    const works = this.#workedSince !== null;
    this.#slow.answered(latencyMillis, works);
    this.#verySlow.answered(latencyMillis, works);
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
    const atLeastRate = worked === 0 ? REST_MILLIS_MAX : (worked / this.leastBytesPerSecond) * 1000 - (now - since);
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
    const verdicts = [this.#slow.verdict(now), this.#verySlow.verdict(now)];
    const [slow] = verdicts;
    const rate = this.bytesPerSecond;
    if (verdicts.includes('too many')) this.#bytesPerSecond = Math.max(this.leastBytesPerSecond, rate / 2);
    // A rate that was not reached with the largest steps says nothing about a higher one.
    else if (slow === 'few' && !verdicts.includes('some') && (this.#bounded || this.stepBytes < STEP_BYTES_MAX))
      this.#bytesPerSecond = rate + Math.max(GROWTH_BYTES_PER_SECOND, rate * GROWTH_SHARE);
    if (slow !== null) this.#bounded = false;
  }
}
