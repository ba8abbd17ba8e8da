// The queue of events, chance and shrinking: what every replay rests on.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { PLANTED, plantInto } from '../../src/sim/planted.ts';
import { DAY_PLANTED } from '../../src/sim/planted/day.ts';
import { Chance } from '../../src/sim/random.ts';
import { makeSchedule } from '../../src/sim/schedule.ts';
import { shrink } from '../../src/sim/shrink.ts';
import { World } from '../../src/sim/world.ts';

describe('the simulated world', () => {
  test('carries out events by time, and those of one time in the order of their entry', () => {
    const world = new World(1);
    const order: number[] = [];
    const chance = new Chance(1, 'test');
    const times = Array.from({ length: 500 }, () => chance.integer(0, 50));
    times.forEach((time, index) => world.at(time, () => order.push(index)));
    world.runUntil(100);
    const expected = times.map((time, index) => ({ time, index })).sort((a, b) => a.time - b.time || a.index - b.index);
    assert.deepEqual(
      order,
      expected.map((item) => item.index),
    );
    assert.equal(world.now, 100);
  });

  test('an event that was taken back does not happen, and none happens before its time', () => {
    const world = new World(1);
    let happened = 0;
    const item = world.after(10, () => happened++);
    world.after(20, () => happened++);
    world.cancel(item);
    world.runUntil(15);
    assert.equal(happened, 0);
    world.runUntil(20);
    assert.equal(happened, 1);
  });

  test('stops at the first violation and remembers only that', () => {
    const world = new World(1);
    world.after(1, () => world.fail('first', 'a'));
    world.after(1, () => world.fail('second', 'b'));
    world.runUntil(10);
    assert.equal(world.violation?.rule, 'first');
    assert.equal(world.now, 1);
  });

  test('chance is the same for the same seed and part, and different for others', () => {
    const draw = (seed: number, part: string): string => {
      const chance = new Chance(seed, part);
      return Array.from({ length: 4 }, () => chance.word()).join(' ');
    };
    assert.equal(draw(7, 'disk'), draw(7, 'disk'));
    assert.notEqual(draw(7, 'disk'), draw(7, 'network'));
    assert.notEqual(draw(7, 'disk'), draw(8, 'disk'));
  });

  test('chance is spread evenly enough', () => {
    const chance = new Chance(3, 'spread');
    const buckets = Array.from({ length: 10 }, () => 0);
    for (let i = 0; i < 100_000; i++) buckets[chance.integer(0, 9)]!++;
    for (const bucket of buckets) assert.ok(bucket > 9500 && bucket < 10_500, buckets.join(' '));
  });

  test('a schedule of faults follows from its seed', () => {
    const make = (seed: number): string =>
      JSON.stringify(makeSchedule(new Chance(seed, 'schedule'), { from: 0, to: 30_000, siteCount: 3, leaseMillis: 1000 }));
    assert.equal(make(5), make(5));
    assert.notEqual(make(5), make(6));
  });

  test('shrinking leaves only what the failure needs', () => {
    const items = Array.from({ length: 40 }, (_, index) => index);
    const small = shrink(items, (list) => list.includes(7) && list.includes(31), 1000);
    assert.deepEqual(small.items, [7, 31]);
  });
});

describe('planted bugs', () => {
  test('an edit must fit exactly once', () => {
    const edit = { file: 'f', find: 'a < b', replace: 'a <= b' };
    assert.equal(plantInto('x', edit, 'if (a < b) c();'), 'if (a <= b) c();');
    assert.throws(() => plantInto('x', edit, 'nothing here'), /0 times/);
    assert.throws(() => plantInto('x', edit, 'a < b; a < b'), /2 times/);
  });

  test('each has a name of its own', () => {
    assert.equal(new Set(PLANTED.map((bug) => bug.name)).size, PLANTED.length);
  });

  test('each fits the source as it is now', () => {
    for (const bug of [...PLANTED, ...DAY_PLANTED]) {
      const sources = new Map<string, string>();
      for (const edit of bug.edits) {
        const source = sources.get(edit.file) ?? readFileSync(new URL(`../../src/core/${edit.file}`, import.meta.url), 'utf8');
        sources.set(edit.file, plantInto(bug.name, edit, source));
      }
    }
  });
});
