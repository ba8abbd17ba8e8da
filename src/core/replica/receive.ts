// How a replica is filled from a primary: by images of ranges and by the records that come in between, until an end marker. Each image is as of
// some record up to the end, and replaying the records over it makes the whole as of the end. Where there is an older volume that is consistent,
// the images wait beside it (staging.ts) and take effect at the end, so that it stays what it was if the end never comes. Where there is none,
// or no space for both, they go straight into the bases, and the superblock says before the first of them that this copy is inconsistent.

import { assert } from '../base/assert.ts';
import { type DigestHow, type DigestsDone, type DiskDone, DiskError, type DiskFailure, type StoredFile } from '../base/ports.ts';
import { assertHistory, epochOf, type History } from '../base/position.ts';
import { BLOCK_BYTES, type Epoch, type Seq, type VolumeIndex } from '../base/units.ts';
import type { ImageContent, ImageRange } from './copy.ts';
import type { CopyGround } from './copy-ground.ts';
import { trimHistory } from './history.ts';
import type { ReplicaDone, ReplicaFailure } from './options.ts';
import type { SidefileStart } from './sidefile.ts';
import { Protection } from './protection.ts';
import { holeBytes, lackOf, putImage } from './put-image.ts';
import { discardStaging, failureOf, isChanged, Staging } from './staging.ts';
import { isSpaceLacking, ROOM_STEP_BYTES } from './staging-room.ts';
import type { ResyncRung, ScanChoice, StagingValue } from './superblock.ts';

/** What a copy begins with. */
export interface CopyBegin {
  readonly epoch: Epoch;
  readonly history: History;
  /** Records come from the one behind this on. */
  readonly position: Seq;
  readonly chain: number;
  readonly rung: ResyncRung;
  /** Of the records that are here only those up to this one count; null: all. */
  readonly cutTo?: Seq | null;
  /** scan: how. */
  readonly scan?: ScanChoice | null;
  /** Bytes of all images that will come, at most; null when that is not known. */
  readonly imageBytes?: number | null;
}

/** A place in the volumes, in the order in which they are gone through. */
export interface Cursor {
  readonly volume: VolumeIndex;
  readonly offset: number;
}

/** Fills a replica from a primary. */
export class CopyReceiver {
  readonly #ground: CopyGround;
  readonly #protection: Protection;
  #staging: Staging | null = null;
  #imagesUnderWay = 0;
  /** Images that came while what is staged is brought into the bases, because no space is left for both. */
  #spilling: (() => void)[] | null = null;
  /** Waits until no image is under way. */
  #onWritten: (() => void) | null = null;
  /** A cursor is being made durable; the newest one that came meanwhile. */
  #settling = false;
  #nextSettled: { readonly cursor: Cursor; readonly upTo: Seq } | null = null;

  constructor(ground: CopyGround) {
    this.#ground = ground;
    this.#protection = new Protection(ground);
  }

  /** The resync whose images are staged, as the superblock has it; null when there is none. */
  get staged(): StagingValue | null {
    return this.#ground.block.value.staging;
  }

  /** The volume that this copy goes back to if a resync is given up: staged images, or protection images, are kept beside it; null: none. */
  get older(): StagingValue['older'] | null {
    const { staged } = this;
    // Whether protection images can be kept in place of what is staged is being found out.
    if (this.#spilling !== null) return null;
    if (staged !== null) return staged.endSeq === null ? staged.older : null;
    return this.#protection.older;
  }

  /** Something is about to be written: protection images are given up where the space that they keep would be missing. */
  spare(): void {
    this.#protection.spare();
  }

  /** A copy to this replica is under way, or was cut off, whose images went straight into the bases. */
  get partial(): boolean {
    const { copying, staging } = this.#ground.block.value;
    return copying !== null && staging === null;
  }

  /** Bytes of images that are staged. */
  get stagedBytes(): number {
    return this.#staging?.stagedBytes ?? 0;
  }

  /** At opening: takes up what is staged, and goes on with its end if that had begun. Throws DiskError. */
  restore(staged: StagingValue | null): void {
    // What an earlier process had no time to remove.
    if (staged === null) return this.#discard();
    const staging = this.#open(staged.entries);
    const { endSeq, cursor } = staged;
    if (endSeq === null) return staging.forgetFrom(cursor);
    const { changes, journal, group } = this.#ground;
    journal('copy.end-again', { group, endSeq }, 'the end of a resync was cut off: it is carried out again');
    changes.begin('the end of a copy', () => this.#apply(endSeq, (failure) => this.#ended(endSeq, failure, () => undefined)));
  }

  #open(entries: number): Staging {
    assert(this.#staging === null, 'one staging area at a time');
    const { storage, digests, bases } = this.#ground;
    const volumes = bases.map((base) => ({ sizeBytes: base.size() }));
    const leaveBytes = (): number => Math.max(0, this.#ground.sidefileLeftBytes());
    this.#staging = new Staging({ storage, digests, volumes, leaveBytes }, entries);
    return this.#staging;
  }

  /**
   * Begins anew behind `position` of the primary. When `done` is called, the superblock says so durably, the sidefile is empty, and images and
   * frames may come. Nothing is destaged until the copy has ended.
   */
  begin(options: CopyBegin, done: ReplicaDone): void {
    if (this.#ground.refused(done)) return;
    const { changes, block, marks } = this.#ground;
    assertHistory(options.history);
    changes.begin('the begin of a copy', () => {
      assert(options.epoch >= block.value.epoch, 'an epoch that is adopted is not older', {
        epoch: options.epoch,
        newest: block.value.epoch,
      });
      if (this.#ground.failure() !== null || !block.value.consistent) return this.#stopAndBegin(options, null, done);
      const { cutTo } = options;
      if (cutTo !== undefined && cutTo !== null && cutTo < marks.received) {
        // Destaging has gone on since this copy asked, and the primary lacks committed records (it was promoted by force): there is no older volume to keep.
        if (cutTo < marks.destageTarget) return this.#stopAndBegin(options, null, done);
        return this.#ground.cut(cutTo, () => this.#keepOlder(options, done));
      }
      this.#keepOlder(options, done);
    });
  }

  /** The older volume is to be in the bases alone: the sidefile begins anew. */
  #keepOlder(options: CopyBegin, done: ReplicaDone): void {
    const { block, commit, marks, sidefile } = this.#ground;
    if (this.#ground.failure() !== null) return this.#stopAndBegin(options, null, done);
    commit.whenDurable(marks.received, () => {
      this.#ground.settle((failure) => {
        const older = { history: block.value.history, seq: marks.received, chain: sidefile.chain };
        this.#stopAndBegin(options, failure === null ? older : null, done);
      });
    });
  }

  #stopAndBegin(options: CopyBegin, older: StagingValue['older'] | null, done: ReplicaDone): void {
    // Nothing of before may reach a base or the sidefile after this.
    this.#ground.stop(true);
    const { background, changes, later } = this.#ground;
    background.whenIdle(() => (changes.closed ? later(done) : this.#startOver(options, older, done)));
  }

  #startOver(options: CopyBegin, present: StagingValue['older'] | null, done: ReplicaDone): void {
    const { epoch, position, chain, rung } = options;
    const { changes, marks, journal, group, block } = this.#ground;
    // One that is kept already may have been given up for want of space until now.
    const older = present ?? block.value.staging?.older ?? null;
    let staging: StagingValue | null = null;
    if (this.#ground.failure() === null) {
      this.#nextSettled = null;
      const failure = failureOf(() => {
        staging = older === null ? null : this.#beginStaging(options, older);
      });
      if (failure !== null) this.#ground.note(new DiskError(failure));
    }
    if (this.#ground.failure() !== null) {
      changes.end();
      return this.#ground.later(done);
    }
    const lost = block.value.consistent && older === null;
    this.#ground.startOver(position);
    const history = trimHistory(options.history, marks);
    const copied = { destaged: position, destageTarget: position, destagedChain: chain, consistent: false, copying: { fromSeq: position } };
    this.#ground.update({ epoch, history, ...copied, staging }, (failure) => {
      // Only now: until it says durably that another copy is under way, the superblock stands for the old sidefile.
      if (failure === null) this.#resetSidefile({ nextSeq: position + 1, chain, epoch: epochOf(history, position) });
      this.#makeRoom(options, () => {
        this.#ground.stop(changes.closed);
        changes.end();
        const kept = this.older;
        const beside = this.staged === null ? 'this copy is inconsistent, and as protection images ' : '';
        const text = kept === null ? 'this copy is inconsistent' : `${beside}the volume as of record ${kept.seq} is kept until it ends`;
        journal(
          'copy.begin',
          { group, fromSeq: position, rung, staged: this.staged !== null, lost },
          `a resync by ${rung} has begun: ${text}`,
        );
        done(this.#ground.failure());
      });
    });
  }

  /**
   * What is staged already stays where a scan compares it before it counts; anything else begins with an empty area. What the superblock on disk
   * counts is not touched before it counts it no more. Null when there is no space for the files of an area.
   */
  #beginStaging(options: CopyBegin, older: StagingValue['older']): StagingValue | null {
    const kept = this.#staging !== null && options.rung === 'scan' ? (this.staged?.entries ?? 0) : 0;
    const { position: seq, history, rung, scan = null } = options;
    if (this.#staging === null || kept === 0) {
      this.#staging?.close();
      this.#staging = null;
      const lack = lackOf(() => {
        this.#open(0);
        return null;
      });
      if (lack !== null) return null;
    }
    const cursor = { volume: 0, offset: 0 };
    return { rung, scan, older, entries: kept, cursor, upTo: { epoch: epochOf(history, seq), seq }, endSeq: null };
  }

  /**
   * Sets space aside for what is to be staged, before the first image: where there is none the superblock says durably that this copy is inconsistent
   * before a base is touched.
   */
  #makeRoom(options: CopyBegin, done: () => void): void {
    const { bases, journal, group } = this.#ground;
    if (this.#ground.failure() !== null) return done();
    const staged = this.staged;
    let lack: DiskFailure | null = null;
    const failure = failureOf(() => {
      if (staged === null) return this.#discard();
      if (staged.entries > 0) return;
      const totalBytes = bases.reduce((sum, base) => sum + base.size(), 0);
      const byteCount = Math.min(totalBytes, options.imageBytes ?? ROOM_STEP_BYTES);
      lack = lackOf(() => this.#cleared().reserve(byteCount));
    });
    if (failure !== null) this.#ground.note(new DiskError(failure));
    if (lack === null || this.#ground.failure() !== null) return done();
    const facts = { group, ...(lack as DiskFailure), ...this.#staging?.lack, begun: false };
    journal('copy.unstaged', facts, 'there is no space to keep the older volume beside a resync, and what the sidefile may need');
    this.#protection.keep((staged as StagingValue).older, 0, (protection) => {
      this.#ground.update({ staging: null, protection }, (unwritten) => {
        if (unwritten === null) {
          const undiscarded = failureOf(() => this.#discard());
          if (undiscarded !== null) this.#ground.note(new DiskError(undiscarded));
        }
        done();
      });
    });
  }

  /** Images that have waited are written. */
  #goOn(failed: DiskFailure | null): void {
    const waiting = this.#spilling ?? [];
    this.#spilling = null;
    // Another copy may be about to begin: then these are of the one before.
    if (failed === null && this.#ground.failure() === null && this.#ground.changes.current === null) for (const run of waiting) run();
  }

  /** An empty area in place of the one that counts for nothing. Throws DiskError. */
  #cleared(): Staging {
    this.#discard();
    return this.#open(0);
  }

  /** Removes what there is of a staging area, which counts no more. Throws DiskError. */
  #discard(): void {
    this.#staging?.close();
    this.#staging = null;
    discardStaging(this.#ground.storage, this.#ground.bases.length);
    this.#protection.discard();
  }

  #resetSidefile(start: SidefileStart): void {
    try {
      this.#ground.sidefile.reset(start);
    } catch (error) {
      this.#ground.note(error);
    }
  }

  /** Goes on with a resync that is staged, behind `cutTo` of the primary of `epoch`, whose history holds everything that is staged. */
  resume(options: { readonly epoch: Epoch; readonly history: History; readonly cutTo: Seq }, done: ReplicaDone): void {
    if (this.#ground.refused(done)) return;
    const { changes, marks, journal, group } = this.#ground;
    assertHistory(options.history);
    const goOn = (): void => {
      if (this.#ground.failure() !== null) {
        changes.end();
        return this.#ground.later(done);
      }
      this.#ground.update({ epoch: options.epoch, history: trimHistory(options.history, marks) }, (failure) => {
        changes.end();
        if (failure === null) {
          const { rung, cursor } = this.staged as StagingValue;
          journal('copy.resume', { group, rung, ...cursor }, `a resync by ${rung} goes on where it was cut off`);
        }
        done(failure);
      });
    };
    const cut = (): void => {
      if (this.#ground.failure() !== null) return goOn();
      assert(this.staged?.endSeq === null, 'a resync that goes on is staged');
      assert(options.cutTo >= marks.destaged, 'a resync goes on behind its begin', { cutTo: options.cutTo, begin: marks.destaged });
      this.#ground.cut(options.cutTo, goOn);
    };
    // Images of before are written first: those that come now are of the same ranges, and newer.
    changes.begin('an adoption', () => this.#ground.background.whenIdle(cut));
  }

  /** Puts an image where it belongs: into the staging area, or into a base. */
  writeImage(volume: VolumeIndex, offset: number, content: ImageContent, done: ReplicaDone): void {
    if (this.#ground.refused(done)) return;
    const { block, changes, bases, background } = this.#ground;
    this.#protection.spare();
    if (this.#spilling !== null) {
      this.#spilling.push(() => this.writeImage(volume, offset, content, done));
      return;
    }
    assert(block.durableValue.copying !== null, 'an image is written only while the superblock says so');
    assert(changes.current === null, 'no image is written during a change', { changing: changes.current });
    const base = bases[volume];
    assert(base !== undefined, 'there is no such volume', { volume });
    this.#imagesUnderWay++;
    const staging = this.#staging;
    let full: DiskFailure | null = null;
    const ended = background.begin((failure) => {
      this.#imagesUnderWay--;
      if (full === null) done(failure);
      else {
        // No space for two volumes: this image goes into the base, behind those that are staged.
        this.#spill(full);
        this.writeImage(volume, offset, content, done);
      }
      const written = this.#onWritten;
      if (this.#imagesUnderWay > 0 || written === null) return;
      this.#onWritten = null;
      written();
    });
    assert(staging !== null || block.durableValue.staging === null, 'a base is written only when the older volume is given up for good');
    if (staging === null) {
      const failure = failureOf(() => putImage(base, offset, content, ended));
      if (failure !== null) ended(failure);
      return;
    }
    const refused = failureOf(() => {
      staging.put(volume, offset, content, content instanceof Uint8Array ? holeBytes(base, offset, content.length) : 0, (failure) => {
        if (failure !== null && isSpaceLacking(failure)) full = failure;
        ended(full === null ? failure : null);
      });
    });
    if (refused !== null) ended(refused);
  }

  /** Gives the older volume up, durably, and brings what is staged into the bases; images that come meanwhile wait. */
  #spill(failure: DiskFailure): void {
    const staging = this.#staging;
    if (this.#spilling !== null || staging === null) return;
    const { journal, group, background, bases } = this.#ground;
    this.#spilling = [];
    journal(
      'copy.unstaged',
      { group, ...failure, ...staging.lack, begun: true },
      'no space is left to keep the older volume: this copy is inconsistent until the resync ends',
    );
    const over = background.begin((failed) => this.#goOn(failed));
    const { older } = this.staged as StagingValue;
    this.#protection.keep(older, staging.stagedBytes, (protection) => {
      this.#ground.update({ staging: null, protection }, (unwritten) => {
        if (unwritten !== null) return over(unwritten);
        // Those that were begun before count too: what is staged is complete only with them.
        this.#whenWritten(() => {
          if (this.#ground.failure() !== null) return over(null);
          staging.apply(bases, (unapplied) => {
            if (unapplied !== null) return over(unapplied);
            this.#removeStaging();
            over(null);
          });
        });
      });
    });
  }

  /** Calls back when no image is under way: at once if that is so. */
  #whenWritten(done: () => void): void {
    if (this.#imagesUnderWay === 0) done();
    else this.#onWritten = done;
  }

  #removeStaging(): void {
    const staging = this.#staging;
    this.#staging = null;
    const failure = failureOf(() => {
      staging?.remove();
      this.#protection.discard();
    });
    if (failure !== null) this.#ground.note(new DiskError(failure));
  }

  /** All images of ranges before a place have been written, and everything there was compared as of records up to `upTo` of the primary. */
  settled(cursor: Cursor, upTo: Seq): void {
    const { block, storage, background } = this.#ground;
    const staging = this.#staging;
    if (staging === null || this.#spilling !== null || block.value.staging?.endSeq !== null) return;
    if (this.#settling) {
      this.#nextSettled = { cursor, upTo };
      return;
    }
    this.#settling = true;
    const { entries } = staging;
    const ended = background.begin((failure) => {
      this.#settling = false;
      const staged = block.value.staging;
      const next = this.#nextSettled;
      this.#nextSettled = null;
      if (failure !== null || this.#staging !== staging || staged === null || staged.endSeq !== null || staged.entries > entries) return;
      // The end counts everything, or nothing.
      if (this.#ground.changes.current === 'the end of a copy') return;
      const { history } = block.value;
      this.#ground.update({ staging: { ...staged, entries, cursor, upTo: { epoch: epochOf(history, upTo), seq: upTo } } }, () => undefined);
      if (next !== null) this.settled(next.cursor, next.upTo);
    });
    storage.flush(staging.files, ended);
  }

  /**
   * Every range has come, each as of some record up to `endSeq`, and so have all records up to there. When `done` is called, all of it is durable
   * and the replica is consistent; or it is not, because its disk has changed what was staged, and has to join anew.
   */
  end(endSeq: Seq, done: ReplicaDone): void {
    if (this.#ground.refused(done)) return;
    const { block, marks, changes } = this.#ground;
    assert(block.durableValue.copying !== null, 'a copy that ends has begun');
    assert(endSeq <= marks.received, 'a copy ends with records that are here', { endSeq, received: marks.received });
    assert(endSeq >= marks.destageTarget, 'a copy ends behind its begin', { endSeq, begin: marks.destageTarget });
    assert(this.#imagesUnderWay === 0 && this.#spilling === null, 'a copy ends when all images are written', {
      underWay: this.#imagesUnderWay,
    });
    changes.begin('the end of a copy', () => this.#commitStaged(endSeq, (failure) => this.#ended(endSeq, failure, done)));
  }

  #ended(endSeq: Seq, failure: ReplicaFailure | null, done: ReplicaDone): void {
    const { changes, journal, group } = this.#ground;
    changes.end();
    if (failure === null && this.#ground.block.value.consistent)
      journal('copy.end', { group, endSeq }, 'the resync has ended: this copy is consistent');
    done(failure);
  }

  /** Calls back when records up to `endSeq` are durable, unless the replica has failed meanwhile, which is told, or closes: a restart goes on with the end. */
  #whenDurable(endSeq: Seq, done: ReplicaDone): void {
    const failure = this.#ground.failure();
    if (failure !== null) return done(failure);
    if (!this.#ground.changes.closed) this.#ground.commit.whenDurable(endSeq, done);
  }

  /** Begins a step of the end of a copy. It may end well although the replica has failed meanwhile: then nothing follows it either. */
  #endStep(ended: ReplicaDone, next: () => void): DiskDone {
    return this.#ground.background.begin((failure) => {
      const failed = failure ?? this.#ground.failure();
      if (failed === null) next();
      else ended(failed);
    });
  }

  /** Makes what is staged count: with one write of the superblock, once all of it is on stable storage. */
  #commitStaged(endSeq: Seq, ended: ReplicaDone): void {
    const { storage, block } = this.#ground;
    const staging = this.#staging;
    if (staging === null) return this.#flushAll(endSeq, ended);
    this.#whenDurable(endSeq, (unflushed) => {
      if (unflushed !== null) return ended(unflushed);
      const count = (): void => {
        const staged = block.value.staging;
        assert(staged !== null, 'what is staged is known to the superblock');
        this.#ground.update({ staging: { ...staged, entries: staging.entries, endSeq } }, (unwritten) => {
          if (unwritten !== null) return ended(unwritten);
          this.#apply(endSeq, ended);
        });
      };
      // Once it counts, the older volume is gone.
      const flushed = this.#endStep(ended, () => staging.check(this.#stagedStep(ended, count, (change) => this.#anew(change, ended))));
      storage.flush(staging.files, flushed);
    });
  }

  /** Like #endStep, for one that reads what is staged: `changed` follows where the disk has not kept that. */
  #stagedStep(ended: ReplicaDone, next: () => void, changed: (change: DiskFailure) => void): DiskDone {
    return this.#ground.background.attempt((failure) => {
      if (failure !== null && !isChanged(failure)) this.#ground.note(new DiskError(failure));
      const failed = this.#ground.failure();
      if (failed !== null) return ended(failed);
      if (failure === null) next();
      else changed(failure);
    });
  }

  /** What is staged counts no more, and comes again over the older volume: from a primary that this copy joins anew. */
  #anew(change: DiskFailure, ended: ReplicaDone): void {
    const { journal, group, block, marks } = this.#ground;
    const facts = { group, ...change, ...this.#staging?.changedAt, endSeq: null };
    journal('staging.damaged', facts, 'the disk has changed what a resync has staged: the resync begins anew');
    const { staging, history } = block.value;
    assert(staging !== null, 'what is staged is known to the superblock');
    const upTo = { epoch: epochOf(history, marks.destaged), seq: marks.destaged };
    this.#ground.update({ staging: { ...staging, entries: 0, cursor: { volume: 0, offset: 0 }, upTo } }, (unwritten) => {
      const failure = unwritten === null ? failureOf(() => this.#cleared()) : null;
      if (failure !== null) this.#ground.note(new DiskError(failure));
      ended(unwritten ?? this.#ground.failure());
    });
  }

  /** The bases are of no moment any more, and what would bring them to the end is damaged: only another copy helps. */
  #lost(change: DiskFailure, endSeq: Seq, ended: ReplicaDone): void {
    const { journal, group } = this.#ground;
    const facts = { group, ...change, ...this.#staging?.changedAt, endSeq };
    journal('staging.damaged', facts, 'the disk has changed what a resync has staged: this copy is inconsistent until another one ends');
    this.#ground.update({ staging: null }, (unwritten) => {
      if (unwritten === null) this.#removeStaging();
      ended(unwritten ?? this.#ground.failure());
    });
  }

  #apply(endSeq: Seq, ended: ReplicaDone): void {
    const staging = this.#staging;
    assert(staging !== null, 'what is brought into the bases is staged');
    const next = (): void => this.#flushAll(endSeq, ended);
    staging.apply(
      this.#ground.bases,
      this.#stagedStep(ended, next, (change) => this.#lost(change, endSeq, ended)),
    );
  }

  /** Makes sidefile and bases durable, and only then says so. */
  #flushAll(endSeq: Seq, ended: ReplicaDone): void {
    const { storage, bases, marks } = this.#ground;
    this.#whenDurable(endSeq, (unflushed) => {
      if (unflushed !== null) return ended(unflushed);
      const flushed = this.#endStep(ended, () => {
        marks.destageTarget = endSeq;
        this.#ground.moved();
        this.#ground.update({ consistent: true, copying: null, staging: null, protection: null, destageTarget: endSeq }, (unwritten) => {
          if (unwritten === null) this.#removeStaging();
          ended(unwritten ?? this.#ground.failure());
        });
      });
      storage.flush(bases, flushed);
    });
  }

  /**
   * Gives up a resync and goes back to the older volume, which begins `epoch` behind its last record: what an operator's force is for when nobody
   * is left who could end the resync.
   */
  fallBack(epoch: Epoch, done: ReplicaDone): void {
    if (this.#ground.refused(done)) return;
    const { changes, background } = this.#ground;
    changes.begin('a return to the older volume', () => {
      this.#ground.stop(true);
      background.whenIdle(() => this.#fallBack(epoch, done));
    });
  }

  #fallBack(epoch: Epoch, done: ReplicaDone): void {
    const { changes, background } = this.#ground;
    const { older } = this;
    if (this.#ground.failure() !== null) {
      changes.end();
      return this.#ground.later(done);
    }
    assert(older !== null, 'an older volume that is gone back to is there');
    if (this.staged !== null) return this.#beOlder(older, epoch, done);
    const put = background.begin((failure) => {
      if (failure === null) return this.#beOlder(older, epoch, done);
      changes.end();
      done(this.#ground.failure());
    });
    this.#protection.putBack(put);
  }

  /** The bases hold the older volume: nothing else counts any more. */
  #beOlder({ history, seq, chain }: StagingValue['older'], epoch: Epoch, done: ReplicaDone): void {
    const { changes, journal, group } = this.#ground;
    this.#ground.startOver(seq);
    const begun = [...history, { epoch, firstSeq: seq + 1 }];
    const marks = { destaged: seq, destageTarget: seq, destagedChain: chain };
    const whole = { ...marks, consistent: true, copying: null, staging: null, protection: null };
    this.#ground.update({ epoch, history: trimHistory(begun, this.#ground.marks), ...whole }, (failure) => {
      if (failure === null) {
        this.#resetSidefile({ nextSeq: seq + 1, chain, epoch: epochOf(begun, seq) });
        this.#removeStaging();
      }
      this.#ground.stop(changes.closed);
      changes.end();
      journal('copy.given-up', { group, seq, epoch }, `a resync was given up: this copy is the volume as of record ${seq}`);
      done(this.#ground.failure());
    });
  }

  /** The next range of what the receiver holds itself, without the records that came since the begin: data or zeroes; null at the end. */
  imageRanges(volume: VolumeIndex, fromOffset: number, bytesMax: number): ImageRange | null {
    const base = this.#base(volume);
    if (fromOffset >= base.size()) return null;
    const { file, length } = this.#fileAt(volume, fromOffset, base.size() - fromOffset);
    const extent = file.extents(fromOffset, length, 1)[0];
    assert(extent !== undefined, 'a range that is not empty has extents', { volume, fromOffset });
    const whole = Math.ceil(extent.length / BLOCK_BYTES) * BLOCK_BYTES;
    const zero = extent.hole && extent.length >= BLOCK_BYTES;
    const zeroLength = Math.floor(extent.length / BLOCK_BYTES) * BLOCK_BYTES;
    return { offset: fromOffset, length: zero ? zeroLength : Math.min(length, whole, bytesMax), zero };
  }

  /** Reads what the receiver holds itself, without the records that came since the begin. */
  readCold(volume: VolumeIndex, offset: number, into: Uint8Array, done: (needSeq: Seq, failure: ReplicaFailure | null) => void): void {
    let left = 1;
    let failed: DiskFailure | null = null;
    const ended = this.#ground.background.begin((failure) => done(0, failure));
    const part = (failure: DiskFailure | null): void => {
      failed ??= failure;
      if (--left === 0) ended(failed);
    };
    for (let at = offset; at < offset + into.length;) {
      const { file, length } = this.#fileAt(volume, at, offset + into.length - at);
      left++;
      file.readParts([{ offset: at, bytes: into.subarray(at - offset, at - offset + length) }], part);
      at += length;
    }
    part(null);
  }

  /** Digests what the receiver holds itself, where one file has all of a range; false, with nothing begun, where it is in several. */
  digestBase(volume: VolumeIndex, range: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): boolean {
    const { file, length } = this.#fileAt(volume, range.offset, range.length);
    if (length < range.length) return false;
    let digests: Uint8Array | null = null;
    const ended = this.#ground.background.begin((failure) => {
      assert(failure !== null || digests !== null, 'what was digested has digests or a failure', { volume, ...range });
      done(failure ?? (digests as Uint8Array));
    });
    file.digestBlocks(range, how, (result) => {
      if (result instanceof Uint8Array) digests = result;
      ended(result instanceof Uint8Array ? null : result);
    });
    return true;
  }

  #fileAt(volume: VolumeIndex, offset: number, lengthMax: number): { readonly file: StoredFile; readonly length: number } {
    const staging = this.#staging;
    if (staging === null) return { file: this.#base(volume), length: lengthMax };
    const { length, staged } = staging.stretch(volume, offset, lengthMax);
    return { file: staged ? staging.fileAt(volume) : this.#base(volume), length };
  }

  #base(volume: VolumeIndex): StoredFile {
    const base = this.#ground.bases[volume];
    assert(base !== undefined, 'there is no such volume', { volume });
    return base;
  }

  /** Closes the files. */
  close(): void {
    this.#staging?.close();
    this.#staging = null;
  }
}

export type { CopyGround };
