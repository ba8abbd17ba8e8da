// Safety rule 7, the primary's half: which record do a mirror's sidefile and mine share last, and can I bring it up from there by a delta?
// Pure: positions in, decision out. The mirror checks the chain at that record against its own before it cuts anything.

import { lastSharedSeq, type History } from '../base/position.ts';
import type { Seq } from '../base/units.ts';
import type { Join } from './forms.ts';

/** What the decision needs to know of the primary's own replica. */
export interface Shared {
  readonly history: History;
  readonly received: Seq;
  /** First seq that the sidefile still holds. */
  readonly oldest: Seq;
  chainAt(seq: Seq): number | null;
}

export type JoinDecision =
  | { readonly rung: 'delta'; readonly cutTo: Seq; readonly chain: number }
  /** `why` names the reason why the rung above was not possible. */
  | { readonly rung: 'copy'; readonly why: string };

export function decideJoin(own: Shared, join: Join): JoinDecision {
  if (join.needsCopy !== null) return { rung: 'copy', why: join.needsCopy };
  if (!join.consistent) return { rung: 'copy', why: 'the mirror is new, or a copy to it was cut off' };
  const shared = lastSharedSeq({ history: own.history, end: own.received }, { history: join.history, end: join.received });
  if (shared < join.destageTarget) {
    return {
      rung: 'copy',
      why: `the mirror's base image holds records up to ${join.destageTarget}, but only those up to ${shared} are shared`,
    };
  }
  if (shared + 1 < own.oldest) {
    return { rung: 'copy', why: `the mirror lacks records from ${shared + 1}, the sidefile here begins at ${own.oldest}` };
  }
  const chain = own.chainAt(shared);
  if (chain === null) return { rung: 'copy', why: `the chain at record ${shared} is no longer known here` };
  return { rung: 'delta', cutTo: shared, chain };
}
