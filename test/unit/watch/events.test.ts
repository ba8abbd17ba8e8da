// The events of a site: what a reader who comes back gets, which lines of the journal are events, and what a primary's peers do over time.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { PeerStatus, SiteStatus } from '../../../src/core/site/contract.ts';
import type { EventDraft } from '../../../src/watch/events.ts';
import { EventLog } from '../../../src/watch/events.ts';
import { eventOfLine } from '../../../src/watch/journal-events.ts';
import { PeerWatch, type RpoTarget } from '../../../src/watch/peer-watch.ts';
import { mirrorSample, peerSample, statusSample } from '../cli/sample.ts';

const draft: EventDraft = { kind: 'role', group: 'db', peer: null, facts: {}, text: 'now primary' };
const newLog = (): EventLog => new EventLog({ site: 'alpha', run: 'r1', wall: () => 0 });

test('a reader that comes back gets what it has missed, each event once', () => {
  const log = newLog();
  for (let i = 0; i < 5; i++) log.add(draft);
  const ids = (after: string | null): string[] => log.after(after).map((event) => `${event.kind} ${event.id}`);
  assert.deepEqual(ids('r1-3'), ['role r1-4', 'role r1-5']);
  assert.deepEqual(ids('r1-5'), []);
  assert.equal(ids(null).length, 5);
});

test('a reader is told when events are missing: of an earlier run, or no longer kept', () => {
  const log = newLog();
  for (let i = 0; i < 2050; i++) log.add(draft);
  assert.deepEqual(log.after('r0-3')[0]?.kind, 'gap');
  assert.equal(log.after('r0-3').length, 2049);
  assert.deepEqual([log.after('r1-1')[0]?.kind, log.after('r1-1')[0]?.id], ['gap', 'r1-2']);
  assert.equal(log.after('r1-2')[0]?.id, 'r1-3');
  assert.equal(log.after('nonsense')[0]?.kind, 'gap');
  // An id that this run has not given yet.
  assert.equal(log.after('r1-9999')[0]?.kind, 'gap');
});

test('lines of the journal that others have to know of are events', () => {
  assert.deepEqual(eventOfLine('link.down', { group: 'db', peer: 'beta', reason: 'silent' }, 'ended'), {
    kind: 'disconnect',
    group: 'db',
    peer: 'beta',
    facts: { peer: 'beta', reason: 'silent' },
    text: 'ended',
  });
  assert.equal(eventOfLine('admit.done', { group: 'db', site: 'beta' }, '')?.facts['flag'], true);
  assert.equal(eventOfLine('resync.begin', { group: 'db', site: 'beta', records: 0 }, ''), null);
  assert.equal(eventOfLine('nbd.connected', {}, ''), null);
  const used = eventOfLine('agreement.used', { group: 'db', without: 'beta', number: 1 }, 'it goes on');
  assert.deepEqual([used?.kind, used?.peer, used?.facts], ['agreement', 'beta', { state: 'used' }]);
});

/** A primary whose only peer is beta. */
function primary(peer: Partial<PeerStatus>, change: Partial<SiteStatus> = {}): SiteStatus {
  return statusSample({ peers: [peerSample(peer)], ...change });
}
const away = { connected: false, attached: 'no', lagSeconds: null, lagRecords: null, received: null } as const;
const rpo = (rpoSeconds: number): RpoTarget => ({ rpoSeconds, alertPercent: 100 });
const kinds = (drafts: readonly EventDraft[]): string[] => drafts.map(({ kind, peer }) => `${kind} ${peer}`);

test('a resync is done when the peer has what there was at its beginning', () => {
  const watch = new PeerWatch();
  watch.begun('beta', 'copy', 1200, 10);
  assert.deepEqual(kinds(watch.look(primary({ attached: 'copying', received: null, lagSeconds: null }), rpo(0), 11)), []);
  assert.deepEqual(kinds(watch.look(primary({ received: 1199 }), rpo(0), 12)), []);
  const [done, ...more] = watch.look(primary({ received: 1200 }), rpo(0), 13);
  assert.deepEqual([done?.kind, done?.facts, more.length], ['resync-done', { rung: 'copy', seconds: 3 }, 0]);
  assert.deepEqual(kinds(watch.look(primary({}), rpo(0), 14)), []);
});

test('a resync is interrupted when the peer goes, or the site is no longer primary', () => {
  const watch = new PeerWatch();
  watch.begun('beta', 'delta', 1200, 10);
  assert.deepEqual(kinds(watch.look(primary(away), rpo(0), 12)), ['resync-interrupted beta']);
  watch.begun('beta', 'delta', 1200, 13);
  assert.deepEqual(kinds(watch.look(mirrorSample(), rpo(0), 14)), ['resync-interrupted beta']);
  assert.deepEqual(kinds(watch.look(mirrorSample(), rpo(0), 15)), []);
});

test('a lag above the target is told once, and once that it is over', () => {
  const watch = new PeerWatch();
  assert.deepEqual(kinds(watch.look(primary({ lagSeconds: 4 }), rpo(5), 0)), []);
  assert.deepEqual(kinds(watch.look(primary({ lagSeconds: 6 }), rpo(5), 1)), ['rpo-breach beta']);
  assert.deepEqual(kinds(watch.look(primary({ lagSeconds: 7 }), rpo(5), 2)), []);
  assert.deepEqual(kinds(watch.look(primary({ lagSeconds: 1 }), rpo(5), 3)), ['rpo-met beta']);
  // Without a target nothing is breached.
  assert.deepEqual(kinds(watch.look(primary({ lagSeconds: 700 }), rpo(0), 4)), []);
});

test('the alert may come before the target is reached, and a breach is over only with something to spare', () => {
  const watch = new PeerWatch();
  const target = { rpoSeconds: 10, alertPercent: 50 };
  const at = (lagSeconds: number, now: number): string[] => kinds(watch.look(primary({ lagSeconds }), target, now));
  assert.deepEqual([at(4, 0), at(5.1, 1), at(4.9, 2), at(5.1, 3), at(4.4, 4)], [[], ['rpo-breach beta'], [], [], ['rpo-met beta']]);
});

test('a peer that does not follow may lack everything since it was seen last', () => {
  const watch = new PeerWatch();
  watch.look(primary({ lagSeconds: 1 }), rpo(5), 100);
  assert.deepEqual(kinds(watch.look(primary(away), rpo(5), 103)), []);
  assert.deepEqual(watch.risks(primary(away), rpo(5), 103), [{ peer: 'beta', seconds: 4, bound: true, breached: false }]);
  assert.deepEqual(kinds(watch.look(primary(away), rpo(5), 105)), ['rpo-breach beta']);
});

test('a peer that never followed has no number, and is a breach after the target all the same', () => {
  const watch = new PeerWatch();
  watch.look(primary(away), rpo(5), 100);
  assert.deepEqual(watch.risks(primary(away), rpo(5), 104), [{ peer: 'beta', seconds: null, bound: true, breached: false }]);
  assert.deepEqual(kinds(watch.look(primary(away), rpo(5), 106)), ['rpo-breach beta']);
});
