// For whom the event loop is kept awake: a host that asks for one thing after the other, quickly, and nobody else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Awake } from '../../../src/daemon/awake.ts';

/** Turns with so many requests each, so far apart; returns how often it was kept awake. */
function awakened(turns: number, gapMillis: number, requests = 1): number {
  let now = 1000;
  let times = 0;
  const awake = new Awake({ stayAwake: () => times++ }, () => now);
  for (let turn = 0; turn < turns; turn++) {
    now += gapMillis;
    for (let i = 0; i < requests; i++) awake.asked();
    awake.turned();
  }
  return times;
}

test('one request soon after the other', () => {
  assert.ok(awakened(1000, 0.05) > 900);
  assert.equal(awakened(10, 0.05), 0, 'not before that is known');
});

test('not for hosts that think for long, that ask for much at once, or for nothing', () => {
  assert.equal(awakened(1000, 1), 0);
  assert.equal(awakened(1000, 0.05, 8), 0);
  assert.equal(awakened(1000, 0.05, 0), 0);
});

test('no longer once requests come late, one in four of them is enough', () => {
  let now = 0;
  let times = 0;
  const awake = new Awake({ stayAwake: () => times++ }, () => now);
  const ask = (gapMillis: number): void => {
    now += gapMillis;
    awake.asked();
    awake.turned();
  };
  for (let i = 0; i < 200; i++) ask(0.03);
  assert.ok(times > 100);
  for (let i = 0; i < 100; i++) ask(5);
  const before = times;
  for (let i = 0; i < 1000; i++) ask(i % 4 === 0 ? 5 : 0.03);
  assert.equal(times, before);
});
