// The life of a daemon's process, in processes of their own: how it ends, with which code, and what its last lines are.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import { EXIT } from '../../../src/core/base/errors.ts';
import { SAMPLE } from '../config/sample.ts';

const DAEMON = join(import.meta.dirname, '../../../src/daemon');

interface Line {
  readonly level: string;
  readonly event: string;
  readonly msg: string;
  readonly [fact: string]: unknown;
}

/** Runs a service whose start does `start`; sends it a signal once it says "ready". */
async function service(
  start: string,
  signal: NodeJS.Signals | null = null,
  unended: readonly string[] = [],
  more: { readonly running?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<{ code: number | null; lines: readonly Line[] }> {
  const script = `
    import { createJournal } from '${DAEMON}/log.ts';
    import { runService } from '${DAEMON}/service.ts';
    import { InvariantError } from '${DAEMON}/../core/base/assert.ts';
    import { TercetError } from '${DAEMON}/../core/base/errors.ts';
    const log = createJournal({ site: 'alpha' });
    const alive = setInterval(() => {}, 1000);
    await runService(log, async () => { ${start}; log('ready', {}, 'ready'); return { close: async () => clearInterval(alive), unended: () => ${JSON.stringify(unended)}, ${more.running ?? ''} }; });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...more.env },
  });
  const ended = once(child, 'exit') as Promise<[number | null]>;
  if (signal !== null) void child.stderr.once('data', () => child.kill(signal));
  const lines = (await text(child.stderr)).trimEnd().split('\n');
  const [code] = await ended;
  return { code, lines: lines.map((line) => JSON.parse(line) as Line) };
}

test('a service ends in order at a signal', async () => {
  const { code, lines } = await service('', 'SIGTERM');
  assert.equal(code, EXIT.done);
  assert.deepEqual(
    lines.map(({ level, event, site }) => [level, event, site]),
    [
      ['info', 'ready', 'alpha'],
      ['info', 'stopping', 'alpha'],
      ['info', 'stopped', 'alpha'],
    ],
  );
});

test('groups that have not ended in order are named at the end, and the exit code says so', async () => {
  const { code, lines } = await service('', 'SIGTERM', ['db', 'web']);
  assert.equal(code, EXIT.failed);
  const last = lines.at(-1);
  assert.deepEqual([last?.level, last?.event, last?.['groups']], ['error', 'stop.late', ['db', 'web']]);
  assert.equal(last?.msg, 'everything else has ended in order; late: db, web, which the next start recovers');
});

test('a service that its watchdog would kill ends by itself, and is to be started again though all ended in order', async () => {
  const env = { NOTIFY_SOCKET: join(tmpdir(), 'tercet-no-manager'), WATCHDOG_USEC: '400000' };
  const { code, lines } = await service('', null, [], { running: 'isAlive: () => false', env });
  assert.equal(code, EXIT.failed);
  assert.ok(lines.some(({ event, signal }) => event === 'stopping' && signal === 'WATCHDOG'));
  assert.equal(lines.at(-1)?.event, 'stopped');
});

test('a start that fails ends with one line and the code of its error', async () => {
  const { code, lines } = await service(`throw new TercetError('TERCET_NO_SUCH_SITE', { site: 'x', known: 'alpha' })`);
  assert.equal(code, EXIT.usage);
  assert.deepEqual(
    lines.map(({ level, event, code: name, msg }) => [level, event, name, msg]),
    [['error', 'start.failed', 'TERCET_NO_SUCH_SITE', 'there is no site "x": the configuration has alpha']],
  );
});

const DEATHS: readonly { what: string; start: string; text: RegExp }[] = [
  {
    what: 'a broken invariant',
    start: `setImmediate(() => { throw new InvariantError('seq must grow', { seq: 3 }) })`,
    text: /seq must grow \{"seq":3\}/,
  },
  { what: 'a rejection that nobody handles', start: `void Promise.reject(new Error('lost'))`, text: /lost/ },
  { what: 'an unexpected error at the start', start: `throw new RangeError('odd')`, text: /odd/ },
];

for (const { what, start, text: pattern } of DEATHS) {
  test(`${what} ends the process with one line and 70`, async () => {
    const { code, lines } = await service(start);
    assert.equal(code, EXIT.invariant);
    const last = lines.at(-1);
    assert.deepEqual([last?.level, last?.event, last?.['code']], ['error', 'fatal', 'TERCET_INVARIANT']);
    assert.match(last?.msg ?? '', pattern);
    assert.match(last?.msg ?? '', /a rule of the program itself was broken, so it stopped/);
    assert.equal(lines.filter((line) => line.event === 'fatal').length, 1);
  });
}

test('tercetd says what is wrong with its command line and its configuration, and ends with their codes', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-daemon-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const good = join(folder, 'good.toml');
  const bad = join(folder, 'bad.toml');
  writeFileSync(good, SAMPLE);
  writeFileSync(bad, SAMPLE.replace('lease_millis', 'lease_milis').replace('size = 8192', 'size = 1'));
  const tercetd = (...inputs: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [join(DAEMON, 'main.ts'), ...inputs], { encoding: 'utf8', env: {} });
  const cases: readonly [string[], number, RegExp][] = [
    [['--check-config', '--config', good], EXIT.done, /good.toml is sound\n$/],
    [
      ['--check-config', '--config', bad],
      EXIT.configuration,
      /has 2 fault\(s\):\n {2}line 26: .*did you mean "lease_millis"\?\n {2}line 34: /,
    ],
    [['--site', 'delta', '--config', good], EXIT.usage, /^tercetd: there is no site "delta": the configuration has alpha, beta, gamma\n$/],
    [['--config', good], EXIT.usage, /^tercetd: --site is missing\n\nusage: /],
    [['--sit', 'x'], EXIT.usage, /Unknown option '--sit'/],
    [['--help'], EXIT.done, /^usage: tercetd/],
  ];
  for (const [inputs, status, pattern] of cases) {
    const result = tercetd(...inputs);
    assert.equal(result.status, status, inputs.join(' '));
    assert.match(result.stdout + result.stderr, pattern);
  }
});
