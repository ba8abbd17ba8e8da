// Traces: ways through the model, drawn from a seed. What happened seldom so far is chosen more often, so that a few hundred of them see every
// kind of step many times, in orders that no story would come upon.

import { scopeOf, type ScopeName } from './scopes.ts';
import { successors } from './search.ts';
import { firstState, type State } from './state.ts';
import type { Scope } from './world.ts';

const unbroken = (): boolean => false;

/** A step without who takes it and which write or epoch it is about. */
export const kindOf = (label: string): string =>
  label
    .replaceAll(/\b[ABC]\b/g, 'X')
    .replaceAll(/\d+/g, 'n')
    .replaceAll(/(is) (cut|mended)$/g, '$1 $2');

/** Numbers from a seed: small, the same on every machine. */
function numbersFrom(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** Draws traces of a scope, one after the other. */
export class Traces {
  readonly #scope: Scope;
  readonly #taken = new Map<string, number>();

  constructor(name: ScopeName, within: Partial<Scope> = {}) {
    this.#scope = { ...scopeOf(name, 1), ...within };
  }

  /** The next trace: at most so many steps. */
  next(seed: number, length: number): string[] {
    const draw = numbersFrom(seed);
    let state = firstState(this.#scope.sites, 1);
    const labels: string[] = [];
    while (labels.length < length) {
      const ways: { label: string; next: State }[] = [];
      successors(state, this.#scope, unbroken, (label, next) => {
        ways.push({ label, next });
        return false;
      });
      const weights = ways.map(({ label }) => 1 / (1 + (this.#taken.get(kindOf(label)) ?? 0)));
      let at = draw() * weights.reduce((sum, each) => sum + each, 0);
      const place = weights.findIndex((weight) => (at -= weight) < 0);
      const way = ways[place < 0 ? ways.length - 1 : place];
      if (way === undefined) break;
      this.#taken.set(kindOf(way.label), (this.#taken.get(kindOf(way.label)) ?? 0) + 1);
      labels.push(way.label);
      state = way.next;
    }
    return labels;
  }
}
