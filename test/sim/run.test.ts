// Whole runs of the real core: a seed gives the same run each time, the rules hold in it, and a bug planted in the core is found.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { run } from '../../src/sim/run.ts';

const MAIN = fileURLToPath(new URL('../../src/sim/main.ts', import.meta.url));

describe('a simulated group', () => {
  test('keeps every rule, and a seed replays exactly', () => {
    let acknowledged = 0;
    for (const seed of [1, 2, 3, 4, 5, 6, 7]) {
      const first = run({ seed });
      assert.equal(first.violation, null, JSON.stringify(first.violation));
      acknowledged += first.acknowledged;
      const again = run({ seed });
      assert.equal(again.hash, first.hash);
      assert.equal(again.events, first.events);
    }
    assert.ok(acknowledged > 0);
  });

  test('a run without faults settles and acknowledges mirrored writes', () => {
    const quiet = run({ seed: 11, schedule: [], chaosMillis: 2000 });
    assert.equal(quiet.violation, null, JSON.stringify(quiet.violation));
    assert.equal(quiet.settled, quiet.settled === null ? null : true);
    assert.ok((quiet.coverage.get('answer mirrored') ?? 0) > 0);
  });

  test('a planted bug is found, and the simulator says by which rule', () => {
    const found = spawnSync(process.execPath, [MAIN, '--planted', 'acknowledges before the peer holds it', '--seeds', '5', '--jobs', '1'], {
      encoding: 'utf8',
    });
    assert.match(found.stdout, /1 of 1 planted bugs were found/);
    assert.equal(found.status, 0, found.stderr);
  });

  test('an unknown planted bug is refused by name', () => {
    const refused = spawnSync(process.execPath, [MAIN, '--planted', 'no such bug', '--seed', '1'], { encoding: 'utf8' });
    assert.equal(refused.status, 2);
    assert.match(refused.stderr, /there is no planted bug "no such bug"/);
  });
});
