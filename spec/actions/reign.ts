// A reign: leases, the exclusion of a peer that is gone and the admission of one that is back.

import { bit, FALSE, has, isPrefix, isSync, MAYBE, type State, writeOf } from '../state.ts';
import {
  ask,
  attached,
  demote,
  giveUpAsking,
  indexes,
  isPrimary,
  linked,
  look,
  mayChange,
  name,
  others,
  siteOf,
  type Turn,
} from '../world.ts';

export function leases({ state, broken, emit }: Turn): void {
  for (const index of indexes(state)) {
    const site = siteOf(state, index);
    if (site.up && site.promised && site.role !== 'primary') {
      const isCounted = state.sites.some((other) => isPrimary(other) && has(other.leases, index));
      if (!isCounted || broken('promise-is-short'))
        emit(`the promise of ${name(index)} runs out`, (next) => {
          siteOf(next, index).promised = false;
        });
    }
    if (!isPrimary(site)) continue;
    for (const peer of others(state, index).filter(isSync)) {
      if (has(site.leases, peer))
        emit(`the lease that ${name(index)} holds of ${name(peer)} runs out`, (next) => {
          siteOf(next, index).leases &= ~bit(peer);
        });
      const promised = siteOf(state, peer).promised;
      if (attached(state, index, peer) && (!promised || !has(site.leases, peer)))
        emit(`${name(peer)} promises ${name(index)} not to claim`, (next) => {
          siteOf(next, peer).promised = true;
          siteOf(next, index).leases |= bit(peer);
        });
    }
  }
}

export function membership(turn: Turn): void {
  const { state } = turn;
  for (const index of indexes(state)) {
    if (!isPrimary(siteOf(state, index))) continue;
    stepsDown(turn, index);
    if (siteOf(state, index).stopped > 0) continue;
    for (const peer of others(state, index).filter(isSync)) {
      excludes(turn, index, peer);
      admits(turn, index, peer);
    }
  }
}

function stepsDown({ state, scope, emit }: Turn, index: number): void {
  const site = siteOf(state, index);
  const seen = others(state, index).some((peer) => {
    const other = siteOf(state, peer);
    return isPrimary(other) && other.epoch > site.epoch && linked(state, index, peer);
  });
  if (isDeposed(state, index) || seen) emit(`${name(index)} hears of a newer epoch`, (next) => demote(next, index, scope));
}

/** Whether what a primary may see of the witness ends its reign. */
export function isDeposed(state: State, index: number): boolean {
  const { epoch } = siteOf(state, index);
  const witness = look(state, index);
  if (witness === null || witness.epoch < epoch) return false;
  return witness.epoch > epoch || witness.primary !== index || !has(witness.flags, index);
}

function excludes({ state, scope, broken, emit }: Turn, index: number, peer: number): void {
  const site = siteOf(state, index);
  if (site.excluding < 0 && (site.view[peer] ?? FALSE) >= MAYBE)
    emit(`${name(index)} begins to exclude ${name(peer)}`, (next) => {
      // An admission that was asked for is not waited for: whichever arrives first, the other names an old revision.
      giveUpAsking(next, index, scope);
      const primary = siteOf(next, index);
      primary.view[peer] = MAYBE;
      primary.excluding = peer;
      primary.flushTo = primary.log.length;
    });
  if (broken('alone-without-witness') && !linked(state, index, peer) && (site.view[peer] ?? FALSE) >= MAYBE)
    emit(`${name(index)} goes on without ${name(peer)}`, (next) => {
      siteOf(next, index).view[peer] = FALSE;
      siteOf(next, index).excluding = -1;
    });
  const witness = look(state, index);
  if (site.excluding !== peer || site.asks !== null || witness === null || !mayChange(witness, scope)) return;
  if (site.durable < site.flushTo && !broken('excludes-before-flush')) return;
  emit(`${name(index)} asks to exclude ${name(peer)}`, (next) => {
    ask(next, { kind: 'exclude', from: index, site: peer, epoch: site.epoch, revision: witness.revision, witness: site.believes });
    if (broken('alone-while-excluding')) siteOf(next, index).view[peer] = FALSE;
  });
}

function admits({ state, scope, broken, emit }: Turn, index: number, peer: number): void {
  const [site, mirror] = [siteOf(state, index), siteOf(state, peer)];
  if (!attached(state, index, peer) || !mirror.clean || site.excluding === peer || site.alone > 0) return;
  const known = site.view[peer] ?? FALSE;
  // It may lack something yet: nothing is acknowledged without it from here on.
  if (known === FALSE && has(site.leases, peer))
    emit(`${name(index)} requires ${name(peer)}`, (next) => {
      siteOf(next, index).view[peer] = MAYBE;
    });
  const witness = look(state, index);
  const isCandidate = known === MAYBE || (known === FALSE && broken('admits-without-requiring'));
  if (!isCandidate || site.asks !== null || witness === null || site.excluding >= 0 || !mayChange(witness, scope)) return;
  const onDisk = site.log.every(
    (record, place) => !has(state.acked, writeOf(record)) || (mirror.log[place] === record && mirror.durable > place),
  );
  const holdsAll = isPrefix(site.log, mirror.log);
  if (!(onDisk && (holdsAll || known === MAYBE)) && !broken('admits-who-is-behind')) return;
  emit(`${name(index)} asks to admit ${name(peer)}`, (next) => {
    ask(next, { kind: 'admit', from: index, site: peer, epoch: site.epoch, revision: witness.revision, witness: site.believes });
  });
}
