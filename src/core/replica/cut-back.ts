// Cuts the newest records off. What is looked up in memory must then be as if they had never come, and what they hid can only be read again from the
// sidefile: of a copy that holds gigabytes that takes long. So it is made beside what is in use, a part in each turn, and the cut itself is one step
// behind that: until then this copy is what it was, and a crash finds nothing changed. Nothing is appended or destaged meanwhile.

import { assert } from '../base/assert.ts';
import type { Clock, Journal } from '../base/ports.ts';
import type { Millis, Seq } from '../base/units.ts';
import { committedOf } from './align.ts';
import { Amount } from './amount.ts';
import type { Bitmaps } from './bitmaps.ts';
import { BringIn, type BringInGround } from './bring-in.ts';
import { enterRecords, recordCost } from './destage.ts';
import type { Marks } from './marks.ts';
import { Overlay } from './overlay.ts';
import type { ReplicaFailure } from './options.ts';
import type { Points } from './points.ts';
import type { Schedule } from './schedule.ts';
import type { Sidefile } from './sidefile.ts';

/** What one part takes in at most, by recordCost(). */
const STEP_BYTES = 1024 * 1024;
/** And for how long. */
const STEP_MILLIS: Millis = 2;

/** The replica, as far as a cut asks it. */
interface CutReplica {
  readonly inMemory: boolean;
  readonly bitmaps: Bitmaps;
  readonly points: Points;
}

/** What is cut back. */
export interface CutGround extends BringInGround {
  readonly group: string;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly sidefile: Sidefile;
  /** Those in use: others take their places. */
  readonly overlays: Overlay[];
  readonly amount: Amount;
  readonly capacityBytes: number;
  readonly marks: Marks;
  /** In place of STEP_BYTES. */
  readonly cutStepBytes?: number | undefined;
  readonly schedule: Schedule;
  /** The replica's failure, once it has one. */
  readonly failure: () => ReplicaFailure | null;
  readonly moved: () => void;
  /** Notes a failure of the storage; anything else is thrown on. */
  readonly note: (error: unknown) => void;
  /** Calls back as an event of its own. */
  readonly later: (done: () => void) => void;
}

/** A cut that is being prepared. */
interface Preparing {
  readonly seq: Seq;
  /** What was true when it began, and stays so. */
  readonly marks: Marks;
  readonly overlays: readonly Overlay[];
  readonly amount: Amount;
  /** First record that is not in them yet. */
  next: Seq;
  /** Of those that are, by recordCost(). */
  costBytes: number;
  committed: Seq;
  /** It has taken more than one turn. */
  isLong: boolean;
  readonly done: () => void;
}

/** The cuts of one replica, one at a time: each is part of a change of the replica as a whole, which keeps records from being appended. */
export class CutBack {
  readonly #replica: CutReplica;
  readonly #ground: CutGround;
  readonly #bringIn: BringIn;
  #preparing: Preparing | null = null;

  constructor(replica: CutReplica, ground: CutGround) {
    this.#replica = replica;
    this.#ground = ground;
    this.#bringIn = new BringIn(ground);
  }

  /** Whether one is being prepared: then nothing is destaged. */
  get underWay(): boolean {
    return this.#preparing !== null;
  }

  /** Takes the records behind `seq` off. `done` when that is so, or when the replica has failed: at once where little is to be looked through. */
  begin(seq: Seq, done: () => void): void {
    const { marks, overlays, capacityBytes, group, journal } = this.#ground;
    assert(this.#preparing === null, 'one cut at a time', { seq });
    if (this.#ground.failure() !== null || seq === marks.received) return done();
    assert(seq >= marks.destageTarget, 'what is cut off is not in the bases', { seq, destageTarget: marks.destageTarget });
    const made = { overlays: overlays.map(() => new Overlay()), amount: new Amount(capacityBytes) };
    const cut: Preparing = { seq, marks: { ...marks }, ...made, next: marks.destaged + 1, costBytes: 0, committed: 0, isLong: false, done };
    this.#preparing = cut;
    this.work();
    if (this.#preparing !== cut) return;
    cut.isLong = true;
    const facts = { group, seq, from: marks.destaged + 1, received: marks.received };
    journal('cut.begin', facts, `the records behind ${seq} are being cut off: what waits before them is looked through first`);
  }

  /** Goes on with what is being prepared, and cuts once that is all. */
  work(): void {
    const cut = this.#preparing;
    if (cut === null) return;
    try {
      if (!this.#enter(cut)) return;
      this.#cut(cut);
    } catch (error) {
      this.#ground.note(error);
      // Noting it has ended this.
      return;
    }
    this.#end(cut);
    const { group, journal } = this.#ground;
    if (cut.isLong) journal('cut.end', { group, seq: cut.seq }, `the records behind ${cut.seq} are cut off`);
    cut.done();
  }

  /** The replica has failed: whoever waits is told. */
  fail(): void {
    const cut = this.#preparing;
    if (cut === null) return;
    this.#end(cut);
    this.#ground.later(cut.done);
  }

  /** The replica closes: nothing is cut any more, and nobody is told. */
  drop(): void {
    if (this.#preparing !== null) this.#end(this.#preparing);
  }

  #end(cut: Preparing): void {
    assert(this.#preparing === cut, 'the cut that ends is under way', { seq: cut.seq });
    this.#preparing = null;
    this.#ground.schedule.goOn();
  }

  /** Enters the next part of the records that stay, by their tables; true when that were all, else it goes on later. Throws SidefileDamage, DiskError. */
  #enter(cut: Preparing): boolean {
    const { sidefile, clock, cutStepBytes = STEP_BYTES } = this.#ground;
    const until = clock.now() + STEP_MILLIS;
    let costBytes = 0;
    let waits = false;
    // At least one, however long the process was kept from going on.
    for (let goesOn = true; goesOn && cut.next <= cut.seq; goesOn = costBytes < cutStepBytes && clock.now() < until) {
      const held = sidefile.frameOf(cut.next);
      assert(held !== null, 'what is not destaged is held', { seq: cut.next });
      waits = !this.#bringIn.has(held);
      if (waits) break;
      const last = Math.min(held.lastSeq, cut.seq);
      sidefile.visitTables(cut.next, 1, (frame, first) => {
        const indices = { first, last: last - frame.firstSeq };
        enterRecords(cut.overlays, frame, held, indices);
        cut.amount.add(frame.firstSeq + first, frame.byteCount);
        for (let index = first; index <= indices.last; index++) costBytes += recordCost(frame, index);
        // The primary said so when it made the frame, and the frame is of this history.
        cut.committed = Math.max(cut.committed, committedOf(frame));
      });
      cut.next = last + 1;
    }
    cut.costBytes += costBytes;
    if (cut.next > cut.seq) return true;
    if (!waits) this.#ground.wake();
    return false;
  }

  /** One step: the bytes stay on the disk until the superblock says durably that they are void. Throws SidefileDamage, DiskError. */
  #cut({ seq, marks: before, overlays: made, amount: counted, costBytes, committed }: Preparing): void {
    const { sidefile, overlays, amount, marks, schedule } = this.#ground;
    const { bitmaps, points, inMemory } = this.#replica;
    const same = marks.received === before.received && marks.destageTarget === before.destageTarget && marks.destaged === before.destaged;
    assert(same && marks.committed === before.committed, 'a copy that is being cut back stays what it is', {
      seq,
      ...marks,
      was: before.received,
    });
    sidefile.cutTo(seq);
    bitmaps.cut(seq);
    marks.received = seq;
    marks.committed = Math.min(Math.max(marks.committed, committed), seq);
    if (!inMemory) marks.durable = sidefile.durable;
    marks.oldest = sidefile.oldest;
    overlays.splice(0, overlays.length, ...made);
    amount.takeOver(counted);
    schedule.recount(costBytes);
    this.#ground.moved();
    points.cut(seq);
  }
}
