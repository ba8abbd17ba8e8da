// What may honestly be said of a site now (rule 12): computed from positions, flags and leases at the moment of the question, never stored.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { Millis, Seq, SiteName } from '../base/units.ts';
import type { Follower } from '../mirror/follow.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { HeldTable } from '../mirror/held.ts';
import type { Peer } from '../mirror/peer.ts';
import type { Replica } from '../replica/replica.ts';
import type {
  PeerStatus,
  Role,
  SiteCounter,
  SiteOptions,
  SiteStatus,
  StreamStatus,
  VerifyProgress,
  VerifyStatus,
  Waiting,
} from './contract.ts';
import type { Agreements } from './agreement.ts';
import { coverageOf } from './coverage.ts';
import type { Growth } from './growth.ts';
import type { Lead } from './lead.ts';
import type { Members } from './members.ts';
import type { PointDesk } from './points.ts';
import { resyncOf } from './progress.ts';
import type { Survivors } from './survivors.ts';
import { witnessTrouble } from './witness-trouble.ts';

/** The inside of a site, for status and checkers. */
export interface Inspected {
  readonly options: SiteOptions;
  readonly role: Role;
  readonly replica: Replica | null;
  readonly lead: Lead | null;
  readonly follower: Follower | null;
  readonly survivors: Survivors;
  readonly held: HeldTable;
  readonly peers: ReadonlyMap<SiteName, Peer>;
  readonly desk: WitnessDesk;
  readonly promisedUntil: Millis;
  readonly heldRequests: number;
  readonly pendingRequests: number;
  readonly counters: Readonly<Record<SiteCounter, number>>;
  readonly failure: string | null;
  readonly claimWaits: Waiting | null;
  readonly serving: boolean;
  /** It has confirmed an offer of the reign and knows nothing of the witness's answer. */
  readonly takingOver: boolean;
  readonly growth: Growth;
  readonly points: PointDesk;
  readonly members: Members;
  readonly agreements: Agreements;
  /** Asked only where it is shown: it is put together anew each time. */
  readonly verifies: { status(): VerifyStatus };
}

export function siteStatus(inside: Inspected): SiteStatus {
  const { options, replica, lead, desk, role } = inside;
  const now = options.clock.now();
  return {
    group: options.group,
    site: options.site,
    role,
    serving: inside.serving,
    protection: inside.serving && lead !== null ? protection(lead) : null,
    epoch: replica?.epoch ?? 0,
    knownPrimary: knownPrimary(inside),
    marks: replica === null ? null : { ...marksOf(replica) },
    consistent: replica?.consistent ?? false,
    unclean: replica?.unclean ?? false,
    sidefileBytes: replica?.heldBytes ?? 0,
    sidefileCapacityBytes: options.capacityBytes,
    sidefileFullSeconds: replica?.use.fullInSeconds ?? null,
    sidefileSetAsideBytes: replica?.use.setAside?.bytes ?? null,
    sidefileIn: replica?.inMemory === true ? 'memory' : 'disk',
    agreement: inside.agreements.status,
    witness: {
      reachable: desk.reachable,
      view: desk.view,
      ageMillis: desk.view === null ? null : now - desk.viewAt,
      provedAgeMillis: desk.provedAt === -Infinity ? null : now - desk.provedAt,
      trouble: witnessTrouble(desk, options.group),
    },
    peers: [...inside.peers.values()].map((peer) => peerStatus(peer, inside, now)),
    coverage: coverageOf(inside),
    writers: lead?.writers.status ?? null,
    waiting: waits(inside, now),
    heldRequests: inside.heldRequests,
    volumes: inside.growth.volumes(),
    points: inside.points.status(),
    counters: { ...inside.counters },
    failure: inside.failure,
    verify: progressOf(inside.verifies.status()),
  };
}

/** Without what was found, which is asked for by itself. */
function progressOf(verify: VerifyStatus): VerifyProgress {
  const { findings: _findings, ...progress } = verify;
  return progress;
}

function marksOf(replica: Replica): { oldest: Seq; destaged: Seq; committed: Seq; durable: Seq; received: Seq } {
  const { oldest, destaged, committed, durable, received } = replica.marks;
  return { oldest, destaged, committed, durable, received };
}

/** 'mirrored' only while a peer's flag is known true and none is uncertain: that is what an acknowledgement then means. */
function protection(lead: Lead): 'mirrored' | 'solo' | 'changing' {
  const sync = [...lead.followed.values()].filter((peer) => peer.peer.mode === 'sync');
  if (sync.some((peer) => peer.flag === 'maybe')) return 'changing';
  return sync.some((peer) => peer.flag === 'true') ? 'mirrored' : 'solo';
}

function knownPrimary(inside: Inspected): SiteName | null {
  if (inside.role === 'primary') return inside.options.site;
  if (inside.follower !== null) return inside.follower.link.peer;
  for (const peer of inside.peers.values()) if (peer.link !== null && peer.said?.role === 'primary') return peer.name;
  return null;
}

function peerStatus(peer: Peer, inside: Inspected, now: Millis): PeerStatus {
  const followed = inside.lead?.followed.get(peer.name) ?? null;
  const attached = followed !== null && followed.streaming;
  // One that is in the middle of a resync shows its older volume, or none, whatever it has received.
  const shows = followed?.attached === 'following';
  const lag = shows && inside.replica !== null ? lagOf(followed, inside.replica, inside.options) : UNKNOWN_LAG;
  const leaseMillis = followed === null || followed.lease.until === -Infinity ? null : Math.max(0, followed.lease.until - now);
  return {
    site: peer.name,
    mode: peer.mode,
    connected: peer.connected,
    role: (peer.said?.role as Role | undefined) ?? null,
    epoch: peer.said?.epoch ?? null,
    attached: followed?.attached ?? 'no',
    flag: followed?.flag ?? null,
    received: attached ? followed.received : null,
    durable: attached ? followed.durable : null,
    destaged: attached ? followed.destaged : null,
    lagRecords: lag.records,
    lagBytes: lag.bytes,
    lagSeconds: lag.seconds,
    leaseMillis,
    copiedBytes: followed?.copy?.passedBytes ?? null,
    copyTotalBytes: followed?.copy?.totalBytes ?? null,
    level: inside.survivors.status(peer.name),
    resync: followed === null || inside.replica === null ? null : resyncOf(followed, inside.replica, now),
    lastError: peer.lastError,
    traffic: { ...peer.traffic },
    streams: streamsOf(peer),
    folding: { ...peer.folding },
    paused: followed?.paused ?? false,
    paceBytesPerSecond: followed === null || followed.pace.bytesPerSecond === Infinity ? null : followed.pace.bytesPerSecond,
  };
}

const UNKNOWN_LAG = { records: null, bytes: null, seconds: null };

function streamsOf({ link, streamCounts }: Peer): StreamStatus | null {
  const streams = link?.streams ?? null;
  if (streams === null) return null;
  const { count: wanted, openCount: open, sender, receiver } = streams;
  return { wanted, open, waitingBytes: receiver.waitingBytes, aheadBytes: sender.aheadBytes, ...streamCounts };
}

/** Records and bytes that a peer has not acknowledged, and the age of the oldest of them by record times. Never less than the truth. */
function lagOf(followed: FollowedPeer, replica: Replica, options: SiteOptions): { records: number; bytes: number; seconds: number } {
  const records = replica.marks.received - followed.received;
  if (records <= 0) return { records: 0, bytes: 0, seconds: 0 };
  const oldest = replica.timeAt(followed.received + 1);
  const seconds = oldest === null ? 0 : Math.max(0, (options.clock.wall() - oldest) / 1000);
  return { records, bytes: replica.bytesAfter(followed.received), seconds };
}

function overflowWaits({ options }: Inspected, lead: Lead, site: SiteName): Waiting {
  const policy = options.sites.find((spec) => spec.name === site)?.overflow ?? 'bitmap';
  const away = lead.followed.get(site)?.attached === 'no';
  const kept = `the sidefile is full of records that ${site} lacks, and its overflow is "${policy}"`;
  return {
    what: 'to take writes',
    cause: policy === 'bitmap' ? `the resync of ${site} has to keep up with what hosts write` : kept,
    deadlineMillis: null,
    next: away ? `${site} comes back and takes them` : `${site} takes them`,
  };
}

function aloneWaits(site: SiteName): Waiting {
  return {
    what: 'to tell the witness',
    cause: `it went on without ${site}, as was agreed while the witness was lost`,
    deadlineMillis: null,
    next: `the witness puts the flag of ${site} to false as soon as it answers; ${site} does not claim until then`,
  };
}

function pauseWaits(site: SiteName): Waiting {
  return {
    what: `to pause ${site}`,
    cause: `the witness has not answered yet that the flag of ${site} is false`,
    deadlineMillis: null,
    next: `it asks again until the answer is known, and ${site} follows until then`,
  };
}

/** The primary that this site asks to follow, if that has paused it. */
function whoPaused({ follower, peers, options }: Inspected): SiteName | null {
  const primary = follower?.link.peer ?? null;
  const said = primary === null ? null : peers.get(primary)?.said;
  return said?.paused?.includes(options.site) === true ? primary : null;
}

function waits(inside: Inspected, now: Millis): Waiting[] {
  const list: Waiting[] = [];
  if (inside.claimWaits !== null) list.push(inside.claimWaits);
  const trouble = witnessTrouble(inside.desk, inside.options.group);
  if (trouble !== null && inside.claimWaits?.cause !== trouble.cause)
    list.push({ what: 'for a witness that it can believe', cause: trouble.cause, deadlineMillis: null, next: trouble.next });
  if (inside.role === 'claiming') {
    list.push({
      what: 'to become primary',
      cause: 'the witness has not answered its claim',
      deadlineMillis: null,
      next: 'it asks again until the answer is known',
    });
  }
  list.push(...inside.growth.waiting(), ...inside.members.waiting());
  const { wentWithout } = inside.agreements;
  if (inside.lead !== null && wentWithout !== null) list.push(aloneWaits(wentWithout));
  const { lead, options } = inside;
  const pausedBy = inside.role === 'joining' ? whoPaused(inside) : null;
  if (pausedBy !== null)
    list.push({
      what: 'to be brought up to date',
      cause: `${pausedBy} has paused it by order`,
      deadlineMillis: null,
      next: `\`tercet resume ${options.group} --site ${options.site}\``,
    });
  if (lead === null) return list;
  if (lead.handover !== null) list.push(lead.handover.waiting());
  for (const peer of lead.followed.values()) {
    if (peer.paused && peer.required) list.push(pauseWaits(peer.site));
    if (!peer.required || peer.lease.holds(now)) continue;
    list.push({
      what: 'to answer hosts',
      cause: `${peer.site}, whose flag may be true, has given no promise that still holds`,
      deadlineMillis: peer.lostAt + options.timings.peerTimeoutMillis,
      next: `${peer.site} is excluded at the witness, then hosts are answered without it`,
    });
  }
  const { state, for: site } = lead.writers.status;
  if (state === 'stopped' && site !== null) list.push(overflowWaits(inside, lead, site));
  else if (inside.pendingRequests > 0 && inside.replica?.full === true) {
    list.push({ what: 'to take writes', cause: 'the sidefile is full', deadlineMillis: null, next: 'destaging makes room' });
  }
  return list;
}
