// Whether hosts may write now, and how fast, for the sake of a copy that lags and whose records may not be forgotten: its overflow policy is to slow
// the writers down or to stop them, or a resync of it was outrun by them before. A batch of writes is let through or waits as a whole; there is
// nothing for a single request but a subtraction.

import { Rate } from '../base/rate.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { Journal } from '../base/ports.ts';
import type { WritersStatus } from './contract.ts';

/** Shares of the room at which writers are slowed down, and are free again. */
const SLOW_FROM = 0.5;
const SLOW_UNTIL = 0.4;
/** Shares at which nothing is written any more, and at which it goes on. */
const STOP_FROM = 0.9;
const STOP_UNTIL = 0.8;

/** Where what comes in equals what the copy takes: below it more comes in, above it less. */
const EVEN_AT = 0.8;

/** With nothing taken by the copy at all, half of what is left before the stop is given away in this time. */
const LAST_ROOM_SECONDS = 30;

/** Writes that may be let through at once after a pause. */
const BURST_SECONDS = 0.05;

/** Writers are let go on only once that has been possible for so long: else a few large writes in a small room would switch to and fro. */
const EASE_MILLIS = 300;

/** A resync that gets nothing done for this long is not waited for: its records are forgotten, as if it were away. */
const STALLED_MILLIS = 10_000;

const RANK: Readonly<Record<WritersStatus['state'], number>> = { free: 0, slowed: 1, stopped: 2 };

/** What the pace is set by. */
export interface WritersGround {
  readonly now: Millis;
  /** Most that may be kept for a copy. */
  readonly roomBytes: number;
  /** Bytes of records that are kept for a peer. */
  keptFor(peer: FollowedPeer): number;
  /** Of a fixed count of records, the share that is kept for it; left out where there is none. */
  countShare?(peer: FollowedPeer): number;
}

/** Of what may be kept for a peer, what is. */
function fillFor(peer: FollowedPeer, ground: WritersGround): number {
  return Math.max(ground.keptFor(peer) / ground.roomBytes, ground.countShare?.(peer) ?? 0);
}

export class Writers {
  readonly #journal: Journal;
  readonly #drained = new Rate();
  #state: WritersStatus['state'] = 'free';
  #for: SiteName | null = null;
  #bytesPerSecond = Infinity;
  #tokens = 0;
  #at: Millis = -Infinity;
  /** Since when writers could be let go on; null while they could not. */
  #easeSince: Millis | null = null;
  /** Bytes that were let through in all, and what of them the peer that counts had not taken at the last look. */
  #written = 0;
  #taken: { readonly site: SiteName; readonly bytes: number } | null = null;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  get status(): WritersStatus {
    const bytesPerSecond = this.#state === 'slowed' ? Math.floor(this.#bytesPerSecond) : null;
    return { state: this.#state, for: this.#for, bytesPerSecond };
  }

  /** Whether a write of so many bytes may be carried out now; if so, it is counted. */
  take(byteCount: number): boolean {
    if (this.#state === 'stopped' || (this.#state === 'slowed' && this.#tokens <= 0)) return false;
    this.#tokens -= byteCount;
    this.#written += byteCount;
    return true;
  }

  /** Looks at the peers anew. Called each turn. */
  turn(peers: Iterable<FollowedPeer>, ground: WritersGround): void {
    let worst: FollowedPeer | null = null;
    let fill = 0;
    for (const peer of peers) {
      watchResync(peer, ground);
      if (peer.uncovered || !isKept(peer, ground.now)) continue;
      const share = fillFor(peer, ground);
      if (worst !== null && share <= fill) continue;
      worst = peer;
      fill = share;
    }
    const kept = worst === null ? 0 : ground.keptFor(worst);
    if (worst !== null) this.#measure(worst.site, kept, ground.now);
    // Also where nobody is waited for any more: until that has lasted, writers go on as fast as nothing kept allows.
    this.#set(this.#eased(worst === null ? 'free' : this.#next(worst, fill), ground.now), worst?.site ?? this.#for, kept);
    // Where a count of records is nearer to its end than the bytes are, the room is what so many bytes fill to that share.
    const roomBytes = fill * ground.roomBytes > kept ? kept / fill : ground.roomBytes;
    if (this.#state === 'slowed') this.#refill(fill, { now: ground.now, roomBytes });
    this.#at = ground.now;
  }

  /** When writes that wait may go on; Infinity when only a peer can bring that about, or none waits. */
  get deadline(): Millis {
    const eased = this.#easeSince === null ? Infinity : this.#easeSince + EASE_MILLIS;
    if (this.#state !== 'slowed' || this.#tokens > 0) return eased;
    return Math.min(eased, this.#at + Math.max(1, (1000 * -this.#tokens) / this.#bytesPerSecond));
  }

  /** What is worse counts at once, what is better only once it has lasted. */
  #eased(next: WritersStatus['state'], now: Millis): WritersStatus['state'] {
    if (RANK[next] >= RANK[this.#state]) {
      this.#easeSince = null;
      return next;
    }
    this.#easeSince ??= now;
    if (now - this.#easeSince < EASE_MILLIS) return this.#state;
    this.#easeSince = null;
    return next;
  }

  #next(peer: FollowedPeer, fill: number): WritersStatus['state'] {
    const stopped = this.#state === 'stopped' ? fill > STOP_UNTIL : fill >= STOP_FROM;
    if (stopped) return 'stopped';
    if (peer.peer.overflow === 'stop') return 'free';
    return fill > (this.#state === 'free' ? SLOW_FROM : SLOW_UNTIL) ? 'slowed' : 'free';
  }

  #measure(site: SiteName, kept: number, now: Millis): void {
    const bytes = this.#written - kept;
    if (this.#taken?.site === site && bytes > this.#taken.bytes) this.#drained.add(now, bytes - this.#taken.bytes);
    if (this.#taken?.site !== site || bytes > this.#taken.bytes) this.#taken = { site, bytes };
  }

  #refill(fill: number, { now, roomBytes }: Pick<WritersGround, 'now' | 'roomBytes'>): void {
    const share = Math.max(0.01, (fill - SLOW_UNTIL) / (EVEN_AT - SLOW_UNTIL));
    const least = (Math.max(0.01, STOP_FROM - fill) * roomBytes) / LAST_ROOM_SECONDS;
    this.#bytesPerSecond = Math.max(this.#drained.perSecond(now) / share, least);
    const seconds = Math.max(0, Math.min(1, (now - this.#at) / 1000));
    this.#tokens = Math.min(this.#bytesPerSecond * BURST_SECONDS, this.#tokens + this.#bytesPerSecond * seconds);
  }

  #set(state: WritersStatus['state'], site: SiteName | null, kept: number): void {
    const was = this.#state;
    this.#state = state;
    this.#for = state === 'free' ? null : site;
    if (state !== 'slowed') this.#tokens = 0;
    if (state === was) return;
    const text = {
      free: 'hosts write freely again',
      slowed: `hosts are slowed down: ${kept} bytes are kept for ${site ?? ''}`,
      stopped: `writes of hosts wait: ${kept} bytes are kept for ${site ?? ''}`,
    }[state];
    this.#journal('writers', { site, state, was, keptBytes: kept }, text);
  }
}

/**
 * Whether the records that a peer lacks are kept whatever that means for writers: by its policy, or while a resync of it that was outrun gets on.
 * One that is paused by order is never waited for.
 */
export function isKept(peer: FollowedPeer, now: Millis): boolean {
  if (peer.paused) return false;
  if (peer.peer.overflow !== 'bitmap') return true;
  return peer.outrun && peer.attached !== 'no' && now - peer.progressAt < STALLED_MILLIS;
}

/** Notes what a peer gets done, and when one whose resync was outrun has caught up. */
function watchResync(peer: FollowedPeer, ground: WritersGround): void {
  const progress = peer.durable + (peer.copy?.passedBytes ?? 0);
  if (progress !== peer.progress || peer.attached === 'no') {
    peer.progress = progress;
    peer.progressAt = ground.now;
  }
  if (peer.outrun && peer.attached === 'following' && fillFor(peer, ground) < SLOW_UNTIL) peer.outrun = false;
}
