// The end of a copy takes many steps, and other things go on meanwhile: the replica may fail between any two of them, or be closed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { assertSame, beginResync, type ReplicaRig, SMALL_BLOCKS } from '../../support/replica-rig.ts';

const STEPS_MAX = 60;

/** A copy of 0x0d as of record 1 that is being brought to 0x11 in its first block, all of it staged, and a record since. */
function staged(): ReplicaRig {
  const { rig } = beginResync();
  rig.wait((done) => rig.replica.receiver.writeImage(0, 0, new Uint8Array(BLOCK_BYTES).fill(0x11), done));
  return rig;
}

test('a failure at any step of the end of a copy is told, and nothing is written behind it', () => {
  let [before, after] = [0, 0];
  for (let steps = 0; steps < STEPS_MAX; steps++) {
    const rig = staged();
    const ended: unknown[] = [];
    rig.replica.receiver.end(1, (failure) => ended.push(failure));
    for (let step = 0; step < steps; step++) rig.storage.step();
    // One that has nothing to do with the end: it fails while a step of that is under way, which goes well.
    rig.disk.faultAt = (operation, file) => (operation === 'write' && file === 'superblock' ? 'EIO' : null);
    rig.replica.markClean(() => undefined);
    rig.storage.settle();
    assert.equal(ended.length, 1, `${steps} steps`);
    assert.equal(rig.failures.length, 1, `${steps} steps`);
    if (ended[0] === null) after++;
    else before++;
  }
  assert.ok(before > 3 && after > 0, 'the failure came before and after the end');
});

test('a replica that is closed at any step of the end of a copy has the older volume or goes on with the end at its next start', () => {
  let [before, again, after] = [0, 0, 0];
  for (const clean of [true, false]) {
    for (let steps = 0; steps < STEPS_MAX; steps++) {
      const rig = staged();
      rig.replica.receiver.end(1, () => undefined);
      for (let step = 0; step < steps; step++) rig.storage.step();
      assert.equal(
        rig.wait((done) => rig.replica.close({ clean }, done)),
        null,
        `${steps} steps`,
      );
      rig.crash();
      rig.open();
      const { staging, consistent } = rig.replica.superblock.value;
      const ends = staging !== null && staging.endSeq !== null;
      if (ends) again++;
      else if (consistent) after++;
      else before++;
      rig.storage.settle();
      assert.equal(rig.replica.consistent, ends || consistent, `${steps} steps`);
      const wanted = new Uint8Array(SMALL_BLOCKS * BLOCK_BYTES).fill(0x0d);
      if (rig.replica.consistent) wanted.fill(0x11, 0, BLOCK_BYTES);
      assertSame(rig.disk.contentOf('base-small'), wanted, `${steps} steps`);
    }
  }
  assert.ok(again > 0 && after > 0, `it came before (${before}), during (${again}) and after the end (${after})`);
});
