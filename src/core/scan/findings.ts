// What a verify has found: which copy, which bytes, what is wrong with them, as of which record, and whether it was mended.

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
  readonly volume: VolumeIndex;
  readonly offset: number;
  readonly length: number;
  /** The copies were compared as of this record. */
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

  /** False when it is known, or one too many to be named. */
  add(finding: Finding): boolean {
    const same = (one: Finding): boolean => one.site === finding.site && one.volume === finding.volume && one.offset === finding.offset;
    if (this.#list.some(same)) return false;
    if (this.#list.length === limits.verifyFindingsMax) {
      this.#unnamed += finding.length / BLOCK_BYTES;
      return false;
    }
    this.#list.push(finding);
    return true;
  }

  /** A block was written again. */
  repaired(volume: VolumeIndex, offset: number): void {
    this.#list = this.#list.map((one) => (one.volume === volume && one.offset === offset ? { ...one, repaired: true } : one));
  }

  /** A block is to be judged anew. */
  forget(volume: VolumeIndex, offset: number): void {
    this.#list = this.#list.filter((one) => one.volume !== volume || one.offset !== offset);
  }

  /** Differing blocks, named or not. */
  get blocks(): number {
    return this.#list.reduce((sum, { length }) => sum + length / BLOCK_BYTES, this.#unnamed);
  }

  /** In order of place, adjacent blocks of one kind as one. */
  list(): readonly Finding[] {
    const sorted = [...this.#list].sort(
      (a, b) => (a.site < b.site ? -1 : a.site > b.site ? 1 : 0) || a.volume - b.volume || a.offset - b.offset,
    );
    const joined: Finding[] = [];
    for (const finding of sorted) {
      const last = joined.at(-1);
      const follows =
        last !== undefined &&
        last.site === finding.site &&
        last.kind === finding.kind &&
        last.volume === finding.volume &&
        last.repaired === finding.repaired &&
        last.proven === finding.proven &&
        last.offset + last.length === finding.offset;
      if (follows) joined[joined.length - 1] = { ...last, length: last.length + finding.length, seq: Math.max(last.seq, finding.seq) };
      else joined.push(finding);
    }
    return joined;
  }
}
