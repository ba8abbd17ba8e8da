// Which states of the model a real group may be in, from what is seen of it: a set that begins with one state, goes on with every step that somebody
// can have taken unseen, and keeps those that look as what was seen. When none is left, the group did something that the model does not allow.
// What goes wrong (a kill, a cut) is told, and not guessed.

import { hashOf, successors } from './search.ts';
import { isPrefix, numbersOf, type Role, type State } from './state.ts';
import { type Scope, serves, siteOf } from './world.ts';

/** What is seen of a site that is up; null where nothing can be told of it yet. */
export interface SeenCopy {
  /** Roles of the model that may stand behind the one that is seen. */
  readonly roles: readonly Role[];
  readonly epoch: number;
  readonly log: readonly number[];
  readonly durable: number;
  readonly clean: boolean;
  readonly serves: boolean;
  /** As primary: for each site what it may know of its flag; null for a site that is none. */
  readonly view: readonly (readonly number[])[] | null;
}

export interface SeenSite {
  readonly up: boolean;
  readonly copy: SeenCopy | null;
}

/** What is seen of a group and its witness at one moment. */
export interface Seen {
  readonly sites: readonly SeenSite[];
  readonly revision: number;
  readonly epoch: number;
  readonly primary: number;
  readonly flags: number;
  /** Writes that a host was told of, as bits. */
  readonly acked: number;
  /** Writes whose hosts are gone, and can be told of nothing any more. */
  readonly deaf: number;
}

/** States that are looked at between two things that were seen. */
const BETWEEN_MAX = 6000;

const unbroken = (): boolean => false;

/** Bounds that a group that is followed does not come to: what goes wrong is told, and does not count. */
export const FOLLOWED: Scope = { sites: 2, writes: 15, epochs: 40, changes: 900, fails: 1, cuts: 1, strays: 2, level: true, breaks: true };

/** Steps that nobody takes unseen: what goes wrong is told, and flushes are seen as what is durable. */
const TOLD = /^(\w (is killed|loses its power|starts|flushes)|the (link|witness|path of \w to the witness) is \w+)$/;

/** The states in which a group may be. */
export class Possible {
  readonly #scope: Scope;
  #states: State[];
  #seen: Seen;
  /** Why nothing is possible any more; null while something is. */
  lost: string | null = null;
  /** Looked at in all. */
  looked = 0;
  /** Steps that were taken on some way to what was seen. */
  readonly steps = new Set<string>();

  constructor(scope: Scope, first: State, seen: Seen) {
    this.#scope = scope;
    this.#states = [plain(first)];
    this.#seen = seen;
  }

  get count(): number {
    return this.#states.length;
  }

  /** Any of them. */
  get states(): readonly State[] {
    return this.#states;
  }

  /** Something was seen. False when it is not possible. */
  saw(seen: Seen): boolean {
    if (this.lost !== null) return false;
    const before = this.#seen;
    // What reached a disk did so before whatever rests on it.
    const found = this.#between(
      this.#states.map((state) => flushed(state, (index) => durableOf(before, seen, index))),
      before,
      seen,
    );
    this.#seen = seen;
    this.#states = found.map((state) => flushed(state, (index) => seen.sites[index]?.copy?.durable ?? null));
    if (this.#states.length === 0) this.lost = `no way leads to it: ${told(before)} -> ${told(seen)}`;
    return this.lost === null;
  }

  /** What was done to the group from outside, by the model's name. False when no state allows it. */
  imposed(label: string): boolean {
    if (this.lost !== null) return false;
    const next = new Map<number, State>();
    // Whatever happened unseen before it may not be possible behind it.
    for (const state of this.#between(this.#states, this.#seen, this.#seen)) {
      for (const start of label.endsWith('loses its power') ? flushedInParts(state, label) : [state])
        successors(start, this.#scope, unbroken, (step, found) => {
          if (step === label) add(next, plain(found));
          return step === label;
        });
    }
    this.#states = [...next.values()];
    if (this.#states.length === 0) this.lost = `nothing allows that ${label}`;
    return this.lost === null;
  }

  /** Every state that looks like `after` and that steps which nobody sees lead to, along states between the two. */
  #between(from: readonly State[], before: Seen, after: Seen): State[] {
    const visited = new Map<number, State>();
    let layer = from.filter((state) => add(visited, state));
    while (layer.length > 0 && visited.size < BETWEEN_MAX) {
      const next: State[] = [];
      for (const state of layer)
        successors(state, this.#scope, unbroken, (step, raw) => {
          if (TOLD.test(step)) return false;
          const found = plain(raw);
          if (isBetween(found, before, after) && add(visited, found)) {
            next.push(found);
            this.steps.add(step);
          }
          return false;
        });
      layer = next;
    }
    this.looked += visited.size;
    return [...visited.values()].filter((state) => whyNot(state, after) === null);
  }
}

function add(into: Map<number, State>, state: State): boolean {
  const hash = hashOf(numbersOf(state));
  if (into.has(hash)) return false;
  into.set(hash, state);
  return true;
}

/** Without what only bounds an exploration. */
function plain(state: State): State {
  return { ...state, fails: 0, cuts: 0, gone: state.gone.map(() => 0), reigns: [], broken: null };
}

/** What is on a disk is seen; it may be a part of what was to be flushed. */
function flushed(state: State, durable: (site: number) => number | null): State {
  const sites = state.sites.map((site, index) => {
    const count = durable(index);
    return count === null ? site : { ...site, durable: Math.min(site.log.length, count) };
  });
  return { ...state, sites };
}

/** The most that was on a disk at either moment; null for one that has just been opened, which finds out anew. */
function durableOf(before: Seen, after: Seen, index: number): number | null {
  const [was, now] = [before.sites[index]?.copy ?? null, after.sites[index]?.copy ?? null];
  return was === null || now === null ? null : Math.max(was.durable, now.durable);
}

/** What reached a disk by itself before its power failed. */
function flushedInParts(state: State, label: string): State[] {
  const index = label.charCodeAt(0) - 65;
  const { durable, log } = siteOf(state, index);
  return Array.from({ length: log.length - durable + 1 }, (_, more) => ({
    ...state,
    sites: state.sites.map((site, other) => (other === index ? { ...site, durable: durable + more } : site)),
  }));
}

const same = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && isPrefix(a, b);

/** What of a state does not look as what was seen; null when all does. */
export function whyNot(state: State, seen: Seen): string | null {
  const [witness] = state.witnesses;
  if (witness === undefined) return 'there is a witness';
  for (const [index, { up, copy }] of seen.sites.entries()) {
    const site = siteOf(state, index);
    const who = String.fromCharCode(65 + index);
    if (site.up !== up) return `${who} is ${up ? 'up' : 'down'}`;
    if (!up || copy === null) continue;
    if (!copy.roles.includes(site.role)) return `${who} is ${copy.roles.join(' or ')}, not ${site.role}`;
    if (site.epoch !== copy.epoch) return `${who} is in epoch ${copy.epoch}, not ${site.epoch}`;
    if (!same(site.log, copy.log)) return `${who} holds ${copy.log.join(' ')}, not ${site.log.join(' ')}`;
    if (site.clean !== copy.clean) return `${who} is ${copy.clean ? 'clean' : 'unclean'}`;
    if (serves(state, index, unbroken) !== copy.serves) return `${who} ${copy.serves ? 'serves' : 'does not serve'}`;
    if (copy.view !== null && !site.view.every((known, peer) => peer === index || copy.view?.[peer]?.includes(known) !== false))
      return `${who} knows other flags than ${site.view.join(' ')}`;
  }
  if (witness.revision !== seen.revision || witness.epoch !== seen.epoch || witness.primary !== seen.primary)
    return `the witness is at revision ${seen.revision} with primary ${seen.primary} of epoch ${seen.epoch}, not at ${witness.revision}`;
  if (witness.flags !== seen.flags) return `the witness has flags ${seen.flags.toString(2)}, not ${witness.flags.toString(2)}`;
  const isTold = (state.acked & ~seen.deaf) === (seen.acked & ~seen.deaf) && (seen.acked & ~state.acked) === 0;
  return isTold ? null : `hosts were told of ${seen.acked.toString(2)}, not ${state.acked.toString(2)}`;
}

/** Whether each part of a state looks as it did or as it will: nothing was seen in between. */
function isBetween(state: State, before: Seen, after: Seen): boolean {
  const [witness] = state.witnesses;
  if (witness === undefined) return false;
  if (witness.revision < before.revision || witness.revision > after.revision) return false;
  if (witness.epoch > after.epoch || (state.acked & ~(after.acked | after.deaf)) !== 0) return false;
  for (const [index, { copy: was }] of before.sites.entries()) {
    const now = after.sites[index]?.copy ?? null;
    const site = siteOf(state, index);
    if (!site.up || was === null || now === null) continue;
    if (site.epoch !== was.epoch && site.epoch !== now.epoch) return false;
    const isOnWay =
      same(site.log, was.log) || isPrefix(site.log, now.log) || (isPrefix(site.log, was.log) && now.log.length < was.log.length);
    if (!isOnWay || site.durable > Math.max(was.durable, now.durable)) return false;
    if (site.clean !== was.clean && site.clean !== now.clean) return false;
    const isServing = serves(state, index, unbroken);
    if (isServing !== was.serves && isServing !== now.serves) return false;
    if (site.role === 'primary' && !was.roles.includes('primary') && !now.roles.includes('primary')) return false;
  }
  return true;
}

/** What was seen, in a line. */
export function told(seen: Seen): string {
  const sites = seen.sites.map(({ up, copy }, index) => {
    const who = String.fromCharCode(65 + index);
    if (!up) return `${who} down`;
    if (copy === null) return `${who} starting`;
    const { roles, epoch, log, durable, clean, view } = copy;
    return `${who} ${roles.join('/')}${copy.serves ? ' serving' : ''} e${epoch} [${log.join(' ')}]/${durable}${clean ? '' : ' unclean'}${view === null ? '' : ` knows ${JSON.stringify(view)}`}`;
  });
  return `${sites.join('; ')}; witness r${seen.revision} e${seen.epoch} p${seen.primary} flags ${seen.flags.toString(2)}; acked ${seen.acked.toString(2)}`;
}
