// The primary's end of the acknowledgement loop: keeps every mirror told of what the others hold, and knows what each is known to know.

import type { Millis, Seq, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import { type HeldCopy, type HeldPauses, HeldTeller } from '../mirror/held.ts';
import { decodeNumbers, encodeJson, HELD_ACKNOWLEDGE_BODY } from '../mirror/messages.ts';
import type { Replica } from '../replica/replica.ts';
import type { SiteOptions } from './contract.ts';

/** What a mirror said of its own sidefile when it confirmed last. */
export interface MirrorRoom {
  readonly oldest: Seq;
  readonly spaceBytes: number;
  /** What it had acknowledged then. */
  readonly received: Seq;
}

export class HeldDesk {
  readonly #options: SiteOptions;
  readonly #replica: Replica;
  readonly #followed: ReadonlyMap<SiteName, FollowedPeer>;
  readonly #tellers = new Map<SiteName, HeldTeller>();
  readonly #rooms = new Map<SiteName, MirrorRoom>();
  /** First record that each mirror's sidefile holds, as it said last in this reign, also while it is away. */
  readonly #oldest = new Map<SiteName, Seq>();

  constructor(options: SiteOptions, replica: Replica, followed: ReadonlyMap<SiteName, FollowedPeer>) {
    this.#options = options;
    this.#replica = replica;
    this.#followed = followed;
    for (const site of followed.keys()) this.#tellers.set(site, new HeldTeller());
  }

  turn(now: Millis): void {
    for (const [site, peer] of this.#followed) {
      if (peer.attached !== 'following') continue;
      const teller = this.#tellers.get(site) as HeldTeller;
      if (now < teller.dueAt(() => this.#others(peer), this.#pauses)) continue;
      peer.peer.link?.send('held', encodeJson(teller.next(this.#replica.epoch, this.#others(peer), now)));
    }
  }

  deadline(): Millis {
    let earliest = Infinity;
    for (const [site, peer] of this.#followed) {
      if (peer.attached !== 'following') continue;
      earliest = Math.min(
        earliest,
        (this.#tellers.get(site) as HeldTeller).dueAt(() => this.#others(peer), this.#pauses),
      );
    }
    return earliest;
  }

  /** A peer is gone, or joins anew. */
  lost(site: SiteName): void {
    this.#tellers.get(site)?.reset();
    this.#rooms.delete(site);
  }

  /** It is no copy of the group any more: what its sidefile held counts for nothing. */
  removed(site: SiteName): void {
    this.lost(site);
    this.#oldest.delete(site);
    this.#tellers.delete(site);
  }

  /** A mirror has heard. Returns what is wrong with what it says, or null. */
  confirmed(peer: FollowedPeer, body: Uint8Array): string | null {
    const said = decodeNumbers(HELD_ACKNOWLEDGE_BODY, body);
    if (said === null) return 'a confirmation of what is held is malformed';
    if (said.epoch !== this.#replica.epoch || peer.attached !== 'following') return null;
    this.#oldest.set(peer.site, said.oldest);
    this.#rooms.set(peer.site, { oldest: said.oldest, spaceBytes: said.spaceBytes, received: peer.received });
    return this.#tellers.get(peer.site)?.confirmed(said.number) ?? null;
  }

  /** Up to where `mirror` is known to know that `site` holds records on stable storage; null when it is not. */
  knownTo(mirror: SiteName, site: SiteName): Seq | null {
    return this.#tellers.get(mirror)?.known(site)?.durable ?? null;
  }

  /** First record that the sidefile of some mirror still holds, as far as they have said; Infinity when none has. */
  get oldest(): Seq {
    return Math.min(Infinity, ...this.#oldest.values());
  }

  room(mirror: SiteName): MirrorRoom | null {
    return this.#rooms.get(mirror) ?? null;
  }

  get #pauses(): HeldPauses {
    const { heartbeatMillis } = this.#options.timings;
    return { news: heartbeatMillis / 4, again: 4 * heartbeatMillis };
  }

  /** Copies other than one, as far as anything was known of them in this reign. */
  #others(peer: FollowedPeer): HeldCopy[] {
    const copies: HeldCopy[] = [];
    for (const other of this.#followed.values()) {
      const durable = other.knownDurable;
      if (other === peer || durable === null) continue;
      const oldest = this.#options.setAside.guide === 'oldest' ? this.#oldest.get(other.site) : undefined;
      copies.push({ site: other.site, received: Math.max(durable, other.received), durable, ...(oldest !== undefined && { oldest }) });
    }
    return copies;
  }
}
