// The primary's view of one peer during one reign: what it holds, what it was sent, what its flag is known to be, and its promise. A new reign
// makes new ones, so nothing known in an older epoch can be relied on by accident.

import { assert } from '../base/assert.ts';
import type { FlagView } from '../base/copies.ts';
import { limits } from '../base/limits.ts';
import type { Millis, Seq, SiteName } from '../base/units.ts';
import { Lease } from '../arbiter/lease.ts';
import type { CopySender } from './copy.ts';
import type { Folder } from './fold.ts';
import { type LinkPace, UNPACED } from './link-pace.ts';
import type { TailFrame } from './tail.ts';
import type { Join } from './forms.ts';
import type { Peer } from './peer.ts';

/**
 * no: not connected, or connected and not asking. joining: was told from where to follow and is cutting back. copying: receives records and
 * images, is inconsistent. following: holds everything up to `received`.
 */
export type Attached = 'no' | 'joining' | 'copying' | 'following';

/** A delta: what the peer lacked when it asked to join. */
export interface DeltaBegin {
  readonly beganAt: Millis;
  /** With this record it has what it lacked. */
  readonly target: Seq;
  /** Bytes of the records that it lacked. */
  readonly totalBytes: number;
  readonly why: string;
}

/** What was sent and is not acknowledged. */
interface InFlight {
  readonly lastSeq: Seq;
  readonly bytes: number;
  /** Of what is one step, its first record. */
  readonly stepFrom: Seq | undefined;
}

export class FollowedPeer {
  readonly peer: Peer;
  readonly lease: Lease;
  attached: Attached = 'no';
  /** Set by the witness's answers only; `maybe` from the moment a change is wanted until its answer is known. */
  flag: FlagView;
  /** Highest contiguous seq it holds in this epoch; 0 while not attached. */
  received: Seq = 0;
  /** Highest seq it has on stable storage; 0 while not attached. */
  durable: Seq = 0;
  destaged: Seq = 0;
  /** Newest durable seq that was ever true of it in this reign, kept while it is away: what it needs from the sidefile begins behind it. */
  keptFrom: Seq | null = null;
  /** Newest seq that it is known to have on stable storage as part of a consistent copy, in this reign; null when nothing is known. */
  knownDurable: Seq | null = null;
  /** Whether the witness has it as a copy of the group: one that it does not know yet does not follow. */
  entered = true;
  /** The sidefile had to forget records that it lacks: only a copy brings it back. */
  uncovered = false;
  /** By order it is sent nothing: it is let go once nothing waits for it, and its joins wait. */
  paused = false;
  /** How fast it may be sent records and images. */
  pace: LinkPace = UNPACED;
  /** Folds what goes to it, where that was chosen. */
  folder: Folder | null = null;
  /** Images of its resync go before records in the next turn: where the pace is too slow for both, they take turns. */
  imagesFirst = false;
  /** Writers were faster than a resync of it: they are slowed down for the next one. */
  outrun = false;
  /** What it has got done, in any unit, and when that changed last. */
  progress = 0;
  progressAt: Millis = -Infinity;
  /** When it began to follow last. */
  attachedAt: Millis = -Infinity;
  /** It was excluded because it did not acknowledge in time: it is not admitted again before, so that it does not come and go. */
  admitNotBefore: Millis = -Infinity;
  /** While joining: the seq that it was told to follow from. */
  joinAt: Seq = 0;
  /** Next record to send. */
  nextSeq: Seq = 0;
  /** Since when it owes an acknowledgement; Infinity when it owes none. */
  owingSince: Millis = Infinity;
  /** When it was last lost; decides when waiting for its return ends. */
  lostAt: Millis;
  /** A join that waits until the peer's flag is known false: a copy that is about to be overwritten must not count as synchronised. */
  pendingJoin: Join | null = null;
  copy: CopySender | null = null;
  /** The delta that brings it up to date, until it has what it lacked; null when there is none. */
  delta: DeltaBegin | null = null;
  /** Records for an async peer are sent when this moment has come. */
  sendDue: Millis = Infinity;
  /** Frames for an async peer that are collected in memory, the first of them the next to send: sending them needs no read of the sidefile. */
  readonly #collected: TailFrame[] = [];
  #collectedBytes = 0;
  /** Highest seq whose durability it was asked for. */
  flushAsked: Seq = 0;
  #inFlight: InFlight[] = [];
  #inFlightHead = 0;
  #inFlightBytes = 0;

  constructor(peer: Peer, flag: FlagView, driftShare: number, now: Millis) {
    this.peer = peer;
    this.flag = flag;
    this.lease = new Lease(driftShare);
    this.lostAt = now;
  }

  get site(): SiteName {
    return this.peer.name;
  }

  /** A sync peer whose flag may be true: nothing is acknowledged, and nobody served, without it. */
  get required(): boolean {
    return this.peer.mode === 'sync' && this.flag !== 'false';
  }

  get windowBytes(): number {
    return limits.peerWindowBytes - this.#inFlightBytes;
  }

  get streaming(): boolean {
    return this.attached === 'following' || this.attached === 'copying';
  }

  /** Whether it is sent folded frames now: not while images come, which are as of single records. */
  get folds(): boolean {
    return this.folder !== null && this.attached === 'following' && this.peer.link?.takesFolded === true;
  }

  get #collectedBytesMax(): number {
    // What becomes one step is sent once so much is there: the frame that makes it so much is to be kept as well.
    return this.folder === null ? limits.collectedBytesMax : this.folder.bytesMax + 2 * limits.framePayloadBytesTarget;
  }

  get foldMillis(): Millis {
    return this.folder?.millis ?? 0;
  }

  get collectedBytes(): number {
    return this.#collectedBytes;
  }

  /** Keeps a frame for the next sending; one that does not go on from what is kept is read from the sidefile then. */
  collect(frame: TailFrame): void {
    const last = this.#collected[this.#collected.length - 1];
    const next = last === undefined ? this.nextSeq : last.lastSeq + 1;
    if (frame.firstSeq !== next || this.#collectedBytes + frame.bytes.length > this.#collectedBytesMax) return;
    frame.retain();
    this.#collected.push(frame);
    this.#collectedBytes += frame.bytes.length;
  }

  /** The frames that were collected, to be released by whoever takes them; none when they are not the next to send. */
  takeCollected(): TailFrame[] {
    const frames = this.#collected.splice(0);
    this.#collectedBytes = 0;
    if (frames[0]?.firstSeq === this.nextSeq) return frames;
    for (const frame of frames) frame.release();
    return [];
  }

  sent(lastSeq: Seq, bytes: number, now: Millis, stepFrom?: Seq): void {
    assert(lastSeq >= this.nextSeq, 'what is sent must go on from what was sent', { site: this.site, lastSeq, nextSeq: this.nextSeq });
    this.nextSeq = lastSeq + 1;
    this.#inFlight.push({ lastSeq, bytes, stepFrom });
    this.#inFlightBytes += bytes;
    if (this.owingSince === Infinity) this.owingSince = now;
  }

  /**
   * Takes what the peer says it holds. Returns null, or what is wrong with it: a peer that acknowledges what it was not sent, or takes back
   * what it had, is not to be believed in anything.
   */
  acknowledged(said: { received: Seq; durable: Seq; destaged: Seq }, now: Millis): string | null {
    if (said.received >= this.nextSeq) return `acknowledges record ${said.received}, but was sent only those up to ${this.nextSeq - 1}`;
    const step = this.#stepAt(said.received);
    if (step !== null) return `acknowledges record ${said.received}, within ${step}`;
    if (said.received < this.received) return `takes back records: held ${this.received}, now says ${said.received}`;
    if (said.durable < this.durable) return `takes back durable records: ${this.durable}, now says ${said.durable}`;
    if (said.durable > said.received) return `calls record ${said.durable} durable and holds only ${said.received}`;
    if (said.received > this.received) this.owingSince = said.received + 1 >= this.nextSeq ? Infinity : now;
    this.received = said.received;
    this.durable = said.durable;
    this.destaged = said.destaged;
    this.keptFrom = Math.max(this.keptFrom ?? 0, said.durable + 1);
    if (this.attached === 'following') this.knownDurable = said.durable;
    if (this.delta !== null && said.received >= this.delta.target) this.delta = null;
    while (this.#inFlightHead < this.#inFlight.length) {
      const oldest = this.#inFlight[this.#inFlightHead] as InFlight;
      if (oldest.lastSeq > this.received) break;
      this.#inFlightBytes -= oldest.bytes;
      this.#inFlightHead++;
    }
    if (this.#inFlightHead > 256 || this.#inFlightHead === this.#inFlight.length) {
      this.#inFlight.splice(0, this.#inFlightHead);
      this.#inFlightHead = 0;
    }
    return null;
  }

  /** The step on its way within which a record lies that is not its last; null when there is none. */
  #stepAt(seq: Seq): string | null {
    for (let i = this.#inFlightHead; i < this.#inFlight.length; i++) {
      const { lastSeq, stepFrom } = this.#inFlight[i] as InFlight;
      if (lastSeq < seq) continue;
      const isWithin = stepFrom !== undefined && seq >= stepFrom && seq < lastSeq;
      return isWithin ? `records ${stepFrom} to ${lastSeq}, which went as one step` : null;
    }
    return null;
  }

  /** Begins to follow at a position. */
  attach(how: 'copying' | 'following', position: { received: Seq; durable: Seq }, now: Millis): void {
    this.attached = how;
    this.attachedAt = now;
    this.received = position.received;
    this.durable = position.durable;
    this.nextSeq = position.received + 1;
    this.keptFrom = how === 'following' ? position.durable + 1 : position.received + 1;
    this.knownDurable = how === 'following' ? position.durable : null;
    this.uncovered = false;
    this.owingSince = Infinity;
    // What it lacks already is sent at once; only what comes later is collected.
    this.sendDue = now;
    this.flushAsked = 0;
    this.#resetFlight();
  }

  /** Its connection ended, or it is to join anew: what it held is no longer known. */
  detach(now: Millis): void {
    if (this.attached !== 'no') this.lostAt = now;
    this.attached = 'no';
    this.received = 0;
    this.durable = 0;
    this.owingSince = Infinity;
    this.sendDue = Infinity;
    this.pendingJoin = null;
    this.copy?.stop();
    this.copy = null;
    this.delta = null;
    for (const frame of this.#collected.splice(0)) frame.release();
    this.#collectedBytes = 0;
    this.#resetFlight();
  }

  #resetFlight(): void {
    this.#inFlight = [];
    this.#inFlightHead = 0;
    this.#inFlightBytes = 0;
  }
}
