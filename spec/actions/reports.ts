// How a witness that was replaced learns what it may grant, from the sites that turn to it by order. Decision 0008 says why it is as it is.

import { bit, FALSE, isSync, MAYBE, type Report, type State, type Witness } from '../state.ts';
import { takeReport } from '../witness.ts';
import { giveUpAsking, indexes, name, others, reached, setRole, siteOf, type Turn, witnessOf } from '../world.ts';

export function moves({ state, scope, broken, emit }: Turn): void {
  if (scope.replace !== true) return;
  for (const index of indexes(state)) {
    const site = siteOf(state, index);
    if (state.route[index] === 0)
      emit(`${name(index)} is led to the new witness`, (next) => {
        next.route[index] = 1;
      });
    if (!site.up || state.route[index] !== 1 || site.believes === 1) continue;
    emit(`${name(index)} turns to the new witness`, (next) => {
      const mover = siteOf(next, index);
      if (!broken('turning-keeps-claim')) giveUpAsking(next, index, scope);
      else if (mover.asks?.kind !== 'claim') mover.asks = null;
      mover.known = witnessOf(state, 0).revision;
      mover.believes = 1;
      mover.moving = true;
      if (broken('turning-keeps-claim')) return;
      mover.claim = null;
      if (mover.role === 'claiming') setRole(mover, 'standby', scope);
    });
  }
}

export function reports(turn: Turn): void {
  const { state, scope, emit } = turn;
  if (scope.replace !== true) return;
  for (const index of indexes(state)) {
    const site = siteOf(state, index);
    const witness = reached(state, index);
    const report = site.moving ? reportOf(turn, index) : null;
    const isNews = witness !== null && (witness.seeded || site.report === null || site.report.round !== witness.round);
    if (witness !== null && report !== null && isNews)
      emit(`${name(index)} reports that it is ${report.role}`, (next) => {
        siteOf(next, index).report = { report, round: witness.round };
      });
    if (site.report !== null) arrives(turn, index);
  }
}

function reportOf({ state, broken }: Turn, index: number): Report | null {
  const site = siteOf(state, index);
  if (!site.up || ((site.role === 'claiming' || site.asks !== null) && !broken('turning-keeps-claim'))) return null;
  const common = { from: index, epoch: site.epoch, revision: site.known, life: site.life };
  if (site.role === 'primary') {
    const maybe = others(state, index).reduce(
      (bits, peer) => bits | (isSync(peer) && (site.view[peer] ?? FALSE) >= MAYBE ? bit(peer) : 0),
      0,
    );
    return { ...common, role: 'primary', maybe, log: [] };
  }
  if (site.role === 'mirror') return { ...common, role: 'following', maybe: 0, log: [] };
  if (site.durable < site.log.length) return null;
  return { ...common, role: 'waiting', maybe: 0, log: site.log.slice() };
}

function arrives({ state, broken, emit }: Turn, index: number): void {
  const site = siteOf(state, index);
  if (site.report === null) return;
  const { report, round } = site.report;
  const target = 1;
  if (!witnessOf(state, target).up) return;
  const take = (next: State): boolean => {
    siteOf(next, index).report = null;
    return takeReport(witnessOf(next, target), report, round, broken);
  };
  const probe: Witness = { ...witnessOf(state, target) };
  probe.reports = probe.reports.slice();
  const isDone = takeReport(probe, report, round, broken);
  const hears = reached(state, index) !== null && site.life === report.life && site.believes === target;
  if (!isDone || !hears) {
    emit(`a report of ${name(index)} arrives`, (next) => void take(next));
    return;
  }
  emit(`the answer to a report of ${name(index)} is lost`, (next) => void take(next));
  emit(`${name(index)} reports, and believes the witness`, (next) => {
    take(next);
    siteOf(next, index).moving = false;
  });
}
