// Packing by zstd: what comes back is what was packed, what would not become smaller is left, and nobody is believed who sends more than he tells.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';

import { machineCompression } from '../../../src/host/zstd.ts';
import { PACKED } from '../mirror/wire-sample.ts';

assert.ok(machineCompression !== undefined, 'the Node.js that Tercet brings has zstd');
const { pack, unpack } = machineCompression;

test('what is packed is smaller by an eighth at least, and comes back as it was', () => {
  const parts = fc.array(
    fc.record({ byte: fc.nat(255), count: fc.integer({ min: 1, max: 9000 }) }).map(({ byte, count }) => new Uint8Array(count).fill(byte)),
    { minLength: 1, maxLength: 8 },
  );
  fc.assert(
    fc.property(parts, (pieces) => {
      const raw = Buffer.concat(pieces);
      const packed = pack(pieces);
      if (packed === null) return;
      assert.ok(packed.length <= (raw.length * 7) / 8);
      assert.deepEqual(Buffer.from(unpack(packed, raw.length) ?? []), raw);
    }),
  );
  assert.notEqual(pack([new Uint8Array(65_536)]), null);
});

test('what does not become smaller goes as it is', () => {
  assert.equal(pack([randomBytes(65_536)]), null);
});

test('the form is the one that is pinned', () => {
  const raw = new Uint8Array(4096);
  raw.set([0x54, 0x65]);
  assert.deepEqual(new Uint8Array(unpack(PACKED, 4096) ?? []), raw);
});

test('more or less than what is told, damage, and a bomb are nothing', () => {
  const packed = pack([new Uint8Array(65_536)]) as Uint8Array;
  for (const told of [0, 1, 65_535, 65_537, 1_000_000]) assert.equal(unpack(packed, told), null, String(told));
  assert.equal(unpack(packed.subarray(0, packed.length - 1), 65_536), null);
  assert.equal(unpack(new Uint8Array(0), 16), null);
  assert.equal(unpack(randomBytes(100), 65_536), null);
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  const before = process.memoryUsage().arrayBuffers;
  assert.equal(unpack(bomb, 4096), null);
  assert.ok(process.memoryUsage().arrayBuffers - before < 8 * 1024 * 1024);
});
