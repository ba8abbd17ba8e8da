// How the state of a group is told: one line when all is well, and otherwise first what is wrong.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { DaemonStatus } from '../../../src/api/schema.ts';
import type { SiteAnswer } from '../../../src/cli/status-report.ts';
import { reportOf, statusLines } from '../../../src/cli/status-report.ts';
import { summarize } from '../../../src/api/summary.ts';
import { bytesText, countText, secondsText } from '../../../src/api/text.ts';
import type { PeerStatus, SiteStatus } from '../../../src/core/site/contract.ts';
import { mirrorSample, peerSample, pointSample, resyncSample, statusSample } from '../cli/sample.ts';

const plain = (_kind: string, text: string): string => text;
const gamma = (change: Partial<PeerStatus> = {}): PeerStatus => peerSample({ site: 'gamma', mode: 'async', ...change });

/** A primary whose peer beta is so. */
function withBeta(change: Partial<PeerStatus>, own: Partial<SiteStatus> = {}): SiteStatus {
  return statusSample({ peers: [peerSample(change), gamma()], ...own });
}

function problemsOf(...statuses: SiteStatus[]): readonly string[] {
  return summarize('db', statuses).problems;
}

test('a group that is well is one line, whoever of its sites answers', () => {
  const primary = summarize('db', [statusSample(), mirrorSample()]);
  assert.deepEqual(primary, {
    group: 'db',
    well: true,
    serving: 'alpha',
    problems: [],
    state: 'alpha serves (epoch 3), beta in step, gamma 12 records (48.0 KiB, 0.2 s) behind, beta covers gamma for 976.0 MiB or 8 min more',
  });
  const mirror = summarize('db', [mirrorSample()]);
  assert.equal(mirror.well, true);
  assert.equal(mirror.serving, null);
  assert.equal(mirror.state, 'beta following alpha, which cannot be asked from here');
});

test('an async copy that gets what it lacked by delta is no fault, and its progress is told', () => {
  const resync = resyncSample({ rung: 'delta', algorithm: null, why: 'the sidefile has it', secondsLeft: null });
  const { well, state } = summarize('db', [
    statusSample({ peers: [peerSample(), gamma({ lagRecords: 12, lagBytes: null, lagSeconds: null, resync })] }),
  ]);
  assert.equal(well, true);
  assert.match(state, /gamma 12 records behind, by delta: 37 %, 3\.0 GiB of 8\.0 GiB, time left not known yet \(the sidefile has it\)/);
});

const PROBLEMS: readonly { what: string; statuses: readonly SiteStatus[]; problems: readonly string[] }[] = [
  { what: 'no answer at all', statuses: [], problems: ['no site of the group answers from here'] },
  {
    what: 'a group that is not created',
    statuses: [statusSample({ role: 'absent', serving: false, knownPrimary: null, protection: null, consistent: false })],
    problems: ['not created yet: `tercet create` does that'],
  },
  {
    what: 'nobody serving',
    statuses: [mirrorSample({ role: 'standby', knownPrimary: null, peers: [] })],
    problems: ['nobody serves, as far as can be seen from here'],
  },
  {
    what: 'a mirror whose primary is not connected',
    statuses: [mirrorSample({ peers: [peerSample({ site: 'alpha', connected: false })] })],
    problems: ['nobody serves, as far as can be seen from here'],
  },
  {
    what: 'two that say they serve',
    statuses: [statusSample(), statusSample({ site: 'beta' })],
    problems: ['alpha and beta both say that they serve: ask again, since the answers may be of different moments'],
  },
  {
    what: 'a primary that may not serve',
    statuses: [statusSample({ serving: false, protection: null })],
    problems: ['alpha is primary, but may not serve now'],
  },
  {
    what: 'a peer that is away',
    statuses: [withBeta({ connected: false, attached: 'no', flag: 'false', lastError: 'ECONNREFUSED' }, { protection: 'solo' })],
    problems: ['new writes are on alpha alone', 'beta is not connected to alpha (ECONNREFUSED)'],
  },
  {
    what: 'a peer that does not follow',
    statuses: [withBeta({ attached: 'no', lastError: 'history differs' })],
    problems: ['beta is connected to alpha and does not follow (history differs)'],
  },
  {
    what: 'a point that was given up',
    statuses: [statusSample({ points: [pointSample(), pointSample({ name: 'night', state: 'lost', why: 'no room' })] })],
    problems: ['alpha has lost point night: no room: `tercet point remove db night --site alpha`'],
  },
  {
    what: 'a peer that is paused',
    statuses: [withBeta({ attached: 'no', flag: 'false', paused: true, lastError: 'this copy is paused by order' })],
    problems: ['beta is paused by order: `tercet resume db --site beta` ends that'],
  },
  { what: 'a peer that joins', statuses: [withBeta({ attached: 'joining' })], problems: ['beta is joining alpha'] },
  {
    what: 'a copy that joins, by which rung and why',
    statuses: [withBeta({ attached: 'joining', flag: 'false', resync: resyncSample({ doneBytes: 0, secondsLeft: null }) })],
    problems: ['beta is joining alpha, by scan (there is no bitmap of what it lacks)'],
  },
  {
    what: 'a scan, and why',
    statuses: [withBeta({ attached: 'copying', flag: 'false', resync: resyncSample() })],
    problems: ['beta is compared block by block, by md5: 37 %, 3.0 GiB of 8.0 GiB, about 41 s left (there is no bitmap of what it lacks)'],
  },
  {
    what: 'a bitmap of which all was sent',
    statuses: [
      withBeta({
        attached: 'copying',
        flag: 'false',
        resync: resyncSample({ rung: 'bitmap', algorithm: null, doneBytes: 8 * 2 ** 30, ending: true, secondsLeft: null }),
      }),
    ],
    problems: [
      'beta receives the blocks that its bitmap names: 100 %, 8.0 GiB of 8.0 GiB, everything was sent, it is being made to count (there is no bitmap of what it lacks)',
    ],
  },
  {
    what: 'a whole copy whose pace is not known yet',
    statuses: [
      withBeta({
        attached: 'copying',
        flag: 'false',
        resync: resyncSample({ rung: 'copy', algorithm: null, doneBytes: 0, secondsLeft: null }),
      }),
    ],
    problems: ['beta receives a whole copy: 0 %, 0 B of 8.0 GiB, time left not known yet (there is no bitmap of what it lacks)'],
  },
  {
    what: 'a delta to a copy that may not serve yet',
    statuses: [withBeta({ flag: 'false', resync: resyncSample({ rung: 'delta', algorithm: null, why: 'the sidefile has it' }) })],
    problems: ['beta receives the records that it lacked, by delta: 37 %, 3.0 GiB of 8.0 GiB, about 41 s left (the sidefile has it)'],
  },
  { what: 'a follower without its flag', statuses: [withBeta({ flag: 'false' })], problems: ['beta follows, but may not serve yet'] },
  { what: 'a flag in doubt', statuses: [withBeta({ flag: 'maybe' })], problems: ['it is not known yet whether beta may serve'] },
  { what: 'a failed peer', statuses: [withBeta({ role: 'failed', lastError: 'EIO' })], problems: ['the copy at beta has failed (EIO)'] },
  {
    what: 'a silent witness',
    statuses: [statusSample({ witness: { reachable: false, view: null, ageMillis: 9000, provedAgeMillis: 9000, trouble: null } })],
    problems: ['the witness does not answer alpha: no failover until it does'],
  },
  {
    what: 'a witness that is silent to a mirror alone',
    statuses: [statusSample(), mirrorSample({ witness: { ...statusSample().witness, reachable: false } })],
    problems: ['the witness does not answer beta: no failover to it until it does'],
  },
  {
    what: 'a witness that answers and has not written for long',
    statuses: [mirrorSample({ witness: { ...statusSample().witness, provedAgeMillis: 240_000 } }), statusSample()],
    problems: ['the witness answers beta, and has written nothing for it for 4 min: look at the disk of the witness'],
  },
  {
    what: 'a failed copy of its own',
    statuses: [statusSample(), mirrorSample({ role: 'failed', failure: 'write of seg-1 failed with EIO' })],
    problems: ['the copy at beta has failed: write of seg-1 failed with EIO'],
  },
  {
    what: 'an inconsistent copy that was ill after a loss of power',
    statuses: [statusSample(), mirrorSample({ consistent: false, unclean: true })],
    problems: [
      'the copy at beta is inconsistent: it can serve nothing until it is whole',
      'beta came back from a loss of power and has not caught up since',
    ],
  },
  {
    what: 'a site that starts',
    statuses: [statusSample(), mirrorSample({ role: 'starting', marks: null, consistent: false })],
    problems: ['beta is starting'],
  },
  {
    what: 'held requests and what they wait for',
    statuses: [
      statusSample({
        serving: false,
        heldRequests: 3,
        waiting: [{ what: 'to answer hosts', cause: 'beta is silent', deadlineMillis: 700, next: 'it is excluded' }],
      }),
    ],
    problems: [
      'alpha is primary, but may not serve now',
      '3 requests of hosts held at alpha',
      'alpha waits to answer hosts: beta is silent; in 0.7 s: it is excluded',
    ],
  },
  {
    what: 'a wait without a deadline',
    statuses: [statusSample({ waiting: [{ what: 'to become primary', cause: 'no answer', deadlineMillis: null, next: 'it asks again' }] })],
    problems: ['alpha waits to become primary: no answer; then: it asks again'],
  },
];

for (const { what, statuses, problems } of PROBLEMS) {
  test(`the summary begins with ${what}`, () => {
    const summary = summarize('db', statuses);
    assert.deepEqual(summary.problems, problems);
    assert.equal(summary.well, false);
  });
}

test('what the primary says of a peer is not said twice', () => {
  const away = withBeta({ connected: false, attached: 'no', flag: 'false' });
  assert.deepEqual(problemsOf(away, mirrorSample({ role: 'standby' })), ['beta is not connected to alpha']);
  assert.deepEqual(problemsOf(statusSample(), mirrorSample({ role: 'standby' })), ['beta has a copy and follows nobody']);
});

test('requests under way at a site that serves are no fault, nor is what a site without a copy waits for', () => {
  assert.deepEqual(problemsOf(statusSample({ heldRequests: 9 })), []);
  const waiting = [{ what: 'to become primary', cause: 'there is no replica here', deadlineMillis: null, next: 'it is filled' }];
  const absent = mirrorSample({ role: 'absent', consistent: false, knownPrimary: null, waiting });
  assert.deepEqual(problemsOf(absent), ['not created yet: `tercet create` does that']);
});

test('an async follower needs no flag and may be behind', () => {
  assert.deepEqual(problemsOf(statusSample({ peers: [peerSample(), gamma({ flag: 'false', lagRecords: 900 })] })), []);
  assert.match(
    summarize('db', [statusSample({ peers: [gamma({ lagRecords: 1, lagBytes: null, lagSeconds: null })] })]).state,
    /gamma 1 record behind$/,
  );
  assert.match(summarize('db', [statusSample({ peers: [gamma({ lagRecords: null })] })]).state, /gamma follows$/);
});

const answer = (site: string, error: string | null): SiteAnswer => ({
  site,
  address: `unix:/run/${site}.sock`,
  reachable: error === null,
  version: error === null ? '0.1.0' : null,
  tls: null,
  error,
});
const daemon = (...groups: SiteStatus[]): DaemonStatus => ({ site: groups[0]?.site ?? 'x', version: '0.1.0', tls: null, groups });

test('a group is not well while a copy would lose more than is allowed', () => {
  const breach = { group: 'db', peer: 'gamma', seconds: 42.4, bound: true, targetSeconds: 5 };
  const status = { ...daemon(statusSample(), statusSample({ group: 'web' })), rpoBreaches: [breach] };
  const report = reportOf([{ answer: answer('alpha', null), status }], ['db', 'web']);
  assert.deepEqual(
    report.groups.map(({ problems }) => problems),
    [['gamma would lose up to 42 s of writes, more than the 5.0 s that are allowed'], []],
  );
  assert.deepEqual([report.well, report.groups[0]?.well, report.groups[1]?.well], [false, false, true]);
});

test('a report is one line for each group when all is well, sites that cannot be asked or not', () => {
  const report = reportOf(
    [
      { answer: answer('beta', 'ENOENT'), status: null },
      { answer: answer('alpha', null), status: daemon(statusSample({ group: 'web' }), statusSample()) },
    ],
    ['web', 'db'],
  );
  assert.equal(report.well, true);
  assert.deepEqual(
    report.sites.map((site) => site.site),
    ['alpha', 'beta'],
  );
  const state =
    'alpha serves (epoch 3), beta in step, gamma 12 records (48.0 KiB, 0.2 s) behind, beta covers gamma for 976.0 MiB or 8 min more';
  assert.deepEqual(statusLines(report, plain), [`db: ${state}`, `web: ${state}`]);
});

test('a certificate that is about to expire is told first, even when all is well', () => {
  const tls = { identity: 'site alpha', expiresAt: '2027-01-01T00:00:00.000Z', daysLeft: 3, warning: 'the certificate expires in 3 days' };
  const report = reportOf([{ answer: { ...answer('alpha', null), tls }, status: daemon(statusSample()) }], ['db']);
  assert.equal(report.well, true);
  assert.equal(statusLines(report, plain)[0], 'site alpha: the certificate expires in 3 days');
  assert.equal(statusLines(report, plain).length, 2);
  const expired = { ...answer('alpha', null), tls: { ...tls, daysLeft: -1, warning: 'the certificate has expired' } };
  assert.equal(reportOf([{ answer: expired, status: daemon(statusSample()) }], ['db']).well, false);
});

test('a report of trouble begins with it, and ends with the sites that could not be asked', () => {
  const report = reportOf(
    [
      { answer: answer('alpha', null), status: daemon(withBeta({ connected: false, attached: 'no' }, { protection: 'solo' })) },
      { answer: answer('beta', 'the daemon does not answer'), status: null },
    ],
    ['db'],
  );
  assert.equal(report.well, false);
  assert.deepEqual(
    statusLines(report, (kind, text) => `<${kind}>${text}`),
    [
      'db: <bad>new writes are on alpha alone',
      'db: <bad>beta is not connected to alpha',
      'db: alpha serves (epoch 3), gamma in step, beta covers gamma for 976.0 MiB or 8 min more',
      '<dim>site beta: the daemon does not answer',
    ],
  );
});

test('numbers are written with the unit that suits them', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 2 ** 30, 3 * 2 ** 40, 5 * 2 ** 50].map(bytesText), [
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 KiB',
    '1.0 GiB',
    '3.0 TiB',
    '5120.0 TiB',
  ]);
  assert.deepEqual([0, 0.25, 12.4, 119, 600, 9000].map(secondsText), ['0.0 s', '0.3 s', '12 s', '119 s', '10 min', '2.5 h']);
  assert.deepEqual([countText(1, 'record'), countText(2, 'record')], ['1 record', '2 records']);
});
