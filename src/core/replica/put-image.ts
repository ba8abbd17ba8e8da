// Putting an image where it belongs, and what that takes of the disk.

import { assert } from '../base/assert.ts';
import { type DiskDone, DiskError, type DiskFailure, type StoredFile } from '../base/ports.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { ImageContent } from './copy.ts';
import { isSpaceLacking } from './staging-room.ts';

/** Puts one image into a base; zeroes are punched here and now, and `done` is called before this returns. Throws DiskError when that fails. */
export function putImage(base: StoredFile, offset: number, content: ImageContent, done: DiskDone): void {
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

/** A lack of space that a step returns or meets; null when there is none. Throws any other DiskError. */
export function lackOf(step: () => DiskFailure | null): DiskFailure | null {
  try {
    return step();
  } catch (error) {
    if (error instanceof DiskError && isSpaceLacking(error.failure)) return error.failure;
    throw error;
  }
}

/** Bytes of a range that an image does not hold yet: it grows by them when they are written. */
export function holeBytes(base: StoredFile, offset: number, length: number): number {
  let bytes = 0;
  for (let at = offset; at < offset + length;) {
    const extents = base.extents(at, offset + length - at, 64);
    assert(extents.length > 0, 'a range that is not empty has extents', { file: base.name, at });
    for (const extent of extents) {
      if (extent.hole) bytes += extent.length;
      at = extent.offset + extent.length;
    }
  }
  return bytes;
}
