// A history that fits the superblock. Epochs are many only when sites take turns quickly, and then most are of records that nobody needs.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { type EpochStart, type History, lastSharedSeq } from '../base/position.ts';
import type { Epoch, Seq } from '../base/units.ts';

/**
 * The history without what must be forgotten to keep its limit: first epochs of records that the sidefile dropped, then epochs that have no
 * record, then those of destaged records that are kept for peers alone (a restart counts them as gone). It may still be too long when that many
 * epochs wait for destaging: the superblock then refuses it.
 */
export function trimHistory(history: History, held: { oldest: Seq; destaged: Seq }): History {
  const { historyEpochsMax } = limits;
  let trimmed = history;
  if (trimmed.length > historyEpochsMax) trimmed = trimmed.slice(firstNeeded(trimmed, Math.min(held.oldest - 1, held.destaged)));
  if (trimmed.length > historyEpochsMax) trimmed = trimmed.filter((start, i) => start.firstSeq !== trimmed[i + 1]?.firstSeq);
  if (trimmed.length > historyEpochsMax) trimmed = trimmed.slice(firstNeeded(trimmed, held.destaged));
  return trimmed;
}

/** Checks what is to be adopted: records up to `cutTo` stay, and are named alike by both histories. */
export function assertAdoption(
  adopted: { readonly epoch: Epoch; readonly history: History; readonly cutTo: Seq; readonly force?: boolean },
  own: {
    readonly epoch: Epoch;
    readonly history: History;
    readonly marks: { readonly oldest: Seq; readonly committed: Seq; readonly received: Seq };
  },
): void {
  const { epoch, history, cutTo, force = false } = adopted;
  const { oldest, committed, received } = own.marks;
  assert(epoch >= own.epoch, 'an epoch that is adopted is not older', { epoch, newest: own.epoch });
  assert(cutTo <= received, 'a sidefile is cut back, not on', { cutTo, received });
  assert(force || cutTo >= committed, 'committed records are cut only by force', { cutTo, committed });
  const shared = lastSharedSeq({ history: own.history, end: cutTo }, { history, end: cutTo });
  assert(shared >= Math.min(cutTo, oldest), 'what is kept is named alike by both histories', { cutTo, shared });
}

/** Index of the epoch that record `floor` belongs to; 0 when that is forgotten already. */
function firstNeeded(history: readonly EpochStart[], floor: Seq): number {
  let index = 0;
  while (index + 1 < history.length && (history[index + 1] as EpochStart).firstSeq <= floor) index++;
  return index;
}
