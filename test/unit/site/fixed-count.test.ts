// A sidefile of a fixed count of records: what counts, how much is left, and that what is not on disk does not use it up.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { HeldTable } from '../../../src/core/mirror/held.ts';
import type { Replica } from '../../../src/core/replica/replica.ts';
import { FixedCount } from '../../../src/core/site/fixed-count.ts';
import { Upkeep } from '../../../src/core/site/upkeep.ts';

test('the records behind what a copy holds count, as far as they are held here', () => {
  const marks = { oldest: 50, received: 100 };
  const count = new FixedCount(40, { marks });
  assert.equal(count.lacking({ keptFrom: 91 }), 10);
  assert.equal(count.share({ keptFrom: 81 }), 0.5);
  assert.equal(count.left({ keptFrom: 81 }), 20);
  assert.equal(count.share({ keptFrom: 101 }), 0);
  assert.equal(count.lacking({ keptFrom: 1 }), 51, 'what is gone is not kept');
  assert.ok(count.share({ keptFrom: 1 }) > 1);
  assert.equal(count.left({ keptFrom: 1 }), 0);
});

test('of a copy that has said nothing in this reign only its records count', () => {
  const marks = { oldest: 50, received: 100 };
  const count = new FixedCount(40, { marks });
  assert.equal(count.lacking({ keptFrom: null }), 0);
  marks.received = 130;
  assert.equal(count.lacking({ keptFrom: null }), 30);
});

test('without a count nothing is used up', () => {
  for (const none of [0, undefined]) {
    const count = new FixedCount(none, { marks: { oldest: 1, received: 1e9 } });
    assert.equal(count.share({ keptFrom: 1 }), 0);
    assert.equal(count.left({ keptFrom: 1 }), Infinity);
  }
});

test('records are flushed before they use up much of the count', () => {
  const flushesAt = (recordsMax: number): readonly number[] => {
    const flushes: number[] = [];
    const marks = { durable: 0, received: 0 };
    const options = { destageIdleMillis: 1000, setAside: { leastBytes: 0, calmMillis: 0 }, recordsMax };
    const upkeep = new Upkeep(options, { lead: () => null, modes: () => [], held: new HeldTable() });
    const flush = (): void => {
      flushes.push(marks.received);
      marks.durable = marks.received;
    };
    for (let now = 0; now < 1000; now += 10) {
      marks.received += 10;
      upkeep.turn({ marks, flush, work: () => undefined } as unknown as Replica, now);
    }
    return flushes;
  };
  assert.deepEqual(flushesAt(0), [10]);
  assert.deepEqual(flushesAt(1600), [10, 220, 430, 640, 850]);
});
