// A volume seen from above: for each of a few cells of equal size, how many records of the sidefile touch it, which of them wait, for whom, and what a
// resync has found. Gathered in steps of a few milliseconds, since leases are at stake; what changes between two steps is as of the later one.

import { assert } from '../base/assert.ts';
import type { Millis, Seq, SiteName, VolumeIndex, WallMillis } from '../base/units.ts';
import type { PagedBits } from '../base/bits.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import { FOUND_CHUNK_BYTES, ScanRanges } from '../mirror/ranges.ts';
import type { FrameView } from '../record/decode.ts';
import type { ResyncRung } from '../replica/superblock.ts';
import type { Role, VolumeStatus } from './contract.ts';
import type { Inspected } from './status.ts';

/** How long one step may take, and frames between two looks at the clock. */
const STEP_MILLIS = 4;
const STEP_FRAMES = 32;
/** Newest records that are looked at: a sidefile of terabytes would take minutes. */
const RECORDS_MAX = 1_000_000;

/** Counts for each cell, in order. */
export type CellCounts = readonly number[];

/** What concerns one peer; null where it is not known here. */
export interface PeerCells {
  readonly site: SiteName;
  /** As primary: records that touch the cell and that it has not acknowledged. */
  readonly awaiting: CellCounts | null;
  /** Chunks that its bitmap names: it lacks them, and the sidefile has forgotten why. */
  readonly bitmap: CellCounts | null;
  /** Ranges in which the resync that is under way has found something else. */
  readonly differing: CellCounts | null;
  /** While it is brought up to date by images: by which rung, and up to which byte of this volume that is done; null for a bitmap, which jumps. */
  readonly resync: { readonly rung: ResyncRung; readonly doneBytes: number | null } | null;
}

/** A volume as of one moment. */
export interface VolumeMap {
  readonly group: string;
  readonly site: SiteName;
  readonly role: Role;
  readonly volume: string;
  readonly sizeBytes: number;
  /** What one cell stands for; the last one may reach beyond the end. */
  readonly cellBytes: number;
  readonly cellCount: number;
  /** Records that were looked at: from this one on, up to the newest; null when there is none. */
  readonly fromSeq: Seq | null;
  /** Records of the sidefile that touch the cell. */
  readonly sidefile: CellCounts;
  /** Of those, the ones that are not in the base image yet. */
  readonly undestaged: CellCounts;
  /** What the last verify has found wrong, at any copy, and not mended: ranges that touch the cell. */
  readonly wrong: CellCounts;
  /** No block was compared by a verify longer ago than this, in milliseconds since 1970; null where that is not known here. */
  readonly verifiedSince: WallMillis | null;
  /** While a verify is under way here: up to which byte of this volume it has come. */
  readonly verifyDoneBytes: number | null;
  readonly peers: readonly PeerCells[];
}

interface Tally {
  readonly site: SiteName;
  readonly followed: FollowedPeer | null;
  readonly awaiting: Float64Array | null;
}

/** Gathers one map: step() until it says that it is done. */
export class VolumeSurvey {
  readonly #inspect: () => Inspected;
  /** As of its begin. */
  readonly #volumes: readonly VolumeStatus[];
  readonly #volume: VolumeIndex;
  readonly #cellBytes: number;
  readonly #sidefile: Float64Array;
  readonly #undestaged: Float64Array;
  readonly #tallies: readonly Tally[];
  readonly #fromSeq: Seq | null;
  #next: Seq;
  #map: VolumeMap | null = null;

  /** `inspect` is asked anew at each step. The volume is one of the group's. */
  constructor(inspect: () => Inspected, volume: VolumeIndex, options: { cellsMax: number; unitBytes: number }) {
    const { growth, lead, peers, replica } = inspect();
    this.#volumes = growth.volumes();
    const sizeBytes = this.#volumes[volume]?.sizeBytes;
    assert(sizeBytes !== undefined && options.cellsMax > 0, 'a map is of a volume of the group', { volume });
    this.#inspect = inspect;
    this.#volume = volume;
    this.#cellBytes = Math.ceil(sizeBytes / options.cellsMax / options.unitBytes) * options.unitBytes;
    const count = Math.ceil(sizeBytes / this.#cellBytes);
    this.#sidefile = new Float64Array(count);
    this.#undestaged = new Float64Array(count);
    this.#tallies = [...peers.keys()].map((name) => {
      const followed = lead?.followed.get(name) ?? null;
      const known = followed !== null && followed.streaming;
      return { site: name, followed, awaiting: known ? new Float64Array(count) : null };
    });
    const { oldest, received } = replica?.marks ?? { oldest: 1, received: 0 };
    this.#next = Math.max(oldest, received - RECORDS_MAX + 1);
    this.#fromSeq = this.#next <= received ? this.#next : null;
  }

  /** Goes on for a few milliseconds; null while there is more to do. Throws what reading a damaged sidefile throws. */
  step(): VolumeMap | null {
    if (this.#map !== null) return this.#map;
    const { options, replica } = this.#inspect();
    const until: Millis = options.clock.now() + STEP_MILLIS;
    while (replica !== null && replica.failure === null && this.#next <= replica.marks.received) {
      // Records may have been dropped or cut back since the last step.
      this.#next = Math.max(this.#next, replica.marks.oldest);
      if (this.#next > replica.marks.received) break;
      replica.visitTables(this.#next, STEP_FRAMES, (frame, first, last) => this.#tally(frame, first, last, replica.marks.destaged));
      if (options.clock.now() >= until) return null;
    }
    this.#map = this.#finish();
    return this.#map;
  }

  #tally(frame: FrameView, first: number, last: number, destaged: Seq): void {
    for (let index = first; index <= last; index++) {
      if (frame.volumeAt(index) !== this.#volume) continue;
      const seq = frame.firstSeq + index;
      const from = Math.floor(frame.offsetAt(index) / this.#cellBytes);
      const to = Math.ceil((frame.offsetAt(index) + frame.lengthAt(index)) / this.#cellBytes);
      addOne(this.#sidefile, from, to);
      if (seq > destaged) addOne(this.#undestaged, from, to);
      for (const { followed, awaiting } of this.#tallies)
        if (awaiting !== null && followed !== null && seq > followed.received) addOne(awaiting, from, to);
    }
    this.#next = frame.firstSeq + last + 1;
  }

  #finish(): VolumeMap {
    const inside = this.#inspect();
    const { options, replica, role } = inside;
    const verify = inside.verifies.status();
    const { name, sizeBytes } = this.#volumes[this.#volume] as VolumeStatus;
    return {
      group: options.group,
      site: options.site,
      role,
      volume: name,
      sizeBytes,
      cellBytes: this.#cellBytes,
      cellCount: this.#sidefile.length,
      fromSeq: this.#fromSeq,
      sidefile: [...this.#sidefile],
      undestaged: [...this.#undestaged],
      wrong: this.#wrongOf(inside),
      verifiedSince:
        verify.oldestUnverifiedSeconds === null ? null : Math.round(options.clock.wall() - verify.oldestUnverifiedSeconds * 1000),
      verifyDoneBytes: verify.running ? this.#within(verify.passedBytes) : null,
      peers: this.#tallies.map(({ site, followed, awaiting }) => ({
        site,
        awaiting: awaiting === null ? null : [...awaiting],
        bitmap: replica === null ? null : this.#bitmapOf(inside, site),
        differing: this.#differingOf(followed),
        resync: this.#resyncOf(followed),
      })),
    };
  }

  #bitmapOf({ replica }: Inspected, site: SiteName): CellCounts | null {
    const bits = replica?.bitmaps.get(site)?.volumes[this.#volume];
    return replica === null || bits === undefined ? null : this.#counted(bits, replica.bitmaps.chunkBytes);
  }

  #differingOf(followed: FollowedPeer | null): CellCounts | null {
    const ranges = followed?.copy?.ranges;
    const bits = ranges instanceof ScanRanges ? ranges.found[this.#volume] : undefined;
    return bits === undefined ? null : this.#counted(bits, FOUND_CHUNK_BYTES);
  }

  /** How many bits of a set lie in each cell; one that is larger than a cell counts in each that it touches. */
  #counted(bits: PagedBits, chunkBytes: number): CellCounts {
    const counts = new Float64Array(this.#sidefile.length);
    for (let run = bits.nextRun(0); run !== null; run = bits.nextRun(run.to)) {
      for (let chunk = run.from; chunk < run.to; chunk++) {
        const from = Math.floor((chunk * chunkBytes) / this.#cellBytes);
        addOne(counts, from, Math.max(from + 1, Math.ceil(((chunk + 1) * chunkBytes) / this.#cellBytes)));
      }
    }
    return [...counts];
  }

  #resyncOf(followed: FollowedPeer | null): PeerCells['resync'] {
    const copy = followed?.copy ?? null;
    if (copy === null) return null;
    return { rung: copy.rung, doneBytes: copy.rung === 'bitmap' ? null : this.#within(copy.passedBytes) };
  }

  /** How much of this volume lies before a place that is counted over all volumes. */
  #within(passedBytes: number): number {
    const before = this.#volumes.slice(0, this.#volume).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return Math.max(0, Math.min(this.#volumes[this.#volume]?.sizeBytes ?? 0, passedBytes - before));
  }

  #wrongOf({ verifies }: Inspected): CellCounts {
    const verify = verifies.status();
    const counts = new Float64Array(this.#sidefile.length);
    for (const { volume, offset, length, repaired } of verify.findings) {
      if (volume !== this.#volume || repaired) continue;
      addOne(counts, Math.floor(offset / this.#cellBytes), Math.ceil((offset + length) / this.#cellBytes));
    }
    return [...counts];
  }
}

function addOne(counts: Float64Array, from: number, to: number): void {
  for (let cell = from; cell < to && cell < counts.length; cell++) counts[cell] = (counts[cell] as number) + 1;
}
