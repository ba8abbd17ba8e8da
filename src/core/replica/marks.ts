// The high- and low-water marks of a replica and the order between them that everything else relies on. Replica is the only owner: it changes
// them and has them checked after every change, because a mark that is out of order by one is data lost or data shown too early.

import { assert } from '../base/assert.ts';
import type { Seq } from '../base/units.ts';

/** How far a replica is, by seq. Each mark counts everything up to it, itself included. */
export interface Marks {
  /** First seq that the sidefile still holds; received + 1 when it holds none. */
  oldest: Seq;
  /** The base image holds everything up to here, on stable storage. */
  destaged: Seq;
  /** The base image may hold some blocks of records up to here: a cut below it would leave a mixture, so it needs a whole copy. */
  destageTarget: Seq;
  /** No permitted failure can lose records up to here. */
  committed: Seq;
  /** The sidefile holds everything up to here on stable storage (or the base image does). With the sidefile in memory: `destaged`. */
  durable: Seq;
  /** The sidefile holds everything up to here. */
  received: Seq;
}

/** The marks of a copy that is as of one record and holds no other. */
export function marksAt(position: Seq): Marks {
  const everything = { destaged: position, destageTarget: position, committed: position, durable: position, received: position };
  return { oldest: position + 1, ...everything };
}

/**
 * Checks the order of the marks. `destageTarget` is not bounded by `committed`: at the end of a whole copy the base image may hold blocks of
 * records that are received but not committed yet; nothing is destaged then until `committed` has reached the target. With the sidefile in memory
 * durable is what is destaged, and the superblock has the target, so that a crash leaves an inconsistent copy behind where that is beyond it.
 */
export function assertMarks(marks: Readonly<Marks>, inMemory = false): void {
  const facts = marks as Readonly<Record<keyof Marks, number>>;
  assert(marks.oldest - 1 <= marks.destaged, 'a record was dropped before it was destaged', facts);
  assert(marks.destaged <= marks.destageTarget, 'destaged passed its target', facts);
  assert(marks.destaged <= marks.committed, 'a record was destaged that is not committed', facts);
  assert(marks.committed <= marks.received, 'a record was committed that is not here', facts);
  if (inMemory) assert(marks.durable === marks.destaged, 'a record that is in memory alone counts as durable', facts);
  const stable = inMemory ? marks.received : marks.durable;
  assert(marks.destageTarget <= stable, 'a record may be in the base image that is not durable in the sidefile', facts);
  assert(marks.durable <= marks.received, 'a record is durable that is not here', facts);
}
