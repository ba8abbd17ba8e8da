// One site's part in one group: it opens its replica, talks to its peers and the witness, and is at any moment exactly one of standby, claiming,
// primary, joining or mirror. Events come in by the methods below, one after the other; what they cause is done through the ports before they
// return. turn() ends a batch of events: one append, one send for each peer, one set of answers.

import type { WitnessDesk } from '../arbiter/ask.ts';
import { Promised } from '../arbiter/lease.ts';
import type { WitnessView } from '../arbiter/witness-state.ts';
import { assert } from '../base/assert.ts';
import type { LinkPort } from '../base/ports.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { Follower } from '../mirror/follow.ts';
import { HeldTable } from '../mirror/held.ts';
import type { PeerState, ScanChoice } from '../mirror/forms.ts';
import type { Link, LinkOwner, LinkReceiver } from '../mirror/link.ts';
import type { Message } from '../mirror/messages.ts';
import type { Peer } from '../mirror/peer.ts';
import type { Opened } from '../replica/open.ts';
import type { ReplicaFailure } from '../replica/options.ts';
import type { Replica } from '../replica/replica.ts';
import { Agreements } from './agreement.ts';
import { Alarm } from './alarm.ts';
import { Connections } from './connections.ts';
import { Claimant, type PendingClaim, reign } from './claimant.ts';
import {
  SITE_COUNTERS,
  type HostRequest,
  type OrderOutcome,
  type Role,
  type SiteCounter,
  type SiteOptions,
  type SiteStatus,
  type SwitchoverOrder,
  type Waiting,
} from './contract.ts';
import { followerOf } from './following.ts';
import { Growth } from './growth.ts';
import { HostDesk } from './hosts.ts';
import { Lead } from './lead.ts';
import { Members } from './members.ts';
import { Creations, orderDrain, orderPromote, orderResync, type OrderGround, type WantedScan } from './orders.ts';
import { pursueClaim, whyNotClaim, type ClaimGround } from './standby.ts';
import { OwnCopy } from './own-copy.ts';
import { PointDesk } from './points.ts';
import { isReplicaError } from './replica-options.ts';
import { Resignation } from './resignation.ts';
import { followsOlder, heardOf, stateOf } from './said.ts';
import { Pauses } from './pauses.ts';
import { ROUTES } from './routes.ts';
import { sourcesOf } from './sources.ts';
import { Successor } from './successor.ts';
import { Switchovers } from './switchover.ts';
import { NotedOnce, notedOrder, withDecisions } from './decisions.ts';
import { deskOf, probeMillisOf, whyDeposed } from './desk.ts';
import { siteStatus, type Inspected } from './status.ts';
import { Survivors } from './survivors.ts';
import { Upkeep } from './upkeep.ts';
import { VerifyDesk } from './verify-desk.ts';
import { WitnessMove } from './witness-move.ts';

export class Site implements LinkOwner {
  /** Compares the copies, by order and by schedule. */
  readonly verifies: VerifyDesk;
  /** Orders to pause and to resume mirrors. */
  readonly pauses: Pauses;
  /** How large the volumes are. */
  readonly growth: Growth;
  /** Positions of the copy here that are held. */
  readonly points: PointDesk;
  /** Who the copies are, and how each is mirrored. */
  readonly members: Members;
  readonly agreements: Agreements;
  /** What the clock brings. */
  readonly alarm: Alarm;
  readonly #options: SiteOptions;
  readonly connections: Connections;
  readonly #connections: Connections;
  readonly #peers: ReadonlyMap<SiteName, Peer>;
  readonly #desk: WitnessDesk;
  readonly #hosts: HostDesk;
  readonly #counters: Record<SiteCounter, number>;
  /** Replaced when the site starts. */
  #promised: Promised;
  #replica: Replica | null = null;
  #role: Role = 'starting';
  #lead: Lead | null = null;
  #follower: Follower | null = null;
  #standbySince: Millis = 0;
  #failure: string | null = null;
  #wasServing = false;
  readonly #upkeep: Upkeep;
  readonly #claimant: Claimant;
  readonly #survivors: Survivors;
  readonly #held = new HeldTable();
  #groupId: string | null = null;
  readonly #wantedScan: WantedScan = { choice: null };
  readonly #copy: OwnCopy;
  readonly #resignation: Resignation;
  readonly #creations = new Creations();
  #onRole: (() => void)[] = [];
  readonly #successor: Successor;
  readonly #switchovers: Switchovers;
  readonly #waits = new NotedOnce();
  readonly #witnessMove: WitnessMove;

  constructor(given: SiteOptions) {
    const options = withDecisions(given, () => this.inspect());
    this.#options = options;
    this.#counters = Object.fromEntries(SITE_COUNTERS.map((name) => [name, 0])) as Record<SiteCounter, number>;
    this.connections = this.#connections = new Connections(options, () => this.#state());
    this.#peers = this.#connections.peers;
    assert(this.#peers.size === options.sites.length - 1, 'a site must be one of the sites of its group', { site: options.site });
    this.#promised = new Promised(options.clock.now(), options.timings.leaseMillis);
    this.#upkeep = new Upkeep(options, { lead: () => this.#lead, held: this.#held, modes: () => this.members.ownModes });
    this.verifies = new VerifyDesk(options, () => this.#lead);
    this.#hosts = new HostDesk(options, this.#counters, (millis, now) => this.verifies.pace.answered(millis, now));
    this.#desk = deskOf(options, (work) => this.#guarded(work), { groupId: () => this.#groupId, view: (view) => this.#onView(view) });
    this.#copy = new OwnCopy(options, {
      durable: () => this.#follower?.durable(),
      failed: (reason) => this.#fail(reason),
      opened: (opened) => this.#opened(opened),
      absent: () => this.#role === 'absent',
    });
    this.#resignation = new Resignation(options, this.#desk);
    this.members = new Members({ options, peers: this.#peers, lead: () => this.#lead });
    const looking = { options, desk: this.#desk, replica: () => this.#replica, role: () => this.#role, lead: () => this.#lead };
    this.#witnessMove = new WitnessMove({
      ...looking,
      members: this.members,
      undecided: () => this.#claimant.undecided,
      stepBack: (why) => this.#becomeStandby(why),
    });
    this.pauses = new Pauses(looking);
    this.points = new PointDesk(looking);
    this.growth = new Growth({ ...looking, primaryPeer: () => this.#primaryPeer() });
    this.#survivors = new Survivors({ ...looking, peers: this.#peers, counters: this.#counters, growth: this.growth });
    this.agreements = new Agreements({ ...looking, peers: this.#peers });
    this.#successor = new Successor(options, this.#desk, this.agreements);
    this.#switchovers = new Switchovers({
      options,
      desk: this.#desk,
      lead: () => this.#lead,
      primaryPeer: () => this.#primaryPeer(),
      unanswered: () => this.#hosts.held - this.#hosts.pending,
      lost: (why) => this.#becomeStandby(why),
    });
    const quick = { hosts: this.#hosts, connections: this.#connections, witnessMove: this.#witnessMove, successor: this.#successor };
    const slow = { pauses: this.pauses, verifies: this.verifies, upkeep: this.#upkeep, promised: () => this.#promised };
    this.alarm = new Alarm(sourcesOf({ ...looking, ...quick, ...slow }), options.journal);
    this.#claimant = new Claimant({
      options,
      desk: this.#desk,
      counters: this.#counters,
      replica: () => this.#replica,
      claiming: () => this.#role === 'claiming',
      granted: (view) => this.#becomePrimary(view),
      notGranted: (why) => this.#becomeStandby(why),
    });
  }

  get group(): string {
    return this.#options.group;
  }

  get site(): SiteName {
    return this.#options.site;
  }

  get groupId(): string | null {
    return this.#groupId;
  }

  get role(): Role {
    return this.#role;
  }

  /** Whether a host could be answered at this moment. */
  get serving(): boolean {
    return this.#lead !== null && this.#role === 'primary' && this.#lead.mayServe(this.#options.clock.now());
  }

  /** Peers that this side connects to: those named after it in the group's order. The others connect to us. */
  get dialTargets(): readonly SiteName[] {
    const own = this.#options.sites.findIndex((spec) => spec.name === this.site);
    return this.#options.sites.slice(own + 1).map((spec) => spec.name);
  }

  start(): void {
    this.#promised = new Promised(this.#options.clock.now(), this.#options.timings.leaseMillis);
    this.#copy.open();
    this.#desk.read();
  }

  /** Makes this site's copy the first one of a new group. */
  create(done: (outcome: OrderOutcome) => void): void {
    this.#creations.order(done);
    this.#desk.read();
    this.#options.shell.wake();
  }

  /** Makes this site the primary by an operator's order. */
  promote(order: { force: boolean }, done: (outcome: OrderOutcome) => void): void {
    orderPromote(this.#orderGround(), order, notedOrder(this.#options, 'promotion', done));
  }

  /** A planned change of the primary, ordered here or at any other site of the group. */
  switchover(order: SwitchoverOrder, done: (outcome: OrderOutcome) => void): void {
    this.#switchovers.order(order, order.dryRun ? done : notedOrder(this.#options, 'planned change', done));
  }

  /** Believes the witness that answers now in place of the one before, and reports to it. */
  replaceWitness(done: (outcome: OrderOutcome) => void): void {
    this.#witnessMove.order(notedOrder(this.#options, 'replacement of the witness', done));
  }

  /** Moves everything that is committed from the sidefile to the base image, so that the base image alone is the volume. */
  drain(done: (outcome: OrderOutcome) => void): void {
    orderDrain(this.#orderGround(), done);
  }

  /** Has the copy of a site compared block by block with the primary's: ordered at the primary, or at that site. */
  resync(site: SiteName, choice: ScanChoice, done: (outcome: OrderOutcome) => void): void {
    const ground = { role: this.#role, lead: this.#lead, follower: this.#follower, wanted: this.#wantedScan, own: this.site };
    done(orderResync({ ...ground, scans: this.#options.scan !== null }, site, choice));
  }

  /** Ends everything in order, so that the next start is a clean one. */
  stop(done: () => void): void {
    const replica = this.#replica;
    const failed = this.#role === 'failed';
    this.#leaveRole('stopped', 'the site is stopping');
    this.verifies.closed();
    this.#desk.stop();
    this.#connections.closeAll('close', 'this site is stopping');
    this.#switchovers.linkLost(null);
    this.#replica = null;
    if (replica === null || failed) return done();
    replica.close({ clean: true }, () => done());
  }

  request(request: HostRequest): void {
    this.#hosts.request(request);
  }

  dialled(peer: SiteName, port: LinkPort): LinkReceiver {
    return this.#connections.dialled(this, peer, port);
  }

  knowsPeer(name: SiteName): boolean {
    return this.#peers.has(name);
  }

  linkUp(link: Link): void {
    const apart = this.#role === 'failed' || this.#role === 'stopped';
    this.#connections.up(link, apart ? (this.#failure ?? 'it is stopping') : null);
  }

  linkDown(link: Link, reason: string): void {
    const peer = this.#peers.get(link.peer);
    if (peer === undefined || peer.link !== link) return;
    peer.link = null;
    peer.said = null;
    peer.lastError = reason;
    this.#options.journal('link.down', { peer: link.peer, reason }, `connection to ${link.peer} ended: ${reason}`);
    this.#switchovers.linkLost(link);
    this.#lead?.peerLost(peer.name);
    this.#survivors.peerLost(peer.name);
    if (this.#follower?.link === link) this.#becomeStandby(`lost ${peer.name}, which it followed: ${reason}`);
    this.#options.shell.wake();
  }

  linkRefused(name: SiteName, reason: string): void {
    this.#connections.refused(name, reason);
  }

  linkMessage(link: Link, message: Message): void {
    this.#guarded(() => this.#linkMessage(link, message));
  }

  #linkMessage(link: Link, message: Message): void {
    const peer = this.#peers.get(link.peer);
    if (peer === undefined || peer.link !== link) return;
    this.#counters.receivedBytes += message.body.length;
    this.#options.shell.wake();
    const follower = this.#follower?.link === link ? this.#follower : null;
    switch (ROUTES[message.name]) {
      case 'link':
        return this.#linkNews(peer, link, message);
      case 'lead':
        // Late messages for a reign that is over are no fault of the peer, which has not heard yet.
        if (this.#lead === null && message.name === 'acknowledge') return this.#survivors.receive(peer, message, this.#role);
        return this.#lead?.message(peer.name, message);
      case 'survivors':
        return this.#survivors.receive(peer, message, this.#role);
      case 'either':
        return follower === null ? this.#lead?.message(peer.name, message) : follower.message(message);
      case 'follower':
        if (follower !== null) follower.message(message);
        else if (message.name === 'frame') this.#survivors.receive(peer, message, this.#role);
        return;
      case 'successor':
        if (this.#follower?.link === link && this.#role === 'mirror' && this.#replica !== null)
          this.#successor.message(link, this.#replica, message.body);
        return;
      case 'switchovers':
        return this.#switchovers.message(link, message);
      case 'verify':
        return this.verifies.message(link, message, follower?.state === 'following');
    }
  }

  #linkNews(peer: Peer, link: Link, message: Message): void {
    const before = peer.said?.role ?? null;
    const said = heardOf(peer, link, message);
    if (said === null) return;
    this.#survivors.peerSaid(peer.name, before);
    this.#peerSaid(peer, said);
  }

  /** Ends a batch of events. */
  turn(): void {
    this.#guarded(() => this.#turn());
  }

  #turn(): void {
    const now = this.#options.clock.now();
    this.#connections.turned(now);
    if (this.#role !== 'starting') this.#creations.turn(this.#desk, () => this.#orderGround());
    const replica = this.#replica;
    this.#witnessMove.turn(now);
    if (this.#role === 'primary' && this.#desk.trouble?.kind === 'deleted') this.#becomeStandby('this group was deleted');
    this.pauses.turn(now);
    this.growth.turn();
    this.agreements.turn(now);
    if (replica !== null && replica.failure === null) {
      this.#duties(replica, now);
      if (this.#role !== 'failed') this.#upkeep.turn(replica, now);
      this.verifies.turn(now);
    } else if (this.#role === 'absent') {
      this.#standby(now);
    }
    if (this.#lead === null) this.#hosts.refuseAll();
    this.#hosts.keep();
    this.#connections.announce(this.#state());
    this.#reportServing();
  }

  /** Called at or after deadline(), and harmless at any other time. */
  tick(): void {
    const now = this.#options.clock.now();
    this.#desk.tick(now);
    this.#connections.watch(now);
    this.#desk.probe(probeMillisOf(this.#role, this.#options.timings));
    if (this.#role === 'failed') this.#resignation.turn();
    this.#hosts.expire(now);
    this.turn();
    this.alarm.ticked(now, this.#options.clock.now());
  }

  /**
   * Runs something that uses the replica. A disk that fails in the middle has already failed this site by then (#fail is called from within);
   * what was under way is abandoned where it stood, as a crash would.
   */
  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (this.#failure === null || !isReplicaError(error)) throw error;
      this.#reportServing();
    }
  }

  /** When tick() is wanted at the latest. */
  deadline(): Millis {
    return this.alarm.at(this.#options.clock.now());
  }

  status(): SiteStatus {
    return siteStatus(this.inspect());
  }

  /** Everything inside, for status and for the simulator's checkers. Nothing of it may be changed. */
  inspect(): Inspected {
    return {
      options: this.#options,
      role: this.#role,
      replica: this.#replica,
      lead: this.#lead,
      follower: this.#follower,
      survivors: this.#survivors,
      held: this.#held,
      peers: this.#peers,
      desk: this.#desk,
      promisedUntil: this.#promised.until,
      heldRequests: this.#hosts.held,
      pendingRequests: this.#hosts.pending,
      counters: this.#counters,
      failure: this.#failure,
      claimWaits: this.#claimWaits(this.#options.clock.now()),
      serving: this.serving,
      takingOver: this.#successor.waits,
      growth: this.growth,
      points: this.points,
      members: this.members,
      agreements: this.agreements,
      verifies: this.verifies,
    };
  }

  // ── the replica ──
  #opened(opened: Opened): void {
    if (this.#role === 'stopped') return;
    if (opened.kind === 'refused') return this.#fail(opened.error.message);
    if (opened.kind === 'absent') {
      this.#setRole('absent', 'there is no replica here yet');
      return;
    }
    this.#replica = opened.replica;
    this.verifies.opened(opened);
    const { value } = opened.replica.superblock;
    this.#groupId = value.groupId;
    this.members.opened(value.members, value.epoch);
    // Until the primary or the peers say otherwise, everything that is here may be needed by somebody.
    opened.replica.retainFrom = 0;
    this.#desk.remember(value.witness);
    const pending = value.pendingClaim;
    if (pending !== null && pending.epoch + 1 > opened.replica.epoch) this.#claimAgain(pending);
    else this.#becomeStandby('it has started');
    this.#options.shell.wake();
  }

  #fail(reason: string): void {
    if (this.#role === 'failed' || this.#role === 'stopped') return;
    this.#failure = reason;
    this.verifies.closed();
    this.#successor.forget();
    const elsewhere = this.#role === 'mirror' || this.#lead?.mirrored === true;
    this.#leaveRole('failed', reason);
    this.#connections.closeAll('refuse', `this copy has failed: ${reason.slice(0, 200)}`);
    this.#options.shell.failed(reason);
    this.#resignation.begin(elsewhere);
    this.#options.shell.wake();
  }

  // ── what each role does ──
  #duties(replica: Replica, now: Millis): void {
    switch (this.#role) {
      case 'primary':
        return this.#serve(replica, now);
      case 'joining':
      case 'mirror':
        this.#follower?.turn();
        this.#updateFollowing();
        this.#successor.turn(replica);
        return;
      case 'standby':
        return this.#standby(now);
      case 'claiming':
        return this.#claimant.turn();
      case 'starting':
      case 'absent':
      case 'failed':
      case 'stopped':
    }
  }

  #serve(replica: Replica, now: Millis): void {
    const lead = this.#lead;
    if (lead === null) return;
    if (lead.mayTake(now)) this.#hosts.carryOut(lead, replica);
    lead.turn(now);
    if (this.#lead !== lead || replica.failure !== null) return;
    const acknowledged = lead.acknowledged();
    replica.commit(acknowledged.committed);
    // Looked at again: the work of this turn has taken time, and the answers leave now.
    if (lead.mayServe(this.#options.clock.now())) this.#hosts.release(acknowledged);
  }

  #standby(now: Millis): void {
    const primary = this.#primaryPeer();
    if (primary !== null) return this.#followPeer(primary);
    const replica = this.#replica;
    if (replica === null || this.#role !== 'standby') return;
    this.#survivors.turn(replica, now);
    this.#successor.turn(replica);
    const waits = this.#claimWaits(now);
    if (waits !== null) {
      this.#waits.note(waits.cause, (cause) => this.#options.journal('claim.wait', { cause }, `it does not claim: ${cause}`));
      return pursueClaim(this.#claimGround());
    }
    const view = this.#desk.view as WitnessView;
    this.#setRole('claiming', `it asks the witness for epoch ${view.epoch + 1}`);
    this.#claimant.begin(view);
  }

  #primaryPeer(): Peer | null {
    return this.#connections.primaryOf(this.#replica?.epoch ?? 0);
  }

  #followPeer(peer: Peer): void {
    const replica = this.#replica;
    const { said, link } = peer;
    if (said === null || link === null) return;
    if (replica === null) {
      if (said.groupId !== null) this.#copy.createEmpty(said.groupId, said.agreedBytes);
      return;
    }
    // Whoever is primary reigns: what was offered before is void, also while this copy is too small to follow.
    this.#successor.forget();
    if (!this.growth.mayFollow(said)) return;
    this.#setRole('joining', `it joins ${peer.name}, primary of epoch ${said.epoch}`);
    this.#follower = followerOf(this.#options, {
      link,
      replica,
      promised: this.#promised,
      scanWanted: this.#wantedScan.choice,
      held: this.#held,
      changed: () => this.#updateFollowing(),
    });
  }

  #updateFollowing(): void {
    const state = this.#follower?.state;
    if (state === 'copying') this.#wantedScan.choice = null;
    if (state === 'following' && this.#role === 'joining') {
      this.#counters.cutBackRecords += this.#follower?.cutBackRecords ?? 0;
      this.#setRole('mirror', 'it follows');
      if (this.#replica !== null) this.pauses.followed(this.#replica);
    } else if ((state === 'asking' || state === 'adopting') && this.#role === 'mirror') {
      this.#setRole('joining', 'it joins anew');
    }
  }

  // ── claiming ──
  #claimGround(): ClaimGround {
    return {
      options: this.#options,
      replica: this.#replica,
      peers: this.#peers,
      desk: this.#desk,
      promised: this.#promised,
      standbySince: this.#standbySince,
      survivors: this.#survivors,
      members: this.members,
      agreements: this.agreements,
    };
  }

  #claimWaits(now: Millis): Waiting | null {
    return this.#role === 'standby' ? whyNotClaim(this.#claimGround(), now) : null;
  }

  /** A claim from before a restart is asked again before anything else is done. */
  #claimAgain(pending: PendingClaim): void {
    this.#setRole('claiming', 'a claim from before the restart is not answered yet');
    this.#claimant.ask(pending);
  }

  #becomePrimary(view: WitnessView): void {
    const replica = this.#replica;
    if (replica === null || replica.failure !== null) return;
    assert(view.primary === this.site, 'only the primary that the witness names begins an epoch', { primary: view.primary });
    assert(view.epoch > replica.epoch, 'a reign begins with an epoch of its own', { granted: view.epoch, own: replica.epoch });
    assert(this.#follower === null, 'a site that becomes primary follows nobody', {});
    this.#wantedScan.choice = null;
    // The epoch first, the claim's end behind it: a crash between the two leaves a claim of an epoch that has begun, which the next start
    // passes over. The other way round it would forget that it was granted, and follow whom it has replaced.
    const begun = (failure: ReplicaFailure | null): void => {
      if (failure !== null || this.#role !== 'claiming' || this.#replica !== replica) return;
      replica.superblock.update({ pendingClaim: null, unclean: false }, () => undefined);
      const { members } = this;
      this.#lead = new Lead({
        options: this.#options,
        replica,
        desk: this.#desk,
        peers: this.#peers,
        view,
        members,
        agreements: this.agreements,
        counters: this.#counters,
      });
      this.#setRole('primary', `the witness granted epoch ${view.epoch}`);
      this.#successor.forget();
      const newer = this.#desk.view;
      if (newer !== null) this.#onView(newer);
      this.#options.shell.wake();
    };
    reign(replica, view.epoch, { claiming: () => this.#role === 'claiming', done: begun });
  }

  // ── what others say ──
  #onView(view: WitnessView): void {
    const replica = this.#replica;
    this.#witnessMove.viewed(view);
    this.members.viewed(view);
    this.#options.shell.wake();
    if (replica !== null && (this.#role === 'mirror' || this.#role === 'standby') && this.#successor.takesOver(replica, view)) {
      this.#options.journal('handover.taken', { epoch: view.epoch }, `the witness names it as primary of epoch ${view.epoch}`);
      this.#leaveRole('claiming', `the reign was handed over to it: epoch ${view.epoch}`);
      return this.#becomePrimary(view);
    }
    if (this.#role !== 'primary' || replica === null) return;
    const why = whyDeposed(view, { site: this.site, epoch: replica.epoch, groupId: this.#groupId });
    if (why !== null) this.#becomeStandby(why);
    else if (view.epoch === replica.epoch) this.#lead?.viewed(view);
  }

  #peerSaid(peer: Peer, said: PeerState): void {
    const replica = this.#replica;
    this.members.heard(said, replica?.epoch ?? 0);
    if (this.#role === 'primary' && replica !== null && said.epoch > replica.epoch) {
      this.#becomeStandby(`${peer.name} is in epoch ${said.epoch} already`);
    }
    this.#lead?.peerSaid(peer.name);
    if (this.#follower?.link === peer.link && (said.role !== 'primary' || said.epoch < (replica?.epoch ?? 0))) {
      this.#becomeStandby(`${peer.name}, which it followed, is no longer primary`);
    }
    const better = this.#primaryPeer();
    if (better !== null && followsOlder(this.#follower, better, replica?.epoch ?? 0))
      this.#becomeStandby(`${better.name} is primary of a newer epoch`);
  }

  // ── roles ──
  #becomeStandby(why: string): void {
    if (this.#role === 'failed' || this.#role === 'stopped') return;
    this.#leaveRole('standby', why);
    this.#standbySince = this.#options.clock.now();
    this.#waits.clear();
    // It may be the only copy now: what it was told and acknowledged goes to its disk at once, not only when it claims.
    if (this.#replica?.failure === null) this.#replica.flush();
    this.#desk.read();
  }

  #leaveRole(next: Role, why: string): void {
    const wasPrimary = this.#role === 'primary';
    this.#lead?.end();
    this.#lead = null;
    this.#follower?.end();
    this.#follower = null;
    this.#claimant.end();
    // A primary that steps down waits out a full promise before it may claim again (rule 2).
    if (wasPrimary) this.#options.journal('reign.end', { epoch: this.#replica?.epoch ?? 0 }, `it is no longer primary: ${why}`);
    if (wasPrimary) this.#promised.promise(this.#options.clock.now(), this.#options.timings.leaseMillis);
    // A primary's hosts are cut off and learn nothing more; others were never promised anything and get their refusal.
    if (wasPrimary) this.#hosts.drop();
    else this.#hosts.refuseAll();
    this.#setRole(next, why);
    this.#reportServing();
  }

  #setRole(role: Role, why: string): void {
    if (this.#role === role) return;
    const was = this.#role;
    this.#role = role;
    this.#witnessMove.roleChanged();
    if (role === 'standby') this.#survivors.begin();
    else this.#survivors.end();
    this.#options.journal('role', { role, was, epoch: this.#replica?.epoch ?? 0 }, `now ${role}, was ${was}: ${why}`);
    this.#connections.announce(this.#state());
    const watchers = this.#onRole;
    this.#onRole = [];
    for (const watcher of watchers) watcher();
    this.#options.shell.wake();
  }

  #reportServing(): void {
    const leading = this.#role === 'primary';
    if (leading === this.#wasServing) return;
    this.#wasServing = leading;
    this.#options.shell.servingChanged(leading, leading ? 'this site is primary' : `this site is now ${this.#role}`);
  }

  // ── connections ──
  #state(): PeerState {
    const primary = this.#role === 'primary' ? this.site : (this.#follower?.link.peer ?? null);
    const { members, agreements } = this;
    return stateOf({ role: this.#role, groupId: this.#groupId, replica: this.#replica, primary, members, agreements });
  }

  // ── orders ──
  #orderGround(): OrderGround {
    return {
      options: this.#options,
      desk: this.#desk,
      members: this.members,
      leftTo: () => this.agreements.leftTo,
      role: () => this.#role,
      replica: () => this.#replica,
      primaryPeer: () => this.#primaryPeer(),
      claimWaits: () => this.#claimWaits(this.#options.clock.now()),
      promisedUntil: () => this.#promised.until,
      onRoleChange: (watcher) => this.#onRole.push(watcher),
      replicaOptions: (groupId) => this.#copy.options(groupId),
      open: () => this.#copy.open(),
      forced: (view) => {
        this.#setRole('claiming', 'an operator has forced it');
        this.#becomePrimary(view);
      },
    };
  }
}
