// How fast something goes on, and where it will be: what a forecast is made of. Both look back a few seconds only, cost a few numbers each, and say
// nothing where they have not seen enough.

import type { Millis } from './units.ts';

const BUCKET_MILLIS = 1000;
const BUCKETS = 10;

/** Amounts for each second of the last ten. */
export class Rate {
  readonly #amounts = new Float64Array(BUCKETS);
  /** Number of the newest bucket since the clock began; -1 before the first amount. */
  #newest = -1;
  #first = -1;

  add(now: Millis, amount: number): void {
    const at = Math.floor(now / BUCKET_MILLIS);
    if (this.#first < 0) this.#first = at;
    this.#forward(at);
    this.#amounts[at % BUCKETS] = (this.#amounts[at % BUCKETS] as number) + amount;
  }

  /** Amount for each second, over the last ten at most; 0 when there was none. */
  perSecond(now: Millis): number {
    if (this.#first < 0) return 0;
    const at = Math.floor(now / BUCKET_MILLIS);
    this.#forward(at);
    let sum = 0;
    for (const amount of this.#amounts) sum += amount;
    // The newest bucket is not full yet; a single one counts as a whole second, so that a short burst is not taken for a rate.
    const begun = Math.max(this.#first, at - BUCKETS + 1);
    return sum / Math.max(1, now / BUCKET_MILLIS - begun);
  }

  #forward(at: number): void {
    if (at <= this.#newest) return;
    const empty = this.#newest < 0 ? BUCKETS : Math.min(BUCKETS, at - this.#newest);
    for (let bucket = at - empty + 1; bucket <= at; bucket++) this.#amounts[((bucket % BUCKETS) + BUCKETS) % BUCKETS] = 0;
    this.#newest = at;
  }
}

const SAMPLE_MILLIS = 1000;
const SAMPLES_MAX = 15;
/** Less than that says nothing. */
const SPAN_MILLIS_MIN = 4000;

/** How a level moves. */
export class Trend {
  #samples: { readonly at: Millis; readonly level: number }[] = [];

  /** Notes the level, now and then. */
  sample(now: Millis, level: () => number): void {
    const last = this.#samples[this.#samples.length - 1];
    if (last !== undefined && now - last.at < SAMPLE_MILLIS) return;
    this.#samples.push({ at: now, level: level() });
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
  }

  /** How much it rises each second, negative when it falls; null while that is not known. */
  get perSecond(): number | null {
    const [first, last] = [this.#samples[0], this.#samples[this.#samples.length - 1]];
    if (first === undefined || last === undefined || last.at - first.at < SPAN_MILLIS_MIN) return null;
    return ((last.level - first.level) * 1000) / (last.at - first.at);
  }
}
