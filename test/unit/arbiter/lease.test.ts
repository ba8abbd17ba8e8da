// Safety rule 2: whatever the delays and the drift of two clocks, a lease ends before the promise that it rests on.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Lease, Promised } from '../../../src/core/arbiter/lease.ts';
import { InvariantError } from '../../../src/core/base/assert.ts';

describe('a lease', () => {
  test('counts from when the heartbeat was sent, less the drift', () => {
    const lease = new Lease(0.02);
    lease.heartbeatSent(1, 1000);
    assert.equal(lease.answered(1, 1500), true);
    assert.equal(lease.until, 1000 + 1470);
    assert.deepEqual([lease.holds(2469.9), lease.holds(2470)], [true, false]);
  });

  test('does not hold before the first answer', () => {
    const lease = new Lease(0.02);
    lease.heartbeatSent(1, 1000);
    assert.equal(lease.holds(1000), false);
  });

  test('goes by the length that the peer promised, not by one of its own', () => {
    const lease = new Lease(0);
    lease.heartbeatSent(1, 0);
    lease.answered(1, 200);
    assert.equal(lease.until, 200);
  });

  test('is not made shorter by a late answer, nor prolonged by one to an old heartbeat', () => {
    const lease = new Lease(0);
    lease.heartbeatSent(1, 0);
    lease.heartbeatSent(2, 250);
    lease.answered(2, 1500);
    assert.equal(lease.until, 1750);
    assert.equal(lease.answered(1, 9000), false);
    assert.equal(lease.until, 1750);
  });

  test('knows no answer twice, and none to a heartbeat that was never sent', () => {
    const lease = new Lease(0);
    lease.heartbeatSent(1, 0);
    assert.equal(lease.answered(2, 1500), false);
    assert.equal(lease.answered(1, 1500), true);
    assert.equal(lease.answered(1, 3000), false);
    assert.equal(lease.until, 1500);
  });

  test('remembers a bounded number of heartbeats', () => {
    const lease = new Lease(0);
    for (let number = 1; number <= 100; number++) lease.heartbeatSent(number, number);
    assert.equal(lease.answered(1, 1500), false);
    assert.equal(lease.answered(100, 1500), true);
  });

  test('that was dropped holds no more, and old answers do not bring it back', () => {
    const lease = new Lease(0);
    lease.heartbeatSent(1, 0);
    lease.heartbeatSent(2, 10);
    lease.answered(1, 1500);
    lease.drop();
    assert.equal(lease.holds(20), false);
    assert.equal(lease.answered(2, 1500), false);
    assert.equal(lease.holds(20), false);
  });

  test('needs a drift that is a small fraction', () => {
    for (const share of [-0.01, 0.5, Number.NaN]) assert.throws(() => new Lease(share), InvariantError);
  });
});

describe('a promise', () => {
  test('is waited out in full by a site that starts: it cannot know what it promised before', () => {
    const promised = new Promised(5000, 1500);
    assert.deepEqual([promised.holds(6499.9), promised.holds(6500)], [true, false]);
  });

  test('is only ever prolonged', () => {
    const promised = new Promised(0, 1500);
    promised.promise(100, 50);
    assert.equal(promised.until, 1500);
    promised.promise(1000, 1500);
    assert.equal(promised.until, 2500);
  });
});

/** One heartbeat of a history: when it was sent, how long it and its answer took, in true time; lost ones never arrive. */
const heartbeat = fc.record({
  pause: fc.nat(700),
  there: fc.nat(900),
  back: fc.nat(900),
  lost: fc.boolean(),
  promise: fc.integer({ min: 100, max: 3000 }),
});

test('a lease never outlives the promise, for clocks that drift apart by no more than the share', () => {
  const share = 0.02;
  // The primary's clock slow and the peer's fast is the bad case: then the primary thinks that less time has passed than the peer does.
  const rate = fc.double({ min: 0.9901, max: 1.0099, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(heartbeat, { minLength: 1, maxLength: 30 }),
      rate,
      rate,
      fc.nat(10_000),
      fc.nat(10_000),
      (beats, own, theirs, ownStart, theirStart) => {
        const ownClock = (true_: number): number => ownStart + true_ * own;
        const theirClock = (true_: number): number => theirStart + true_ * theirs;
        const lease = new Lease(share);
        const promised = new Promised(theirClock(0), 0);
        const events: { at: number; run: () => void }[] = [];
        let sentAt = 0;
        beats.forEach(({ pause, there, back, lost, promise }, number) => {
          sentAt += pause;
          const at = sentAt;
          events.push({ at, run: () => lease.heartbeatSent(number, ownClock(at)) });
          if (lost) return;
          events.push({ at: at + there, run: () => promised.promise(theirClock(at + there), promise) });
          events.push({ at: at + there + back, run: () => lease.answered(number, promise) });
        });
        events.sort((a, b) => a.at - b.at);
        for (const { run } of events) {
          run();
          if (lease.until === -Infinity) continue;
          const leaseEnds = (lease.until - ownStart) / own;
          const promiseEnds = (promised.until - theirStart) / theirs;
          assert.ok(leaseEnds <= promiseEnds + 1e-6, `the lease ends at ${leaseEnds}, the promise at ${promiseEnds}`);
        }
      },
    ),
    { numRuns: 2000 },
  );
});
