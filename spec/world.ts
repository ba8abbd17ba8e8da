// What the actions of the model share: its bounds, who is connected to whom, who may serve, and the few changes of a site that several of them make.

import { bit, FALSE, has, isSync, MAYBE, type Question, type Role, type Site, type State, TRUE, type Witness, writeOf } from './state.ts';
import type { Broken } from './witness.ts';

/** What happens in a part of the exploration, and how much of it. */
export interface Scope {
  readonly sites: 2 | 3;
  readonly writes: number;
  readonly epochs: number;
  /** Exclusions and admissions, of each epoch's witness. */
  readonly changes: number;
  /** Kills and power losses. */
  readonly fails: number;
  /** Changes of a link, of a path to a witness, and of the witness between lost and there. */
  readonly cuts: number;
  /** Questions that may arrive long after anybody waits for them. */
  readonly strays: number;
  readonly handover?: true;
  readonly force?: true;
  /** Sites without a primary make their copies equal, as far as they can reach each other. */
  readonly level?: true;
  /** Connections end by themselves, and one side hears of it before the other. */
  readonly breaks?: true;
  /** A second, empty witness, to which the sites turn by order, while the first one lives on. */
  readonly replace?: true;
  /** How often a pair may agree who goes on without the witness. */
  readonly agreements?: number;
  /** Steps that were taken before the exploration begins. */
  readonly begin?: readonly string[];
}

/** One possible next state. */
export type Emit = (label: string, change: (next: State) => void) => void;

/** What an action looks at. */
export interface Turn {
  readonly state: State;
  readonly scope: Scope;
  readonly broken: Broken;
  readonly emit: Emit;
}

const NAMES = ['A', 'B', 'C'] as const;
export const name = (site: number): string => NAMES[site] ?? '?';

export const siteOf = (state: State, index: number): Site => state.sites[index] as Site;
export const witnessOf = (state: State, index: number): Witness => state.witnesses[index] as Witness;
export const indexes = (state: State): number[] => state.sites.map((_, index) => index);
export const others = (state: State, index: number): number[] => indexes(state).filter((other) => other !== index);

/** Whether a primary may still ask this witness for something: revisions leap by a thousand when a witness begins. */
export const mayChange = (witness: Witness, scope: Scope): boolean => (witness.revision % 1000) - witness.epoch < 2 + scope.changes;

export const isPrimary = (site: Site): boolean => site.up && site.role === 'primary';

export function linked(state: State, a: number, b: number): boolean {
  return isSync(a) && isSync(b) ? state.link : true;
}

/** Whether `peer` follows `primary` in its epoch, whatever the link does. */
export function follows(state: State, primary: number, peer: number): boolean {
  const [p, q] = [siteOf(state, primary), siteOf(state, peer)];
  return isPrimary(p) && q.up && q.role === 'mirror' && q.follows === primary && q.epoch === p.epoch;
}

export const attached = (state: State, primary: number, peer: number): boolean =>
  follows(state, primary, peer) && linked(state, primary, peer);

/** The witness that a site believes, where it can reach it; null where it cannot. */
export function reached(state: State, index: number): Witness | null {
  const site = siteOf(state, index);
  const witness = witnessOf(state, site.believes);
  return site.up && witness.up && state.path[index] === true && state.route[index] === site.believes ? witness : null;
}

/** What a site may see of the witness: nothing of one that it only reports to, or that grants nothing. */
export function look(state: State, index: number): Witness | null {
  const witness = reached(state, index);
  const site = siteOf(state, index);
  return witness === null || site.moving || !witness.seeded ? null : witness;
}

/** Sync peers that a primary must count on. */
const required = (state: State, index: number): number[] =>
  others(state, index).filter((peer) => isSync(peer) && (siteOf(state, index).view[peer] ?? FALSE) >= MAYBE);

/** Whether this site would answer a host at this moment. */
export function serves(state: State, index: number, broken: Broken): boolean {
  const site = siteOf(state, index);
  if (!isPrimary(site) || (site.stopped > 0 && !broken('serves-while-handing-over'))) return false;
  return broken('serves-without-lease') || required(state, index).every((peer) => has(site.leases, peer));
}

export function setRole(site: Site, role: Role, scope: Scope): void {
  if (site.role !== role && scope.replace === true) site.life++;
  site.role = role;
}

/** Gives up waiting for an answer; the question may arrive all the same. */
export function giveUpAsking(state: State, index: number, scope: Scope): void {
  const site = siteOf(state, index);
  const { asks } = site;
  site.asks = null;
  if (asks === null || witnessOf(state, asks.witness).answered[index] !== 0 || state.strays.length >= scope.strays) return;
  state.strays.push(asks);
}

export function ask(state: State, question: Question): void {
  siteOf(state, question.from).asks = question;
  witnessOf(state, question.witness).answered[question.from] = 0;
}

/** A primary that is none any more. It waits out a full promise before it claims. */
export function demote(state: State, index: number, scope: Scope): void {
  const site = siteOf(state, index);
  giveUpAsking(state, index, scope);
  setRole(site, 'standby', scope);
  site.promised = true;
  site.stopped = 0;
  endReign(site);
}

export function endReign(site: Site): void {
  site.leases = 0;
  site.asking = 0;
  site.right = 0;
  site.excluding = -1;
  site.flushTo = 0;
  site.view = site.view.map(() => FALSE);
}

/** The reign of an epoch begins here. Flags that are true were left so by a handover: those copies are required, and not relied upon yet. */
export function beginReign(state: State, index: number, reign: { epoch: number; flags: number }, { scope, broken }: Turn): void {
  const site = siteOf(state, index);
  setRole(site, 'primary', scope);
  endReign(site);
  const before = state.reigns[reign.epoch] ?? -1;
  if (before !== -1 && before !== index) state.broken ??= `epoch ${reign.epoch} was begun by ${name(before)} and by ${name(index)}`;
  while (state.reigns.length <= reign.epoch) state.reigns.push(-1);
  state.reigns[reign.epoch] = index;
  const alone = broken('successor-relies-on-nobody') || broken('claim-leaves-flags') || broken('force-leaves-flags');
  const unsure = alone ? FALSE : MAYBE;
  site.view = indexes(state).map((peer) => (peer !== index && isSync(peer) && has(reign.flags, peer) ? unsure : FALSE));
  Object.assign(site, {
    epoch: reign.epoch,
    durable: site.log.length,
    clean: true,
    cleanAt: 0,
    follows: -1,
    stopped: 0,
    offer: 0,
    claim: null,
    asks: null,
    // What was agreed in an epoch counts in it only.
    alone: 0,
    yields: 0,
  });
}

/** A write of a host that both of two sites hold is theirs for the acknowledgement, by rule 3. */
export function mayAcknowledge(state: State, index: number, place: number, broken: Broken): boolean {
  const site = siteOf(state, index);
  const record = site.log[place] as number;
  const onDisk = site.durable > place;
  let relied = false;
  for (const peer of required(state, index)) {
    const known = (site.view[peer] ?? FALSE) === TRUE;
    const held = attached(state, index, peer) && siteOf(state, peer).log[place] === record;
    if (known && held) relied = true;
    if (held || (known && broken('acknowledges-early')) || (!known && broken('doubt-asks-disk-only'))) continue;
    return false;
  }
  if (relied || onDisk) return true;
  return required(state, index).length === 0 ? broken('alone-without-disk') : broken('doubt-asks-peer-only');
}

export const ackedIn = (state: State, site: Site): number =>
  site.log.reduce((bits, record) => bits | (has(state.acked, writeOf(record)) ? bit(writeOf(record)) : 0), 0);
