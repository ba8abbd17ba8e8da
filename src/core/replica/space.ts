// How much room the sidefile takes and may take: when writers must wait, and which records may go. What is needed by nobody goes in whole segments,
// once it is in the base image by the superblock on disk.

import { limits } from '../base/limits.ts';
import { Rate, Trend } from '../base/rate.ts';
import type { Millis, Seq } from '../base/units.ts';
import type { Amount } from './amount.ts';
import type { RecordsInUse } from './in-use.ts';
import type { Marks } from './marks.ts';
import type { ReplicaOptions } from './options.ts';
import type { Overlay } from './overlay.ts';
import { SetAside } from './set-aside.ts';
import type { Sidefile } from './sidefile.ts';

/** What the space of a replica is computed from. */
export interface SpaceParts {
  readonly options: Pick<ReplicaOptions, 'capacityBytes' | 'segmentBytes' | 'setAside' | 'storage' | 'journal'>;
  readonly sidefile: Sidefile;
  readonly overlays: readonly Overlay[];
  readonly marks: Readonly<Marks>;
  readonly amount: Amount;
  /** What of the sidefile is being read. */
  readonly inUse: RecordsInUse;
  /** Nothing behind this record is destaged while a point stands; Infinity when none does. */
  readonly hold: () => Seq;
}

export class Space {
  readonly #parts: SpaceParts;
  readonly #bytes = new Rate();
  readonly #records = new Rate();
  #lasting = new Trend();
  #wasHeldBack = false;
  /** Records from here on are kept for peers also when they are destaged; Infinity when nobody needs any. */
  retainFrom: Seq = Infinity;
  /** There is to be room for records from here on, whether they are kept or not; Infinity when only what is kept counts. */
  guideFrom: Seq = Infinity;
  /** Disk space that waits for it; null where the replica is only looked at. */
  readonly setAside: SetAside | null;

  constructor(parts: SpaceParts) {
    this.#parts = parts;
    const { capacityBytes, segmentBytes, setAside, storage, journal } = parts.options;
    this.setAside = setAside === undefined ? null : new SetAside({ ...setAside, storage, journal, segmentBytes, mostBytes: capacityBytes });
  }

  get #capacityBytes(): number {
    return this.#parts.options.capacityBytes;
  }

  /** Bytes of the sidefile's files. */
  get heldBytes(): number {
    return this.#parts.sidefile.heldBytes;
  }

  /** Bytes that the sidefile may still grow; negative when what was admitted before exceeded it. */
  get leftBytes(): number {
    return this.#capacityBytes - this.heldBytes;
  }

  /** Of these, what the disk must have left: what is set aside for them is had already. */
  get lackingBytes(): number {
    return this.leftBytes - (this.setAside?.heldBytes ?? 0);
  }

  /** Bytes of records that may not go yet: they wait for the base image, or a copy may need them. */
  get neededBytes(): number {
    return this.#bytesFrom(Math.min(this.#parts.marks.destaged + 1, this.retainFrom));
  }

  /** What there is to be room for. */
  get guideBytes(): number {
    return Math.max(this.neededBytes, this.#bytesFrom(this.guideFrom));
  }

  /** A point keeps records out of the bases. */
  get #isHeldBack(): boolean {
    return this.#parts.hold() <= this.#parts.marks.destaged;
  }

  /** Of what is needed, what does not give way by itself: a point does, long before there is no room, and what it holds back is destaged then. */
  get #lastingBytes(): number {
    const { destaged, committed } = this.#parts.marks;
    return this.#bytesFrom(Math.min((this.#isHeldBack ? committed : destaged) + 1, this.retainFrom));
  }

  #bytesFrom(seq: Seq): number {
    const { amount, marks } = this.#parts;
    return seq > marks.received ? 0 : (amount.from(seq) ?? this.heldBytes);
  }

  /** A frame was appended. */
  appended(now: Millis, byteCount: number, recordCount: number): void {
    this.#bytes.add(now, byteCount);
    this.#records.add(now, recordCount);
  }

  /** How much is written in a second now. */
  written(now: Millis): { bytesPerSecond: number; recordsPerSecond: number } {
    return { bytesPerSecond: this.#bytes.perSecond(now), recordsPerSecond: this.#records.perSecond(now) };
  }

  /** Called each turn: for the forecast, and for what is set aside. */
  watch(now: Millis): void {
    // What a point has held back counts all at once when it ends: that is no growth.
    if (this.#wasHeldBack && !this.#isHeldBack) this.#lasting = new Trend();
    this.#wasHeldBack = this.#isHeldBack;
    this.#lasting.sample(now, () => this.#lastingBytes);
    const { setAside } = this;
    const { sidefile } = this.#parts;
    setAside?.turn(now, () => {
      if (setAside.wantedBytes > 0) sidefile.lengthen((byteCount) => setAside.give(byteCount));
      return { neededBytes: this.guideBytes, filesBytes: sidefile.filesBytes };
    });
  }

  /** When there will be no room left, if what is needed, and not for a point alone, goes on growing as in the last seconds; null when it does not grow. */
  get fullInSeconds(): number | null {
    const growth = this.#lasting.perSecond;
    if (growth === null || growth < 1) return null;
    return Math.max(0, this.#capacityBytes - this.#lastingBytes) / growth;
  }

  /** Whether writers must wait: until records have been destaged and dropped, or nobody needs them any more. */
  get full(): boolean {
    if (this.#rangeCount() > limits.overlayZeroRangesMax) return true;
    if (this.leftBytes > 0) return false;
    // The newest segment is never dropped: when all that is left needs nothing more, the next record begins another one and lets it go.
    const { destaged, received } = this.#parts.marks;
    return destaged < received || this.retainFrom <= received;
  }

  /** Whether destaging should begin at once, with so much that waits for it. */
  pressed(backlogBytes: number): boolean {
    const capacityBytes = this.#capacityBytes;
    return this.#rangeCount() > limits.overlayZeroRangesMax / 2 || (this.leftBytes < capacityBytes / 4 && backlogBytes > capacityBytes / 8);
  }

  /**
   * What runs short, so that what nobody is to wait for must give way: points do, long before writers wait. Ranges are forgotten in the order of their
   * records, behind everything that a point holds up: they have to last until that is destaged.
   */
  get shortOf(): 'room' | 'ranges' | null {
    if (this.#rangeCount() > limits.overlayZeroRangesMax / 16) return 'ranges';
    return this.full || this.leftBytes < this.#capacityBytes / 4 ? 'room' : null;
  }

  /** Drops segments of which every record is destaged and needed by nobody. The caller has made sure that the superblock on disk says so. */
  drop(): void {
    const { marks, inUse, sidefile } = this.#parts;
    sidefile.dropBefore(Math.min(marks.destaged + 1, this.retainFrom, marks.received + 1, inUse.oldest));
  }

  #rangeCount(): number {
    let count = 0;
    for (const overlay of this.#parts.overlays) count += overlay.rangeCount;
    return count;
  }
}
