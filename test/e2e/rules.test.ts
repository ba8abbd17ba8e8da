// The alert rules and the form of the metrics, judged by Prometheus's own tool; and each metric that a rule names exists.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { METRICS, metricsText } from '../../src/watch/metrics.ts';
import { statusSample } from '../unit/cli/sample.ts';

const FOLDER = join(import.meta.dirname, '../../packaging/prometheus');

function promtool(args: readonly string[], input?: string): void {
  const { status, stdout, stderr, error } = spawnSync('promtool', args, { cwd: FOLDER, encoding: 'utf8', input });
  if (error !== undefined) throw error;
  assert.equal(status, 0, `promtool ${args.join(' ')}\n${stdout}${stderr}`);
}

test('the alert rules are sound, fire when they should, and name metrics that exist', () => {
  promtool(['check', 'rules', 'tercet.rules.yml']);
  promtool(['test', 'rules', 'tercet.test.yml']);
  const known = new Set(METRICS.map(({ name }) => name));
  for (const [name] of readFileSync(join(FOLDER, 'tercet.rules.yml'), 'utf8').matchAll(/\btercet_[a-z_]+/g))
    assert.ok(known.has(name), name);
});

test('the operations page has a line for each alert, and no other, and each is tested', () => {
  const names = (text: string, pattern: RegExp): string[] =>
    [...new Set([...text.matchAll(pattern)].map((match) => match[1] as string))].sort();
  const read = (path: string): string => readFileSync(join(FOLDER, path), 'utf8');
  const alerts = names(read('tercet.rules.yml'), /- alert: (\w+)/g);
  assert.deepEqual(names(read('../../docs/operations.md'), /^\| `(Tercet\w+)`/gm), alerts);
  // One that never fires in the tests is not tested.
  const fired = [...read('tercet.test.yml').matchAll(/alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels/g)].map((match) =>
    String(match[1]),
  );
  assert.deepEqual(
    [...new Set(fired)].sort((a, b) => (a < b ? -1 : 1)),
    alerts,
  );
});

test('the metrics have the form that Prometheus reads', () => {
  const groups = [
    { status: statusSample(), rpoSeconds: 5, risks: [{ peer: 'gamma', seconds: 0.2, bound: false, breached: false }] },
    { status: { ...statusSample(), group: 'web' }, rpoSeconds: 0, risks: [] },
  ];
  const process = { residentBytes: 1, cpuSeconds: 1, loopDelaySecondsMax: 0 };
  const hooks = { done: 0, failed: 0, dropped: 0 };
  const events = new Map([['role', 1]]);
  promtool(
    ['check', 'metrics'],
    metricsText({ site: 'alpha', version: '0.1.0', startedAt: 1, certificateEndsAt: 1_800_000_000, groups, events, hooks, process }),
  );
});
