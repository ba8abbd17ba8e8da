// The text that Prometheus gets: its form, and that nothing is told that is not known. `promtool check metrics` judges it in test/e2e/rules.test.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SITE_COUNTERS } from '../../../src/core/site/contract.ts';
import type { MetricsGround } from '../../../src/watch/metrics.ts';
import { METRICS, metricsText } from '../../../src/watch/metrics.ts';
import { mirrorSample, peerSample, statusSample } from '../cli/sample.ts';

const ground = (status = statusSample()): MetricsGround => ({
  site: 'alpha',
  version: '0.1.0',
  certificateEndsAt: 1_800_000_000,
  startedAt: 1_700_000_000,
  groups: [{ status, rpoSeconds: 5, risks: [{ peer: 'gamma', seconds: 0.2, bound: false, breached: false }] }],
  events: new Map([['role', 2]]),
  hooks: { done: 1, failed: 0, dropped: 0 },
  process: { residentBytes: 1000, cpuSeconds: 1.5, loopDelaySecondsMax: 0.01 },
});

test('each metric has its help, its type and its values, with the labels that it names', () => {
  const text = metricsText(ground());
  for (const metric of METRICS) {
    for (const [labels] of metric.values(ground())) assert.deepEqual(Object.keys(labels), metric.labels, metric.name);
    assert.match(metric.name, metric.type === 'counter' ? /_total$/ : /^tercet_[a-z_]+(?<!_total)$/);
  }
  assert.match(text, /^# HELP tercet_serving .*\n# TYPE tercet_serving gauge\ntercet_serving\{group="db"\} 1$/m);
  assert.match(text, /^tercet_peer_lag_records\{group="db",peer="gamma"\} 12$/m);
  for (const counter of SITE_COUNTERS) assert.ok(METRICS.some(({ help }) => help.startsWith(`The counter ${counter} `)));
});

test('what a mirror does not know is not told', () => {
  const peers = [peerSample({ attached: 'no', flag: null, lagRecords: null, lagBytes: null, lagSeconds: null, leaseMillis: null })];
  const text = metricsText({ ...ground(mirrorSample({ peers })), groups: [{ status: mirrorSample({ peers }), rpoSeconds: 0, risks: [] }] });
  assert.doesNotMatch(text, /lag_records\{|peer_following|tercet_mirrored|rpo/);
});

test('labels cannot break the form', () => {
  const text = metricsText({ ...ground(), version: 'a"b\\c\nd' });
  assert.match(text, /version="a\\"b\\\\c\\nd"/);
});
