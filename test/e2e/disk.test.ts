// Full disks: a site that cannot write any more stops using its copy and says so, the others go on, and with room again it comes back. The data
// folders are small file systems in memory, which takes the right to mount.

import assert from 'node:assert/strict';
import { statfsSync } from 'node:fs';
import { test } from 'node:test';

import type { Layout } from '../../demo/layout.ts';
import { mustRun } from '../../demo/tools.ts';
import type { SiteNameInTests, TestCluster } from '../support/cluster.ts';
import { MIB, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { rehearse, told } from '../support/recovery-page.ts';

const ROOM_MIB = 512;
/** Written anew for each site that is to fail; the first half of the volume, which the load leaves alone, has room for three. */
const NEW_MIB = 20;

/** Puts a file system of its own under each data folder. */
async function mountAll(layout: Layout): Promise<() => Promise<void>> {
  const mounted: string[] = [];
  const unmountAll = async (): Promise<void> => {
    for (const folder of mounted) await mustRun('umount', [folder]);
  };
  try {
    for (const { data } of layout.sites) {
      await mustRun('mount', ['-t', 'tmpfs', '-o', `size=${ROOM_MIB}m`, 'tercet-e2e', data]);
      mounted.push(data);
    }
  } catch (cause) {
    await unmountAll();
    throw new Error('this test mounts small file systems: run it as root, or in a container that may mount', { cause });
  }
  return unmountAll;
}

function resize(folder: string, bytes: number): Promise<string> {
  return mustRun('mount', ['-o', `remount,size=${bytes}`, folder]);
}

/** Leaves a site almost no room. */
async function fill(test: TestCluster, site: SiteNameInTests): Promise<void> {
  const { data } = test.member(site).layout;
  const { blocks, bfree, bsize } = statfsSync(data);
  await resize(data, (blocks - bfree) * bsize + MIB);
}

/**
 * Writes a part of the volume that nobody has written before: a base image needs space for that, whatever its site has set aside or uses again. The
 * site that serves may be the one that fails of it, and then the host is cut off in the middle.
 */
async function writeAnew(test: TestCluster, primary: SiteNameInTests, part: number): Promise<void> {
  const client = await test.attach(primary);
  const piece = Buffer.alloc(MIB, part + 1);
  await Promise.allSettled(Array.from({ length: NEW_MIB }, (_, at) => client.write((part * NEW_MIB + at) * MIB, piece)));
}

test('a site whose disk is full stops using its copy, and the others go on', async () => {
  await withCluster({ sizeBytes: 128 * MIB, prepare: mountAll }, async (test) => {
    const watch = test.watch();
    const load = test.load({ blockCount: 12_000, depth: 16 });
    await test.acknowledged(load, 500);
    for (const [part, victim] of (['gamma', 'beta', 'alpha'] as const).entries()) {
      const primary = await test.healed();
      await fill(test, victim);
      const written = writeAnew(test, primary, part);
      await test.until(`the copy at ${victim} is given up`, async () => (await test.status(victim)).role === 'failed');
      const { failure, serving } = await test.status(victim);
      await written;
      assert.match(failure ?? '', /ENOSPC/, 'it says why');
      rehearse('The disk of a site is full');
      assert.match((await tercet(test, 'status')).text, told('the copy at gamma has failed'));
      assert.equal(serving, false);
      await test.acknowledged(load, 500);
      const now = await test.servingSite();
      if (victim === primary) assert.equal(now, victim === 'alpha' ? 'beta' : 'alpha');
      else assert.equal(now, primary);

      await resize(test.member(victim).layout.data, ROOM_MIB * MIB);
      await test.member(victim).daemon.stop();
      await test.member(victim).daemon.start();
      await test.healed();
      await test.acknowledged(load, 200);
    }
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});
