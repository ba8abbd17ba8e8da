// The records as their primaries numbered them, and what hosts were told of them: the one sequence that every copy must be a prefix of. Built
// only from requests and their answers, so it owes nothing to what any replica says it stored.

import type { Epoch, Seq } from '../../core/base/units.ts';
import { type History, inHistory } from '../../core/base/position.ts';
import type { HostOperation } from '../host.ts';
import type { Holding } from './observe.ts';
import { holds } from './observe.ts';

/** One reign's records. */
export interface Reign {
  readonly epoch: Epoch;
  /** Requests by the seq of their last record, in rising order of seq. */
  readonly records: { readonly seq: Seq; readonly operation: HostOperation }[];
  /** Highest seq that a host was told of, and that a flush or FUA has covered. */
  acknowledged: Seq;
  flushed: Seq;
  /** Highest seq that a primary has taken for committed; checked when it did. */
  committed: Seq;
  readonly chains: Map<Seq, number>;
}

/** Units of a volume by the tag of the write that filled them; 0 for zeroes. */
export interface Image {
  readonly volumes: readonly Uint32Array[];
  /** Units that may hold an older or a newer value, because a request's records end behind the position: by volume. */
  readonly unsure: readonly Set<number>[];
}

/** All reigns of a run. */
export class Truth {
  readonly reigns = new Map<Epoch, Reign>();
  /** Where the record of a write is. */
  readonly places = new Map<number, { readonly epoch: Epoch; readonly seq: Seq }>();
  /** Writes whose site died before it told their numbers: any copy may or may not have them. */
  readonly unplaced = new Map<number, HostOperation>();
  /** The most that primaries of an epoch have called committed, of whatever epoch. It is never taken back: what was folded, or read, stays so. */
  readonly calledCommitted = new Map<Epoch, Seq>();
  private readonly unitCounts: readonly number[];

  constructor(unitCounts: readonly number[]) {
    this.unitCounts = unitCounts;
  }

  reign(epoch: Epoch): Reign {
    let reign = this.reigns.get(epoch);
    if (reign === undefined) {
      reign = { epoch, records: [], acknowledged: 0, flushed: 0, committed: 0, chains: new Map() };
      this.reigns.set(epoch, reign);
    }
    return reign;
  }

  /** A primary gave a write its number. */
  place(operation: HostOperation, epoch: Epoch): void {
    const { seq } = operation.request;
    const reign = this.reign(epoch);
    this.unplaced.delete(operation.number);
    this.places.set(operation.number, { epoch, seq });
    const { records } = reign;
    let at = records.length;
    while (at > 0 && (records[at - 1] as { seq: Seq }).seq > seq) at--;
    records.splice(at, 0, { seq, operation });
  }

  /** Writes that hosts were told of and that a copy lacks, as highest seqs by epoch. */
  firstLacking(holding: Holding): { readonly epoch: Epoch; readonly seq: Seq } | null {
    for (const reign of this.reigns.values()) {
      if (reign.acknowledged > 0 && !holds(holding, reign.epoch, reign.acknowledged))
        return { epoch: reign.epoch, seq: reign.acknowledged };
    }
    return null;
  }

  /** The volumes after every record up to `upTo` of a history. */
  image(history: History, upTo: Seq): Image {
    const volumes = this.unitCounts.map((count) => new Uint32Array(count));
    const unsure = this.unitCounts.map(() => new Set<number>());
    for (const start of history) {
      const reign = this.reigns.get(start.epoch);
      if (reign === undefined) continue;
      let before = start.firstSeq - 1;
      for (const { seq, operation } of reign.records) {
        if (seq > upTo || !inHistory(history, start.epoch, seq)) {
          // The records of one request may end behind the position; what it has before is then part of the image.
          if (before < upTo) for (let unit = operation.fromUnit; unit < operation.toUnit; unit++) unsure[operation.volume]?.add(unit);
          break;
        }
        volumes[operation.volume]?.fill(operation.write?.zero === true ? 0 : operation.number, operation.fromUnit, operation.toUnit);
        before = seq;
      }
    }
    return { volumes, unsure };
  }
}
