// What is held in memory of the records that are not destaged, made from the sidefile at opening.

import type { Amount } from './amount.ts';
import { committedOf } from './align.ts';
import { enterRecords, recordCost } from './destage.ts';
import type { Marks } from './marks.ts';
import type { Overlay } from './overlay.ts';
import type { Sidefile } from './sidefile.ts';

/** Enters all records that are not destaged into overlays that are empty; returns what they cost, by recordCost(). Throws SidefileDamage. */
export function enterWaiting(ground: {
  readonly sidefile: Sidefile;
  readonly overlays: readonly Overlay[];
  readonly amount: Amount;
  readonly marks: Marks;
}): number {
  const { sidefile, overlays, amount, marks } = ground;
  let cost = 0;
  amount.clear();
  sidefile.visit(marks.destaged + 1, marks.received, (frame, segment, at, first, last) => {
    amount.add(frame.firstSeq + first, frame.bytes.length);
    enterRecords(overlays, frame, { segment, at }, { first, last });
    for (let index = first; index <= last; index++) cost += recordCost(frame, index);
    // The primary said so when it made the frame, and the frame is of this history.
    marks.committed = Math.max(marks.committed, committedOf(frame));
    return true;
  });
  return cost;
}
