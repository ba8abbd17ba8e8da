// A tail that is cut back when a newer epoch is adopted: until that is durable, everything that was cut is still needed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReplicaRig } from '../../support/replica-rig.ts';

test('a segment is not dropped for a cut that is not durable: a start before it is needs what was cut', () => {
  // Changes of names come to the disk first; the more of what was written since the last flush does, the later the power is lost.
  for (let kept = 0; kept < 8; kept++) {
    const rig = new ReplicaRig().start();
    for (let i = 0; i < 5; i++) rig.write(1, 4 * i, 4, i + 1);
    rig.replica.flush();
    rig.storage.settle();
    rig.replica.commit(2);
    assert.equal(
      rig.wait((done) => rig.replica.drain(done)),
      null,
    );
    const history = [...rig.replica.history, { epoch: 2, firstSeq: 3 }];
    rig.replica.adopt({ epoch: 2, history, cutTo: 2, force: true }, () => undefined);
    // Record 3 lies behind 2 in the first segment; those that remain are in the base image, and nobody needs them.
    rig.replica.retainFrom = 3;
    let changes = 0;
    rig.losePower(() => (changes++ < kept ? 0 : 1));
    assert.equal(rig.tryOpen(), 'ready', `${kept} changes kept`);
  }
});
