// How fast work in the background may go: never above the rate that it was given, and slower as long as hosts are seen to wait longer for their
// answers while it runs than while it rests, the slow ones among them above all. So that there is something to compare with, it rests most of the
// time whenever hosts are there. Below a least rate it does not fall, however slow a machine that has too much to do becomes: what may rest for
// ever never ends, and a verify that does not end has verified nothing.

import { limits } from '../base/limits.ts';
import type { Millis } from '../base/units.ts';

/** Share of a new measurement in the running mean. */
const WEIGHT = 0.05;
/** Latency may rise by this share, and by this much, before the work slows down. */
const TOLERANCE = 1.1;
const TOLERANCE_MILLIS = 0.05;
/** What one answer in so many exceeds while the work rests may be exceeded by this share of those while it runs. */
const SLOW_SHARE = 0.05;
const SLOW_SHARE_MAX = 0.075;
const SLOW_WEIGHT = 0.02;
/** How far the bound between quick and slow answers moves with each one, as a share of itself. */
const SLOW_STEP = 0.02;
/** Rest after a piece of work, in multiples of the time that it took. */
const REST_MIN = 3;
const REST_MAX = 50;
const REST_MILLIS_MAX = 5_000;
/** With no answer to a host for so long nobody is there to be disturbed. */
const IDLE_MILLIS = 250;

/** The pace of one work in the background. */
export class Pace {
  #quiet: number | null = null;
  #busy: number | null = null;
  /** Above this an answer counts as slow: one in twenty of those while the work rests. */
  #slow: Millis | null = null;
  #slowShare = SLOW_SHARE;
  #lastAnswer: Millis = -Infinity;
  #rest = REST_MIN;
  #workedSince: Millis | null = null;
  /** Bytes that were begun since it rested last. */
  #worked = 0;
  #restUntil: Millis = -Infinity;
  #rateUntil: Millis = -Infinity;

  /** A host was answered after so long. */
  answered(latencyMillis: Millis, now: Millis): void {
    this.#lastAnswer = now;
    const slow = this.#slow !== null && latencyMillis > this.#slow;
    if (this.#workedSince !== null) {
      this.#busy = mean(this.#busy, latencyMillis);
      this.#slowShare += SLOW_WEIGHT * ((slow ? 1 : 0) - this.#slowShare);
      return;
    }
    this.#quiet = mean(this.#quiet, latencyMillis);
    this.#slow = (this.#slow ?? latencyMillis) * (1 + SLOW_STEP * (slow ? 1 - SLOW_SHARE : -SLOW_SHARE));
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
    if (now - this.#lastAnswer > IDLE_MILLIS) {
      this.#restUntil = now;
      return;
    }
    const slower = this.#quiet !== null && this.#busy !== null && this.#busy > this.#quiet * TOLERANCE + TOLERANCE_MILLIS;
    const disturbed = slower || this.#slowShare > SLOW_SHARE_MAX;
    this.#rest = disturbed ? Math.min(REST_MAX, this.#rest * 1.3) : Math.max(REST_MIN, this.#rest * 0.95);
    const restMax = Math.min(REST_MILLIS_MAX, (this.#worked / limits.verifyBytesPerSecondMin) * 1000);
    this.#restUntil = now + Math.max(1, Math.min(restMax, (now - since) * this.#rest));
    this.#worked = 0;
  }

  /** So many bytes were begun; 0 bytes in a second mean no bound. */
  began(byteCount: number, bytesPerSecond: number, now: Millis): void {
    this.#worked += byteCount;
    if (bytesPerSecond > 0) this.#rateUntil = Math.max(now, this.#rateUntil) + (byteCount / bytesPerSecond) * 1000;
  }

  /** When the next piece may begin. */
  get nextAt(): Millis {
    return Math.max(this.#restUntil, this.#rateUntil);
  }

  /** Whether hosts have been answered of late: then one piece at a time is enough. */
  hostsActive(now: Millis): boolean {
    return now - this.#lastAnswer <= IDLE_MILLIS;
  }
}

function mean(before: number | null, measured: number): number {
  return before === null ? measured : before + WEIGHT * (measured - before);
}
