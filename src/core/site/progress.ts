// How far it is that a primary brings a peer up to date: by which rung of the ladder, why not by the one above, and when it will have ended. All of
// it is computed from positions and from what was sent at the moment of the question.

import type { Millis, Seq } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { ResyncStatus } from './contract.ts';

/** What of the primary's replica is looked at. */
export interface ProgressGround {
  /** Bytes of the records behind a seq. */
  bytesAfter(seq: Seq): number;
}

/** What a peer is given now; null when it lacks nothing of what it lacked when it joined, or is not there. */
export function resyncOf(peer: FollowedPeer, replica: ProgressGround, now: Millis): ResyncStatus | null {
  const { copy } = peer;
  if (copy !== null) {
    const { rung, why, passedBytes: doneBytes, totalBytes, sentBytes, endSent: ending } = copy;
    // What is left once everything was sent is the mirror's work, and its pace is not known here.
    const secondsLeft = ending ? null : left(doneBytes - copy.passedAtBegin, totalBytes - doneBytes, now - copy.beganAt);
    return { rung, algorithm: copy.scan?.how.algorithm ?? null, why, doneBytes, totalBytes, sentBytes, ending, secondsLeft };
  }
  const { delta } = peer;
  if (delta === null) return null;
  const { totalBytes, beganAt, why } = delta;
  // Positions become bytes in steps: never more than there is.
  const behind = (seq: Seq): number => {
    const bytes = replica.bytesAfter(seq) - replica.bytesAfter(delta.target);
    return Math.max(0, Math.min(totalBytes, bytes));
  };
  const doneBytes = peer.streaming ? totalBytes - behind(peer.received) : 0;
  const sentBytes = peer.streaming ? totalBytes - behind(peer.nextSeq - 1) : 0;
  const secondsLeft = left(doneBytes, totalBytes - doneBytes, now - beganAt);
  return { rung: 'delta', algorithm: null, why, doneBytes, totalBytes, sentBytes, ending: false, secondsLeft };
}

/** How long the rest takes at the pace of what is done; null when nothing is. */
function left(doneBytes: number, leftBytes: number, millis: Millis): number | null {
  return doneBytes > 0 ? Math.max(0, ((millis / 1000) * leftBytes) / doneBytes) : null;
}
