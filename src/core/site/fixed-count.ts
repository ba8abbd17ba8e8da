// A sidefile of a fixed count of records, in which the next one overwrites the oldest: how much of that count is used up by what a copy lacks. Where no
// count is set, nothing ever is.

import type { Seq } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';

/** What is used of the primary's copy. */
interface CountedReplica {
  readonly marks: { readonly oldest: Seq; readonly received: Seq };
}

/** The count of one reign. */
export class FixedCount {
  readonly #recordsMax: number;
  readonly #replica: CountedReplica;
  /** Of a copy that has said nothing in this reign, only records of the reign are counted: what it lacks of older ones nobody knows. */
  readonly #first: Seq;

  /** `recordsMax`: 0 or undefined for none. */
  constructor(recordsMax: number | undefined, replica: CountedReplica) {
    this.#recordsMax = recordsMax === undefined || recordsMax === 0 ? Infinity : recordsMax;
    this.#replica = replica;
    this.#first = replica.marks.received + 1;
  }

  /** Records that are kept for a peer. */
  lacking(peer: Pick<FollowedPeer, 'keptFrom'>): number {
    const { oldest, received } = this.#replica.marks;
    return Math.max(0, received + 1 - Math.max(peer.keptFrom ?? this.#first, oldest));
  }

  /** Of the count, what a peer has used up: more than 1 when the oldest of these records is to be overwritten. */
  share(peer: Pick<FollowedPeer, 'keptFrom'>): number {
    return this.lacking(peer) / this.#recordsMax;
  }

  /** How many more may be written until then; Infinity where no count is set. */
  left(peer: Pick<FollowedPeer, 'keptFrom'>): number {
    return Math.max(0, this.#recordsMax - this.lacking(peer));
  }
}
