// What goes wrong: sites that are killed, lose their power and come back, links that are cut, a witness that is gone for a while.

import { bit, type Site, type State, writeOf } from '../state.ts';
import { endReign, giveUpAsking, indexes, name, setRole, siteOf, type Turn, witnessOf } from '../world.ts';

export function faults(turn: Turn): void {
  const { state, scope, emit } = turn;
  for (const index of indexes(state)) {
    const site = siteOf(state, index);
    if (!site.up) starts(turn, index, site);
    else if (state.fails < scope.fails) stops(turn, index);
    if (state.cuts < scope.cuts)
      emit(`the path of ${name(index)} to the witness is ${state.path[index] === true ? 'cut' : 'mended'}`, (next) => {
        next.path[index] = state.path[index] !== true;
        next.cuts++;
      });
  }
  if (state.cuts >= scope.cuts) return;
  emit(`the link is ${state.link ? 'cut' : 'mended'}`, (next) => {
    next.link = !state.link;
    next.cuts++;
  });
  if (scope.agreements === undefined) return;
  const { up } = witnessOf(state, 0);
  emit(`the witness is ${up ? 'lost' : 'back'}`, (next) => {
    witnessOf(next, 0).up = !up;
    next.cuts++;
  });
}

function stops({ state, scope, broken, emit }: Turn, index: number): void {
  const ends = (next: State): Site => {
    const site = siteOf(next, index);
    next.fails++;
    giveUpAsking(next, index, scope);
    endReign(site);
    Object.assign(site, { up: false, role: 'standby', follows: -1, promised: false, stopped: 0, offer: 0, cleanAt: 0 });
    return site;
  };
  emit(`${name(index)} is killed`, (next) => void ends(next));
  // With everything on its disk a power loss takes nothing; it is unclean all the same.
  emit(`${name(index)} loses its power`, (next) => {
    const site = ends(next);
    const lost = site.log.slice(site.durable).reduce((bits, record) => bits | bit(writeOf(record)), 0);
    next.gone[index] = (state.gone[index] ?? 0) | lost;
    site.log.length = site.durable;
    site.clean = broken('power-loss-forgotten');
  });
}

function starts({ scope, broken, emit }: Turn, index: number, { claim }: Site): void {
  emit(`${name(index)} starts`, (next) => {
    const site = siteOf(next, index);
    site.up = true;
    site.promised = !broken('start-forgets-promise');
    if (scope.replace === true) site.life++;
    if (claim === null) return;
    // With the id that it had: what came of it is still to be learnt.
    setRole(site, 'claiming', scope);
    site.durable = site.log.length;
    site.asks = claim;
    next.strays = next.strays.filter((stray) => stray !== claim);
  });
}
