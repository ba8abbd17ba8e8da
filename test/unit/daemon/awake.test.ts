// For whom the event loop is kept awake: a host that asks for one thing after the other, quickly, and nobody else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Awake } from '../../../src/daemon/awake.ts';

/** Turns with so many requests each, so far apart; returns how often it was kept awake. */
function awakened(turns: number, gapMillis: number, requests = 1): number {
  let now = 1000;
  let times = 0;
  const awake = new Awake({ stayAwake: () => times++, sleep: () => undefined }, () => now);
  for (let turn = 0; turn < turns; turn++) {
    now += gapMillis;
    for (let i = 0; i < requests; i++) awake.asked(false);
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
  const awake = new Awake({ stayAwake: () => times++, sleep: () => undefined }, () => now);
  const ask = (gapMillis: number): void => {
    now += gapMillis;
    awake.asked(false);
    awake.turned();
  };
  for (let i = 0; i < 200; i++) ask(0.03);
  assert.ok(times > 100);
  for (let i = 0; i < 100; i++) ask(5);
  const before = times;
  for (let i = 0; i < 1000; i++) ask(i % 4 === 0 ? 5 : 0.03);
  assert.equal(times, before);
});

test('not while a flush is waited for, however soon it comes', () => {
  let now = 0;
  const told: string[] = [];
  const awake = new Awake({ stayAwake: () => told.push('awake'), sleep: () => told.push('asleep') }, () => now);
  const ask = (flushes: boolean): void => {
    now += 0.03;
    awake.asked(flushes);
    awake.turned();
  };
  for (let i = 0; i < 100; i++) ask(false);
  assert.equal(told.at(-1), 'awake');
  ask(true);
  assert.equal(told.at(-1), 'asleep');
  ask(false);
  assert.equal(told.at(-1), 'awake', 'one flush now and then changes nothing');
  for (let i = 0; i < 100; i++) ask(i % 2 === 0);
  const before = told.filter((each) => each === 'awake').length;
  for (let i = 0; i < 100; i++) ask(i % 2 === 0);
  assert.equal(told.filter((each) => each === 'awake').length, before, 'a host that flushes after each write is let sleep');
});
