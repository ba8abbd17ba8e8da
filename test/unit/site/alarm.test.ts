// The clock's part in a site: a moment about which a tick does nothing is told of once, and cannot turn the loop in circles.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Alarm } from '../../../src/core/site/alarm.ts';

/** Drives an alarm as the loop does, until `end`: a tick at each moment, at the earliest a millisecond after the one before. */
function ticksUntil(alarm: Alarm, end: number, tick: (now: number) => void): number[] {
  const ticks: number[] = [];
  let now = 0;
  for (;;) {
    now = Math.max(alarm.at(now), now + 1);
    if (now > end) return ticks;
    ticks.push(now);
    tick(now);
    alarm.ticked(now, now);
  }
}

describe('an alarm', () => {
  test('wakes at the earliest moment of its sources', () => {
    const due = { a: 30, b: 20 };
    const alarm = new Alarm(
      [
        { name: 'a', does: 'a is done', at: () => due.a },
        { name: 'b', does: 'b is done', at: () => due.b },
      ],
      () => assert.fail('nothing is wrong'),
    );
    const ticks = ticksUntil(alarm, 100, (now) => {
      if (now >= due.a) due.a = now + 30;
      if (now >= due.b) due.b = now + 20;
    });
    assert.deepEqual(ticks, [20, 30, 40, 60, 80, 90, 100]);
    assert.equal(alarm.restless, null);
  });

  test('does not turn in circles for a moment that nothing is done about, tells of it once, and hears everybody else in time', () => {
    const told: unknown[] = [];
    let due = 10;
    const heard: number[] = [];
    const alarm = new Alarm(
      [
        { name: 'broken', does: 'nothing', at: () => 5 },
        { name: 'sound', does: 'something', at: () => due },
      ],
      (event, facts) => void told.push([event, facts['source']]),
    );
    const ticks = ticksUntil(alarm, 10_000, (now) => {
      if (now < due) return;
      heard.push(now);
      due = now + 100;
    });
    assert.deepEqual(told, [['alarm.restless', 'broken']]);
    assert.deepEqual([alarm.restless?.name, alarm.restless?.does], ['broken', 'nothing']);
    assert.equal(heard.length, 100, 'the other source loses nothing by it');
    assert(ticks.length < heard.length + 60, `${ticks.length} ticks in 10 s`);
  });

  test('hears a source again as before once something was done about it', () => {
    let due = 0;
    const alarm = new Alarm([{ name: 'late', does: 'something', at: () => due }], () => undefined);
    ticksUntil(alarm, 2000, () => undefined);
    assert.notEqual(alarm.restless, null);
    due = 3000;
    alarm.ticked(2500, 2500);
    assert.equal(alarm.restless, null);
    assert.deepEqual(
      ticksUntil(alarm, 3050, (now) => {
        due = now + 10;
      }),
      [3000, 3010, 3020, 3030, 3040, 3050],
    );
  });

  test('takes a sum that was rounded for no fault', () => {
    let due = 5;
    const alarm = new Alarm([{ name: 'rounded', does: 'something', at: () => due }], () => assert.fail('nothing is wrong'));
    // The first tick finds that it is a hair too early.
    let tries = 0;
    ticksUntil(alarm, 1000, (now) => {
      if (++tries % 2 === 0) due = now + 5;
    });
    assert.equal(alarm.restless, null);
  });

  test('ends the process when a moment is no number', () => {
    const alarm = new Alarm([{ name: 'broken', does: 'nothing', at: () => Number.NaN }], () => undefined);
    assert.throws(() => alarm.at(0), /a moment is a number/);
  });
});
