// An order to stop is refused where hosts would be without their volume.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { PeerStatus, SiteStatus } from '../../../src/core/site/contract.ts';
import { stopOutcome, whyLast } from '../../../src/daemon/stop.ts';
import { mirrorSample, statusSample } from '../cli/sample.ts';

const primary = (peer: Partial<PeerStatus>, more: Partial<SiteStatus> = {}): SiteStatus => {
  const sample = statusSample();
  return { ...sample, peers: sample.peers.map((each) => (each.mode === 'sync' ? { ...each, ...peer } : each)), ...more };
};
const witness = (more: Partial<SiteStatus['witness']>): Partial<SiteStatus> => ({ witness: { ...statusSample().witness, ...more } });

describe('the last copy in step', () => {
  test('is that of a primary without a sync mirror in step, or without a witness', () => {
    assert.equal(whyLast(primary({})), null);
    assert.match(whyLast(primary({ flag: 'maybe' })) ?? '', /no other sync copy is in step/);
    assert.match(whyLast(primary({ attached: 'no' })) ?? '', /no other sync copy is in step/);
    assert.match(whyLast(primary({ connected: false })) ?? '', /no other sync copy is in step/);
    assert.match(whyLast(primary({}, witness({ reachable: false }))) ?? '', /without the witness/);
    assert.match(whyLast(primary({}, witness({ trouble: { cause: 'another', next: 'replace' } }))) ?? '', /without the witness/);
  });

  test('is that of a site that waits with its flag true, or does not know', () => {
    const { view } = statusSample().witness;
    const waiting = statusSample({ role: 'standby', serving: false });
    assert.match(whyLast(waiting) ?? '', /nobody serves/);
    assert.match(whyLast({ ...waiting, ...witness({ view: null }) } as SiteStatus) ?? '', /has not heard from the witness/);
    assert.ok(view !== null);
    const without = { ...view, copies: view.copies.map((copy) => ({ ...copy, flag: copy.site !== waiting.site })) };
    assert.equal(whyLast({ ...waiting, ...witness({ view: without }) } as SiteStatus), null);
  });

  test('is not that of a mirror whose primary is there', () => {
    assert.equal(whyLast(mirrorSample()), null);
    assert.match(whyLast(mirrorSample({ knownPrimary: null })) ?? '', /is not connected/);
  });
});

test('an order to stop is refused for each group that is concerned, and carried out by force', () => {
  assert.equal(stopOutcome([primary({})], false).kind, 'done');
  const refused = stopOutcome([primary({}), primary({ flag: 'false' }, { group: 'web' })], false);
  assert.match(refused.text, /^alpha is the primary of web, and no other sync copy is in step$/);
  assert.equal(stopOutcome([primary({ flag: 'false' })], true).kind, 'done');
  assert.equal(stopOutcome([], false).kind, 'done');
});
