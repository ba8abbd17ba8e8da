// What a reload says of each key that has changed.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseConfig } from '../../../src/daemon/config.ts';
import { changesOf, refuseAlone, refuseSmaller } from '../../../src/daemon/reload.ts';
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
