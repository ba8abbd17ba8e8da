// What is explored, and which rules are left out, one at a time, to see that the exploration would notice. No single exploration holds everything
// that can happen: each scope lets a few things happen together, and the bounds are what can be seen in seconds.

import type { InvariantName } from './invariants.ts';
import type { Scope } from './world.ts';

export type ScopeName = 'pair' | 'level' | 'late' | 'far' | 'handover' | 'replace' | 'agreement' | 'again';

/** The pair has lost the witness and has agreed that A may go on alone. */
const AGREED = [
  'the witness is lost',
  'A asks B to leave it the right to go on alone',
  'B leaves A the right to go on alone',
  'A may go on without B',
];
/** The same, and it was given back. */
const GIVEN_BACK = [...AGREED, 'the witness is back', 'A gives the right back'];

/** The scopes at the least depth. */
const SCOPES: Readonly<Record<ScopeName, Scope>> = {
  // Two sync sites and a witness; links, power and processes fail.
  pair: { sites: 2, writes: 1, epochs: 3, changes: 4, fails: 2, cuts: 1, strays: 0 },
  // The same, where sites without a primary make their copies equal, and connections end by themselves.
  level: { sites: 2, writes: 2, epochs: 3, changes: 4, fails: 2, cuts: 1, strays: 0, level: true, breaks: true },
  // The first, with questions that arrive when nobody waits for them any more.
  late: { sites: 2, writes: 1, epochs: 3, changes: 4, fails: 1, cuts: 1, strays: 1 },
  // With an async site, which an operator may promote.
  far: { sites: 3, writes: 1, epochs: 3, changes: 4, fails: 1, cuts: 1, strays: 0, force: true },
  // Planned changes of the primary.
  handover: { sites: 2, writes: 1, epochs: 3, changes: 4, fails: 1, cuts: 1, strays: 0, handover: true },
  // The witness is replaced while the old one lives on and still answers.
  replace: { sites: 2, writes: 1, epochs: 2, changes: 4, fails: 1, cuts: 0, strays: 0, replace: true },
  // Pre-election.
  agreement: { sites: 2, writes: 1, epochs: 2, changes: 4, fails: 1, cuts: 3, strays: 0, agreements: 1 },
  // A second agreement, behind one that was given back.
  again: { sites: 2, writes: 1, epochs: 2, changes: 4, fails: 1, cuts: 5, strays: 0, agreements: 2, begin: GIVEN_BACK },
};

export const SCOPE_NAMES: readonly ScopeName[] = Object.keys(SCOPES) as ScopeName[];

/** A scope with more of everything that goes wrong. */
export function scopeOf(name: ScopeName, depth: number): Scope {
  const scope = SCOPES[name];
  const more = depth - 1;
  return {
    ...scope,
    writes: scope.writes + Math.ceil(more / 2),
    epochs: scope.epochs + Math.floor(more / 2),
    changes: scope.changes + more,
    fails: scope.fails + Math.ceil(more / 2),
    cuts: scope.cuts + more,
    strays: scope.strays + (name === 'pair' ? 0 : Math.ceil(more / 2)),
    ...(scope.agreements !== undefined && { agreements: scope.agreements + Math.floor(more / 2) }),
  };
}

/** A rule that is left out, where that is seen, and what breaks. */
export interface Mutation {
  readonly name: string;
  readonly scope: ScopeName;
  readonly breaks: InvariantName;
  /** What is left out, in words. */
  readonly text: string;
  /** Other bounds than the scope's, where what breaks is far from the beginning. */
  readonly within?: Partial<Scope>;
}

const mutation = (name: string, scope: ScopeName, breaks: InvariantName, text: string, within?: Partial<Scope>): Mutation => ({
  name,
  scope,
  breaks,
  text,
  ...(within !== undefined && { within }),
});

/** Near was cut off for a while; it waits. */
const APART = ['the link is cut', 'B finds its primary gone'];
/** Near may claim. */
const FREE = ['the lease that A holds of B runs out', 'the promise of B runs out'];
const A_TURNS = ['A is led to the new witness', 'A turns to the new witness'];
const EXCLUDED = ['A begins to exclude B', 'A asks to exclude B', 'A hears what became of its exclude'];
/** Near has reported what it held, and follows again. */
const TOLD_EARLY = [
  'B is led to the new witness',
  'B turns to the new witness',
  'B reports that it is waiting',
  'B joins A',
  'A asks to admit B',
  'A hears what became of its admit',
];
/** Two writes that both hold; the first one is on the disk of A. */
const WRITES = [
  'A takes write 1',
  'A flushes',
  'A takes write 2',
  'B receives write 1',
  'B receives write 2',
  'A acknowledges write 1',
  'A acknowledges write 2',
  ...A_TURNS,
];
const FIRST_WRITE = ['A takes write 1', 'B receives write 1', 'A acknowledges write 1'];

export const MUTATIONS: readonly Mutation[] = [
  mutation('serves-without-lease', 'pair', 'one-primary', 'a primary serves without a lease of each peer whose flag may be true'),
  mutation('promise-is-short', 'pair', 'one-primary', 'a promise runs out before the lease that rests on it'),
  mutation('start-forgets-promise', 'pair', 'one-primary', 'a site that starts does not wait out a promise'),
  mutation('acknowledges-early', 'pair', 'flag', 'a write is acknowledged before a peer that is relied on holds it'),
  mutation('alone-without-disk', 'pair', 'kept', 'a solo primary acknowledges what is not on its disk', { begin: [...EXCLUDED] }),
  mutation('doubt-asks-disk-only', 'pair', 'flag', 'while a flag is in doubt, the peer is not waited for'),
  mutation('doubt-asks-peer-only', 'pair', 'kept', 'while a flag is in doubt, the own disk is not waited for', {
    begin: ['A begins to exclude B'],
  }),
  mutation('excludes-before-flush', 'pair', 'kept', 'the witness is asked to exclude before the own disk has everything', {
    begin: [...FIRST_WRITE],
  }),
  mutation('alone-while-excluding', 'pair', 'flag', 'the peer counts as excluded before the witness has answered'),
  mutation('alone-without-witness', 'pair', 'flag', 'a primary goes on alone because the link is cut'),
  mutation('claim-without-flag', 'pair', 'some-flag', 'the witness grants a claim to a copy whose flag is false'),
  mutation('claim-leaves-flags', 'pair', 'flag', "a claim leaves the other copies' flags true"),
  mutation('claims-while-following', 'pair', 'one-primary', 'a mirror claims and goes on following'),
  mutation('joins-in-doubt', 'pair', 'one-primary', 'a site joins another while it does not know what became of its claim', {
    begin: [...APART, ...FREE],
    cuts: 2,
  }),
  mutation('claims-before-flush', 'pair', 'kept', 'a site claims before its sidefile is on its disk', { begin: [...FIRST_WRITE] }),
  mutation('claims-unclean', 'pair', 'kept', 'a site that lost its power claims while a clean one may'),
  mutation('power-loss-forgotten', 'pair', 'flag', 'a site does not know that it lost its power'),
  mutation('admits-without-requiring', 'pair', 'flag', 'a peer is admitted before it is required'),
  mutation('admits-who-is-behind', 'pair', 'flag', 'a peer is admitted that lacks what was acknowledged'),
  mutation('levels-by-cutting', 'level', 'flag', 'a site without a primary gives up records of its own epoch'),
  mutation('no-compare-and-set', 'late', 'flag', 'the witness does not compare the revision'),
  mutation('exclude-keeps-revision', 'late', 'flag', 'an exclusion of a flag that is false already changes no revision'),
  mutation('far-claims', 'far', 'one-primary', 'an async site claims by itself'),
  mutation('force-leaves-flags', 'far', 'flag', 'a promotion by force leaves the other flags true'),
  mutation('serves-while-handing-over', 'handover', 'one-primary', 'a primary serves on while it hands over'),
  mutation('takes-over-unconfirmed', 'handover', 'flag', 'a site takes over without having confirmed what it holds'),
  mutation('resumes-without-answer', 'handover', 'one-primary', 'a primary serves on before it knows what became of its handover'),
  mutation('successor-relies-on-nobody', 'handover', 'one-primary', 'the successor does not require the old primary'),
  mutation('turning-keeps-claim', 'replace', 'one-primary', 'a site that turns to a new witness still hears the old one', {
    fails: 0,
    cuts: 1,
    begin: [...APART, ...FREE],
  }),
  mutation('primary-alone-tells', 'replace', 'flag', 'a new witness begins when the primary alone has reported', { begin: [...A_TURNS] }),
  mutation('one-report-is-enough', 'replace', 'flag', 'a new witness begins on the first report'),
  mutation('reports-heard-once', 'replace', 'kept', 'reports of different moments are put together', {
    writes: 2,
    cuts: 2,
    begin: [...APART, 'the link is mended', ...TOLD_EARLY, ...WRITES],
  }),
  mutation('right-before-yield', 'agreement', 'flag', 'the primary goes on alone before the other site has left it the right'),
  mutation('yields-and-claims', 'agreement', 'one-primary', 'who has left the right to the other site claims', {
    begin: [...AGREED, 'A goes on without B, as was agreed'],
  }),
  mutation('over-while-held', 'agreement', 'flag', 'an agreement counts as over while the right is held'),
  mutation('over-while-alone', 'agreement', 'flag', 'an agreement counts as over before the witness has heard that the right was used'),
  mutation('over-is-all-asked', 'again', 'one-primary', 'a second agreement counts as over as the first one is', {
    fails: 0,
    begin: [...GIVEN_BACK, ...FIRST_WRITE, ...AGREED],
  }),
  mutation('alone-is-not-noted', 'agreement', 'flag', 'a primary that went on alone does not know it after a restart'),
  mutation('alone-before-flush', 'agreement', 'kept', 'the right is used before the sidefile is on the disk', { begin: [...FIRST_WRITE] }),
];
