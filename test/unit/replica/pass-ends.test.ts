// A pass of destaging that is ended from outside, at each of its steps: by a close, by a cut over several turns, by the begin of a resync. Nothing is
// written afterwards, all memory goes back, and what a start finds is right.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReplicaRig, write, zero } from '../../support/replica-rig.ts';

const STEPS = 40;

/** A pass is about to begin, over many rounds, whose records meet one another, trims among them. */
function busy(): ReplicaRig {
  const rig = new ReplicaRig({ cutStepBytes: 1 }).start();
  for (let i = 0; i < 60; i++) rig.append([i % 7 === 6 ? zero('trim', 1, 3 * (i % 50), 90) : write(1, (3 * i) % 290, 8, i + 1)]);
  rig.replica.flush();
  rig.storage.settle();
  rig.replica.commit(50);
  rig.replica.drain(() => undefined);
  return rig;
}

/** Closes it, starts anew, and compares all content. */
function closeAndCheck(rig: ReplicaRig, clean: boolean, least: number): void {
  let ended = 0;
  rig.replica.close({ clean }, () => ended++);
  rig.storage.settle();
  assert.equal(ended, 1);
  assert.equal(rig.buffers.taken, 0, 'all memory is given back');
  rig.crash();
  rig.open();
  rig.takeBack(least);
  rig.check();
}

test('closed at each step of a pass', () => {
  for (const clean of [false, true]) {
    for (let steps = 0; steps < STEPS; steps++) {
      const rig = busy();
      for (let i = 0; i < steps; i++) rig.storage.step();
      closeAndCheck(rig, clean, 60);
    }
  }
});

test('closed while a cut holds a pass, at each of its steps', () => {
  for (const clean of [false, true]) {
    for (let steps = 0; steps < STEPS; steps++) {
      const rig = busy();
      for (let i = 0; i < steps; i++) rig.storage.step();
      const epoch = rig.replica.epoch + 1;
      rig.replica.adopt({ epoch, history: [...rig.replica.history, { epoch, firstSeq: 56 }], cutTo: 55 }, () => undefined);
      for (let i = 0; i < steps % 5; i++) rig.storage.step();
      closeAndCheck(rig, clean, 55);
    }
  }
});

test('a resync begins with a cut over turns, at each step of a pass', () => {
  for (let steps = 0; steps < STEPS; steps++) {
    const rig = busy();
    for (let i = 0; i < steps; i++) rig.storage.step();
    const epoch = rig.replica.epoch + 1;
    const history = [
      { epoch: 1, firstSeq: 1 },
      { epoch, firstSeq: 56 },
    ];
    let begun: unknown = 'no';
    rig.replica.receiver.begin({ epoch, history, position: 70, chain: 5, rung: 'bitmap', cutTo: 55 }, (failure) => {
      begun = failure;
    });
    for (let i = 0; i < 200 && begun === 'no'; i++) {
      rig.storage.settle();
      rig.replica.work(rig.now);
    }
    assert.equal(begun, null);
    assert.equal(rig.replica.receiver.older?.seq, 55);
    assert.equal(rig.buffers.taken, 0, 'all memory is given back');
  }
});
