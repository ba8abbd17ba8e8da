// When to destage, and the driver that carries a pass through its effects. Destaging waits until it is worth a flush (records of some age, or a
// backlog), so that blocks that are written again and again reach the base image once; it hurries when space runs out or somebody waits for it.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { Buffers, Clock, DiskDone, DiskFailure, Storage, StoredFile } from '../base/ports.ts';
import type { Millis, Seq } from '../base/units.ts';
import type { Background } from './background.ts';
import { type BaseWrite, destage, type DestageEffect } from './destage.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Marks } from './marks.ts';
import type { Overlay } from './overlay.ts';
import { PassWrites } from './pass-writes.ts';
import type { Reader } from './read.ts';
import type { Sidefile } from './sidefile.ts';
import type { SuperblockValue } from './superblock.ts';

const ROUND_BYTES = 1024 * 1024;
const FLUSH_BYTES = 32 * 1024 * 1024;

/** When to destage, and how much at once. */
export interface DestageOptions {
  /** Bytes read from the sidefile and written to a base in one step: bounds how long one step keeps everything else waiting. 1 MiB unless given. */
  readonly roundBytes?: number;
  /** Bytes between two flushes of the bases: enough to make a flush cheap, few enough to free the sidefile in time. 32 MiB unless given. */
  readonly flushBytes?: number;
  /** Mean length of the pieces of a write to a base from which on the next one is begun beside it. 32 KiB unless given. */
  readonly longPieceBytes?: number;
  /** Records are destaged when they are this old. */
  readonly idleMillis: Millis;
  /** Records are destaged at once when more than this wait. */
  readonly backlogBytes: number;
}

/** What destaging works on, and whom it tells. */
export interface ScheduleLayers {
  readonly options: DestageOptions;
  readonly storage: Storage;
  readonly buffers: Buffers;
  readonly clock: Clock;
  readonly overlays: readonly Overlay[];
  readonly bases: readonly StoredFile[];
  readonly sidefile: Sidefile;
  readonly reader: Reader;
  readonly background: Background;
  readonly commit: GroupCommit;
  readonly marks: Marks;
  /** Whether bases may be written: not while the replica is being copied, closed or has failed. */
  readonly usable: () => boolean;
  /** Whether a pass has to wait where it is, and none begins: until goOn() is called. */
  readonly paused: () => boolean;
  /** Whether space or the overlay's list of ranges runs out. */
  readonly pressed: () => boolean;
  /** Positions that are held: nothing behind the oldest of them may reach a base. */
  readonly points: () => Holding;
  readonly update: (patch: Partial<SuperblockValue>, done: DiskDone) => void;
  /** A pass will bring everything up to here into the bases. */
  readonly aimed: (target: Seq) => void;
  /** Everything up to here is in the bases, and the superblock says so. */
  readonly moved: (destaged: Seq) => void;
  /** A step of a pass threw. */
  readonly failed: (error: unknown) => void;
}

/** What keeps records out of the bases. */
interface Holding {
  /** Nothing behind this record is destaged; Infinity when anything may be. */
  readonly hold: Seq;
  /** Once in a turn. */
  work(): void;
  destaged(destaged: Seq): void;
  /** Everything up to here is to be destaged. */
  release(upTo: Seq): void;
  endAll(why: string): void;
}

interface Pass {
  readonly steps: Generator<DestageEffect, void, void>;
  readonly writes: PassWrites;
  /** What it has asked for and was not begun yet; null: it is asked. */
  next: DestageEffect | null;
}

interface Drain {
  readonly target: Seq;
  readonly done: (failure: DiskFailure | null) => void;
}

/** Destaging of one replica. */
export class Schedule {
  readonly #layers: ScheduleLayers;
  #pass: Pass | null = null;
  /** The pass has nothing to wait for but the end of a pause. */
  #isHeld = false;
  #passBegan: Millis = 0;
  /** When the oldest record that waits was appended, as far as is known. */
  #waitingSince: Millis;
  #backlogBytes = 0;
  #drains: Drain[] = [];

  constructor(layers: ScheduleLayers) {
    this.#layers = layers;
    this.#waitingSince = layers.clock.now();
  }

  /** Everything up to here is to be destaged for somebody who waits for it; 0 when nobody does. */
  get wanted(): Seq {
    return Math.max(0, ...this.#drains.map(({ target }) => target));
  }

  /** Bytes of records that wait, by recordCost(). */
  get backlogBytes(): number {
    return this.#backlogBytes;
  }

  /** Records were appended: `first` when none waited before. */
  added(byteCount: number, first: boolean): void {
    if (first) this.#waitingSince = this.#layers.clock.now();
    this.#backlogBytes += byteCount;
  }

  /** What waits, and is committed, is destaged as soon as may be. */
  hurry(): void {
    this.#waitingSince = -Infinity;
  }

  /** The records that wait were counted anew. */
  recount(byteCount: number): void {
    this.#backlogBytes = byteCount;
  }

  /** Next moment at which work() has something to do; Infinity when only another event can change that. */
  get nextWork(): Millis {
    const { marks, options } = this.#layers;
    if (this.#pass !== null || !this.#layers.usable() || this.#layers.paused()) return Infinity;
    if (marks.committed <= marks.destaged || this.#layers.points().hold <= marks.destaged) return Infinity;
    // What is to be destaged is not durable yet, and its flush says when it is.
    if (this.#target() <= marks.destaged && this.#layers.commit.flying) return Infinity;
    return this.#hurried() ? this.#waitingSince : this.#waitingSince + options.idleMillis;
  }

  /** Begins a pass when one is due. */
  work(now: Millis): void {
    this.#layers.points().work();
    if (now < this.nextWork) return;
    const { marks, commit, sidefile } = this.#layers;
    if (marks.committed > sidefile.durable) commit.flush();
    if (this.#target() > marks.destaged) this.#begin();
  }

  /** Destages everything that is committed now, as soon as may be; `done` when it is in the bases. Records not committed stay where they are. */
  drain(done: (failure: DiskFailure | null) => void): void {
    const { marks } = this.#layers;
    if (marks.destaged >= marks.committed || !this.#layers.usable()) return this.#later(done);
    this.#layers.points().release(marks.committed);
    this.#drains.push({ target: marks.committed, done });
    this.#advance();
  }

  /** A pause is over. */
  goOn(): void {
    if (this.#isHeld) this.#resume();
    else this.#advance();
  }

  /** Tells all who wait that the replica has failed. */
  fail(failure: DiskFailure): void {
    this.#layers.points().endAll('this copy has failed');
    for (const { done } of this.#drains.splice(0)) done(failure);
  }

  #later(done: (failure: DiskFailure | null) => void): void {
    this.#layers.storage.flush([], this.#layers.background.begin(done));
  }

  #hurried(): boolean {
    return this.#drains.length > 0 || this.#backlogBytes > this.#layers.options.backlogBytes || this.#layers.pressed();
  }

  #target(): Seq {
    return Math.min(this.#safe(), this.#layers.points().hold);
  }

  /** Up to where the sidefile itself has been flushed: that is the copy's `durable`, but where it is in memory, and durable follows destaged. */
  #safe(): Seq {
    return Math.min(this.#layers.marks.committed, this.#layers.sidefile.durable);
  }

  /** Goes on for those who wait for a drain. */
  #advance(): void {
    const { marks, commit, sidefile } = this.#layers;
    // Committed records may have been cut off meanwhile, by force: those are never destaged.
    const drains = this.#drains.map(({ target, done }) => ({ target: Math.min(target, marks.committed), done }));
    const over = drains.filter(({ target }) => target <= marks.destaged);
    this.#drains = drains.filter(({ target }) => target > marks.destaged);
    for (const { done } of over) done(null);
    const next = this.#drains[0];
    if (next === undefined || this.#pass !== null || !this.#layers.usable() || this.#layers.paused()) return;
    if (sidefile.durable < next.target) {
      commit.whenDurable(next.target, (failure) => {
        if (failure === null) this.#advance();
      });
    } else {
      this.#begin();
    }
  }

  #begin(): void {
    const { overlays, bases, sidefile, buffers, marks, options, clock } = this.#layers;
    const target = this.#target();
    assert(this.#pass === null, 'one pass at a time');
    assert(target > marks.destaged, 'a pass has something to do', { target, destaged: marks.destaged });
    this.#passBegan = clock.now();
    this.#layers.aimed(target);
    const { destaged, destageTarget } = marks;
    const roundBytes = Math.min(options.roundBytes ?? ROUND_BYTES, limits.destageRoundBytes);
    const flushBytes = options.flushBytes ?? FLUSH_BYTES;
    const finished = (upTo: Seq, byteCount: number): void => {
      this.#backlogBytes = Math.max(0, this.#backlogBytes - byteCount);
      this.#layers.moved(upTo);
      this.#layers.points().destaged(upTo);
    };
    const { background } = this.#layers;
    const begin = ({ file, parts }: BaseWrite, done: DiskDone): void => file.writeParts(parts, background.begin(done));
    const layers = { overlays, bases, sidefile, buffers, roundBytes, flushBytes, destaged, destageTarget, finished };
    this.#pass = { steps: destage(layers, target), writes: new PassWrites(begin, options.longPieceBytes), next: null };
    this.#resume();
  }

  /** Carries the pass on until it has to wait. The replica may have been closed, reset or failed since it last did: then it is abandoned. */
  #resume(): void {
    this.#isHeld = false;
    for (;;) {
      const pass = this.#pass;
      assert(pass !== null, 'a pass that goes on has begun');
      if (!this.#layers.usable()) {
        this.#abandon(pass);
        return;
      }
      if (this.#layers.paused()) {
        this.#isHeld = true;
        return;
      }
      const effect = pass.next ?? this.#asked(pass);
      if (effect === null) return;
      pass.next = effect;
      // It is looked at again whether it may begin.
      if (effect.kind === 'write' && pass.writes.meets(effect) && !pass.writes.allEnded(() => this.#resume())) return;
      pass.next = null;
      if (!this.#perform(effect, pass)) return;
    }
  }

  /** What the pass asks for next; null when it has ended, well or not. */
  #asked(pass: Pass): DestageEffect | null {
    let next: IteratorResult<DestageEffect, void>;
    try {
      next = pass.steps.next();
    } catch (error) {
      this.#abandon(pass);
      this.#layers.failed(error);
      return null;
    }
    if (next.done !== true) return next.value;
    this.#pass = null;
    // What waits now was appended after the target was chosen.
    this.#waitingSince = this.#passBegan;
    this.#advance();
    return null;
  }

  #abandon(pass: Pass): void {
    this.#pass = null;
    pass.writes.abandon();
    if (pass.next?.kind === 'write') pass.next.ended();
    pass.steps.return();
  }

  /** Begins an effect; true when the pass may go on at once, else it goes on when it may. */
  #perform(effect: DestageEffect, { writes }: Pass): boolean {
    const { storage, reader, background } = this.#layers;
    const goOn = (): void => this.#resume();
    switch (effect.kind) {
      case 'superblock':
        this.#layers.update(effect.patch, goOn);
        return false;
      case 'settle':
        return reader.settled(goOn);
      case 'write':
        return writes.begin(effect, goOn);
      case 'written':
        return writes.allEnded(goOn);
      case 'flush':
        storage.flush(effect.files, background.begin(goOn));
        return false;
    }
  }
}
