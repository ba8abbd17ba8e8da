// The simulator's digests: the real ones, computed at once; when they are told is the machine's business.

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { DigestAlgorithm } from '../core/base/ports.ts';

/** The digest of some bytes. */
export function digestOf(algorithm: DigestAlgorithm, bytes: Uint8Array): Uint8Array {
  if (algorithm !== 'crc32') return createHash(algorithm).update(bytes).digest();
  const digest = new Uint8Array(4);
  new DataView(digest.buffer).setUint32(0, crc32(bytes, 0), true);
  return digest;
}

/** The digests of the blocks of some bytes, one behind the other. */
export function digestBlocks(algorithm: DigestAlgorithm, bytes: Uint8Array, blockBytes: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += blockBytes) parts.push(digestOf(algorithm, bytes.subarray(at, at + blockBytes)));
  return Buffer.concat(parts);
}
