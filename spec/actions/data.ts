// Writes: taken, sent, flushed, acknowledged; and mirrors that come and go.

import { bit, FALSE, has, isPrefix, isSync, MAYBE, type Site, type State, TRUE, writeOf } from '../state.ts';
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
    for (const index of indexes(state)) {
      const isGone = scope.breaks === true || !attached(state, index, peer);
      if (index !== peer && isPrimary(siteOf(state, index)) && siteOf(state, index).view[peer] === TRUE && isGone)
        emit(`${name(index)} finds ${name(peer)} gone`, (next) => {
          siteOf(next, index).view[peer] = MAYBE;
        });
    }
    const mirror = siteOf(state, peer);
    if (!mirror.up) continue;
    const { follows: primary } = mirror;
    if (mirror.role === 'mirror' && (scope.breaks === true || !attached(state, primary, peer)))
      emit(`${name(peer)} finds its primary gone`, (next) => {
        const site = siteOf(next, peer);
        setRole(site, 'standby', scope);
        site.follows = -1;
      });
    const isCleaned = mirror.role === 'mirror' && !mirror.clean && (scope.breaks === true || attached(state, primary, peer));
    if (isCleaned && mirror.log.length >= mirror.cleanAt)
      emit(`${name(peer)} has caught up and is clean`, (next) => {
        Object.assign(siteOf(next, peer), { clean: true, cleanAt: 0 });
      });
    for (const index of indexes(state)) {
      if (index === peer) continue;
      joins(turn, index, peer);
      if (scope.level === true) takesLevel(turn, index, peer);
    }
  }
}

/** Adopt or cut: of two sites that follow nobody, the one that is behind takes what the other has, and gives up a tail of an older epoch. */
function takesLevel({ state, broken, emit }: Turn, from: number, to: number): void {
  const [giver, taker] = [siteOf(state, from), siteOf(state, to)];
  const isFree = (site: Site): boolean => site.up && site.role === 'standby' && site.asks === null;
  if (!isFree(giver) || !isFree(taker) || !linked(state, from, to) || giver.epoch < taker.epoch) return;
  let shared = 0;
  while (shared < taker.log.length && taker.log[shared] === giver.log[shared]) shared++;
  const isSame = giver.epoch === taker.epoch;
  if (shared < taker.log.length && isSame && !broken('levels-by-cutting')) return;
  const record = giver.log[shared];
  if (record === undefined && isSame && shared === taker.log.length) return;
  emit(`${name(to)} takes from ${name(from)} what it lacks`, (next) => {
    const site = siteOf(next, to);
    if (!isSame) Object.assign(site, { alone: 0, yields: 0 });
    site.epoch = giver.epoch;
    site.log.length = shared;
    site.durable = Math.min(site.durable, shared);
    if (record === undefined || !isSame) return;
    site.log.push(record);
    next.gone[to] = (next.gone[to] ?? 0) & ~bit(writeOf(record));
  });
}

function joins({ state, scope, broken, emit }: Turn, index: number, peer: number): void {
  const [primary, mirror] = [siteOf(state, index), siteOf(state, peer)];
  if (!isPrimary(primary)) return;
  if (follows(state, index, peer)) return;
  // A claim whose answer is not known may have been granted.
  const isFree = (mirror.role === 'standby' && mirror.asks === null) || (broken('joins-in-doubt') && mirror.role === 'claiming');
  if (!isFree || mirror.epoch > primary.epoch || !linked(state, index, peer)) return;
  const least = mirror.clean || scope.breaks !== true ? primary.log.length : neededOf(state, index, peer);
  // What makes it clean is decided where it asks to join, a moment earlier.
  for (let cleanAt = least; cleanAt <= primary.log.length; cleanAt++)
    emit(`${name(peer)} joins ${name(index)}`, (next) => {
      const site = siteOf(next, peer);
      let shared = 0;
      while (shared < site.log.length && site.log[shared] === primary.log[shared]) shared++;
      site.log.length = shared;
      site.durable = Math.min(site.durable, shared);
      if (site.epoch < primary.epoch) Object.assign(site, { alone: 0, yields: 0 });
      Object.assign(site, { epoch: primary.epoch, follows: index, offer: 0, cleanAt: site.clean ? 0 : cleanAt });
      setRole(site, 'mirror', scope);
      if (isSync(peer) && primary.view[peer] === TRUE) siteOf(next, index).view[peer] = MAYBE;
    });
}

/** How many records of a primary a mirror needs to be called clean: all that were acknowledged, where its flag may be true. */
function neededOf(state: State, primary: number, peer: number): number {
  const { log, view } = siteOf(state, primary);
  return view[peer] === FALSE ? 0 : log.findLastIndex((record) => has(state.acked, writeOf(record))) + 1;
}
