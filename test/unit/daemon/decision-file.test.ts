// The file of decisions: kept across restarts, bounded, and no danger to anybody when it is torn or cannot be written.

import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';

import { limits } from '../../../src/core/base/limits.ts';
import type { Decision } from '../../../src/core/site/contract.ts';
import { DecisionFile } from '../../../src/daemon/decision-file.ts';

function decision(number: number): Decision {
  const inputs = { role: 'standby', epoch: 1, received: 5, durable: 5, committed: 5, consistent: true, unclean: false };
  return {
    atMillis: number,
    event: 'claim.begin',
    rule: '5 claim',
    text: `decision ${number} `.padEnd(900, '.'),
    inputs: { ...inputs, promiseMillis: 0, witness: null, peers: [] },
  };
}

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'tercet-decisions-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('what was decided is there after a restart, without a line that a crash has torn', async (t) => {
  const path = folder(t);
  const first = new DecisionFile(path, () => {});
  for (let number = 0; number < 3; number++) first.add(decision(number));
  await first.close();
  appendFileSync(join(path, 'decisions.jsonl'), '{"atMillis":3,"event":"cl');
  const second = new DecisionFile(path, () => {});
  assert.deepEqual(second.recent, [decision(0), decision(1), decision(2)]);
});

test('the files stay bounded, and the newest decisions are the ones that stay', async (t) => {
  const path = folder(t);
  const file = new DecisionFile(path, () => {});
  const count = Math.ceil((3 * limits.decisionFileBytesMax) / JSON.stringify(decision(0)).length);
  for (let number = 0; number < count; number++) {
    file.add(decision(number));
    if (number % 500 === 0) await file.close();
  }
  await file.close();
  assert.equal(file.recent.length, limits.decisionsKept);
  for (const name of ['decisions.jsonl', 'decisions.1.jsonl'])
    assert.ok(statSync(join(path, name)).size < 2 * limits.decisionFileBytesMax, name);
  assert.equal(new DecisionFile(path, () => {}).recent.at(-1)?.atMillis, count - 1);
});

test('a disk that takes no more costs entries and a line in the log, nothing else', async (t) => {
  const path = folder(t);
  const lines: string[] = [];
  const file = new DecisionFile(path, (event) => void lines.push(event));
  rmSync(path, { recursive: true });
  writeFileSync(path, '');
  file.add(decision(1));
  await file.close();
  file.add(decision(2));
  await file.close();
  assert.deepEqual(lines, ['decisions.failed']);
  assert.equal(file.recent.length, 2);
  assert.equal(existsSync(join(path, 'decisions.jsonl')), false);
});
