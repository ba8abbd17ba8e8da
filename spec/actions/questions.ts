// Questions to the witness: claims, promotions by force, and what becomes of any question: answered, answered in vain, or delivered when
// nobody waits for it any more.

import { bit, FALSE, has, isSync, MAYBE, type Question, type Site, type State, TRUE, writeOf } from '../state.ts';
import { answer, type Broken } from '../witness.ts';
import {
  ask,
  attached,
  beginReign,
  demote,
  indexes,
  isPrimary,
  linked,
  look,
  name,
  others,
  reached,
  setRole,
  siteOf,
  type Turn,
  witnessOf,
} from '../world.ts';

export function claims(turn: Turn): void {
  const { state, scope, broken, emit } = turn;
  for (const index of indexes(state)) {
    const site = siteOf(state, index);
    const stays = broken('claims-while-following') && site.role === 'mirror';
    if (!site.up || (site.role !== 'standby' && !stays) || site.asks !== null || site.claim !== null) continue;
    const witness = look(state, index);
    if (witness === null || witness.epoch >= scope.epochs || !mayClaim(state, index, broken)) continue;
    const claim: Question = {
      kind: 'claim',
      from: index,
      site: index,
      epoch: witness.epoch,
      revision: witness.revision,
      witness: site.believes,
    };
    emit(`${name(index)} asks for epoch ${witness.epoch + 1}`, (next) => {
      const claimant = siteOf(next, index);
      if (!stays) setRole(claimant, 'claiming', scope);
      if (!stays) claimant.follows = -1;
      claimant.claim = claim;
      ask(next, claim);
    });
  }
}

/** Whether a site that waits may claim now: rules 2, 5 and 6. */
export function mayClaim(state: State, index: number, broken: Broken): boolean {
  const site = siteOf(state, index);
  const witness = look(state, index);
  if (witness === null || site.promised) return false;
  if (!isSync(index) && !broken('far-claims')) return false;
  if (!has(witness.flags, index) && !broken('claim-without-flag')) return false;
  if (site.yields > 0 && !broken('yields-and-claims')) return false;
  if (site.durable < site.log.length && !broken('claims-before-flush')) return false;
  return site.clean || broken('claims-unclean') || mayClaimUnclean(state, index, witness.flags);
}

/** Rule 6: those that may serve and are unclean compare, and the furthest of them goes on. */
function mayClaimUnclean(state: State, index: number, flags: number): boolean {
  const site = siteOf(state, index);
  return others(state, index)
    .filter((peer) => isSync(peer) && has(flags, peer) && site.alone === 0)
    .every((peer) => {
      const other = siteOf(state, peer);
      if (!other.up || other.clean || !linked(state, index, peer)) return false;
      const last = (log: readonly number[]): number => (log.at(-1) ?? 0) * 16 + log.length;
      const [mine, theirs] = [last(site.log), last(other.log)];
      return mine > theirs || (mine === theirs && index < peer);
    });
}

/** An operator promotes a copy, having seen that no other site serves or is about to. */
export function forces(turn: Turn): void {
  const { state, scope, emit } = turn;
  if (scope.force !== true) return;
  for (const index of indexes(state)) {
    const site = siteOf(state, index);
    const witness = reached(state, index);
    if (witness === null || (site.role !== 'standby' && site.role !== 'mirror')) continue;
    if (site.asks !== null || site.claim !== null || witness.epoch >= scope.epochs) continue;
    if (others(state, index).some((peer) => mayServeSoon(siteOf(state, peer)))) continue;
    const epoch = Math.max(witness.epoch, ...state.sites.map((each) => each.epoch));
    const question: Question = { kind: 'force', from: index, site: index, epoch, revision: witness.revision, witness: site.believes };
    // While he does it, nobody else comes back: it is asked and done in one step, whether the answer is heard or not.
    const force = (next: State): boolean => {
      setRole(siteOf(next, index), 'standby', scope);
      siteOf(next, index).follows = -1;
      ask(next, question);
      return deliver(next, question, turn);
    };
    emit(`${name(index)} is promoted by force`, (next) => hears(next, question, { isDone: force(next), isRepeated: false }, turn));
    emit(`${name(index)} is promoted by force, and the answer is lost`, (next) => void force(next));
  }
}

/** What an operator looks for before he forces: a site that reigns, or waits for an answer that may make it reign. */
function mayServeSoon({ up, role, asks }: Site): boolean {
  return up && (role === 'primary' || role === 'claiming' || asks !== null);
}

export function deliveries(turn: Turn): void {
  const { state, emit } = turn;
  for (const index of indexes(state)) {
    const { asks } = siteOf(state, index);
    if (asks === null || !canAsk(turn, index, asks.witness)) continue;
    const before = witnessOf(state, asks.witness).answered[index] ?? 0;
    emit(`${name(index)} hears what became of its ${asks.kind}`, (next) => {
      const isDone = deliver(next, asks, turn);
      hears(next, asks, { isDone, isRepeated: before !== 0 }, turn);
    });
    if (before === 0) emit(`the answer to the ${asks.kind} of ${name(index)} is lost`, (next) => void deliver(next, asks, turn));
  }
  state.strays.forEach((stray, place) => {
    if (!witnessOf(state, stray.witness).up) return;
    emit(`a ${stray.kind} of ${name(stray.from)} arrives late`, (next) => {
      next.strays.splice(place, 1);
      apply(next, stray, turn.broken);
    });
  });
}

function canAsk({ state, broken }: Turn, index: number, witness: number): boolean {
  const isLed = state.route[index] === witness || broken('turning-keeps-claim');
  return siteOf(state, index).up && state.path[index] === true && witnessOf(state, witness).up && isLed;
}

/** Asks, or asks again with the same id. */
function deliver(next: State, question: Question, { broken }: Turn): boolean {
  const witness = witnessOf(next, question.witness);
  const before = witness.answered[question.from] ?? 0;
  if (before === 0) witness.answered[question.from] = apply(next, question, broken) === null ? 1 : 2;
  return witness.answered[question.from] === 1;
}

function apply(next: State, question: Question, broken: Broken): string | null {
  const refused = answer(witnessOf(next, question.witness), question, question.witness, broken);
  // What a copy that was promoted by force lacks is lost, and the operator was told so.
  if (refused === null && question.kind === 'force')
    next.acked &= siteOf(next, question.site).log.reduce((bits, record) => bits | bit(writeOf(record)), 0);
  return refused;
}

interface Outcome {
  readonly isDone: boolean;
  /** It was answered before, and that answer was lost. */
  readonly isRepeated: boolean;
}

function hears(next: State, question: Question, outcome: Outcome, turn: Turn): void {
  const { from } = question;
  const site = siteOf(next, from);
  const witness = witnessOf(next, question.witness);
  site.asks = null;
  switch (question.kind) {
    case 'claim': {
      const named = witness.primary === from && witness.epoch > site.epoch && has(witness.flags, from);
      if ((outcome.isDone && !outcome.isRepeated) || named) return beginReign(next, from, witness, turn);
      site.claim = null;
      if (site.role === 'claiming') setRole(site, 'standby', turn.scope);
      return;
    }
    case 'force':
      if (!outcome.isDone || witness.primary !== from || witness.epoch <= site.epoch) return;
      site.moving = false;
      return beginReign(next, from, witness, turn);
    case 'exclude':
      if (outcome.isDone) site.view[question.site] = FALSE;
      if (outcome.isDone) site.alone = 0;
      if (outcome.isDone || !isPrimary(site)) site.excluding = -1;
      return;
    case 'admit':
      if (outcome.isDone && !outcome.isRepeated && (turn.scope.breaks === true || attached(next, from, question.site)))
        site.view[question.site] = TRUE;
      else if (outcome.isDone) site.view[question.site] = MAYBE;
      return;
    case 'handover':
      if (witness.primary === from && witness.epoch === site.epoch && !outcome.isDone) site.stopped = 0;
      else demote(next, from, turn.scope);
  }
}

/** A planned change: the primary stops, the successor confirms what it holds, the witness is asked, the successor looks. */
export function handovers(turn: Turn): void {
  const { state, scope } = turn;
  if (scope.handover !== true) return;
  for (const index of indexes(state)) {
    takesOver(turn, index);
    if (!isPrimary(siteOf(state, index))) continue;
    for (const peer of others(state, index).filter(isSync)) handsOver(turn, index, peer);
  }
}

function handsOver({ state, scope, broken, emit }: Turn, index: number, peer: number): void {
  const [site, mirror] = [siteOf(state, index), siteOf(state, peer)];
  const level = attached(state, index, peer) && mirror.clean && mirror.log.length === site.log.length;
  const answered = site.log.every((record) => has(state.acked, writeOf(record)));
  const isFree = site.asks === null && site.excluding < 0 && site.alone === 0;
  const canOffer = answered && isFree && site.view[peer] === TRUE;
  if (site.stopped === 0 && canOffer)
    emit(`${name(index)} stops and offers the reign`, (next) => {
      siteOf(next, index).stopped = 1;
    });
  if (site.stopped === 1 && level && mirror.offer === 0 && mirror.yields === 0)
    emit(`${name(peer)} confirms what it holds`, (next) => {
      siteOf(next, peer).durable = mirror.log.length;
      siteOf(next, peer).offer = mirror.log.length + 1;
    });
  if (site.stopped === 1)
    emit(`${name(index)} calls the handover off`, (next) => {
      siteOf(next, index).stopped = 0;
    });
  const witness = look(state, index);
  const isConfirmed = mirror.offer > 0 && attached(state, index, peer);
  if (site.stopped === 1 && isFree && witness !== null && witness.epoch < scope.epochs && (isConfirmed || broken('takes-over-unconfirmed')))
    emit(`${name(index)} asks to hand over`, (next) => {
      siteOf(next, index).stopped = 2;
      ask(next, { kind: 'handover', from: index, site: peer, epoch: site.epoch, revision: witness.revision, witness: site.believes });
    });
  if (site.stopped === 2 && broken('resumes-without-answer'))
    emit(`${name(index)} serves on`, (next) => {
      siteOf(next, index).stopped = 0;
      siteOf(next, index).asks = null;
    });
  // The witness that was asked is given up: the one that is believed now says whose the reign is.
  if (site.stopped === 2 && site.asks === null && witness?.primary === index && witness.epoch === site.epoch)
    emit(`${name(index)} is told that the reign is still its own`, (next) => {
      siteOf(next, index).stopped = 0;
    });
}

function takesOver(turn: Turn, index: number): void {
  const { state, broken, emit } = turn;
  const site = siteOf(state, index);
  const witness = look(state, index);
  if (!site.up || (site.role !== 'mirror' && site.role !== 'standby') || witness === null || site.asks !== null) return;
  if (witness.primary !== index || witness.epoch !== site.epoch + 1 || !has(witness.flags, index)) return;
  if (site.yields > 0 || (site.offer !== site.log.length + 1 && !broken('takes-over-unconfirmed'))) return;
  emit(`${name(index)} takes over`, (next) => beginReign(next, index, witness, turn));
}
