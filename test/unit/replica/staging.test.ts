// The staging area: what counts of it after a restart, and what it brings into the bases.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PagedBits } from '../../../src/core/base/bits.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { StagingRoom } from '../../../src/core/replica/staging-room.ts';
import { discardStaging, Staging, stagingEntryLayout } from '../../../src/core/replica/staging.ts';
import { chance, digests } from '../../support/records.ts';
import { assertSame, beginResync, ReplicaRig, SMALL_BLOCKS, WIDE_BLOCKS } from '../../support/replica-rig.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { StepStorage } from '../../support/step-storage.ts';

const BLOCKS = 16;
const volumes = [{ sizeBytes: BLOCKS * BLOCK_BYTES }, { sizeBytes: BLOCKS * BLOCK_BYTES }];
const block = (fill: number): Uint8Array => new Uint8Array(BLOCK_BYTES).fill(fill);

test('what the superblock has not counted does not count, and the bases get the rest', () => {
  const storage = new StepStorage(new MemoryStorage());
  const staging = new Staging({ storage, digests, volumes, leaveBytes: () => 0 }, 0);
  const put = (volume: number, at: number, content: Parameters<Staging['put']>[2]): void => {
    let failure: unknown = 'never';
    staging.put(volume, at * BLOCK_BYTES, content, 0, (result) => {
      failure = result;
    });
    storage.settle();
    assert.equal(failure, null);
  };
  put(0, 3, block(0x11));
  put(1, 5, { zeroLength: 2 * BLOCK_BYTES });
  put(0, 9, block(0x22));
  assert.equal(staging.entries, 3);
  assert.equal(storage.open('staging-index', { create: false }).size(), 3 * stagingEntryLayout.bytes);
  staging.close();

  const index = storage.open('staging-index', { create: false });
  const entry = new Uint8Array(stagingEntryLayout.bytes);
  index.read(entry.length, entry);
  index.write(entry.length, [entry.with(20, (entry[20] as number) ^ 1)]);
  const damaged = (): Staging => new Staging({ storage, digests, volumes, leaveBytes: () => 0 }, 2);
  assert.throws(damaged, /read of staging-index failed: EBADMSG/, 'what has rotted since is a failure of the disk');
  index.write(entry.length, [entry]);

  const again = new Staging({ storage, digests, volumes, leaveBytes: () => 0 }, 2);
  assert.deepEqual(again.stretch(0, 3 * BLOCK_BYTES, 10 * BLOCK_BYTES), { length: BLOCK_BYTES, staged: true });
  assert.deepEqual(again.stretch(0, 4 * BLOCK_BYTES, 10 * BLOCK_BYTES), { length: 10 * BLOCK_BYTES, staged: false });
  const bases = volumes.map((_, volume) => {
    const base = storage.open(`base-${volume}`, { create: true });
    base.write(0, [new Uint8Array(BLOCKS * BLOCK_BYTES).fill(0x77)]);
    return base;
  });
  let applied: unknown = 'never';
  again.apply(bases, (failure) => {
    applied = failure;
  });
  storage.settle();
  assert.equal(applied, null);
  const fills = bases.map((base) => {
    const bytes = new Uint8Array(BLOCKS * BLOCK_BYTES);
    base.read(0, bytes);
    return Array.from({ length: BLOCKS }, (_, at) => bytes[at * BLOCK_BYTES]);
  });
  const expected = [Array(BLOCKS).fill(0x77), Array(BLOCKS).fill(0x77)] as [number[], number[]];
  expected[0][3] = 0x11;
  expected[1][5] = 0;
  expected[1][6] = 0;
  assert.deepEqual(fills, expected);
  again.remove();
  discardStaging(storage, volumes.length);
  assert.deepEqual(storage.list(), ['base-0', 'base-1']);
});

test('images of what a base has grown by are staged in an area that was opened before', () => {
  const storage = new StepStorage(new MemoryStorage());
  const staging = new Staging({ storage, digests, volumes, leaveBytes: () => 0 }, 0);
  for (const [at, content] of [
    [BLOCKS, block(0x44)],
    [BLOCKS + 1, { zeroLength: 40 * BLOCK_BYTES }],
  ] as const) {
    let failure: unknown = 'never';
    staging.put(0, at * BLOCK_BYTES, content, 0, (result) => {
      failure = result;
    });
    storage.settle();
    assert.equal(failure, null);
  }
  assert.deepEqual(staging.stretch(0, BLOCKS * BLOCK_BYTES, 100 * BLOCK_BYTES), { length: 41 * BLOCK_BYTES, staged: true });
  const read = new Uint8Array(BLOCK_BYTES);
  staging.fileAt(0).read(BLOCKS * BLOCK_BYTES, read);
  assert.deepEqual(read, block(0x44));
});

test('runs of bits are found over page ends, and pages carry them to another set', () => {
  const bits = new PagedBits();
  bits.add(5, 9);
  bits.add(32_760, 32_780);
  bits.add(1_000_000, 1_000_001);
  assert.equal(bits.count, 25);
  const copy = new PagedBits();
  for (const { index, bytes } of bits.pages()) copy.addPage(index, bytes);
  const runs: number[][] = [];
  for (let run = copy.nextRun(0); run !== null; run = copy.nextRun(run.to)) runs.push([run.from, run.to]);
  assert.deepEqual(runs, [
    [5, 9],
    [32_760, 32_768],
    [32_768, 32_780],
    [1_000_000, 1_000_001],
  ]);
  assert.equal(copy.count, 25);
  assert.ok(copy.has(8) && !copy.has(9));
});

test("space that is set aside is nobody else's until an image takes it, and what must stay free for others stays so", () => {
  const disk = new MemoryStorage();
  disk.spaceBytes = 100 * BLOCK_BYTES;
  let leave = 30;
  const room = new StagingRoom(disk, () => leave * BLOCK_BYTES);
  assert.equal(room.ensure(71 * BLOCK_BYTES)?.code, 'ENOSPC', 'it would leave 29 blocks');
  assert.equal(disk.usedBytes, 0, 'what was refused is given back');
  assert.equal(room.ensure(70 * BLOCK_BYTES), null);
  assert.equal(disk.freeBytes(), 30 * BLOCK_BYTES);
  assert.equal(room.ensure(70 * BLOCK_BYTES), null, 'what is set aside counts');
  assert.equal(room.take(10 * BLOCK_BYTES, 0), null);
  assert.ok(disk.freeBytes() >= 40 * BLOCK_BYTES, 'an image has its space');
  leave = 1000;
  assert.equal(room.take(60 * BLOCK_BYTES, 0), null, 'what was set aside is not asked for again');
  assert.equal(room.take(BLOCK_BYTES, 0)?.code, 'ENOSPC');
});

test('what the bases will grow by stays set aside until everything is given back, restarts included', () => {
  const disk = new MemoryStorage();
  disk.spaceBytes = 100 * BLOCK_BYTES;
  const room = new StagingRoom(disk, () => 0);
  const taken = disk.open('images', { create: true });
  for (let image = 0; image < 5; image++) {
    assert.equal(room.take(10 * BLOCK_BYTES, 8 * BLOCK_BYTES), null);
    taken.write(image * 10 * BLOCK_BYTES, [new Uint8Array(10 * BLOCK_BYTES)]);
  }
  assert.equal(room.take(10 * BLOCK_BYTES, 8 * BLOCK_BYTES)?.code, 'ENOSPC', '90 blocks are taken or owed');
  room.file.close();
  const again = new StagingRoom(disk, () => 0);
  assert.ok(disk.freeBytes() <= 60 * BLOCK_BYTES, '40 blocks are owed to the bases');
  assert.equal(again.take(10 * BLOCK_BYTES, 8 * BLOCK_BYTES)?.code, 'ENOSPC');
  again.release();
  assert.equal(disk.freeBytes(), 50 * BLOCK_BYTES);
});

test('images that are being staged when space runs out are not left behind by those that go into the bases', () => {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, SMALL_BLOCKS, 0x0d);
  rig.replica.commit(1);
  const { epoch, history, chain } = rig.replica;
  const begin = {
    epoch: epoch + 1,
    history: [...history, { epoch: epoch + 1, firstSeq: 2 }],
    position: 1,
    chain,
    rung: 'copy',
    imageBytes: 0,
  } as const;
  assert.equal(
    rig.wait((done) => rig.replica.receiver.begin(begin, done)),
    null,
  );
  const ended: number[] = [];
  const image = (at: number): void =>
    rig.replica.receiver.writeImage(0, at * BLOCK_BYTES, new Uint8Array(8 * BLOCK_BYTES).fill(0x10 + at), (failure) => {
      assert.equal(failure, null);
      ended.push(at);
    });
  image(0);
  // No space for another one, while the first is under way: its write is the oldest event, and all others happen before it.
  rig.disk.spaceBytes = rig.disk.usedBytes;
  image(8);
  image(16);
  for (let i = 0; i < 200; i++) rig.storage.step(rig.storage.waiting > 1 ? 0.999 : 2);
  assert.deepEqual(ended, [], 'nothing goes into a base while an image is on its way to its place beside it');
  rig.storage.settle();
  assert.deepEqual(
    ended.sort((a, b) => a - b),
    [0, 8, 16],
  );
  assert.ok(rig.journal.includes('copy.unstaged'));
  assert.equal(
    rig.wait((done) => rig.replica.receiver.end(1, done)),
    null,
  );
  const wanted = new Uint8Array(SMALL_BLOCKS * BLOCK_BYTES);
  for (const at of [0, 8, 16]) wanted.fill(0x10 + at, at * BLOCK_BYTES, (at + 8) * BLOCK_BYTES);
  assertSame(rig.disk.contentOf('base-small'), wanted, 'the base');
  assert.deepEqual(rig.failures, []);
  assert.deepEqual(
    rig.disk.list().filter((name) => name.startsWith('staging')),
    [],
  );
});

test('a loss of power while a second resync begins leaves the older volume, and what the superblock counts of the first', () => {
  let [before, after] = [0, 0];
  for (let run = 0; run < 40; run++) {
    const { rig, begin } = beginResync();
    rig.wait((done) => rig.replica.receiver.writeImage(0, 0, block(0x11), done));
    rig.replica.receiver.settled({ volume: 0, offset: BLOCK_BYTES }, 1);
    rig.storage.settle();
    assert.equal(rig.replica.superblock.durableValue.staging?.entries, 1);
    rig.replica.receiver.begin(begin, () => undefined);
    for (let step = 0; step < run % 8; step++) rig.storage.step();
    rig.losePower(chance(run), 0.5);
    rig.open();
    const { staging } = rig.replica.superblock.value;
    assert.equal(staging?.older.seq, 1, `run ${run}`);
    const wanted = new Uint8Array(SMALL_BLOCKS * BLOCK_BYTES).fill(0x0d);
    assertSame(rig.disk.contentOf('base-small'), wanted, 'the older volume');
    if (staging.entries === 1) before++;
    else after++;
  }
  assert.ok(before > 0 && after > 0, 'it came before and after the second one counted');
});

const VOLUME_BYTES = (SMALL_BLOCKS + WIDE_BLOCKS) * BLOCK_BYTES;

/**
 * A copy of 0x0d as of record 1, and a resync whose images may not be staged, though there is space for what they write over. `later`: only once the first
 * 8 blocks are staged.
 */
function crowded(clones: boolean, later: boolean): { readonly rig: ReplicaRig; readonly begin: () => void; readonly image: () => void } {
  const rig = new ReplicaRig().start();
  rig.disk.clones = clones;
  rig.write(0, 0, SMALL_BLOCKS, 0x0d);
  rig.replica.commit(1);
  rig.wait((done) => rig.replica.drain(done));
  const { epoch, history, chain } = rig.replica;
  const copy = { epoch: epoch + 1, history: [...history, { epoch: epoch + 1, firstSeq: 2 }], position: 1, chain, rung: 'copy' } as const;
  rig.disk.reserveBytesMax = later ? 8 * BLOCK_BYTES : 0;
  const begin = (): void => rig.replica.receiver.begin({ ...copy, imageBytes: later ? 0 : null }, () => undefined);
  const image = (): void => {
    if (later) rig.wait((done) => rig.replica.receiver.writeImage(0, 0, new Uint8Array(8 * BLOCK_BYTES).fill(0x11), done));
    rig.disk.reserveBytesMax = 0;
    rig.replica.receiver.writeImage(0, 8 * BLOCK_BYTES, new Uint8Array(8 * BLOCK_BYTES).fill(0x12), () => undefined);
  };
  return { rig, begin, image };
}

function assertOlder(rig: ReplicaRig, note: string): void {
  const { receiver, superblock, epoch } = rig.replica;
  assert.equal(receiver.older?.seq, 1, note);
  assert.equal(
    rig.wait((done) => receiver.fallBack(epoch + 1, done)),
    null,
    note,
  );
  assertSame(rig.disk.contentOf('base-small'), new Uint8Array(SMALL_BLOCKS * BLOCK_BYTES).fill(0x0d), note);
  const { consistent, copying, staging, protection = null } = superblock.durableValue;
  assert.deepEqual(
    { consistent, copying, staging, protection },
    { consistent: true, copying: null, staging: null, protection: null },
    note,
  );
  assert.deepEqual(
    rig.disk.list().filter((name) => name.startsWith('protection') || name.startsWith('staging')),
    [],
    note,
  );
}

/** Copies of 0x0d as of record 1, two images of a resync staged beside it and counted, and a bit of the index flipped while it was down. */
function rotted(at: number, ends: boolean): ReplicaRig {
  const { rig } = beginResync();
  for (const image of [0, 1]) rig.wait((done) => rig.replica.receiver.writeImage(0, image * BLOCK_BYTES, block(0x11), done));
  rig.replica.receiver.settled({ volume: 0, offset: 2 * BLOCK_BYTES }, 1);
  rig.storage.settle();
  if (ends) {
    rig.replica.receiver.end(1, () => undefined);
    while (rig.replica.superblock.durableValue.staging?.endSeq === null) rig.storage.step();
  }
  rig.crash();
  const index = rig.disk.open('staging-index', { create: false });
  const byte = new Uint8Array(1);
  index.read(at, byte);
  index.write(at, [Uint8Array.of((byte[0] as number) ^ 0x10)]);
  index.close();
  return rig;
}

test('where the disk has changed the index the start goes well, and the images come again over the older volume', () => {
  for (let at = 0; at < 2 * stagingEntryLayout.bytes; at += 3) {
    const rig = rotted(at, false);
    rig.open();
    rig.storage.settle();
    assert.ok(rig.journal.includes('staging.damaged'), `byte ${at}`);
    const { staging } = rig.replica.superblock.durableValue;
    assert.deepEqual([staging?.entries, staging?.cursor, staging?.upTo], [0, { volume: 0, offset: 0 }, { epoch: 1, seq: 1 }]);
    if (at % 2 === 0) {
      assertOlder(rig, `byte ${at}`);
      continue;
    }
    const { epoch, history } = rig.replica;
    rig.wait((done) => rig.replica.receiver.resume({ epoch, history, cutTo: 1 }, done));
    rig.wait((done) => rig.replica.receiver.writeImage(0, BLOCK_BYTES, block(0x22), done));
    assert.equal(
      rig.wait((done) => rig.replica.receiver.end(1, done)),
      null,
    );
    const wanted = new Uint8Array(SMALL_BLOCKS * BLOCK_BYTES).fill(0x0d);
    wanted.fill(0x22, BLOCK_BYTES, 2 * BLOCK_BYTES);
    assertSame(rig.disk.contentOf('base-small'), wanted, 'what was staged before does not count');
  }
});

test('where the disk has changed the index while the bases are brought to the end, the copy waits for another one', () => {
  for (let at = 0; at < 2 * stagingEntryLayout.bytes; at += 5) {
    const rig = rotted(at, true);
    rig.open();
    rig.storage.settle();
    const { staging, consistent, copying } = rig.replica.superblock.durableValue;
    assert.deepEqual([staging, consistent, copying], [null, false, { fromSeq: 1 }], `byte ${at}`);
    const { epoch, history, chain } = rig.replica;
    const begin = { epoch, history, position: 1, chain, rung: 'copy' } as const;
    rig.wait((done) => rig.replica.receiver.begin(begin, done));
    rig.wait((done) => rig.replica.receiver.writeImage(0, 0, new Uint8Array(SMALL_BLOCKS * BLOCK_BYTES).fill(0x33), done));
    assert.equal(
      rig.wait((done) => rig.replica.receiver.end(1, done)),
      null,
    );
    assertSame(rig.disk.contentOf('base-small'), new Uint8Array(SMALL_BLOCKS * BLOCK_BYTES).fill(0x33), 'filled again');
    assert.deepEqual(
      rig.disk.list().filter((name) => name.startsWith('staging')),
      [],
    );
  }
});

for (const later of [false, true]) {
  test(`where space forbids staging ${later ? 'in the middle' : 'from the beginning'}, protection images are what force goes back to`, () => {
    const { rig, begin, image } = crowded(true, later);
    begin();
    rig.storage.settle();
    image();
    rig.storage.settle();
    assert.ok(rig.journal.includes('copy.unstaged') && rig.journal.includes('copy.protected'));
    const { consistent, staging, protection } = rig.replica.superblock.durableValue;
    assert.deepEqual([consistent, staging, protection?.older.seq], [false, null, 1]);
    assert.equal(rig.disk.contentOf('base-small')[8 * BLOCK_BYTES], 0x12, 'images go straight into the base');
    rig.losePower(chance(1), 0.5);
    rig.open();
    // Anybody who opens it goes on from there.
    assertOlder(rig, 'after a restart');
  });
}

test('a loss of power at any moment of it leaves the older volume to go back to, and so does one while it is gone back to', () => {
  const kinds = { staged: 0, protected: 0, back: 0 };
  for (let run = 0; run < 240; run++) {
    const { rig, begin, image } = crowded(true, run % 2 === 1);
    begin();
    if (run % 3 > 0) {
      rig.storage.settle();
      image();
    }
    const back = run % 3 === 2;
    if (back) {
      rig.storage.settle();
      rig.replica.receiver.fallBack(rig.replica.epoch + 1, () => undefined);
    }
    for (let step = 0; step < Math.floor(run / 6) % 24; step++) rig.storage.step();
    rig.losePower(chance(run), 0.5);
    rig.open();
    const { consistent, staging } = rig.replica.superblock.value;
    kinds[consistent ? 'back' : staging === null ? 'protected' : 'staged']++;
    const content = new Uint8Array(SMALL_BLOCKS * BLOCK_BYTES);
    if (consistent) {
      rig.wait((done) => rig.replica.readCold(0, 0, content, (_needSeq, failure) => done(failure)));
      assertSame(content, content.slice().fill(0x0d), `run ${run}`);
    } else assertOlder(rig, `run ${run}`);
  }
  assert.ok(kinds.staged > 0 && kinds.protected > 0 && kinds.back > 0, JSON.stringify(kinds));
});

/** A copy of 3 records in epoch 1, and a resync behind the first of them by a primary of epoch 2, of which records up to 4 have come. */
function overtaken(): { readonly rig: ReplicaRig; readonly older: { readonly seq: number; readonly chain: number } } {
  const rig = new ReplicaRig().start();
  rig.write(0, 0, 1, 0x01);
  const { chain: position } = rig.replica;
  rig.write(0, 1, 1, 0x02);
  rig.write(0, 2, 1, 0x03);
  rig.replica.commit(3);
  const { chain, history } = rig.replica;
  const copy = { epoch: 2, history: [...history, { epoch: 2, firstSeq: 2 }], position: 1, chain: position, rung: 'scan' } as const;
  rig.wait((done) => rig.replica.receiver.begin({ ...copy, imageBytes: 0 }, done));
  const primary = new ReplicaRig().start();
  primary.write(0, 0, 1, 0x01);
  primary.beginEpoch();
  for (const fill of [0x12, 0x13, 0x14]) assert.equal(rig.replica.accept(primary.write(0, 1, 1, fill)).kind, 'appended');
  rig.replica.flush();
  rig.storage.settle();
  return { rig, older: { seq: 3, chain } };
}

test('while an older volume is gone back to, the copy is never called consistent with a record of the history that it gives up', () => {
  const { rig, older } = overtaken();
  assert.equal(rig.replica.receiver.older?.seq, older.seq);
  let back: unknown = 'not yet';
  rig.replica.receiver.fallBack(3, (failure) => {
    back = failure;
  });
  for (let steps = 0; back === 'not yet'; steps++) {
    const { consistent, marks } = rig.replica;
    if (consistent) assert.equal(rig.replica.chainAt(marks.received), older.chain, `step ${steps}`);
    assert.ok(rig.storage.step(), 'it goes on');
  }
  const { consistent, chain, marks, history } = rig.replica;
  assert.deepEqual([back, consistent, chain, marks.received], [null, true, older.chain, older.seq]);
  assert.deepEqual(history.at(-1), { epoch: 3, firstSeq: older.seq + 1 });
});

test('a loss of power while an older volume is gone back to leaves no record of the history that is given up', () => {
  const kinds = { back: 0, staged: 0 };
  for (let run = 0; run < 120; run++) {
    const { rig, older } = overtaken();
    rig.replica.receiver.fallBack(3, () => undefined);
    for (let step = 0; step < Math.floor(run / 6); step++) rig.storage.step();
    if (run % 3 === 0) rig.crash();
    else rig.losePower(chance(run), 0.5);
    rig.open();
    rig.storage.settle();
    kinds[rig.replica.consistent ? 'back' : 'staged']++;
    if (!rig.replica.consistent)
      assert.equal(
        rig.wait((done) => rig.replica.receiver.fallBack(3, done)),
        null,
        `run ${run}`,
      );
    const ended = rig.replica;
    assert.deepEqual([ended.marks.received, ended.chain, ended.end.epoch], [older.seq, older.chain, 1], `run ${run}`);
    // And what is written from there on is found again.
    rig.append([{ kind: 1, volume: 0, offset: 4096, length: 4096, payload: new Uint8Array(4096).fill(0x31) }]);
    rig.replica.flush();
    rig.storage.settle();
    const { chain } = rig.replica;
    rig.losePower(chance(run), 0.5);
    rig.open();
    assert.deepEqual([rig.replica.marks.received, rig.replica.chain, rig.replica.end.epoch], [older.seq + 1, chain, 3], `run ${run}`);
  }
  assert.ok(kinds.back > 0 && kinds.staged > 0, JSON.stringify(kinds));
});

test('where files cannot share blocks there are no protection images, and a resync that ends needs them no more', () => {
  for (const clones of [false, true]) {
    const { rig, begin, image } = crowded(clones, false);
    begin();
    rig.storage.settle();
    assert.equal(rig.replica.receiver.older?.seq, clones ? 1 : undefined);
    assert.equal(rig.journal.includes('copy.unprotected'), !clones);
    image();
    rig.storage.settle();
    assert.equal(
      rig.wait((done) => rig.replica.receiver.end(1, done)),
      null,
    );
    assert.equal(rig.replica.consistent, true);
    assert.ok(!rig.disk.list().some((name) => name.startsWith('protection')));
    assert.deepEqual(rig.failures, []);
  }
});

test('protection images are given up before what they keep is missing elsewhere', () => {
  const { rig, begin, image } = crowded(true, false);
  begin();
  rig.storage.settle();
  assert.equal(rig.replica.receiver.older?.seq, 1);
  rig.disk.spaceBytes = rig.disk.usedBytes + VOLUME_BYTES - BLOCK_BYTES;
  image();
  rig.storage.settle();
  assert.equal(rig.replica.receiver.older, null);
  assert.equal(rig.replica.superblock.durableValue.protection, null);
  assert.ok(!rig.disk.list().some((name) => name.startsWith('protection')));
  assert.equal(
    rig.wait((done) => rig.replica.receiver.end(1, done)),
    null,
  );
  assert.deepEqual(rig.failures, []);
});
