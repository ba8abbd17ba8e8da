// Two copies that follow nobody compare how far they are: which of them is further on, what both share, and whether the sidefile of the one that
// is further on still covers what the other lacks. Pure: both sides come to the same answer by the same numbers, so either may begin.

import { lastSharedSeq } from '../base/position.ts';
import type { Seq } from '../base/units.ts';
import type { Standing } from './forms.ts';

/** Why two copies cannot be made equal here and now; a primary does it then, on the next rung of the ladder. */
export type Apart =
  /** A copy is inconsistent. */
  | 'inconsistent'
  /** The records differ where the histories call them alike. */
  | 'chain'
  /** The copy that is behind would have to give up records that it knows to be committed, or has in its base image. */
  | 'diverged'
  /** The sidefile of the one that is further on begins too late. */
  | 'not-covered';

export type Comparison =
  | { readonly kind: 'equal' }
  /** The own copy is further on: it forwards what lies behind `position`, the last record that both share. */
  | { readonly kind: 'give'; readonly position: Seq }
  | { readonly kind: 'take'; readonly position: Seq }
  | { readonly kind: 'apart'; readonly apart: Apart; readonly seq: Seq; readonly why: string };

function apart(kind: Apart, seq: Seq, why: string): Comparison {
  return { kind: 'apart', apart: kind, seq, why };
}

/** The newest epoch decides, then the newest record: what an older epoch holds behind the newer one's begin was never committed. */
export function compareStandings(own: Standing, theirs: Standing): Comparison {
  if (!own.consistent || !theirs.consistent) {
    return apart('inconsistent', 0, 'a copy that is inconsistent has no position to compare: a primary fills it');
  }
  const shared = lastSharedSeq({ history: own.history, end: own.received }, { history: theirs.history, end: theirs.received });
  if (shared === own.received && shared === theirs.received) {
    if (own.chain === theirs.chain) return { kind: 'equal' };
    return apart('chain', shared, `the chains differ at record ${shared}`);
  }
  const gives = own.epoch === theirs.epoch ? own.received > theirs.received : own.epoch > theirs.epoch;
  const [giver, taker] = gives ? [own, theirs] : [theirs, own];
  if (shared < taker.committed || shared < taker.destageTarget) {
    return apart(
      'diverged',
      shared,
      `only the records up to ${shared} are shared, and more than those are committed at the copy that is behind`,
    );
  }
  if (shared + 1 < giver.oldest) {
    return apart(
      'not-covered',
      shared + 1,
      `records from ${shared + 1} are lacking, and the sidefile that has more begins at ${giver.oldest}`,
    );
  }
  return { kind: gives ? 'give' : 'take', position: shared };
}
