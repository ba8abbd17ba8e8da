// A few random fault schedules on real processes (test/support/chaos.ts); `npm run chaos` runs as many as one likes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Chaos, planSchedule, scheduleText } from '../support/chaos.ts';
import { MIB, withCluster } from '../support/cluster.ts';

/** Each with a cluster of its own: what one has been through does not hide what the others find. */
const RUNS = [
  { first: 1, count: 10, how: 'one connection for each link', group: {} },
  { first: 11, count: 10, how: 'several', group: { streams: '{ beta = 2, gamma = 3 }' } },
  { first: 21, count: 6, how: 'the group in a thread', group: { thread: 'true' } },
];
/** Short ones: the whole file is to take less than a minute on an idle machine. */
const SPAN_MILLIS = 700;

test('a schedule follows from its seed, and seeds differ', () => {
  const texts = Array.from({ length: 200 }, (_, seed) => scheduleText(planSchedule(seed)));
  assert.deepEqual(
    texts,
    Array.from({ length: 200 }, (_, seed) => scheduleText(planSchedule(seed))),
  );
  assert.ok(new Set(texts).size > 190);
  for (const kind of ['kill', 'end', 'freeze', 'cut', 'one-way', 'reset', 'slow'])
    assert.ok(texts.some((text) => text.includes(`${kind} `)));
});

for (const { first, count, how, group } of RUNS) {
  test(`after each of the fault schedules ${first} to ${first + count - 1}, with ${how}, everything that was acknowledged is there, and no read was stale`, async () => {
    await withCluster({ network: true, sizeBytes: 16 * MIB, group }, async (test) => {
      const chaos = new Chaos(test);
      for (let seed = first; seed < first + count; seed++) {
        const { faults, text } = await chaos.run(seed, SPAN_MILLIS);
        assert.equal(faults.length, 0, `seed ${seed} (${text}): ${faults.join('; ')}`);
      }
      await test.compareCopies();
    });
  });
}
