// An hour of a simulated day, with an outage that a small sidefile cannot cover: what must hold of its size does, and a bug in it is found.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { day, type DayResult } from '../../src/sim/day.ts';
import { DAY_PLANTED } from '../../src/sim/planted/day.ts';

const SHOW = fileURLToPath(new URL('../../scripts/show/day.ts', import.meta.url));
const MIB = 1024 * 1024;

function hour(
  guide: DayResult['options']['guide'],
  overflow: DayResult['options']['overflow'],
  more: { recordsMax?: number } = {},
): DayResult {
  return day({ seed: 1, hours: 1, fromHour: 9, guide, overflow, leastBytes: MIB, mostBytes: 8 * MIB, ...more });
}

describe('an hour with a link that comes and goes', () => {
  test('the sidefile stays within its maximum, grows in time, and covers far whenever that allows it', () => {
    const result = hour('newest', 'bitmap');
    assert.equal(result.violation, null, JSON.stringify(result.violation));
    assert.ok(result.outages > 1 && result.uncovered > 0, 'some outage is longer than the sidefile covers');
    assert.ok(result.grown > 0 && result.shrunk > 0 && result.writes > 1000);
    assert.equal(result.looks.length, 60);
    assert.equal(result.looks.at(-1)?.coverage, 'ready');
  });

  test('where writers are slowed down nothing is forgotten, by the other guide neither', () => {
    const result = hour('oldest', 'slow');
    assert.equal(result.violation, null, JSON.stringify(result.violation));
    assert.equal(result.uncovered, 0);
    assert.ok(result.withheld > 0, 'hosts had to wait');
  });

  test('with a fixed count of records no site keeps more of them for far, and far is covered up to there', () => {
    const result = hour('newest', 'bitmap', { recordsMax: 150 });
    assert.equal(result.violation, null, JSON.stringify(result.violation));
    assert.ok(result.uncovered > 0);
    assert.ok(Math.max(...result.looks.map(({ heldBytes }) => heldBytes)) < 4 * MIB, 'it is less than there would be room for');
    assert.equal(result.looks.at(-1)?.coverage, 'ready');
  });

  test('a bug in it is found, and the command says so', () => {
    for (const { name, breaks } of DAY_PLANTED.slice(0, 2)) {
      const found = spawnSync(process.execPath, [SHOW, '--hours', '1', '--from-hour', '9', '--planted', name], { encoding: 'utf8' });
      assert.equal(found.status, 1, found.stderr);
      assert.match(found.stdout, new RegExp(`BROKEN after .* hours: ${breaks}:`));
    }
  });
});
