// The exploration: every state that can be reached within a scope, nearest first, so that the first fault found has the shortest story. Of a state
// that was seen only a 52-bit hash is kept, with its parent and which successor of it it was: enough to tell the story again from the beginning.

import { agreements } from './actions/agreement.ts';
import { mirrors, writes } from './actions/data.ts';
import { faults } from './actions/faults.ts';
import { claims, deliveries, forces, handovers } from './actions/questions.ts';
import { leases, membership } from './actions/reign.ts';
import { moves, reports } from './actions/reports.ts';
import { type Fault, faultOf } from './invariants.ts';
import { copyOf, firstState, numbersOf, type State } from './state.ts';
import type { Broken } from './witness.ts';
import type { Scope, Turn } from './world.ts';

const ACTIONS: readonly ((turn: Turn) => void)[] = [
  writes,
  mirrors,
  leases,
  membership,
  claims,
  deliveries,
  handovers,
  forces,
  moves,
  reports,
  agreements,
  faults,
];

/** What an exploration found. */
export interface Found {
  readonly states: number;
  /** Everything within the scope was seen; false: the limit came first. */
  readonly complete: boolean;
  readonly fault: (Fault & { readonly story: readonly string[] }) | null;
  /** Everything that happened, each once. */
  readonly steps: ReadonlySet<string>;
}

/** Whether a rule is left out: the one that the mutation names. */
const breaking =
  (mutation: string | null): Broken =>
  (name) =>
    name === mutation;

/** Calls `visit` for each state that can follow; it returns true to stop. */
export function successors(state: State, scope: Scope, broken: Broken, visit: (label: string, next: State) => boolean): void {
  let stopped = false;
  const turn: Turn = {
    state,
    scope,
    broken,
    emit: (label, change) => {
      if (stopped) return;
      const next = copyOf(state);
      change(next);
      stopped = visit(label, next);
    },
  };
  for (const action of ACTIONS) action(turn);
}

/** Where an exploration begins: in step, or after the steps that its scope names. */
function startOf(scope: Scope, broken: Broken): State {
  let state = firstState(scope.sites, scope.replace === true ? 2 : 1);
  for (const wanted of scope.begin ?? []) {
    const before = state;
    successors(before, scope, broken, (label, next) => {
      if (label === wanted) state = next;
      return label === wanted;
    });
    if (state === before) throw new Error(`a story begins with a step that is not possible there: ${wanted}`);
  }
  return state;
}

/** Explores a scope, with one rule left out if a mutation is named. `onState` sees each state once. */
export function explore(scope: Scope, options: { mutation?: string | null; statesMax: number; onState?: (state: State) => void }): Found {
  const broken = breaking(options.mutation ?? null);
  const seen = new HashSet();
  const parents: number[] = [-1];
  const places: number[] = [0];
  const start = startOf(scope, broken);
  seen.add(hashOf(numbersOf(start)));
  let queue: State[] = [start];
  let base = 0;
  let fault: Fault | null = null;
  const steps = new Set<string>();
  while (queue.length > 0 && fault === null && parents.length < options.statesMax) {
    const layer: State[] = [];
    const layerBase = parents.length;
    for (let index = 0; index < queue.length && fault === null && parents.length < options.statesMax; index++) {
      const state = queue[index] as State;
      options.onState?.(state);
      let place = -1;
      successors(state, scope, broken, (label, next) => {
        place++;
        steps.add(label);
        if (!seen.add(hashOf(numbersOf(next)))) return false;
        parents.push(base + index);
        places.push(place);
        layer.push(next);
        fault = faultOf(next, broken);
        return fault !== null;
      });
    }
    if (fault === null) {
      base = layerBase;
      queue = layer;
    }
  }
  const states = parents.length;
  const complete = fault === null && queue.length === 0;
  const found = fault as Fault | null;
  const told = found === null ? null : { ...found, story: storyOf(scope, broken, parents, places) };
  return { states, complete, fault: told, steps };
}

/** How the newest state was reached. */
function storyOf(scope: Scope, broken: Broken, parents: readonly number[], places: readonly number[]): string[] {
  const path: number[] = [];
  for (let at = parents.length - 1; at > 0; at = parents[at] as number) path.unshift(places[at] as number);
  let state = startOf(scope, broken);
  const told = path.map((wanted) => {
    let place = -1;
    let step = '';
    successors(state, scope, broken, (label, next) => {
      place++;
      if (place !== wanted) return false;
      step = label;
      state = next;
      return true;
    });
    return step;
  });
  return [...(scope.begin ?? []), ...told];
}

/** 52 bits of two multiplicative hashes: two of ten million states are taken for one with a chance of one in a hundred. */
export function hashOf(numbers: readonly number[]): number {
  let a = 0x9e3779b9 | 0;
  let b = 0x85ebca6b | 0;
  for (const value of numbers) {
    a = Math.imul(a ^ value, 0x01000193);
    a ^= a >>> 15;
    b = Math.imul(b + value, 0x5bd1e995);
    b ^= b >>> 13;
  }
  a = Math.imul(a ^ (a >>> 16), 0x7feb352d);
  b = Math.imul(b ^ (b >>> 16), 0x846ca68b);
  return (a >>> 0) * 0x100000 + ((b >>> 0) & 0xfffff) + 1;
}

/** A set of positive numbers in one typed array. */
class HashSet {
  #slots = new Float64Array(1 << 16);
  #count = 0;

  /** False when it was there. */
  add(value: number): boolean {
    if (this.#count * 2 > this.#slots.length) this.#grow();
    if (!place(this.#slots, value)) return false;
    this.#count++;
    return true;
  }

  #grow(): void {
    const slots = new Float64Array(this.#slots.length * 2);
    for (const value of this.#slots) if (value !== 0) place(slots, value);
    this.#slots = slots;
  }
}

function place(slots: Float64Array, value: number): boolean {
  const mask = slots.length - 1;
  // The lower 32 bits of a number are all that & looks at.
  let at = value & mask;
  while (slots[at] !== 0) {
    if (slots[at] === value) return false;
    at = (at + 1) & mask;
  }
  slots[at] = value;
  return true;
}
