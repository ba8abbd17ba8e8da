// Digests of ranges: as of the moment of the call, and the same bytes from every implementation of the port.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import type { BlockDigests } from '../../../src/core/base/ports.ts';
import { DIGEST_ALGORITHMS, DIGEST_BYTES, digestRange, type RangeDigests } from '../../../src/core/scan/digest.ts';
import { digestBlocks as hostDigestBlocks, SlicedDigests } from '../../../src/host/block-digests.ts';
import { digestBlocks, digestOf } from '../../../src/sim/digests.ts';
import { ReplicaRig, write, zero } from '../../support/replica-rig.ts';

/** Digests at once, and says so when it is told to. */
class HeldDigests implements BlockDigests {
  readonly held: (() => void)[] = [];
  take(byteCount: number): Uint8Array {
    return new Uint8Array(byteCount).fill(0xdd);
  }
  digest(...[algorithm, bytes, blockBytes, done]: Parameters<BlockDigests['digest']>): void {
    const digests = digestBlocks(algorithm, bytes, blockBytes);
    this.held.push(() => done(digests));
  }
  digestNow = digestOf;
}

test('every algorithm gives digests of its own length, the same in the daemon and in the simulator', async () => {
  const bytes = Uint8Array.from({ length: 3 * BLOCK_BYTES + 100 }, (_, i) => (i * 7) % 251);
  const sliced = new SlicedDigests();
  for (const algorithm of DIGEST_ALGORITHMS) {
    const expected = digestBlocks(algorithm, bytes, BLOCK_BYTES);
    assert.equal(expected.length, 4 * DIGEST_BYTES[algorithm], algorithm);
    assert.deepEqual(hostDigestBlocks(algorithm, bytes, BLOCK_BYTES), expected);
    const digests = await new Promise<Uint8Array>((resolve) => {
      sliced.digest(algorithm, bytes, BLOCK_BYTES, resolve);
    });
    assert.deepEqual(digests, expected);
  }
  assert.deepEqual(digestOf('sha256', bytes), createHash('sha256').update(bytes).digest());
});

test('a digest is as of the moment of its call, whatever is written before it is told', () => {
  const rig = new ReplicaRig().start();
  rig.append([write(0, 1, 2, 0x11)]);
  rig.append([zero('zeroes', 0, 2, 1)]);
  const digests = new HeldDigests();
  let result: RangeDigests | null = null;
  const range = { volume: 0, offset: 0, length: 4 * BLOCK_BYTES };
  digestRange({ source: rig.replica, digests }, range, { algorithm: 'sha256', blockBytes: BLOCK_BYTES }, (told) => {
    assert.ok('digests' in told);
    result = told;
  });
  rig.append([write(0, 1, 1, 0x22)]);
  rig.storage.settle();
  for (const tell of digests.held) tell();
  const content = new Uint8Array(4 * BLOCK_BYTES);
  content.fill(0x11, BLOCK_BYTES, 2 * BLOCK_BYTES);
  assert.deepEqual(result, { digests: digestBlocks('sha256', content, BLOCK_BYTES), seq: 2 });
});
