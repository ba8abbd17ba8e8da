// Safety rule 7, the primary's half: which record do a mirror's sidefile and mine share last, and by which rung of the ladder can I bring it up from
// there? Pure: positions in, decision out. The mirror checks the chain at the shared record against its own before it cuts anything.

import { inHistory, lastSharedSeq, type History } from '../base/position.ts';
import type { Seq } from '../base/units.ts';
import type { ResyncRung } from '../replica/superblock.ts';
import type { Join } from './forms.ts';

/** What the decision needs to know of the primary's own replica. */
export interface Shared {
  readonly history: History;
  readonly received: Seq;
  /** First seq that the sidefile still holds. */
  readonly oldest: Seq;
  chainAt(seq: Seq): number | null;
  /** First seq of which the mirror's bitmap has the blocks, if it has those of every record since; null when there is no such bitmap. */
  readonly bitmapFrom: Seq | null;
  /** Whether copies are compared instead of sent as a whole, where there is something to compare. */
  readonly scans: boolean;
}

export type JoinDecision =
  | { readonly rung: 'delta'; readonly cutTo: Seq; readonly chain: number }
  /** A resync that was cut off goes on. */
  | { readonly rung: 'resume'; readonly how: ResyncRung; readonly cutTo: Seq; readonly chain: number; readonly why: string }
  /** `why` names the reason why no rung above was possible. `cutTo`: what of the mirror's own records counts. */
  | { readonly rung: 'bitmap'; readonly why: string; readonly cutTo: Seq }
  | { readonly rung: 'scan' | 'copy'; readonly why: string };

export function decideJoin(own: Shared, join: Join): JoinDecision {
  const delta = byDelta(own, join);
  if (typeof delta !== 'string') return delta;
  const resumed = byResume(own, join);
  if (resumed !== null && typeof resumed !== 'string')
    return { ...resumed, why: `${delta}; a resync by ${resumed.how} that was cut off goes on where it was` };
  const above = resumed === null ? delta : `${delta}; ${resumed}`;
  const bitmap = byBitmap(own, join);
  if (typeof bitmap !== 'string') return { ...bitmap, why: above };
  const why = `${above}; ${bitmap}`;
  const hasContent = join.consistent || join.staged !== null || join.partial;
  if (!hasContent) return { rung: 'copy', why: `${why}; the mirror holds nothing that could be compared` };
  return own.scans ? { rung: 'scan', why } : { rung: 'copy', why: `${why}; copies are not compared here` };
}

function sharedWith(own: Shared, join: Join): Seq {
  return lastSharedSeq({ history: own.history, end: own.received }, { history: join.history, end: join.received });
}

/** The decision for a delta, or why there is none. */
function byDelta(own: Shared, join: Join): JoinDecision | string {
  if (join.needsCopy !== null) return join.needsCopy;
  if (!join.consistent) return 'the mirror is new, or a resync of it was cut off';
  const shared = sharedWith(own, join);
  if (shared < join.destageTarget)
    return `the mirror's base image holds records up to ${join.destageTarget}, but only those up to ${shared} are shared`;
  if (shared + 1 < own.oldest) return `the mirror lacks records from ${shared + 1}, the sidefile here begins at ${own.oldest}`;
  const chain = own.chainAt(shared);
  if (chain === null) return `the chain at record ${shared} is no longer known here`;
  return { rung: 'delta', cutTo: shared, chain };
}

/**
 * What is staged was taken from the primary of then: it counts here only if everything that it may contain is part of this history, and the
 * records go on without a gap. Null when there is nothing that could go on, a sentence when it can not.
 */
function byResume(
  own: Shared,
  join: Join,
): { readonly rung: 'resume'; readonly how: ResyncRung; readonly cutTo: Seq; readonly chain: number } | string | null {
  const { staged } = join;
  if (staged === null || join.needsCopy !== null) return null;
  const lost = 'the resync that was cut off cannot go on';
  // The rest of a bitmap is needed for going on by it.
  if (staged.rung === 'bitmap' && (own.bitmapFrom === null || own.bitmapFrom > staged.olderSeq + 1))
    return `${lost}: the rest of its bitmap is not here`;
  const shared = sharedWith(own, join);
  const { epoch, seq } = staged.upTo;
  const isOurs = seq <= own.received && (seq === 0 || inHistory(own.history, epoch, seq));
  if (!isOurs || shared < staged.fromSeq) return `${lost}: some of what is staged is not of this history`;
  if (shared + 1 < own.oldest) return `${lost}: its records from ${shared + 1} on are no longer here`;
  const chain = own.chainAt(shared);
  if (chain === null) return `${lost}: the chain at record ${shared} is no longer known here`;
  return { rung: 'resume', how: staged.rung, cutTo: shared, chain };
}

/** The decision for a bitmap, or why there is none. The bitmap says what has changed since a record: the mirror's volume must be as of that one or later. */
function byBitmap(own: Shared, join: Join): { readonly rung: 'bitmap'; readonly cutTo: Seq } | string {
  if (join.needsCopy !== null) return 'a bitmap cannot tell where two histories differ';
  if (own.bitmapFrom === null) return 'there is no bitmap of what it lacks';
  let cutTo: Seq;
  if (join.staged !== null) {
    const { olderHistory: history, olderSeq } = join.staged;
    cutTo = lastSharedSeq({ history: own.history, end: own.received }, { history, end: olderSeq });
    if (cutTo < olderSeq) return `the mirror's older volume holds records up to ${olderSeq}, but only those up to ${cutTo} are shared`;
  } else if (join.consistent) {
    cutTo = sharedWith(own, join);
    if (cutTo < join.destageTarget) return 'a bitmap does not tell which blocks the other history has written';
  } else {
    return 'a bitmap needs a volume that it can be laid over';
  }
  if (own.bitmapFrom > cutTo + 1) return `the bitmap begins at record ${own.bitmapFrom}, the mirror ends at ${cutTo}`;
  return { rung: 'bitmap', cutTo };
}
