// The dashboard for Grafana: it is JSON of the right form, and each metric that it asks for is one that a daemon tells.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { METRICS } from '../../../src/watch/metrics.ts';

interface Dashboard {
  readonly uid: string;
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: string }[] };
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets: readonly { readonly expr: string }[];
  }[];
}

const dashboard = JSON.parse(readFileSync(join(import.meta.dirname, '../../../packaging/grafana/tercet.json'), 'utf8')) as Dashboard;

test('every panel of the dashboard asks for metrics that exist, by labels that they have', () => {
  const known = new Map(METRICS.map(({ name, labels }) => [name, labels]));
  assert.ok(dashboard.panels.length > 10);
  for (const { title, targets } of dashboard.panels) {
    assert.ok(targets.length > 0, title);
    for (const { expr } of targets) {
      const names = [...expr.matchAll(/\btercet_[a-z_]+/g)].map(([name]) => name);
      assert.ok(names.length > 0, expr);
      for (const name of names) assert.ok(known.has(name), `${title}: ${name}`);
      for (const [, name, label] of expr.matchAll(/\b(tercet_[a-z_]+)\{([a-z]+)/g))
        assert.ok(known.get(name as string)?.includes(label as string), `${title}: ${name} has no label ${label}`);
    }
  }
  assert.match(dashboard.templating.list.find(({ name }) => name === 'group')?.query ?? '', /label_values\(tercet_epoch, group\)/);
});

test('no two panels have one place or one number', () => {
  const places = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_none, index) => `${x + (index % w)} ${y + Math.floor(index / w)}`),
  );
  assert.equal(new Set(places).size, places.length);
  assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  for (const { gridPos } of dashboard.panels) assert.ok(gridPos.x + gridPos.w <= 24);
});
