// A mirror whose sidefile is in memory alone: what a start finds after each end, that durable is what is destaged, and the ways to the disk and back.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { segmentFiles } from '../../../src/core/replica/sidefile.ts';
import { SMALL_BLOCKS, ReplicaRig, write } from '../../support/replica-rig.ts';

/** A primary on its disk, and a mirror of it in memory that holds the epoch and no record. */
function pair(overrides: ConstructorParameters<typeof ReplicaRig>[0] = {}): { primary: ReplicaRig; mirror: ReplicaRig } {
  const primary = new ReplicaRig().start();
  const mirror = new ReplicaRig({ sidefileInMemory: true, ...overrides });
  mirror.create();
  mirror.open();
  follow(primary, mirror);
  return { primary, mirror };
}

function follow(primary: ReplicaRig, mirror: ReplicaRig): void {
  const { epoch, history } = primary.replica;
  assert.equal(
    mirror.wait((done) => mirror.replica.adopt({ epoch, history, cutTo: mirror.replica.marks.received }, done)),
    'done',
  );
}

/** One frame from the primary to the mirror. */
function send(primary: ReplicaRig, mirror: ReplicaRig, block: number, fill: number): void {
  const bytes = primary.write(0, block, 1, fill);
  assert.equal(mirror.replica.accept(bytes).kind, 'appended');
  mirror.reference.addFrame(bytes);
}

function fill(primary: ReplicaRig, mirror: ReplicaRig, count = 10): void {
  for (let i = 0; i < count; i++) send(primary, mirror, i % SMALL_BLOCKS, 0x10 + i);
}

/** Destages everything that is there. */
function drain(rig: ReplicaRig): void {
  rig.replica.commit(rig.replica.marks.received);
  assert.equal(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
}

function format(rig: ReplicaRig): number {
  return rig.replica.superblock.durableValue.format;
}

test('nothing of the sidefile is on the disk, and durable is what is destaged', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  mirror.replica.flush();
  mirror.storage.settle();
  assert.deepEqual([mirror.replica.marks.received, mirror.replica.marks.durable, mirror.told], [10, 0, 0]);
  assert.deepEqual(segmentFiles(mirror.disk), []);
  assert.deepEqual([mirror.replica.inMemory, format(mirror)], [true, 5]);
  drain(mirror);
  assert.deepEqual([mirror.replica.marks.destaged, mirror.replica.marks.durable, mirror.told], [10, 10, 10]);
  mirror.check();
});

test('a kill leaves what is destaged: the copy begins there, unclean', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  drain(mirror);
  send(primary, mirror, 3, 0x77);
  mirror.crash();
  mirror.open();
  mirror.takeBack(10);
  const { marks, unclean, consistent, inMemory } = mirror.replica;
  assert.deepEqual([marks.received, marks.durable, marks.destaged], [10, 10, 10]);
  assert.deepEqual([unclean, consistent, inMemory], [true, true, true]);
  mirror.check();
});

test('a kill at any step of destaging leaves a copy that is whole or says that it is not', () => {
  let mixed = 0;
  for (let steps = 0; ; steps++) {
    const { primary, mirror } = pair();
    fill(primary, mirror);
    drain(mirror);
    for (let i = 0; i < 8; i++) send(primary, mirror, i, 0x80 + i);
    mirror.replica.commit(18);
    let ended = false;
    mirror.replica.drain(() => {
      ended = true;
    });
    for (let i = 0; i < steps && !ended; i++) assert(mirror.storage.step());
    mirror.crash();
    mirror.open();
    mirror.takeBack(10);
    assert.equal(mirror.replica.unclean, true);
    if (mirror.replica.consistent) mirror.check();
    else mixed++;
    const { marks } = mirror.replica;
    assert.deepEqual([marks.received, marks.durable, marks.destageTarget], [marks.destaged, marks.destaged, marks.destaged]);
    if (!ended) continue;
    assert.deepEqual([marks.received, mirror.replica.consistent], [18, true]);
    break;
  }
  assert(mixed > 0, 'some of these kills came in the middle');
});

test('an orderly stop destages what is committed; with that everything is there, and the copy is clean', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  mirror.replica.commit(10);
  assert.equal(
    mirror.wait((done) => mirror.replica.close({ clean: true }, done)),
    null,
  );
  mirror.crash();
  mirror.open();
  assert.deepEqual([mirror.replica.marks.received, mirror.replica.unclean, mirror.replica.inMemory], [10, false, true]);
  mirror.check();
});

test('an orderly stop with records that may yet be cut back leaves an unclean copy without them', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  mirror.replica.commit(7);
  mirror.wait((done) => mirror.replica.close({ clean: true }, done));
  mirror.crash();
  mirror.open();
  mirror.takeBack(7);
  assert.deepEqual([mirror.replica.marks.received, mirror.replica.unclean, mirror.replica.consistent], [7, true, true]);
  mirror.check();
});

test('a kill at any step of the way to the disk loses nothing that was told to be durable, and behind it nothing at all', () => {
  for (let steps = 0; ; steps++) {
    const { primary, mirror } = pair({ segmentBytes: 16 * 1024 });
    fill(primary, mirror, 12);
    mirror.replica.commit(4);
    mirror.wait((done) => mirror.replica.drain(done));
    let ended = false;
    mirror.replica.toDisk(() => {
      ended = true;
    });
    for (let i = 0; i < steps && !ended; i++) assert(mirror.storage.step());
    const { told } = mirror;
    if (ended) assert.deepEqual([mirror.replica.inMemory, told, format(mirror)], [false, 12, 5]);
    mirror.crash();
    mirror.open();
    mirror.takeBack(told);
    const { received } = mirror.replica.marks;
    assert(received === 4 || received === 12, `it holds what was destaged or everything, not ${received}`);
    assert.equal(mirror.replica.inMemory, received === 4);
    mirror.check();
    if (ended) break;
  }
});

test('on the disk records go on, and a reign begins there and not in memory', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  assert.throws(() => mirror.replica.beginEpoch(2, () => undefined), /a reign begins with the sidefile on the disk/);
  const other = pair();
  fill(other.primary, other.mirror);
  other.mirror.wait((done) => other.mirror.replica.toDisk(done));
  send(other.primary, other.mirror, 2, 0x55);
  other.mirror.beginEpoch();
  other.mirror.write(0, 4, 1, 0x66);
  other.mirror.crash();
  other.mirror.open();
  assert.deepEqual([other.mirror.replica.marks.received, other.mirror.replica.inMemory], [12, false]);
  other.mirror.check();
});

test('a sidefile on the disk goes to memory with a start that finds everything destaged, and no earlier', () => {
  const { primary, mirror } = pair({ sidefileInMemory: false });
  fill(primary, mirror);
  mirror.crash();
  const rig = new ReplicaRig({ sidefileInMemory: true }, mirror.disk);
  rig.open();
  assert.deepEqual([rig.replica.marks.received, rig.replica.inMemory], [10, false]);
  rig.replica.commit(10);
  rig.wait((done) => rig.replica.close({ clean: true }, done));
  rig.crash();
  rig.open();
  assert.deepEqual([rig.replica.marks.received, rig.replica.inMemory, rig.replica.unclean], [10, true, false]);
  assert.deepEqual(segmentFiles(rig.disk), []);
});

test('a sidefile in memory goes to the disk with a start that is to have it there, or of a sync copy', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  drain(mirror);
  mirror.wait<unknown>((done) => mirror.replica.superblock.update({ members: [{ site: 'here', mode: 'sync' }] }, done));
  mirror.crash();
  mirror.open();
  assert.deepEqual([mirror.replica.marks.received, mirror.replica.inMemory, format(mirror)], [10, false, 5]);
  const rig = new ReplicaRig({}, mirror.disk);
  rig.open();
  assert.deepEqual([rig.replica.marks.received, rig.replica.inMemory], [10, false]);
});

test('what power losses bring back of an earlier sidefile is removed, and is in the way of nothing', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  drain(mirror);
  mirror.disk.plant('spare-000000000000', new Uint8Array(64));
  mirror.disk.plant('sidefile-000000000000', new Uint8Array(64));
  mirror.crash();
  mirror.open();
  assert.deepEqual(
    mirror.disk.list().filter((name) => /^(spare|sidefile)-/.test(name)),
    [],
  );
  assert.deepEqual([mirror.replica.marks.received, mirror.replica.inMemory], [10, true]);
});

test('records of a resync that have no room in memory go to the disk', () => {
  const { primary, mirror } = pair({ capacityBytes: 64 * 1024, segmentBytes: 16 * 1024 });
  fill(primary, mirror, 2);
  const { epoch, history, chain } = primary.replica;
  mirror.wait((done) => mirror.replica.receiver.begin({ epoch, history, position: 2, chain, rung: 'copy' }, done));
  assert.deepEqual([mirror.replica.consistent, mirror.replica.inMemory], [false, true]);
  for (let i = 0; i < 30; i++) {
    assert.equal(mirror.replica.accept(primary.write(0, i % SMALL_BLOCKS, 1, i)).kind, 'appended');
    mirror.storage.settle();
    assert(mirror.replica.heldBytes < 80 * 1024 || !mirror.replica.inMemory, 'memory has a bound');
  }
  assert.deepEqual([mirror.replica.inMemory, mirror.replica.marks.received], [false, 32]);
});

test('a resync that is staged goes on after a kill, behind its begin', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  const { epoch, history, chain } = primary.replica;
  mirror.wait((done) => mirror.replica.receiver.begin({ epoch, history, position: 10, chain, rung: 'scan' }, done));
  mirror.wait((done) => mirror.replica.receiver.writeImage(0, 0, new Uint8Array(4096).fill(0xee), done));
  mirror.replica.receiver.settled({ volume: 0, offset: 4096 }, 10);
  mirror.storage.settle();
  assert.equal(mirror.replica.receiver.staged?.entries, 1);
  mirror.replica.accept(primary.write(0, 5, 1, 0x99));
  mirror.crash();
  mirror.open();
  const { staged, older } = mirror.replica.receiver;
  assert.deepEqual([staged?.entries, staged?.cursor, older?.seq], [1, { volume: 0, offset: 4096 }, 10]);
  assert.deepEqual([mirror.replica.marks.received, mirror.replica.consistent, mirror.replica.unclean], [10, false, true]);
});

test('a kill in or behind the end of a resync leaves an inconsistent copy, until the records of it are destaged', () => {
  let lost = 0;
  for (let steps = 0; ; steps++) {
    const { primary, mirror } = pair();
    fill(primary, mirror);
    const { epoch, history, chain } = primary.replica;
    mirror.wait((done) => mirror.replica.receiver.begin({ epoch, history, position: 10, chain, rung: 'scan' }, done));
    mirror.wait((done) => mirror.replica.receiver.writeImage(0, 5 * 4096, new Uint8Array(4096).fill(0xee), done));
    const bytes = primary.write(0, 5, 1, 0x99);
    mirror.replica.accept(bytes);
    mirror.replica.commit(11);
    let ended = false;
    mirror.replica.receiver.end(11, () => {
      ended = true;
    });
    for (let i = 0; i < steps && !ended; i++) assert(mirror.storage.step());
    mirror.crash();
    mirror.open();
    const { consistent, receiver, marks } = mirror.replica;
    assert.deepEqual([consistent, marks.received, marks.durable], [false, 10, 10]);
    if (receiver.staged === null) lost++;
    if (ended) break;
  }
  assert(lost > 0, 'some of these kills came when the older volume was gone');
});

test('a disk that fails on the way out of memory fails the copy', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  mirror.disk.faultAt = (operation, file) => (operation === 'write' && file.startsWith('sidefile-') ? 'EIO' : null);
  const failure = mirror.wait((done) => mirror.replica.toDisk(done));
  assert.notEqual(failure, null);
  assert.equal(mirror.failures.length, 1);
});

test('several who want it on the disk are told once each, and one who comes later at once', () => {
  const { primary, mirror } = pair();
  fill(primary, mirror);
  const told: unknown[] = [];
  mirror.replica.toDisk((failure) => told.push(failure));
  mirror.replica.toDisk((failure) => told.push(failure));
  mirror.storage.settle();
  mirror.replica.toDisk((failure) => told.push(failure));
  mirror.storage.settle();
  assert.deepEqual(told, [null, null, null]);
  assert.equal(mirror.replica.accept(primary.append([write(0, 1, 1, 0x42)])).kind, 'appended');
});

test('the way to the disk waits for the begin of a copy, and nothing is dropped from under its flush', () => {
  for (let steps = 0; ; steps++) {
    const { primary, mirror } = pair({ segmentBytes: 16 * 1024 });
    fill(primary, mirror, 12);
    const { epoch, history, chain } = primary.replica;
    const ended: string[] = [];
    mirror.replica.receiver.begin({ epoch, history, position: 12, chain, rung: 'scan' }, () => ended.push('copy'));
    for (let i = 0; i < steps && ended.length === 0; i++) assert(mirror.storage.step());
    const begun = ended.length > 0;
    mirror.replica.toDisk(() => ended.push('disk'));
    mirror.storage.settle();
    assert.deepEqual(ended.toSorted(), ['copy', 'disk']);
    assert.deepEqual([mirror.replica.inMemory, mirror.failures], [false, []]);
    assert.equal(mirror.replica.accept(primary.write(0, 1, 1, 0x42)).kind, 'appended');
    mirror.crash();
    mirror.open();
    assert.deepEqual([mirror.replica.marks.received, mirror.replica.receiver.older?.seq], [13, 12]);
    if (begun) break;
  }
});

test('a crash while the sidefile goes to the disk and something is being destaged leaves a copy that can be opened', () => {
  for (let begin = -4; begin < 6; begin++) {
    for (let steps = 0; steps < 16; steps++) {
      const { primary, mirror } = pair();
      const destageSome = (): void => mirror.replica.work((mirror.now += 1000));
      fill(primary, mirror);
      mirror.replica.flush();
      mirror.storage.settle();
      mirror.replica.commit(6);
      if (begin < 0) destageSome();
      for (let i = -1; i > begin; i--) mirror.storage.step();
      mirror.replica.toDisk();
      for (let i = 0; i < steps; i++) {
        if (i === begin) destageSome();
        mirror.storage.step();
      }
      mirror.crash();
      assert.equal(mirror.tryOpen(), 'ready', `destaging begins at ${begin}, ${steps} steps`);
    }
  }
});
