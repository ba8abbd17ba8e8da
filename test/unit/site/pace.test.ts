// Work in the background that hosts must not feel: how long it rests after each piece.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../../src/core/base/limits.ts';
import { Pace } from '../../../src/core/site/pace.ts';

const MIB = 1024 * 1024;

/** Pieces of 10 ms each with hosts answered all along; returns how long it rested after the last of them. */
function rests(pieces: number, latency: (working: boolean, i: number) => number): number {
  const pace = new Pace();
  let now = 0;
  let rested = 0;
  for (let piece = 0; piece < pieces; piece++) {
    pace.working(true, now);
    pace.began(64 * MIB, 0, now);
    for (let i = 0; i < 20; i++) pace.answered(latency(true, piece * 20 + i), (now += 0.5));
    pace.working(false, now);
    rested = pace.nextAt - now;
    for (let i = 0; now < pace.nextAt; i++) pace.answered(latency(false, i), (now += 0.5));
  }
  return rested;
}

test('work that hosts do not feel rests three times as long as it lasts, and without hosts not at all', () => {
  assert.equal(Math.round(rests(50, () => 1)), 30);
  const pace = new Pace();
  pace.working(true, 1000);
  pace.working(false, 1010);
  assert.equal(pace.nextAt, 1010);
});

test('work that makes hosts wait rests longer and longer', () => {
  assert(rests(50, (working) => (working ? 2 : 1)) > 300);
});

test('work that makes one answer in five much slower rests longer, though most are quick', () => {
  const quiet = (i: number): number => 1 + (i % 10) / 10;
  assert(rests(60, (working, i) => (working && i % 5 === 0 ? 1.95 : working ? quiet(i) * 0.9 : quiet(i))) > 100);
});

test('a rate bounds what is begun, and none bounds nothing', () => {
  const pace = new Pace();
  pace.began(1_000_000, 0, 0);
  assert(pace.nextAt <= 0);
  pace.began(1_000_000, 500_000, 0);
  assert.equal(pace.nextAt, 2000);
});

test('hosts that wait for another reason as well do not stop it: it keeps a least rate', () => {
  const pace = new Pace();
  let now = 0;
  let begun = 0;
  while (begun < 64 * MIB) {
    pace.working(true, now);
    pace.began(MIB / 4, 0, now);
    begun += MIB / 4;
    // The worst case: every answer while it works is slow.
    for (let i = 0; i < 20; i++) pace.answered(50, (now += 1));
    pace.working(false, now);
    while (now < pace.nextAt) pace.answered(1, (now += 1));
  }
  const atWork = (begun / (MIB / 4)) * 20;
  assert((now - atWork) / 1000 <= (begun / limits.verifyBytesPerSecondMin) * 1.1, `it rested for ${now - atWork} ms`);
});
