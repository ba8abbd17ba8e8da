// Coverage and forecasts over time: what is made of rates and trends, and which changes are told.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Rate, Trend } from '../../../src/core/base/rate.ts';
import { coverageOf } from '../../../src/core/site/coverage.ts';
import { CoverageWatch } from '../../../src/watch/coverage-watch.ts';
import { coverageSample, statusSample } from '../cli/sample.ts';

test('a rate is that of the last ten seconds, and a short burst is not taken for one', () => {
  const rate = new Rate();
  assert.equal(rate.perSecond(500), 0);
  rate.add(100_000, 600);
  assert.equal(rate.perSecond(100_200), 600);
  for (let second = 101; second < 120; second++) rate.add(second * 1000, 600);
  assert.ok(Math.abs(rate.perSecond(120_000) - 600) <= 60);
  assert.equal(rate.perSecond(140_000), 0);
  // The clock may begin anywhere, and stand still in between.
  const late = new Rate();
  late.add(5, 10);
  late.add(1e9, 10);
  assert.ok(late.perSecond(1e9) <= 1.2);
});

test('a trend says nothing until it has seen some seconds, and then which way the level goes', () => {
  const trend = new Trend();
  for (let at = 0; at <= 3000; at += 500) trend.sample(at, () => at / 10);
  assert.equal(trend.perSecond, null);
  for (let at = 3500; at <= 8000; at += 500) trend.sample(at, () => at / 10);
  assert.equal(trend.perSecond, 100);
  for (let at = 9000; at <= 40_000; at += 1000) trend.sample(at, () => 4000 - at / 10);
  assert.equal(trend.perSecond, -100);
});

test('a state of a pair is told once it has lasted, and one that comes and goes is not told at all', () => {
  const watch = new CoverageWatch();
  const look = (state: 'ready' | 'preparing' | 'not-ready', now: number): readonly string[] => {
    const why = state === 'ready' ? null : 'because';
    const status = statusSample({ coverage: [coverageSample({ state, why })] });
    return watch.look(status, now).map(({ kind, facts }) => `${kind} ${String(facts['was'])} ${String(facts['state'])}`);
  };
  assert.deepEqual([look('preparing', 0), look('preparing', 2), look('ready', 3), look('ready', 5)], [[], [], [], []]);
  assert.deepEqual(look('ready', 6), ['coverage null ready']);
  assert.deepEqual(
    [look('not-ready', 7), look('ready', 7.5), look('not-ready', 8), look('ready', 8.5), look('ready', 20)],
    [[], [], [], [], []],
  );
  assert.deepEqual([look('not-ready', 21), look('not-ready', 22)], [[], ['coverage ready not-ready']]);
});

test('a sidefile that fills is told of once, and that it does not any more only after a while', () => {
  const watch = new CoverageWatch();
  const look = (sidefileFullSeconds: number | null, now: number): readonly string[] =>
    watch.look(statusSample({ coverage: [], sidefileFullSeconds }), now).map(({ kind }) => kind);
  assert.deepEqual([look(null, 0), look(90, 1), look(59, 2), look(40, 3)], [[], [], ['sidefile-filling'], []]);
  assert.deepEqual(
    [look(110, 4), look(130, 5), look(50, 6), look(null, 7), look(null, 11), look(null, 12)],
    [[], [], [], [], [], ['sidefile-eased']],
  );
});

interface Mirror {
  readonly site: string;
  readonly attached?: string;
  readonly knownDurable?: number | null;
  readonly uncovered?: boolean;
  readonly room?: { oldest: number; spaceBytes: number; received: number } | null;
  readonly knows?: number | null;
}

/** States of all pairs at a primary whose sidefile begins at record 50 and ends at 100, with a byte for each record. */
function pairsAt(mirrors: readonly Mirror[], recordsLeft = Infinity): Readonly<Record<string, string>> {
  const full = mirrors.map((mirror) => ({
    attached: 'following',
    knownDurable: 90,
    uncovered: false,
    room: { oldest: 40, spaceBytes: 1000, received: 95 },
    knows: 90,
    ...mirror,
  }));
  const of = (site: string): (typeof full)[number] => full.find((mirror) => mirror.site === site) as (typeof full)[number];
  const inside = {
    role: 'primary',
    options: { site: 'prim', clock: { now: () => 0 } },
    replica: {
      failure: null,
      marks: { oldest: 50, received: 100 },
      spaceLeft: () => 500,
      bytesAfter: (seq: number) => 100 - seq,
      use: { written: () => ({ bytesPerSecond: 10, recordsPerSecond: 10 }) },
    },
    lead: {
      fixed: { left: () => recordsLeft },
      followed: new Map(full.map((mirror) => [mirror.site, mirror])),
      held: { room: (site: string) => of(site).room, knownTo: (site: string) => of(site).knows },
    },
  } as unknown as Parameters<typeof coverageOf>[0];
  return Object.fromEntries(coverageOf(inside).map(({ from, to, state, slackSeconds }) => [`${from} ${to}`, `${state} ${slackSeconds}`]));
}

test('a pair of copies is ready only where everything that this rests on is known', () => {
  const far = (change: Partial<Mirror>): string | undefined => pairsAt([{ site: 'near' }, { site: 'far', ...change }])['near far'];
  const near = (change: Partial<Mirror>): string | undefined => pairsAt([{ site: 'near', ...change }, { site: 'far' }])['near far'];
  assert.equal(far({}), 'ready 99.5');
  // Away, but what it had on its disk is known: near still covers it.
  assert.equal(far({ attached: 'no' }), 'ready 99.5');
  assert.equal(far({ attached: 'copying' }), 'preparing 99.5');
  assert.equal(far({ knownDurable: null }), 'not-ready null');
  assert.equal(far({ knownDurable: 39 }), 'ready 99.5');
  assert.equal(far({ knownDurable: 38 }), 'not-ready null');
  assert.equal(near({ attached: 'no' }), 'not-ready null');
  assert.equal(near({ room: null }), 'preparing 0');
  assert.equal(near({ knows: null }), 'preparing 99.5');
  assert.equal(near({ room: { oldest: 40, spaceBytes: 3, received: 95 } }), 'ready 0');
  const own = (change: Partial<Mirror>): string | undefined => pairsAt([{ site: 'far', ...change }])['prim far'];
  assert.deepEqual([own({}), own({ knownDurable: 49 }), own({ knownDurable: 48 })], ['ready 50', 'ready 50', 'not-ready null']);
  assert.deepEqual([own({ uncovered: true }), own({ knownDurable: null })], ['not-ready null', 'preparing 50']);
  // Ten records are written in a second.
  assert.deepEqual(pairsAt([{ site: 'near' }, { site: 'far' }], 200)['prim far'], 'ready 20');
  assert.deepEqual(pairsAt([{ site: 'near' }, { site: 'far' }], 200)['near far'], 'ready 20');
});
