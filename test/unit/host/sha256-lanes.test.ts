// SHA-256 of many blocks at once says of each what Node's own digest says, or is not used.

import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { digestBlocks } from '../../../src/host/block-digests.ts';
import { Sha256Lanes } from '../../../src/host/sha256-lanes.ts';

const KIB = 1024;
const oneByOne = (bytes: Uint8Array, blockBytes: number): Buffer =>
  Buffer.concat(
    Array.from({ length: Math.ceil(bytes.length / blockBytes) }, (_, i) =>
      hash('sha256', bytes.subarray(i * blockBytes, (i + 1) * blockBytes), 'buffer'),
    ),
  );

test('blocks that are digested at once have the digests of blocks that are digested one by one', (t) => {
  const lanes = Sha256Lanes.open();
  if (lanes === null) return t.diagnostic('this processor or this Node does it one by one');
  for (const blockBytes of [64, 128, 4 * KIB, 64 * KIB, 1024 * KIB])
    for (const count of [4, 8, 12, 20, 24]) {
      const bytes = randomBytes(count * blockBytes + 100);
      // Blocks need not begin at an even address, and what lies behind them does not count.
      for (const from of [0, 1, 63])
        assert.deepEqual(
          Buffer.from(lanes.digest(bytes.subarray(from, from + count * blockBytes), blockBytes, count)),
          oneByOne(bytes.subarray(from, from + count * blockBytes), blockBytes),
          `${count} blocks of ${blockBytes} bytes from ${from}`,
        );
    }
});

test('blocks of any number and length are digested alike, with a shorter one at the end', () => {
  for (const [byteCount, blockBytes] of [
    [0, 4096],
    [4096, 4096],
    [5 * 4096, 4096],
    [16 * 4096 - 1, 4096],
    [17 * 4096 + 3, 4096],
    [9 * 100, 100],
    [300 * KIB, 64 * KIB],
    [1024 * KIB, 64 * KIB],
  ] as const) {
    const bytes = randomBytes(byteCount);
    assert.deepEqual(Buffer.from(digestBlocks('sha256', bytes, blockBytes)), oneByOne(bytes, blockBytes), `${byteCount} by ${blockBytes}`);
  }
});

test('blocks that are not made of whole chunks are left to others', () => {
  for (const blockBytes of [0, 1, 63, 100, 4095, 2 ** 30]) assert.equal(Sha256Lanes.takes(blockBytes), false, String(blockBytes));
  for (const blockBytes of [64, 4096, 2 ** 28]) assert.equal(Sha256Lanes.takes(blockBytes), true, String(blockBytes));
});
