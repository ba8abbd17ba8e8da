// What a primary's peers do over time, seen by looking again and again: the end of a resync, and how much would be lost if the peer had to serve.

import type { PeerStatus, SiteStatus } from '../api/schema.ts';
import type { EventDraft } from './events.ts';

/** What a peer would lose now. Never told smaller than it is. */
export interface PeerRisk {
  readonly peer: string;
  /** Age of the oldest record that it lacks, or, while it does not follow, how long ago that was known last and what it was then. null: never known. */
  readonly seconds: number | null;
  /** Whether `seconds` is a bound and not a measurement, because the peer does not follow. */
  readonly bound: boolean;
  /** null without a target. */
  readonly breached: boolean | null;
}

/** What may be lost, and what is worth an alert. */
export interface RpoTarget {
  /** 0: no target. */
  readonly rpoSeconds: number;
  /** Share of it above which there is an alert. */
  readonly alertPercent: number;
}

/** Share of the threshold within which a breach is over. */
const MET_SHARE = 0.9;

interface Seen {
  resync: { readonly rung: string; readonly begun: number; readonly upTo: number } | null;
  lagSeconds: number | null;
  lagAt: number;
  /** Since when nothing is known of it. */
  unknownSince: number;
  breached: boolean;
}

/** Looks at one group. Times are in seconds of any clock that does not jump. */
export class PeerWatch {
  readonly #peers = new Map<string, Seen>();
  #epoch = -1;

  /** A resync has begun, by the journal. */
  begun(peer: string, rung: string, received: number, now: number): void {
    this.#seen(peer, now).resync = { rung, begun: now, upTo: received };
  }

  /** Looks at a status; what has ended or changed since the last look. */
  look(status: SiteStatus, target: RpoTarget, now: number): readonly EventDraft[] {
    const drafts: EventDraft[] = [];
    if (status.role !== 'primary') {
      for (const [peer, seen] of this.#peers) if (seen.resync !== null) drafts.push(interrupted(status.group, peer, seen.resync));
      this.#peers.clear();
      this.#epoch = -1;
      return drafts;
    }
    if (this.#epoch !== status.epoch) for (const seen of this.#peers.values()) seen.unknownSince = now;
    this.#epoch = status.epoch;
    for (const peer of status.peers) {
      const seen = this.#seen(peer.site, now);
      if (peer.lagSeconds !== null) {
        seen.lagSeconds = peer.lagSeconds;
        seen.lagAt = now;
      }
      drafts.push(...resyncEnds(status.group, peer, seen, now), ...this.#rpo(status, peer, { seen, target, now }));
    }
    return drafts;
  }

  /** What each peer of a primary would lose; nothing at other sites. */
  risks(status: SiteStatus, target: RpoTarget, now: number): readonly PeerRisk[] {
    if (status.role !== 'primary') return [];
    return status.peers.map((peer) => riskOf(peer, this.#seen(peer.site, now), { target, now }));
  }

  #rpo(status: SiteStatus, peer: PeerStatus, look: { seen: Seen; target: RpoTarget; now: number }): readonly EventDraft[] {
    const { seen } = look;
    const risk = riskOf(peer, seen, look);
    if (risk.breached === null || risk.breached === seen.breached) return [];
    const targetSeconds = (look.target.rpoSeconds * look.target.alertPercent) / 100;
    // What has been too much is told to be well only with something to spare: else it would come and go.
    if (!risk.breached && (risk.seconds ?? Infinity) > MET_SHARE * targetSeconds) return [];
    seen.breached = risk.breached;
    const facts = { seconds: risk.seconds, bound: risk.bound, targetSeconds };
    const shown = risk.seconds === null ? 'an unknown time' : `${risk.bound ? 'up to ' : ''}${risk.seconds.toFixed(1)} s`;
    const text = risk.breached
      ? `${peer.site} would lose ${shown} of writes, more than the ${targetSeconds} s that are allowed`
      : `${peer.site} is within ${targetSeconds} s again`;
    return [{ kind: risk.breached ? 'rpo-breach' : 'rpo-met', group: status.group, peer: peer.site, facts, text }];
  }

  #seen(peer: string, now: number): Seen {
    let seen = this.#peers.get(peer);
    if (seen === undefined) {
      seen = { resync: null, lagSeconds: null, lagAt: now, unknownSince: now, breached: false };
      this.#peers.set(peer, seen);
    }
    return seen;
  }
}

function riskOf(peer: PeerStatus, seen: Seen, look: { target: RpoTarget; now: number }): PeerRisk {
  const { target, now } = look;
  const targetSeconds = (target.rpoSeconds * target.alertPercent) / 100;
  const following = peer.lagSeconds !== null;
  const since = now - (seen.lagSeconds === null ? seen.unknownSince : seen.lagAt);
  const seconds = following ? peer.lagSeconds : seen.lagSeconds === null ? null : seen.lagSeconds + since;
  const breached = targetSeconds === 0 ? null : (seconds ?? since) > targetSeconds;
  return { peer: peer.site, seconds, bound: !following, breached };
}

function resyncEnds(group: string, peer: PeerStatus, seen: Seen, now: number): readonly EventDraft[] {
  const { resync } = seen;
  if (resync === null) return [];
  if (!peer.connected || (peer.attached === 'no' && now - resync.begun > 1)) {
    seen.resync = null;
    return [interrupted(group, peer.site, resync)];
  }
  const caughtUp = peer.attached === 'following' && peer.received !== null && peer.received >= resync.upTo;
  if (!caughtUp) return [];
  seen.resync = null;
  const seconds = Math.round((now - resync.begun) * 10) / 10;
  const text = `${peer.site} has everything that it lacked (${resync.rung}, ${seconds} s)`;
  return [{ kind: 'resync-done', group, peer: peer.site, facts: { rung: resync.rung, seconds }, text }];
}

function interrupted(group: string, peer: string, resync: { rung: string }): EventDraft {
  const text = `the resync of ${peer} (${resync.rung}) was interrupted; it goes on when ${peer} joins again`;
  return { kind: 'resync-interrupted', group, peer, facts: { rung: resync.rung }, text };
}
