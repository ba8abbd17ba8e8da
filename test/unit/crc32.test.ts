// CRC-32 in place agrees with zlib's, and checksums of blocks join to that of the whole.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';

import { viewOf } from '../../src/core/base/bytes.ts';
import { crc32OfRange, crc32OfWords, crc32WithBlock } from '../../src/core/base/crc32.ts';
import { BLOCK_BYTES } from '../../src/core/base/units.ts';

test('a few words have the checksum that zlib gives them, from any seed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(0xffff_ffff), fc.nat(3), (bytes, seed, from) => {
      const words = Math.floor(Math.max(0, bytes.length - from) / 4);
      assert.equal(crc32OfWords(viewOf(bytes), from, words, seed), crc32(bytes.subarray(from, from + 4 * words), seed));
    }),
  );
});

test('a range has the checksum that zlib gives it, whether it is short or long', () => {
  const bytes = Uint8Array.from({ length: 4096 }, (_, i) => (i * 31) & 0xff);
  for (const to of [8, 12, 64, 264, 268, 4096]) {
    const digests = { crc32: (range: Uint8Array, seed: number) => crc32(range, seed) };
    assert.equal(crc32OfRange(bytes, viewOf(bytes), { from: 8, to }, digests), crc32(bytes.subarray(8, to)));
  }
});

test('the checksums of blocks join to that of all of them', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(255), { minLength: 1, maxLength: 5 }), fc.nat(0xffff_ffff), (fillers, salt) => {
      const bytes = new Uint8Array(fillers.length * BLOCK_BYTES);
      for (const [i, filler] of fillers.entries()) {
        bytes.fill(filler, i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
        viewOf(bytes).setUint32(i * BLOCK_BYTES + 4 * (salt % 1000), salt, true);
      }
      let joined = 0;
      for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
        const block = crc32(bytes.subarray(at, at + BLOCK_BYTES));
        joined = at === 0 ? block : crc32WithBlock(joined, block);
      }
      assert.equal(joined, crc32(bytes));
    }),
  );
});
