// A volume that the configuration makes larger: the next start makes it so, at every site for itself, and may be cut off at any point.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SUPERBLOCK_FILE } from '../../../src/core/replica/superblock.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { ReplicaRig, SMALL_BLOCKS, VOLUMES, write } from '../../support/replica-rig.ts';

const MORE_BLOCKS = SMALL_BLOCKS + 40;
const LARGER = VOLUMES.map((volume, index) => (index === 0 ? { ...volume, sizeBytes: MORE_BLOCKS * BLOCK_BYTES } : volume));
const SMALL = 0;

/** A replica with some records in its bases, some only in its sidefile, stopped. */
function filled(): ReplicaRig {
  const rig = new ReplicaRig().start();
  rig.append([write(SMALL, 0, 2, 0x11), write(SMALL, SMALL_BLOCKS - 1, 1, 0x22)]);
  rig.replica.commit(2);
  rig.replica.flush();
  rig.storage.settle();
  rig.wait((done) => rig.replica.drain(done));
  rig.append([write(SMALL, 1, 1, 0x33)]);
  rig.replica.flush();
  rig.storage.settle();
  return rig;
}

function bytesAt(rig: ReplicaRig, block: number): number {
  const bytes = new Uint8Array(BLOCK_BYTES);
  rig.replica.readCold(SMALL, block * BLOCK_BYTES, bytes, (_needSeq, failure) => assert.equal(failure, null));
  rig.storage.settle();
  assert.ok(bytes.every((byte) => byte === bytes[0]));
  return bytes[0] as number;
}

function checkLarger(rig: ReplicaRig): void {
  const found = [0, 1, SMALL_BLOCKS - 1, SMALL_BLOCKS, MORE_BLOCKS - 1].map((block) => bytesAt(rig, block));
  assert.deepEqual(found, [0x11, 0x33, 0x22, 0, 0]);
  rig.reference.cutTo(0);
}

test('the next start makes it larger: what was there stays, the new part is zeroes and takes writes', () => {
  const before = filled();
  before.crash();
  const rig = new ReplicaRig({ volumes: LARGER }, before.disk);
  rig.open();
  assert.ok(rig.journal.includes('replica.grown'));
  checkLarger(rig);
  rig.replica.append([write(SMALL, MORE_BLOCKS - 2, 2, 0x44)]);
  rig.replica.commit(4);
  rig.replica.flush();
  rig.storage.settle();
  rig.wait((done) => rig.replica.drain(done));
  rig.crash();
  rig.open();
  assert.deepEqual([bytesAt(rig, MORE_BLOCKS - 1), bytesAt(rig, 1)], [0x44, 0x33]);
  assert.equal(rig.journal.filter((event) => event === 'replica.grown').length, 1);
});

test('it never becomes smaller again', () => {
  const before = filled();
  before.crash();
  const larger = new ReplicaRig({ volumes: LARGER }, before.disk);
  larger.open();
  larger.crash();
  const smaller = new ReplicaRig({}, before.disk);
  assert.match(smaller.tryOpen(), /volume small: the base .* the configuration says/);
});

test('cut off at any step, by a crash or a loss of power, it is the old one or the new one, and the next start ends it', () => {
  for (const power of [false, true]) {
    for (let steps = 0; steps < 12; steps++) {
      const before = filled();
      before.crash();
      const cut = new ReplicaRig({ volumes: LARGER }, before.disk);
      openAndStop(cut, steps);
      if (power) before.disk.losePower(() => 0.5, 0.5);
      else before.disk.restart();
      const rig = new ReplicaRig({ volumes: LARGER, bootId: power ? 'later' : 'boot-0' }, before.disk);
      assert.equal(rig.tryOpen(), 'ready', `after ${steps} steps, ${power ? 'a loss of power' : 'a crash'}`);
      checkLarger(rig);
    }
  }
});

test('while it is open it takes records in its new part once the superblock says so, and not what was not agreed by all', () => {
  const rig = filled();
  const sizes = (which: 'held' | 'agreed'): number => rig.replica.sizes[which][SMALL]?.sizeBytes ?? 0;
  const before = sizes('held');
  rig.replica.sizes.grow(LARGER);
  assert.deepEqual([sizes('held'), sizes('agreed')], [before, before]);
  rig.storage.settle();
  assert.deepEqual([sizes('held'), sizes('agreed')], [MORE_BLOCKS * BLOCK_BYTES, before]);
  assert.ok(rig.journal.includes('replica.grown'));
  checkLarger(rig);
  rig.replica.sizes.agree([2 * MORE_BLOCKS * BLOCK_BYTES, 0]);
  rig.storage.settle();
  assert.equal(sizes('agreed'), MORE_BLOCKS * BLOCK_BYTES);
  rig.replica.append([write(SMALL, MORE_BLOCKS - 1, 1, 0x44)]);
  rig.replica.commit(4);
  rig.replica.flush();
  rig.storage.settle();
  rig.wait((done) => rig.replica.drain(done));
  rig.crash();
  const again = new ReplicaRig({ volumes: LARGER }, rig.disk);
  again.open();
  assert.deepEqual([bytesAt(again, MORE_BLOCKS - 1), bytesAt(again, SMALL_BLOCKS)], [0x44, 0]);
  assert.equal(again.replica.sizes.agreed[SMALL]?.sizeBytes, MORE_BLOCKS * BLOCK_BYTES);
});

test('a start that makes it larger leaves what is agreed as it was', () => {
  const before = filled();
  before.crash();
  const rig = new ReplicaRig({ volumes: LARGER }, before.disk);
  rig.open();
  rig.crash();
  rig.open();
  assert.equal(rig.replica.sizes.held[SMALL]?.sizeBytes, MORE_BLOCKS * BLOCK_BYTES);
  assert.equal(rig.replica.sizes.agreed[SMALL]?.sizeBytes, SMALL_BLOCKS * BLOCK_BYTES);
});

test('cut off while it grows open, by a crash or a loss of power, the next start ends it', () => {
  for (const power of [false, true]) {
    for (let steps = 0; steps < 8; steps++) {
      const cut = filled();
      cut.replica.sizes.grow(LARGER);
      for (let step = 0; step < steps; step++) cut.storage.step(1);
      cut.replica.sizes.agree([MORE_BLOCKS * BLOCK_BYTES]);
      cut.crash();
      if (power) cut.disk.losePower(() => 0.5, 0.5);
      const rig = new ReplicaRig({ volumes: LARGER, bootId: power ? 'later' : 'boot-0' }, cut.disk);
      assert.equal(rig.tryOpen(), 'ready', `after ${steps} steps, ${power ? 'a loss of power' : 'a crash'}`);
      checkLarger(rig);
    }
  }
});

/** Begins to open and ends the process after so many steps of its disk. */
function openAndStop(rig: ReplicaRig, steps: number): void {
  let left = steps;
  const { storage } = rig;
  const { step } = storage;
  storage.step = (share) => {
    if (left-- <= 0) throw new Stopped();
    return step.call(storage, share);
  };
  try {
    rig.tryOpen();
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  }
}

class Stopped extends Error {}

test('where something lies in the new part, as on a device that was made larger first, it is zeroed', () => {
  const before = filled();
  before.crash();
  const base = before.disk.open(VOLUMES[SMALL].baseFile, { create: false });
  base.truncate(MORE_BLOCKS * BLOCK_BYTES);
  base.write(SMALL_BLOCKS * BLOCK_BYTES, [new Uint8Array(40 * BLOCK_BYTES).fill(0x77)]);
  base.close();
  const rig = new ReplicaRig({ volumes: LARGER }, before.disk);
  rig.open();
  checkLarger(rig);
  assert.ok(before.disk.list().includes(SUPERBLOCK_FILE));
});

test('a device, which cannot be cut back, is zeroed where it is', () => {
  const before = filled();
  before.crash();
  before.disk.open('base-small', { create: false }).write(SMALL_BLOCKS * BLOCK_BYTES, [new Uint8Array(40 * BLOCK_BYTES).fill(0x77)]);
  before.disk.faultAt = (operation, file) => (operation === 'truncate' && file === 'base-small' ? 'EINVAL' : null);
  const rig = new ReplicaRig({ volumes: LARGER }, before.disk);
  rig.open();
  checkLarger(rig);
});

test('a new copy on an image of something else has zeroes behind what is agreed, where it is filled later', () => {
  const rig = new ReplicaRig({ volumes: LARGER });
  const base = rig.storage.open('base-small', { create: true });
  base.write(0, [new Uint8Array(MORE_BLOCKS * BLOCK_BYTES).fill(0x77)]);
  base.close();
  rig.create(
    false,
    VOLUMES.map(({ sizeBytes }) => sizeBytes),
  );
  rig.open();
  assert.equal(rig.replica.sizes.held[SMALL]?.sizeBytes, MORE_BLOCKS * BLOCK_BYTES);
  const held = rig.storage.open('base-small', { create: false });
  const bytes = new Uint8Array(MORE_BLOCKS * BLOCK_BYTES);
  held.read(0, bytes);
  assert.ok(
    bytes.subarray(0, SMALL_BLOCKS * BLOCK_BYTES).every((byte) => byte === 0x77),
    'what is filled from the primary is not touched: it may be compared',
  );
  assert.ok(bytes.subarray(SMALL_BLOCKS * BLOCK_BYTES).every((byte) => byte === 0));
});

/** The next flush of the base image fails, and what it was to write is forgotten. */
function failFlush(rig: ReplicaRig): void {
  rig.disk.forgetsOnFailure = true;
  rig.disk.faultAt = (operation, file) => (operation === 'flush' && file === 'base-small' ? 'EIO' : null);
}

/** Power is lost, and of what no flush has covered nothing is there. */
function losePower(rig: ReplicaRig): ReplicaRig {
  rig.disk.losePower(() => 1, 0);
  return new ReplicaRig({ volumes: LARGER, bootId: 'later' }, rig.disk);
}

test('a flush that failed while it was made larger is made up for by the next start: no loss of power takes it back then', () => {
  for (const isOpen of [false, true]) {
    const before = filled();
    if (isOpen) {
      failFlush(before);
      before.replica.sizes.grow(LARGER);
      before.storage.settle();
      assert.equal(before.failures.length, 1);
    }
    before.crash();
    if (!isOpen) {
      const first = new ReplicaRig({ volumes: LARGER }, before.disk);
      failFlush(first);
      assert.match(first.tryOpen(), /flush of base-small failed/);
      first.crash();
    }
    before.disk.faultAt = null;
    assert.equal(before.disk.contentOf('base-small').length, MORE_BLOCKS * BLOCK_BYTES, 'the next start finds the new size');
    const rig = new ReplicaRig({ volumes: LARGER }, before.disk);
    rig.open();
    rig.storage.settle();
    const later = losePower(rig);
    assert.equal(later.tryOpen(), 'ready');
    checkLarger(later);
  }
});

test('a base image that is shorter than it was on stable storage is refused, whatever the configuration says now', () => {
  for (const volumes of [VOLUMES, LARGER]) {
    const before = filled();
    before.crash();
    const base = before.disk.open('base-small', { create: false });
    base.truncate((SMALL_BLOCKS - 1) * BLOCK_BYTES);
    base.close();
    const rig = new ReplicaRig({ volumes }, before.disk);
    assert.match(rig.tryOpen(), /volume small: the base base-small has 94208 bytes/);
    assert.equal(before.disk.contentOf('base-small').length, (SMALL_BLOCKS - 1) * BLOCK_BYTES, 'it is left as it is');
  }
});

test('a base image that is longer than the configuration says is left as it is', () => {
  const before = filled();
  before.crash();
  const base = before.disk.open('base-small', { create: false });
  base.write(MORE_BLOCKS * BLOCK_BYTES, [new Uint8Array(BLOCK_BYTES).fill(0x77)]);
  base.close();
  const was = before.disk.contentOf('base-small');
  const rig = new ReplicaRig({ volumes: LARGER }, before.disk);
  assert.match(rig.tryOpen(), /volume small: the base base-small has 266240 bytes/);
  assert.deepEqual(before.disk.contentOf('base-small'), was);
});

test('an image that was made for a new copy, with a flush that failed, is made for good by the next attempt', () => {
  const volumes = [VOLUMES[SMALL]];
  const first = new ReplicaRig({ volumes });
  failFlush(first);
  assert.throws(() => first.create());
  first.crash();
  first.disk.faultAt = null;
  assert.equal(first.disk.contentOf('base-small').length, SMALL_BLOCKS * BLOCK_BYTES);
  first.create();
  first.disk.losePower(() => 1, 0);
  assert.equal(new ReplicaRig({ volumes, bootId: 'later' }, first.disk).tryOpen(), 'ready');
});
