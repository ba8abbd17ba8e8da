// The hash by which tables of typed arrays find a block.

/** 32 bits, signed, that differ for blocks near each other. */
export function blockHash(block: number): number {
  const low = block >>> 0;
  const high = block > 0xffff_ffff ? (block - low) / 0x1_0000_0000 : 0;
  let hash = Math.imul(low ^ Math.imul(high, 0x9e37_79b1), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2_ae35);
  return hash ^ (hash >>> 14);
}
