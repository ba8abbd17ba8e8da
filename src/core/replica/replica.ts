// One group's copy at one site: the base images, the sidefile in front of them, the overlay between, and the superblock that says how they fit
// together after a crash. It is the only owner of the marks. It knows nothing of peers, roles or hosts: it is told what to append, what is
// committed and what to keep, and says what it holds.

import { assert } from '../base/assert.ts';
import { type DiskDone, DiskError, type StoredFile } from '../base/ports.ts';
import { assertHistory, type History, type Position } from '../base/position.ts';
import type { Epoch, Millis, Seq, SiteName, VolumeIndex, WallMillis } from '../base/units.ts';
import { FrameView } from '../record/decode.ts';
import type { NewRecord } from '../record/encode.ts';
import { alignRecord, committedOf, newPart, ownFrame, peerFrame } from './align.ts';
import { Amount } from './amount.ts';
import { Background, type SharedSuperblock, trackUpdates } from './background.ts';
import { Bitmaps } from './bitmaps.ts';
import { Changes } from './changes.ts';
import { closeReplica } from './closing.ts';
import { type ImageRange, nextImage } from './copy.ts';
import { CutBack } from './cut-back.ts';
import { logPlaces, whenAllWritten } from './digested-base.ts';
import { enterRecords, recordCost } from './destage.ts';
import { GroupCommit } from './group-commit.ts';
import { assertAdoption, trimHistory } from './history.ts';
import { RecordsInUse } from './in-use.ts';
import { AppendedFrame, lendFrames, type LentFrames } from './lent.ts';
import { assertMarks, marksAt, type Marks } from './marks.ts';
import { loadsBitmaps, Whereabouts, withoutDisk } from './memory.ts';
import {
  type Acceptance,
  type Adoption,
  failureError,
  type ReplicaDone,
  type ReplicaFailure,
  type ReplicaOptions,
  type ReplicaParts,
  type VolumeOptions,
} from './options.ts';
import { Overlay } from './overlay.ts';
import { Points } from './points.ts';
import { Reader, type VolumeExtent } from './read.ts';
import { enterWaiting } from './rebuild.ts';
import { type CopyGround, CopyReceiver } from './receive.ts';
import { Records } from './records.ts';
import { Schedule } from './schedule.ts';
import { type Sidefile, SidefileDamage } from './sidefile.ts';
import { Space } from './space.ts';
import type { Superblock, SuperblockValue } from './superblock.ts';
import { agreedOf, VolumeSizes } from './volume-sizes.ts';

/**
 * A replica that is open. Synchronous calls throw DiskError or SidefileDamage when they meet a failure or come after one; lasting ones call
 * back with it. After a failure nothing is written any more.
 */
export class Replica {
  /** For what is not the replica's own: pendingClaim, witness. Updates are made durable one after the other. */
  readonly superblock: SharedSuperblock;
  readonly #options: ReplicaOptions;
  readonly #block: Superblock;
  readonly #sidefile: Sidefile;
  readonly #bases: readonly StoredFile[];
  readonly #overlays: Overlay[];
  readonly #reader: Reader;
  readonly #background: Background;
  readonly #commit: GroupCommit;
  readonly #schedule: Schedule;
  readonly #whereabouts: Whereabouts;
  /** What the parts of the replica work on. */
  readonly #ground: CopyGround;
  /** Fills this replica from a primary; once the replica has failed its operations must not be used (failure). */
  readonly receiver: CopyReceiver;
  /** The records as they lie on the disk; not to be used after a failure. */
  readonly records: Records;
  /** By peer: the blocks of records that the sidefile forgot. */
  readonly bitmaps: Bitmaps;
  readonly sizes: VolumeSizes;
  /** Positions at which it can be read while it goes on. */
  readonly points: Points;
  readonly #cutBack: CutBack;
  readonly #inUse = new RecordsInUse(() => {
    this.#noted(() => this.#drop());
    this.#options.wake();
  });
  readonly #amount: Amount;
  readonly #changes = new Changes();
  readonly #groupTag: number;
  readonly #marks: Marks;
  readonly #space: Space;
  #failure: ReplicaFailure | null = null;
  /** Bases and sidefile are to be left alone by the background: the replica is about to be copied, or closes. */
  #stopped = false;
  #closed = false;

  /** For openReplica(). Enters the records that are not destaged in the overlay; throws SidefileDamage, DiskError. */
  constructor(options: ReplicaOptions, parts: ReplicaParts) {
    this.#options = options;
    this.#block = parts.superblock;
    this.#sidefile = parts.sidefile;
    this.#bases = parts.bases;
    this.#groupTag = parts.groupTag;
    this.#whereabouts = new Whereabouts(parts.files);
    this.#overlays = options.volumes.map(() => new Overlay());
    this.#background = new Background((failure) => this.#fail(failure));
    const layers = { overlays: this.#overlays, bases: this.#bases, sidefile: this.#sidefile, inUse: this.#inUse };
    this.#reader = new Reader(layers, this.#background);
    const { destaged, destageTarget, committed } = { ...parts.superblock.value, ...parts.startPatch };
    const { received, oldest, durable } = parts.sidefile;
    this.#marks = { oldest, destaged, destageTarget, committed: Math.max(destaged, Math.min(committed, received)), durable, received };
    this.#amount = new Amount(options.capacityBytes);
    const room = { ...layers, marks: this.#marks, amount: this.#amount, hold: () => this.points.hold };
    this.#space = new Space({ options: this.inMemory ? withoutDisk(options) : options, ...room });
    this.superblock = trackUpdates(this.#block, this.#background);
    this.#commit = this.#makeCommit();
    this.#ground = this.#makeGround();
    this.#schedule = this.#makeSchedule();
    this.receiver = new CopyReceiver(this.#ground);
    this.sizes = new VolumeSizes({ ...options, ...this.#ground, usable: () => this.#usable }, options.volumes, agreedOf(this.#block.value));
    const holding = {
      schedule: this.#schedule,
      space: this.#space,
      inUse: this.#inUse,
      waiting: this.#overlays,
      usable: () => this.#usable,
    };
    this.points = new Points(this, { ...options, ...this.#ground, ...holding, used: (step) => this.#used(step) });
    const parted = { ...options, groupTag: this.#groupTag, overlays: this.#overlays, commit: this.#commit };
    this.records = new Records(this.#sidefile, this.#background, { ...parted, note: (error) => this.#note(error) });
    this.bitmaps = new Bitmaps(options.volumes.length, options.bitmapChunkBytes);
    if (loadsBitmaps(parts)) this.bitmaps.load(options.storage, options.digests, this.#bitmapsOwner());
    const waiting = { overlays: this.#overlays, amount: this.#amount, schedule: this.#schedule, inUse: this.#inUse };
    this.#cutBack = new CutBack(this, { ...options, ...this.#ground, ...waiting });
    this.#schedule.recount(enterWaiting({ sidefile: this.#sidefile, overlays: this.#overlays, amount: this.#amount, marks: this.#marks }));
    this.#moved();
    if (parts.startPatch.staging !== null) this.receiver.restore(parts.startPatch.staging ?? this.receiver.staged);
  }

  get marks(): Readonly<Marks> {
    return this.#marks;
  }

  /** What this copy can hold: more than what is agreed while a volume is being made larger. */
  get volumes(): readonly VolumeOptions[] {
    return this.sizes.held;
  }

  /** Epochs of the records, as adopted; durable once the change that brought them has called back. */
  get history(): History {
    return this.#block.value.history;
  }

  /** Newest epoch that was adopted. */
  get epoch(): Epoch {
    return this.#block.value.epoch;
  }

  /** Name of the newest record. */
  get end(): Position {
    return { epoch: this.#sidefile.epoch, seq: this.#marks.received };
  }

  /** Chain of the newest record. */
  get chain(): number {
    return this.#sidefile.chain;
  }

  /** False while the base images hold bytes out of order: the content is of no moment in time. True only once that is durable. */
  get consistent(): boolean {
    return this.#block.value.consistent && this.#block.durableValue.consistent;
  }

  /** Came back from a power loss and has not caught up since: may lack records that it had acknowledged. */
  get unclean(): boolean {
    return this.#block.value.unclean;
  }

  /** The sidefile is in memory alone: what is not destaged goes with the process. */
  get inMemory(): boolean {
    return this.#whereabouts.inMemory;
  }

  get startCount(): number {
    return this.#block.value.startCount;
  }

  get failure(): ReplicaFailure | null {
    return this.#failure;
  }

  /** Whether a change of epoch, or a copy's begin or end, is under way: another one waits for it, and so do records but at the end of a copy. */
  get changing(): boolean {
    return this.#changes.current !== null;
  }

  // ------------------------------------------------------------------------------------------------ primary
  /**
   * Gives the records the next numbers and appends them as one frame. They cover whole blocks of volumes of the group, and they stay within the
   * limits of a frame. The caller releases the frame when it has been sent.
   */
  append(records: readonly NewRecord[]): AppendedFrame {
    this.#assertUsable();
    assert(this.#changes.barring === null, 'nothing is appended during a change', { changing: this.#changes.barring });
    assert(this.consistent, 'a primary is consistent');
    assert(!this.inMemory, 'a primary has its sidefile on the disk');
    const { received, committed } = this.#marks;
    const head = { groupTag: this.#groupTag, epoch: this.epoch, firstSeq: received + 1, chainBefore: this.#sidefile.chain, committed };
    const frame = ownFrame(records, head, { ...this.#options, volumes: this.volumes });
    this.#take(frame, frame.bytes);
    return new AppendedFrame(frame.bytes, { firstSeq: frame.firstSeq, lastSeq: this.#marks.received }, this.#options.buffers);
  }

  /**
   * The records of whole blocks that stand for a request that is not: read-modify-write with the newest content, here and now (it may wait for
   * the disk). Append the result before anything else. Empty when a trim covers no whole block.
   */
  align(record: NewRecord): NewRecord[] {
    return this.#used(() => alignRecord(record, (offset, into) => this.#reader.readNow(record.volume, offset, into)));
  }

  /** Appends a frame whose records are sound and go on from what is here. */
  #take(frame: FrameView, bytes: Uint8Array): void {
    const marks = this.#marks;
    const first = marks.received <= marks.destaged;
    let place: { segment: number; at: number };
    try {
      place = this.#sidefile.append(bytes, frame);
    } catch (error) {
      throw this.#caught(error);
    }
    enterRecords(this.#overlays, frame, place, { first: 0, last: frame.recordCount - 1 });
    let cost = 0;
    for (let index = 0; index < frame.recordCount; index++) cost += recordCost(frame, index);
    this.#schedule.added(cost, first);
    this.#amount.add(frame.firstSeq, bytes.length);
    this.#space.appended(this.#options.clock.now(), bytes.length, frame.recordCount);
    this.bitmaps.appended(frame);
    marks.received = frame.lastSeq;
    this.#moved();
    // Nothing is destaged before the end of a copy: what has no room in memory until then goes to the disk.
    if (this.inMemory && !this.consistent && this.#space.full) this.toDisk();
  }

  // ------------------------------------------------------------------------------------------------ mirror
  /** Takes a frame of a peer: all of it, or what is not here yet, or nothing. Everything in it is checked first. */
  accept(bytes: Uint8Array): Acceptance {
    this.#assertUsable();
    const { barring } = this.#changes;
    if (barring !== null) return { kind: 'foreign', why: `it came during a change of this copy (${barring})` };
    const frame = peerFrame(bytes, { groupTag: this.#groupTag, digests: this.#options.digests }, this);
    return frame instanceof FrameView ? this.#used(() => this.#acceptFrame(frame)) : frame;
  }

  #acceptFrame(frame: FrameView): Acceptance {
    const part = newPart(frame, this.#sidefile, { groupTag: this.#groupTag, digests: this.#options.digests });
    if (!(part instanceof FrameView)) return part;
    this.#take(part, part.bytes);
    // What is folded was committed before, and nothing within it is ever a position of this copy.
    this.commit(committedOf(part));
    return { kind: 'appended', lastSeq: frame.lastSeq };
  }

  /** No permitted failure can lose records up to `seq` any more. */
  commit(seq: Seq): void {
    const committed = Math.min(seq, this.#marks.received);
    if (committed <= this.#marks.committed) return;
    this.#marks.committed = committed;
    this.#moved();
  }

  /** Asks that everything received now becomes durable. Flushes that are asked for meanwhile share one; onDurable tells. */
  flush(): void {
    this.#commit.flush();
    if (this.inMemory) this.#schedule.hurry();
  }

  // ------------------------------------------------------------------------------------------------ arbitration
  /** Brings a sidefile that is in memory to the disk, where it is from then on until a start finds everything destaged. */
  toDisk(done: ReplicaDone = () => undefined): void {
    if (this.#refused(done)) return;
    // Its files are about to go.
    if (this.#stopped) return this.#changes.whenOver(() => this.toDisk(done));
    const left = (): void => {
      this.#startSpares();
      this.#becameDurable(this.#sidefile.durable);
    };
    this.#whereabouts.leave({ ...this.#ground, left }, done);
  }

  /** Begins an epoch of this site's own behind the newest record. */
  beginEpoch(epoch: Epoch, done: ReplicaDone): void {
    if (this.#refused(done)) return;
    this.#changes.begin('a new epoch', () => {
      assert(!this.inMemory, 'a reign begins with the sidefile on the disk', { epoch });
      assert(epoch > this.epoch, 'epochs rise', { epoch, newest: this.epoch });
      assert(this.consistent, 'a reign begins on a consistent copy', { epoch });
      const firstSeq = this.#marks.received + 1;
      // After a power loss the records of the newest epochs may be gone altogether, and their starts lie behind what is left.
      const known = this.history.filter((start) => start.firstSeq <= firstSeq);
      this.#changeTo({ epoch, history: [...known, { epoch, firstSeq }] }, done);
    });
  }

  /** Makes an epoch and its history durable; ends the change that is under way. */
  #changeTo(next: { epoch: Epoch; history: History }, done: ReplicaDone): void {
    if (this.#failure !== null) {
      this.#changes.end();
      return this.#later(done);
    }
    this.#update({ epoch: next.epoch, history: trimHistory(next.history, this.#marks) }, (failure) => {
      this.#changes.end();
      done(failure);
    });
  }

  /**
   * Follows the primary of `epoch`: gives up the records behind `cutTo` and takes over its history, in one write of the superblock. Committed
   * records are given up only with `force`.
   */
  adopt(options: { epoch: Epoch; history: History; cutTo: Seq; force?: boolean }, done: (adoption: Adoption) => void): void {
    if (this.#refused((failure) => done(failure ?? 'done'))) return;
    assertHistory(options.history);
    this.#changes.begin('an adoption', () => {
      if (this.#failure === null && this.#needsCopy(options.cutTo)) {
        this.#changes.end();
        return this.#later((failure) => done(failure ?? 'needs-copy'));
      }
      this.#noted(() => assertAdoption(options, this));
      this.#cutBack.begin(options.cutTo, () => this.#changeTo(options, (failure) => done(failure ?? 'done')));
    });
  }

  /** Whether the base image or the sidefile cannot go back to just behind `cutTo`. */
  #needsCopy(cutTo: Seq): boolean {
    return !this.consistent || cutTo < this.#marks.destageTarget || cutTo < this.#sidefile.oldest - 1 || !this.endsAt(cutTo);
  }

  /** Whether this copy can be cut back to a record: nothing ends within records that came as one step. */
  endsAt(seq: Seq): boolean {
    return this.#sidefile.endsAt(seq);
  }

  /** Records up to here may lie in folded frames; 0 when none does. */
  get foldedUpTo(): Seq {
    return this.#sidefile.foldedUpTo;
  }

  /** Chain of a record that is held, or of the one before them; null for any other. */
  chainAt(seq: Seq): number | null {
    return this.#used(() => this.#sidefile.chainAt(seq));
  }

  /** Wall clock of the primary when it numbered a record; null when it is not held. */
  timeAt(seq: Seq): WallMillis | null {
    return this.#sidefile.timeAt(seq);
  }

  /** Bytes of the frames behind `seq`, by no more than a step too many; of those that are held, when it is that far back. */
  bytesAfter(seq: Seq): number {
    if (seq >= this.#marks.received) return 0;
    return this.#amount.from(seq + 1) ?? this.#sidefile.heldBytes;
  }

  /** Enters records that are held in a peer's bitmap, for a few milliseconds; true once it has all of them. */
  fillBitmap(site: SiteName, into: Bitmaps = this.bitmaps): boolean {
    return this.#used(() => into.fill(site, this.#sidefile, this.#options.clock));
  }

  /** Visits the tables of frames from a record on that is held. */
  visitTables(from: Seq, framesMax: number, visitor: (frame: FrameView, first: number, last: number) => void): void {
    this.#used(() => this.#sidefile.visitTables(from, framesMax, visitor));
  }

  /** Frames from `seq` on, which must be held, for a peer; null when there is none that new. The caller releases each when it was sent. */
  framesFrom(seq: Seq, bytesMax: number): LentFrames | null {
    return this.#used(() => lendFrames(this.#sidefile, this.#options.buffers, { seq, bytesMax }));
  }

  // ------------------------------------------------------------------------------------------------ reads
  /**
   * Fills `into` with the newest content, without waiting for the disk. Returns the highest seq that is not committed among the records that
   * cover it, 0 when all is committed, -1 when the disk would have to be waited for.
   */
  read(volume: VolumeIndex, offset: number, into: Uint8Array): number {
    this.#assertUsable();
    try {
      return this.#reader.read(volume, offset, into, this.#marks.committed);
    } catch (error) {
      throw this.#caught(error);
    }
  }

  /** Like read(), in the background; the content is that of the moment of this call. */
  readCold(volume: VolumeIndex, offset: number, into: Uint8Array, done: (needSeq: number, failure: ReplicaFailure | null) => void): void {
    if (this.#refused((failure) => done(0, failure))) return;
    try {
      this.#reader.readCold(volume, offset, into, this.#marks.committed, done);
    } catch (error) {
      this.#note(error);
      this.#later((failure) => done(0, failure));
    }
  }

  /** Digests a range in the background where it all comes from the base image: see Reader.digestBase. */
  digestBase(...args: Parameters<Reader['digestBase']>): boolean {
    return this.#used(() => this.#reader.digestBase(...args));
  }

  /** What lies in a range: see Reader.extents. */
  extents(volume: VolumeIndex, offset: number, length: number, extentsMax: number): VolumeExtent[] {
    return this.#used(() => this.#reader.extents(volume, { offset, length }, extentsMax, this.#marks.committed));
  }

  /** Bytes of the sidefile's files. */
  get heldBytes(): number {
    return this.#space.heldBytes;
  }

  /** Bytes that the sidefile may still grow; negative when what was admitted before exceeded it. */
  spaceLeft(): number {
    return this.#space.leftBytes;
  }

  /** How the room is being used, and when there will be none. */
  get use(): Pick<Space, 'written' | 'neededBytes' | 'fullInSeconds' | 'setAside' | 'guideFrom'> {
    return this.#space;
  }

  /** Whether writers must wait: until records have been destaged and dropped, or nobody needs them any more. */
  get full(): boolean {
    return this.#space.full;
  }

  /** Records from here on are kept for peers also when they are destaged; Infinity when nobody needs any. */
  get retainFrom(): Seq {
    return this.#space.retainFrom;
  }

  set retainFrom(seq: Seq) {
    this.#space.retainFrom = seq;
    this.#drop();
  }

  /** Drops segments whose records are all destaged, by the superblock on disk, and needed by nobody. A cut that is not durable needs what it has cut. */
  #drop(): void {
    if (this.#stopped || this.#whereabouts.leaving || this.#failure !== null || this.#changes.barring !== null) return;
    const { destaged } = this.#marks;
    assert(this.#block.durableValue.destaged >= destaged, 'what is dropped is destaged by the superblock on disk', { destaged });
    this.#used(() => this.#space.drop());
    this.#marks.oldest = this.#sidefile.oldest;
    this.#amount.dropBefore(this.#marks.oldest);
    this.#moved();
  }

  // ------------------------------------------------------------------------------------------------ background
  /** Does what is due in the background: begins destaging when it is time. */
  work(now: Millis): void {
    if (!this.#stopped) this.#used(() => this.#space.watch(now));
    this.#cutBack.work();
    this.#schedule.work(now);
  }

  /** When work() has something to do next; Infinity when only another event can change that. */
  get nextWork(): Millis {
    return this.#schedule.nextWork;
  }

  /** Bytes of records that wait for destaging. */
  get backlogBytes(): number {
    return this.#schedule.backlogBytes;
  }

  /** Brings everything that is committed now into the base images, flushing the sidefile first. What is not committed stays where it is. */
  drain(done: ReplicaDone): void {
    if (this.#refused(done)) return;
    this.#schedule.drain(done);
  }

  // ------------------------------------------------------------------------------------------------ whole copy
  /** Sender: the next range of a volume to send from `fromOffset` on, at most `bytesMax` of data; null at its end. */
  imageRanges(volume: VolumeIndex, fromOffset: number, bytesMax: number): ImageRange | null {
    const options = this.volumes[volume];
    assert(options !== undefined, 'there is no such volume', { volume });
    return this.#used(() =>
      nextImage(this.#reader, { index: volume, sizeBytes: options.sizeBytes }, fromOffset, { bytesMax, committed: this.#marks.committed }),
    );
  }

  /** The replica has caught up with a primary: it lacks nothing that it had acknowledged. */
  markClean(done: ReplicaDone): void {
    if (this.#refused(done)) return;
    this.#update({ unclean: false }, done);
  }

  /**
   * Ends the use of the files once nothing is under way. With `clean` everything received is made durable and the superblock says so, so that
   * the next start is not unclean after a power loss. Also after a failure.
   */
  close(options: { clean: boolean }, done: ReplicaDone): void {
    this.#cutBack.drop();
    closeReplica(
      {
        ...this.#ground,
        stopped: () => this.#stopped,
        whereabouts: this.#whereabouts,
        drain: (drained) => this.#schedule.drain(drained),
        saveBitmaps: (saved) => this.bitmaps.save(this.#options, this.#bitmapsOwner(), this.#background.begin(saved)),
        whenWritten: (written) => whenAllWritten(this.#bases, written),
        closeFiles: () => {
          this.#closed = true;
          for (const file of [this.#sidefile, this.#space.setAside, ...this.#bases, this.receiver, this.#block]) file?.close();
        },
      },
      options.clean,
      done,
    );
  }

  #bitmapsOwner(): { groupTag: number; startCount: number; received: Seq } {
    return { groupTag: this.#groupTag, startCount: this.#block.value.startCount, received: this.#marks.received };
  }

  #makeCommit(): GroupCommit {
    if (!this.inMemory) this.#startSpares();
    return new GroupCommit({
      storage: this.#options.storage,
      sidefile: this.#sidefile,
      background: this.#background,
      usable: () => this.#usable,
      moved: (durable) => {
        // A flush of what is in memory makes nothing durable.
        if (!this.inMemory) this.#becameDurable(durable);
      },
    });
  }

  /** Files are made ahead, and used again. Of memory there is as much as is written. */
  #startSpares(): void {
    const making = (size: number, isAhead: boolean): boolean => this.#space.setAside?.give(size, isAhead) ?? false;
    const begin = (done: DiskDone): DiskDone => this.#background.attempt(done);
    this.#sidefile.startSpares({ begin, usable: () => this.#usable, making, failed: (failure) => this.#fail(failure) });
  }

  #makeGround(): CopyGround {
    const { group, storage, digests, journal, segmentBytes } = this.#options;
    const given = { group, storage, digests, journal, sidefileLeftBytes: () => this.#space.lackingBytes + segmentBytes };
    return {
      ...given,
      bases: this.#bases,
      sidefile: this.#sidefile,
      block: this.#block,
      background: this.#background,
      commit: this.#commit,
      changes: this.#changes,
      marks: this.#marks,
      failure: () => this.#failure,
      refused: (done) => this.#refused(done),
      later: (done) => this.#later(done),
      stop: (stopped) => {
        this.#stopped = stopped;
        if (stopped) this.points.endAll('this copy is filled anew, or closed');
      },
      startOver: (position) => this.#startOver(position),
      cut: (seq, done) => this.#cutBack.begin(seq, done),
      settle: (done) => {
        this.commit(this.#marks.received);
        this.#schedule.drain(done);
      },
      moved: () => this.#moved(),
      update: (patch, done) => this.#update(patch, done),
      note: (error) => this.#note(error),
    };
  }

  #startOver(position: Seq): void {
    this.bitmaps.clear();
    Object.assign(this.#marks, marksAt(position));
    for (const overlay of this.#overlays) overlay.clear();
    this.#amount.clear();
    this.#schedule.recount(0);
  }

  #makeSchedule(): Schedule {
    const { buffers, clock, destage } = this.#options;
    return new Schedule({
      ...this.#ground,
      options: destage,
      buffers,
      clock,
      overlays: this.#overlays,
      reader: this.#reader,
      usable: () => this.#usable && this.consistent,
      paused: () => this.#cutBack.underWay,
      pressed: () => this.#space.pressed(this.backlogBytes),
      points: () => this.points,
      aimed: (target) => {
        this.#marks.destageTarget = Math.max(this.#marks.destageTarget, target);
        this.#moved();
      },
      moved: (destaged) => {
        this.#marks.destaged = destaged;
        if (this.inMemory) this.#marks.durable = destaged;
        this.#moved();
        this.#drop();
        if (this.inMemory) this.#options.onDurable(destaged);
        this.#options.wake();
      },
      failed: (error) => this.#note(error),
    });
  }

  #becameDurable(durable: Seq): void {
    this.#marks.durable = durable;
    this.#moved();
    if (this.#failure === null) this.#options.onDurable(durable);
  }

  #moved(): void {
    assertMarks(this.#marks, this.inMemory);
  }

  /** Writes the superblock; every write also says how far the replica is now. */
  #update(patch: Partial<SuperblockValue>, done: DiskDone): void {
    const { committed } = this.#marks;
    const { durable } = this.#whereabouts.isWritten ? this.#sidefile : this.#marks;
    this.#block.update({ durable, committed, digestLogs: logPlaces(this.#bases), ...patch }, this.#background.begin(done));
  }

  get #usable(): boolean {
    return !this.#stopped && this.#failure === null;
  }

  #assertUsable(): void {
    assert(!this.#closed, 'a replica that was closed is not used');
    if (this.#failure === null) return;
    throw this.#failure instanceof SidefileDamage ? this.#failure : new DiskError(this.#failure);
  }

  /** Whether a lasting operation is refused because of an earlier failure, which `done` is then told. */
  #refused(done: ReplicaDone): boolean {
    assert(!this.#closed, 'a replica that was closed is not used');
    if (this.#failure === null) return false;
    this.#later(done);
    return true;
  }

  /** Calls back as an event of its own, with the replica's failure if there is one by then. */
  #later(done: ReplicaDone): void {
    const ended = this.#background.begin(() => done(this.#failure));
    this.#options.storage.flush([], ended);
  }

  /** Like #used, where nobody is there to throw to: the failure is told by whatever waits for the end. */
  #noted(step: () => void): void {
    if (this.#failure !== null) return;
    try {
      step();
    } catch (error) {
      this.#note(error);
    }
  }

  /** Does something with a replica that has not failed. */
  #used<T>(step: () => T): T {
    this.#assertUsable();
    try {
      return step();
    } catch (error) {
      throw this.#caught(error);
    }
  }

  /** Notes a failure of the storage; returns the error to throw on. */
  #caught(error: unknown): unknown {
    if (error instanceof DiskError || error instanceof SidefileDamage) this.#note(error);
    return error;
  }

  /** Notes a failure of the storage; anything else is thrown on. */
  #note(error: unknown): void {
    if (error instanceof DiskError) this.#fail(error.failure);
    else if (error instanceof SidefileDamage) this.#fail(error);
    else throw error;
  }

  #fail(failure: ReplicaFailure): void {
    if (this.#failure !== null) return;
    this.#failure = failure;
    const facts = failure instanceof SidefileDamage ? ({ operation: 'read', file: failure.file, code: 'DAMAGED' } as const) : failure;
    this.#options.journal('replica.failed', { group: this.#options.group, ...facts }, failureError(failure).message);
    this.#commit.fail(facts);
    this.#schedule.fail(facts);
    this.#cutBack.fail();
    // What a failed flush was to cover may be gone though it can still be read: the next start must not take this copy for a clean one. The
    // superblock may fail as well; then it was not on that disk to be believed.
    if (facts.operation !== 'read' && facts.file !== 'superblock') this.#block.update({ unclean: true }, () => {});
    this.#options.onFailure(failure);
  }
}
