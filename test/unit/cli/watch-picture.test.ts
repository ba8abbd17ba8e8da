// The full screen of `tercet status --watch`: what stands on it, that it fits, and how it ends.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { SiteStatus } from '../../../src/core/site/contract.ts';
import { reportOf } from '../../../src/cli/status-report.ts';
import type { Line, Scene } from '../../../src/cli/watch-picture.ts';
import { fitLines, rateKey, sceneLines } from '../../../src/cli/watch-picture.ts';
import { mirrorSample, peerSample, resyncSample, statusSample } from './sample.ts';

const RATES = { writes: 1234, writtenBytes: 4_800_000, reads: 0.5, readBytes: 2048, flushes: 3, sentBytes: 9_600_000, resyncBytes: {} };

function sceneOf(statuses: readonly SiteStatus[], change: Partial<Scene> = {}): Scene {
  const answers = statuses.map((status) => ({
    answer: { site: status.site, address: 'unix:/x', reachable: true, version: '0.1.0', tls: null, error: null },
    status: { site: status.site, version: '0.1.0', tls: null, groups: [status] },
  }));
  const sites = [
    { name: 'alpha', mode: 'sync' },
    { name: 'beta', mode: 'sync' },
    { name: 'gamma', mode: 'async' },
  ] as const;
  return {
    time: new Date(0),
    report: reportOf(answers, ['db']),
    sites: new Map([['db', sites]]),
    rates: new Map(),
    events: [],
    ...change,
  };
}

const WIDE = { columns: 200, rows: 30 };

function textOf(lines: readonly Line[]): readonly string[] {
  return lines.map((line) =>
    line
      .map(([, text]) => text)
      .join('')
      .trimEnd(),
  );
}

test('all well: who serves, and a row for each site, also for one that was not asked', () => {
  const scene = sceneOf([statusSample(), mirrorSample()], { rates: new Map([[rateKey('db', 'alpha'), RATES]]) });
  const lines = textOf(sceneLines(scene, WIDE));
  assert.match(lines[0] ?? '', /^tercet {2}WELL .* 2 of 2 sites answer/);
  assert.ok(lines.includes('db  alpha serves, epoch 3, mirrored'), lines.join('\n'));
  assert.ok(lines.some((line) => /^ {2}alpha +sync +SERVES +true +- +- +1200 +1200 +1100 +5 % of 1\.0 GiB$/.test(line)));
  assert.ok(lines.some((line) => /^ {2}beta +sync +mirror +true +1\.3 s +in step /.test(line)));
  assert.ok(lines.some((line) => /^ {2}gamma +async +mirror +true +1\.3 s +12 records, 48\.0 KiB, 0\.2 s +1188 /.test(line)));
  assert.ok(lines.includes('  writes 1234/s, 4.6 MiB/s   reads 0.5/s, 2.0 KiB/s   flushes 3.0/s   to other sites 9.2 MiB/s'));
});

test('what folding has saved on the way to a site', () => {
  const gamma = peerSample({ site: 'gamma', mode: 'async', folding: { frames: 3, records: 700, savedBytes: 2_867_200 } });
  const status = statusSample({ peers: [peerSample(), gamma] });
  const lines = textOf(sceneLines(sceneOf([status], { rates: new Map([[rateKey('db', 'alpha'), RATES]]) }), WIDE));
  assert.ok(
    lines.some((line) => line.endsWith('to other sites 9.2 MiB/s   folding saved 2.7 MiB on the way to gamma')),
    lines.join('\n'),
  );
});

test('what is wrong stands above the table, and a resync with its rung, bytes, rate, time left and reason', () => {
  const why = 'the sidefile has dropped records that gamma lacks';
  const bytes = { doneBytes: 512, totalBytes: 1024, sentBytes: 1024 };
  const resync = resyncSample({ rung: 'bitmap', algorithm: null, why, ...bytes, secondsLeft: 12 });
  const gamma = peerSample({ site: 'gamma', mode: 'async', attached: 'copying', resync });
  const status = statusSample({ peers: [peerSample(), gamma] });
  const rates = new Map([[rateKey('db', 'alpha'), { ...RATES, resyncBytes: { gamma: 2_097_152 } }]]);
  const lines = textOf(sceneLines(sceneOf([status], { rates }), WIDE));
  const problem = lines.findIndex((line) => line.startsWith('  ! gamma receives the blocks that its bitmap names'));
  assert.ok(problem > 0 && problem < lines.findIndex((line) => line.startsWith('  site ')), lines.join('\n'));
  assert.ok(
    lines.includes('  gamma by bitmap: [############............] 50 %  512 B of 1.0 KiB  1.0 KiB sent  2.0 MiB/s  about 12 s left'),
    lines.join('\n'),
  );
  assert.ok(lines.includes('    why: the sidefile has dropped records that gamma lacks'));
});

test('a delta is shown like every other rung while the peer follows', () => {
  const resync = resyncSample({ rung: 'delta', algorithm: null, why: 'the sidefile has it' });
  const gamma = peerSample({ site: 'gamma', mode: 'async', lagRecords: 12, resync });
  const lines = textOf(sceneLines(sceneOf([statusSample({ peers: [peerSample(), gamma] })]), WIDE));
  assert.ok(
    lines.includes('  gamma by delta: [#########...............] 37 %  3.0 GiB of 8.0 GiB  9 B sent  about 41 s left'),
    lines.join('\n'),
  );
  assert.ok(lines.includes('    why: the sidefile has it'));
});

test('nobody answers: it says so, and rates that were not measured are not told', () => {
  assert.match(textOf(sceneLines(sceneOf([]), WIDE))[0] ?? '', /NO SITE ANSWERS/);
  assert.ok(textOf(sceneLines(sceneOf([statusSample()]), WIDE)).includes('  rates: not known yet'));
});

test('no line is wider than the terminal, and what does not fit in height is told', () => {
  const scene = sceneOf([statusSample(), mirrorSample()]);
  for (const columns of [10, 40, 79]) {
    const shown = fitLines(sceneLines(scene, { columns, rows: 6 }), { columns, rows: 6, from: 0 }, (_tone, text) => text);
    assert.equal(shown.length, 6);
    for (const line of shown) assert.ok(line.length <= columns, line);
  }
  const lines = sceneLines(scene, { columns: 80, rows: 6 });
  const last = fitLines(lines, { columns: 80, rows: 6, from: 0 }, (_tone, text) => text).at(-1);
  assert.equal(last, `${lines.length - 5} more lines: arrow keys`);
  assert.equal(
    fitLines(lines, { columns: 80, rows: 6, from: lines.length - 6 }, (_tone, text) => text)
      .at(-1)
      ?.startsWith('6 more'),
    false,
  );
});

test('a narrow terminal has what is wrong and what is under way whole, and the columns of the table that it has room for', () => {
  const why = 'the mirror lacks records from 14132, and the sidefile here begins at 58340';
  const resync = resyncSample({ rung: 'bitmap', algorithm: null, why, secondsLeft: 12 });
  const gamma = peerSample({ site: 'gamma', mode: 'async', attached: 'copying', resync });
  const rates = new Map([[rateKey('db', 'alpha'), RATES]]);
  for (const columns of [40, 60, 80]) {
    const lines = textOf(sceneLines(sceneOf([statusSample({ peers: [peerSample(), gamma] })], { rates }), { columns, rows: 24 }));
    const events = lines.findIndex((line) => /^(no events|last events)/.test(line));
    for (const line of lines.slice(0, events)) assert.ok(line.length <= columns, line);
    const whole = lines.join(' ').replaceAll(/ +/g, ' ');
    assert.match(whole, /! gamma receives the blocks that its bitmap names: .* about 12 s left \(the mirror lacks .* begins at 58340\)/);
    assert.match(whole, /to other sites 9\.2 MiB\/s/);
    const row = lines.find((line) => /^ {2}gamma +.*mirror/.test(line)) ?? '';
    assert.match(row, columns === 80 ? /true +.*copying.*5 % of|copying/ : /copying/);
  }
});

test('what a site says cannot give orders to the terminal', () => {
  const event = { id: 'a-1', time: '2026-01-01T00:00:00Z', site: 'alpha', kind: 'role', group: null, peer: null, facts: {} };
  const scene = sceneOf([], { events: [{ ...event, text: 'a\u001B[2Jb\u009Bc\nd' }] });
  const shown = fitLines(sceneLines(scene, WIDE), { columns: 200, rows: 30, from: 0 }, (_tone, text) => text).join('\n');
  assert.match(shown, /a\?\[2Jb\?c\?d/);
});
