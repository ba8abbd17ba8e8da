// What goes to a peer next: the frame that was just appended when the peer is at the tail, else what it lacks, read from the sidefile. Nothing
// is queued in memory for a peer that lags; its window bounds what is on the way.

import { limits } from '../base/limits.ts';
import type { Millis, Seq } from '../base/units.ts';
import type { FollowedPeer } from './followed.ts';
import type { Link } from './link.ts';
import type { ReadFrames, TailFrame } from './tail.ts';

/** Where a lagging peer is read from. */
export interface FrameSource {
  readonly marks: { readonly received: Seq; readonly committed: Seq };
  framesFrom(seq: Seq, bytesMax: number): ReadFrames | null;
}

/** Bytes for an async peer after which collecting ends early. */
const COLLECTED_BYTES = 256 * 1024;

/** Whether a peer is to be sent what it lacks: at once, when its interval is over, or when enough is there for one step. */
export function isDue(peer: FollowedPeer, { marks }: FrameSource, now: Millis): boolean {
  if (peer.peer.mode === 'sync' || now >= peer.sendDue) return true;
  if (peer.folder === null || !peer.folds) return peer.collectedBytes >= COLLECTED_BYTES;
  return peer.collectedBytes >= peer.folder.bytesMax || marks.received - peer.nextSeq >= limits.frameRecordsMax;
}

/**
 * Offers a frame that was just appended. A sync peer at the tail gets it at once; an async one, or one that lags, gets it by pump().
 */
export function sendTail(peer: FollowedPeer, frame: TailFrame, now: Millis, asyncDelayMillis: Millis): void {
  if (!peer.streaming) return;
  if (peer.peer.mode === 'async') {
    peer.collect(frame);
    if (peer.sendDue === Infinity) peer.sendDue = now + Math.max(asyncDelayMillis, peer.folds ? peer.foldMillis : 0);
    return;
  }
  const link = peer.peer.link;
  if (link === null || peer.nextSeq !== frame.firstSeq || peer.windowBytes <= 0 || peer.copy?.holdsStream === true) return;
  if (!peer.pace.isOpen) return;
  frame.retain();
  peer.pace.spend(link.sendParts('frame', [frame.bytes], 0, () => frame.release()));
  peer.sent(frame.lastSeq, frame.bytes.length, now);
}

/** Sends what a peer lacks, as far as its window goes. Returns the bytes sent. */
export function pump(peer: FollowedPeer, source: FrameSource, now: Millis): number {
  const link = peer.peer.link;
  if (!peer.streaming || link === null || peer.copy?.holdsStream === true) return 0;
  let sentBytes = 0;
  if (peer.folds) sentBytes += sendFolded(peer, link, source, now);
  else if (peer.windowBytes > 0 && peer.pace.isOpen) {
    for (const frame of peer.takeCollected()) {
      // What the pace does not let pass is read from the sidefile when it does.
      if (!peer.pace.isOpen) {
        frame.release();
        continue;
      }
      peer.pace.spend(link.sendParts('frame', [frame.bytes], 0, () => frame.release()));
      peer.sent(frame.lastSeq, frame.bytes.length, now);
      sentBytes += frame.bytes.length;
    }
  }
  while (peer.nextSeq <= source.marks.received && peer.windowBytes > 0 && sentBytes < limits.peerWindowBytes && peer.pace.isOpen) {
    const frames = source.framesFrom(peer.nextSeq, Math.min(peer.windowBytes, COLLECTED_BYTES));
    if (frames === null) break;
    for (const part of frames.parts) peer.pace.spend(link.sendParts('frame', [part], 0, () => frames.release()));
    peer.sent(frames.lastSeq, frames.bytes, now);
    sentBytes += frames.bytes;
  }
  peer.sendDue = peer.nextSeq <= source.marks.received ? now : Infinity;
  return sentBytes;
}

/** Sends what is committed, folded where that saves something. */
function sendFolded(peer: FollowedPeer, link: Link, source: FrameSource, now: Millis): number {
  let sentBytes = 0;
  let collected = peer.takeCollected();
  while (peer.folder !== null && peer.windowBytes > 0 && peer.pace.isOpen && sentBytes < limits.peerWindowBytes) {
    const parts = peer.folder.next(source, peer.nextSeq, source.marks.committed, collected);
    collected = [];
    if (parts.length === 0) break;
    for (const { bytes, firstSeq, lastSeq, isFolded, release } of parts) {
      peer.pace.spend(link.sendParts('frame', [bytes], 0, release));
      peer.sent(lastSeq, bytes.length, now, isFolded ? firstSeq : undefined);
      sentBytes += bytes.length;
    }
  }
  for (const frame of collected) frame.release();
  return sentBytes;
}
