// Work in the background that hosts must not feel: how fast it goes beside them.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { limits } from '../../../src/core/base/limits.ts';
import { Pace } from '../../../src/core/site/pace.ts';

const MIB = 1024 * 1024;
const LEAST = limits.verifyBytesPerSecondMin;

/** What hosts see: how long an answer takes, beside the work and while it rests; the how-manieth it is. */
type Latency = (beside: boolean, i: number) => number;

/** Hosts that are answered every half millisecond, and steps that take `stepMillis` each. */
class Scene {
  readonly pace: Pace = new Pace();
  readonly #stepMillis: number;
  now = 0;
  begunBytes = 0;
  workedMillis = 0;
  #answers = 0;

  constructor(stepMillis = 2) {
    this.#stepMillis = stepMillis;
  }

  run(seconds: number, latency: Latency): this {
    const end = this.now + seconds * 1000;
    while (this.now < end) {
      const bytes = this.pace.stepBytes;
      const begunAt = this.now;
      this.pace.began(bytes, 0, this.now);
      this.pace.working(true, this.now);
      this.begunBytes += bytes;
      this.#answer(this.now + this.#stepMillis, (i) => latency(true, i));
      this.pace.working(false, this.now);
      this.workedMillis += this.now - begunAt;
      this.#answer(this.pace.nextAt, (i) => latency(false, i));
    }
    return this;
  }

  #answer(until: number, latency: (i: number) => number): void {
    while (this.now < until) this.pace.answered(latency(this.#answers++), (this.now += 0.5));
  }

  get mibPerSecond(): number {
    return this.pace.bytesPerSecond / MIB;
  }
}

/** Between 0 and 1, the same for the same number, and without a pattern that steps could fall in with. */
function chanceOf(i: number): number {
  let mixed = Math.imul(i + 1, 0x9e37_79b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85eb_ca77);
  return ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32;
}

/** Latencies between 1 and 2 ms, one in 25 of them up to 10, by no order that has to do with the work. */
const usual = (i: number): number => {
  const chance = chanceOf(i);
  return chance < 0.04 ? 2 + 200 * chance : 1 + chance;
};

describe('beside hosts', () => {
  const cases: readonly { readonly what: string; readonly latency: Latency; readonly from: number; readonly to: number }[] = [
    { what: 'that feel nothing it goes faster and faster', latency: (_, i) => usual(i), from: 8, to: Infinity },
    {
      what: 'that all wait twice as long for it, it stays at the least rate',
      latency: (beside, i) => usual(i) * (beside ? 6 : 1),
      from: 1,
      to: 2,
    },
    {
      what: 'of which one in five waits for it, it goes no faster than five slow answers in a thousand',
      latency: (beside, i) => (beside && i % 5 === 0 ? 15 : usual(i)),
      from: 1,
      to: 6,
    },
    {
      what: 'of which one in two hundred waits for it very long, it does not go faster and faster, though hardly more answers are slow',
      latency: (beside, i) => (beside && chanceOf(i + 1_000_003) < 0.04 ? 40 : usual(i)),
      from: 1,
      to: 6,
    },
    {
      what: 'whose mean it makes longer, but not the slow answers, it goes on: nobody feels that',
      latency: (beside, i) => usual(i) + (beside && usual(i) < 1.5 ? 0.1 : 0),
      from: 8,
      to: Infinity,
    },
  ];
  for (const { what, latency, from, to } of cases)
    test(what, () => {
      const { mibPerSecond } = new Scene().run(20, latency);
      assert(mibPerSecond >= from && mibPerSecond <= to, `${mibPerSecond} MiB/s`);
    });

  test('the rate is halved as soon as answers become slow, and grows again by and by', () => {
    const scene = new Scene().run(20, (_, i) => usual(i));
    const fast = scene.mibPerSecond;
    scene.run(2, (beside, i) => usual(i) * (beside ? 6 : 1));
    assert(scene.mibPerSecond <= fast / 4, `${scene.mibPerSecond} MiB/s after ${fast}`);
    const slow = scene.mibPerSecond;
    scene.run(2, (_, i) => usual(i));
    assert(scene.mibPerSecond > slow && scene.mibPerSecond < fast, `${scene.mibPerSecond} MiB/s after ${slow}`);
  });

  test('steps are small while the rate is low, and it rests nine times as long as a step takes at least', () => {
    const scene = new Scene(4);
    assert.equal(scene.pace.stepBytes, 64 * 1024);
    scene.run(60, () => 1);
    assert.equal(scene.pace.stepBytes, 256 * 1024);
    assert(scene.workedMillis <= scene.now / 9.5, `it worked for ${scene.workedMillis} of ${scene.now} ms`);
  });

  test('that wait for another reason as well it keeps a least rate, or the one that it is given', () => {
    for (const least of [LEAST, 3 * MIB]) {
      // The worst case: every answer beside it is slow, and a step takes as long as the rate allows.
      const scene = new Scene(20);
      scene.pace.leastBytesPerSecond = least;
      scene.run(20, (beside) => (beside ? 50 : 1));
      const resting = scene.now - scene.workedMillis;
      assert(resting / 1000 <= (scene.begunBytes / least) * 1.1, `it rested for ${resting} ms`);
    }
  });
});

test('without hosts it does not rest, and beside the first that comes it begins at the least rate', () => {
  const pace = new Pace();
  pace.began(4 * MIB, 0, 1000);
  pace.working(true, 1000);
  pace.working(false, 1010);
  assert.equal(pace.nextAt, 1010);
  assert.equal(pace.hostsActive(1010), false);
  pace.answered(1, 1010);
  assert.equal(pace.hostsActive(1010), true);
  assert.equal(pace.bytesPerSecond, LEAST);
});

test('a step that looked at nothing is followed by a short rest', () => {
  const pace = new Pace();
  for (const millis of [2, 1000]) {
    pace.answered(1, 5000);
    pace.working(true, 5000);
    pace.answered(1, 5000 + millis);
    pace.working(false, 5000 + millis);
    assert.equal(pace.nextAt, 5000 + millis + Math.min(100, 9 * millis));
  }
});

test('a rate bounds what is begun, and none bounds nothing', () => {
  const pace = new Pace();
  pace.began(1_000_000, 0, 0);
  assert(pace.nextAt <= 0);
  pace.began(1_000_000, 500_000, 0);
  assert.equal(pace.nextAt, 2000);
});
