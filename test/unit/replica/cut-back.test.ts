// A tail that is cut back when a newer epoch is adopted: until that is durable, everything that was cut is still needed; and what stays is looked
// through a part in each turn.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Adoption } from '../../../src/core/replica/options.ts';
import { ReplicaRig, write, zero } from '../../support/replica-rig.ts';

const RECORDS = 40;
const CUT_TO = 30;

/** A copy of which a tail is being cut off, frame by frame. */
function cutting(): { readonly rig: ReplicaRig; readonly ended: () => Adoption | null } {
  const rig = new ReplicaRig({ cutStepBytes: 1 }).start();
  for (let i = 0; i < RECORDS; i++) {
    const one = i % 9 === 8 ? zero('trim', 1, i, 100) : write(1, 3 * (i % 10), 4, i + 1);
    rig.append(i === CUT_TO - 1 ? [one, write(1, 0, 1, 0xee)] : [one]);
  }
  rig.replica.commit(10);
  let adoption: Adoption | null = null;
  const epoch = rig.replica.epoch + 1;
  rig.replica.adopt({ epoch, history: [...rig.replica.history, { epoch, firstSeq: CUT_TO + 1 }], cutTo: CUT_TO }, (result) => {
    adoption = result;
  });
  return { rig, ended: () => adoption };
}

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

test('before a tail is cut off a part of what stays is looked through in each turn, and meanwhile the copy is what it was', () => {
  const { rig, ended } = cutting();
  assert.equal(rig.replica.changing, true);
  for (let turn = 1; turn < CUT_TO; turn++) {
    assert.equal(rig.replica.marks.received, rig.reference.end, `turn ${turn}`);
    rig.check();
    rig.now += 1000;
    rig.storage.settle();
    rig.replica.work(rig.now);
    assert.equal(rig.replica.marks.destaged, 0, 'nothing is destaged meanwhile');
  }
  assert.equal(rig.replica.marks.received, CUT_TO);
  rig.reference.cutTo(CUT_TO);
  rig.told = Math.min(rig.told, CUT_TO);
  rig.check();
  rig.storage.settle();
  assert.equal(ended(), 'done');
  rig.write(1, 0, 2, 0xcc);
  rig.replica.commit(CUT_TO + 1);
  assert.equal(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
  rig.check();
  assert.equal(rig.replica.backlogBytes, 0);
});

test('a pass that destages waits where it is while a tail is being cut off, and somebody who drains is told afterwards', () => {
  for (let steps = 0; steps < 12; steps++) {
    const rig = new ReplicaRig({ cutStepBytes: 1 }).start();
    for (let i = 0; i < RECORDS; i++) rig.write(1, 3 * i, 4, i + 1);
    rig.replica.flush();
    rig.storage.settle();
    rig.replica.commit(20);
    let drained = 0;
    rig.replica.drain(() => drained++);
    for (let i = 0; i < steps; i++) rig.storage.step();
    const { destaged } = rig.replica.marks;
    const epoch = rig.replica.epoch + 1;
    let adoption: Adoption | null = null;
    rig.replica.adopt({ epoch, history: [...rig.replica.history, { epoch, firstSeq: 26 }], cutTo: 25 }, (result) => {
      adoption = result;
    });
    while (rig.replica.marks.received > 25) {
      rig.storage.settle();
      assert.equal(rig.replica.marks.destaged, destaged, 'the pass waits');
      rig.check();
      rig.replica.work(rig.now);
    }
    rig.reference.cutTo(25);
    rig.told = Math.min(rig.told, 25);
    rig.check();
    rig.storage.settle();
    assert.deepEqual([adoption, drained], ['done', 1], `after ${steps} steps`);
    assert.equal(rig.replica.marks.destaged, 20);
    rig.check();
    assert.equal(rig.buffers.taken, 0);
  }
});

test('a process that ends while a tail is being cut off has changed nothing', () => {
  for (const power of [false, true]) {
    for (let turns = 0; turns < CUT_TO; turns += 7) {
      const { rig, ended } = cutting();
      rig.replica.flush();
      rig.storage.settle();
      for (let i = 0; i < turns; i++) rig.replica.work(rig.now);
      const { epoch } = rig.replica;
      if (power) rig.losePower(() => 0);
      else rig.crash();
      rig.open();
      assert.deepEqual([ended(), rig.replica.epoch, rig.replica.marks.received], [null, epoch, rig.reference.end]);
      rig.check();
    }
  }
});

test('a copy that is closed while a tail is being cut off keeps it, and one whose disk fails says so', () => {
  const closed = cutting();
  closed.rig.replica.work(closed.rig.now);
  assert.equal(
    closed.rig.wait((done) => closed.rig.replica.close({ clean: true }, done)),
    null,
  );
  assert.equal(closed.ended(), null);
  closed.rig.crash();
  closed.rig.open();
  assert.deepEqual([closed.rig.replica.unclean, closed.rig.replica.marks.received], [false, closed.rig.reference.end]);
  closed.rig.check();

  const failed = cutting();
  failed.rig.disk.faultAt = (operation) => (operation === 'read' ? 'EIO' : null);
  failed.rig.replica.work(failed.rig.now);
  assert.equal(failed.ended(), null, 'as an event of its own');
  failed.rig.storage.settle();
  assert.equal((failed.ended() as { code?: string } | null)?.code, 'EIO');
  assert.equal(failed.rig.failures.length, 1);
});

test('what is changed next waits for a cut', () => {
  const { rig, ended } = cutting();
  const { epoch } = rig.replica;
  let begun = 0;
  rig.replica.beginEpoch(epoch + 5, () => begun++);
  while (rig.replica.marks.received > CUT_TO) {
    rig.storage.settle();
    assert.equal(begun, 0);
    rig.replica.work(rig.now);
  }
  rig.storage.settle();
  assert.deepEqual([ended(), begun, rig.replica.epoch], ['done', 1, epoch + 5]);
  assert.deepEqual(rig.replica.history.at(-1), { epoch: epoch + 5, firstSeq: CUT_TO + 1 });
});

/** A copy with 40 committed records, which is told by a primary that was promoted by force to go back to 30; and what becomes of a drain. */
function cutByForce(
  cutStepBytes: number,
  drainFirst: boolean,
): { readonly adopted: unknown; readonly drained: number; readonly left: number } {
  const rig = new ReplicaRig({ cutStepBytes }).start();
  for (let i = 0; i < 40; i++) rig.append([write(1, 3 * (i % 10), 4, i + 1)]);
  if (!drainFirst) {
    rig.replica.flush();
    rig.storage.settle();
  }
  rig.replica.commit(40);
  let drained = 0;
  let adopted: unknown = null;
  const drain = (): void => rig.replica.drain(() => drained++);
  const epoch = rig.replica.epoch + 1;
  if (drainFirst) drain();
  rig.replica.adopt({ epoch, history: [...rig.replica.history, { epoch, firstSeq: 31 }], cutTo: 30, force: true }, (result) => {
    adopted = result;
  });
  if (!drainFirst) drain();
  for (let i = 0; i < 60; i++) {
    rig.storage.settle();
    rig.replica.work(rig.now);
  }
  return { adopted, drained, left: rig.replica.marks.received - rig.replica.marks.destaged };
}

test('a drain ends though records that it was to bring into the bases are cut off by force', () => {
  assert.deepEqual(cutByForce(1, false), { adopted: 'done', drained: 1, left: 0 });
  assert.deepEqual(cutByForce(1e9, true), { adopted: 'done', drained: 1, left: 0 });
});

test('a cut goes on though the process is kept from going on for longer than a turn may last', () => {
  const rig = new ReplicaRig({ cutStepBytes: 1 }).start();
  for (let i = 0; i < 10; i++) rig.append([write(1, 3 * i, 4, i + 1)]);
  rig.replica.flush();
  rig.storage.settle();
  let now = rig.now;
  Object.defineProperty(rig, 'now', { get: () => (now += 3) });
  const epoch = rig.replica.epoch + 1;
  let adopted: unknown = null;
  rig.replica.adopt({ epoch, history: [...rig.replica.history, { epoch, firstSeq: 9 }], cutTo: 8 }, (result) => {
    adopted = result;
  });
  for (let i = 0; i < 60; i++) {
    rig.storage.settle();
    rig.replica.work(now);
  }
  assert.equal(adopted, 'done');
});

test('a resync that cuts what destaging has brought into the bases meanwhile begins without an older volume', () => {
  const rig = new ReplicaRig().start();
  for (let i = 0; i < 40; i++) rig.append([write(1, 3 * (i % 10), 4, i + 1)]);
  rig.wait((done: (failure: unknown) => void) => {
    rig.replica.flush();
    rig.replica.commit(40);
    rig.replica.drain(done);
  });
  const epoch = rig.replica.epoch + 1;
  const history = [
    { epoch: 1, firstSeq: 1 },
    { epoch, firstSeq: 31 },
  ];
  const begun = rig.wait((done: (failure: unknown) => void) =>
    rig.replica.receiver.begin({ epoch, history, position: 50, chain: 5, rung: 'bitmap', cutTo: 30 }, done),
  );
  assert.equal(begun, null);
  assert.equal(rig.replica.receiver.older, null);
  assert.ok(!rig.replica.consistent);
});
