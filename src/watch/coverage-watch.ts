// Coverage over time: what a pair of copies is called must have been so for some seconds before that is an event, so that a mirror that joins, or
// a sidefile at its limit, is told of once and not each second.

import type { CoverageStatus, SiteStatus } from '../api/schema.ts';
import type { EventDraft } from './events.ts';

type State = CoverageStatus['state'];

/** For how long a state must last. Bad news travels faster than good news. */
const LASTING_SECONDS: Readonly<Record<State, number>> = { 'not-ready': 1, preparing: 5, ready: 3 };

/** Full within this is worth an event; and for so long it must not be so any more before that is over. */
const FILLING_SECONDS = 60;
const EASED_SECONDS = 120;
const EASED_LASTING_SECONDS = 5;

interface Pair {
  told: State | null;
  state: State;
  since: number;
}

/** Looks at one group. Times are in seconds of any clock that does not jump. */
export class CoverageWatch {
  readonly #pairs = new Map<string, Pair>();
  #filling = false;
  #easedSince: number | null = null;

  look(status: SiteStatus, now: number): readonly EventDraft[] {
    const drafts: EventDraft[] = [];
    const seen = new Set<string>();
    for (const each of status.coverage) {
      const key = `${each.from} ${each.to}`;
      seen.add(key);
      const draft = this.#pair(key, each, status.group, now);
      if (draft !== null) drafts.push(draft);
    }
    // What this site no longer knows, in another role say, begins anew when it does.
    for (const key of this.#pairs.keys()) if (!seen.has(key)) this.#pairs.delete(key);
    drafts.push(...this.#fill(status, now));
    return drafts;
  }

  #pair(key: string, { from, to, state, why }: CoverageStatus, group: string, now: number): EventDraft | null {
    let pair = this.#pairs.get(key);
    if (pair === undefined) {
      pair = { told: null, state, since: now };
      this.#pairs.set(key, pair);
    }
    if (pair.state !== state) {
      pair.state = state;
      pair.since = now;
    }
    if (pair.told === state || now - pair.since < LASTING_SECONDS[state]) return null;
    const was = pair.told;
    pair.told = state;
    return { kind: 'coverage', group, peer: to, facts: { from, to, state, was, why }, text: textOf(from, to, state, why) };
  }

  #fill({ group, sidefileFullSeconds }: SiteStatus, now: number): readonly EventDraft[] {
    const seconds = sidefileFullSeconds;
    if (seconds !== null && seconds < FILLING_SECONDS) {
      this.#easedSince = null;
      if (this.#filling) return [];
      this.#filling = true;
      const whole = Math.round(seconds);
      return [
        { kind: 'sidefile-filling', group, peer: null, facts: { seconds: whole }, text: `at this rate the sidefile is full in ${whole} s` },
      ];
    }
    if (!this.#filling || (seconds !== null && seconds < EASED_SECONDS)) {
      this.#easedSince = null;
      return [];
    }
    this.#easedSince ??= now;
    if (now - this.#easedSince < EASED_LASTING_SECONDS) return [];
    this.#filling = false;
    return [{ kind: 'sidefile-eased', group, peer: null, facts: {}, text: 'the sidefile will not be full soon any more' }];
  }
}

function textOf(from: string, to: string, state: State, why: string | null): string {
  const reason = why === null ? '' : `: ${why}`;
  switch (state) {
    case 'ready':
      return `${from} can bring ${to} up to date by delta`;
    case 'preparing':
      return `${from} cannot bring ${to} up to date by delta yet${reason}`;
    case 'not-ready':
      return `${from} cannot bring ${to} up to date by delta${reason}`;
  }
}
