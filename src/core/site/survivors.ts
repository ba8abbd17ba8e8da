// What sites do that follow nobody because the primary is lost: each compares its copy with every other one it is connected to, and whoever is
// further on gives the other what it lacks. It needs no primary, no witness and no operator, and it decides nothing about who may serve: a
// site that may claim waits for it, so that records which only another survivor holds are not cut by the new epoch.

import { epochOf } from '../base/position.ts';
import type { Millis, SiteName } from '../base/units.ts';
import { compareStandings, type Comparison } from '../mirror/compare.ts';
import { type Level, type LevelEnd, readLevel, readLevelEnd, readStanding, type Standing } from '../mirror/forms.ts';
import { Giver } from '../mirror/give.ts';
import type { Link } from '../mirror/link.ts';
import { ACKNOWLEDGE_BODY, decodeNumbers, encodeJson, type Message } from '../mirror/messages.ts';
import type { Peer } from '../mirror/peer.ts';
import { declined, Taker } from '../mirror/take.ts';
import type { Replica } from '../replica/replica.ts';
import type { Growth } from './growth.ts';
import { oldestFor } from './resync.ts';
import type { Role, LevelStatus, SiteCounter, SiteOptions, Waiting } from './contract.ts';

/** One comparison with one other survivor, on one connection. */
interface Exchange {
  readonly link: Link;
  readonly since: Millis;
  /** The own standing that the other side was told, and when to tell it again though it has not changed. */
  told: string;
  tellAgainAt: Millis;
  theirs: Standing | null;
  comparison: Comparison | null;
  comparedAt: Millis;
  giver: Giver | null;
}

/** For how many leases a claim waits for comparisons that do not get on; for one lease in any case, from when the other survivor is met. */
const LEASES_MAX = 3;

export class Survivors {
  readonly #options: SiteOptions;
  readonly #peers: ReadonlyMap<SiteName, Peer>;
  readonly #counters: Record<SiteCounter, number>;
  readonly #replicaOf: () => Replica | null;
  readonly #growth: Pick<Growth, 'mayTakeFrom' | 'whyTooSmall'>;
  readonly #exchanges = new Map<SiteName, Exchange>();
  /** When this site first found each other one connected, and first found that it follows nobody either, since it follows nobody itself. */
  readonly #met = new Map<string, Millis>();
  #active = false;
  #since: Millis = 0;
  #taker: Taker | null = null;
  /** Offers of records that were made by this process. */
  #offers = 0;

  constructor(given: {
    options: SiteOptions;
    peers: ReadonlyMap<SiteName, Peer>;
    counters: Record<SiteCounter, number>;
    replica: () => Replica | null;
    growth: Pick<Growth, 'mayTakeFrom' | 'whyTooSmall'>;
  }) {
    this.#options = given.options;
    this.#peers = given.peers;
    this.#counters = given.counters;
    this.#replicaOf = given.replica;
    this.#growth = given.growth;
  }

  /** This site follows nobody from now on. */
  begin(): void {
    this.end();
    this.#active = true;
    this.#since = this.#options.clock.now();
  }

  /** It has another part now: nothing is given or taken any more, whatever still completes. */
  end(): void {
    this.#taker?.end();
    this.#taker = null;
    this.#exchanges.clear();
    this.#met.clear();
    this.#active = false;
  }

  /** Another site said something of itself: when it took up a new part, what was compared is void. */
  peerSaid(site: SiteName, roleBefore: string | null): void {
    if (this.#peers.get(site)?.said?.role !== roleBefore) this.#drop(site);
  }

  peerLost(site: SiteName): void {
    this.#drop(site);
  }

  turn(replica: Replica, now: Millis): void {
    for (const peer of this.#peers.values()) {
      const meeting = meetingOf(peer);
      if (meeting !== null && !this.#met.has(meeting)) this.#met.set(meeting, now);
      this.#exchangeWith(peer, now);
    }
    this.#goOnTaking(now);
    for (const [site, exchange] of this.#exchanges) {
      if (this.#taker === null && !replica.changing && this.#isAsLarge(site)) this.#tell(exchange, replica, now);
      this.#goOnGiving(site, exchange, now);
    }
  }

  /** A message of the other survivor: what is wrong with it ends the connection. A late one, which finds another role here, is no fault. */
  receive(peer: Peer, message: Message, role: Role): void {
    if (role !== 'standby') return;
    const wrong = this.#message(peer.name, message);
    if (wrong === null) return;
    this.#options.journal('peer.refused', { site: peer.name, reason: wrong }, `what ${peer.name} sent was refused`);
    peer.lastError = wrong;
    peer.link?.refuse(wrong);
  }

  /** A message from another site while this one follows nobody. Returns what is wrong with it, or null. */
  #message(site: SiteName, message: Message): string | null {
    const now = this.#options.clock.now();
    const peer = this.#peers.get(site);
    const exchange = peer === undefined ? null : this.#exchangeWith(peer, now);
    const replica = this.#replicaOf();
    // Of a comparison that is over, or before this site could make one: both sides tell anew when they are ready.
    if (exchange === null || replica === null) return null;
    const { name, body } = message;
    if (name === 'compare') {
      const theirs = readStanding(body);
      if (theirs === null) return 'a comparison is malformed';
      this.#compared(site, exchange, theirs, now);
    } else if (name === 'level') {
      return this.#level(exchange, replica, body);
    } else if (name === 'levelEnd') {
      const end = readLevelEnd(body);
      if (end === null) return 'the end of a comparison is malformed';
      this.#levelEnded(site, exchange, end);
    } else if (name === 'frame') {
      if (this.#taker?.link === exchange.link) this.#taker.frame(body);
    } else if (name === 'acknowledge') {
      const said = decodeNumbers(ACKNOWLEDGE_BODY, body);
      if (said === null) return 'an acknowledgement is malformed';
      return exchange.giver?.acknowledged(said.received, now) ?? null;
    }
    return null;
  }

  /** What a claim waits for: a comparison that has not been made, or records that are on their way. Null when nothing is to be had any more. */
  waits(now: Millis): Waiting | null {
    const { leaseMillis } = this.#options.timings;
    const what = 'to become primary';
    if (this.#taker !== null && !this.#taker.done) {
      const deadlineMillis = this.#taker.progressAt + this.#stallMillis;
      const records = this.#taker.level.target - (this.#replicaOf()?.marks.received ?? 0);
      const cause = `${this.#taker.link.peer} holds ${records} records that are not here yet`;
      if (now < deadlineMillis) return { what, cause, deadlineMillis, next: 'it takes them, and claims' };
    }
    const last = this.#since + LEASES_MAX * leaseMillis;
    for (const peer of this.#peers.values()) {
      const meeting = meetingOf(peer);
      if (meeting === null || peer.said?.consistent === false) continue;
      const exchange = this.#exchanges.get(peer.name);
      const comparing = exchange === undefined || exchange.theirs === null || exchange.comparison?.kind === 'take';
      // However late it came: it gets its lease, once.
      const met = this.#met.get(meeting) ?? now;
      const since = exchange === undefined ? met : Math.max(exchange.since, exchange.comparedAt);
      const deadlineMillis = Math.min(Math.max(last, met + leaseMillis), since + leaseMillis);
      if (!comparing || now >= deadlineMillis) continue;
      return {
        what,
        cause: `it compares its copy with the one of ${peer.name}`,
        deadlineMillis,
        next: 'it takes what it lacks, and claims',
      };
    }
    return null;
  }

  /** How this copy stands to another survivor's; null while they are not compared. */
  status(site: SiteName): LevelStatus | null {
    const exchange = this.#exchanges.get(site);
    const comparison = exchange?.comparison ?? null;
    if (exchange === undefined) return null;
    const theirs = exchange.theirs?.received ?? null;
    const small = this.#growth.whyTooSmall(this.#peers.get(site)?.said ?? null);
    if (small !== null && exchange.giver === null) return { is: 'apart', theirs, leftRecords: null, why: small };
    if (comparison === null) return null;
    if (this.#taker?.link === exchange.link) {
      const left = Math.max(0, this.#taker.level.target - (this.#replicaOf()?.marks.received ?? 0));
      return { is: 'taking', theirs, leftRecords: left, why: null };
    }
    if (exchange.giver !== null) return { is: 'giving', theirs, leftRecords: exchange.giver.target - exchange.giver.received, why: null };
    if (comparison.kind === 'equal') return { is: 'equal', theirs, leftRecords: 0, why: null };
    if (comparison.kind === 'apart') return { is: 'apart', theirs, leftRecords: null, why: comparison.why };
    return { is: comparison.kind === 'give' ? 'ahead' : 'behind', theirs, leftRecords: null, why: null };
  }

  /** The comparison with a peer, begun when that one follows nobody either; null when there is nothing to compare. */
  #exchangeWith(peer: Peer, now: Millis): Exchange | null {
    const { link, said } = peer;
    const known = this.#exchanges.get(peer.name);
    if (known !== undefined && known.link === link && said?.role === 'standby') return known;
    this.#drop(peer.name);
    if (!this.#active || link === null || said?.role !== 'standby') return null;
    const exchange = newExchange(link, now);
    this.#exchanges.set(peer.name, exchange);
    return exchange;
  }

  get #stallMillis(): Millis {
    return 2 * this.#options.timings.leaseMillis;
  }

  #standing(replica: Replica, link: Link): Standing {
    const { received, committed, destageTarget } = replica.marks;
    const oldest = oldestFor(link, replica);
    const { epoch, history, chain, consistent } = replica;
    return { epoch, history, received, committed, destageTarget, oldest, chain, consistent };
  }

  #tell(exchange: Exchange, replica: Replica, now: Millis): void {
    const standing = this.#standing(replica, exchange.link);
    const told = `${standing.epoch} ${standing.received} ${standing.chain} ${standing.consistent}`;
    if (exchange.told === told && now < exchange.tellAgainAt) return;
    exchange.told = told;
    exchange.tellAgainAt = Infinity;
    exchange.link.send('compare', encodeJson(standing));
    if (exchange.theirs !== null) this.#compared(exchange.link.peer, exchange, exchange.theirs, now);
  }

  #compared(site: SiteName, exchange: Exchange, theirs: Standing, now: Millis): void {
    const replica = this.#replicaOf() as Replica;
    const peer = this.#peers.get(site);
    this.#goOnGiving(site, exchange, now);
    exchange.theirs = theirs;
    exchange.comparedAt = now;
    exchange.giver = null;
    if (peer !== undefined && peer.said !== null)
      peer.said = { ...peer.said, endEpoch: epochOf(theirs.history, theirs.received), endSeq: theirs.received, chain: theirs.chain };
    this.#options.shell.wake();
    // What is being taken now changes the answer: it is looked at again behind it.
    if (this.#taker !== null) return;
    const before = exchange.comparison;
    const comparison = compareStandings(this.#standing(replica, exchange.link), theirs);
    exchange.comparison = comparison;
    if (comparison.kind === 'give') this.#give(site, exchange, comparison.position, now);
    if (comparison.kind === 'apart' && before?.kind !== 'apart') {
      const { apart, seq, why } = comparison;
      this.#options.journal(
        'level.apart',
        { site, apart, seq },
        `${site} and this site cannot make their copies equal without a primary: ${why}`,
      );
    }
  }

  #give(site: SiteName, exchange: Exchange, position: number, now: Millis): void {
    const replica = this.#replicaOf() as Replica;
    const chain = replica.chainAt(position);
    if (chain === null) return;
    const { epoch, history, marks } = replica;
    const target = marks.received;
    const number = ++this.#offers;
    exchange.giver = new Giver({ link: exchange.link, number, replica, position, target, now });
    exchange.link.send('level', encodeJson({ epoch, history, position, chain, target, number } satisfies Level));
    this.#options.journal(
      'level.begin',
      { site, from: position + 1, records: target - position },
      `${site} is behind: it is given ${target - position} records from ${position + 1} on`,
    );
  }

  #level(exchange: Exchange, replica: Replica, body: Uint8Array): string | null {
    const level = readLevel(body);
    if (level === null) return 'an offer of records is malformed';
    const isSuccessor = this.#taker?.link === exchange.link;
    if (isSuccessor) {
      this.#taker?.end();
      this.#taker = null;
    }
    const isChanging = !isSuccessor && (this.#taker !== null || replica.changing);
    const why = isChanging ? 'is being changed already' : this.#isAsLarge(exchange.link.peer) ? null : 'is to become larger first';
    if (why !== null) {
      exchange.link.send('levelEnd', declined(level, `this copy ${why}`));
      exchange.tellAgainAt = this.#options.clock.now() + this.#options.timings.heartbeatMillis;
      return null;
    }
    const { clock, journal, shell } = this.#options;
    const others = [...this.#peers.keys()].filter((site) => site !== exchange.link.peer);
    const taker = new Taker({ link: exchange.link, level, replica, others, journal, now: () => clock.now(), wake: () => shell.wake() });
    const wrong = replica.consistent && !replica.changing ? taker.begin() : 'this copy is being changed';
    if (wrong === null) {
      this.#taker = taker;
      return null;
    }
    exchange.link.send('levelEnd', declined(level, wrong));
    journal(
      'level.refused',
      { from: exchange.link.peer, position: level.position, reason: wrong },
      `what ${exchange.link.peer} offers does not fit`,
    );
    return null;
  }

  /** Whether this copy has noted, durably, everything that another one has been told that every copy can hold: only then is it made equal to it. */
  #isAsLarge(site: SiteName): boolean {
    return this.#growth.mayTakeFrom(this.#peers.get(site)?.said ?? null);
  }

  /** The other side ends an offer. One that a newer offer has followed by now is not this one: they crossed on the way. */
  #levelEnded(site: SiteName, exchange: Exchange, { reason, number, gives = false }: LevelEnd): void {
    const taker = this.#taker?.link === exchange.link ? this.#taker : null;
    const current = gives ? taker?.level.number : exchange.giver?.number;
    if (number !== undefined && number !== current) return;
    if (gives) taker?.end();
    else exchange.giver = null;
    this.#options.journal('level.end', { site, reason }, `${site} gives or takes nothing more: ${reason}`);
  }

  #goOnTaking(now: Millis): void {
    const taker = this.#taker;
    if (taker === null) return;
    taker.turn();
    const stalled = now >= taker.progressAt + this.#stallMillis;
    if (!taker.ended && !taker.done && !stalled) return;
    this.#taker = null;
    this.#counters.cutBackRecords += taker.cutBackRecords;
    const site = taker.link.peer;
    if (taker.done) {
      const { position, target } = taker.level;
      this.#counters.levels++;
      this.#counters.levelBytes += taker.receivedBytes;
      this.#options.journal('level.done', { site, records: target - position }, `this copy is as far on as the one of ${site}`);
    } else if (!taker.ended) {
      taker.link.send('levelEnd', declined(taker.level, 'nothing more has come in time'));
    }
    taker.end();
    for (const exchange of this.#exchanges.values()) exchange.tellAgainAt = taker.done ? exchange.tellAgainAt : now + this.#stallMillis;
  }

  #goOnGiving(site: SiteName, exchange: Exchange, now: Millis): void {
    const { giver } = exchange;
    if (giver === null) return;
    let wrong = giver.pump();
    if (wrong === null && !giver.done && now >= giver.progressAt + this.#stallMillis) wrong = `${site} has acknowledged nothing in time`;
    if (wrong === null && !giver.done) return;
    exchange.giver = null;
    if (wrong !== null) {
      this.#options.journal('level.end', { site, reason: wrong }, `${site} is given nothing more: ${wrong}`);
      exchange.link.send('levelEnd', encodeJson({ reason: wrong, number: giver.number, gives: true } satisfies LevelEnd));
    } else {
      this.#counters.levels++;
      this.#counters.levelBytes += giver.sentBytes;
      this.#options.journal('level.done', { site, records: giver.target - giver.position }, `${site} holds everything that is here`);
    }
  }

  #drop(site: SiteName): void {
    const exchange = this.#exchanges.get(site);
    if (exchange === undefined) return;
    this.#exchanges.delete(site);
    if (this.#taker?.link !== exchange.link) return;
    this.#taker.end();
    this.#taker = null;
  }
}

/** Names the meeting with another survivor: with one that has just connected and has not said yet what it is, or with one that follows nobody. */
function meetingOf({ name, link, said }: Peer): string | null {
  if (link === null) return null;
  if (said === null) return `${name}, silent`;
  return said.role === 'standby' ? name : null;
}

function newExchange(link: Link, now: Millis): Exchange {
  return {
    link,
    since: now,
    told: '',
    tellAgainAt: Infinity,
    theirs: null,
    comparison: null,
    comparedAt: -Infinity,
    giver: null,
  };
}
