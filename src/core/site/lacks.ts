// Which parts of a volume a mirror lacks, as far as the primary knows: for a host that asks for it (the metadata context x-tercet:dirty:SITE). It may
// say too much, and never too little: what is not known to be on the mirror's stable storage, as part of a consistent copy, is lacking.

import type { PagedBits } from '../base/bits.ts';
import { limits } from '../base/limits.ts';
import type { Clock } from '../base/ports.ts';
import type { Epoch, Millis, Seq, SiteName, VolumeIndex } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import { Bitmaps } from '../replica/bitmaps.ts';
import type { Replica } from '../replica/replica.ts';

/** A stretch of a volume of which a mirror lacks something, or nothing. */
export interface Stretch {
  readonly length: number;
  readonly lacking: boolean;
}

export interface StretchRange {
  readonly volume: VolumeIndex;
  readonly offset: number;
  readonly length: number;
}

/** What is used of a reign. */
export interface Knowledge {
  readonly followed: ReadonlyMap<SiteName, Pick<FollowedPeer, 'knownDurable'>>;
}

/** What is used of the primary's own copy. */
export type CopyView = Pick<Replica, 'bitmaps' | 'epoch' | 'failure' | 'fillBitmap' | 'marks'>;

/** Slices of time that one question may take; what is not looked at then is taken for lacking, and is looked at by a later one. */
const SLICES_MAX = 4;
/** Then nothing is looked at for so many times as long: hosts' requests have the same thread. */
const REST_TIMES = 9;

/** Asked at the primary of one group. What was found out for one question is kept for the next. */
export class Lacks {
  readonly #own: SiteName;
  readonly #chunkBytes: number;
  readonly #volumeCount: number;
  #views: Bitmaps;
  #epoch: Epoch = 0;
  readonly #clock: Pick<Clock, 'now'>;
  #restUntil: Millis = -Infinity;

  /** `own`: this site. `chunkBytes`: what one bit of a bitmap stands for. */
  constructor(given: { own: SiteName; volumeCount: number; chunkBytes: number; clock: Pick<Clock, 'now'> }) {
    this.#own = given.own;
    this.#volumeCount = given.volumeCount;
    this.#chunkBytes = given.chunkBytes;
    this.#clock = given.clock;
    this.#views = new Bitmaps(given.volumeCount, given.chunkBytes);
  }

  /** From the range's offset on; perhaps not to its end, but at least one. */
  of(at: { readonly lead: Knowledge | null; readonly replica: CopyView | null }, site: SiteName, range: StretchRange): readonly Stretch[] {
    const { lead, replica } = at;
    const everything = [{ length: range.length, lacking: true }];
    if (lead === null || replica === null || replica.failure !== null) return everything;
    if (site === this.#own) return [{ length: range.length, lacking: false }];
    const known = lead.followed.get(site)?.knownDurable ?? null;
    if (known === null) return everything;
    const { received, oldest } = replica.marks;
    const first = known + 1;
    if (first > received) return [{ length: range.length, lacking: false }];
    const bits = first >= oldest ? this.#view(replica, site, first) : noted(replica, site, first);
    return bits === null ? everything : this.#stretches(bits[range.volume], range);
  }

  /** What the records from `first` on touch, by the sidefile; null when there are too many to look at now. */
  #view(replica: CopyView, site: SiteName, first: Seq): readonly PagedBits[] | null {
    if (replica.epoch !== this.#epoch) this.#views = new Bitmaps(this.#volumeCount, this.#chunkBytes);
    this.#epoch = replica.epoch;
    const seen = this.#views.get(site);
    // One that begins earlier says too much: more than half of that is not worth keeping.
    const isOld = seen === null || seen.from > first || first > seen.to || first - seen.from > seen.to - first;
    if (isOld || seen.to + 1 < replica.marks.oldest) this.#views.begin(site, first, first - 1);
    const begun = this.#clock.now();
    if (begun < this.#restUntil) return null;
    try {
      for (let slice = 0; slice < SLICES_MAX; slice++) {
        if (replica.fillBitmap(site, this.#views)) return this.#views.get(site)?.volumes ?? null;
      }
    } catch (error) {
      // A failing disk is noted by the replica, which ends the reign.
      if (replica.failure === null) throw error;
    }
    const now = this.#clock.now();
    this.#restUntil = now + REST_TIMES * (now - begun);
    return null;
  }

  #stretches(bits: PagedBits | undefined, { offset, length }: StretchRange): readonly Stretch[] {
    const stretches: Stretch[] = [];
    const end = offset + length;
    let at = offset;
    while (at < end && stretches.length < limits.nbdExtentsMax) {
      const run = bits?.nextRun(Math.floor(at / this.#chunkBytes)) ?? null;
      const from = run === null ? end : Math.max(at, Math.min(end, run.from * this.#chunkBytes));
      const to = run === null ? end : Math.min(end, run.to * this.#chunkBytes);
      if (from > at) stretches.push({ length: from - at, lacking: false });
      if (to > from) stretches.push({ length: to - from, lacking: true });
      at = to;
    }
    return stretches;
  }
}

/** What the sidefile had to forget about a peer, if it was noted from the first record on that it lacks. */
function noted(replica: CopyView, site: SiteName, first: Seq): readonly PagedBits[] | null {
  const map = replica.bitmaps.get(site);
  return map !== null && map.from <= first && map.to >= replica.marks.received ? map.volumes : null;
}
