// Disk space that waits for the sidefile: it is nobody else's, follows what is kept for a copy that lags, and is taken by files as they are made.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SetAside } from '../../../src/core/replica/set-aside.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';

const MIB = 1024 * 1024;
const SEGMENT = MIB;
const CALM = 60_000;

interface Rig {
  readonly disk: MemoryStorage;
  readonly told: string[];
  readonly open: (leastMib: number) => SetAside;
  /** Lets so many seconds pass in which so much is kept, in so many files. */
  readonly pass: (setAside: SetAside, seconds: number, use: { neededMib: number; files: number }) => void;
}

function rig(spaceMib: number): Rig {
  const disk = new MemoryStorage();
  disk.spaceBytes = spaceMib * MIB;
  const told: string[] = [];
  let now = 0;
  return {
    disk,
    told,
    open: (leastMib) =>
      new SetAside({
        storage: disk,
        journal: (event, facts) => told.push(`${event} ${Number(facts['bytes']) / MIB}`),
        segmentBytes: SEGMENT,
        leastBytes: leastMib * MIB,
        mostBytes: 64 * MIB,
        calmMillis: CALM,
      }),
    pass: (setAside, seconds, { neededMib, files }) => {
      for (const end = now + seconds * 1000; now < end; now += 500)
        setAside.turn(now, () => ({ neededBytes: neededMib * MIB, filesBytes: files * SEGMENT }));
    },
  };
}

test('what is set aside is taken from the disk at once, and given to files as they are made', () => {
  const { disk, open, pass } = rig(100);
  const setAside = open(8);
  assert.equal(setAside.bytes, 0);
  pass(setAside, 1, { neededMib: 0, files: 1 });
  assert.equal(setAside.bytes, 8 * MIB);
  assert.equal(disk.freeBytes(), 93 * MIB, 'the first file is there already');
  setAside.give(SEGMENT);
  assert.equal(setAside.bytes, 8 * MIB);
  assert.equal(disk.freeBytes(), 94 * MIB);
  pass(setAside, 5, { neededMib: 0, files: 2 });
  assert.equal(disk.freeBytes(), 94 * MIB, 'nothing is taken twice');
  for (let file = 0; file < 10; file++) setAside.give(SEGMENT);
  assert.equal(disk.freeBytes(), 100 * MIB, 'more than there is cannot be given');
});

test('it grows before it is needed, no further than the most, and shrinks slowly to the least', () => {
  const { disk, told, open, pass } = rig(100);
  const setAside = open(8);
  pass(setAside, 1, { neededMib: 4, files: 4 });
  assert.equal(setAside.bytes, 8 * MIB, 'half of it is enough');
  pass(setAside, 1, { neededMib: 5, files: 5 });
  assert.equal(setAside.bytes, 16 * MIB);
  pass(setAside, 1, { neededMib: 25, files: 25 });
  assert.equal(setAside.bytes, 50 * MIB);
  pass(setAside, 1, { neededMib: 40, files: 40 });
  assert.equal(setAside.bytes, 64 * MIB);
  assert.deepEqual(told, ['sidefile.set-aside 16', 'sidefile.set-aside 50', 'sidefile.set-aside 64']);
  pass(setAside, 59, { neededMib: 1, files: 2 });
  assert.equal(setAside.bytes, 64 * MIB, 'a link that was gone once is gone again');
  pass(setAside, 3, { neededMib: 1, files: 2 });
  assert.equal(setAside.bytes, 56 * MIB);
  pass(setAside, 8, { neededMib: 1, files: 2 });
  assert.equal(setAside.bytes, 56 * MIB, 'a step takes its time');
  pass(setAside, 1000, { neededMib: 0, files: 2 });
  assert.equal(setAside.bytes, 8 * MIB);
  assert.equal(disk.freeBytes(), 94 * MIB);
});

test('load that comes and goes does not move it back and forth', () => {
  const { told, open, pass } = rig(100);
  const setAside = open(8);
  for (let round = 0; round < 50; round++) {
    pass(setAside, 30, { neededMib: 20, files: 20 });
    pass(setAside, 30, { neededMib: 0, files: 2 });
  }
  assert.deepEqual(told, ['sidefile.set-aside 40']);
});

test('a disk that has no room is tried again, told of once a try, and never for what is there', () => {
  const { disk, told, open, pass } = rig(20);
  const setAside = open(8);
  pass(setAside, 1, { neededMib: 0, files: 1 });
  disk.open('of others', { create: true }).reserve(12 * MIB);
  pass(setAside, 6, { neededMib: 6, files: 6 });
  assert.equal(setAside.bytes, 13 * MIB, 'what it had stays set aside');
  assert.deepEqual(told, ['sidefile.set-aside 16', 'sidefile.set-aside-lack 13']);
  disk.open('of others', { create: false }).truncate(0);
  pass(setAside, 10, { neededMib: 6, files: 6 });
  assert.equal(setAside.bytes, 16 * MIB);
});

test('a restart keeps what was set aside; where nothing is to be any more it is given back', () => {
  const { disk, open, pass } = rig(100);
  const setAside = open(8);
  pass(setAside, 1, { neededMib: 20, files: 20 });
  setAside.close();
  const again = open(8);
  assert.equal(disk.freeBytes(), 80 * MIB);
  pass(again, 1, { neededMib: 20, files: 20 });
  assert.equal(again.bytes, 40 * MIB);
  again.close();
  const none = open(0);
  pass(none, 1, { neededMib: 20, files: 20 });
  assert.equal(none.bytes, null);
  assert.deepEqual(disk.list(), []);
});
