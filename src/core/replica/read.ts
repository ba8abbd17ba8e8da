// Reading a replica: the content of a block is the newest record that covers it, or else the base image. A read either answers at once from
// the page cache or says that it would have to wait for the disk, so that the event loop never waits; the cold way fetches what is missing in the
// background. Destaging must not write under such a read: it waits for the ones that began before it. And no record that it reads is dropped.

import { assert } from '../base/assert.ts';
import type { DigestHow, DigestsDone, DiskDone, DiskFailure, FilePart, StoredFile } from '../base/ports.ts';
import { BLOCK_BYTES, type Seq, type VolumeIndex } from '../base/units.ts';
import type { Background } from './background.ts';
import type { RecordsInUse } from './in-use.ts';
import { BASE, type Overlay, TRIMMED } from './overlay.ts';
import type { Sidefile } from './sidefile.ts';

/** What a replica's content is made of: per volume an overlay over a base image, and the sidefile that the overlays point into. */
export interface Layers {
  readonly overlays: readonly Overlay[];
  readonly bases: readonly StoredFile[];
  readonly sidefile: Pick<Sidefile, 'read' | 'fileOf'>;
  readonly inUse: RecordsInUse;
}

/** A part of a volume, following the one before it. `zero`: it reads as zeroes for certain. `hole`: and takes no space. */
export interface VolumeExtent {
  readonly length: number;
  readonly hole: boolean;
  readonly zero: boolean;
}

/** Blocks that one call of extents() looks up at most where records are waiting: bounds the time of one call. */
const EXTENT_WALK_BLOCKS = 16_384;

const DATA = 0;
const ZERO = 1;
const HOLE = 2;
type Content = typeof DATA | typeof ZERO | typeof HOLE;

/** What a read has to wait for the disk for. */
interface Missing {
  readonly base: FilePart[];
  /** By segment; null where the sidefile is read here and now. */
  readonly segments: Map<number, FilePart[]> | null;
  /** The oldest record among those. */
  oldest: Seq;
}

/** Reads from overlays, sidefile and base images, and knows which background reads are still under way. */
export class Reader {
  readonly #layers: Layers;
  readonly #background: Background;
  #coldBegun = 0;
  /** Background reads under way, oldest first. */
  readonly #cold = new Set<number>();
  /** Those who wait until every background read up to a number has ended, in the order of their numbers. */
  readonly #waiting: { readonly upTo: number; readonly done: () => void }[] = [];

  constructor(layers: Layers, background: Background) {
    this.#layers = layers;
    this.#background = background;
  }

  /**
   * Fills `into` with the newest content and returns the highest seq above `committed` among the records that cover it, 0 when there is none;
   * -1, with `into` undefined, when the disk would have to be waited for. Any offset and length within the volume.
   */
  read(volume: VolumeIndex, offset: number, into: Uint8Array, committed: Seq): number {
    return this.#fill(volume, offset, into, committed, null);
  }

  /** Like read(), waiting for the disk here and now: for the few bytes around an unaligned write. */
  readNow(volume: VolumeIndex, offset: number, into: Uint8Array): void {
    const missing: Missing = { base: [], segments: null, oldest: Infinity };
    this.#fill(volume, offset, into, Infinity, missing);
    for (const part of missing.base) this.#base(volume).read(part.offset, part.bytes);
  }

  /** Like read(), in the background: the content is that of the moment of the call. `done` comes later, with what read() returns. */
  readCold(
    volume: VolumeIndex,
    offset: number,
    into: Uint8Array,
    committed: Seq,
    done: (needSeq: number, failure: DiskFailure | null) => void,
  ): void {
    const segments = new Map<number, FilePart[]>();
    const missing: Missing = { base: [], segments, oldest: Infinity };
    const needSeq = this.#fill(volume, offset, into, committed, missing);
    if (segments.size === 0) {
      const ended = this.#begun((failure) => done(needSeq, failure));
      return this.#base(volume).readParts(missing.base, ended);
    }
    const free = this.#layers.inUse.begin(missing.oldest);
    const ended = this.#begun((failure) => {
      free();
      done(needSeq, failure);
    });
    let left = segments.size + 1;
    let failed: DiskFailure | null = null;
    const partEnded = (failure: DiskFailure | null): void => {
      failed ??= failure;
      if (--left === 0) ended(failed);
    };
    for (const [segment, parts] of segments) this.#layers.sidefile.fileOf(segment).readParts(parts, partEnded);
    this.#base(volume).readParts(missing.base, partEnded);
  }

  /**
   * Digests a range in the background, where all of it comes from the base image: as of the moment of the call. False, with nothing begun, where
   * records cover a part of it.
   */
  digestBase(volume: VolumeIndex, range: { readonly offset: number; readonly length: number }, how: DigestHow, done: DigestsDone): boolean {
    const overlay = this.#overlay(volume);
    const base = this.#base(volume);
    const end = range.offset + range.length;
    assert(end <= base.size(), 'a range that is digested must end within its volume', { volume, ...range });
    for (let block = Math.floor(range.offset / BLOCK_BYTES); !overlay.empty && block * BLOCK_BYTES < end; block++)
      if (overlay.seek(block) !== 0) return false;
    let digests: Uint8Array | null = null;
    const ended = this.#begun((failure) => {
      assert(failure !== null || digests !== null, 'what was digested has digests or a failure', { volume, ...range });
      done(failure ?? (digests as Uint8Array));
    });
    base.digestBlocks(range, how, (result) => {
      if (result instanceof Uint8Array) digests = result;
      ended(result instanceof Uint8Array ? null : result);
    });
    return true;
  }

  /** A background read begins: what is to be called when it has ended. */
  #begun(done: DiskDone): DiskDone {
    const number = ++this.#coldBegun;
    this.#cold.add(number);
    return this.#background.begin((failure) => {
      this.#cold.delete(number);
      done(failure);
      this.#wake();
    });
  }

  /** Calls `done` when every background read that has begun by now has ended; true, without calling it, when none is under way. */
  settled(done: () => void): boolean {
    if (this.#cold.size === 0) return true;
    this.#waiting.push({ upTo: this.#coldBegun, done });
    return false;
  }

  /**
   * What lies in a range, at most `extentsMax` parts; the last may end before the range does, but not before its first block does. Never says
   * zero or hole of written data; says zero only of what is committed.
   */
  extents(volume: VolumeIndex, range: { offset: number; length: number }, extentsMax: number, committed: Seq): VolumeExtent[] {
    const overlay = this.#overlay(volume);
    const end = range.offset + range.length;
    assert(range.length > 0, 'a range of extents must not be empty', { volume, ...range });
    assert(end <= this.#base(volume).size(), 'a range must end within its volume', { volume, ...range });
    const walk = new ExtentWalk(this.#base(volume), end, extentsMax);
    const found: VolumeExtent[] = [];
    const walkEnd = overlay.empty ? Infinity : (Math.floor(range.offset / BLOCK_BYTES) + EXTENT_WALK_BLOCKS) * BLOCK_BYTES;
    let from = range.offset;
    let at = from;
    let content: Content = DATA;
    while (at < end && at < walkEnd) {
      const block = Math.floor(at / BLOCK_BYTES);
      const seq = overlay.empty ? 0 : overlay.seek(block);
      let next = (block + 1) * BLOCK_BYTES;
      let here: Content = DATA;
      if (seq === 0) {
        here = walk.contentAt(block);
        if (overlay.empty) next = Math.max(next, walk.sameUntil);
      } else if (overlay.segment < 0 && seq <= committed) {
        here = overlay.segment === TRIMMED ? HOLE : ZERO;
      }
      if (here !== content && at > from) {
        found.push({ length: at - from, hole: content === HOLE, zero: content !== DATA });
        if (found.length === extentsMax) return found;
        from = at;
      }
      content = here;
      at = next;
    }
    found.push({ length: Math.min(at, end) - from, hole: content === HOLE, zero: content !== DATA });
    return found;
  }

  #base(volume: VolumeIndex): StoredFile {
    const base = this.#layers.bases[volume];
    assert(base !== undefined, 'there is no such volume', { volume });
    return base;
  }

  #overlay(volume: VolumeIndex): Overlay {
    const overlay = this.#layers.overlays[volume];
    assert(overlay !== undefined, 'there is no such volume', { volume });
    return overlay;
  }

  /** One pass over the blocks of a range in runs that lie in one piece. With `missing`, what is not in the page cache is listed there. */
  #fill(volume: VolumeIndex, offset: number, into: Uint8Array, committed: Seq, missing: Missing | null): number {
    const overlay = this.#overlay(volume);
    const base = this.#base(volume);
    const end = offset + into.length;
    assert(end <= base.size(), 'a read must end within its volume', { volume, offset, length: into.length });
    if (overlay.empty && missing === null) return base.readCached(offset, into) ? 0 : -1;
    let needSeq = 0;
    let at = offset;
    while (at < end) {
      const block = Math.floor(at / BLOCK_BYTES);
      let newest = overlay.seek(block);
      let oldest = newest;
      const segment = overlay.segment;
      const blockAt = overlay.at;
      let count = 1;
      while ((block + count) * BLOCK_BYTES < end) {
        const seq = overlay.seek(block + count);
        if (overlay.segment !== segment) break;
        if (segment >= 0 && overlay.at !== blockAt + count * BLOCK_BYTES) break;
        if (seq > newest) newest = seq;
        if (seq < oldest) oldest = seq;
        count++;
      }
      const stop = Math.min((block + count) * BLOCK_BYTES, end);
      const part = into.subarray(at - offset, stop - offset);
      if (segment >= 0) {
        if (!this.#fillFrom({ segment, oldest }, blockAt + at - block * BLOCK_BYTES, part, missing)) return -1;
      } else if (segment !== BASE) part.fill(0);
      else if (missing !== null) missing.base.push({ offset: at, bytes: part });
      else if (!base.readCached(at, part)) return -1;
      if (newest > committed && newest > needSeq) needSeq = newest;
      at = stop;
    }
    return needSeq;
  }

  /** Fills a part with content of records, as far as the page cache has it; false when the disk would have to be waited for, and nothing lists that. */
  #fillFrom({ segment, oldest }: { segment: number; oldest: Seq }, at: number, part: Uint8Array, missing: Missing | null): boolean {
    const { sidefile } = this.#layers;
    if (missing !== null && missing.segments === null) {
      sidefile.read(segment, at, part);
      return true;
    }
    if (sidefile.fileOf(segment).readCached(at, part)) return true;
    if (missing === null) return false;
    const parts = missing.segments?.get(segment) ?? [];
    parts.push({ offset: at, bytes: part });
    missing.segments?.set(segment, parts);
    missing.oldest = Math.min(missing.oldest, oldest);
    return true;
  }

  #wake(): void {
    for (;;) {
      const first = this.#waiting[0];
      if (first === undefined) return;
      const oldest = this.#cold.values().next().value;
      if (oldest !== undefined && oldest <= first.upTo) return;
      this.#waiting.shift();
      first.done();
    }
  }
}

/** The extents of a base image, fetched piece by piece as a walk in ascending order needs them. */
class ExtentWalk {
  /** End of the part whose content was told last. */
  sameUntil = 0;
  readonly #base: StoredFile;
  readonly #end: number;
  readonly #extentsMax: number;
  #extents: readonly { readonly offset: number; readonly length: number; readonly hole: boolean }[] = [];
  #index = 0;

  constructor(base: StoredFile, end: number, extentsMax: number) {
    this.#base = base;
    this.#end = Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES;
    this.#extentsMax = extentsMax;
  }

  /** A block is a hole only if all of it is. Blocks are asked for in ascending order. */
  contentAt(block: number): Content {
    const start = block * BLOCK_BYTES;
    let extent = this.#extentAt(start);
    this.sameUntil = Math.floor((extent.offset + extent.length) / BLOCK_BYTES) * BLOCK_BYTES;
    if (!extent.hole) return DATA;
    while (extent.offset + extent.length < start + BLOCK_BYTES) {
      extent = this.#extentAt(extent.offset + extent.length);
      if (!extent.hole) return DATA;
    }
    return HOLE;
  }

  #extentAt(offset: number): { readonly offset: number; readonly length: number; readonly hole: boolean } {
    for (; this.#index < this.#extents.length; this.#index++) {
      const extent = this.#extents[this.#index];
      if (extent !== undefined && offset < extent.offset + extent.length) return extent;
    }
    this.#extents = this.#base.extents(offset, this.#end - offset, this.#extentsMax);
    this.#index = 0;
    const first = this.#extents[0];
    assert(first !== undefined, 'a range that is not empty has extents', { offset, file: this.#base.name });
    assert(first.offset <= offset, 'extents cover their range from its beginning', { offset, first: first.offset, file: this.#base.name });
    return first;
  }
}
