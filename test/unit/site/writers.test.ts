// Writers that are slowed down or stopped for a copy that lags: a closed loop of hosts that write as fast as they may, and a copy that takes so much
// in a second.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Overflow } from '../../../src/core/base/copies.ts';
import { FollowedPeer } from '../../../src/core/mirror/followed.ts';
import { Peer } from '../../../src/core/mirror/peer.ts';
import { Writers } from '../../../src/core/site/writers.ts';

const ROOM = 1000 * 1024 * 1024;
const WRITE = 4096 + 64;
const STEP = 10;

interface Loop {
  readonly overflow: Overflow;
  /** What hosts would write in a second, and what the copy takes; by the time in seconds. */
  readonly wanted: (second: number) => number;
  readonly takes: (second: number) => number;
  readonly seconds: number;
  readonly outrun?: boolean;
  /** Most records that may be kept. */
  readonly countMax?: number;
}

function run({ overflow, wanted, takes, seconds, outrun = false, countMax = Infinity }: Loop): {
  most: number;
  states: string[];
  writtenInLast: number;
  kept: number;
} {
  const states: string[] = [];
  const writers = new Writers((_event, facts) => states.push(String(facts['state'])));
  const peer = new FollowedPeer(new Peer('far', 'async', overflow), 'true', 0.02, 0);
  peer.attach(outrun ? 'copying' : 'following', { received: 0, durable: 0 }, 0);
  peer.outrun = outrun;
  let [kept, most, writtenInLast] = [0, 0, 0];
  for (let now = 0; now < seconds * 1000; now += STEP) {
    for (let left = (wanted(now / 1000) * STEP) / 1000; left > 0 && kept < ROOM && writers.take(WRITE); left -= WRITE) {
      kept += WRITE;
      if (now >= (seconds - 1) * 1000) writtenInLast += WRITE;
    }
    const taken = Math.min(kept, (takes(now / 1000) * STEP) / 1000);
    kept -= taken;
    if (taken > 0) peer.durable++;
    most = Math.max(most, kept);
    writers.turn([peer], { now, roomBytes: ROOM, keptFor: () => kept, countShare: () => kept / WRITE / countMax });
  }
  return { most, states, writtenInLast, kept };
}

const MB = 1024 * 1024;

test('hosts that are faster than the copy are brought to its pace, without going back and forth', () => {
  const { most, states, writtenInLast } = run({ overflow: 'slow', wanted: () => 100 * MB, takes: () => 20 * MB, seconds: 120 });
  assert.deepEqual(states, ['slowed']);
  assert.ok(most < 0.9 * ROOM, `${most}`);
  assert.ok(writtenInLast > 18 * MB && writtenInLast < 22 * MB, `${writtenInLast / MB} MB`);
});

test('an outage is ridden through within the room, and hosts are free again behind it', () => {
  const out = (second: number): boolean => second >= 5 && second < 65;
  const slow = run({ overflow: 'slow', wanted: () => 20 * MB, takes: (second) => (out(second) ? 0 : 60 * MB), seconds: 100 });
  assert.deepEqual(slow.states, ['slowed', 'free']);
  assert.ok(slow.most < 0.9 * ROOM);
  const short = run({ overflow: 'stop', wanted: () => 10 * MB, takes: (second) => (out(second) ? 0 : 60 * MB), seconds: 100 });
  assert.deepEqual([short.states, short.kept], [[], 0]);
  const long = run({ overflow: 'stop', wanted: () => 20 * MB, takes: (second) => (out(second) ? 0 : 60 * MB), seconds: 100 });
  assert.deepEqual(long.states, ['stopped', 'free']);
  assert.ok(long.most < 0.91 * ROOM);
});

test('a copy that stays away stops the writers at nine tenths, slowly or at once', () => {
  for (const overflow of ['slow', 'stop'] as const) {
    const { most, writtenInLast } = run({ overflow, wanted: () => 100 * MB, takes: () => 0, seconds: 300 });
    assert.ok(most > 0.85 * ROOM && most < 0.92 * ROOM, `${overflow} ${most / ROOM}`);
    assert.ok(writtenInLast < 0.5 * MB, `${overflow} ${writtenInLast}`);
  }
});

test('nobody is slowed down for a copy whose blocks may be noted instead, but for one whose resync was outrun', () => {
  const loop = { overflow: 'bitmap', wanted: () => 100 * MB, takes: () => 20 * MB, seconds: 60 } as const;
  assert.deepEqual(run(loop).states, []);
  const { states, most } = run({ ...loop, outrun: true });
  assert.deepEqual(states, ['slowed']);
  assert.ok(most < 0.9 * ROOM);
  // A count of records that is nearer to its end than the room is paces them in the same way.
  const counted = run({ ...loop, outrun: true, countMax: 50_000 });
  assert.deepEqual(counted.states, ['slowed']);
  assert.ok(
    counted.most < 0.9 * 50_000 * WRITE && counted.writtenInLast > 18 * MB && counted.writtenInLast < 22 * MB,
    `${counted.writtenInLast}`,
  );
  // It gets nothing done any more: it is not waited for.
  assert.deepEqual(run({ ...loop, outrun: true, takes: (second) => (second < 30 ? 20 * MB : 0) }).states, ['slowed', 'free']);
});

test('writers that were slowed for a copy that is given up are let through, and never look at a moment that is over', () => {
  const states: string[] = [];
  const writers = new Writers((_event, facts) => states.push(String(facts['state'])));
  const peer = new FollowedPeer(new Peer('far', 'async', 'slow'), 'true', 0.02, 0);
  peer.attach('following', { received: 0, durable: 0 }, 0);
  const ground = (now: number, kept: number): Parameters<Writers['turn']>[1] => ({ now, roomBytes: ROOM, keptFor: () => kept });
  writers.turn([peer], ground(0, 0.8 * ROOM));
  while (writers.take(WRITE)); // Until there is nothing left to write with.
  peer.uncovered = true;
  for (let now = 10; states.length < 2 && now < 60_000; now += STEP) {
    writers.turn([peer], ground(now, 0));
    assert.ok(writers.deadline > now, `at ${now} it wants to look at ${writers.deadline}`);
  }
  assert.deepEqual(states, ['slowed', 'free']);
});
