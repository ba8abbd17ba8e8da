// Programs of the administrator are called at what happens to real daemons: changes of roles, connections that come and go, resyncs that begin, end and are
// cut off, a target that is missed, and a copy that holds something else than its primary. One of them hangs, and nobody waits for it.

import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { EXIT } from '../../src/core/base/errors.ts';
import { MIB, type TestCluster, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

/** A folder with a program that notes each call: the hook, the site, the peer, and the event. */
function folderOfHooks(folder: string): { readonly hooks: string; readonly log: string } {
  const [hooks, log] = [join(folder, 'hooks.d'), join(folder, 'called')];
  mkdirSync(hooks);
  const program = join(hooks, 'note');
  writeFileSync(program, `#!/bin/sh\nread -r event\necho "$1 $TERCET_SITE $TERCET_GROUP \${TERCET_PEER:--} $event" >> '${log}'\n`);
  chmodSync(program, 0o755);
  return { hooks, log };
}

/** gamma is in the middle of a resync by bitmap. */
async function resyncing(cluster: TestCluster): Promise<void> {
  const load = cluster.load({ blockCount: 2048 });
  await cluster.acknowledged(load, 100);
  for (const site of ['alpha', 'beta'] as const) cluster.sever(site, 'gamma');
  await cluster.acknowledged(load, 4000);
  await load.workload.stop();
  for (const site of ['alpha', 'beta'] as const) cluster.delay(site, 'gamma', 100, 64 * 1024);
  for (const site of ['alpha', 'beta'] as const) cluster.sever(site, 'gamma', false);
  await cluster.until('gamma is in the middle of a resync', async () => {
    const peer = (await cluster.status('alpha')).peers.find(({ site }) => site === 'gamma');
    return peer?.attached === 'copying' && (peer.copiedBytes ?? 0) > 0;
  });
}

test('each hook is called when it happens', { timeout: 240_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-e2e-hooks-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const { hooks, log } = folderOfHooks(folder);
  const group = { bitmap_only: '["gamma"]', rpo_seconds: 1 };
  await withCluster({ network: true, sizeBytes: 32 * MIB, site: { hooks }, group }, async (cluster) => {
    const called = (hook: string, site: string, peer: string): Promise<true> =>
      cluster.until(`${site} calls ${hook} for ${peer}`, () =>
        existsSync(log) ? `\n${readFileSync(log, 'utf8')}`.includes(`\n${hook} ${site} demo ${peer} {`) : false,
      );
    await called('role', 'alpha', '-');
    await called('connect', 'alpha', 'gamma');
    await resyncing(cluster);
    await called('disconnect', 'alpha', 'gamma');
    await called('rpo', 'alpha', 'gamma');
    await called('resync-start', 'alpha', 'gamma');
    for (const site of ['alpha', 'beta'] as const) cluster.sever(site, 'gamma');
    await called('resync-interrupted', 'alpha', 'gamma');
    cluster.healNetwork();
    for (const site of ['alpha', 'beta'] as const) cluster.sever(site, 'gamma', false);
    await cluster.healed();
    await called('resync-done', 'alpha', 'gamma');

    // What the survivor never had is cut off at those that come back.
    for (const site of ['alpha', 'beta'] as const) cluster.sever(site, 'gamma');
    const load = cluster.load();
    await cluster.acknowledged(load, 500);
    await load.workload.stop();
    for (const site of ['alpha', 'beta'] as const) await cluster.member(site).daemon.kill();
    await cluster.until('gamma is promoted by force', async () => {
      const forced = await tercet(cluster, `promote ${cluster.layout.group} --site gamma --force --yes`);
      return forced.code === EXIT.done;
    });
    for (const site of ['alpha', 'beta'] as const) cluster.sever(site, 'gamma', false);
    for (const site of ['alpha', 'beta'] as const) await cluster.member(site).daemon.start();
    assert.equal(await cluster.healed(), 'gamma');
    await called('diverged', 'alpha', '-');
    // The event comes as JSON.
    const line =
      readFileSync(log, 'utf8')
        .split('\n')
        .find((each) => each.startsWith('diverged ')) ?? '';
    const event = JSON.parse(line.slice(line.indexOf('{'))) as { kind: string; group: string };
    assert.deepEqual([event.kind, event.group], ['diverged', 'demo']);
    await cluster.compareCopies();
  });
});
