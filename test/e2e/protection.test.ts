// A resync by bitmap without the space to stage it, cut off with nobody left who could end it, as docs/recovery.md has it: where the file system can share
// blocks, the volume of before is kept as protection images and comes back by force; where it cannot, only a primary can fill this copy.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { firstDifference } from '../../demo/image.ts';
import { baseImage, type Layout } from '../../demo/layout.ts';
import { mustRun } from '../../demo/tools.ts';
import { EXIT } from '../../src/core/base/errors.ts';
import { MIB, type TestCluster, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { cutResyncOff, GONE } from '../support/cut-resync.ts';
import { rehearse, told } from '../support/recovery-page.ts';

/** A sidefile may become larger than the disk of gamma: what it may still need is never there, so nothing is staged. */
const OPTIONS = { network: true, sizeBytes: 32 * MIB, group: { bitmap_only: '["gamma"]', sidefile_mib: 1024 } };

const dataOfGamma = (layout: Layout): string => layout.sites.find(({ name }) => name === 'gamma')?.data ?? assert.fail();

/** A disk of its own for gamma, whose files can share blocks. */
async function sharing(layout: Layout): Promise<() => Promise<void>> {
  const [data, image] = [dataOfGamma(layout), join(layout.folder, 'gamma.disk')];
  mkdirSync(data, { recursive: true });
  await mustRun('truncate', ['-s', String(512 * MIB), image]);
  await mustRun('mkfs.btrfs', ['-q', image]);
  await mustRun('mount', ['-o', 'loop', image, data]);
  return async () => void (await mustRun('umount', [data]));
}

/** The same size, and no block is shared. */
async function plain(layout: Layout): Promise<() => Promise<void>> {
  const data = dataOfGamma(layout);
  mkdirSync(data, { recursive: true });
  await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=512m', 'tercet-e2e', data]);
  return async () => void (await mustRun('umount', [data]));
}

/** gamma is in the middle of a resync by bitmap when both others are lost. */
async function cutOff(cluster: TestCluster): Promise<void> {
  await cutResyncOff(cluster);
  await cluster.until('nobody serves', async () => told('nobody serves').test((await tercet(cluster, 'status')).text));
}

/** The lost sites are there again. */
async function back(cluster: TestCluster): Promise<void> {
  cluster.healNetwork();
  for (const site of GONE) cluster.sever(site, 'gamma', false);
  for (const site of GONE) await cluster.member(site).daemon.start();
}

test(
  'a resync without space is cut off: the volume of before is in the protection images, and comes back by force',
  { timeout: 240_000 },
  async () => {
    await withCluster({ ...OPTIONS, prepare: sharing }, async (cluster) => {
      rehearse('A resync was cut off, and nobody is left who could end it');
      const { group } = cluster.layout;
      await cutOff(cluster);
      await cluster.until('gamma says which volume it can go back to', async () => {
        const asked = await tercet(cluster, `promote ${group} --site gamma`);
        assert.notEqual(asked.code, EXIT.done, asked.text);
        return /go back to the volume as of record [0-9]+/.test(asked.text);
      });
      const base = baseImage(cluster.layout, cluster.member('gamma').layout);
      const kept = join(base, '../protection-0');
      assert.ok(existsSync(kept), 'protection images are kept');
      const looked = join(cluster.layout.folder, 'gamma/looked-at.raw');
      await mustRun('cp', ['--reflink=always', kept, looked]);
      assert.equal((await tercet(cluster, `promote ${group} --site gamma --force --dry-run`)).code, EXIT.done);
      await cluster.until('gamma is promoted by force', async () => {
        const forced = await tercet(cluster, `promote ${group} --site gamma --force --yes`);
        if (forced.code !== EXIT.done) assert.match(forced.text, /has promised not to claim/);
        return forced.code === EXIT.done;
      });
      await cluster.until('gamma serves', async () => (await cluster.servingSite()) === 'gamma');
      const image = join(cluster.layout.folder, 'served.raw');
      const exported = await tercet(cluster, `export ${cluster.exportName} --site gamma ${image}`);
      assert.equal(exported.code, EXIT.done, exported.text);
      assert.equal(firstDifference([looked, image], cluster.layout.sizeBytes), null, 'it serves what was kept');
      await back(cluster);
      assert.equal(await cluster.healed(), 'gamma');
      await cluster.compareCopies();
    });
  },
);

test(
  'a resync without space is cut off where no protection images can be made: only a primary can fill this copy',
  { timeout: 240_000 },
  async () => {
    await withCluster({ ...OPTIONS, prepare: plain }, async (cluster) => {
      await cutOff(cluster);
      await cluster.until('gamma says that it is inconsistent', async () => {
        const asked = await tercet(cluster, `promote ${cluster.layout.group} --site gamma --force --yes`);
        assert.notEqual(asked.code, EXIT.done, asked.text);
        return told('this copy is inconsistent').test(asked.text);
      });
      await back(cluster);
      await cluster.healed();
      await cluster.compareCopies();
    });
  },
);
