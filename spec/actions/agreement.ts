// Pre-election as decision 0009 sketches it: a pair in step that has lost its witness agrees, durably, who goes on alone if the other is lost too.
// First the other one notes that it has left the witness and does not hold the right; then the holder notes that it does.

import { FALSE, isSync, TRUE } from '../state.ts';
import { attached, beginReign, indexes, isPrimary, linked, name, others, reached, setRole, siteOf, type Turn } from '../world.ts';

export function agreements(turn: Turn): void {
  const { state, scope } = turn;
  if (scope.agreements === undefined) return;
  for (const index of indexes(state).filter(isSync)) {
    const [peer] = others(state, index).filter(isSync);
    if (peer === undefined || !siteOf(state, index).up) continue;
    leaves(turn, index, peer);
    takesRight(turn, index, peer);
    takesBack(turn, index, peer);
    goesAlone(turn, index, peer);
  }
}

/** Whether two sites, in whichever roles, are a mirrored pair in which nothing is in doubt. */
function isSettled({ state, broken }: Turn, a: number, b: number): boolean {
  const primary = isPrimary(siteOf(state, a)) ? a : b;
  const mirror = primary === a ? b : a;
  const [p, q] = [siteOf(state, primary), siteOf(state, mirror)];
  if (!attached(state, primary, mirror) || p.stopped > 0 || q.offer > 0 || !q.clean) return false;
  if (broken('agrees-in-doubt')) return true;
  // Known true: it has followed without a break since the witness confirmed its admission.
  const isOpen = p.asks !== null || q.asks !== null || p.claim !== null || q.claim !== null || p.excluding >= 0;
  return !isOpen && p.view[mirror] === TRUE;
}

/** The other site's half. */
function leaves(turn: Turn, index: number, peer: number): void {
  const { state, scope, broken, emit } = turn;
  const [site, holder] = [siteOf(state, index), siteOf(state, peer)];
  const number = broken('number-used-again') ? Math.max(1, state.agreed) : state.agreed + 1;
  if (site.left > 0 || holder.left > 0 || number > (scope.agreements ?? 0) || !isSettled(turn, index, peer)) return;
  if (reached(state, index) !== null || reached(state, peer) !== null) return;
  emit(`${name(index)} agrees that ${name(peer)} may go on alone`, (next) => {
    next.agreed = number;
    siteOf(next, index).left = number;
    siteOf(next, index).known = state.witnesses[0]?.revision ?? 0;
  });
}

/** The holder's half. */
function takesRight(turn: Turn, index: number, peer: number): void {
  const { state, broken, emit } = turn;
  const [site, other] = [siteOf(state, index), siteOf(state, peer)];
  if (site.left > 0 || !isSettled(turn, index, peer)) return;
  const early = broken('holder-notes-first') && other.left === 0 && reached(state, index) === null && state.agreed === 0;
  if (other.left === 0 && !early) return;
  if (other.right !== 'none') return;
  emit(`${name(index)} notes that it may go on alone`, (next) => {
    next.agreed = early ? 1 : state.agreed;
    siteOf(next, index).left = next.agreed;
    siteOf(next, index).known = state.witnesses[0]?.revision ?? 0;
    siteOf(next, index).right = 'held';
  });
}

/** Back to the witness: the right is given back, or was never taken. */
function takesBack({ state, emit }: Turn, index: number, peer: number): void {
  const [site, other] = [siteOf(state, index), siteOf(state, peer)];
  if (site.right === 'held' && reached(state, index) !== null)
    emit(`${name(index)} gives the right back`, (next) => {
      siteOf(next, index).right = 'none';
    });
  const isVoid = site.left > 0 && site.right === 'none' && other.up && other.left === 0 && linked(state, index, peer);
  if (isVoid)
    emit(`${name(index)} hears that nobody holds the right`, (next) => {
      siteOf(next, index).left = 0;
    });
}

/** The right is used, once: the other site is given up without the witness. */
function goesAlone(turn: Turn, index: number, peer: number): void {
  const { state, scope, broken, emit } = turn;
  const site = siteOf(state, index);
  const mayGo = site.right === 'held' || (broken('both-hold-the-right') && site.left > 0 && site.right === 'none');
  if (!mayGo || site.asks !== null || site.claim !== null) return;
  if (site.durable < site.log.length && !broken('alone-before-flush')) return;
  if (site.role === 'primary') {
    if (site.view[peer] === FALSE) return;
    emit(`${name(index)} uses its right and goes on without ${name(peer)}`, (next) => {
      siteOf(next, index).view[peer] = FALSE;
      siteOf(next, index).excluding = -1;
      siteOf(next, index).right = 'used';
    });
    return;
  }
  if (site.role !== 'standby' || site.epoch >= scope.epochs) return;
  if ((site.promised && !broken('alone-before-promise-ends')) || (!site.clean && !broken('alone-unclean'))) return;
  emit(`${name(index)} uses its right and begins epoch ${site.epoch + 1}`, (next) => {
    setRole(siteOf(next, index), 'standby', scope);
    siteOf(next, index).right = 'used';
    beginReign(next, index, { epoch: site.epoch + 1, flags: 0 }, turn);
  });
}
