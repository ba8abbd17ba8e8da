// A site's connections to its peers, whatever its role: which one counts, what was told on them, and when silence ends them. What the messages
// mean is the site's business.

import type { LinkPort } from '../base/ports.ts';
import type { Epoch, Millis, SiteName } from '../base/units.ts';
import type { PeerState, SaidAgreement } from '../mirror/forms.ts';
import { Link, type LinkKeeper, type LinkOwner, type LinkReceiver } from '../mirror/link.ts';
import { encodeJson } from '../mirror/messages.ts';
import { Peer } from '../mirror/peer.ts';
import type { SiteOptions } from './contract.ts';
import { sameMembers } from './members.ts';

export class Connections implements LinkKeeper {
  readonly #options: SiteOptions;
  readonly #state: () => PeerState;
  readonly peers: ReadonlyMap<SiteName, Peer>;
  /** What the peers were told last; positions in it are of that moment. */
  #told: PeerState | null = null;
  #watchedAt: Millis = 0;
  /** Connections from this side on which the other has not said who it is. */
  readonly #greeting = new Set<Link>();

  constructor(options: SiteOptions, state: () => PeerState) {
    this.#options = options;
    this.#state = state;
    this.peers = new Map(
      options.sites
        .filter(({ name }) => name !== options.site)
        .map(({ name, mode, overflow, compress }) => [name, new Peer(name, mode, overflow, compress === 'zstd')]),
    );
  }

  /** A connection on which both sides have said who they are. `apart`: why this site takes no part. */
  up(link: Link, apart: string | null): void {
    const peer = this.peers.get(link.peer);
    if (peer === undefined) return link.refuse(`site "${link.peer}" is not a copy of this group`);
    if (apart !== null) return link.refuse(`this copy takes no part: ${apart}`);
    this.take(peer, link);
    this.#options.journal('link.up', { peer: link.peer }, `connected to ${link.peer}`);
    this.#options.shell.wake();
  }

  /** Makes a connection the one that counts. The older one is dead before the first byte of the newer is used (T3). */
  take(peer: Peer, link: Link): void {
    peer.link?.close('a newer connection has come');
    peer.link = link;
    peer.said = null;
    link.packs = peer.packs;
    link.traffic = peer.traffic;
    if (link.streams !== null) link.streams.counts = peer.streamCounts;
    link.send('state', encodeJson(this.#state()));
  }

  // ── streams ──
  linkTo(peer: SiteName): Link | null {
    return this.peers.get(peer)?.link ?? null;
  }

  streamsTo(peer: SiteName): number {
    const { sites, site } = this.#options;
    return Math.max(1, ...sites.filter(({ name }) => name === peer || name === site).map(({ streams = 1 }) => streams));
  }

  nameLink(): string {
    return this.#options.random.id();
  }

  streamNews({ peer }: Link, number: number, ended: { readonly reason: string; readonly again: number } | null): void {
    const { journal, shell } = this.#options;
    if (ended === null) journal('stream.up', { peer, stream: number }, `stream ${number} of the link to ${peer} stands`);
    else {
      const text = `stream ${number} of the link to ${peer} ended: ${ended.reason}; ${ended.again} messages go again over the others`;
      journal('stream.down', { peer, stream: number, ...ended }, text);
    }
    shell.wake();
  }

  /** Streams of the link to a peer that this side is to open: those that are missing, where it has opened the link. */
  streamsWanted(peer: SiteName): readonly number[] {
    const link = this.linkTo(peer);
    return link?.dialled === true && link.streams !== null ? link.streams.missing : [];
  }

  /** The shell has connected to a peer for a stream. */
  dialledStream(peer: SiteName, number: number, port: LinkPort): LinkReceiver {
    const link = this.linkTo(peer);
    if (link === null || !this.streamsWanted(peer).includes(number)) {
      port.close();
      return { receive: () => undefined, closed: () => undefined };
    }
    const stream = link.dialledStream(number, port);
    this.#greeting.add(stream);
    return stream;
  }

  /** The connections that stand, streams with them. */
  *#standing(): Iterable<Link> {
    for (const { link } of this.peers.values()) {
      if (link === null) continue;
      yield link;
      if (link.streams !== null) yield* link.streams.links;
    }
  }

  /** The peer that is primary of the newest epoch, if that is not older than `epoch`. */
  primaryOf(epoch: Epoch): Peer | null {
    let best: Peer | null = null;
    for (const peer of this.peers.values()) {
      const { said } = peer;
      if (peer.link === null || said === null || said.role !== 'primary' || said.epoch < epoch) continue;
      if (best === null || said.epoch > (best.said as PeerState).epoch) best = peer;
    }
    return best;
  }

  /** A connection that this side has opened: it is given up when no hello comes on it. */
  dialled(owner: LinkOwner, peer: SiteName, port: LinkPort): Link {
    const { clock, digests, buffers, compression = null } = this.#options;
    const link = new Link({ port, clock, digests, buffers, compression, dialled: { owner, peer }, findOwner: () => owner });
    this.#greeting.add(link);
    return link;
  }

  /** The other side would not talk to this one. */
  refused(name: SiteName, reason: string): void {
    const peer = this.peers.get(name);
    if (peer === undefined || peer.lastError === reason) return;
    peer.lastError = reason;
    this.#options.journal('link.refused', { peer: name, reason }, `${name} refused the connection: ${reason}`);
  }

  /** A peer that no connection stands to could not be dialled. */
  unreachable(name: SiteName, reason: string): void {
    const peer = this.peers.get(name);
    if (peer?.link === null) peer.lastError = reason;
  }

  /** This process is running: gaps between such moments are its own stops. */
  turned(now: Millis): void {
    if (now - this.#watchedAt < this.#silenceMillis() / 2) this.#watchedAt = now;
  }

  /** Tells the peers what has changed, positions aside: those travel with acknowledgements and heartbeats. Called each turn. */
  announce(now: PeerState): void {
    const told = this.#told;
    const unchanged =
      told !== null &&
      told.role === now.role &&
      told.groupId === now.groupId &&
      told.epoch === now.epoch &&
      told.unclean === now.unclean &&
      told.consistent === now.consistent &&
      told.primary === now.primary &&
      (told.paused ?? []).join() === (now.paused ?? []).join() &&
      sameAgreement(told.agreement, now.agreement) &&
      sameMembers(told.wish, now.wish) &&
      sameMembers(told.members, now.members) &&
      (told.heldBytes ?? []).join() === (now.heldBytes ?? []).join() &&
      (told.agreedBytes ?? []).join() === (now.agreedBytes ?? []).join();
    if (unchanged) return;
    this.#told = now;
    const body = encodeJson(now);
    for (const { link } of this.peers.values()) link?.send('state', body);
  }

  closeAll(how: 'close' | 'refuse', reason: string): void {
    for (const { link } of this.peers.values()) {
      if (how === 'close') link?.close(reason);
      else link?.refuse(reason);
    }
  }

  /** Keeps quiet connections alive, and ends those on which nothing is heard: the network may not say that the other side is gone (T4). */
  watch(now: Millis): void {
    const { heartbeatMillis } = this.#options.timings;
    const silenceMillis = this.#silenceMillis();
    // After a stop of this very process the silence was ours: what the peers sent meanwhile is still to be read.
    const stalled = now - this.#watchedAt >= silenceMillis / 2;
    this.#watchedAt = now;
    for (const link of this.#greeting) {
      if (link.up || !link.open) this.#greeting.delete(link);
      else if (now - link.lastHeard >= silenceMillis) link.close('no hello came');
    }
    for (const link of this.#standing()) {
      if (stalled) link.lastHeard = Math.max(link.lastHeard, now - silenceMillis / 2);
      if (now - link.lastHeard >= silenceMillis) link.close(`nothing was heard for ${Math.round(now - link.lastHeard)} ms`);
      else if (now - link.lastSent >= heartbeatMillis) link.send('ping', new Uint8Array(0));
    }
  }

  deadline(): Millis {
    const { heartbeatMillis } = this.#options.timings;
    let earliest = Infinity;
    for (const link of this.#standing())
      earliest = Math.min(earliest, link.lastSent + heartbeatMillis, link.lastHeard + this.#silenceMillis());
    for (const link of this.#greeting) if (link.open && !link.up) earliest = Math.min(earliest, link.lastHeard + this.#silenceMillis());
    return earliest;
  }

  #silenceMillis(): Millis {
    const { leaseMillis, heartbeatMillis } = this.#options.timings;
    return Math.max(leaseMillis, 4 * heartbeatMillis);
  }
}

function sameAgreement(a: SaidAgreement | undefined, b: SaidAgreement | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  const flat = ({ over, asks, alone, yields, reaches }: SaidAgreement): string =>
    [over, asks?.site, asks?.number, alone, yields?.to, yields?.epoch, yields?.number, reaches].join();
  return flat(a) === flat(b);
}
