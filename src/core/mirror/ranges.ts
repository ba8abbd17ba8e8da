// Which ranges a resync sends, one behind the other: everything, or what a bitmap names. A scan finds its own (site/resync.ts).

import { PagedBits } from '../base/bits.ts';
import type { Bitmaps, DirtyMap } from '../replica/bitmaps.ts';
import type { Cursor } from '../replica/receive.ts';
import type { VolumeRange } from '../scan/digest.ts';

/** What comes next: a range to send, or the news that everything before a place was sent. */
export type RangeStep =
  | { readonly kind: 'range'; readonly range: VolumeRange }
  | { readonly kind: 'settled'; readonly cursor: Cursor }
  /** Nothing now, but more will come. */
  | 'wait'
  | 'end';

export interface RangeSource {
  next(): RangeStep;
  /** Bytes that were gone through, and that there are altogether: for progress. */
  readonly passedBytes: number;
  readonly totalBytes: number;
}

type Volumes = readonly { readonly sizeBytes: number }[];

/** Everything, in pieces after each of which the mirror may note how far it is. */
export class WholeRanges implements RangeSource {
  readonly #volumes: Volumes;
  readonly #pieceBytes: number;
  #at: { volume: number; offset: number };
  #told: boolean = true;
  passedBytes = 0;
  readonly totalBytes: number;

  constructor(volumes: Volumes, pieceBytes: number, from: Cursor) {
    this.#volumes = volumes;
    this.#pieceBytes = pieceBytes;
    this.#at = { ...from };
    this.totalBytes = volumes.reduce((sum, volume) => sum + volume.sizeBytes, 0);
    this.passedBytes = volumes.slice(0, from.volume).reduce((sum, volume) => sum + volume.sizeBytes, 0) + from.offset;
  }

  next(): RangeStep {
    if (!this.#told) {
      this.#told = true;
      return { kind: 'settled', cursor: { ...this.#at } };
    }
    const volume = this.#volumes[this.#at.volume];
    if (volume === undefined) return 'end';
    if (this.#at.offset >= volume.sizeBytes) {
      this.#at = { volume: this.#at.volume + 1, offset: 0 };
      return this.next();
    }
    const length = Math.min(this.#pieceBytes, volume.sizeBytes - this.#at.offset);
    const range = { ...this.#at, length };
    this.#at.offset += length;
    this.passedBytes += length;
    this.#told = false;
    return { kind: 'range', range };
  }
}

/** What a bitmap names at this moment: what is touched later comes as records. */
export class BitmapRanges implements RangeSource {
  readonly #volumes: Volumes;
  readonly #chunkBytes: number;
  readonly #pieceBytes: number;
  readonly #bits: PagedBits[];
  #at: { volume: number; offset: number };
  #sinceTold = 0;
  passedBytes = 0;
  readonly totalBytes: number;

  constructor(volumes: Volumes, bitmaps: Bitmaps, map: DirtyMap, pieceBytes: number, from: Cursor) {
    this.#volumes = volumes;
    this.#chunkBytes = bitmaps.chunkBytes;
    this.#pieceBytes = pieceBytes;
    this.#bits = map.volumes.map((bits) => {
      const copy = new PagedBits();
      for (const { index, bytes } of bits.pages()) copy.addPage(index, bytes);
      return copy;
    });
    this.#at = { ...from };
    this.totalBytes = this.#bits.reduce((sum, bits) => sum + bits.count, 0) * bitmaps.chunkBytes;
  }

  next(): RangeStep {
    const volume = this.#volumes[this.#at.volume];
    const bits = this.#bits[this.#at.volume];
    if (volume === undefined || bits === undefined) return 'end';
    if (this.#sinceTold >= this.#pieceBytes) {
      this.#sinceTold = 0;
      return { kind: 'settled', cursor: { ...this.#at } };
    }
    const run = bits.nextRun(Math.ceil(this.#at.offset / this.#chunkBytes));
    const offset = run === null ? volume.sizeBytes : run.from * this.#chunkBytes;
    if (run === null || offset >= volume.sizeBytes) {
      this.#at = { volume: this.#at.volume + 1, offset: 0 };
      return this.next();
    }
    const length = Math.min(
      (run.to - run.from) * this.#chunkBytes,
      Math.max(this.#pieceBytes, this.#chunkBytes),
      volume.sizeBytes - offset,
    );
    this.#at.offset = offset + length;
    this.passedBytes += length;
    this.#sinceTold += length;
    return { kind: 'range', range: { volume: this.#at.volume, offset, length } };
  }
}

/** What one bit of a scan's findings stands for: they are shown to people. */
export const FOUND_CHUNK_BYTES = 64 * 1024;

/** Ranges that are named to people; more are counted. */
const NAMED_MAX = 100;

/** What a scan finds, as it finds it. */
export class ScanRanges implements RangeSource {
  /** The first ranges in which something else was found, and the bytes of all. */
  readonly named: VolumeRange[] = [];
  differingBytes = 0;
  /** Chunks of each volume in which something else was found. */
  readonly found: readonly PagedBits[];
  readonly #queue: RangeStep[] = [];
  #ended = false;
  passedBytes = 0;
  readonly totalBytes: number;
  readonly #volumes: Volumes;

  constructor(volumes: Volumes, from: Cursor) {
    this.#volumes = volumes;
    this.found = volumes.map(() => new PagedBits());
    this.totalBytes = volumes.reduce((sum, volume) => sum + volume.sizeBytes, 0);
    this.#passed(from);
  }

  #passed({ volume, offset }: Cursor): void {
    this.passedBytes = this.#volumes.slice(0, volume).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) + offset;
  }

  differs(range: VolumeRange): void {
    this.#queue.push({ kind: 'range', range });
    const { volume, offset, length } = range;
    this.differingBytes += length;
    if (this.named.length < NAMED_MAX) this.named.push(range);
    this.found[volume]?.add(Math.floor(offset / FOUND_CHUNK_BYTES), Math.ceil((offset + length) / FOUND_CHUNK_BYTES));
  }

  settled(cursor: Cursor): void {
    this.#queue.push({ kind: 'settled', cursor });
    this.#passed(cursor);
  }

  end(): void {
    this.#ended = true;
  }

  next(): RangeStep {
    return this.#queue.shift() ?? (this.#ended ? 'end' : 'wait');
  }
}
