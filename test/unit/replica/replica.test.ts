// The replica's promises one by one; test/property/replica.test.ts mixes them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DiskError } from '../../../src/core/base/ports.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { RECORD_KIND } from '../../../src/core/record/layout.ts';
import { assertSame, ReplicaRig, VOLUMES, WIDE_BLOCKS, write, zero } from '../../support/replica-rig.ts';

test('a new replica holds nothing and reads as zeroes', () => {
  const rig = new ReplicaRig().start();
  assert.deepEqual(rig.replica.marks, { oldest: 1, destaged: 0, destageTarget: 0, committed: 0, durable: 0, received: 0 });
  assert.deepEqual(rig.replica.end, { epoch: 0, seq: 0 });
  assert.deepEqual(rig.replica.history, [{ epoch: 1, firstSeq: 1 }]);
  assert.equal(rig.replica.consistent, true);
  assert.equal(rig.replica.unclean, false);
  assert.equal(rig.replica.startCount, 1);
  rig.check();
});

test('a folder without a replica is absent, and a replica is made only once', () => {
  const rig = new ReplicaRig();
  assert.equal(rig.tryOpen(), 'absent');
  rig.create();
  rig.open();
  assert.throws(() => rig.create(), /already has a replica/);
});

test('a read gives the newest content and the newest record that is not committed yet', () => {
  const rig = new ReplicaRig().start();
  rig.append([write(0, 1, 2, 0x11), write(0, 2, 1, 0x22)]);
  rig.append([zero('zeroes', 0, 3, 1)]);
  rig.append([write(0, 5, 1, 0x33), write(0, 6, 1, 0x44)]);
  const both = new Uint8Array(2 * BLOCK_BYTES);
  assert.equal(rig.replica.read(0, 5 * BLOCK_BYTES, both), 5);
  assert.deepEqual([both[0], both[BLOCK_BYTES]], [0x33, 0x44]);
  const into = new Uint8Array(3 * BLOCK_BYTES);
  assert.equal(rig.replica.read(0, 1 * BLOCK_BYTES, into), 3);
  assert.equal(into[0], 0x11);
  assert.equal(into[BLOCK_BYTES], 0x22);
  assert.equal(into[2 * BLOCK_BYTES], 0);
  rig.replica.commit(2);
  assert.equal(rig.replica.read(0, 1 * BLOCK_BYTES, into.subarray(0, 2 * BLOCK_BYTES)), 0);
  assert.equal(rig.replica.read(0, 1 * BLOCK_BYTES, into), 3);
  rig.replica.commit(99);
  assert.equal(rig.replica.marks.committed, 5);
  assert.equal(rig.replica.read(0, 1 * BLOCK_BYTES, into), 0);
  rig.check();
});

test('a read that would wait for the disk says so, and its cold form gives the content of its own moment', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 4, 0x31);
  rig.replica.commit(1);
  assert.equal(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
  rig.storage.cold = (name) => name === 'base-small';
  const into = new Uint8Array(4 * BLOCK_BYTES);
  assert.equal(rig.replica.read(0, 0, into), -1);
  rig.write(0, 1, 1, 0x41);
  const answers: number[] = [];
  rig.replica.readCold(0, 0, into, (needSeq, failure) => {
    assert.equal(failure, null);
    answers.push(needSeq);
  });
  // A newer record of the same blocks is committed, durable and due for destaging while the read is under way.
  rig.write(0, 0, 4, 0x51);
  rig.replica.commit(3);
  rig.now += 1000;
  rig.replica.flush();
  rig.replica.work(rig.now);
  assert.equal(answers.length, 0);
  rig.storage.step(0.999);
  while (answers.length === 0) rig.storage.step();
  assert.deepEqual(answers, [2]);
  assert(into.subarray(0, BLOCK_BYTES).every((byte) => byte === 0x31));
  assert(into.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES).every((byte) => byte === 0x41));
  assert(into.subarray(2 * BLOCK_BYTES).every((byte) => byte === 0x31));
  rig.replica.work(rig.now);
  rig.storage.settle();
  assert.equal(rig.replica.marks.destaged, 3);
  rig.check();
});

test('destaging writes to a base only when the cold reads before it have ended', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 2, 0x61);
  rig.replica.commit(1);
  assert.equal(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
  const into = new Uint8Array(2 * BLOCK_BYTES);
  let ended = false;
  rig.replica.readCold(0, 0, into, () => {
    ended = true;
  });
  rig.write(0, 0, 2, 0x71);
  rig.replica.commit(2);
  rig.replica.drain(() => undefined);
  // Everything goes on but the read, which is the oldest event.
  for (let i = 0; i < 20 && rig.storage.waiting > 1; i++) rig.storage.step(0.999);
  assert.equal(ended, false);
  assert.equal(rig.disk.contentOf('base-small')[0], 0x61);
  rig.storage.settle();
  assert.equal(ended, true);
  assert(into.every((byte) => byte === 0x61));
  assert.equal(rig.disk.contentOf('base-small')[0], 0x71);
});

test('destaging waits for every cold read before it, whichever ends first', () => {
  const rig = new ReplicaRig().start();
  const into = [new Uint8Array(BLOCK_BYTES), new Uint8Array(BLOCK_BYTES)];
  const ended: number[] = [];
  for (const [i, bytes] of into.entries()) rig.replica.readCold(0, i * BLOCK_BYTES, bytes, () => ended.push(i));
  rig.write(0, 0, 2, 0x61);
  rig.replica.commit(1);
  rig.replica.drain(() => undefined);
  // Everything goes on but the reads; then the second read ends, and everything goes on but the first.
  for (let i = 0; i < 20 && rig.storage.waiting > 2; i++) rig.storage.step(0.999);
  rig.storage.step(0.999);
  for (let i = 0; i < 20 && rig.storage.waiting > 1; i++) rig.storage.step(0.999);
  assert.deepEqual(ended, [1]);
  assert.equal(rig.replica.marks.destageTarget, 1);
  assert.equal(rig.disk.contentOf('base-small')[0], 0);
  rig.storage.settle();
  assert.deepEqual(ended, [1, 0]);
  assert.equal(rig.replica.marks.destaged, 1);
  assert(into.every((bytes) => bytes.every((byte) => byte === 0)));
});

test('an unaligned write merges with what is there, also with records that are not committed', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 3, 0x10);
  const payload = new Uint8Array(5000).fill(0x20);
  const records = rig.replica.align({ kind: RECORD_KIND.write, volume: 0, offset: 4000, length: 5000, payload });
  assert.deepEqual(
    records.map(({ offset, length }) => ({ offset, length })),
    [{ offset: 0, length: 3 * BLOCK_BYTES }],
  );
  rig.append(records);
  const into = new Uint8Array(3 * BLOCK_BYTES);
  rig.replica.read(0, 0, into);
  assert(into.every((byte, at) => byte === (at >= 4000 && at < 9000 ? 0x20 : 0x10)));
});

test('unaligned zeroes write their edges, an unaligned trim keeps to whole blocks', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 6, 0x10);
  const zeroes = rig.replica.align({ kind: RECORD_KIND.zeroes, volume: 0, offset: 100, length: 3 * BLOCK_BYTES, payload: null });
  assert.deepEqual(
    zeroes.map(({ kind, offset, length }) => [kind, offset, length]),
    [
      [RECORD_KIND.write, 0, BLOCK_BYTES],
      [RECORD_KIND.zeroes, BLOCK_BYTES, 2 * BLOCK_BYTES],
      [RECORD_KIND.write, 3 * BLOCK_BYTES, BLOCK_BYTES],
    ],
  );
  rig.append(zeroes);
  const into = new Uint8Array(6 * BLOCK_BYTES);
  rig.replica.read(0, 0, into);
  assert(into.every((byte, at) => byte === (at >= 100 && at < 100 + 3 * BLOCK_BYTES ? 0 : 0x10)));
  const within = rig.replica.align({ kind: RECORD_KIND.zeroes, volume: 0, offset: 5 * BLOCK_BYTES + 10, length: 20, payload: null });
  assert.deepEqual(
    within.map(({ kind, length }) => [kind, length]),
    [[RECORD_KIND.write, BLOCK_BYTES]],
  );
  const trim = rig.replica.align({ kind: RECORD_KIND.trim, volume: 0, offset: 100, length: 2 * BLOCK_BYTES, payload: null });
  assert.deepEqual(
    trim.map(({ kind, offset, length }) => [kind, offset, length]),
    [[RECORD_KIND.trim, BLOCK_BYTES, BLOCK_BYTES]],
  );
  assert.deepEqual(rig.replica.align({ kind: RECORD_KIND.trim, volume: 0, offset: 100, length: BLOCK_BYTES, payload: null }), []);
});

test('flushes that are asked for while one is under way share the next', () => {
  const rig = new ReplicaRig().start();
  const told: number[] = [];
  const durable = (): number => rig.replica.marks.durable;
  rig.write(0, 0, 1, 1);
  rig.replica.flush();
  rig.write(0, 1, 1, 2);
  rig.replica.flush();
  rig.write(0, 2, 1, 3);
  rig.replica.flush();
  while (rig.storage.step()) told.push(durable());
  assert.deepEqual(told, [1, 3]);
});

test('only what is committed and durable is destaged', () => {
  const rig = new ReplicaRig().start();
  for (let i = 0; i < 4; i++) rig.write(0, i, 1, 0x80 + i);
  rig.replica.commit(2);
  assert.equal(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
  const { destaged, destageTarget, durable } = rig.replica.marks;
  assert.deepEqual({ destaged, destageTarget, durable }, { destaged: 2, destageTarget: 2, durable: 4 });
  const base = rig.disk.contentOf('base-small');
  assert.deepEqual([base[0], base[BLOCK_BYTES], base[2 * BLOCK_BYTES], base[3 * BLOCK_BYTES]], [0x80, 0x81, 0, 0]);
  rig.check();
});

test('the superblock names the target before the first byte of a base changes', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 0x99);
  rig.replica.commit(1);
  rig.wait((done) => {
    rig.replica.flush();
    rig.storage.settle();
    done(null);
  });
  rig.now += 1000;
  rig.replica.work(rig.now);
  assert.equal(rig.replica.superblock.durableValue.destageTarget, 0);
  assert.equal(rig.disk.contentOf('base-small')[0], 0);
  rig.storage.settle();
  assert.equal(rig.replica.superblock.durableValue.destaged, 1);
  assert.equal(rig.disk.contentOf('base-small')[0], 0x99);
});

test('work is due when records are old, or too many, and never when nothing may be destaged', () => {
  const rig = new ReplicaRig().start();
  assert.equal(rig.replica.nextWork, Infinity);
  rig.write(0, 0, 1, 1);
  assert.equal(rig.replica.nextWork, Infinity);
  rig.replica.commit(1);
  assert.equal(rig.replica.nextWork, rig.now + 100);
  rig.replica.work(rig.now + 99);
  assert.equal(rig.storage.waiting, 0);
  rig.now += 100;
  rig.replica.work(rig.now);
  assert(rig.storage.waiting > 0);
  rig.storage.settle();
  rig.replica.work(rig.now);
  rig.storage.settle();
  assert.equal(rig.replica.marks.destaged, 1);
  for (let i = 0; i < 20; i++) rig.write(1, i * 4, 4, 2);
  rig.replica.commit(99);
  assert(rig.replica.nextWork <= rig.now, 'a backlog hurries');
});

test('trims become holes and zeroes are written, in the base as in the overlay', () => {
  const rig = new ReplicaRig().start();
  rig.write(1, 0, WIDE_BLOCKS / 2, 0x77);
  rig.write(1, WIDE_BLOCKS / 2, WIDE_BLOCKS / 2, 0x78);
  rig.replica.commit(2);
  rig.wait((done) => rig.replica.drain(done));
  rig.append([
    zero('trim', 1, 10, 100),
    zero('zeroes', 1, 120, 100),
    write(1, 50, 1, 0x79),
    zero('zeroes', 1, 130, 3),
    zero('trim', 1, 200, 2),
  ]);
  rig.check();
  rig.replica.commit(99);
  rig.check();
  const extents = rig.replica.extents(1, 0, VOLUMES[1].sizeBytes, 100);
  assert.deepEqual(
    extents.map(({ length, hole, zero: zeroed }) => [length / BLOCK_BYTES, hole, zeroed]),
    [
      [10, false, false],
      [40, true, true],
      [1, false, false],
      [59, true, true],
      [10, false, false],
      [80, false, true],
      [2, true, true],
      [18, false, true],
      [80, false, false],
    ],
  );
  rig.wait((done) => rig.replica.drain(done));
  assert.equal(rig.replica.marks.destaged, 7);
  rig.check();
  assertSame(rig.disk.contentOf('base-wide'), rig.reference.now.bytes[1] as Uint8Array, 'the base');
});

test('zeroes over what shows as a hole are punched: the hole may not be on stable storage', () => {
  const rig = new ReplicaRig().start();
  rig.append([zero('zeroes', 1, 6, 2)]);
  rig.replica.commit(1);
  rig.wait((done) => rig.replica.drain(done));
  assert.deepEqual(rig.storage.punched, [{ file: 'base-wide', offset: 6 * BLOCK_BYTES, length: 2 * BLOCK_BYTES }]);
});

test('a sidefile that is full holds writers until it has been destaged and dropped', () => {
  const rig = new ReplicaRig({ capacityBytes: 300 * 1024 }).start();
  while (!rig.replica.full) rig.write(1, rig.reference.end % 100, 2, rig.reference.end & 0xff);
  assert(rig.replica.spaceLeft() <= 0);
  rig.replica.commit(rig.reference.end);
  rig.replica.retainFrom = 1;
  rig.wait((done) => rig.replica.drain(done));
  assert.equal(rig.replica.full, true);
  assert.equal(rig.replica.marks.oldest, 1);
  rig.replica.retainFrom = 20;
  assert.ok(rig.replica.marks.oldest > 1 && rig.replica.marks.oldest <= 20);
  assert.equal(rig.replica.full, false);
  rig.replica.retainFrom = Infinity;
  assert(rig.replica.heldBytes <= 64 * 1024);
  rig.check();
});

test('a frame is taken once, in order, and only when it is of this history', () => {
  const primary = new ReplicaRig().start();
  const mirror = new ReplicaRig();
  mirror.create();
  mirror.open();
  mirror.wait((done) => mirror.replica.adopt({ epoch: 1, history: primary.replica.history, cutTo: 0 }, done));
  const frames = [0, 1, 2].map((i) => primary.append([write(0, i, 1, i + 1), write(0, i + 1, 1, i + 100)]));
  const [first, second, third] = frames as [Uint8Array, Uint8Array, Uint8Array];
  assert.deepEqual(mirror.replica.accept(second), { kind: 'gap', expected: 1 });
  assert.deepEqual(mirror.replica.accept(first), { kind: 'appended', lastSeq: 2 });
  assert.deepEqual(mirror.replica.accept(first), { kind: 'held' });
  const damaged = second.slice();
  damaged[damaged.length - 1] = (damaged.at(-1) as number) ^ 1;
  assert.equal(mirror.replica.accept(damaged).kind, 'damaged');
  assert.equal(mirror.replica.accept(second.subarray(0, 100)).kind, 'damaged');
  assert.deepEqual(mirror.replica.accept(second), { kind: 'appended', lastSeq: 4 });
  assert.deepEqual(mirror.replica.accept(third), { kind: 'appended', lastSeq: 6 });
  assert.equal(mirror.replica.chain, primary.replica.chain);
  assert.deepEqual(mirror.replica.end, primary.replica.end);
  primary.beginEpoch();
  assert.equal(mirror.replica.accept(primary.write(0, 9, 1, 9)).kind, 'foreign');
  assert.equal(mirror.replica.marks.received, 6);
});

test('of a frame that overlaps what is held only the new records are taken, if the old ones are the same', () => {
  const primary = new ReplicaRig().start();
  const other = new ReplicaRig().start();
  const mirror = new ReplicaRig().start();
  const three = [write(0, 1, 1, 1), write(0, 2, 1, 2), write(0, 3, 1, 3)];
  const long = primary.append(three);
  const short = other.append(three.slice(0, 2));
  mirror.replica.accept(short);
  assert.deepEqual(mirror.replica.accept(long), { kind: 'appended', lastSeq: 3 });
  assert.equal(mirror.replica.chain, primary.replica.chain);
  const different = new ReplicaRig().start();
  different.append([write(0, 1, 1, 0xff)]);
  assert.equal(different.replica.accept(long).kind, 'foreign');
  assert.equal(different.replica.marks.received, 1);
  mirror.reference.addFrame(long);
  mirror.check();
});

test('a mirror learns from frames what is committed, and knows it again after a crash', () => {
  const primary = new ReplicaRig().start();
  const mirror = new ReplicaRig().start();
  mirror.replica.accept(primary.write(0, 1, 1, 1));
  primary.replica.commit(1);
  mirror.replica.accept(primary.write(0, 2, 1, 2));
  assert.equal(mirror.replica.marks.committed, 1);
  mirror.crash();
  mirror.open();
  assert.equal(mirror.replica.superblock.value.committed, 0);
  assert.equal(mirror.replica.marks.committed, 1);
});

const textOf = (result: unknown): string => JSON.stringify(result);

/** Follows a primary of the next epoch that has only records up to `cutTo`. */
function follow(rig: ReplicaRig, options: { cutTo: number; force?: boolean }): unknown {
  const history = [...rig.replica.history, { epoch: rig.replica.epoch + 1, firstSeq: options.cutTo + 1 }];
  return rig.wait((done) => rig.replica.adopt({ epoch: rig.replica.epoch + 1, history, ...options }, done));
}

test('adopting an epoch cuts the tail that the new primary does not have', () => {
  const rig = new ReplicaRig().start();
  for (let i = 0; i < 6; i++) rig.write(0, i % 3, 2, i + 1);
  rig.replica.commit(3);
  rig.replica.flush();
  rig.storage.settle();
  assert.equal(follow(rig, { cutTo: 4 }), 'done');
  rig.reference.cutTo(4);
  assert.deepEqual(rig.replica.end, { epoch: 1, seq: 4 });
  assert.equal(rig.replica.epoch, 2);
  assert.equal(rig.replica.marks.durable, 4);
  rig.check();
  rig.told = 4;
  rig.write(0, 5, 1, 0x55);
  assert.deepEqual(rig.replica.end, { epoch: 2, seq: 5 });
  rig.crash();
  rig.open();
  rig.takeBack(5);
  rig.check();
});

test('committed records are cut by force only', () => {
  const rig = new ReplicaRig().start();
  for (let i = 0; i < 4; i++) rig.write(0, i, 1, i + 1);
  rig.replica.commit(3);
  assert.equal(follow(rig, { cutTo: 2, force: true }), 'done');
  assert.equal(rig.replica.marks.committed, 2);
  rig.reference.cutTo(2);
  rig.check();
  const other = new ReplicaRig().start();
  for (let i = 0; i < 4; i++) other.write(0, i, 1, i + 1);
  other.replica.commit(3);
  assert.throws(() => follow(other, { cutTo: 2 }), /only by force/);
});

test('a change that is asked for during another waits for it, and records are refused meanwhile', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 1);
  const bytes = new ReplicaRig().start().write(0, 0, 1, 1);
  const ended: string[] = [];
  const { history } = rig.replica;
  rig.replica.adopt({ epoch: 2, history: [...history, { epoch: 2, firstSeq: 2 }], cutTo: 1 }, (result) =>
    ended.push(`adopted: ${textOf(result)}`),
  );
  rig.replica.receiver.begin({ epoch: 3, history: [{ epoch: 3, firstSeq: 1 }], position: 9, chain: 5, rung: 'copy' }, (failure) =>
    ended.push(`copying: ${textOf(failure)}`),
  );
  rig.replica.adopt({ epoch: 3, history: [{ epoch: 3, firstSeq: 1 }], cutTo: 9 }, (result) => ended.push(`adopted: ${textOf(result)}`));
  assert.equal(rig.replica.changing, true);
  assert.equal(rig.replica.accept(bytes).kind, 'foreign');
  assert.throws(() => rig.replica.append([write(0, 1, 1, 1)]), /during a change/);
  rig.storage.settle();
  assert.deepEqual(ended, ['adopted: "done"', 'copying: null', 'adopted: "needs-copy"']);
  assert.equal(rig.replica.changing, false);
  assert.equal(rig.replica.epoch, 3);
});

test('a cut below what may be in the base needs a whole copy', () => {
  const rig = new ReplicaRig().start();
  for (let i = 0; i < 4; i++) rig.write(0, i, 1, i + 1);
  rig.replica.commit(3);
  rig.wait((done) => rig.replica.drain(done));
  const history = [
    { epoch: 1, firstSeq: 1 },
    { epoch: 2, firstSeq: 3 },
  ];
  assert.equal(
    rig.wait((done) => rig.replica.adopt({ epoch: 2, history, cutTo: 2, force: true }, done)),
    'needs-copy',
  );
  assert.equal(rig.replica.marks.received, 4);
  assert.equal(rig.replica.epoch, 1);
});

test('a cut below the target of a pass that has only begun needs a whole copy', () => {
  const rig = new ReplicaRig().start();
  for (let i = 0; i < 4; i++) rig.write(0, i, 1, i + 1);
  rig.replica.commit(3);
  rig.replica.drain(() => undefined);
  while (rig.replica.marks.destageTarget === 0) rig.storage.step();
  assert.equal(rig.replica.marks.destaged, 0);
  const history = [...rig.replica.history, { epoch: 2, firstSeq: 3 }];
  const results: unknown[] = [];
  rig.replica.adopt({ epoch: 2, history, cutTo: 2, force: true }, (result) => results.push(result));
  rig.storage.settle();
  assert.deepEqual(results, ['needs-copy']);
  assert.equal(rig.replica.marks.destaged, 3);
  rig.check();
});

test('a power loss makes a replica unclean until it is marked clean, also after another start', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 1);
  rig.losePower(() => 0);
  rig.open();
  assert.equal(rig.replica.unclean, true);
  rig.crash();
  rig.open();
  assert.equal(rig.replica.unclean, true);
  assert.equal(rig.replica.startCount, 3);
  assert.equal(
    rig.wait((done) => rig.replica.markClean(done)),
    null,
  );
  rig.crash();
  rig.open();
  assert.equal(rig.replica.unclean, false);
});

test('an orderly stop is clean across a reboot', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 1);
  rig.write(0, 1, 1, 2);
  assert.equal(
    rig.wait((done) => rig.replica.close({ clean: true }, done)),
    null,
  );
  rig.losePower(() => 1);
  rig.open();
  assert.equal(rig.replica.unclean, false);
  rig.takeBack(2);
  rig.check();
});

test('closing waits for what is under way', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 4, 1);
  rig.replica.commit(1);
  rig.replica.drain(() => undefined);
  rig.storage.step();
  rig.storage.step();
  assert.equal(
    rig.wait((done) => rig.replica.close({ clean: false }, done)),
    null,
  );
  assert.equal(rig.storage.waiting, 0);
  assert.equal(rig.buffers.taken, 0);
});

test('a replica of another group or site, or of other volumes, is refused', () => {
  const rig = new ReplicaRig().start();
  const reopen = (overrides: object): string => new ReplicaRig(overrides, rig.disk).tryOpen();
  rig.crash();
  assert.match(reopen({ site: 'there' }), /holds a replica of group "rig" at site "here", not of "rig" at "there"/);
  assert.match(reopen({ group: 'other' }), /not of "other"/);
  assert.match(reopen({ groupId: 'another-id' }), /not of "rig \(another-id\)"/);
  assert.match(reopen({ volumes: [VOLUMES[0]] }), /volume 1 is "wide" in the replica and "none"/);
  assert.match(reopen({ volumes: [VOLUMES[0], { ...VOLUMES[1], sizeBytes: 4096 }] }), /volume wide/);
  assert.equal(reopen({ groupId: '' }), 'ready');
});

test('a failed write is final: the failure is told once and nothing is accepted any more', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 1);
  rig.disk.faultAt = (operation, file) => (operation === 'write' && file.startsWith('sidefile') ? 'EIO' : null);
  assert.throws(() => rig.replica.append([write(0, 1, 1, 2)]), DiskError);
  rig.disk.faultAt = null;
  assert.throws(() => rig.replica.append([write(0, 1, 1, 2)]), DiskError);
  assert.throws(() => rig.replica.read(0, 0, new Uint8Array(10)), DiskError);
  assert.equal(rig.failures.length, 1);
  assert.notEqual(
    rig.wait((done) => rig.replica.drain(done)),
    null,
  );
  assert.notEqual(
    rig.wait((done) => rig.replica.close({ clean: true }, done)),
    null,
  );
  rig.crash();
  rig.open();
  rig.takeBack(1);
  rig.check();
});

test('a failed flush is final and is not tried again', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 1);
  let flushes = 0;
  rig.disk.faultAt = (operation, file) => (operation === 'flush' && file.startsWith('sidefile') && ++flushes > 0 ? 'EIO' : null);
  rig.replica.flush();
  rig.replica.flush();
  rig.storage.settle();
  rig.replica.flush();
  rig.storage.settle();
  assert.equal(flushes, 1);
  assert.equal(rig.replica.marks.durable, 0);
  assert.deepEqual(rig.failures, [{ operation: 'flush', file: 'sidefile-000000000000', code: 'EIO' }]);
});

test('a base that cannot be written fails the replica and leaves its records where they are', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 4, 1);
  rig.replica.commit(1);
  rig.disk.faultAt = (operation, file) => (operation === 'write' && file === 'base-small' ? 'ENOSPC' : null);
  const failure = rig.wait((done) => rig.replica.drain(done));
  assert.deepEqual(failure, { operation: 'write', file: 'base-small', code: 'ENOSPC' });
  assert.equal(rig.replica.marks.destaged, 0);
  rig.disk.faultAt = null;
  rig.crash();
  rig.open();
  rig.takeBack(1);
  rig.check();
});

test('bytes behind a position are never said to be fewer than they are', () => {
  const rig = new ReplicaRig().start();
  const sizes: number[] = [];
  for (let i = 0; i < 50; i++) sizes.push(rig.write(1, i, 1 + (i % 9), i).length);
  for (let seq = 0; seq <= 50; seq++) {
    const truth = sizes.slice(seq).reduce((sum, size) => sum + size, 0);
    const said = rig.replica.bytesAfter(seq);
    assert(said >= truth, `after ${seq}: ${said} is less than ${truth}`);
    assert(said <= truth + 300 * 1024);
  }
  assert.equal(rig.replica.bytesAfter(50), 0);
});

test('a copy begins only when nothing of before is still on its way to a base', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 4, 0x11);
  rig.replica.commit(1);
  rig.replica.drain(() => undefined);
  const base = (): number | undefined => rig.disk.contentOf('base-small')[0];
  while (base() === 0) rig.storage.step();
  // The write to the base is half done, and the oldest event.
  let begun = false;
  const position = 7;
  rig.replica.receiver.begin({ epoch: 2, history: [{ epoch: 2, firstSeq: 1 }], position, chain: 99, rung: 'copy' }, (failure) => {
    assert.equal(failure, null);
    begun = true;
  });
  for (let i = 0; i < 20 && rig.storage.waiting > 1; i++) rig.storage.step(0.999);
  assert.equal(begun, false);
  rig.storage.settle();
  assert.equal(begun, true);
  assert.deepEqual(rig.replica.marks, { oldest: 8, destaged: 7, destageTarget: 7, committed: 7, durable: 7, received: 7 });
  assert.equal(rig.replica.chain, 99);
  assert.deepEqual(rig.replica.end, { epoch: 2, seq: 7 });
});

test('after a copy the bases may hold records up to its end: a cut below needs another copy, also after a restart', () => {
  const primary = new ReplicaRig().start();
  const mirror = new ReplicaRig();
  mirror.create(false);
  mirror.open();
  const { history } = primary.replica;
  assert.equal(
    mirror.wait((done) => mirror.replica.receiver.begin({ epoch: 1, history, position: 0, chain: 0, rung: 'copy' }, done)),
    null,
  );
  for (let i = 0; i < 5; i++) mirror.replica.accept(primary.write(0, i, 1, i + 1));
  const image = primary.reference.now.bytes[0]?.slice() as Uint8Array;
  assert.equal(
    mirror.wait((done) => mirror.replica.receiver.writeImage(0, 0, image, done)),
    null,
  );
  assert.equal(mirror.replica.nextWork, Infinity);
  assert.equal(
    mirror.wait((done) => mirror.replica.receiver.end(4, done)),
    null,
  );
  mirror.crash();
  mirror.open();
  assert.equal(mirror.replica.consistent, true);
  assert.equal(mirror.replica.marks.destageTarget, 4);
  assert.equal(mirror.replica.marks.destaged, 0);
  const longer = [...history, { epoch: 2, firstSeq: 4 }];
  assert.equal(
    mirror.wait((done) => mirror.replica.adopt({ epoch: 2, history: longer, cutTo: 3 }, done)),
    'needs-copy',
  );
  mirror.replica.commit(2);
  assert.equal(
    mirror.wait((done) => mirror.replica.drain(done)),
    null,
  );
  assert.deepEqual([mirror.replica.marks.destaged, mirror.replica.marks.destageTarget], [2, 4]);
  mirror.checkContent(0, primary.reference.now);
});

test('records go on coming while a copy ends', () => {
  const primary = new ReplicaRig().start();
  const mirror = new ReplicaRig();
  mirror.create(false);
  mirror.open();
  const { history } = primary.replica;
  mirror.wait((done) => mirror.replica.receiver.begin({ epoch: 1, history, position: 0, chain: 0, rung: 'copy' }, done));
  mirror.replica.accept(primary.write(0, 0, 1, 1));
  let ended = false;
  mirror.replica.receiver.end(1, () => {
    ended = true;
  });
  assert.equal(mirror.replica.changing, true);
  assert.equal(mirror.replica.accept(primary.write(0, 1, 1, 2)).kind, 'appended');
  mirror.storage.settle();
  assert.equal(ended, true);
  mirror.checkContent(0, primary.reference.now);
});

test('an inconsistent replica starts with an empty sidefile and waits for another copy', () => {
  const primary = new ReplicaRig().start();
  const mirror = new ReplicaRig();
  mirror.create(false);
  mirror.open();
  const { history } = primary.replica;
  mirror.wait((done) => mirror.replica.receiver.begin({ epoch: 1, history, position: 0, chain: 0, rung: 'copy' }, done));
  mirror.replica.accept(primary.write(0, 0, 1, 1));
  mirror.crash();
  mirror.open();
  assert.equal(mirror.replica.consistent, false);
  assert.equal(mirror.replica.marks.received, 0);
  assert.equal(
    mirror.wait((done) => mirror.replica.adopt({ epoch: 1, history, cutTo: 0 }, done)),
    'needs-copy',
  );
});
