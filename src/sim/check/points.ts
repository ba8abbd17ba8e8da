// Invariant 27 of SPEC: who reads as of a point reads the volume as it was at that record, whatever is written, destaged or cut off meanwhile; or gets an error.

import type { Scene, SeenSite } from './observe.ts';
import { mismatch } from './contents.ts';
import { keyOf } from './verifies.ts';
import type { History } from '../../core/base/position.ts';
import { BLOCK_BYTES, type Seq } from '../../core/base/units.ts';

/** Not in the status of its site. */
export const UNKNOWN_POINT = 'unknown';

/** A point as it was made, and what was read of it. */
export interface PointSeen {
  readonly history: History;
  readonly seq: Seq;
  readonly sizes: readonly number[];
  /** By place. */
  readonly blocks: Map<string, Uint8Array>;
}

/** What is wrong with what was read of whole blocks; null when nothing is. */
export function differs(
  scene: Scene,
  site: SeenSite,
  point: PointSeen,
  read: { readonly volume: number; readonly offset: number; readonly bytes: Uint8Array },
  unitBytes: number,
): string | null {
  const { volume, offset } = read;
  const bytes = read.bytes.slice();
  const image = scene.truth.image(point.history, point.seq);
  const range = { volume, offset, length: bytes.length };
  const wrong = scene.forced ? null : mismatch(scene, site, { range, bytes, image }, unitBytes);
  if (wrong !== null) return wrong;
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const key = keyOf('', volume, offset + at);
    const now = bytes.subarray(at, at + BLOCK_BYTES);
    const before = point.blocks.get(key);
    // What was damaged on purpose changes, and is mended.
    const isDamaged = scene.verifies.flipped.has(keyOf(site.name, volume, offset + at)) || site.flipped;
    if (before === undefined || isDamaged) point.blocks.set(key, now);
    else if (Buffer.compare(before, now) !== 0) return `the block at ${offset + at} of volume ${volume} is another one than before`;
  }
  return null;
}
