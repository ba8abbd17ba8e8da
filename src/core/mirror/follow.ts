// The mirror's side: join, cut back, take records in order, say what is held. A follower belongs to one connection and one epoch; when either
// ends, so does it, and from that moment it acknowledges nothing and promises nothing. That is what "detached" means for a claim (rule 5).

import type { Promised } from '../arbiter/lease.ts';
import { BITS_OF_PAGE } from '../base/bits.ts';
import { copyOf } from '../base/bytes.ts';
import { limits } from '../base/limits.ts';
import type { BlockDigests, Clock, Journal } from '../base/ports.ts';
import type { History } from '../base/position.ts';
import type { Epoch, Millis, Seq, SiteName } from '../base/units.ts';
import type { ReplicaFailure } from '../replica/options.ts';
import type { Bitmaps } from '../replica/bitmaps.ts';
import type { CopyReceiver, Cursor } from '../replica/receive.ts';
import type { ResyncRung } from '../replica/superblock.ts';
import { type HeldCopy, type HeldTable, readHeld } from './held.ts';
import { choiceOf, readFollow, type Follow, type Join, type Joined, type ScanChoice, type StagedJoin } from './forms.ts';
import type { Link } from './link.ts';
import { type Findings, ScanSide } from './scan.ts';
import {
  ACKNOWLEDGE_BODY,
  decodeNumbers,
  encodeJson,
  encodeNumbers,
  FLUSH_BODY,
  HEARTBEAT_ANSWER_BODY,
  HEARTBEAT_BODY,
  HELD_ACKNOWLEDGE_BODY,
  IMAGE_ACKNOWLEDGE_BODY,
  IMAGE_BODY,
  IMAGE_ASK_BODY,
  IMAGE_END_BODY,
  BITMAP_BODY,
  CURSOR_BODY,
  type Message,
} from './messages.ts';

/** What a follower needs of its replica. */
export interface FollowingReplica {
  readonly marks: {
    readonly oldest: Seq;
    readonly destaged: Seq;
    readonly destageTarget: Seq;
    readonly committed: Seq;
    readonly durable: Seq;
    readonly received: Seq;
  };
  readonly epoch: Epoch;
  readonly history: History;
  readonly consistent: boolean;
  readonly unclean: boolean;
  readonly full: boolean;
  /** A change of epoch, or a copy's begin or end, is under way. */
  readonly changing: boolean;
  retainFrom: Seq;
  /** What this copy can hold, and what every copy can: that is compared. */
  readonly volumes: readonly { readonly sizeBytes: number }[];
  readonly sizes: { readonly agreed: readonly { readonly sizeBytes: number }[] };
  chainAt(seq: Seq): number | null;
  /** Whether it can be cut back to a record: nothing ends within records that came as one step. */
  endsAt(seq: Seq): boolean;
  /** Bytes that the sidefile may still grow. */
  spaceLeft(): number;
  accept(
    bytes: Uint8Array,
  ):
    | { kind: 'appended'; lastSeq: Seq }
    | { kind: 'held' }
    | { kind: 'gap'; expected: Seq }
    | { kind: 'foreign'; why: string }
    | { kind: 'damaged'; why: string };
  commit(seq: Seq): void;
  flush(): void;
  adopt(
    options: { epoch: Epoch; history: History; cutTo: Seq; force?: boolean },
    done: (result: 'done' | 'needs-copy' | ReplicaFailure) => void,
  ): void;
  readonly bitmaps: Bitmaps;
  fillBitmap(site: SiteName): boolean;
  readonly receiver: Pick<
    CopyReceiver,
    'staged' | 'partial' | 'begin' | 'resume' | 'writeImage' | 'spare' | 'settled' | 'end' | 'imageRanges' | 'readCold' | 'digestBase'
  >;
  markClean(done: (failure: ReplicaFailure | null) => void): void;
}

/** waiting: a change of the replica that a former connection began is not through yet. asking: the join was sent. adopting: cutting back, or preparing for a copy. Then copying or following. */
export type FollowState = 'waiting' | 'asking' | 'adopting' | 'copying' | 'following' | 'ended';

export class Follower {
  readonly link: Link;
  readonly #replica: FollowingReplica;
  readonly #clock: Clock;
  readonly #journal: Journal;
  readonly #promised: Promised;
  readonly #promiseMillis: Millis;
  readonly #held: HeldTable;
  readonly #changed: () => void;
  readonly #wake: () => void;
  /** All sites of the group, in order. */
  readonly #sites: readonly SiteName[];
  readonly #own: SiteName;
  readonly #bitmapOnly: ReadonlySet<SiteName>;
  readonly #recordsMax: number;
  readonly #blockDigests: BlockDigests;
  readonly #scanWanted: ScanChoice | null;
  #state: FollowState = 'waiting';
  #needsCopy: string | null = null;
  #acknowledgeDue = false;
  #flushWanted: Seq = 0;
  /** With this seq durable, an unclean mirror is clean. */
  #cleanTarget: Seq | null = null;
  #cleaning = false;
  #primaryRetain: Seq = 0;
  #imagesWriting = 0;
  #imageNumber = 0;
  #imagesWritten = 0;
  /** Images are written in any order: all up to this one are, and these behind it. */
  #writtenUpTo = 0;
  readonly #writtenAhead = new Set<number>();
  /** Places that are settled once images up to a number are written. */
  #cursors: { readonly number: number; readonly upTo: Seq; readonly cursor: Cursor }[] = [];
  #scan: ScanSide | null = null;
  /** Whose bitmap is being received. */
  #bitmapComing: SiteName | null = null;
  #copyEnd: Seq | null = null;
  /** The end of the copy is being made durable: frames wait for it. */
  #ending = false;
  #waitingFrames: Uint8Array[] = [];
  imageBytes = 0;
  cutBackRecords = 0;

  constructor(options: {
    link: Link;
    replica: FollowingReplica;
    clock: Clock;
    journal: Journal;
    promised: Promised;
    promiseMillis: Millis;
    sites: readonly SiteName[];
    site: SiteName;
    /** Those for which no records are held while they are away. */
    bitmapOnly: ReadonlySet<SiteName>;
    /** Most records that are kept for another copy; 0 for as many as there is room for. */
    recordsMax: number;
    /** What is known of the other copies; outlives this follower. */
    held: HeldTable;
    blockDigests: BlockDigests;
    /** It was ordered here that this copy is compared with the primary's. */
    scanWanted: ScanChoice | null;
    /** Role or consistency changed. */
    changed: () => void;
    wake: () => void;
  }) {
    this.link = options.link;
    this.#replica = options.replica;
    this.#clock = options.clock;
    this.#journal = options.journal;
    this.#promised = options.promised;
    this.#promiseMillis = options.promiseMillis;
    this.#held = options.held;
    this.#changed = options.changed;
    this.#wake = options.wake;
    this.#sites = options.sites;
    this.#own = options.site;
    this.#bitmapOnly = options.bitmapOnly;
    this.#recordsMax = options.recordsMax;
    this.#blockDigests = options.blockDigests;
    this.#scanWanted = options.scanWanted;
    if (!this.#replica.changing) this.#join();
  }

  get state(): FollowState {
    return this.#state;
  }

  /** From now on nothing is acknowledged or promised, whatever still completes. */
  end(): void {
    this.#state = 'ended';
    this.#scan?.stop();
    this.#waitingFrames = [];
  }

  message(message: Message): void {
    switch (message.name) {
      case 'follow':
        return this.#follow(message.body);
      case 'frame':
        return this.#frame(message.body);
      case 'heartbeat':
        return this.#heartbeat(message.body);
      case 'held':
        return this.#othersHold(message.body);
      case 'flush':
        return this.#flush(message.body);
      case 'image':
        return this.#image(message.body);
      case 'imageEnd':
        return this.#imageEnd(message.body);
      case 'cursor':
        return this.#cursor(message.body);
      case 'bitmap':
        return this.#bitmap(message.body);
      case 'digestAsk':
      case 'digests': {
        const wrong = this.#state === 'copying' ? (this.#scan?.message(message) ?? null) : null;
        return wrong === null ? undefined : this.#refuse(wrong);
      }
      case 'ping':
      case 'compare':
      case 'level':
      case 'levelEnd':
      case 'hello':
      case 'state':
      case 'refuse':
      case 'join':
      case 'joined':
      case 'acknowledge':
      case 'heartbeatAnswer':
      case 'imageAcknowledge':
      case 'heldAcknowledge':
      case 'imageAsk':
      case 'handover':
      case 'handoverReady':
      case 'order':
      case 'orderAnswer':
      case 'verifyAsk':
      case 'verifyAnswer':
      case 'packed':
      case 'streamNumber':
      case 'streamAcknowledge':
        return this.#refuse(`a ${message.name} message makes no sense from a primary`);
    }
  }

  /** Called at the end of each turn: one acknowledgement covers everything that the turn brought. */
  turn(): void {
    if (this.#state === 'waiting' && !this.#replica.changing) this.#join();
    this.#makeRoom();
    this.#overwriteOldest();
    while (this.#waitingFrames.length > 0 && !this.#ending && !this.#mustWait() && this.#streaming())
      this.#accept(this.#waitingFrames.shift() as Uint8Array);
    this.#finishCopy();
    this.#becomeClean();
    if (this.#flushWanted > this.#replica.marks.durable && this.#streaming()) this.#replica.flush();
    if (!this.#acknowledgeDue || !this.#streaming()) return;
    this.#acknowledgeDue = false;
    const { received, durable, destaged } = this.#replica.marks;
    this.link.send('acknowledge', encodeNumbers(ACKNOWLEDGE_BODY, [this.#replica.epoch, received, durable, destaged]));
  }

  /** The replica's durable position has moved. */
  durable(): void {
    this.#acknowledgeDue = true;
  }

  /**
   * A mirror takes what the primary sends: when its sidefile is full of records that are kept for another copy only, those go, and that copy's
   * coverage here with them.
   */
  #makeRoom(): void {
    const { full, marks, retainFrom } = this.#replica;
    if (!full || retainFrom > marks.destaged || !this.#noted(retainFrom)) return;
    this.#journal(
      'coverage.lost',
      { lacksFrom: retainFrom, keptFrom: marks.destaged + 1 },
      'the sidefile is full: records kept for another copy are dropped, their blocks are noted',
    );
    this.#replica.retainFrom = marks.destaged + 1;
  }

  /** Whether the blocks of all records from a seq on are noted for every other copy: whoever forgets a record sets its bits, a mirror too. */
  #noted(from: Seq): boolean {
    return this.#sites.every((site) => site === this.link.peer || site === this.#own || this.#notedFor(site, from));
  }

  #notedFor(site: SiteName, from: Seq): boolean {
    const { bitmaps, marks } = this.#replica;
    // One that is on its way from the primary is waited for.
    if (site !== this.#bitmapComing && bitmaps.ensure(site, from, marks.oldest))
      this.#journal('bitmap.begin', { site, from }, `the blocks of records from ${from} on are noted for ${site}`);
    if (site !== this.#bitmapComing && this.#replica.fillBitmap(site)) return true;
    this.#wake();
    return false;
  }

  /** More records than may be kept for another copy: what it lacks is noted, and none need be held for it any more. */
  #overwriteOldest(): void {
    if (this.#recordsMax === 0 || !this.#streaming() || this.#held.epoch !== this.#replica.epoch) return;
    for (const copy of this.#held.copies.values()) {
      if (!this.#isBeyond(copy) || this.#covers(copy.site, copy.durable) || !this.#notedFor(copy.site, copy.durable + 1)) continue;
      this.#journal(
        'coverage.lost',
        { site: copy.site, lacksFrom: copy.durable + 1 },
        `${copy.site} lacks more records than are kept for it`,
      );
      this.#keep();
    }
  }

  /** Whether a copy lacks more records than are kept for it, all of which are still here. */
  #isBeyond({ durable }: HeldCopy): boolean {
    const { oldest, received } = this.#replica.marks;
    return this.#recordsMax > 0 && received - durable > this.#recordsMax && durable + 1 >= oldest;
  }

  /**
   * A full sidefile makes the primary's frames wait, but not while a copy runs: nothing is destaged before its end marker, which may itself be
   * behind those frames. What is too much goes once the copy has ended.
   */
  #mustWait(): boolean {
    return this.#replica.full && this.#state !== 'copying';
  }

  #streaming(): boolean {
    return this.#state === 'copying' || this.#state === 'following';
  }

  #join(): void {
    const replica = this.#replica;
    const { received, durable, destageTarget, oldest } = replica.marks;
    const join: Join = {
      epoch: replica.epoch,
      history: replica.history,
      received,
      durable,
      destageTarget,
      oldest,
      consistent: replica.consistent,
      unclean: replica.unclean,
      partial: replica.receiver.partial,
      staged: stagedOf(replica),
      scan: this.#scanWanted,
      needsCopy: this.#needsCopy,
    };
    this.#state = 'asking';
    this.link.send('join', encodeJson(join));
  }

  #follow(body: Uint8Array): void {
    const follow = readFollow(body);
    if (follow === null) return this.#refuse('a follow message is malformed');
    if (this.#state !== 'asking') return this.#refuse(`a follow message came while ${this.#state}`);
    if (follow.epoch < this.#replica.epoch)
      return this.#refuse(`epoch ${follow.epoch} is older than ${this.#replica.epoch}, which this site has seen`);
    this.#primaryRetain = follow.retain;
    this.#keep();
    if (follow.rung === 'delta') this.#cutBack(follow);
    else if (follow.resume) this.#resume(follow);
    else this.#beginCopy(follow, follow.rung);
  }

  #cutBack(follow: Follow): void {
    const replica = this.#replica;
    const { received } = replica.marks;
    const own = follow.position <= received ? replica.chainAt(follow.position) : null;
    if (own !== follow.chain) {
      this.#needsCopy = `the chains differ at record ${follow.position}`;
      this.#journal(
        'mirror.diverged',
        { seq: follow.position, own, theirs: follow.chain },
        'the sidefiles differ where they should be equal: a whole copy is asked for',
      );
      return this.#join();
    }
    this.#state = 'adopting';
    this.cutBackRecords = received - follow.position;
    const { committed } = replica.marks;
    // Committed records are lost at the primary only after power was lost at every copy that had to hold them, or by a forced promotion.
    const force = follow.position < committed;
    if (force)
      this.#journal(
        'mirror.committed-cut',
        { to: follow.position, committed },
        'the primary does not have records that were committed: they are cut here too',
      );
    replica.adopt({ epoch: follow.epoch, history: follow.history, cutTo: follow.position, force }, (result) => {
      if (this.#state !== 'adopting') return;
      if (result === 'needs-copy') {
        this.#needsCopy = replica.endsAt(follow.position)
          ? `the base image holds records after ${follow.position}`
          : `record ${follow.position} came as one step with later ones`;
        return this.#join();
      }
      if (result !== 'done') return;
      if (this.cutBackRecords > 0) {
        this.#journal(
          'mirror.cut-back',
          { to: follow.position, records: this.cutBackRecords },
          'records that the primary does not have were cut off',
        );
      }
      this.#cleanTarget = follow.target;
      this.#joined('following');
    });
  }

  #beginCopy(follow: Follow, rung: ResyncRung): void {
    if (follow.cutTo !== null && follow.cutTo < this.#replica.marks.received && !this.#replica.endsAt(follow.cutTo)) {
      this.#needsCopy = `record ${follow.cutTo} came as one step with later ones`;
      return this.#join();
    }
    this.#state = 'adopting';
    const { epoch, history, position, chain, cutTo, imageBytes } = follow;
    this.#journal('mirror.copy-begin', { position, rung }, `a resync by ${rung} begins`);
    const scan = follow.scan === null ? null : choiceOf(follow.scan);
    this.#replica.receiver.begin({ epoch, history, position, chain, rung, cutTo, scan, imageBytes }, (failure) => {
      if (this.#state !== 'adopting' || failure !== null) return;
      this.#needsCopy = null;
      this.#beginScan(follow);
      this.#joined('copying');
    });
  }

  /** Goes on with a resync whose images are staged here. */
  #resume(follow: Follow): void {
    const replica = this.#replica;
    const { staged } = replica.receiver;
    const own = follow.position <= replica.marks.received ? replica.chainAt(follow.position) : null;
    if (
      staged === null ||
      staged.endSeq !== null ||
      own !== follow.chain ||
      follow.position < replica.marks.destaged ||
      !replica.endsAt(follow.position)
    ) {
      this.#needsCopy = `a resync cannot go on at record ${follow.position}`;
      return this.#join();
    }
    this.#state = 'adopting';
    replica.receiver.resume({ epoch: follow.epoch, history: follow.history, cutTo: follow.position }, (failure) => {
      if (this.#state !== 'adopting' || failure !== null) return;
      this.#beginScan(follow);
      this.#joined('copying');
    });
  }

  /** This side of a scan: what is compared is the volume that the resync is to change, with what of it is done already. */
  #beginScan(follow: Follow): void {
    this.#scan?.stop();
    this.#scan = null;
    if (follow.scan === null) return;
    const { receiver, sizes, marks, epoch } = this.#replica;
    const ask = (kind: number, volume: number, offset: number, length: number): void =>
      this.link.send('imageAsk', encodeNumbers(IMAGE_ASK_BODY, [epoch, offset, length, volume, kind]));
    const findings: Findings = {
      differs: ({ volume, offset, length }) => ask(1, volume, offset, length),
      settled: ({ volume, offset }) => ask(2, volume, offset, 0),
      end: () => ask(3, 0, 0, 0),
    };
    const source = {
      marks,
      imageRanges: receiver.imageRanges.bind(receiver),
      readCold: receiver.readCold.bind(receiver),
      digestBase: receiver.digestBase.bind(receiver),
    };
    this.#scan = new ScanSide({
      link: this.link,
      epoch,
      how: follow.scan,
      volumes: follow.sizes?.map((sizeBytes) => ({ sizeBytes })) ?? sizes.agreed,
      source,
      digests: this.#blockDigests,
      from: follow.from,
      findings: follow.scan.compare === 'mirror' ? findings : null,
    });
  }

  #joined(state: 'copying' | 'following'): void {
    this.#state = state;
    const { received, durable } = this.#replica.marks;
    const joined: Joined = { epoch: this.#replica.epoch, received, durable };
    this.link.send('joined', encodeJson(joined));
    this.#scan?.start();
    this.#changed();
    this.#wake();
  }

  #frame(body: Uint8Array): void {
    if (!this.#streaming()) return this.#refuse(`a frame came while ${this.#state}`);
    // Destaging is behind: hold what the primary's window still lets through, and acknowledge it when there is room.
    if (this.#ending || this.#mustWait() || this.#waitingFrames.length > 0) this.#waitingFrames.push(copyOf(body));
    else this.#accept(body);
  }

  #accept(body: Uint8Array): void {
    this.#replica.receiver.spare();
    const accepted = this.#replica.accept(body);
    switch (accepted.kind) {
      case 'appended':
      case 'held':
        this.#acknowledgeDue = true;
        return;
      case 'gap':
        return this.#refuse(`a frame left out records from ${accepted.expected}`);
      case 'foreign':
      case 'damaged':
        return this.#refuse(accepted.why);
    }
  }

  #heartbeat(body: Uint8Array): void {
    const said = decodeNumbers(HEARTBEAT_BODY, body);
    if (said === null) return this.#refuse('a heartbeat is malformed');
    if (said.epoch !== this.#replica.epoch || !this.#streaming()) return;
    this.#replica.commit(Math.min(said.committed, this.#replica.marks.received));
    this.#primaryRetain = said.retain;
    this.#keep();
    if (this.#state !== 'following') return;
    // The promise is given before the answer leaves, so it can only last longer than the primary counts on.
    this.#promised.promise(this.#clock.now(), this.#promiseMillis);
    this.link.send('heartbeatAnswer', encodeNumbers(HEARTBEAT_ANSWER_BODY, [said.epoch, said.number, this.#promiseMillis, 0]));
  }

  #othersHold(body: Uint8Array): void {
    const held = readHeld(body);
    if (held === null) return this.#refuse('a message on what other copies hold is malformed');
    if (held.epoch !== this.#replica.epoch || !this.#streaming()) return;
    this.#held.take(held);
    this.#keep();
    const { oldest } = this.#replica.marks;
    const spaceBytes = Math.max(0, Math.floor(this.#replica.spaceLeft()));
    this.link.send('heldAcknowledge', encodeNumbers(HELD_ACKNOWLEDGE_BODY, [held.epoch, held.number, oldest, spaceBytes]));
  }

  /**
   * Nothing is dropped that another copy is not known to hold, whatever the primary gives up: with it gone, this copy may be the one that gives.
   * Where such records had to go already, the primary's word counts alone.
   */
  #keep(): void {
    const mayGo = (copy: HeldCopy): boolean => this.#bitmapOnly.has(copy.site) || this.#isBeyond(copy);
    const floor = this.#held.floor(this.#replica.epoch, (copy) => mayGo(copy) && this.#covers(copy.site, copy.durable));
    const covered = floor !== null && floor >= this.#replica.marks.oldest;
    this.#replica.retainFrom = covered ? Math.min(this.#primaryRetain, floor) : this.#primaryRetain;
  }

  /** Whether the bitmap here names everything that a copy lacks which holds records up to `durable`. */
  #covers(site: SiteName, durable: Seq): boolean {
    const { bitmaps, marks } = this.#replica;
    const map = bitmaps.get(site);
    return map !== null && site !== this.#bitmapComing && map.from <= durable + 1 && map.to >= marks.received;
  }

  #flush(body: Uint8Array): void {
    const said = decodeNumbers(FLUSH_BODY, body);
    if (said === null) return this.#refuse('a flush message is malformed');
    if (said.epoch !== this.#replica.epoch || !this.#streaming()) return;
    this.#flushWanted = Math.max(this.#flushWanted, said.seq);
    this.#acknowledgeDue = true;
  }

  #image(body: Uint8Array): void {
    const head = decodeNumbers(IMAGE_BODY, body);
    const volume = head === null ? undefined : this.#replica.volumes[head.volume];
    if (head === null || volume === undefined) return this.#refuse('an image is malformed');
    if (head.epoch !== this.#replica.epoch || this.#state !== 'copying') return this.#refuse(`an image came while ${this.#state}`);
    if (head.number !== this.#imageNumber + 1) return this.#refuse(`image ${head.number} came where ${this.#imageNumber + 1} was expected`);
    const { offset, lengthBytes, kind } = head;
    if (offset + lengthBytes > volume.sizeBytes || lengthBytes === 0)
      return this.#refuse(`an image of ${lengthBytes} bytes at ${offset} is outside its volume`);
    if (kind !== 1 && kind !== 2) return this.#refuse(`an image has unknown kind ${kind}`);
    if (kind === 1 && (body.length !== IMAGE_BODY.bytes + lengthBytes || lengthBytes > limits.imageBytesMax))
      return this.#refuse('an image has not the length that it says');
    this.#imageNumber = head.number;
    this.#imagesWriting++;
    this.imageBytes += lengthBytes;
    const content = kind === 1 ? copyOf(body.subarray(IMAGE_BODY.bytes)) : { zeroLength: lengthBytes };
    this.#replica.receiver.writeImage(head.volume, offset, content, (failure) => {
      this.#imagesWriting--;
      if (this.#state !== 'copying' || failure !== null) return;
      this.#imagesWritten++;
      this.#writtenAhead.add(head.number);
      while (this.#writtenAhead.delete(this.#writtenUpTo + 1)) this.#writtenUpTo++;
      this.#settle();
      this.link.send('imageAcknowledge', encodeNumbers(IMAGE_ACKNOWLEDGE_BODY, [this.#replica.epoch, this.#imagesWritten]));
      this.#wake();
    });
  }

  #cursor(body: Uint8Array): void {
    const said = decodeNumbers(CURSOR_BODY, body);
    if (said === null) return this.#refuse('a cursor is malformed');
    if (said.epoch !== this.#replica.epoch || this.#state !== 'copying') return this.#refuse(`a cursor came while ${this.#state}`);
    if (said.number > this.#imageNumber || said.volume > this.#replica.volumes.length)
      return this.#refuse(`a cursor tells of image ${said.number}, ${this.#imageNumber} came`);
    this.#cursors.push({ number: said.number, upTo: said.upTo, cursor: { volume: said.volume, offset: said.offset } });
    this.#settle();
  }

  /** Notes the newest place before which every image is written. */
  #settle(): void {
    let settled: { cursor: Cursor; upTo: Seq } | null = null;
    for (let next = this.#cursors[0]; next !== undefined && next.number <= this.#writtenUpTo; next = this.#cursors[0]) {
      settled = next;
      this.#cursors.shift();
    }
    if (settled !== null) this.#replica.receiver.settled(settled.cursor, settled.upTo);
  }

  #bitmap(body: Uint8Array): void {
    const head = decodeNumbers(BITMAP_BODY, body);
    const site = head === null ? undefined : this.#sites[head.site];
    if (head === null || site === undefined) return this.#refuse('a bitmap is malformed');
    const { bitmaps, marks, epoch } = this.#replica;
    if (head.epoch !== epoch || !this.#streaming()) return this.#refuse(`a bitmap came while ${this.#state}`);
    if (head.chunkBytes !== bitmaps.chunkBytes)
      return this.#refuse(
        `a bitmap of ${head.chunkBytes} bytes for each bit came, here they are ${bitmaps.chunkBytes}: configure all sites alike`,
      );
    switch (head.kind) {
      case 1:
        if (head.from > head.to + 1) return this.#refuse('a bitmap ends before it begins');
        // Counts for nothing before it is whole.
        bitmaps.begin(site, head.from, head.from - 1);
        this.#bitmapComing = site;
        return;
      case 2:
        if (
          this.#bitmapComing !== site ||
          body.length !== BITMAP_BODY.bytes + BITS_OF_PAGE / 8 ||
          !bitmaps.addPage(site, head.volume, head.page, body.subarray(BITMAP_BODY.bytes))
        )
          return this.#refuse('a page of a bitmap makes no sense');
        return;
      case 3: {
        const map = bitmaps.get(site);
        if (this.#bitmapComing !== site || map === null) return this.#refuse('a bitmap ends that did not begin');
        this.#bitmapComing = null;
        map.to = Math.max(head.to, marks.received);
        if (head.to < marks.received) bitmaps.drop(site);
        return;
      }
      case 4:
        return bitmaps.drop(site);
      default:
        return this.#refuse(`a bitmap message has unknown kind ${head.kind}`);
    }
  }

  #imageEnd(body: Uint8Array): void {
    const said = decodeNumbers(IMAGE_END_BODY, body);
    if (said === null) return this.#refuse('an end marker is malformed');
    if (said.epoch !== this.#replica.epoch || this.#state !== 'copying') return this.#refuse(`an end marker came while ${this.#state}`);
    this.#copyEnd = said.seq;
  }

  #finishCopy(): void {
    const end = this.#copyEnd;
    if (end === null || this.#state !== 'copying' || this.#imagesWriting > 0 || this.#replica.marks.received < end) return;
    this.#copyEnd = null;
    this.#ending = true;
    this.#replica.commit(end);
    this.#replica.receiver.end(end, (failure) => {
      this.#ending = false;
      if (this.#state !== 'copying' || failure !== null) return;
      if (!this.#replica.consistent) return this.link.refuse('what a resync has staged was changed by the disk: it begins anew');
      this.#state = 'following';
      this.#scan?.stop();
      this.#scan = null;
      this.#cleanTarget = end;
      this.#acknowledgeDue = true;
      this.#journal('mirror.copy-end', { seq: end }, 'the whole copy is complete and consistent');
      this.#changed();
      this.#wake();
    });
  }

  #becomeClean(): void {
    const target = this.#cleanTarget;
    if (target === null || this.#state !== 'following' || this.#cleaning) return;
    if (!this.#replica.unclean) {
      this.#cleanTarget = null;
      return;
    }
    if (this.#replica.marks.durable < target) {
      this.#flushWanted = Math.max(this.#flushWanted, target);
      return;
    }
    this.#cleaning = true;
    this.#replica.markClean((failure) => {
      this.#cleaning = false;
      if (failure !== null || this.#state === 'ended') return;
      this.#changed();
      this.#wake();
    });
  }

  #refuse(reason: string): void {
    this.#journal('mirror.refused', { from: this.link.peer, reason }, 'what the primary sent was refused');
    this.link.refuse(reason);
  }
}

/** What a staged resync could go on with; null when there is none, or when it is being brought to its end. */
function stagedOf(replica: FollowingReplica): StagedJoin | null {
  const { staged } = replica.receiver;
  if (staged === null || staged.endSeq !== null) return null;
  const { rung, scan = null, upTo, cursor, older } = staged;
  return { rung, scan, fromSeq: replica.marks.destaged, upTo, cursor, olderHistory: older.history, olderSeq: older.seq };
}
