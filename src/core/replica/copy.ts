// What a copy is made of when it is sent: images of ranges of its volumes.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { BLOCK_BYTES, type Seq, type VolumeIndex } from '../base/units.ts';
import type { Reader, VolumeExtent } from './read.ts';

/** A part of a volume that is to be sent; `zero`: it reads as zeroes, so its length says it all. */
export interface ImageRange {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** What the receiver puts into its base: bytes, or a number of bytes that read as zeroes. */
export type ImageContent = Uint8Array | { readonly zeroLength: number };

/**
 * The next range of a volume from `fromOffset` on, at most `bytesMax` long where it has data; holes and zeroes come as longer ranges. null at
 * the volume's end.
 */
export function nextImage(
  reader: Reader,
  volume: { readonly index: VolumeIndex; readonly sizeBytes: number },
  fromOffset: number,
  bounds: { readonly bytesMax: number; readonly committed: Seq },
): ImageRange | null {
  assert(fromOffset % BLOCK_BYTES === 0, 'a copy goes by whole blocks', { fromOffset });
  assert(bounds.bytesMax >= BLOCK_BYTES, 'an image holds at least a block', { bytesMax: bounds.bytesMax });
  if (fromOffset >= volume.sizeBytes) return null;
  const firstOf = (bytesMax: number): VolumeExtent => {
    const length = Math.min(volume.sizeBytes - fromOffset, bytesMax);
    const first = reader.extents(volume.index, { offset: fromOffset, length }, 1, bounds.committed)[0];
    assert(first !== undefined, 'a range that is not empty has extents', { fromOffset, length });
    return first;
  };
  // Every block of it is looked up where records wait: no more of them than are wanted, unless they read as zeroes.
  const { zero, length } = firstOf(Math.floor(bounds.bytesMax / BLOCK_BYTES) * BLOCK_BYTES);
  return { offset: fromOffset, length: zero ? firstOf(limits.zeroesBytesMax).length : length, zero };
}
