// Pre-election, as decision 0015 has it: a pair in step that has lost its witness agrees that its primary may go on alone. The other one notes,
// durably, that it leaves the right to that one; the primary holds it for as long as it reigns without a break, and tells when it is over.

import { FALSE, isSync } from '../state.ts';
import {
  ask,
  attached,
  giveUpAsking,
  indexes,
  isPrimary,
  linked,
  look,
  mayChange,
  name,
  others,
  reached,
  siteOf,
  type Turn,
} from '../world.ts';

export function agreements(turn: Turn): void {
  const { state, scope } = turn;
  if (scope.agreements === undefined) return;
  for (const index of indexes(state).filter(isSync)) {
    const [peer] = others(state, index).filter(isSync);
    if (peer === undefined || !siteOf(state, index).up) continue;
    hearsThatItIsOver(turn, index, peer);
    if (!isPrimary(siteOf(state, index))) continue;
    asksForIt(turn, index, peer);
    yields(turn, index, peer);
    takesRight(turn, index, peer);
    givesBack(turn, index, peer);
    goesAlone(turn, index, peer);
    tellsTheWitness(turn, index, peer);
  }
}

/** Whether a primary may ask for it. That the mirror is in step, and no question open, is wanted and not needed: who has left the right does not claim. */
function isPair({ state }: Turn, primary: number, mirror: number): boolean {
  const [p, q] = [siteOf(state, primary), siteOf(state, mirror)];
  return attached(state, primary, mirror) && p.stopped === 0 && q.offer === 0 && p.alone === 0 && p.view[mirror] !== FALSE;
}

const lost = ({ state }: Turn, index: number, peer: number): boolean => reached(state, index) === null && reached(state, peer) === null;

function asksForIt(turn: Turn, index: number, peer: number): void {
  const { state, scope, emit } = turn;
  const site = siteOf(state, index);
  if (site.asking > 0 || site.right > 0 || !isPair(turn, index, peer) || !lost(turn, index, peer)) return;
  if (site.agreed >= (scope.agreements ?? 0)) return;
  emit(`${name(index)} asks ${name(peer)} to leave it the right to go on alone`, (next) => {
    siteOf(next, index).agreed = site.agreed + 1;
    siteOf(next, index).asking = site.agreed + 1;
  });
}

/** The mirror's half; safe at any time. */
function yields({ state, emit }: Turn, index: number, peer: number): void {
  const [site, mirror] = [siteOf(state, index), siteOf(state, peer)];
  if (site.asking === 0 || mirror.yields === site.asking || !attached(state, index, peer)) return;
  emit(`${name(peer)} leaves ${name(index)} the right to go on alone`, (next) => {
    siteOf(next, peer).yields = site.asking;
  });
}

/** The primary's half. */
function takesRight(turn: Turn, index: number, peer: number): void {
  const { state, broken, emit } = turn;
  const site = siteOf(state, index);
  if (site.asking === 0 || !isPair(turn, index, peer)) return;
  if (siteOf(state, peer).yields !== site.asking && !broken('right-before-yield')) return;
  emit(`${name(index)} may go on without ${name(peer)}`, (next) => {
    siteOf(next, index).right = site.asking;
    siteOf(next, index).asking = 0;
  });
}

function givesBack(turn: Turn, index: number, peer: number): void {
  const { state, emit } = turn;
  const site = siteOf(state, index);
  const isFound = reached(state, index) !== null || (reached(state, peer) !== null && linked(state, index, peer));
  if ((site.right === 0 && site.asking === 0) || !isFound) return;
  emit(`${name(index)} gives the right back`, (next) => {
    siteOf(next, index).right = 0;
    siteOf(next, index).asking = 0;
  });
}

/** Numbers are used in turn: all before the one that counts are over, and all when none does. */
function overUpTo({ state, broken }: Turn, index: number): number {
  const { asking, right, alone, agreed } = siteOf(state, index);
  if (broken('over-is-all-asked')) return agreed;
  const counts = [asking, broken('over-while-held') ? 0 : right, broken('over-while-alone') ? 0 : alone].filter((number) => number > 0);
  return counts.length === 0 ? agreed : Math.min(...counts) - 1;
}

function hearsThatItIsOver(turn: Turn, index: number, holder: number): void {
  const { state, emit } = turn;
  const { yields: number } = siteOf(state, index);
  if (number === 0 || !siteOf(state, holder).up || !linked(state, index, holder) || number > overUpTo(turn, holder)) return;
  emit(`${name(index)} hears that what was agreed is over`, (next) => {
    siteOf(next, index).yields = 0;
  });
}

/** The right is used: the other one is given up without the witness. */
function goesAlone({ state, scope, broken, emit }: Turn, index: number, peer: number): void {
  const site = siteOf(state, index);
  if (site.right === 0 || site.view[peer] === FALSE) return;
  if (site.durable < site.log.length && !broken('alone-before-flush')) return;
  emit(`${name(index)} goes on without ${name(peer)}, as was agreed`, (next) => {
    giveUpAsking(next, index, scope);
    const primary = siteOf(next, index);
    primary.view[peer] = FALSE;
    primary.excluding = -1;
    if (!broken('alone-is-not-noted')) primary.alone = site.right;
    primary.right = 0;
  });
}

/** Once the witness is back, it hears of it as of any other exclusion. */
function tellsTheWitness({ state, scope, emit }: Turn, index: number, peer: number): void {
  const site = siteOf(state, index);
  const witness = look(state, index);
  if (site.alone === 0 || site.asks !== null || site.excluding >= 0 || witness === null || !mayChange(witness, scope)) return;
  emit(`${name(index)} tells the witness that it went on without ${name(peer)}`, (next) => {
    ask(next, { kind: 'exclude', from: index, site: peer, epoch: site.epoch, revision: witness.revision, witness: site.believes });
  });
}
