// When a start may find a copy damaged: where a bit of its files was flipped; and where the disk had failed a flush in the life before, which may take
// anything with it that was not durable (E2), and that life ended before its superblock could say `unclean`. For a mere crash loses nothing, so that
// the start cannot tell what is missing from damage, and must not cut it off (C2). What was durable must be there all the same.

import { crc32 } from 'node:zlib';
import { CELL_BYTES, readCell } from '../../core/base/cell.ts';
import type { Seq } from '../../core/base/units.ts';
import { SUPERBLOCK_FILE } from '../../core/replica/superblock.ts';
import type { SeenSite } from './observe.ts';

/** Why a copy must not be called damaged for this reason; null when it may be. */
export function falseDamage(site: SeenSite, reason: string): string | null {
  if (site.flipped) return null;
  if (!site.dropped) return 'nothing has harmed its disk';
  if (saysUnclean(site)) return 'its superblock says that records which no flush covered may be missing';
  const seq: Seq = Number(/record \(\d+, (\d+)\)/.exec(reason)?.[1] ?? 0);
  return seq > site.durable.upTo ? null : `a flush that failed took nothing up to record ${site.durable.upTo}, which was durable before`;
}

function saysUnclean(site: SeenSite): boolean {
  const bytes = new Uint8Array(CELL_BYTES);
  bytes.set((site.machine.disk.contentsOf(SUPERBLOCK_FILE) ?? bytes).subarray(0, CELL_BYTES));
  const state = readCell(bytes, (part, seed) => crc32(part, seed));
  return state.kind === 'value' && (state.value as { readonly unclean?: unknown }).unclean === true;
}
