// What a verify has found: which copy, which bytes of a volume or of its sidefile, what is wrong with them, as of which record, and whether it was
// mended.

import { limits } from '../base/limits.ts';
import { BLOCK_BYTES, type Seq, type SiteName, type VolumeIndex } from '../base/units.ts';
import type { FindingKind } from './attribute.ts';

/** One stretch of one copy. */
export interface Finding {
  readonly site: SiteName;
  /**
   * rot: it disagrees with its own digest. missed-write: it agrees with its own digest, and the others hold something else. difference: the same,
   * where its own digest is not known. unreadable: its disk does not give it back.
   */
  readonly kind: FindingKind | 'unreadable';
  /** Null: it is in the sidefile, in `file`. */
  readonly volume: VolumeIndex | null;
  readonly file: string | null;
  readonly offset: number;
  readonly length: number;
  /** The copies were compared as of this record; in the sidefile: this record is damaged, or what belongs to it. */
  readonly seq: Seq;
  /** Its right content was written again. */
  readonly repaired: boolean;
  /** False: this copy or the one that it differs from is wrong, and which cannot be told. It is not mended. */
  readonly proven: boolean;
}

/** All that was found, a bounded number of it by name. */
export class Findings {
  #list: Finding[] = [];
  /** Blocks that are not named any more. */
  #unnamed = 0;
  #unnamedRecords = 0;

  /** False when it is known, or one too many to be named. */
  add(finding: Finding): boolean {
    const { site, volume, file, offset } = finding;
    const same = (one: Finding): boolean => one.site === site && one.volume === volume && one.file === file && one.offset === offset;
    if (this.#list.some(same)) return false;
    if (this.#list.length === limits.verifyFindingsMax) {
      if (volume === null) this.#unnamedRecords++;
      else this.#unnamed += finding.length / BLOCK_BYTES;
      return false;
    }
    this.#list.push(finding);
    return true;
  }

  /** A block was written again. */
  repaired(volume: VolumeIndex, offset: number): void {
    this.#list = this.#list.map((one) => (one.volume === volume && one.offset === offset ? { ...one, repaired: true } : one));
  }

  /** A part of a sidefile was brought back. */
  repairedRecord(site: SiteName, file: string, offset: number): void {
    this.#list = this.#list.map((one) =>
      one.site === site && one.file === file && one.offset === offset ? { ...one, repaired: true } : one,
    );
  }

  /** A block is to be judged anew. */
  forget(volume: VolumeIndex, offset: number): void {
    this.#list = this.#list.filter((one) => one.volume !== volume || one.offset !== offset);
  }

  /** Differing blocks, named or not. */
  get blocks(): number {
    return this.#list.reduce((sum, { volume, length }) => (volume === null ? sum : sum + length / BLOCK_BYTES), this.#unnamed);
  }

  /** Damaged places of sidefiles, named or not. */
  get records(): number {
    return this.#list.filter(({ volume }) => volume === null).length + this.#unnamedRecords;
  }

  /** Differing blocks and damaged places that are as they were. */
  get unmended(): number {
    const left = this.#list.filter(({ repaired }) => !repaired);
    const named = left.reduce((sum, { volume, length }) => sum + (volume === null ? 1 : length / BLOCK_BYTES), 0);
    return named + this.#unnamed + this.#unnamedRecords;
  }

  /** How many have a name. */
  get named(): number {
    return this.#list.length;
  }

  /** In order of place, adjacent blocks of one kind as one. */
  list(): readonly Finding[] {
    const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
    const sorted = [...this.#list].sort(
      (a, b) => text(a.site, b.site) || (a.volume ?? -1) - (b.volume ?? -1) || text(a.file ?? '', b.file ?? '') || a.offset - b.offset,
    );
    const joined: Finding[] = [];
    for (const finding of sorted) {
      const last = joined.at(-1);
      const follows =
        last !== undefined &&
        last.site === finding.site &&
        last.kind === finding.kind &&
        last.volume === finding.volume &&
        finding.volume !== null &&
        last.repaired === finding.repaired &&
        last.proven === finding.proven &&
        last.offset + last.length === finding.offset;
      if (follows) joined[joined.length - 1] = { ...last, length: last.length + finding.length, seq: Math.max(last.seq, finding.seq) };
      else joined.push(finding);
    }
    return joined;
  }
}
