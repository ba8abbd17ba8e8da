// Records that have left the page cache: who reads them does not keep everything else waiting for the disk, and their segment stays until he has them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { ReplicaRig } from '../../support/replica-rig.ts';

/** A copy of which nothing of the sidefile is cached. */
function coldRig(): ReplicaRig {
  const rig = new ReplicaRig().start();
  for (let i = 0; i < 40; i++) rig.write(1, i, 2, i + 1);
  rig.replica.commit(40);
  rig.storage.cold = (name) => name.startsWith('sidefile-');
  return rig;
}

function segments(rig: ReplicaRig): number {
  return rig.storage.list().filter((name) => name.startsWith('sidefile-')).length;
}

test('a read of records that are not cached waits for the disk in the background, and shows what they held', () => {
  const rig = coldRig();
  const into = new Uint8Array(60 * BLOCK_BYTES);
  assert.equal(rig.replica.read(1, 0, into), -1);
  const wanted = rig.reference.now.bytes[1]?.slice(0, into.length);
  let needed = -1;
  rig.replica.readCold(1, 0, into, (needSeq, failure) => {
    assert.equal(failure, null);
    needed = needSeq;
  });
  assert.equal(needed, -1, 'later');
  // It is what it was when it was asked for.
  rig.write(1, 3, 4, 0xee);
  rig.storage.settle();
  assert.equal(needed, 0);
  assert.deepEqual(into, wanted);
});

test('a segment is not dropped while one of its records is being read, and goes when that has ended', () => {
  const rig = coldRig();
  const { cold } = rig.storage;
  rig.storage.cold = () => false;
  const point = rig.replica.points.open('newest', () => undefined);
  assert(typeof point !== 'string');
  rig.replica.work(rig.now);
  rig.storage.cold = cold;
  const into = new Uint8Array(10 * BLOCK_BYTES);
  assert.equal(rig.replica.points.read(point, 1, 0, into), -1);
  const wanted = rig.reference.now.bytes[1]?.slice(0, into.length);
  const before = segments(rig);
  assert(before > 2);
  // The disk gives it last of all.
  const files: (() => void)[] = [];
  const { later } = rig.storage;
  rig.storage.later = (event) => void files.push(event);
  let ended = false;
  rig.replica.points.readCold(point, 1, 0, into, (failure) => {
    assert.equal(failure, null);
    ended = true;
  });
  rig.storage.later = later;
  assert.equal(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
  assert.deepEqual([ended, rig.replica.marks.destaged, rig.replica.marks.oldest], [false, 40, 1]);
  assert.equal(segments(rig), before);
  for (const event of files) event();
  assert.equal(ended, true);
  assert.deepEqual(into, wanted);
  rig.storage.settle();
  assert(rig.replica.marks.oldest > 1);
  assert(segments(rig) < before);
  rig.check();
});

test('a disk that fails such a read fails the copy', () => {
  const rig = coldRig();
  rig.disk.faultAt = (operation) => (operation === 'read' ? 'EIO' : null);
  const failures: unknown[] = [];
  rig.replica.readCold(1, 0, new Uint8Array(10 * BLOCK_BYTES), (_needSeq, failure) => failures.push(failure));
  rig.storage.settle();
  assert.equal(failures.length, 1);
  assert.notEqual(failures[0], null);
  assert.equal(rig.failures.length, 1);
});

/** Lets what was asked of the disk happen, and what is due, until something holds; how often the disk was asked. */
function until(rig: ReplicaRig, holds: () => boolean): number {
  let asked = 0;
  for (; !holds(); asked++) {
    assert(asked < 100);
    for (let i = 0; i < 3; i++) rig.replica.work(rig.now);
    assert(!holds(), 'nothing is read here and now');
    assert(rig.storage.waiting > 0, 'a stretch is being brought in');
    rig.storage.settle();
    for (let i = 0; i < 3; i++) rig.replica.work(rig.now);
  }
  return asked;
}

test('tables that are not cached are brought in in the background, a stretch at a time, before a point is made of them', () => {
  const rig = coldRig();
  rig.replica.flush();
  rig.storage.settle();
  const point = rig.replica.points.open({ seq: 30 }, () => undefined);
  assert(typeof point !== 'string');
  const asked = until(rig, () => point.ready);
  assert(asked >= 1 && asked <= segments(rig), `${asked} stretches`);
  rig.storage.cold = () => false;
  const into = new Uint8Array(40 * BLOCK_BYTES);
  assert.equal(rig.replica.points.read(point, 1, 0, into), 0);
  assert.deepEqual(into, rig.reference.contentAt(30).bytes[1]?.slice(0, into.length));
});

test('and before a tail is cut off', () => {
  const rig = coldRig();
  rig.replica.flush();
  rig.storage.settle();
  const epoch = rig.replica.epoch + 1;
  const history = [...rig.replica.history, { epoch, firstSeq: 31 }];
  let adoption: unknown = null;
  rig.replica.adopt({ epoch, history, cutTo: 30, force: true }, (result) => {
    adoption = result;
  });
  const asked = until(rig, () => rig.replica.marks.received === 30);
  assert(asked > 1 && asked <= segments(rig), `${asked} stretches`);
  rig.storage.settle();
  assert.equal(adoption, 'done');
  rig.reference.cutTo(30);
  rig.storage.cold = () => false;
  rig.check();
});
