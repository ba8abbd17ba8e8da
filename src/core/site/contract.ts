// What a site is given and what may be asked of it: the one surface between the core and those who drive it (the daemon, the simulator).

import type { FlagView, Mode, Overflow } from '../base/copies.ts';
import type { BlockDigests, DigestAlgorithm, Buffers, Clock, Compression, Digests, Journal, Random, Storage } from '../base/ports.ts';
import type { Epoch, Millis, Seq, SiteName, VolumeIndex, WallMillis } from '../base/units.ts';
import type { WitnessPort, WitnessView } from '../arbiter/witness-state.ts';
import type { Decision } from './decisions.ts';

import type { ScanHow } from '../mirror/forms.ts';
import type { DigestLogOptions } from '../replica/digest-log.ts';
import type { DestageOptions } from '../replica/schedule.ts';
import type { SetAsideOptions } from '../replica/set-aside.ts';
import type { ResyncRung } from '../replica/superblock.ts';

import type { Finding } from '../scan/verify.ts';

export type { FlagView, Mode, Overflow } from '../base/copies.ts';
export type { Decision, DecisionInputs } from './decisions.ts';
export type { Finding } from '../scan/verify.ts';

/** When copies are compared without being asked to. */
export interface ScrubOptions {
  /** Time from the end of one to the begin of the next. */
  readonly everyMillis: Millis;
  readonly algorithm: DigestAlgorithm;
  readonly reportOnly: boolean;
  /** 0: no bound but the hosts' latency. */
  readonly bytesPerSecond: number;
  /** Minutes of the day, in UTC, within which it works; null for always. */
  readonly window: { readonly fromMinute: number; readonly toMinute: number } | null;
}

export interface SiteSpec {
  readonly name: SiteName;
  readonly mode: Mode;
  /** What is done, while another site is primary, when the sidefile is full of what this one lacks. 'bitmap' when left out. */
  readonly overflow?: Overflow;
  /** No records are held for it while it is away: what it lacks is noted in its bitmap from the moment in which it is lost. */
  readonly bitmapOnly?: boolean;
  /** What a primary sends it at most, records and images. No bound when left out. */
  readonly linkBytesPerSecond?: number;
  /** How frames and images are packed on the way to it. Not at all when left out. */
  readonly compress?: 'zstd';
  /** Of how many streams its links are; between two sites that differ in this, the larger. One connection for everything when left out. */
  readonly streams?: number;
  /** Records for it are collected for this long and go as one step, without what is written over in it. Not folded when left out. */
  readonly foldMillis?: Millis;
  /** async: its sidefile is kept in memory alone. On its disk when left out. */
  readonly sidefile?: 'memory';
}

export interface VolumeSpec {
  readonly name: string;
  /** As the configuration has it; rises while the site runs (Growth.resize), which the copy then follows. */
  sizeBytes: number;
  /** Name of the base image for Storage.open. */
  readonly baseFile: string;
  /** How long requests for it are held while nobody may serve, in place of Timings.holdMillis; Infinity: they are never failed. */
  readonly holdMillis?: Millis;
}

/** Times of arbitration. All in milliseconds of the site's own monotonic clock. */
export interface Timings {
  /** How long a promise holds, and so a primary's right to serve after its last heartbeat was answered. */
  readonly leaseMillis: Millis;
  readonly heartbeatMillis: Millis;
  /** A required peer that has acknowledged nothing for this long is excluded (gray failures). */
  readonly peerTimeoutMillis: Millis;
  /** Pause between two tries to reach the witness. */
  readonly witnessRetryMillis: Millis;
  /** How often the witness is made to write; simulated lives are too short for limits.witnessProveMillis. */
  readonly witnessProveMillis?: Millis;
  /** Share of a promise that the primary does not count on: clocks of two machines may drift apart by this much. */
  readonly driftShare: number;
  /** Held host requests are failed after this long with nobody able to serve. */
  readonly holdMillis: Millis;
  /** Records for an async peer are collected for this long before they are sent. */
  readonly asyncDelayMillis: Millis;
}

export interface SiteOptions {
  readonly group: string;
  readonly site: SiteName;
  /** All copies, in order of preference for serving; the same on each site. */
  readonly sites: readonly SiteSpec[];
  readonly volumes: readonly VolumeSpec[];
  readonly timings: Timings;
  readonly segmentBytes: number;
  readonly capacityBytes: number;
  /** Most records that are kept for a copy that lacks them: the oldest is given up for the next one, and noted. Left out or 0: as many as there is room for. */
  readonly recordsMax?: number | undefined;
  /** Disk space that is set aside for it, whatever else fills the disk: how much at least. Between that and the capacity it follows the lag. */
  readonly setAside: SetAsideOptions;
  /** Destaging begins when records are this old, and at once when this much is waiting. */
  readonly destageIdleMillis: Millis;
  readonly destageBacklogBytes: number;
  /** Bytes of records that are looked through in one turn before others are cut off. Less in the simulator. */
  readonly cutStepBytes?: number | undefined;
  /** How large the log of digests of a volume becomes. Less in the simulator. */
  readonly digestLog?: DigestLogOptions | undefined;
  /** How large the steps of destaging are, where that is not left to it. */
  readonly destageSteps?: Pick<DestageOptions, 'roundBytes' | 'flushBytes' | 'longPieceBytes'> | undefined;
  /** What one bit of a peer's bitmap stands for. */
  readonly bitmapChunkBytes: number;
  /** Bytes of images after which a mirror notes how far a resync is, so that one that is cut off goes on from there. */
  readonly resyncPieceBytes: number;
  /** How copies are compared unless something else is ordered; null: they are sent as a whole. */
  readonly scan: ScanHow | null;
  /** How long the witness has to be lost before a mirrored pair agrees that its primary may go on alone; left out: never. */
  readonly preElectionMillis?: Millis | undefined;
  /** Undefined: only by order. */
  readonly scrub?: ScrubOptions | undefined;
  /** Changes with each start of the machine, not of the process: tells a power loss from a crash of the program. */
  readonly bootId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly digests: Digests;
  readonly blockDigests: BlockDigests;
  readonly storage: Storage;
  readonly buffers: Buffers;
  /** Left out where nothing can be packed or unpacked. */
  readonly compression?: Compression | undefined;
  readonly witness: WitnessPort;
  readonly journal: Journal;
  readonly shell: SiteShell;
}

/** What the site asks of whoever drives it. */
export interface SiteShell {
  /** Something happened inside: call turn() once at the end of the present turn of the event loop. Called often; must be cheap. */
  wake(): void;
  /** Serving may have begun or ended: when it ended, connections of hosts are to be dropped (their unanswered writes are unknown to them). */
  servingChanged(serving: boolean, reason: string): void;
  /** A broken disk, a damaged copy or the like: the site takes no further part with this replica, but goes on answering status. */
  failed(reason: string): void;
  /** Something was decided about who serves: to be kept where people find it. */
  decided(decision: Decision): void;
}

export type HostCommand = 'read' | 'write' | 'flush' | 'trim' | 'zeroes' | 'cache' | 'status';

/** Answers of a site to a host: 0, or an error of the NBD protocol. */
export type HostError = 0 | 1 | 5 | 12 | 22 | 28 | 75 | 95 | 108;

/** Where a request's answer goes: a client's connection. */
export interface HostSession {
  /** True once the client is gone: what has not been carried out for it by then must not be. */
  readonly gone?: boolean;
  /**
   * Data of at most 16 KiB is valid only during the call; longer data stays as it is, until the garbage collector has it or, when it is `lent`,
   * until whoever sends it gives it back to the Buffers of the daemon, which it need not do.
   */
  reply(request: HostRequest, error: HostError, data?: Uint8Array | null, lent?: boolean): void;
  replyStatus(request: HostRequest, extents: readonly BlockExtent[]): void;
}

/** A run of bytes of a volume with one answer to BLOCK_STATUS. */
export interface BlockExtent {
  readonly length: number;
  readonly hole: boolean;
  readonly zero: boolean;
}

/** One validated request of a host: range inside the volume, command known. An NbdRequest is one. */
export interface HostRequest {
  readonly session: HostSession;
  readonly command: HostCommand;
  readonly volume: VolumeIndex;
  readonly offset: number;
  readonly length: number;
  readonly fua: boolean;
  /** zeroes: the range must stay allocated. */
  readonly noHole: boolean;
  /** Bytes of a write; valid until the end of the turn in which it arrived. */
  payload: Uint8Array | null;
  /** Where they lie in memory of their own, which is theirs until the request is answered, however many turns that takes. */
  readonly memory?: Uint8Array | null;
  /** Scratch of the site: last seq of the write, or the seq that must be committed before the answer. */
  seq: Seq;
  needSeq: Seq;
  /** Scratch of the site: a read's bytes while its answer waits. */
  data: Uint8Array | null;
  startedMillis: Millis;
}

/** What a site does now for its group. */
export type Role =
  /** Opening its replica. */
  | 'starting'
  /** No replica here yet, and none could be filled so far. */
  | 'absent'
  /** Has a copy, follows nobody, does not serve. */
  | 'standby'
  /** Has asked the witness to become primary and does not know the answer yet. */
  | 'claiming'
  /** Primary of the newest epoch it knows. Whether it may answer hosts at this moment is `serving`. */
  | 'primary'
  /** Being made equal to the start of following: cutting back, or receiving a whole copy. */
  | 'joining'
  /** Follows the primary in order. */
  | 'mirror'
  /** The disk or the copy failed; takes no part. */
  | 'failed'
  | 'stopped';

export interface PeerStatus {
  readonly site: SiteName;
  readonly mode: Mode;
  /** Whether a connection stands and both sides have said who they are. */
  readonly connected: boolean;
  /** What that site said of itself last; null when it has never been heard. */
  readonly role: Role | null;
  readonly epoch: Epoch | null;
  /** As primary: whether it follows in this epoch; 'copying' while it receives a whole copy. */
  readonly attached: 'no' | 'joining' | 'copying' | 'following';
  readonly flag: FlagView | null;
  readonly received: Seq | null;
  readonly durable: Seq | null;
  readonly destaged: Seq | null;
  /** What the peer lacks of the primary's records; null when it cannot be known here. */
  readonly lagRecords: number | null;
  readonly lagBytes: number | null;
  readonly lagSeconds: number | null;
  /** As primary: milliseconds for which this peer's promise still counts. */
  readonly leaseMillis: Millis | null;
  readonly copiedBytes: number | null;
  readonly copyTotalBytes: number | null;
  /** While both sites follow nobody: how the copies stand to each other. */
  readonly level: LevelStatus | null;
  /** As primary, while the peer is brought up to date. */
  readonly resync: ResyncStatus | null;
  readonly lastError: string | null;
  /** As primary: whether it is paused by order. A sync one follows all the same until the witness has its flag false. */
  readonly paused: boolean;
  /** As primary: what it is sent at most in a second; null without a bound. */
  readonly paceBytesPerSecond: number | null;
  /** Bytes of records and images that went to it since this site started: as they are, and as they went. */
  readonly traffic: { readonly rawBytes: number; readonly sentBytes: number; readonly foldedFrames: number };
  /** What folding has saved on the way to it since this site started: frames that are one step, records without their payloads, bytes. */
  readonly folding: { readonly frames: number; readonly records: number; readonly savedBytes: number };
  /** Null while the link is one connection. */
  readonly streams: StreamStatus | null;
}

/** How the streams of a link are. */
export interface StreamStatus {
  readonly wanted: number;
  readonly open: number;
  /** Records and images that have come and wait for one before them. */
  readonly waitingBytes: number;
  /** What is on its way to the peer from the oldest message on that has not arrived. */
  readonly aheadBytes: number;
  /** Since this site started: messages that came before one that is before them, streams that ended before their link, messages that went again. */
  readonly early: number;
  readonly lost: number;
  readonly again: number;
}

/** How a peer is brought up to date. */
export interface ResyncStatus {
  readonly rung: 'delta' | ResyncRung;
  /** scan: by which digest. */
  readonly algorithm: DigestAlgorithm | null;
  /** Why not by the rung above; of a delta, why by it. */
  readonly why: string;
  /** delta: of the records that it lacked when it joined. Else: of what is gone through, and that is compared or sent. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly sentBytes: number;
  /** Everything was sent: the mirror brings it into its base images. */
  readonly ending: boolean;
  /** At the pace so far; null when that is not known. */
  readonly secondsLeft: number | null;
}

/** How the own copy stands to another one while both follow nobody. */
export interface LevelStatus {
  /** apart: they cannot be made equal without a primary, `why` says it. giving, taking: it is being done. ahead, behind: it is about to be. */
  readonly is: 'equal' | 'giving' | 'taking' | 'ahead' | 'behind' | 'apart';
  /** Newest record of the other copy, as it said. */
  readonly theirs: Seq | null;
  readonly leftRecords: number | null;
  readonly why: string | null;
}

/** Whether the sidefile of one copy could bring another copy up to date by delta now, and until when. */
export interface CoverageStatus {
  /** Whose sidefile. */
  readonly from: SiteName;
  /** Which copy it would bring up to date. */
  readonly to: SiteName;
  readonly state: 'ready' | 'preparing' | 'not-ready';
  /** Null when it is ready. */
  readonly why: string | null;
  /** How much can be written, with nothing more reaching `to`, until the sidefile no longer covers what that lacks; null when it does not now. */
  readonly slackBytes: number | null;
  /** The same in records and seconds at the present rate of writes; null also when nothing is being written, but for records where their count is fixed. */
  readonly slackRecords: number | null;
  readonly slackSeconds: number | null;
}

/** What was agreed while the witness was lost. */
export interface AgreementStatus {
  /** As primary: it may go on without this site until the witness answers again. */
  readonly mayGoWithout: SiteName | null;
  /** As primary: it went on without this site, and the witness has not heard of it yet. */
  readonly wentWithout: SiteName | null;
  /** It does not claim, because this site may be serving alone. */
  readonly leftTo: SiteName | null;
}

/** How fast hosts may write, for the sake of a copy that lags. */
export interface WritersStatus {
  readonly state: 'free' | 'slowed' | 'stopped';
  /** Which copy that is. */
  readonly for: SiteName | null;
  /** While slowed: what is let through. */
  readonly bytesPerSecond: number | null;
}

/** Why something waits: cause, when it is given up, and what happens then. Rule 12. */
export interface Waiting {
  readonly what: string;
  readonly cause: string;
  /** By the site's own clock; the control API turns it into milliseconds from now. */
  readonly deadlineMillis: Millis | null;
  readonly next: string;
}

/** The verify that is under way here, or the last one. */
export interface VerifyProgress {
  readonly running: boolean;
  /** It is a scrub: begun by its schedule, and at work at its times of the day only. */
  readonly scheduled: boolean;
  /** It waits for these. */
  readonly resting: boolean;
  readonly algorithm: DigestAlgorithm | null;
  readonly reportOnly: boolean;
  readonly totalBytes: number;
  /** Of the volumes, before the cursor. */
  readonly passedBytes: number;
  /** Compared, unused ranges included. */
  readonly verifiedBytes: number;
  /** Could not be compared, though it was tried again and again. */
  readonly unverifiedBytes: number;
  readonly bytesPerSecond: number;
  readonly etaSeconds: number | null;
  /** By the wall clock; null when there was none yet. */
  readonly beganMillis: WallMillis | null;
  readonly endedMillis: WallMillis | null;
  /** No block was compared longer ago than this; null when not every one was ever compared. */
  readonly oldestUnverifiedSeconds: number | null;
  /** Copies that were compared with this one all the time. */
  readonly comparedSites: readonly SiteName[];
  /** Blocks of copies that differ from what is right, each copy's counted. */
  readonly differingBlocks: number;
  /** Places in sidefiles that their disks had changed. */
  readonly damagedRecords: number;
  /** How many of both are as they were: not mended, or not proven. */
  readonly unmended: number;
  /** Copies whose records have all been looked at, and the bytes of these. */
  readonly recordsCheckedSites: readonly SiteName[];
  readonly recordsCheckedBytes: number;
}

/** The same, with what was found. */
export interface VerifyStatus extends VerifyProgress {
  readonly findings: readonly Finding[];
}

/** An order to hold a position of the copy here under a name: a point, as of which the volumes can be read. */
export interface PointOrder {
  readonly name: string;
  /** Null: the newest committed record of the copy here. */
  readonly at: { readonly seq: Seq } | { readonly timeMillis: WallMillis } | null;
}

/** A point of the copy here. */
export interface PointStatus {
  readonly name: string;
  readonly epoch: Epoch;
  readonly seq: Seq;
  /** Wall clock of the primary when it numbered the record; null where that was not known any more. */
  readonly timeMillis: WallMillis | null;
  readonly madeMillis: WallMillis;
  /** Lost: given up, because something that must not wait needed what it holds. */
  readonly state: 'preparing' | 'ready' | 'lost';
  /** Why it is lost. */
  readonly why: string | null;
  readonly connections: number;
  /** Bytes of records behind it, which the sidefile keeps at least until it ends. */
  readonly pinnedBytes: number;
}

/** How large a volume is. */
export interface VolumeStatus {
  readonly name: string;
  /** What hosts that connect now are served. */
  readonly sizeBytes: number;
  /** What the copy here can hold; null while there is none. */
  readonly heldBytes: number | null;
}

/** Everything that may honestly be said of a site now: computed when asked, never stored. */
export interface SiteStatus {
  readonly group: string;
  readonly site: SiteName;
  readonly role: Role;
  readonly serving: boolean;
  /** Which records a host's write waits for: 'mirrored' (a sync peer has it), 'solo' (own disk), or null when not serving. */
  readonly protection: 'mirrored' | 'solo' | 'changing' | null;
  readonly epoch: Epoch;
  readonly knownPrimary: SiteName | null;
  readonly marks: {
    readonly oldest: Seq;
    readonly destaged: Seq;
    readonly committed: Seq;
    readonly durable: Seq;
    readonly received: Seq;
  } | null;
  readonly consistent: boolean;
  readonly unclean: boolean;
  readonly sidefileBytes: number;
  readonly sidefileCapacityBytes: number;
  /** When the sidefile will be full if it goes on as in the last seconds; null when it does not grow, or that is not known. */
  readonly sidefileFullSeconds: number | null;
  /** What its files take together with what is set aside for it on the disk; null where nothing is, or the file system cannot. */
  readonly sidefileSetAsideBytes: number | null;
  /** memory: what is not in the base image goes with the process. */
  readonly sidefileIn: 'disk' | 'memory';
  readonly witness: {
    readonly reachable: boolean | null;
    readonly view: WitnessView | null;
    readonly ageMillis: Millis | null;
    /** How long ago the whole path was proved, the witness's disk included; null before the first time. */
    readonly provedAgeMillis: Millis | null;
    /** Why the witness that answers is not believed, and the way out; null while it is, or does not answer. */
    readonly trouble: { readonly cause: string; readonly next: string } | null;
  };
  readonly peers: readonly PeerStatus[];
  /** As primary each ordered pair of copies; elsewhere those whom this site could give to. */
  readonly coverage: readonly CoverageStatus[];
  /** Null where nothing is ever agreed without the witness. */
  readonly agreement: AgreementStatus | null;
  /** As primary; null elsewhere. */
  readonly writers: WritersStatus | null;
  readonly waiting: readonly Waiting[];
  readonly heldRequests: number;
  readonly volumes: readonly VolumeStatus[];
  /** Those of this copy, and some that it has lost. */
  readonly points: readonly PointStatus[];
  readonly counters: Readonly<Record<SiteCounter, number>>;
  readonly failure: string | null;
  readonly verify: VerifyProgress;
}

export const SITE_COUNTERS = [
  'writes',
  'writtenBytes',
  'reads',
  'readBytes',
  'flushes',
  'frames',
  'frameBytes',
  'coldReads',
  'sentBytes',
  'receivedBytes',
  'claims',
  'excludes',
  'admits',
  'joins',
  'copies',
  'cutBackRecords',
  'levels',
  'levelBytes',
] as const;
export type SiteCounter = (typeof SITE_COUNTERS)[number];

/** An order for a planned change of the primary. */
export interface SwitchoverOrder {
  /** The site that is to be primary; null for the first in the group's order that can. */
  readonly to: SiteName | null;
  /** Only tell what would happen. */
  readonly dryRun: boolean;
}

/** An order to send a mirror nothing until it is resumed. */
export interface PauseOrder {
  readonly site: SiteName;
  /** Also if no other mirror would be left that holds what hosts are told of, or none that follows. */
  readonly force: boolean;
}

/** Outcome of an administrator's order. */
export type OrderOutcome =
  | { readonly kind: 'done'; readonly text: string }
  | { readonly kind: 'refused'; readonly text: string; readonly remedy: string };
