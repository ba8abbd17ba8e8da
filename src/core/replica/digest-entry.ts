// One digest as it lies on the disk: in the table beside a base image, and in its log.

import { type Layout, layout } from '../base/bytes.ts';

const entryFields = [
  ['crc', 'u32', 'CRC-32 of the 4096 bytes of the block'],
  ['check', 'u32', 'made of `crc` and the number of the block; 0: the content is not known'],
] as const;

/** One block's entry; entry n lies at n times its length. */
export const digestEntryLayout: Layout<(typeof entryFields)[number][0]> = layout(8, entryFields);

/** The second half of an entry: never 0 or 1, different for each block, and wrong when any bit of the entry has flipped. */
export function digestCheck(crc: number, block: number): number {
  const low = block >>> 0;
  const high = Math.floor(block / 0x1_0000_0000);
  let hash = Math.imul(crc ^ Math.imul(low, 0x9e37_79b1) ^ Math.imul(high, 0x85eb_ca6b), 0xc2b2_ae35);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash ^= hash >>> 13;
  return (hash | 2) >>> 0;
}
