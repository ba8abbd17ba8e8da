// Points of a replica: it is read as of a position while records come, are destaged, and are cut off.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../../src/core/base/limits.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import type { Point, PointWish } from '../../../src/core/replica/points.ts';
import { chance } from '../../support/records.ts';
import { assertSame, ReplicaRig, SMALL_BLOCKS, VOLUMES, WIDE_BLOCKS, write, zero } from '../../support/replica-rig.ts';

function open(rig: ReplicaRig, wish: PointWish = 'newest', changed: () => void = () => undefined): Point {
  const point = rig.replica.points.open(wish, changed);
  assert(typeof point !== 'string', typeof point === 'string' ? point : '');
  return point;
}

function whyNot(rig: ReplicaRig, wish: PointWish): string {
  const point = rig.replica.points.open(wish, () => undefined);
  assert(typeof point === 'string', 'it is refused');
  return point;
}

/** Everything that is due happens. */
function goOn(rig: ReplicaRig): void {
  for (let i = 0; i < 4; i++) {
    rig.now += 1000;
    rig.replica.flush();
    rig.storage.settle();
    rig.replica.work(rig.now);
    rig.storage.settle();
  }
}

/** Compares both volumes with what they were at the point's record, and looks that nothing is called zero that is not. */
function check(rig: ReplicaRig, point: Point): void {
  const wanted = rig.reference.contentAt(point.seq);
  for (const [volume, { sizeBytes }] of VOLUMES.entries()) {
    const got = new Uint8Array(sizeBytes);
    assert.equal(rig.replica.points.read(point, volume, 0, got), 0);
    assertSame(got, wanted.bytes[volume] as Uint8Array, `volume ${volume} as of record ${point.seq}`);
    for (let at = 0; at < sizeBytes;) {
      for (const extent of rig.replica.points.extents(point, volume, { offset: at, length: sizeBytes - at }, 7)) {
        if (extent.zero) assert(!wanted.bytes[volume]?.subarray(at, at + extent.length).some((byte) => byte !== 0));
        at += extent.length;
      }
    }
  }
}

test('a point is read as it was while its blocks are written again, and nothing behind it is destaged until it ends', () => {
  const rig = new ReplicaRig().start();
  rig.append([write(0, 0, 4, 0x11), write(1, 200, 3, 0x12)]);
  rig.write(0, 2, 4, 0x13);
  rig.replica.commit(3);
  const point = open(rig);
  assert.deepEqual([point.seq, point.epoch, point.timeMillis], [3, 1, 1_700_000_001_000]);
  rig.append([write(0, 0, SMALL_BLOCKS, 0x21), zero('trim', 1, 100, 150)]);
  rig.replica.commit(5);
  rig.replica.work(rig.now);
  check(rig, point);
  goOn(rig);
  assert.equal(rig.replica.marks.destaged, 3);
  assert.equal(rig.replica.nextWork, Infinity, 'there is nothing to wait for but the end of the point');
  check(rig, point);
  rig.check();
  rig.replica.points.end(point, 'enough');
  assert.equal(point.ended, 'enough');
  goOn(rig);
  assert.equal(rig.replica.marks.destaged, 5);
  rig.check();
});

test('a point within a frame has the records before it only, and a younger one has more', () => {
  const rig = new ReplicaRig().start();
  rig.append([write(0, 0, 1, 1), write(0, 1, 1, 2), zero('zeroes', 0, 0, 1), write(0, 1, 2, 4), write(0, 0, 1, 5)]);
  rig.replica.commit(5);
  const points = [2, 4, 5, 3].map((seq) => open(rig, { seq }));
  for (let i = 0; i < 4; i++) rig.replica.work(rig.now);
  for (const point of points) check(rig, point);
  goOn(rig);
  assert.equal(rig.replica.marks.destaged, 2);
  for (const point of points) check(rig, point);
  rig.replica.points.end(points[0] as Point, 'enough');
  goOn(rig);
  assert.equal(rig.replica.marks.destaged, 3);
  for (const point of points.slice(1)) check(rig, point);
  assert.match(whyNot(rig, { seq: 2 }), /^record 2 is in the base image together with later ones: records 3 to 5 can be held here$/);
  assert.match(whyNot(rig, { seq: 6 }), /^record 6 is not committed here yet/);
});

test('a time means everything before the first record that was numbered later', () => {
  const rig = new ReplicaRig().start();
  const times = [1, 2, 3].map((fill) => {
    rig.now += 100;
    rig.append([write(0, fill, 1, fill), write(0, 0, 1, fill)]);
    return 1_700_000_000_000 + rig.now;
  });
  rig.replica.commit(6);
  const { points } = rig.replica;
  assert.equal(points.resolve({ timeMillis: times[0] as number }), 2);
  assert.equal(points.resolve({ timeMillis: (times[2] as number) - 1 }), 4);
  assert.match(String(points.resolve({ timeMillis: times[2] as number })), /^no record of a later time is here yet/);
  assert.match(String(points.resolve({ timeMillis: (times[0] as number) - 1 })), /^everything that is still there is of a later time/);
  const point = open(rig, { timeMillis: times[1] as number });
  goOn(rig);
  assert.equal(point.seq, 4);
  check(rig, point);
});

test('a time between two records is the one before, be it the last that is committed, or the last that was dropped', () => {
  const rig = new ReplicaRig().start();
  const wall = (): number => 1_700_000_000_000 + rig.now;
  for (let i = 0; i < 40; i++) {
    rig.now += 100;
    rig.write(1, i, 2, i + 1);
  }
  const { points } = rig.replica;
  const last = wall();
  rig.replica.commit(40);
  rig.now += 100;
  rig.write(1, 0, 1, 0xee);
  assert.equal(points.resolve({ timeMillis: last + 50 }), 40, 'what is later is not committed, and need not be');
  rig.now += 100;
  rig.write(1, 1, 1, 0xee);
  assert.match(String(points.resolve({ timeMillis: last + 150 })), /^record 41, the last one of that time, is not committed here yet/);
});

test('a time between the last record that was dropped and the first that is held is the record that the base images are as of', () => {
  const rig = new ReplicaRig().start();
  const first = 1_700_000_000_000 + rig.now;
  for (let i = 0; i < 40; i++) {
    rig.now += 100;
    rig.write(1, i, 2, i + 1);
  }
  const { points, marks } = rig.replica;
  do {
    assert(marks.committed < 39, 'a segment goes with its last record');
    rig.replica.commit(marks.committed + 1);
    rig.wait((done) => rig.replica.drain(done));
  } while (marks.oldest <= marks.destaged);
  const dropped = first + 100 * marks.destaged;
  assert.equal(points.resolve({ timeMillis: dropped + 50 }), marks.destaged);
  assert.equal(points.resolve({ timeMillis: dropped }), marks.destaged);
  assert.match(String(points.resolve({ timeMillis: dropped - 50 })), /^everything that is still there is of a later time/);
  const point = open(rig, { timeMillis: dropped + 50 });
  rig.replica.commit(40);
  goOn(rig);
  check(rig, point);
});

test('what is not committed is never part of a point', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 1);
  rig.replica.commit(1);
  rig.write(0, 0, 1, 2);
  const point = open(rig);
  assert.equal(point.seq, 1);
  rig.replica.work(rig.now);
  check(rig, point);
});

test('a cut below a point ends it, one behind it does not', () => {
  const rig = new ReplicaRig().start();
  rig.append([write(0, 0, 1, 1), write(0, 1, 1, 2), write(0, 0, 1, 3)]);
  rig.replica.commit(3);
  const [older, younger] = [open(rig, { seq: 1 }), open(rig, { seq: 3 })];
  for (let i = 0; i < 2; i++) rig.replica.work(rig.now);
  const epoch = rig.replica.epoch + 1;
  const history = [...rig.replica.history, { epoch, firstSeq: 3 }];
  assert.equal(
    rig.wait((done) => rig.replica.adopt({ epoch, history, cutTo: 2, force: true }, done)),
    'done',
  );
  rig.reference.cutTo(2);
  assert.equal(younger.ended, 'the records behind 2 were cut off');
  assert.equal(older.ended, null);
  rig.write(0, 0, 2, 9);
  rig.replica.commit(3);
  goOn(rig);
  check(rig, older);
});

test('a copy that is filled anew, drained, closed or failed holds no position any more', () => {
  const endings: readonly ((rig: ReplicaRig) => void)[] = [
    (rig) => void rig.wait<unknown>((done) => rig.replica.drain(done)),
    (rig) => void rig.wait<unknown>((done) => rig.replica.close({ clean: true }, done)),
    (rig) => {
      const { epoch, history, chain } = rig.replica;
      const begin = {
        epoch: epoch + 1,
        history: [...history, { epoch: epoch + 1, firstSeq: 3 }],
        position: 2,
        chain,
        rung: 'copy',
      } as const;
      rig.wait((done) => rig.replica.receiver.begin(begin, done));
      assert.match(whyNot(rig, 'newest'), /being filled/);
    },
    (rig) => {
      rig.disk.faultAt = (operation) => (operation === 'write' ? 'EIO' : null);
      assert.throws(() => rig.replica.append([write(0, 0, 1, 9)]));
    },
  ];
  for (const [index, ending] of endings.entries()) {
    const rig = new ReplicaRig().start();
    rig.write(0, 0, 1, 1);
    rig.replica.commit(1);
    let told = 0;
    const point = open(rig, 'newest', () => told++);
    rig.replica.work(rig.now);
    rig.write(0, 0, 1, 2);
    rig.replica.commit(2);
    ending(rig);
    assert.notEqual(point.ended, null, `ending ${index}`);
    assert(told > 0);
  }
});

test('when the room that a point takes is needed it ends, and writers never wait for it', () => {
  const rig = new ReplicaRig({ capacityBytes: 256 * 1024 }).start();
  rig.write(1, 0, 1, 1);
  rig.replica.commit(1);
  const point = open(rig);
  goOn(rig);
  for (let i = 0; i < 200; i++) {
    assert.equal(rig.replica.full, false, `writers wait at write ${i}`);
    rig.write(1, i, 1, i);
    rig.replica.commit(rig.reference.end);
    rig.now += 1;
    rig.replica.flush();
    rig.replica.work(rig.now);
    rig.storage.settle();
    if (point.ended === null) check(rig, point);
  }
  assert.equal(point.ended, 'less than a quarter of the room for its sidefile is left');
  assert(rig.journal.includes('point.end'));
  assert(rig.replica.marks.destaged > 1);
  rig.check();
});

test('what a point holds back is no reason to say that the sidefile will be full: it gives way before that', () => {
  const rig = new ReplicaRig({ capacityBytes: 8 * 1024 * 1024 }).start();
  rig.write(1, 0, 1, 1);
  rig.replica.commit(1);
  const point = open(rig);
  goOn(rig);
  const pass = (seconds: number, blocks: number): (number | null)[] =>
    Array.from({ length: seconds }, (_each, i) => {
      if (blocks > 0) rig.write(1, i, blocks, i);
      rig.replica.commit(rig.reference.end);
      rig.now += 1000;
      rig.replica.flush();
      rig.replica.work(rig.now);
      rig.storage.settle();
      return rig.replica.use.fullInSeconds;
    });
  const quiet = (seconds: number): null[] => Array.from({ length: seconds }, () => null);
  assert.deepEqual(pass(30, 20), quiet(30));
  assert(rig.replica.use.neededBytes > 30 * 20 * BLOCK_BYTES, 'so much is kept');
  rig.replica.points.end(point, 'enough');
  assert.deepEqual(pass(10, 1), quiet(10), 'all of it counts at once when the point has ended, and that is no growth');
  // What another copy lacks is one.
  rig.replica.retainFrom = rig.reference.end;
  open(rig);
  const told = pass(30, 20).slice(10);
  assert(
    told.every((seconds) => seconds !== null && seconds > 10 && seconds < 200),
    String(told),
  );
});

test('there are only so many points', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 1);
  rig.replica.commit(1);
  for (let i = 0; i < limits.pointsMax; i++) open(rig);
  assert.match(whyNot(rig, 'newest'), /^8 points of this copy stand already/);
});

test('what points cost in memory is bounded: the one that holds records back is given up, and one that would cost too much is not made', () => {
  const rig = new ReplicaRig().start();
  rig.write(1, 0, 1, 1);
  rig.replica.commit(1);
  const [older, younger] = [open(rig), open(rig)];
  rig.replica.points.blocksMax = 10;
  goOn(rig);
  rig.write(1, 10, 10, 2);
  rig.replica.commit(2);
  rig.replica.work(rig.now);
  assert.equal(older.ended, null);
  rig.write(1, 20, 1, 3);
  rig.replica.commit(3);
  rig.replica.work(rig.now);
  assert.match(String(older.ended), /^more blocks would have to be looked up/);
  rig.replica.work(rig.now);
  assert.notEqual(younger.ended, null, 'it was as old');
  const late = open(rig);
  rig.replica.work(rig.now);
  assert.match(String(late.ended), /^more blocks/);
  goOn(rig);
  rig.check();
  assert.equal(rig.replica.marks.destaged, 3);
});

test('a copy whose sidefile is in memory holds no position', () => {
  const rig = new ReplicaRig({ sidefileInMemory: true });
  rig.create();
  rig.open();
  assert.equal(whyNot(rig, 'newest'), 'the sidefile of this copy is in memory alone');
});

test('a read from the disk that is under way when the point ends has not touched anything that is destaged behind it', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 2, 1);
  rig.replica.commit(1);
  rig.wait((done) => rig.replica.drain(done));
  rig.storage.cold = () => true;
  const point = open(rig);
  const into = new Uint8Array(2 * BLOCK_BYTES);
  assert.equal(rig.replica.points.read(point, 0, 0, into), -1);
  let ended = false;
  rig.replica.points.readCold(point, 0, 0, into, (failure) => {
    assert.equal(failure, null);
    ended = true;
  });
  rig.write(0, 0, 2, 2);
  rig.replica.commit(2);
  rig.replica.work(rig.now);
  for (let i = 0; i < 10 && rig.storage.waiting > 1; i++) rig.storage.step(0.999);
  assert.equal(rig.replica.marks.destaged, 1);
  rig.storage.settle();
  assert.equal(ended, true);
  assert(into.every((byte) => byte === 1));
});

test('whatever happens meanwhile, a point is what the volumes were', () => {
  let read = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const next = chance(seed);
    const pick = (count: number): number => Math.floor(next() * count);
    const rig = new ReplicaRig({ capacityBytes: (1 + pick(3)) * 256 * 1024 }).start();
    let points: Point[] = [];
    for (let i = 0; i < 250; i++) {
      const dice = next();
      const volume = pick(2);
      const blocks = volume === 0 ? SMALL_BLOCKS : WIDE_BLOCKS;
      const at = pick(blocks);
      const long = Math.min(blocks - at, next() < 0.1 ? blocks : 1 + pick(4));
      if (dice < 0.4 && !rig.replica.full) {
        const one = next() < 0.7 ? write(volume, at, long, 1 + pick(250)) : zero(next() < 0.5 ? 'trim' : 'zeroes', volume, at, long);
        rig.append(next() < 0.5 ? [one] : [one, write(0, pick(SMALL_BLOCKS), 1, 1 + pick(250))]);
      } else if (dice < 0.55) rig.replica.commit(rig.replica.marks.committed + pick(1 + rig.reference.end - rig.replica.marks.committed));
      else if (dice < 0.7) {
        rig.now += pick(200);
        if (next() < 0.5) rig.replica.flush();
        rig.replica.work(rig.now);
      } else if (dice < 0.9)
        for (let steps = pick(8); steps > 0 && rig.storage.waiting > 0; steps--) rig.storage.step(next() < 0.5 ? 0 : next());
      else if (dice < 0.95) {
        const { destageTarget, committed } = rig.replica.marks;
        const found = rig.replica.points.open(
          next() < 0.5 ? 'newest' : { seq: destageTarget + pick(1 + Math.max(0, committed - destageTarget)) },
          () => undefined,
        );
        if (typeof found !== 'string') points.push(found);
      } else if (dice < 0.98) {
        const one = points[pick(points.length)];
        if (one !== undefined) rig.replica.points.end(one, 'enough');
      }
      points = points.filter((point) => point.ended === null);
      for (const point of points) {
        if (!point.ready || next() < 0.8) continue;
        read++;
        check(rig, point);
      }
    }
  }
  assert(read > 100, `${read} reads`);
});
