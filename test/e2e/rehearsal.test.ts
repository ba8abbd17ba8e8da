// The rest of docs/recovery.md, rehearsed with real daemons: a site that is down, a disk that was replaced, a configuration with a fault, nobody who
// serves, a resync that is cut off with nobody left who could end it, the lost sites' return behind a promotion by force, and a witness whose disk is full.

import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import type { Layout } from '../../demo/layout.ts';
import { mustRun, runTool } from '../../demo/tools.ts';
import { EXIT } from '../../src/core/base/errors.ts';
import { limits } from '../../src/core/base/limits.ts';
import type { TestCluster } from '../support/cluster.ts';
import { MIB, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { cutResyncOff, GONE } from '../support/cut-resync.ts';
import { rehearse, told } from '../support/recovery-page.ts';

const NODE = process.execPath;
const COMMAND = join(import.meta.dirname, '../../bin/tercet.js');
const DAEMON = join(import.meta.dirname, '../../bin/tercetd.js');

const says = (cluster: TestCluster, command: string, pattern: RegExp): Promise<true> =>
  cluster.until(`\`tercet ${command}\` says ${pattern}`, async () => pattern.test((await tercet(cluster, command)).text));

/** The configuration of one site has a fault: it is named, a daemon that runs goes on as it was, and none starts with it. */
async function faultyConfig(cluster: TestCluster): Promise<void> {
  rehearse('The configuration has a fault');
  const file = join(cluster.layout.folder, 'beta.toml');
  const sound = readFileSync(file, 'utf8');
  writeFileSync(file, sound.replace(/^lease_millis = .*$/m, 'lease_millis = "long"'));
  const checked = await runTool(NODE, [COMMAND, 'check-config', '--config', file]);
  assert.match(checked.stdout + checked.stderr, /line [0-9]+: group\.demo\.lease_millis = "long": must be/);
  const reloaded = await tercet(cluster, 'reload --site beta');
  assert.notEqual(reloaded.code, EXIT.done, reloaded.text);
  assert.match(reloaded.text, /lease_millis = "long"/);
  assert.equal((await cluster.status('beta')).role, 'mirror', 'a running daemon keeps what it runs with');
  await cluster.member('beta').daemon.stop();
  const started = await runTool(NODE, [DAEMON, '--config', file, '--site', 'beta']);
  assert.equal(started.code, 78, started.stderr);
  writeFileSync(file, sound);
}

test('a site that is down, a faulty configuration, a replaced disk, and nobody who serves', { timeout: 240_000 }, async () => {
  await withCluster({ network: true }, async (cluster) => {
    const load = cluster.load();
    const beta = cluster.member('beta');
    await cluster.acknowledged(load, 100);

    rehearse('A site is down');
    await beta.daemon.kill();
    await says(cluster, 'status', told('beta is not connected to alpha'));
    await says(cluster, 'status', told('new writes are on alpha alone'));
    await cluster.acknowledged(load, 50);
    rehearse('What to send with a report');
    const archive = join(cluster.layout.folder, 'support.tar.gz');
    const support = await tercet(cluster, `support --site beta --out ${archive}`);
    assert.equal(support.code, EXIT.done, support.text);
    assert.ok(existsSync(archive));
    await beta.daemon.start();
    assert.equal(await cluster.healed(), 'alpha');

    await faultyConfig(cluster);
    rehearse('A disk was replaced');
    rmSync(beta.layout.data, { recursive: true });
    await beta.daemon.start();
    assert.equal(await cluster.healed(), 'alpha');
    await cluster.acknowledged(load, 50);

    rehearse('Nobody serves');
    await cluster.member('alpha').daemon.kill();
    await beta.daemon.kill();
    await says(cluster, 'status', told('nobody serves'));
    assert.match((await tercet(cluster, 'witness status')).text, /true/);
    // Whichever of the two the witness names may serve; both do no harm.
    await cluster.member('alpha').daemon.start();
    await beta.daemon.start();
    await cluster.healed();
    await cluster.acknowledged(load, 50);
    await cluster.compareCopies(load);
  });
});

test('a resync is cut off and nobody is left: the older volume by force, and the lost sites follow it', { timeout: 240_000 }, async () => {
  await withCluster({ network: true, sizeBytes: 32 * MIB, group: { bitmap_only: '["gamma"]' } }, async (cluster) => {
    rehearse('A resync was cut off, and nobody is left who could end it');
    await cutResyncOff(cluster);
    await says(cluster, 'status', told('nobody serves'));

    const group = cluster.layout.group;
    await cluster.until('gamma says which volume it can go back to', async () => {
      const asked = await tercet(cluster, `promote ${group} --site gamma`);
      assert.notEqual(asked.code, EXIT.done, asked.text);
      return /go back to the volume as of record [0-9]+/.test(asked.text);
    });
    const dry = await tercet(cluster, `promote ${group} --site gamma --force --dry-run`);
    assert.match(dry.text, /lost|lose/i);
    await cluster.until('gamma is promoted by force', async () => {
      const forced = await tercet(cluster, `promote ${group} --site gamma --force --yes`);
      if (forced.code !== EXIT.done) assert.match(forced.text, /has promised not to claim/);
      return forced.code === EXIT.done;
    });
    await cluster.until('gamma serves', async () => (await cluster.servingSite()) === 'gamma');

    // The lost sites come back, and follow: what only they had is cut off there.
    cluster.healNetwork();
    for (const site of GONE) cluster.sever(site, 'gamma', false);
    for (const site of GONE) await cluster.member(site).daemon.start();
    assert.equal(await cluster.healed(), 'gamma');
    await cluster.compareCopies();
  });
});

/** Puts a small file system in memory under the witness's folder. */
async function smallDisk({ witness }: Layout): Promise<() => Promise<void>> {
  await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tercet-e2e', witness.data]);
  return async () => void (await mustRun('umount', [witness.data]));
}

/** Takes all space that is left on a disk. Returns the file that has it. */
function fillDisk(folder: string): string {
  const path = join(folder, 'somebody-elses.log');
  const file = openSync(path, 'w');
  try {
    for (;;) writeSync(file, Buffer.alloc(4096, 1));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  } finally {
    closeSync(file);
  }
  return path;
}

test(
  'the disk of the witness is full: it answers nothing any more, hosts are served on, and with room it grants again',
  { timeout: 240_000 },
  async () => {
    await withCluster({ prepare: smallDisk }, async (cluster) => {
      rehearse('The disk of the witness is full, or fails');
      const { witness, group } = cluster.layout;
      const load = cluster.load();
      await cluster.acknowledged(load, 100);

      // No space for a group that is new: that one is not created, and nobody else notices.
      let full = fillDisk(witness.data);
      const create = { kind: 'create', requestId: 'r1', group: 'other', from: 'alpha', groupId: 'g1', first: 'alpha' };
      const body = JSON.stringify({ ...create, copies: [{ site: 'alpha', mode: 'sync' }] });
      const created = await fetch(`http://${witness.address.text}/v1/groups/other/operations`, { method: 'POST', body });
      assert.equal(created.status, 500);
      assert.match(await created.text(), /ENOSPC/);
      assert.match((await tercet(cluster, 'witness status')).text, /primary alpha/);

      // Where space is only given when it is written to (a thin disk, btrfs), there is none for what changes either. Whoever starts has it write at once.
      rmSync(full);
      const slot = String(limits.cellSlotBytes);
      await mustRun('fallocate', ['--punch-hole', '--offset', slot, '--length', slot, join(witness.data, `group-${group}.cell`)]);
      full = fillDisk(witness.data);
      await cluster.member('gamma').daemon.stop();
      await cluster.member('gamma').daemon.start();
      await says(cluster, 'status', told('the witness does not answer alpha: no failover until it does'));
      await says(cluster, 'witness status', told('the witness cannot answer: write of ... failed with ENOSPC'));
      assert.match(cluster.cluster.witness.logTail(), /"event":"witness.failed"/);
      await cluster.acknowledged(load, 100);

      // As the page says: room first, then a start. Without room it says why it does not start.
      await cluster.cluster.witness.stop();
      const run = ['witness', 'run', '--data', witness.data, '--listen', witness.address.text];
      const started = await runTool(NODE, [COMMAND, ...run]);
      assert.equal(started.code, EXIT.failed, started.stderr);
      assert.match(started.stderr, /failed with ENOSPC/);
      rmSync(full);
      await cluster.cluster.witness.start();
      assert.equal(await cluster.healed(), 'alpha');
      await says(cluster, 'status', /^\S+: alpha serves/);
      await cluster.member('alpha').daemon.kill();
      await cluster.until('beta serves', async () => (await cluster.servingSite()) === 'beta');
      await cluster.acknowledged(load, 50);
      await cluster.member('alpha').daemon.start();
      await cluster.compareCopies(load);
    });
  },
);
