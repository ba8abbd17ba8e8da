// Compares what two sites hold, from coarse to fine: a region whose digests are equal costs one digest, one that differs is asked about in more
// detail. Several regions are under way at a time and every question of a region that can be put is put at once, so a long way costs time for a
// few answers and not for each block. It does not matter on which side it runs, and both sides may be moving: a block is called equal only if it
// was so at some moment behind the begin of the resync, and records of later writes come anyway.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { VolumeIndex } from '../base/units.ts';
import { DIGEST_BYTES, type VolumeRange } from './digest.ts';
import type { LocalDigests, ScanGeometry } from './local.ts';

/** A question to the other side: the digests of the nodes of a range. */
export interface DigestQuestion {
  readonly number: number;
  readonly range: VolumeRange;
  readonly nodeBytes: number;
}

/** What a comparison tells. */
export interface ComparerOwner {
  ask(question: DigestQuestion): void;
  /** Ranges that differ, in the order of the volumes. */
  differs(range: VolumeRange): void;
  /** Everything before this place has been compared. */
  settled(volume: VolumeIndex, offset: number): void;
  done(): void;
}

/** A coarsest node and what is known of it. */
interface Unit {
  readonly range: VolumeRange;
  pending: number;
  readonly found: VolumeRange[];
}

interface Open {
  readonly unit: Unit;
  readonly question: DigestQuestion;
  readonly level: number;
  mine: Uint8Array | null;
  theirs: Uint8Array | null;
}

/** Regions under way at one time: enough for a way of 100 ms and a disk of some GiB/s. */
const UNITS_MAX = 6;

export class Comparer {
  readonly #local: LocalDigests;
  readonly #geometry: ScanGeometry;
  readonly #volumes: readonly { readonly sizeBytes: number }[];
  readonly #owner: ComparerOwner;
  readonly #open = new Map<number, Open>();
  readonly #units: Unit[] = [];
  #next: { volume: VolumeIndex; offset: number };
  #numbers = 0;
  #ended = false;
  passedBytes: number;
  readonly totalBytes: number;
  differingBytes = 0;

  constructor(options: {
    local: LocalDigests;
    geometry: ScanGeometry;
    volumes: readonly { readonly sizeBytes: number }[];
    from: { readonly volume: VolumeIndex; readonly offset: number };
    owner: ComparerOwner;
  }) {
    this.#local = options.local;
    this.#geometry = options.geometry;
    this.#volumes = options.volumes;
    this.#owner = options.owner;
    // Cursors are at the ends of units; one that is not is gone back to the begin of its own.
    const [unitBytes = 1] = options.geometry.levels;
    this.#next = { volume: options.from.volume, offset: Math.floor(options.from.offset / unitBytes) * unitBytes };
    if (options.from.offset === options.volumes[options.from.volume]?.sizeBytes) this.#next.offset = options.from.offset;
    this.totalBytes = options.volumes.reduce((sum, volume) => sum + volume.sizeBytes, 0);
    this.passedBytes =
      options.volumes.slice(0, options.from.volume).reduce((sum, volume) => sum + volume.sizeBytes, 0) + options.from.offset;
  }

  /** Begins. */
  start(): void {
    this.#fill();
    this.#advance();
  }

  stop(): void {
    this.#ended = true;
    this.#local.stop();
  }

  /** The other side's answer. Returns what is wrong with it, or null. */
  answered(number: number, range: VolumeRange, nodeBytes: number, digests: Uint8Array): string | null {
    const open = this.#open.get(number);
    if (open === undefined || open.theirs !== null) return `answers question ${number}, which was not put`;
    const { question } = open;
    const same = question.range.volume === range.volume && question.range.offset === range.offset && question.range.length === range.length;
    if (!same || nodeBytes !== question.nodeBytes)
      return `answers question ${number} for another range: ${range.length} bytes at ${range.offset}`;
    const count = Math.ceil(range.length / nodeBytes);
    if (digests.length !== count * DIGEST_BYTES[this.#local.algorithm])
      return `answers question ${number} with ${digests.length} bytes of digests`;
    open.theirs = digests;
    this.#judge(open);
    return null;
  }

  #fill(): void {
    const [unitBytes] = this.#geometry.levels;
    assert(unitBytes !== undefined, 'there is a coarsest level');
    while (this.#units.length < UNITS_MAX && !this.#ended) {
      const volume = this.#volumes[this.#next.volume];
      if (volume === undefined) return;
      if (this.#next.offset >= volume.sizeBytes) {
        this.#next = { volume: this.#next.volume + 1, offset: 0 };
        continue;
      }
      const end = Math.min(volume.sizeBytes, this.#next.offset + unitBytes);
      const range = { ...this.#next, length: end - this.#next.offset };
      this.#next.offset = end;
      const unit: Unit = { range, pending: 0, found: [] };
      this.#units.push(unit);
      this.#compare(unit, range, 0);
    }
  }

  #compare(unit: Unit, range: VolumeRange, level: number): void {
    const nodeBytes = this.#geometry.levels[level];
    assert(nodeBytes !== undefined, 'there is such a level', { level });
    const question = { number: ++this.#numbers, range, nodeBytes };
    const open: Open = { unit, question, level, mine: null, theirs: null };
    unit.pending++;
    this.#open.set(question.number, open);
    this.#owner.ask(question);
    this.#local.nodes(range, nodeBytes, (digests) => {
      // A failed read has failed the replica, which ends everything.
      if (this.#ended || !(digests instanceof Uint8Array)) return;
      open.mine = digests;
      this.#judge(open);
    });
  }

  #judge(open: Open): void {
    const { mine, theirs, question, level, unit } = open;
    if (mine === null || theirs === null || this.#ended) return;
    this.#open.delete(question.number);
    const { range, nodeBytes } = question;
    const size = DIGEST_BYTES[this.#local.algorithm];
    const count = Math.ceil(range.length / nodeBytes);
    const differing: number[] = [];
    const parts: VolumeRange[] = [];
    for (let node = 0; node < count; node++) if (!equal(mine, theirs, node * size, size)) differing.push(node);
    const finerBytes = this.#geometry.levels[level + 1];
    for (const node of differing) {
      const offset = range.offset + node * nodeBytes;
      const part = { volume: range.volume, offset, length: Math.min(nodeBytes, range.offset + range.length - offset) };
      if (finerBytes === undefined) unit.found.push(part);
      else parts.push(part);
    }
    // Neighbours are asked about together: where much differs, questions cost more than what they ask about.
    if (finerBytes !== undefined) for (const part of merged(parts, limits.scanNodesMax * finerBytes)) this.#compare(unit, part, level + 1);
    unit.pending--;
    this.#advance();
  }

  /** Tells of the units that are done, in their order, and begins others. */
  #advance(): void {
    while (!this.#ended) {
      const unit = this.#units[0];
      if (unit === undefined) {
        this.#ended = true;
        this.#owner.done();
        return;
      }
      if (unit.pending > 0) return;
      this.#units.shift();
      for (const range of merged(unit.found, Infinity)) {
        this.differingBytes += range.length;
        this.#owner.differs(range);
      }
      const { volume, offset, length } = unit.range;
      this.passedBytes += length;
      this.#owner.settled(volume, offset + length);
      this.#fill();
    }
  }
}

function equal(a: Uint8Array, b: Uint8Array, from: number, length: number): boolean {
  for (let at = from; at < from + length; at++) if (a[at] !== b[at]) return false;
  return true;
}

/** The same ranges in order, those that follow one another as one of at most so many bytes. */
function merged(ranges: VolumeRange[], bytesMax: number): VolumeRange[] {
  const result: VolumeRange[] = [];
  for (const range of ranges.sort((a, b) => a.offset - b.offset)) {
    const last = result[result.length - 1];
    if (last !== undefined && last.offset + last.length === range.offset && last.length + range.length <= bytesMax) {
      result[result.length - 1] = { ...last, length: last.length + range.length };
    } else {
      result.push(range);
    }
  }
  return result;
}
