// The part of a verify that looks at records, with copies that answer at once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../../src/core/base/limits.ts';
import type { SiteName } from '../../../src/core/base/units.ts';
import { Findings } from '../../../src/core/scan/findings.ts';
import { RecordScan } from '../../../src/core/scan/record-scan.ts';
import type { RecordAsk } from '../../../src/core/scan/records.ts';

test('it ends with the records that were there when it began, however fast hosts write', () => {
  const asked: { readonly site: SiteName; readonly ask: RecordAsk }[] = [];
  const ground = {
    site: 'alpha',
    following: (): readonly SiteName[] => ['beta'],
    askRecords: (site: SiteName, ask: RecordAsk): void => void asked.push({ site, ask }),
    found: (): void => assert.fail('nothing is wrong'),
    wake: (): void => undefined,
  };
  let number = 0;
  const scan = new RecordScan(ground, new Findings(), { reportOnly: false, upTo: 100, number: () => ++number });
  let turns = 0;
  for (; !scan.done; turns++) {
    assert(turns < 20, 'it follows what hosts write for ever');
    scan.turn(turns, limits.verifyStepBytes * 4);
    for (const { site, ask } of asked.splice(0)) {
      assert(ask.kind === 'records');
      // There is always something newer.
      scan.answered(site, ask.number, { kind: 'records', faults: [], next: ask.from + 30, byteCount: 1000 }, turns);
    }
  }
  assert.deepEqual([...scan.checked].sort(), ['alpha', 'beta']);
  assert.equal(scan.checkedBytes, 8000, 'both were looked at up to record 100, and a little further');
});

test('a copy that does not answer in time is left out, also while nothing may be begun', () => {
  const asked: SiteName[] = [];
  const ground = {
    site: 'alpha',
    following: (): readonly SiteName[] => ['beta'],
    askRecords: (site: SiteName): void => void asked.push(site),
    found: (): void => assert.fail('nothing is wrong'),
    wake: (): void => undefined,
  };
  let number = 0;
  const scan = new RecordScan(ground, new Findings(), { reportOnly: false, upTo: 100, number: () => ++number });
  scan.turn(0, limits.verifyStepBytes);
  scan.turn(10, limits.verifyStepBytes);
  assert.deepEqual(asked, ['alpha', 'beta']);
  scan.answered('alpha', 1, { kind: 'records', faults: [], next: null, byteCount: 1000 }, 20);
  const late = scan.deadline();
  scan.expire(late - 1);
  assert.equal(scan.done, false);
  scan.expire(late);
  assert.deepEqual([scan.done, scan.deadline(), [...scan.checked]], [true, Infinity, ['alpha']]);
});
