// A disk that changes what a resync has staged, while it waits for its end: where such a bit could be.

import { getU64, viewOf } from '../core/base/bytes.ts';
import { stagingEntryLayout } from '../core/replica/staging.ts';
import type { SimDisk } from './disk.ts';

/** Amount of a fault that flips a bit of a staged image as soon as there is one (faults.ts). */
export const FLIP_STAGED = 2000;
/** In other runs this flip may come behind the usual one. */
export const FLIPS_STAGED_EVERY = 3;

/** A byte of the image that was staged last; null where nothing but zeroes is staged, or nothing at all. `chosen` picks it, from 0 to 1. */
export function stagedByte(disk: SimDisk, chosen: number): { readonly file: string; readonly at: number } | null {
  const index = disk.contentsOf('staging-index');
  const { at, bytes: entryBytes } = stagingEntryLayout;
  const entries = Math.floor((index?.length ?? 0) / entryBytes);
  if (index === null || entries === 0) return null;
  const view = viewOf(index.subarray((entries - 1) * entryBytes, entries * entryBytes));
  const file = `staging-${view.getUint16(at.volume, true)}`;
  const place = getU64(view, at.offset) + Math.floor(chosen * getU64(view, at.length));
  // A hole has no content that could rot.
  return (disk.contentsOf(file)?.[place] ?? 0) === 0 ? null : { file, at: place };
}
