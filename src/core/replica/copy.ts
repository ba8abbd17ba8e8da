// A whole copy of a replica: what a mirror needs when the sidefiles no longer reach each other. The sender walks over its volumes and sends the
// newest content of each range while records go on streaming; the receiver puts images straight into its bases and records into its sidefile.
// At the end each block is as of some record up to the end, and replaying the sidefile over it makes the whole as of the end.

import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { DiskFailure, StoredFile } from '../base/ports.ts';
import { BLOCK_BYTES, type Seq, type VolumeIndex } from '../base/units.ts';
import type { Reader } from './read.ts';

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
  const length = Math.min(volume.sizeBytes - fromOffset, limits.zeroesBytesMax);
  const first = reader.extents(volume.index, { offset: fromOffset, length }, 1, bounds.committed)[0];
  assert(first !== undefined, 'a range that is not empty has extents', { fromOffset, length });
  const wholeBlocks = Math.floor(bounds.bytesMax / BLOCK_BYTES) * BLOCK_BYTES;
  return { offset: fromOffset, length: first.zero ? first.length : Math.min(first.length, wholeBlocks), zero: first.zero };
}

/**
 * Puts one image into a base. `done` comes as a later event for bytes; for zeroes the base is punched here and now and `done` is called before
 * this returns. Throws DiskError when punching fails.
 */
export function writeImage(base: StoredFile, offset: number, content: ImageContent, done: (failure: DiskFailure | null) => void): void {
  const length = content instanceof Uint8Array ? content.length : content.zeroLength;
  assert(offset % BLOCK_BYTES === 0, 'an image begins with a block', { file: base.name, offset });
  assert(length > 0 && length % BLOCK_BYTES === 0, 'an image is made of whole blocks', { file: base.name, length });
  assert(offset + length <= base.size(), 'an image ends within its volume', { file: base.name, offset, length });
  if (content instanceof Uint8Array) {
    base.writeParts([{ offset, bytes: content }], done);
  } else {
    base.punch(offset, length);
    done(null);
  }
}
