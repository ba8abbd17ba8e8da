// The tables of outcomes in the documentation say what the simulator does with the real core: all single events, and a sample of the pairs.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { eventsTable, pairRow, pairs, rowsOf } from '../../src/sim/outcomes.ts';

function page(path: string): string {
  return readFileSync(new URL(`../../docs/${path}`, import.meta.url), 'utf8');
}

/** Each so many-th pair is run here; all of them by `npm run docs:outcomes`. */
const SAMPLE = 26;

test('the table of single events is what happens', () => {
  const known = new Set(rowsOf(page('GUARANTEES.md')));
  for (const row of rowsOf(eventsTable())) assert.ok(known.has(row), `not in docs/GUARANTEES.md (npm run docs:outcomes): ${row}`);
});

test('the table of pairs is what happens, in a sample of its rows', () => {
  const rows = rowsOf(page('appendix/two-events.md'));
  const known = new Set(rows);
  assert.equal(rows.length, pairs().length + 1, 'a row for each pair, and the head');
  for (const pair of pairs(SAMPLE)) {
    const row = rowsOf(pairRow(pair))[0] as string;
    assert.ok(known.has(row), `not in docs/appendix/two-events.md (npm run docs:outcomes): ${row}`);
  }
});
