// Disk space that waits for the sidefile: it is nobody else's, follows what is kept for a copy that lags, and is taken by files as they are made.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeldTable } from '../../../src/core/mirror/held.ts';
import { Amount } from '../../../src/core/replica/amount.ts';
import type { Replica } from '../../../src/core/replica/replica.ts';
import { SetAside, type SidefileGuide } from '../../../src/core/replica/set-aside.ts';
import { Space, type SpaceParts } from '../../../src/core/replica/space.ts';
import { Upkeep } from '../../../src/core/site/upkeep.ts';
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

/** What is set aside at a copy that has 100 records of half a segment each, all in its base image and all held by far, which still keeps those from 41 on. */
function guided(guide: SidefileGuide, from: { primary: boolean; oldest?: number; epoch?: number }): number | null {
  const disk = new MemoryStorage();
  disk.spaceBytes = 200 * MIB;
  const marks = { oldest: 90, destaged: 100, destageTarget: 100, committed: 100, durable: 100, received: 100 };
  const amount = new Amount(64 * MIB);
  for (let seq = 1; seq <= 100; seq++) amount.add(seq, SEGMENT / 2);
  const sidefile = { heldBytes: 11 * (SEGMENT / 2), filesBytes: 6 * SEGMENT, lengthen: () => undefined };
  const options = {
    capacityBytes: 64 * MIB,
    segmentBytes: SEGMENT,
    setAside: { guide, leastBytes: 4 * MIB, calmMillis: CALM },
    storage: disk,
    journal: () => undefined,
  };
  const space = new Space({ options, sidefile, overlays: [], marks, amount, hold: () => Infinity } as unknown as SpaceParts);
  space.retainFrom = 101;
  const held = new HeldTable();
  const oldest = from.oldest === undefined ? {} : { oldest: from.oldest };
  held.take({ epoch: from.epoch ?? 3, number: 1, copies: [{ site: 'far', received: 100, durable: 100, ...oldest }] });
  const lead = from.primary ? { held: { oldest: from.oldest ?? Infinity } } : null;
  const upkeep = new Upkeep({ destageIdleMillis: 1000, setAside: options.setAside }, { lead: () => lead, modes: () => [], held });
  const replica = { marks, epoch: 3, use: space, work: (now: number) => space.watch(now) };
  for (let now = 0; now < 10_000; now += 500) upkeep.turn(replica as unknown as Replica, now);
  assert.equal(space.neededBytes, 0, 'what is kept is not touched by it');
  return space.setAside?.bytes ?? null;
}

test('by its newest record a copy that lacks nothing needs no room, by its oldest one as much as its sidefile holds', () => {
  for (const primary of [true, false]) {
    assert.equal(guided('newest', { primary, oldest: 41 }), 6 * MIB, 'the files that are there');
    assert.equal(guided('oldest', { primary, oldest: 41 }), 60 * MIB, 'twice the 60 records from its oldest on');
    assert.equal(guided('oldest', { primary, oldest: 101 }), 6 * MIB);
    assert.equal(guided('oldest', { primary }), 6 * MIB, 'of one that has said nothing nothing is known');
  }
  assert.equal(guided('oldest', { primary: false, oldest: 41, epoch: 2 }), 6 * MIB, 'what was told in another epoch does not count');
});
