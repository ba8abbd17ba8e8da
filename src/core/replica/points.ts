// Points: positions of a replica at which it can be read although it goes on. While a point stands, nothing behind it is destaged, so the base
// images are as of it or of an earlier record; what lies between them and the point is in an overlay of its own, made from the tables of those
// records. What is pinned is a share of the sidefile, and of memory: where either would run short, the oldest point is given up, never a write.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { Clock, DiskDone, Journal, StoredFile } from '../base/ports.ts';
import { epochOf, type History } from '../base/position.ts';
import type { Epoch, Millis, Seq, VolumeIndex, WallMillis } from '../base/units.ts';
import type { Background } from './background.ts';
import { BringIn } from './bring-in.ts';
import { enterRecords } from './destage.ts';
import type { RecordsInUse } from './in-use.ts';
import type { Marks } from './marks.ts';
import type { VolumeOptions } from './options.ts';
import { BASE, Overlay } from './overlay.ts';
import { Reader, type VolumeExtent } from './read.ts';
import type { Schedule } from './schedule.ts';
import type { Sidefile } from './sidefile.ts';
import type { Space } from './space.ts';

/**
 * Which position is wanted. A time: everything before the first record that was numbered later. `isOver`: no record of that time, or of an earlier one,
 * will come any more.
 */
export type PointWish = { readonly seq: Seq } | { readonly timeMillis: WallMillis; readonly isOver?: boolean } | 'newest';

/** The replica, as far as its points ask it. */
interface PointsReplica {
  readonly history: History;
  readonly sizes: { readonly agreed: readonly VolumeOptions[] };
  readonly inMemory: boolean;
  readonly consistent: boolean;
  /** A change as a whole is under way. */
  readonly changing: boolean;
}

/** What the points of a replica stand on. */
export interface PointsGround {
  readonly group: string;
  readonly bases: readonly StoredFile[];
  /** Of everything that is not destaged. */
  readonly waiting: readonly Overlay[];
  readonly sidefile: Sidefile;
  readonly inUse: RecordsInUse;
  readonly background: Background;
  readonly marks: Readonly<Marks>;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly schedule: Pick<Schedule, 'wanted' | 'hurry'>;
  readonly space: Pick<Space, 'shortOf'>;
  readonly usable: () => boolean;
  readonly wake: () => void;
  /** Does something with a replica that has not failed; throws DiskError, SidefileDamage. */
  readonly used: <T>(step: () => T) => T;
}

/** Time that one step of making an overlay takes, about, and that reads of points take in one turn. */
const STEP_MILLIS: Millis = 2;
const TOO_MANY_BLOCKS = 'more blocks would have to be looked up in memory than there may be';
const WHY_SHORT = {
  room: 'less than a quarter of the room for its sidefile is left',
  ranges: 'hosts have trimmed or zeroed too many long ranges, which go to the base images in their order only',
} as const;

/** The newest record per block up to a point. What is destaged is found in the base image, which goes no further than the point. */
class HeldOverlay extends Overlay {
  readonly #marks: Readonly<Marks>;

  constructor(marks: Readonly<Marks>) {
    super();
    this.#marks = marks;
  }

  override seek(block: number): Seq {
    const seq = super.seek(block);
    if (seq > this.#marks.destaged) return seq;
    this.segment = BASE;
    return 0;
  }
}

/** One position that is held. */
export class Point {
  readonly epoch: Epoch;
  readonly seq: Seq;
  /** Wall clock of the primary when it numbered that record; null when the record is not held any more. */
  readonly timeMillis: WallMillis | null;
  readonly madeMillis: WallMillis;
  /** Sizes of the volumes, as every copy was known to hold them then. */
  readonly sizes: readonly number[];
  readonly overlays: readonly Overlay[];
  readonly reader: Reader;
  /** It is ready, or has ended, or goes on with what was put off. Called from within: it may read, and change nothing. */
  readonly changed: () => void;
  /** Reads of it were put off to the next turn. */
  isPutOff = false;
  /** First record that is not in its overlay yet. */
  next: Seq;
  /** Why it is none any more; null while it stands. */
  ended: string | null = null;

  constructor(seq: Seq, parts: { readonly replica: PointsReplica; readonly ground: PointsGround }, changed: () => void) {
    const { replica, ground } = parts;
    const { marks, sidefile, bases, inUse, background, clock } = ground;
    this.seq = seq;
    this.epoch = epochOf(replica.history, seq);
    this.timeMillis = sidefile.timeAt(seq);
    this.madeMillis = clock.wall();
    this.sizes = replica.sizes.agreed.map(({ sizeBytes }) => sizeBytes);
    this.overlays = bases.map(() => new HeldOverlay(marks));
    this.reader = new Reader({ overlays: this.overlays, bases, sidefile, inUse }, background);
    this.next = marks.destaged + 1;
    this.changed = changed;
  }

  /** Whether it can be read. */
  get ready(): boolean {
    return this.ended === null && this.next > this.seq;
  }
}

/** The points of one replica, which end with it. */
export class Points {
  readonly #replica: PointsReplica;
  readonly #ground: PointsGround;
  readonly #bringIn: BringIn;
  /** By position, the oldest first. */
  #standing: Point[] = [];
  #readMillis: Millis = 0;
  /** Less in tests. */
  blocksMax: number = limits.pointBlocksMax;

  constructor(replica: PointsReplica, ground: PointsGround) {
    this.#replica = replica;
    this.#ground = ground;
    this.#bringIn = new BringIn(ground);
  }

  get standing(): readonly Point[] {
    return this.#standing;
  }

  /** Nothing behind this record is destaged; Infinity when no point stands. */
  get hold(): Seq {
    return this.#standing[0]?.seq ?? Infinity;
  }

  /** The position that a wish means, if it can be held now; or a sentence about why not. Leaves no trace. */
  resolve(wish: PointWish): Seq | string {
    const { marks, sidefile, schedule } = this.#ground;
    const why = this.#barred();
    if (why !== null) return why;
    // Bases may hold blocks of records up to the target; behind what is committed nothing is certain.
    const oldest = Math.max(marks.destageTarget, schedule.wanted);
    const newest = marks.committed;
    const range = `records ${oldest} to ${newest} can be held here`;
    if (oldest > newest) return `record ${oldest} is not known to be committed here yet: try again soon`;
    const found = wish === 'newest' ? newest : 'seq' in wish ? wish.seq : this.#beforeLater(wish, oldest);
    if (typeof found === 'string') return `${found}: ${range}`;
    if (found < oldest) return `record ${found} is in the base image together with later ones: ${range}`;
    if (found > newest) return `record ${found} is not committed here yet: ${range}`;
    if (sidefile.endsAt(found)) return found;
    const before = (sidefile.frameOf(found)?.firstSeq ?? 0) - 1;
    const isNamed = wish !== 'newest' && 'seq' in wish;
    if (!isNamed && before >= oldest) return before;
    return `record ${found} lies within a step, which this copy took all at once: it was as of record ${before} before that`;
  }

  /** Why no position can be held now; null when one can. */
  #barred(): string | null {
    const { inMemory, consistent, changing } = this.#replica;
    // What is not destaged counts as lacking there, and the primary would have to keep it.
    if (inMemory) return 'the sidefile of this copy is in memory alone';
    if (!consistent) return 'this copy is being filled, and is of no moment in time';
    if (changing || !this.#ground.usable()) return 'this copy is being changed, or is closed: try again soon';
    const { shortOf } = this.#ground.space;
    return shortOf === null ? null : WHY_SHORT[shortOf];
  }

  /** Last record before the first one that was numbered later than a time. */
  #beforeLater({ timeMillis, isOver = false }: { timeMillis: WallMillis; isOver?: boolean }, oldest: Seq): Seq | string {
    const { marks, sidefile } = this.#ground;
    const first = Math.max(oldest, sidefile.oldest);
    const later = sidefile.firstLater(timeMillis, first) ?? (isOver ? marks.received + 1 : null);
    if (later === null) return 'no record of a later time is here yet';
    if (later - 1 > marks.committed) return `record ${later - 1}, the last one of that time, is not committed here yet`;
    if (later > first) return later - 1;
    // The record before those that are held is in the base image, and nothing behind it.
    const isBase = first > oldest && sidefile.timeBefore !== null && sidefile.timeBefore <= timeMillis;
    return isBase ? oldest : 'everything that is still there is of a later time';
  }

  /** Holds a position; a sentence about why not. `changed` is called when it can be read, unless it can be at once, and when it has ended. */
  open(wish: PointWish, changed: () => void): Point | string {
    const seq = this.resolve(wish);
    if (typeof seq === 'string') return seq;
    if (this.#standing.length >= limits.pointsMax) return `${limits.pointsMax} points of this copy stand already: remove one of them first`;
    const point = new Point(seq, { replica: this.#replica, ground: this.#ground }, changed);
    this.#standing.push(point);
    this.#standing.sort((a, b) => a.seq - b.seq);
    const { group, journal, schedule, wake } = this.#ground;
    journal(
      'point.begin',
      { group, seq, epoch: point.epoch },
      `record ${seq} is held: nothing behind it goes to the base images meanwhile`,
    );
    // So much less has to be looked up.
    schedule.hurry();
    wake();
    return point;
  }

  /** A position is needed no longer, or cannot be held any longer. */
  end(point: Point, why: string): void {
    if (point.ended !== null) return;
    const { group, journal, wake } = this.#ground;
    point.ended = why;
    this.#standing = this.#standing.filter((other) => other !== point);
    for (const overlay of point.overlays) overlay.clear();
    journal('point.end', { group, seq: point.seq, why }, `record ${point.seq} is held no longer: ${why}`);
    point.changed();
    wake();
  }

  endAll(why: string): void {
    for (const point of this.#standing) this.end(point, why);
  }

  /** Everything up to a record is to be brought into the base images. */
  release(upTo: Seq): void {
    for (const point of this.#standing) if (point.seq < upTo) this.end(point, 'everything is to be brought into the base images');
  }

  /** The records behind `seq` are given up. */
  cut(seq: Seq): void {
    for (const point of this.#standing) if (point.seq > seq) this.end(point, `the records behind ${seq} were cut off`);
  }

  /** Everything up to `destaged` is in the base images. */
  destaged(destaged: Seq): void {
    for (const point of this.#standing) {
      if (point.seq > destaged) continue;
      assert(point.seq === destaged, 'nothing behind a point is destaged', { seq: point.seq, destaged });
      for (const overlay of point.overlays) overlay.clear();
    }
  }

  /** Goes on with what is being made ready, and gives up what hosts need the room of. Throws SidefileDamage, DiskError. */
  work(): void {
    const [oldest] = this.#standing;
    this.#readMillis = 0;
    if (oldest === undefined) return;
    for (const point of this.#standing) {
      if (!point.isPutOff) continue;
      point.isPutOff = false;
      point.changed();
    }
    const { marks, space } = this.#ground;
    // Only what holds destaging up is in the way.
    if (oldest.seq === marks.destaged && marks.committed > oldest.seq) {
      if (space.shortOf !== null) return this.end(oldest, WHY_SHORT[space.shortOf]);
      if (this.#blockCount() > this.blocksMax) return this.end(oldest, TOO_MANY_BLOCKS);
    }
    const preparing = this.#standing.find((point) => !point.ready);
    if (preparing !== undefined) this.#ground.used(() => this.#prepare(preparing));
  }

  /** Entries of all overlays: what points cost in memory. */
  #blockCount(): number {
    const overlays = [this.#ground.waiting, ...this.#standing.map((point) => point.overlays)].flat();
    return overlays.reduce((sum, { blockCount }) => sum + blockCount, 0);
  }

  #prepare(point: Point): void {
    const { clock, wake } = this.#ground;
    const until = clock.now() + STEP_MILLIS;
    let goesOn = true;
    do goesOn = this.#enterFrame(point);
    while (goesOn && point.next <= point.seq && clock.now() < until);
    if (this.#blockCount() > this.blocksMax) return this.end(point, TOO_MANY_BLOCKS);
    if (point.ready) point.changed();
    if (goesOn) wake();
  }

  /** False when the next frame has to be waited for: wake() is called when it is there. */
  #enterFrame(point: Point): boolean {
    const { marks, sidefile } = this.#ground;
    const from = Math.max(point.next, marks.destaged + 1);
    point.next = from;
    if (from > point.seq) return true;
    const held = sidefile.frameOf(from);
    assert(held !== null, 'what is not destaged is held', { from, destaged: marks.destaged });
    if (!this.#bringIn.has(held)) return false;
    const last = Math.min(held.lastSeq, point.seq);
    sidefile.visitTables(from, 1, (frame, first) => {
      enterRecords(point.overlays, frame, held, { first, last: last - frame.firstSeq });
    });
    point.next = last + 1;
    return true;
  }

  /** Whether reads have taken their time in this turn; then `changed` of this point is called in the next one. */
  putsOff(point: Point): boolean {
    if (this.#readMillis <= STEP_MILLIS) return false;
    point.isPutOff = true;
    this.#ground.wake();
    return true;
  }

  /** As Replica.read(), as of a point that is ready: -1 when the disk would have to be waited for, else 0. */
  read(point: Point, volume: VolumeIndex, offset: number, into: Uint8Array): number {
    assert(point.ready, 'a point that is read is ready', { seq: point.seq });
    const { clock, used } = this.#ground;
    const began = clock.now();
    const answer = used(() => point.reader.read(volume, offset, into, Infinity));
    this.#readMillis += clock.now() - began;
    return answer;
  }

  /** The same in the background. Where the point has ended when `done` is called, what was read counts for nothing. */
  readCold(point: Point, volume: VolumeIndex, offset: number, into: Uint8Array, done: DiskDone): void {
    assert(point.ready, 'a point that is read is ready', { seq: point.seq });
    const { clock, used } = this.#ground;
    const began = clock.now();
    used(() => point.reader.readCold(volume, offset, into, Infinity, (_needSeq, failure) => done(failure)));
    this.#readMillis += clock.now() - began;
  }

  /** What lies in a range: see Reader.extents. */
  extents(
    point: Point,
    volume: VolumeIndex,
    range: { readonly offset: number; readonly length: number },
    extentsMax: number,
  ): VolumeExtent[] {
    assert(point.ready, 'a point that is read is ready', { seq: point.seq });
    return this.#ground.used(() => point.reader.extents(volume, range, extentsMax, Infinity));
  }
}
