// What a mirrored pair does while only its witness is lost (pre-election, docs/decisions/0015): its primary may go on alone if the mirror is lost as
// well. The order of the steps is the whole point. The mirror notes durably that it leaves the right to that primary: from then on it does not claim,
// whatever the witness says of it. Then the primary holds the right, for as long as it reigns without a break. It uses it by noting, durably, that it
// went on alone; the witness hears of that as of any other exclusion. Only what the primary says of itself ends what was agreed: by number, so that
// what was said late says nothing new.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessView } from '../arbiter/witness-state.ts';
import { assert } from '../base/assert.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { PeerState, SaidAgreement } from '../mirror/forms.ts';
import type { Peer } from '../mirror/peer.ts';
import type { Replica } from '../replica/replica.ts';
import type { AgreementValue } from '../replica/superblock.ts';
import type { AgreementStatus, Role, SiteOptions } from './contract.ts';
import type { Lead } from './lead.ts';

/** What agreements look at. */
export interface AgreementGround {
  readonly options: SiteOptions;
  readonly desk: WitnessDesk;
  readonly peers: ReadonlyMap<SiteName, Peer>;
  replica(): Replica | null;
  role(): Role;
  lead(): Lead | null;
}

/** What a primary has asked its mirror for, or holds. */
interface Given {
  readonly number: number;
  readonly site: SiteName;
  readonly lead: Lead;
}

const NONE: AgreementValue = { asked: 0, alone: null, yields: null };

function noteOf(replica: Replica): AgreementValue {
  return replica.superblock.value.agreement ?? NONE;
}

/**
 * That this copy's primary went on alone counts in that epoch only: the next one was begun at the witness. It counts until a restart would not find it any
 * more: what comes after it, the admission of the other one first, is built on that.
 */
function aloneOf({ epoch, superblock: { value, durableValue } }: Replica): AgreementValue['alone'] {
  for (const { agreement } of [value, durableValue]) if (agreement?.alone?.epoch === epoch) return agreement.alone;
  return null;
}

/** Whom this copy leaves the right to; void once it has adopted a newer epoch. */
function yieldsOf(replica: Replica, { yields }: AgreementValue): AgreementValue['yields'] {
  return yields !== null && replica.epoch <= yields.epoch ? yields : null;
}

export class Agreements {
  readonly #ground: AgreementGround;
  /** Since when the witness has not answered; null while it does. */
  #lostSince: Millis | null = null;
  #asking: Given | null = null;
  #right: Given | null = null;

  constructor(ground: AgreementGround) {
    this.#ground = ground;
  }

  /** Comes before the reign's own turn: a right that is over must not be used in it. */
  turn(now: Millis): void {
    const { desk } = this.#ground;
    const replica = this.#ground.replica();
    if (replica === null || replica.failure !== null || !this.#concerns(replica)) return;
    if (desk.reachable !== false) this.#lostSince = null;
    else this.#lostSince ??= now;
    this.#tidy(replica);
    const lead = this.#ground.lead();
    if (this.#asking?.lead !== lead) this.#asking = null;
    if (this.#right?.lead !== lead) this.#right = null;
    if (lead !== null) this.#reign(replica, lead, now);
    else this.#leave(replica);
  }

  /** What the peers are told; undefined where nothing is ever agreed. */
  said(): SaidAgreement | undefined {
    const replica = this.#ground.replica();
    if (replica === null || !this.#concerns(replica)) return undefined;
    const { durableValue } = replica.superblock;
    const durable = durableValue.agreement ?? NONE;
    const alone = aloneOf(replica);
    const counts = [this.#asking?.number, this.#right?.number, alone?.number].filter((number) => number !== undefined);
    // Noted before it is asked for: after a restart no number is used again.
    const asking = this.#asking !== null && durable.asked >= this.#asking.number ? this.#asking : null;
    const asks = alone === null ? asking : { site: alone.without, number: alone.number };
    return {
      over: counts.length === 0 ? durable.asked : Math.min(durable.asked, ...counts.map((number) => number - 1)),
      asks: asks === null ? null : { site: asks.site, number: asks.number },
      alone: alone !== null,
      yields: yieldsOf(replica, durable),
      reaches: this.#ground.desk.reachable === true,
    };
  }

  get status(): AgreementStatus | null {
    const replica = this.#ground.replica();
    if (replica === null || !this.#concerns(replica)) return null;
    return {
      mayGoWithout: this.#right?.site ?? null,
      wentWithout: this.wentWithout,
      leftTo: this.leftTo,
    };
  }

  /** What was noted counts whatever the configuration says by now: the option only begins something. */
  #concerns(replica: Replica): boolean {
    const { value } = replica.superblock;
    return this.#ground.options.preElectionMillis !== undefined || value.agreement !== undefined;
  }

  // ── the mirror's side ──
  /** Who may be serving alone: this site does not claim. */
  get leftTo(): SiteName | null {
    const replica = this.#ground.replica();
    return replica === null ? null : (yieldsOf(replica, noteOf(replica))?.to ?? null);
  }

  /** Notes what the primary asks for. Always safe, and so done at once; not while a claim of this copy may be granted. */
  #leave(replica: Replica): void {
    const { options, desk, peers } = this.#ground;
    const role = this.#ground.role();
    if (role !== 'mirror' && role !== 'joining' && role !== 'standby') return;
    const asker = [...peers.values()].find(({ link, said }) => link !== null && said !== null && asks(said, options.site, replica));
    const said = asker?.said ?? null;
    const wanted = said?.agreement?.asks ?? null;
    if (asker === undefined || said === null || wanted === null) return;
    // One that went on alone has done so already; before that, a mirror that reaches the witness can still take over.
    const wants = options.preElectionMillis !== undefined && desk.reachable !== true && role === 'mirror';
    if (said.agreement?.alone !== true && !wants) return;
    const { number } = wanted;
    const known = noteOf(replica).yields;
    if (known?.to === asker.name && known.epoch === said.epoch && known.number === number) return;
    const facts = { to: asker.name, number };
    options.journal(
      'agreement.left',
      facts,
      `while the witness is lost, ${asker.name} may go on alone: this copy does not claim until that is over`,
    );
    this.#note(replica, { yields: { to: asker.name, epoch: said.epoch, number } });
  }

  /** Forgets what is over: by what the other one says, or because a newer epoch has begun. */
  #tidy(replica: Replica): void {
    const { peers, options } = this.#ground;
    const { yields, alone } = noteOf(replica);
    const view = this.#ground.desk.trouble === null && !this.#ground.desk.moving ? this.#ground.desk.view : null;
    if (alone !== null && (aloneOf(replica) === null || (view !== null && view.epoch > alone.epoch))) this.#note(replica, { alone: null });
    if (yields === null) return;
    const holder = peers.get(yields.to);
    const over = holder?.link === null ? null : (holder?.said?.agreement?.over ?? null);
    const said = over !== null && over >= yields.number;
    if (!said && yieldsOf(replica, noteOf(replica)) !== null && !(view !== null && tellsMore(view, yields, options.site))) return;
    options.journal(
      'agreement.over',
      { with: yields.to, number: yields.number },
      `what was agreed with ${yields.to} is over: what the witness says of this copy counts again`,
    );
    this.#note(replica, { yields: null });
  }

  // ── the primary's side ──
  /** Whom this primary went on without, and the witness has not heard of it yet. */
  get wentWithout(): SiteName | null {
    const replica = this.#ground.replica();
    return replica === null ? null : (aloneOf(replica)?.without ?? null);
  }

  /** Whether a peer that is to be excluded may be given up without the witness. */
  mayUse(peer: FollowedPeer): boolean {
    return this.#right?.site === peer.site && this.#right.lead === this.#ground.lead() && this.#ground.desk.reachable === false;
  }

  /** Uses the right: everything it holds is on its disk. `done` once it is noted. */
  goAlone(peer: FollowedPeer, done: () => void): void {
    const replica = this.#ground.replica();
    const right = this.#right;
    assert(right !== null && replica !== null && this.mayUse(peer), 'only a right that is held is used', { without: peer.site });
    this.#right = null;
    const { options } = this.#ground;
    options.journal(
      'agreement.used',
      { without: peer.site, number: right.number, epoch: replica.epoch },
      `as was agreed, it goes on without ${peer.site} while the witness is lost`,
    );
    this.#note(replica, { alone: { without: peer.site, epoch: replica.epoch, number: right.number } }, done);
  }

  /** The witness has the flag of the other one false: what was agreed is over, as soon as that is noted. */
  told(done: () => void): void {
    const replica = this.#ground.replica();
    const alone = replica === null ? null : aloneOf(replica);
    if (replica === null || alone === null) return done();
    this.#ground.options.journal('agreement.told', { without: alone.without }, 'the witness knows that it went on alone');
    this.#note(replica, { alone: null }, done);
  }

  /** Whether a peer may not follow: it could claim with what it gets, and the witness does not know yet that this primary went on without it. */
  keepsOut({ peer, site }: FollowedPeer): boolean {
    const replica = this.#ground.replica();
    const alone = replica === null ? null : aloneOf(replica);
    return alone?.without === site && !this.#hasLeft(peer, alone.number, alone.epoch);
  }

  #reign(replica: Replica, lead: Lead, now: Millis): void {
    if (aloneOf(replica) !== null) {
      this.#asking = null;
      this.#right = null;
      return;
    }
    // What is asked for rests on a pair in step; the right that was left rests on what the other one has noted, wherever it is.
    if (this.#asking !== null && lead.followed.get(this.#asking.site)?.flag !== 'true') this.#asking = null;
    const given = this.#right ?? this.#asking;
    const why = given === null ? null : this.#whyOver(replica, lead, given);
    if (given !== null && why !== null) {
      const facts = { with: given.site, number: given.number, why };
      if (this.#right !== null)
        this.#ground.options.journal('agreement.given-back', facts, `the right to go on without ${given.site} is given back: ${why}`);
      this.#asking = null;
      this.#right = null;
      this.#ground.options.shell.wake();
    } else if (given === null) this.#ask(replica, lead, now);
    else if (this.#asking !== null) this.#take(replica, lead, this.#asking);
  }

  /** Why what was asked for, or is held, does not count any more. Giving it back is always safe. */
  #whyOver(replica: Replica, lead: Lead, { site, number }: Given): string | null {
    const { desk } = this.#ground;
    if (desk.reachable !== false || desk.moving) return 'the witness answers again';
    if (lead.handover !== null) return 'a handover is under way';
    const peer = lead.followed.get(site);
    if (peer === undefined || !peer.required) return `${site} is given up already`;
    const said = peer.peer.link === null ? null : (peer.peer.said?.agreement ?? null);
    if (said?.reaches === true) return `${site} reaches the witness`;
    // On a new connection it says what is on its disk: a disk that was put in since knows of nothing.
    if (this.#right !== null && peer.peer.said !== null && !this.#hasLeft(peer.peer, number, replica.epoch))
      return `${site} knows nothing of it`;
    return null;
  }

  #hasLeft({ said }: Peer, number: number, epoch: number): boolean {
    const yields = said?.agreement?.yields ?? null;
    return yields !== null && yields.to === this.#ground.options.site && yields.number === number && yields.epoch === epoch;
  }

  /** Asks the only other copy that must hold every write, while it is in step. */
  #ask(replica: Replica, lead: Lead, now: Millis): void {
    const { preElectionMillis = Infinity } = this.#ground.options;
    if (this.#lostSince === null || now - this.#lostSince < preElectionMillis || lead.handover !== null) return;
    const required = [...lead.followed.values()].filter((peer) => peer.required);
    const [peer] = required;
    if (peer === undefined || required.length > 1 || peer.flag !== 'true' || peer.attached !== 'following') return;
    const said = peer.peer.said?.agreement;
    if (said === undefined || said.reaches) return;
    const number = noteOf(replica).asked + 1;
    this.#asking = { number, site: peer.site, lead };
    this.#ground.options.journal(
      'agreement.ask',
      { of: peer.site, number },
      `the witness is lost: ${peer.site} is asked to leave it the right to go on alone`,
    );
    this.#note(replica, { asked: number });
  }

  #take(replica: Replica, lead: Lead, asking: Given): void {
    const peer = lead.followed.get(asking.site);
    if (peer?.attached !== 'following' || !this.#hasLeft(peer.peer, asking.number, replica.epoch)) return;
    this.#asking = null;
    this.#right = asking;
    const facts = { with: asking.site, number: asking.number };
    this.#ground.options.journal('agreement.made', facts, `it may go on without ${asking.site} until the witness answers again`);
  }

  #note(replica: Replica, change: Partial<AgreementValue>, done: () => void = () => undefined): void {
    replica.superblock.update({ agreement: { ...noteOf(replica), ...change } }, (failure) => {
      if (failure !== null) return;
      done();
      this.#ground.options.shell.wake();
    });
  }
}

/** Whether a primary that may be followed asks this site. */
function asks(said: PeerState, site: SiteName, replica: Replica): boolean {
  return said.role === 'primary' && said.epoch >= replica.epoch && said.agreement?.asks?.site === site;
}

/**
 * Whether the witness knows more than what was noted: an epoch was begun there since. Or the holder has put its own flag to false, which only one does
 * that is mirrored and has failed, and not one that went on alone.
 */
function tellsMore({ epoch, copies }: WitnessView, yields: NonNullable<AgreementValue['yields']>, own: SiteName): boolean {
  const flagOf = (site: SiteName): boolean | undefined => copies.find((copy) => copy.site === site)?.flag;
  return epoch > yields.epoch || (epoch === yields.epoch && flagOf(own) === true && flagOf(yields.to) === false);
}
