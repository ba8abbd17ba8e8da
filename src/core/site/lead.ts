// One reign: what a primary does for its peers from the moment its epoch is durable until it stops being primary. It decides who is required
// for an acknowledgement, whether hosts may be served at this moment, and where each peer goes on. Nothing here outlives the reign.

import type { WitnessView } from '../arbiter/witness-state.ts';
import type { WitnessDesk } from '../arbiter/ask.ts';
import { assert } from '../base/assert.ts';
import type { Millis, Seq, SiteName } from '../base/units.ts';
import { acknowledgedUpTo, type Acknowledged } from '../mirror/acknowledge.ts';
import { FollowedPeer } from '../mirror/followed.ts';
import { readHandoverReady, readJoin, readJoined, type Join, type ScanChoice } from '../mirror/forms.ts';
import {
  decodeAcknowledge,
  decodeNumbers,
  encodeNumbers,
  FLUSH_BODY,
  HEARTBEAT_ANSWER_BODY,
  HEARTBEAT_BODY,
  IMAGE_ACKNOWLEDGE_BODY,
  type Message,
} from '../mirror/messages.ts';
import { Peer } from '../mirror/peer.ts';
import { ScanRanges } from '../mirror/ranges.ts';
import { Folder } from '../mirror/fold.ts';
import { LinkPace } from '../mirror/link-pace.ts';
import { isDue, pump, sendTail } from '../mirror/send.ts';
import type { TailFrame } from '../mirror/tail.ts';
import { groupTagOf } from '../record/layout.ts';
import type { Replica } from '../replica/replica.ts';
import type { OrderOutcome, SiteCounter, SiteOptions } from './contract.ts';
import type { Agreements } from './agreement.ts';
import { FixedCount } from './fixed-count.ts';
import { HeldDesk } from './held-desk.ts';
import { Handover } from './handover.ts';
import type { Members } from './members.ts';
import { Membership } from './membership.ts';
import { keptPauses, pauseRemoved } from './pauses.ts';
import { isKept, Writers } from './writers.ts';
import { Resyncs } from './resync.ts';

/** Sites for which no records are held while they are away. */
export function bitmapOnlyOf(sites: SiteOptions['sites']): ReadonlySet<SiteName> {
  return new Set(sites.filter((spec) => spec.bitmapOnly === true).map((spec) => spec.name));
}

/** Copies that the witness has and the configuration of this site does not: they cannot connect, and are waited for until they are excluded. */
function strangersIn({
  peers,
  view,
  options,
}: {
  peers: ReadonlyMap<SiteName, Peer>;
  view: WitnessView;
  options: SiteOptions;
}): readonly Peer[] {
  return view.copies.filter(({ site }) => site !== options.site && !peers.has(site)).map(({ site, mode }) => new Peer(site, mode));
}

export class Lead {
  readonly #options: SiteOptions;
  readonly #replica: Replica;
  readonly #desk: WitnessDesk;
  readonly #counters: Record<SiteCounter, number>;
  readonly #followed = new Map<SiteName, FollowedPeer>();
  readonly #membership: Membership;
  readonly #resyncs: Resyncs;
  readonly #agreements: Agreements;
  /** What each mirror is told of the others. */
  readonly held: HeldDesk;
  readonly writers: Writers;
  /** What the last primary said must be kept; rules until each peer has said itself what it holds. */
  readonly #inheritedRetain: Seq;
  readonly #fixed: FixedCount;
  readonly #bitmapOnly: ReadonlySet<SiteName>;
  #heartbeatNumber = 0;
  #heartbeatAt: Millis = -Infinity;
  #flushWanted: Seq = 0;
  #handover: Handover | null = null;

  constructor(given: {
    options: SiteOptions;
    replica: Replica;
    desk: WitnessDesk;
    peers: ReadonlyMap<SiteName, Peer>;
    view: WitnessView;
    members: Members;
    agreements: Agreements;
    counters: Record<SiteCounter, number>;
  }) {
    this.#options = given.options;
    this.#replica = given.replica;
    this.#desk = given.desk;
    this.#counters = given.counters;
    this.#agreements = given.agreements;
    this.#inheritedRetain = given.replica.retainFrom;
    this.#fixed = new FixedCount(given.options.recordsMax, given.replica);
    this.#bitmapOnly = bitmapOnlyOf(given.options.sites);
    const now = given.options.clock.now();
    given.members.begin(given.view);
    const paused = keptPauses(given.replica, given.view, given.options.journal);
    for (const peer of [...given.peers.values(), ...strangersIn(given)]) {
      const copy = given.view.copies.find((candidate) => candidate.site === peer.name);
      // A sync flag that is true at the start of a reign was left so by a handover: required at once, relied upon only once admitted here.
      const flag = copy?.flag === true ? (peer.mode === 'sync' ? 'maybe' : 'true') : 'false';
      const followed = new FollowedPeer(peer, flag, given.options.timings.driftShare, now);
      const { linkBytesPerSecond: bytesPerSecond = Infinity, foldMillis = 0 } =
        given.options.sites.find(({ name }) => name === peer.name) ?? {};
      followed.pace = new LinkPace(given.options.clock, bytesPerSecond);
      if (foldMillis > 0) followed.folder = this.#folderOf(peer, foldMillis);
      // Nothing is kept for one that the group does not have yet.
      followed.entered = copy !== undefined;
      followed.uncovered = copy === undefined;
      followed.paused = paused.includes(peer.name);
      this.#followed.set(peer.name, followed);
      if (followed.paused) given.options.journal('pause.kept', { site: peer.name }, `${peer.name} stays paused, as was ordered before`);
    }
    // What was noted for a copy that is none any more counts for nothing, and its name means nothing to mirrors.
    for (const site of given.replica.bitmaps.sites) if (this.#followed.get(site)?.entered !== true) given.replica.bitmaps.drop(site);
    this.writers = new Writers(given.options.journal);
    this.held = new HeldDesk(given.options, given.replica, this.#followed);
    this.#membership = new Membership({ ...given, followed: this.#followed, lead: this });
    this.#resyncs = new Resyncs({ ...given, followed: this.#followed });
  }

  #folderOf({ folding: count }: Peer, millis: Millis): Folder {
    const { buffers, digests, segmentBytes } = this.#options;
    const groupTag = groupTagOf(this.#replica.superblock.value.groupId, digests);
    return new Folder({ millis, count, buffers, digests, groupTag, segmentBytes });
  }

  get followed(): ReadonlyMap<SiteName, FollowedPeer> {
    return this.#followed;
  }

  /** How many records may be kept for each copy. */
  get fixed(): FixedCount {
    return this.#fixed;
  }

  get onlyCopy(): boolean {
    return this.#followed.size === 0;
  }

  get received(): Seq {
    return this.#replica.marks.received;
  }

  get handover(): Handover | null {
    return this.#handover;
  }

  /** Whether requests may be carried out that were not before: a handover first answers those that were. */
  mayTake(now: Millis): boolean {
    return this.#handover?.takesNone !== true && this.mayServe(now);
  }

  /** Whom it went on without, which the witness has not heard yet. */
  get wentWithout(): SiteName | null {
    return this.#agreements.wentWithout;
  }

  /** Begins to hand the reign over to a peer that can take it. */
  handOver(
    peer: FollowedPeer,
    site: { unanswered: () => number; lost: (why: string) => void },
    done: (outcome: OrderOutcome) => void,
  ): void {
    assert(this.#handover === null, 'one handover at a time', { to: peer.site });
    this.#handover = new Handover(
      {
        options: this.#options,
        replica: this.#replica,
        desk: this.#desk,
        unanswered: site.unanswered,
        mayServe: (now) => this.mayServe(now),
        flushUpTo: (seq) => this.flushUpTo(seq),
        resumed: () => {
          this.#handover = null;
        },
        lost: site.lost,
      },
      peer,
      done,
    );
  }

  /** Rule 1: a lease of every sync peer whose flag may be true. */
  mayServe(now: Millis): boolean {
    if (this.#handover?.stopped === true) return false;
    for (const peer of this.#followed.values()) {
      if (peer.required && !peer.lease.holds(now)) return false;
    }
    return true;
  }

  /** What a new witness is told of a peer. */
  mayBeTrue(peer: FollowedPeer): boolean {
    return this.#membership.mayBeTrue(peer);
  }

  /** Whether a peer that follows is known to be synchronised: it holds everything that any host was told of. */
  get mirrored(): boolean {
    for (const peer of this.#followed.values()) {
      if (peer.peer.mode === 'sync' && peer.flag === 'true' && peer.attached === 'following') return true;
    }
    return false;
  }

  /** Rule 3. */
  acknowledged(): Acknowledged {
    const { received, durable } = this.#replica.marks;
    const views = [];
    for (const peer of this.#followed.values()) {
      if (peer.peer.mode === 'sync') views.push({ site: peer.site, flag: peer.flag, received: peer.received, durable: peer.durable });
    }
    return acknowledgedUpTo({ received, durable }, views, { onlyCopy: this.onlyCopy, excluding: this.#membership.isExcluding });
  }

  /** A frame was appended: those at the tail get it now. */
  appended(frame: TailFrame): void {
    const now = this.#options.clock.now();
    for (const peer of this.#followed.values()) {
      const before = peer.nextSeq;
      sendTail(peer, frame, now, this.#options.timings.asyncDelayMillis);
      if (peer.nextSeq !== before) this.#counters.sentBytes += frame.bytes.length;
    }
  }

  /** A host waits until everything up to `seq` is durable wherever it must be. */
  flushUpTo(seq: Seq): void {
    this.#flushWanted = Math.max(this.#flushWanted, seq);
  }

  peerLost(site: SiteName): void {
    const peer = this.#followed.get(site);
    if (peer === undefined) return;
    peer.detach(this.#options.clock.now());
    this.held.lost(site);
    // While it is away it may have failed and put its own flag to false: it stays required, and is relied on again only when the witness says so.
    if (peer.flag === 'true') peer.flag = 'maybe';
    this.#membership.lost(peer);
  }

  /** A peer has said something new of itself. */
  peerSaid(site: SiteName): void {
    const peer = this.#followed.get(site);
    if (peer !== undefined && peer.pendingJoin !== null && this.#agreements.wentWithout === site) this.decide(peer, peer.pendingJoin);
    if (peer === undefined || peer.attached !== 'copying' || peer.peer.said?.consistent !== true || peer.copy?.endSent !== true) return;
    const { rung, sentBytes, ranges, endSeq } = peer.copy;
    const how = peer.copy.scan?.how ?? null;
    const found = ranges instanceof ScanRanges ? { differingBytes: ranges.differingBytes, ranges: ranges.named, endSeq } : {};
    peer.copy.stop();
    peer.attached = 'following';
    peer.knownDurable = peer.durable;
    peer.copy = null;
    this.#resyncs.ended(peer);
    const facts = { site, rung, sentBytes, ...(how !== null && { algorithm: how.algorithm, confirm: how.confirm }), ...found };
    const differed = ranges instanceof ScanRanges ? `${ranges.differingBytes} bytes differed, and ` : '';
    this.#options.journal('mirror.copied', facts, `the resync of ${site} has ended: ${differed}it follows`);
    if (how?.confirm !== true) return;
    this.#options.journal('scan.confirm', { site, after: how.algorithm }, `everything at ${site} is compared again by sha256`);
    this.rescan(site, { algorithm: 'sha256', compare: how.compare, confirm: false });
  }

  /** The witness has told its state: a copy may have put its own flag to false, and is then not relied on any more. */
  viewed(view: WitnessView): void {
    for (const peer of this.#followed.values()) {
      const copy = view.copies.find((candidate) => candidate.site === peer.site);
      if (peer.flag === 'true' && copy?.flag === false) peer.flag = 'maybe';
    }
  }

  /** Orders that a peer is compared with this site; false when there is no such peer. One that is away is compared when it comes. */
  rescan(site: SiteName, choice: ScanChoice): boolean {
    const peer = this.#followed.get(site);
    if (peer === undefined) return false;
    this.#resyncs.want(site, choice);
    peer.peer.link?.refuse('this copy is to be compared: join anew');
    return true;
  }

  message(site: SiteName, message: Message): void {
    const peer = this.#followed.get(site);
    if (peer === undefined) return;
    const wrong = this.#take(peer, message);
    if (wrong === null) return;
    this.#options.journal('peer.refused', { site, reason: wrong }, `what ${site} sent was refused`);
    peer.peer.lastError = wrong;
    peer.peer.link?.refuse(wrong);
  }

  turn(now: Millis): void {
    this.letGo();
    for (const peer of this.#followed.values()) {
      if (!peer.streaming) continue;
      this.#send(peer, now);
      this.#askFlush(peer);
    }
    if (now - this.#heartbeatAt >= this.#options.timings.heartbeatMillis) this.#heartbeat(now);
    this.held.turn(now);
    this.#flushOwn();
    this.writers.turn(this.#followed.values(), {
      now,
      roomBytes: Math.max(1, this.#options.capacityBytes - this.#options.segmentBytes),
      keptFor: (peer) => this.#replica.bytesAfter((peer.keptFrom ?? this.#inheritedRetain) - 1),
      countShare: (peer) => this.#fixed.share(peer),
    });
    this.#holdNothing();
    this.#overwriteOldest(now);
    this.#makeRoom(now);
    // While hosts are held for a handover, nobody is excluded or admitted: it ends soon, or has asked the witness itself.
    if (this.#handover?.takesNone !== true) this.#membership.turn(now);
    this.#handover?.turn(now);
    this.#replica.retainFrom = this.retain();
  }

  // ── what the clock brings ──
  get heartbeatDue(): Millis {
    return this.#heartbeatAt + this.#options.timings.heartbeatMillis;
  }

  /** While a handover holds hosts, nobody is excluded. */
  get membershipDue(): Millis {
    return this.#handover?.takesNone === true ? Infinity : this.#membership.deadline();
  }

  /** What was collected for an async peer, and what its pace has kept back. */
  get sendingDue(): Millis {
    let earliest = Infinity;
    for (const peer of this.#followed.values()) {
      const canSend = peer.streaming && peer.windowBytes > 0 && peer.copy?.holdsStream !== true;
      const lacks = peer.nextSeq <= this.#replica.marks.received;
      if (canSend && peer.peer.mode === 'async') earliest = Math.min(earliest, Math.max(peer.sendDue, peer.pace.opensAt));
      const held = ((canSend && lacks) || (peer.streaming && peer.copy?.hasMore === true)) && !peer.pace.isOpen;
      if (held) earliest = Math.min(earliest, peer.pace.opensAt);
    }
    return earliest;
  }

  /** First record that some copy may lack: it and everything after it is kept, here and at every mirror. */
  retain(): Seq {
    let retain = this.#replica.marks.received + 1;
    for (const peer of this.#followed.values()) {
      if (!peer.uncovered) retain = Math.min(retain, peer.keptFrom ?? this.#inheritedRetain);
    }
    return retain;
  }

  /** Ends the following of paused peers, as soon as nothing waits for them: of a sync one once the witness has its flag false. */
  letGo(): void {
    for (const peer of this.#followed.values()) {
      if (!peer.paused || peer.required || peer.attached === 'no') continue;
      peer.peer.link?.refuse('this copy is paused by order');
    }
  }

  /** Why a change of its mode, or whether it is a copy, has not come to pass, though the witness was asked. */
  changeTrouble(site: SiteName): { readonly cause: string; readonly next: string } | null {
    return this.#membership.changeTrouble(site);
  }

  /** The group has the copy from now on: it may follow. */
  entered(peer: FollowedPeer): void {
    peer.entered = true;
    peer.uncovered = false;
    peer.keptFrom = this.#replica.marks.received + 1;
    if (peer.pendingJoin !== null) this.decide(peer, peer.pendingJoin);
  }

  /** The group does not have it any more: nothing is kept for it, and nothing that was known of it counts. */
  dismissed(peer: FollowedPeer): void {
    peer.detach(this.#options.clock.now());
    this.held.removed(peer.site);
    this.#followed.delete(peer.site);
    this.#replica.bitmaps.drop(peer.site);
    pauseRemoved(this.#replica, peer.site, this.#options.journal);
  }

  /** Ends the reign: nothing that still completes has an effect. */
  end(): void {
    const now = this.#options.clock.now();
    this.#handover?.end();
    for (const peer of this.#followed.values()) peer.detach(now);
    this.#membership.end();
  }

  /** Answers a join, or leaves it waiting: until the peer's flag is known false, or while the peer is paused. */
  decide(peer: FollowedPeer, join: Join): void {
    const link = peer.peer.link;
    if (link === null) return;
    const decision = this.#resyncs.decide(peer, join);
    // What was known of it is no more: a sidefile in memory was lost in the middle of destaging, or its disk was replaced.
    if (!join.consistent) peer.knownDurable = null;
    // A paused one that hosts still wait for goes on where that takes no images: until the witness has its flag false.
    const keptOut = this.#agreements.keepsOut(peer) || (decision.rung !== 'delta' && peer.flag !== 'false');
    if (!peer.entered || (peer.paused && !peer.required) || keptOut) {
      peer.pendingJoin = join;
      return;
    }
    peer.pendingJoin = null;
    this.#resyncs.begin(peer, link, decision, join, () => this.retain());
  }

  /** Records and images, as far as windows and pace go. */
  #send(peer: FollowedPeer, now: Millis): void {
    const { imagesFirst, pace } = peer;
    // Where the pace is too slow for both, one is first this time and the other the next.
    if (peer.copy !== null && pace.bytesPerSecond !== Infinity && pace.isOpen) peer.imagesFirst = !imagesFirst;
    if (imagesFirst) peer.copy?.pump(peer.nextSeq);
    if (isDue(peer, this.#replica, now)) this.#counters.sentBytes += pump(peer, this.#replica, now);
    if (!imagesFirst) peer.copy?.pump(peer.nextSeq);
  }

  #take(peer: FollowedPeer, message: Message): string | null {
    switch (message.name) {
      case 'join': {
        const join = readJoin(message.body);
        if (join === null) return 'a join message is malformed';
        peer.detach(this.#options.clock.now());
        this.held.lost(peer.site);
        this.decide(peer, join);
        return null;
      }
      case 'joined':
        return this.#joined(peer, message.body);
      case 'acknowledge':
        return this.#acknowledge(peer, message.body);
      case 'heartbeatAnswer': {
        const said = decodeNumbers(HEARTBEAT_ANSWER_BODY, message.body);
        if (said === null) return 'a heartbeat answer is malformed';
        if (said.epoch === this.#replica.epoch && peer.attached === 'following') peer.lease.answered(said.number, said.promiseMillis);
        return null;
      }
      case 'imageAcknowledge': {
        const said = decodeNumbers(IMAGE_ACKNOWLEDGE_BODY, message.body);
        if (said === null) return 'a confirmation of images is malformed';
        return said.epoch === this.#replica.epoch && peer.copy !== null ? peer.copy.acknowledged(said.number) : null;
      }
      case 'heldAcknowledge':
        return this.held.confirmed(peer, message.body);
      case 'digestAsk':
      case 'digests':
        return peer.attached === 'copying' ? (peer.copy?.scan?.message(message) ?? null) : null;
      case 'imageAsk':
        return this.#resyncs.asked(peer, message.body);
      case 'handoverReady': {
        const said = readHandoverReady(message.body);
        if (said === null) return 'an answer to a handover is malformed';
        return this.#handover?.to === peer.site ? this.#handover.ready(said, this.#options.clock.now()) : null;
      }
      case 'ping':
      case 'compare':
      case 'level':
      case 'levelEnd':
      case 'hello':
      case 'state':
      case 'refuse':
      case 'follow':
      case 'frame':
      case 'held':
      case 'heartbeat':
      case 'flush':
      case 'image':
      case 'imageEnd':
      case 'cursor':
      case 'bitmap':
      case 'handover':
      case 'order':
      case 'orderAnswer':
      case 'verifyAsk':
      case 'verifyAnswer':
      case 'packed':
      case 'streamNumber':
      case 'streamAcknowledge':
        return `a ${message.name} message makes no sense from a mirror`;
    }
  }

  #joined(peer: FollowedPeer, body: Uint8Array): string | null {
    const joined = readJoined(body);
    if (joined === null) return 'a joined message is malformed';
    if (joined.epoch !== this.#replica.epoch || peer.attached !== 'joining') return null;
    if (joined.received !== peer.joinAt) return `was told to follow from record ${peer.joinAt}, and follows from ${joined.received}`;
    const position = { received: joined.received, durable: Math.min(joined.durable, joined.received) };
    peer.attach(peer.copy === null ? 'following' : 'copying', position, this.#options.clock.now());
    this.#resyncs.joined(peer);
    this.#heartbeatAt = -Infinity;
    return null;
  }

  #acknowledge(peer: FollowedPeer, body: Uint8Array): string | null {
    const said = decodeAcknowledge(body);
    if (said === null) return 'an acknowledgement is malformed';
    if (said.epoch !== this.#replica.epoch || !peer.streaming) return null;
    const wrong = peer.acknowledged(said, this.#options.clock.now());
    // What it was short of by delta is on its disk now.
    if (wrong === null && peer.attached === 'following' && peer.durable >= peer.joinAt) this.#resyncs.ended(peer);
    return wrong;
  }

  #askFlush(peer: FollowedPeer): void {
    if (!peer.required || peer.flushAsked >= this.#flushWanted || peer.durable >= this.#flushWanted) return;
    const seq = Math.min(this.#flushWanted, peer.nextSeq - 1);
    if (seq <= peer.flushAsked) return;
    peer.flushAsked = seq;
    peer.peer.link?.send('flush', encodeNumbers(FLUSH_BODY, [this.#replica.epoch, seq]));
  }

  #heartbeat(now: Millis): void {
    this.#heartbeatAt = now;
    this.#heartbeatNumber++;
    const { committed } = this.#replica.marks;
    const body = encodeNumbers(HEARTBEAT_BODY, [this.#replica.epoch, this.#heartbeatNumber, committed, this.retain()]);
    for (const peer of this.#followed.values()) {
      if (!peer.streaming) continue;
      peer.lease.heartbeatSent(this.#heartbeatNumber, now);
      peer.peer.link?.send('heartbeat', body);
    }
  }

  /** Own disk: where a flush is waited for, and for every write while no peer's flag is known true. */
  #flushOwn(): void {
    const { received, durable } = this.#replica.marks;
    if (durable >= received) return;
    let relied = this.onlyCopy;
    if (!this.#membership.isExcluding)
      for (const peer of this.#followed.values()) relied ||= peer.peer.mode === 'sync' && peer.flag === 'true';
    if (!relied || durable < this.#flushWanted) this.#replica.flush();
  }

  /** For peers that are brought up to date by their bitmap alone: nothing is held from the moment in which they are lost. */
  #holdNothing(): void {
    for (const peer of this.#followed.values()) {
      if (!this.#bitmapOnly.has(peer.site) || peer.attached !== 'no' || peer.uncovered || peer.required) continue;
      this.#uncover(peer, peer.keptFrom ?? this.#inheritedRetain, 'no records are held for a copy that is away');
    }
  }

  /** Has what a peer lacks noted in its bitmap, so that the records may go; false while that goes on. */
  #uncover(peer: FollowedPeer, lacksFrom: Seq, why: string): boolean {
    if (!this.#resyncs.forget(peer, lacksFrom)) return false;
    peer.uncovered = true;
    const { site } = peer;
    const facts = { site, lacksFrom, bitmapOnly: this.#bitmapOnly.has(site) };
    this.#options.journal('coverage.lost', facts, `${why}: the blocks of the records that ${site} lacks are noted in its bitmap`);
    peer.peer.lastError = `${why}: it will get the blocks that its bitmap names`;
    return true;
  }

  /** The sidefile is full of records that only some absent or lagging copy needs: that copy loses its coverage, the hosts go on. */
  #makeRoom(now: Millis): void {
    const replica = this.#replica;
    if (!replica.full) return;
    const retain = this.retain();
    if (retain > replica.marks.destaged) return;
    for (const peer of this.#followed.values()) {
      if (peer.uncovered || (peer.keptFrom ?? this.#inheritedRetain) !== retain) continue;
      if (peer.required || isKept(peer, now) || !this.#uncover(peer, retain, 'the sidefile is full')) continue;
      this.#sendAway(peer);
    }
  }

  /** More records than may be kept for a copy: the oldest of them go, so it loses its coverage. */
  #overwriteOldest(now: Millis): void {
    for (const peer of this.#followed.values()) {
      if (peer.uncovered || peer.required || this.#fixed.share(peer) <= 1 || isKept(peer, now)) continue;
      const why = `it lacks more than ${this.#options.recordsMax} records, which is all that is kept`;
      if (this.#uncover(peer, peer.keptFrom ?? this.#inheritedRetain, why)) this.#sendAway(peer);
    }
  }

  #sendAway(peer: FollowedPeer): void {
    peer.outrun ||= peer.attached !== 'no';
    if (peer.attached !== 'no') peer.peer.link?.refuse('the sidefile no longer covers what this copy lacks: join anew');
    assert(peer.attached === 'no', 'a peer without coverage must not stay attached', { site: peer.site });
  }
}
