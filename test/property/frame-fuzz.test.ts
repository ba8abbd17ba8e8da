// Hostile bytes: whatever is done to a frame, reading it ends, does not throw, and what passes is exactly what was written.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readFrame, readFrameTable } from '../../src/core/record/decode.ts';
import { digests, frameOf, GROUP_TAG } from '../support/records.ts';

const OPTIONS = { groupTag: GROUP_TAG, checkPayload: true, digests };
const { bytes: FRAME } = frameOf({ epoch: 5, firstSeq: 40, lastSeq: 47, chainBefore: 1234, committed: 12 });

const mutation = fc.oneof(
  fc.record({ kind: fc.constant('set' as const), at: fc.nat(FRAME.length - 1), value: fc.nat(255) }),
  fc.record({ kind: fc.constant('copy' as const), at: fc.nat(FRAME.length - 1), value: fc.nat(FRAME.length - 1) }),
  fc.record({ kind: fc.constant('cut' as const), at: fc.nat(FRAME.length), value: fc.constant(0) }),
  fc.record({ kind: fc.constant('zero' as const), at: fc.nat(FRAME.length - 1), value: fc.nat(64) }),
);

function mutated(mutations: readonly { kind: 'set' | 'copy' | 'cut' | 'zero'; at: number; value: number }[]): Uint8Array {
  let bytes = FRAME.slice();
  for (const { kind, at, value } of mutations) {
    if (kind === 'cut') bytes = bytes.slice(0, at);
    else if (at >= bytes.length) continue;
    else if (kind === 'set') bytes[at] = value;
    else if (kind === 'zero') bytes.fill(0, at, at + value);
    else bytes.copyWithin(at, value, value + 32);
  }
  return bytes;
}

test('a frame that was changed in any way verifies only when it is the same frame', () => {
  fc.assert(
    fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
      const bytes = mutated(mutations);
      const check = readFrame(bytes, 0, OPTIONS);
      if (check.kind === 'frame') assert.deepEqual(check.frame.bytes, FRAME);
      if (check.kind === 'short') assert.ok(check.needBytes > bytes.length);
      readFrameTable(bytes, 0, OPTIONS);
    }),
    { numRuns: 20_000 },
  );
});

test('bytes that were never a frame are none', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(20), (bytes, offset) => {
      const check = readFrame(bytes, offset, OPTIONS);
      assert.notEqual(check.kind, 'frame');
    }),
    { numRuns: 2000 },
  );
});

test('a header that was made to fit its checksum cannot make a reader go wrong', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 8, max: 63 }), fc.nat(255)), { minLength: 1, maxLength: 6 }), (changes) => {
      const bytes = FRAME.slice();
      for (const [at, value] of changes) bytes[at] = value;
      new DataView(bytes.buffer).setUint32(4, digests.crc32(bytes.subarray(8, 64), 0), true);
      const check = readFrame(bytes, 0, OPTIONS);
      // Only what no checksum below the header covers may differ: names and times of the same records.
      if (check.kind === 'frame') assert.deepEqual(check.frame.bytes.subarray(64), FRAME.subarray(64));
    }),
    { numRuns: 5000 },
  );
});
