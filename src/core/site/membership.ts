// Who counts as synchronised: the primary's exclusions and admissions (rules 4 and 8). The order of the steps is the whole point. Exclude: own
// disk first, then the witness, and until its answer is known nothing is acknowledged without the peer. Admit: require the peer first, then
// make it hold and keep everything that was acknowledged, then the witness, and only then rely on it.

import type { WitnessAnswer, WitnessView } from '../arbiter/witness-state.ts';
import type { WitnessDesk } from '../arbiter/ask.ts';
import type { FlagView } from '../base/copies.ts';
import type { Millis, Seq, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { Replica } from '../replica/replica.ts';
import type { Agreements } from './agreement.ts';
import type { SiteCounter, SiteOptions } from './contract.ts';
import type { Lead } from './lead.ts';
import { MemberChanges } from './member-changes.ts';
import type { Members } from './members.ts';

/** Records that a peer may still lack when its admission begins; the stream carries them meanwhile. */
const CAUGHT_UP_RECORDS = 256;

/** How many timeouts a peer that was too slow follows without being required, before it is admitted again. */
const SLOW_PEER_REST = 10;

interface Excluding {
  readonly peer: FollowedPeer;
  /** Own records up to here are to be durable before the witness is asked. */
  readonly flushTo: Seq;
  asked: boolean;
}

interface Admitting {
  readonly peer: FollowedPeer;
  /** What the peer is to have on stable storage: everything that was acknowledged when it became required. */
  readonly durableTo: Seq;
  /** What was known before: taken back to that, and no further, when the peer is lost before the witness was asked. */
  readonly flagBefore: FlagView;
  asked: boolean;
}

export class Membership {
  readonly #options: SiteOptions;
  readonly #replica: Replica;
  readonly #desk: WitnessDesk;
  readonly #followed: ReadonlyMap<SiteName, FollowedPeer>;
  readonly #lead: Lead;
  readonly #counters: Record<SiteCounter, number>;
  readonly #changes: MemberChanges;
  readonly #agreements: Agreements;
  #excluding: Excluding | null = null;
  #admitting: Admitting | null = null;
  /** No question is put to the witness before. */
  #askNotBefore: Millis = -Infinity;
  /** How far it is with telling the witness that this primary went on alone. */
  #telling: 'no' | 'asked' | 'told' = 'no';
  #ended = false;

  constructor(given: {
    options: SiteOptions;
    replica: Replica;
    desk: WitnessDesk;
    followed: ReadonlyMap<SiteName, FollowedPeer>;
    lead: Lead;
    members: Members;
    agreements: Agreements;
    counters: Record<SiteCounter, number>;
  }) {
    this.#options = given.options;
    this.#replica = given.replica;
    this.#desk = given.desk;
    this.#followed = given.followed;
    this.#lead = given.lead;
    this.#counters = given.counters;
    this.#agreements = given.agreements;
    this.#changes = new MemberChanges(given);
  }

  turn(now: Millis): void {
    if (this.#excluding === null) this.#beginExclude(now);
    this.#goOnExcluding();
    if (this.#excluding === null && this.#agreements.wentWithout !== null) return this.#tellWitness(this.#agreements.wentWithout, now);
    if (this.#excluding === null && this.#admitting === null) this.#changes.turn(now);
    if (this.#excluding === null && this.#admitting === null) this.#beginAdmit(now);
    this.#goOnAdmitting();
  }

  deadline(): Millis {
    const now = this.#options.clock.now();
    let earliest = Math.min(this.#desk.deadline(), this.#changes.deadline(now));
    if (this.#askNotBefore > now) return Math.min(earliest, this.#askNotBefore);
    if (this.#excluding !== null || this.#desk.busy) return earliest;
    for (const peer of this.#followed.values()) {
      if (!peer.required) continue;
      if (peer.paused) return -Infinity;
      earliest = Math.min(earliest, this.#givenUpAt(peer));
    }
    return earliest;
  }

  /**
   * A peer is gone, and so is what its admission rested on. One that the witness was asked for may still happen: the peer stays required, and is
   * admitted anew or excluded; the question is not put again.
   */
  lost(peer: FollowedPeer): void {
    const admitting = this.#admitting;
    if (admitting?.peer !== peer) return;
    if (admitting.asked) this.#desk.abandon();
    peer.flag = admitting.asked || admitting.flagBefore !== 'false' ? 'maybe' : 'false';
    this.#admitting = null;
  }

  /** Why a change of its mode, or whether it is a copy, has not come to pass, though the witness was asked. */
  changeTrouble(site: SiteName): { readonly cause: string; readonly next: string } | null {
    return this.#changes.trouble(site);
  }

  /** Whether the flag of a peer is being put to false. */
  get isExcluding(): boolean {
    return this.#excluding !== null;
  }

  /** Whether its flag may be true at the witness. One whose admission was begun and not yet asked for is what it was before. */
  mayBeTrue(peer: FollowedPeer): boolean {
    const admitting = this.#admitting;
    const flag = admitting?.peer === peer && !admitting.asked ? admitting.flagBefore : peer.flag;
    return flag !== 'false';
  }

  end(): void {
    this.#ended = true;
    if (this.#excluding?.asked === true || this.#admitting?.asked === true || this.#telling === 'asked') this.#desk.abandon();
    this.#changes.end();
    this.#excluding = null;
    this.#admitting = null;
  }

  /** When waiting for a required peer ends. */
  #givenUpAt(peer: FollowedPeer): Millis {
    const { peerTimeoutMillis } = this.#options.timings;
    if (peer.attached !== 'following') return peer.pendingJoin === null ? peer.lostAt + peerTimeoutMillis : -Infinity;
    return Math.min(peer.owingSince, Math.max(peer.lease.until, peer.attachedAt)) + peerTimeoutMillis;
  }

  #beginExclude(now: Millis): void {
    if (now < this.#askNotBefore) return;
    for (const peer of this.#followed.values()) {
      // The join of one that is paused waits for the end of that, and overwrites nothing.
      const overwritten = peer.flag !== 'false' && peer.pendingJoin !== null && (!peer.paused || peer.required);
      const gone = peer.required && now >= this.#givenUpAt(peer);
      // One that is paused follows until the witness has its flag false: hosts are not held for a pause.
      // One whose mode is to change is, too, whatever it is now; it goes on following meanwhile.
      const changes = this.#changes.excludes(peer);
      if (!overwritten && !gone && !changes && !(peer.paused && peer.required)) continue;
      if (peer.attached === 'following' && gone) {
        peer.peer.lastError = 'it did not acknowledge in time';
        peer.admitNotBefore = now + SLOW_PEER_REST * this.#options.timings.peerTimeoutMillis;
        peer.peer.link?.refuse('this copy did not acknowledge in time: join anew');
      }
      if (this.#admitting?.peer === peer) {
        // The exclusion names the same revision and always raises it: whichever the witness sees first, a late admission is refused.
        if (this.#admitting.asked) this.#desk.abandon();
        this.#admitting = null;
      }
      if (this.#desk.busy && !(gone && this.#agreements.mayUse(peer))) return;
      peer.flag = 'maybe';
      this.#excluding = { peer, flushTo: this.#replica.marks.received, asked: false };
      this.#replica.flush();
      this.#options.journal('exclude.begin', { site: peer.site }, `${peer.site} is excluded: own disk first, then the witness`);
      return;
    }
  }

  #goOnExcluding(): void {
    const excluding = this.#excluding;
    if (excluding === null) return;
    // One that has come back since, or is given up for another reason, is not gone.
    const gone = this.#options.clock.now() >= this.#givenUpAt(excluding.peer);
    const alone = gone && this.#agreements.mayUse(excluding.peer);
    if (!alone && (excluding.asked || this.#desk.busy)) return;
    if (this.#replica.marks.durable < excluding.flushTo) {
      this.#replica.flush();
      return;
    }
    if (alone) return this.#goAlone(excluding);
    if (this.#options.clock.now() < this.#askNotBefore) return;
    const revision = this.#desk.view?.revision;
    if (revision === undefined) return;
    excluding.asked = true;
    this.#desk.ask({ kind: 'exclude', site: excluding.peer.site, epoch: this.#replica.epoch, revision }, (answer) => {
      if (this.#ended || this.#excluding !== excluding) return;
      if (this.#lostRace(answer, revision)) {
        excluding.asked = false;
      } else if (answer.outcome === 'done') {
        this.#excluding = null;
        excluding.peer.flag = flagAt(answer.view, excluding.peer.site) ? 'maybe' : 'false';
        this.#counters.excludes++;
        this.#options.journal(
          'exclude.done',
          { site: excluding.peer.site, epoch: this.#replica.epoch },
          `${excluding.peer.site} is not synchronised any more; the witness knows`,
        );
        const join = excluding.peer.pendingJoin;
        if (join !== null && excluding.peer.flag === 'false') this.#lead.decide(excluding.peer, join);
        this.#lead.letGo();
      } else {
        this.#askNotBefore = this.#options.clock.now() + this.#options.timings.witnessRetryMillis;
        this.#options.journal(
          'exclude.refused',
          { site: excluding.peer.site, reason: answer.reason },
          `the witness refused: ${answer.text}`,
        );
        this.#excluding = null;
      }
      this.#options.shell.wake();
    });
  }

  /** As was agreed before the witness was lost. The exclusion that it was asked for may still be carried out: it says the same. */
  #goAlone({ peer, flushTo, asked }: Excluding): void {
    if (asked) this.#desk.abandon();
    // Nothing more is asked for it.
    const going: Excluding = { peer, flushTo, asked: true };
    this.#excluding = going;
    this.#agreements.goAlone(peer, () => {
      if (this.#ended || this.#excluding !== going) return;
      this.#excluding = null;
      peer.flag = 'false';
      if (peer.pendingJoin !== null) this.#lead.decide(peer, peer.pendingJoin);
      this.#lead.letGo();
    });
  }

  /** This primary went on without a copy whose flag is true at the witness: that comes first when it answers. */
  #tellWitness(site: SiteName, now: Millis): void {
    const revision = this.#desk.view?.revision;
    if (this.#telling === 'told' || this.#desk.busy || this.#desk.reachable !== true || now < this.#askNotBefore || revision === undefined)
      return;
    this.#telling = 'asked';
    this.#desk.ask({ kind: 'exclude', site, epoch: this.#replica.epoch, revision }, (answer) => {
      if (this.#ended) return;
      this.#telling = 'no';
      if (this.#lostRace(answer, revision)) return this.#options.shell.wake();
      if (answer.outcome === 'done' && !flagAt(answer.view, site)) this.#witnessHeard(site);
      else this.#askNotBefore = this.#options.clock.now() + this.#options.timings.witnessRetryMillis;
      this.#options.shell.wake();
    });
  }

  #witnessHeard(site: SiteName): void {
    this.#counters.excludes++;
    this.#options.journal('exclude.done', { site, epoch: this.#replica.epoch }, `${site} is not synchronised any more; the witness knows`);
    this.#telling = 'told';
    this.#agreements.told(() => {
      if (this.#ended) return;
      this.#telling = 'no';
      const peer = this.#followed.get(site);
      if (peer !== undefined && peer.pendingJoin !== null) this.#lead.decide(peer, peer.pendingJoin);
    });
  }

  #beginAdmit(now: Millis): void {
    if (this.#desk.busy || now < this.#askNotBefore) return;
    const { committed, received } = this.#replica.marks;
    for (const peer of this.#followed.values()) {
      const said = peer.peer.said;
      const waits = peer.flag !== 'true' && !peer.paused && !this.#changes.concerns(peer);
      if (!waits || peer.attached !== 'following' || said === null || said.unclean || !said.consistent) continue;
      if (received - peer.received > CAUGHT_UP_RECORDS) continue;
      const flagBefore = peer.flag;
      // An async copy is never waited for here, so that it cannot keep a sync one from being admitted.
      if (peer.peer.mode === 'async' && peer.received < committed) continue;
      if (peer.peer.mode === 'sync') {
        // Required from here on. Its promise comes first: without it the hosts would wait.
        if (!peer.lease.holds(now) || now < peer.admitNotBefore) continue;
        peer.flag = 'maybe';
      }
      this.#admitting = { peer, durableTo: committed, flagBefore, asked: false };
      this.#options.journal('admit.begin', { site: peer.site }, `${peer.site} has caught up and is to be admitted`);
      return;
    }
  }

  #goOnAdmitting(): void {
    const admitting = this.#admitting;
    if (admitting === null || admitting.asked || this.#desk.busy) return;
    const { peer, durableTo } = admitting;
    if (peer.attached !== 'following') {
      this.lost(peer);
      return;
    }
    if (peer.peer.mode === 'sync' && peer.durable < durableTo) {
      this.#lead.flushUpTo(durableTo);
      return;
    }
    if (this.#options.clock.now() < this.#askNotBefore) return;
    const revision = this.#desk.view?.revision;
    if (revision === undefined) return;
    admitting.asked = true;
    const { attachedAt } = peer;
    this.#desk.ask({ kind: 'admit', site: peer.site, epoch: this.#replica.epoch, revision }, (answer) => {
      if (this.#ended || this.#admitting !== admitting) return;
      if (this.#lostRace(answer, revision)) {
        admitting.asked = false;
      } else if (answer.outcome === 'done') {
        this.#admitting = null;
        // The answer to an earlier try tells of then, and what was admitted is the peer on that connection: since then it may have failed and put
        // its own flag to false. It stays required, and is asked for again.
        const isNews = answer.repeated !== true && peer.attached === 'following' && peer.attachedAt === attachedAt;
        peer.flag = isNews && flagAt(answer.view, peer.site) ? 'true' : 'maybe';
        if (peer.flag !== 'true') {
          this.#desk.read();
          return this.#options.shell.wake();
        }
        this.#counters.admits++;
        this.#options.journal(
          'admit.done',
          { site: peer.site, epoch: this.#replica.epoch },
          `${peer.site} is synchronised; the witness knows`,
        );
      } else {
        this.#askNotBefore = this.#options.clock.now() + this.#options.timings.witnessRetryMillis;
        this.#options.journal('admit.refused', { site: peer.site, reason: answer.reason }, `the witness refused: ${answer.text}`);
        this.#admitting = null;
      }
      this.#options.shell.wake();
    });
  }

  /**
   * The witness's state had moved on: the desk has the new revision now, and the question is put again under a new id. Not at once where the
   * desk knows nothing newer, which means that the witness has gone back.
   */
  #lostRace(answer: WitnessAnswer, revision: number): boolean {
    if (answer.outcome !== 'refused' || answer.reason !== 'revision') return false;
    if (this.#desk.view?.revision === revision) this.#askNotBefore = this.#options.clock.now() + this.#options.timings.witnessRetryMillis;
    return true;
  }
}

function flagAt(view: WitnessView, site: SiteName): boolean {
  return view.copies.some((copy) => copy.site === site && copy.flag);
}
