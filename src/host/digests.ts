// The checksum of records. Long pieces go through a library that uses the processor's carry-less multiplication, 0.3 µs for 4 KiB; short ones, and
// everything on machines for which that library has no build, through Node's own zlib: the same polynomial, the same results.

import { createRequire } from 'node:module';
import { crc32 as plain } from 'node:zlib';
import type { Digests } from '../core/base/ports.ts';

type Crc32 = (bytes: Uint8Array, seed: number) => number;

/** Below this many bytes the call costs more than the library saves. */
const SHORT_BYTES = 96;

/** The library's function, or zlib's where the library has no build for this machine. */
function longCrc32(): Crc32 {
  const require = createRequire(import.meta.url);
  try {
    return (require('@node-rs/crc32') as { readonly crc32: Crc32 }).crc32;
  } catch {
    // No build for this kind of machine, or npm was told to leave optional packages out.
    return plain;
  }
}

const long = longCrc32();

/** CRC-32 as in zlib; `seed` is the checksum of what comes before, 0 for nothing. */
export const crc32: Crc32 = (bytes, seed) => (bytes.length < SHORT_BYTES ? plain(bytes, seed) : long(bytes, seed));

/** Checksums of this machine. */
export const machineDigests: Digests = { crc32 };
