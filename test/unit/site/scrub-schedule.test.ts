// When a scrub begins by itself, and when it works.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ScrubOptions } from '../../../src/core/site/contract.ts';
import { isDue, isWithin, shareOfDay } from '../../../src/core/site/scrub-schedule.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A day by the wall clock, at midnight. */
const MIDNIGHT = 20_000 * DAY;
const at = (hour: number, minute = 0): number => MIDNIGHT + hour * HOUR + minute * 60_000;
const night = { fromMinute: 22 * 60, toMinute: 6 * 60 + 30 };

test('a window holds the minutes from its begin to its end, over midnight too', () => {
  const noon = { fromMinute: 12 * 60, toMinute: 13 * 60 };
  for (const [window, wall, expected] of [
    [noon, at(11, 59), false],
    [noon, at(12), true],
    [noon, at(12, 59), true],
    [noon, at(13), false],
    [night, at(21, 59), false],
    [night, at(22), true],
    [night, at(0), true],
    [night, at(6, 29), true],
    [night, at(6, 30), false],
    [null, at(3), true],
    [{ fromMinute: 60, toMinute: 60 }, at(5), true],
  ] as const)
    assert.equal(isWithin(window, wall), expected, `${JSON.stringify(window)} at ${(wall - MIDNIGHT) / HOUR}`);
  assert.equal(shareOfDay(noon), 1 / 24);
  assert.equal(shareOfDay(night), 8.5 / 24);
  assert.equal(shareOfDay(null), 1);
});

describe('a scrub begins', () => {
  const daily: ScrubOptions = { everyMillis: DAY, algorithm: 'sha256', reportOnly: false, bytesPerSecond: 0, window: night };
  const memory = { lastBegan: null, lastEnded: at(2), run: null };

  test('when the interval since the last one has passed, within its window', () => {
    assert.equal(isDue(daily, memory, at(23)), false);
    assert.equal(isDue(daily, memory, at(24 + 1)), false);
    assert.equal(isDue(daily, memory, at(24 + 2)), true);
    assert.equal(isDue(daily, memory, at(24 + 12)), false, 'the window is closed');
    assert.equal(isDue(daily, memory, at(24 + 22)), true);
  });

  test('not again at once when it was given up', () => {
    const givenUp = { ...memory, lastEnded: at(0) - 3 * DAY, givenUp: at(3) };
    assert.equal(isDue(daily, givenUp, at(3)), false);
    assert.equal(isDue(daily, givenUp, at(24 + 3)), true);
  });

  test('when the clock was set back behind the last one', () => {
    const future = { ...memory, lastEnded: at(0) + 30 * DAY };
    assert.equal(isDue(daily, future, at(3)), true);
    assert.equal(isDue(daily, { ...future, givenUp: at(2) }, at(3)), false, 'but not again at once when it was given up');
  });
});
