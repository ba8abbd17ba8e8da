// What the sidefile had to forget about a peer: one coarse bitmap for each, in memory. A bitmap says which parts of the volumes the records from
// one seq on have touched, and goes on with every record until the peer is equal again. It is never taken for complete unless it begins where
// the peer ends: one that was lost does not exist, and says nothing.

import { assert } from '../base/assert.ts';
import { PagedBits } from '../base/bits.ts';
import { viewOf } from '../base/bytes.ts';
import type { Clock, Digests, DiskDone, Storage } from '../base/ports.ts';
import { isCount, type Seq, type SiteName, type VolumeIndex } from '../base/units.ts';
import { decodeUtf8, encodeUtf8 } from '../base/utf8.ts';
import type { FrameView } from '../record/decode.ts';
import type { Sidefile } from './sidefile.ts';
import { failureOf } from './staging.ts';

/** File of the bitmaps of a clean shutdown. */
const BITMAPS_FILE = 'bitmaps';
const BITMAPS_FORMAT = 1;
/** Runs of a bitmap above which it is not worth keeping over a restart: the scan is asked instead. */
const SAVED_RUNS_MAX = 200_000;

/** How long a bitmap is filled in one turn, and frames between two looks at the clock. */
const FILL_MILLIS = 5;
const FILL_FRAMES = 64;

/** The parts of the volumes that records `from` to `to` have touched, and perhaps more. */
export class DirtyMap {
  readonly from: Seq;
  /** Every record from `from` up to here is in it. */
  to: Seq;
  readonly volumes: readonly PagedBits[];

  constructor(from: Seq, to: Seq, volumeCount: number) {
    this.from = from;
    this.to = to;
    this.volumes = Array.from({ length: volumeCount }, () => new PagedBits());
  }

  get chunkCount(): number {
    return this.volumes.reduce((sum, bits) => sum + bits.count, 0);
  }
}

/** Whose they are at a clean shutdown: bitmaps are taken up again only by the very next start, on the same records. */
export interface BitmapsOwner {
  readonly groupTag: number;
  readonly startCount: number;
  readonly received: Seq;
}

export class Bitmaps {
  /** What one bit stands for. */
  readonly chunkBytes: number;
  readonly #volumeCount: number;
  readonly #maps = new Map<SiteName, DirtyMap>();

  constructor(volumeCount: number, chunkBytes: number) {
    this.#volumeCount = volumeCount;
    this.chunkBytes = chunkBytes;
  }

  get sites(): readonly SiteName[] {
    return [...this.#maps.keys()];
  }

  get(site: SiteName): DirtyMap | null {
    return this.#maps.get(site) ?? null;
  }

  /** Begins a bitmap for a peer, in place of one that there was: empty, of the records from `from` on, of which those up to `to` are in it. */
  begin(site: SiteName, from: Seq, to: Seq): DirtyMap {
    assert(from <= to + 1, 'a bitmap covers records that follow one another', { from, to });
    const map = new DirtyMap(from, to, this.#volumeCount);
    this.#maps.set(site, map);
    return map;
  }

  /**
   * Sees to it that a peer has a bitmap from a seq on, which can be filled with what the sidefile holds from `oldest` on: one that begins late, or
   * was never whole and cannot become so, is begun anew. True when it was.
   */
  ensure(site: SiteName, from: Seq, oldest: Seq): boolean {
    const map = this.#maps.get(site);
    const first = Math.max(from, oldest);
    if (map !== undefined && map.from <= first && map.to + 1 >= oldest) return false;
    this.begin(site, first, first - 1);
    return true;
  }

  drop(site: SiteName): void {
    this.#maps.delete(site);
  }

  /** Records have come that none of these can go on with. */
  clear(): void {
    this.#maps.clear();
  }

  /** A frame was appended. */
  appended(frame: FrameView): void {
    for (const map of this.#maps.values()) {
      // One that is still being filled comes to it by itself.
      if (map.to + 1 < frame.firstSeq) continue;
      this.#mark(map, frame, 0, frame.recordCount - 1);
      map.to = Math.max(map.to, frame.lastSeq);
    }
  }

  /** Records behind `seq` were cut back: what they touched stays marked, those that come in their place do so too. */
  cut(seq: Seq): void {
    for (const [site, map] of this.#maps) {
      if (map.from > seq + 1) this.#maps.delete(site);
      else map.to = Math.min(map.to, seq);
    }
  }

  /**
   * Enters records that the sidefile holds, no longer than a turn may take: leases are at stake. True once the bitmap has all of them. Throws
   * SidefileDamage.
   */
  fill(site: SiteName, sidefile: Pick<Sidefile, 'visitTables' | 'received'>, clock: Pick<Clock, 'now'>): boolean {
    const map = this.#maps.get(site);
    assert(map !== undefined, 'a bitmap that is filled was begun', { site });
    const until = clock.now() + FILL_MILLIS;
    do {
      sidefile.visitTables(map.to + 1, FILL_FRAMES, (frame, first, last) => {
        this.#mark(map, frame, first, last);
        map.to = frame.firstSeq + last;
      });
    } while (map.to < sidefile.received && clock.now() < until);
    return map.to >= sidefile.received;
  }

  #mark(map: DirtyMap, frame: FrameView, first: number, last: number): void {
    for (let index = first; index <= last; index++) {
      const bits = map.volumes[frame.volumeAt(index)];
      assert(bits !== undefined, 'a record names a volume of its group', { volume: frame.volumeAt(index) });
      const offset = frame.offsetAt(index);
      bits.add(Math.floor(offset / this.chunkBytes), Math.ceil((offset + frame.lengthAt(index)) / this.chunkBytes));
    }
  }

  /** Makes those that are complete durable for the next start. */
  save(ports: { readonly storage: Storage; readonly digests: Digests }, owner: BitmapsOwner, done: DiskDone): void {
    const { storage, digests } = ports;
    const maps = [...this.#maps]
      .filter(([, map]) => map.to === owner.received)
      .map(([site, map]) => ({ site, from: map.from, volumes: map.volumes.map(runsOf) }))
      .filter((map) => map.volumes.reduce((sum, runs) => sum + runs.length, 0) <= SAVED_RUNS_MAX);
    if (maps.length === 0) return done(null);
    const body = encodeUtf8(JSON.stringify({ format: BITMAPS_FORMAT, ...owner, chunkBytes: this.chunkBytes, maps }));
    const head = new Uint8Array(8);
    viewOf(head).setUint32(0, digests.crc32(body, 0), true);
    viewOf(head).setUint32(4, body.length, true);
    const failure = failureOf(() => {
      const file = storage.open(BITMAPS_FILE, { create: true });
      file.truncate(0);
      file.write(0, [head, body]);
      storage.flush([file], (unflushed) => {
        file.close();
        done(unflushed);
      });
    });
    if (failure !== null) done(failure);
  }

  /** Takes up what the stop before this start has kept, if it is that; anything else is as good as lost, and is not taken. Throws DiskError. */
  load(storage: Storage, digests: Digests, owner: BitmapsOwner): void {
    if (!storage.list().includes(BITMAPS_FILE)) return;
    const file = storage.open(BITMAPS_FILE, { create: false });
    const bytes = new Uint8Array(file.size());
    file.read(0, bytes);
    file.close();
    const saved = readSaved(bytes, digests);
    if (saved === null || saved.chunkBytes !== this.chunkBytes) return;
    const same = saved.groupTag === owner.groupTag && saved.startCount === owner.startCount && saved.received === owner.received;
    if (!same) return;
    for (const { site, from, volumes } of saved.maps) {
      if (volumes.length !== this.#volumeCount) continue;
      const map = this.begin(site, from, owner.received);
      volumes.forEach((runs, volume) => {
        for (let at = 0; at + 1 < runs.length; at += 2) map.volumes[volume]?.add(runs[at] as number, runs[at + 1] as number);
      });
    }
  }

  /** A page of a bitmap that another site keeps. */
  addPage(site: SiteName, volume: VolumeIndex, index: number, bytes: Uint8Array): boolean {
    const bits = this.#maps.get(site)?.volumes[volume];
    bits?.addPage(index, bytes);
    return bits !== undefined;
  }
}

function runsOf(bits: PagedBits): number[] {
  const runs: number[] = [];
  for (let run = bits.nextRun(0); run !== null; run = bits.nextRun(run.to)) runs.push(run.from, run.to);
  return runs;
}

interface Saved extends BitmapsOwner {
  readonly chunkBytes: number;
  readonly maps: readonly { readonly site: SiteName; readonly from: Seq; readonly volumes: readonly (readonly number[])[] }[];
}

function readSaved(bytes: Uint8Array, digests: Digests): Saved | null {
  if (bytes.length < 8) return null;
  const view = viewOf(bytes);
  const body = bytes.subarray(8, 8 + view.getUint32(4, true));
  if (digests.crc32(body, 0) !== view.getUint32(0, true)) return null;
  const text = decodeUtf8(body);
  if (text === null) return null;
  // Its checksum is right, so it is what save() wrote: only the version is in question.
  const value = JSON.parse(text) as Saved & { readonly format: number };
  return value.format === BITMAPS_FORMAT && isCount(value.received) ? value : null;
}
