// The support bundle: that it holds what is asked for, unpacks with the system's tar, and holds none of the secrets that were planted everywhere.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { runCli } from '../../../src/cli/app.ts';
import type { CliContext } from '../../../src/cli/context.ts';

const SECRETS = [
  'tok-3b1f0c9d8e7a6b5c4d3e',
  'MC4CAQAwBQYDK2VwBCIEIPlantedKeyLine',
  'hunter2-of-the-log',
  'in-a-comment-9931',
  'url-user:url-pass',
  'bearer-5512',
];

test('the bundle unpacks, holds what is asked for, and none of the planted secrets', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-support-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [token, key, password, comment, user, bearer] = SECRETS as [string, string, string, string, string, string];
  const pem = `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`;
  writeFileSync(join(folder, 'page.token'), `${token}\n`);
  writeFileSync(join(folder, 'alpha.key'), pem);
  const log = join(folder, 'daemon.log');
  writeFileSync(
    log,
    `{"event":"ready"}\n${pem}password=${password}\nauthorization: Bearer ${bearer}\nhttp://${user}@host/ ${token}\nthe last line\n`,
  );
  mkdirSync(join(folder, 'alpha/db'), { recursive: true });
  writeFileSync(join(folder, 'alpha/db/decisions.jsonl'), `{"text":"it serves","token":"${token}"}\n`);
  writeFileSync(join(folder, 'alpha/db/superblock'), new Uint8Array(32_768));
  writeFileSync(
    join(folder, 'tercet.toml'),
    `# ${comment}\n[witness]\naddress = "127.0.0.1:9"\n[tls]\nca = "ca.crt"\ncert = "{site}.crt"\nkey = "{site}.key"\n` +
      `[site.alpha]\ndata = "alpha"\nlink = "127.0.0.1:1"\nnbd = ["unix:/x/alpha"]\ncontrol = "unix:${folder}/none.sock"\n` +
      'page = "127.0.0.1:2"\npage_token_file = "page.token"\n' +
      '[group.db]\nsites = ["alpha"]\n[[group.db.volume]]\nname = "disk0"\nsize = "1GiB"\n',
  );
  let out = '';
  const write = (text: string): void => void (out += text);
  const fake: CliContext['process'] = { stdout: { write }, stderr: { write }, env: { STRICLI_NO_COLOR: '1' } };
  const bundle = join(folder, 'bundle.tar.gz');
  const words = ['support', '--site', 'alpha', '--config', join(folder, 'tercet.toml'), '--out', bundle, '--log', log];
  await runCli(words, { process: fake, env: {}, colour: false, ask: null });
  assert.equal(Number(fake.exitCode ?? 0), 0, out);
  assert.equal(statSync(bundle).mode & 0o777, 0o600);

  const unpacked = join(folder, 'unpacked');
  mkdirSync(unpacked);
  const { status, stderr } = spawnSync('tar', ['-xzf', bundle, '-C', unpacked], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const { stdout } = spawnSync('tar', ['-tzf', bundle], { encoding: 'utf8' });
  const names = stdout.trim().split('\n');
  for (const name of [
    'about.json',
    'config.json',
    'db/superblock.json',
    'db/decisions.jsonl',
    'log-0.txt',
    'status.json',
    'events.jsonl',
    'witness.json',
  ])
    assert.ok(names.includes(name), `${name} in ${names.join(', ')}`);
  const all = names.map((name) => readFileSync(join(unpacked, name), 'utf8')).join('\n');
  for (const secret of [...SECRETS, 'url-pass']) assert.ok(!all.includes(secret), `${secret} is in the bundle`);
  assert.match(all, /the last line/);
  assert.match(all, /"page_token_file": "page\.token"/);
  assert.match(readFileSync(join(unpacked, 'events.jsonl'), 'utf8'), /does not answer|cannot be reached|ENOENT/);
});
