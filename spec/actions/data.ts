// Writes: taken, sent, flushed, acknowledged; and mirrors that come and go.

import { bit, has, isPrefix, isSync, MAYBE, TRUE, writeOf } from '../state.ts';
import { attached, follows, indexes, isPrimary, linked, mayAcknowledge, name, serves, setRole, siteOf, type Turn } from '../world.ts';

export function writes(turn: Turn): void {
  const { state, scope, broken, emit } = turn;
  for (const index of indexes(state)) {
    const site = siteOf(state, index);
    if (!site.up) continue;
    if (state.next <= scope.writes && serves(state, index, broken))
      emit(`${name(index)} takes write ${state.next}`, (next) => {
        siteOf(next, index).log.push(16 * site.epoch + state.next);
        next.next++;
      });
    if (site.durable < site.log.length)
      emit(`${name(index)} flushes`, (next) => {
        siteOf(next, index).durable = site.log.length;
      });
    if (serves(state, index, broken)) acknowledges(turn, index);
    if (isPrimary(site)) sends(turn, index);
  }
}

/** Hosts are told in order: the first write that nobody was told of, if the rule allows it. */
function acknowledges({ state, broken, emit }: Turn, index: number): void {
  const { log } = siteOf(state, index);
  const place = log.findIndex((record) => !has(state.acked, writeOf(record)));
  if (place < 0 || !mayAcknowledge(state, index, place, broken)) return;
  const write = writeOf(log[place] as number);
  emit(`${name(index)} acknowledges write ${write}`, (next) => {
    next.acked |= bit(write);
  });
}

function sends({ state, emit }: Turn, index: number): void {
  const { log } = siteOf(state, index);
  for (const peer of indexes(state)) {
    if (peer === index || !attached(state, index, peer)) continue;
    const mirror = siteOf(state, peer);
    if (mirror.log.length >= log.length || !isPrefix(mirror.log, log)) continue;
    const record = log[mirror.log.length] as number;
    emit(`${name(peer)} receives write ${writeOf(record)}`, (next) => {
      siteOf(next, peer).log.push(record);
      siteOf(next, peer).offer = 0;
      next.gone[peer] = (next.gone[peer] ?? 0) & ~bit(writeOf(record));
    });
  }
}

/** A mirror joins, catches up, loses its primary; a primary loses its mirror. */
export function mirrors(turn: Turn): void {
  const { state, scope, emit } = turn;
  for (const peer of indexes(state)) {
    const mirror = siteOf(state, peer);
    if (!mirror.up) continue;
    const { follows: primary } = mirror;
    if (mirror.role === 'mirror' && !attached(state, primary, peer))
      emit(`${name(peer)} finds its primary gone`, (next) => {
        const site = siteOf(next, peer);
        setRole(site, 'standby', scope);
        site.follows = -1;
      });
    for (const index of indexes(state)) {
      if (index !== peer) joins(turn, index, peer);
    }
  }
}

function joins({ state, scope, broken, emit }: Turn, index: number, peer: number): void {
  const [primary, mirror] = [siteOf(state, index), siteOf(state, peer)];
  if (!isPrimary(primary)) return;
  if (primary.view[peer] === TRUE && !attached(state, index, peer))
    emit(`${name(index)} finds ${name(peer)} gone`, (next) => {
      siteOf(next, index).view[peer] = MAYBE;
    });
  if (follows(state, index, peer)) {
    if (!mirror.clean && linked(state, index, peer) && isPrefix(primary.log, mirror.log))
      emit(`${name(peer)} has caught up and is clean`, (next) => {
        siteOf(next, peer).clean = true;
      });
    return;
  }
  // A claim whose answer is not known may have been granted.
  const isFree = (mirror.role === 'standby' && mirror.asks === null) || (broken('joins-in-doubt') && mirror.role === 'claiming');
  if (!isFree || mirror.epoch > primary.epoch || !linked(state, index, peer)) return;
  emit(`${name(peer)} joins ${name(index)}`, (next) => {
    const site = siteOf(next, peer);
    let shared = 0;
    while (shared < site.log.length && site.log[shared] === primary.log[shared]) shared++;
    site.log.length = shared;
    site.durable = Math.min(site.durable, shared);
    Object.assign(site, { epoch: primary.epoch, follows: index, offer: 0 });
    setRole(site, 'mirror', scope);
    if (isSync(peer) && primary.view[peer] === TRUE) siteOf(next, index).view[peer] = MAYBE;
  });
}
