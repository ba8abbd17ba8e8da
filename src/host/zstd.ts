// Packing of what goes over slow links: zstd at its fastest, by Node's own zlib. Where that lacks it, nothing is packed.

import * as zlib from 'node:zlib';
import type { Compression } from '../core/base/ports.ts';

/** What is not made smaller than this share of itself goes as it is. */
const PAYING_SHARE = 7 / 8;

const LEVEL = 1;

function pack(parts: readonly Uint8Array[]): Uint8Array | null {
  const raw = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
  const packed = zlib.zstdCompressSync(raw, { params: { [zlib.constants.ZSTD_c_compressionLevel]: LEVEL } });
  return packed.length <= raw.length * PAYING_SHARE ? packed : null;
}

function unpack(bytes: Uint8Array, byteCount: number): Uint8Array | null {
  try {
    // Node wants at least one byte of room; nothing that was packed is empty.
    const raw = zlib.zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, byteCount) });
    return raw.length === byteCount ? raw : null;
  } catch (error) {
    // Damaged, or more than it tells: whoever sent that is not believed. Anything else is a fault of the program.
    if (error instanceof Error && 'code' in error) return null;
    throw error;
  }
}

/** undefined where this Node.js has no zstd. */
export const machineCompression: Compression | undefined = typeof zlib.zstdCompressSync === 'function' ? { pack, unpack } : undefined;
