// What would happen if a site died now: each answer against the rule that decides it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { SiteStatus, Timings } from '../../../src/core/site/contract.ts';
import type { WhatIf } from '../../../src/core/site/what-if.ts';
import { whatIfs } from '../../../src/core/site/what-if.ts';
import { mirrorSample, peerSample, statusSample } from '../cli/sample.ts';

const timings: Timings = {
  leaseMillis: 1500,
  heartbeatMillis: 250,
  peerTimeoutMillis: 1000,
  witnessRetryMillis: 500,
  driftShare: 0.02,
  holdMillis: 60_000,
  asyncDelayMillis: 20,
};
const sites = [
  { name: 'alpha', mode: 'sync' },
  { name: 'beta', mode: 'sync' },
  { name: 'gamma', mode: 'async' },
] as const;

function when(change: Partial<SiteStatus>, dies: string): WhatIf {
  const found = whatIfs(statusSample(change), { sites, timings }).find((each) => each.dies === dies);
  assert.ok(found);
  return found;
}
const far = (change: object = {}): ReturnType<typeof peerSample> =>
  peerSample({ site: 'gamma', mode: 'async', received: 1188, lagRecords: 12, lagBytes: 49_152, lagSeconds: 0.2, ...change });
const silentWitness = { ...statusSample().witness, reachable: false };

test('all well: the near copy takes over without loss, and nobody misses the far one', () => {
  const first = when({}, 'alpha');
  assert.deepEqual([first.serves, first.lostRecords, first.protection], ['beta', 0, 'solo']);
  assert.equal(first.pauseMillisMax, 1500 + 50 + 1000);
  assert.deepEqual([when({}, 'beta').serves, when({}, 'beta').protection], ['alpha', 'solo']);
  assert.deepEqual([when({}, 'gamma').pauseMillisMax, when({}, 'gamma').protection], [0, 'mirrored']);
  assert.deepEqual([when({}, 'witness').serves, when({}, 'witness').protection], ['alpha', 'mirrored']);
});

test('a primary whose near copy is excluded has no heir: the far one by force, at the price of its lag', () => {
  const found = when({ protection: 'solo', peers: [peerSample({ flag: 'false', connected: false, attached: 'no' }), far()] }, 'alpha');
  assert.deepEqual([found.serves, found.lostRecords], [null, 12]);
  assert.match(found.remedy ?? '', /promote gamma by force: that would lose 12 records \(0.2 s\)/);
});

test('where a flag is in doubt nobody is named', () => {
  const found = when({ protection: 'changing', peers: [peerSample({ flag: 'maybe' }), far()] }, 'alpha');
  assert.deepEqual([found.serves, found.lostRecords], [null, null]);
});

test('without the witness the primary of a pair that has agreed goes on alone, and its mirror does not take over', () => {
  const change = { witness: silentWitness, agreement: { mayGoWithout: 'beta', wentWithout: null, leftTo: null } };
  assert.deepEqual([when(change, 'beta').serves, when(change, 'beta').protection], ['alpha', 'solo']);
  const first = when(change, 'alpha');
  assert.deepEqual([first.serves, first.lostRecords], [null, 0]);
  assert.match(first.text, /nobody serves until alpha is back, because beta has left it the right to go on alone/);
  assert.match(when(change, 'witness').text, /alpha goes on without its mirror as soon as they have agreed on that/);
});

test('without the witness a mirrored pair cannot fail over, and cannot exclude', () => {
  assert.deepEqual([when({ witness: silentWitness }, 'alpha').serves, when({ witness: silentWitness }, 'alpha').lostRecords], [null, 0]);
  assert.deepEqual(
    [when({ witness: silentWitness }, 'beta').serves, when({ witness: silentWitness }, 'beta').pauseMillisMax],
    [null, null],
  );
});

test('a copy whose flag is false is missed by nobody', () => {
  const found = when({ protection: 'solo', peers: [peerSample({ flag: 'false' }), far()] }, 'beta');
  assert.deepEqual([found.serves, found.pauseMillisMax, found.protection], ['alpha', 0, 'solo']);
});

test('a mirror does not know enough to answer', () => {
  assert.deepEqual(whatIfs(mirrorSample(), { sites, timings }), []);
});
