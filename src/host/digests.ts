// The checksum of records, from zlib: 1.2 µs for 4 KiB, without a copy.

import { crc32 } from 'node:zlib';
import type { Digests } from '../core/base/ports.ts';

/** Checksums computed by Node's own zlib. */
export const machineDigests: Digests = { crc32: (bytes, seed) => crc32(bytes, seed) };
