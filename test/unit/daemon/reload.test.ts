// What a reload says of each key that has changed.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { loadConfig, parseConfig } from '../../../src/daemon/config.ts';
import { changesOf, refuseAlone, refuseOthers, refuseSmaller, reloader } from '../../../src/daemon/reload.ts';
import { SAMPLE } from '../config/sample.ts';

test('each key that differs is told, with whether it is in effect', () => {
  const after = SAMPLE.replace('lease_millis = 1800', 'lease_millis = 1900\nrpo_seconds = 5')
    .replace('data = "/srv/beta"', 'data = "/srv/b"')
    .replace('link = "127.0.0.1:7411"', 'link = "127.0.0.1:7419"')
    .replace('size = 8192', 'size = 16384');
  assert.deepEqual(
    changesOf(SAMPLE, after, 'alpha').map(({ key, was, now, takes }) => `${key} ${was} ${now} ${takes}`),
    [
      'group.db.lease_millis 1800 1900 restart',
      'group.db.rpo_seconds null 5 now',
      'group.db.volume[log].size 8192 16384 now',
      'site.beta.data "/srv/beta" "/srv/b" elsewhere',
      'site.beta.link "127.0.0.1:7411" "127.0.0.1:7419" restart',
    ],
  );
  assert.deepEqual(changesOf(SAMPLE, `${SAMPLE}\n# a remark\n`, 'alpha'), []);
});

test('what waits for a restart since an earlier reload is told until it is as the daemon runs', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-reload-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'tercet.toml');
  const write = (lease: number, rpo: number): void =>
    writeFileSync(file, SAMPLE.replace('lease_millis = 1800', `lease_millis = ${lease}\nrpo_seconds = ${rpo}`));
  write(1800, 5);
  const log: string[] = [];
  const journal = (_event: string, _facts: unknown, text: string): unknown => log.push(text.replace(file, 'FILE'));
  const { byOrder } = reloader({
    config: loadConfig(file),
    name: 'alpha',
    journal,
    certificates: null,
    hasCopy: () => true,
    apply: () => undefined,
  });
  const look = (): readonly string[] => byOrder({ force: false, dryRun: true }).changes.map(({ key }) => key);
  const told = (): readonly string[] => {
    const { changes, pending } = byOrder({ force: false, dryRun: false });
    return [...changes.map(({ key }) => key), ...pending.map(({ key, was, now }) => `pending ${key} ${was} ${now}`)];
  };
  write(1900, 5);
  assert.deepEqual([look(), look()], [['group.db.lease_millis'], ['group.db.lease_millis']], 'only looking changes nothing');
  assert.deepEqual(told(), ['group.db.lease_millis']);
  assert.deepEqual(told(), ['pending group.db.lease_millis 1800 1900']);
  write(1900, 6);
  assert.deepEqual(told(), ['group.db.rpo_seconds', 'pending group.db.lease_millis 1800 1900']);
  write(1800, 6);
  assert.deepEqual(told(), ['group.db.lease_millis']);
  assert.deepEqual(told(), []);
  assert.deepEqual(log.slice(1, 3), [
    'FILE was read again: nothing has changed since it was read last; since earlier group.db.lease_millis needs a restart of this daemon',
    'FILE was read again: group.db.rpo_seconds takes effect now; since earlier group.db.lease_millis needs a restart of this daemon',
  ]);
});

test('a group that had several sync sites is not left one', () => {
  const config = (async: string): Parameters<typeof refuseAlone>[0] =>
    parseConfig(SAMPLE.replace('async = ["gamma"]', `async = ${async}`), 'tercet.toml');
  refuseAlone(config('["gamma"]'), config('[]'));
  refuseAlone(config('[]'), config('["beta"]'));
  refuseAlone(config('["beta", "gamma"]'), config('["gamma", "beta"]'));
  assert.throws(() => refuseAlone(config('["gamma"]'), config('["beta", "gamma"]')), /leaves group db one sync site, alpha: .*--force/);
});

test('a volume never becomes smaller', () => {
  const config = (text: string): Parameters<typeof refuseSmaller>[0] => parseConfig(text, 'tercet.toml');
  const larger = SAMPLE.replace('size = 8192', 'size = 16384');
  refuseSmaller(config(SAMPLE), config(larger));
  assert.throws(() => refuseSmaller(config(larger), config(SAMPLE)), /volume db\/log has 16384 bytes, and the configuration now says 8192/);
});

test('a group that has a copy keeps its volumes under their names', () => {
  const config = (text: string): Parameters<typeof refuseOthers>[0] => parseConfig(text, 'tercet.toml');
  const renamed = config(SAMPLE.replace('name = "log"', 'name = "logs"'));
  const before = config(SAMPLE);
  refuseOthers(before, before, () => true);
  refuseOthers(before, renamed, () => false);
  const names = before.groups.find(({ name }) => name === 'db')?.volumes.map(({ name }) => name) ?? [];
  const [had, wanted] = [names, names.map((name) => (name === 'log' ? 'logs' : name))].map((each) => each.join(', '));
  assert.throws(
    () => refuseOthers(before, renamed, (group) => group === 'db'),
    new RegExp(`has the volumes ${had}, and the configuration now says ${wanted}`),
  );
});
