// Clean ends and starts keep everything; a real file system survives a failover; a primary that was away longer than the sidefile reaches back is
// filled anew.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { firstDifference, makeImage, writeImage } from '../../demo/image.ts';
import { baseImage } from '../../demo/layout.ts';
import { LEDGER_BLOCK_BYTES } from '../../demo/ledger.ts';
import { mustRun } from '../../demo/tools.ts';
import { MIB, type TestCluster, type TestLoad, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

test('a clean stop and start of everything keeps every write, flushed or not', async () => {
  await withCluster({}, async (test) => {
    const load = test.load({ flushEvery: 10_000 });
    for (let round = 0; round < 2; round++) {
      await test.acknowledged(load, 300);
      await test.cluster.stop();
      for (const { layout } of test.cluster.members)
        assert.match(readFileSync(layout.log, 'utf8').trimEnd().split('\n').at(-1) ?? '', /"stopped"/);
      await test.cluster.start();
      await test.healed();
    }
    await test.acknowledged(load, 100);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('each site may be restarted in order while a host writes', async () => {
  await withCluster({}, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 200);
    for (const site of ['gamma', 'beta', 'alpha'] as const) {
      const ending = await test.member(site).daemon.stop();
      assert.deepEqual(ending, { code: 0, signal: null });
      await test.acknowledged(load, 200);
      await test.member(site).daemon.start();
      await test.healed();
    }
    assert.deepEqual(await test.cluster.witness.stop(), { code: 0, signal: null });
    await test.acknowledged(load, 200);
    await test.cluster.witness.start();
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('an ext4 file system made from a real tree is whole after a failover, with all its files', async () => {
  await withCluster({ sizeBytes: 192 * MIB }, async (test) => {
    const image = await makeImage(join(test.layout.folder, 'image'), 80 * MIB);
    assert.equal(image.kind, 'ext4');
    const load = test.load();
    const { address, uri } = { address: test.member('alpha').layout.nbd, uri: test.uri('alpha') };
    assert.equal(await writeImage(image, { uri, address, exportName: test.exportName }), 'qemu-img');
    await test.member('alpha').daemon.kill();
    await test.acknowledged(load, 200);

    const copy = join(test.layout.folder, 'copy.raw');
    await mustRun('nbdcopy', [test.uri('beta'), copy]);
    await mustRun('e2fsck', ['-f', '-n', copy]);
    const out = join(test.layout.folder, 'out');
    await mustRun('mkdir', [out]);
    await mustRun('debugfs', ['-R', `rdump / ${out}`, copy]);
    await mustRun('diff', ['-r', '--exclude=lost+found', join(test.layout.folder, 'image', 'tree'), out]);

    await test.member('alpha').daemon.start();
    await test.compareCopies(load);
    const bases = test.layout.sites.map((site) => baseImage(test.layout, site));
    assert.equal(firstDifference([image.path, ...bases], image.sizeBytes), null);
    for (const base of bases) await mustRun('e2fsck', ['-f', '-n', base]);
  });
});

test('a mirror that lacks more than the sidefile holds is filled by a whole copy, and the primary serves meanwhile', async () => {
  await withCluster({ sizeBytes: 192 * MIB }, async (test) => {
    const load = test.load({ depth: 16, blockCount: 4096 });
    await test.acknowledged(load, 100);
    const { copies } = (await test.status('alpha')).counters;
    await test.member('gamma').daemon.kill();
    // More than the 128 MiB that the sidefile may take.
    const write = [
      '--name=much',
      '--ioengine=nbd',
      `--uri=${test.uri('alpha', 'unix')}`,
      '--rw=randwrite',
      '--bs=64k',
      '--size=96m',
      '--io_size=288m',
      '--iodepth=8',
    ];
    await mustRun('fio', [...write, '--minimal']);
    await test.member('gamma').daemon.start();
    await test.acknowledged(load, 200);
    await test.healed();
    assert.ok((await test.status('alpha')).counters.copies > copies, 'a whole copy was made');
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

/** The image of a stopped mirror holds every write of the host, and holes; nothing is written over, and nothing half done is left. */
async function exported(test: TestCluster, { ledger }: TestLoad): Promise<void> {
  const file = join(test.layout.folder, 'image.raw');
  const made = await tercet(test, `export ${test.exportName} --site beta ${file}`);
  assert.equal(made.code, 0, made.text);
  assert.match(made.out, /as of record \([0-9]+, [0-9]+\) of 20/);
  const { size, blocks } = statSync(file);
  assert.equal(size, test.layout.sizeBytes);
  assert.ok(blocks * 512 < size / 2, `holes are kept: ${blocks * 512} of ${size} bytes`);
  const image = readFileSync(file);
  for (let block = 0; block < ledger.blockCount; block++) {
    const at = ledger.offsetOf(block);
    assert.equal(ledger.check(block, image.subarray(at, at + LEDGER_BLOCK_BYTES)), null);
  }
  const again = await tercet(test, `export ${test.exportName} --site beta ${file}`);
  assert.deepEqual([again.code, /exists already/.test(again.err)], [3, true], again.text);
  const nowhere = await tercet(test, `export ${test.exportName} --site beta ${join(test.layout.folder, 'no-such-folder', 'image.raw')}`);
  assert.deepEqual([nowhere.code, /cannot be written \(ENOENT\)/.test(nowhere.err)], [3, true], nowhere.text);
  const left = readdirSync(test.layout.folder).filter((name) => name.includes('.raw'));
  assert.deepEqual(left, ['image.raw']);
}

test('a deleted group serves nowhere again, not at a site that was away, and its name is free for a new one', async () => {
  await withCluster({}, async (test) => {
    const { group } = test.layout;
    const load = test.load();
    await test.acknowledged(load, 100);
    await load.workload.stop();
    const refused = async (line: string, code: number, why: RegExp): Promise<void> => {
      const answer = await tercet(test, `delete ${group} ${line}`);
      assert.equal(answer.code, code, answer.text);
      assert.match(answer.err, why);
    };
    await refused('--site alpha --yes --force', 5, /the daemon of alpha runs with group/);
    assert.equal((await tercet(test, `export ${test.exportName} --site beta ${join(test.layout.folder, 'early.raw')}`)).code, 3);
    for (const site of ['gamma', 'beta', 'alpha'] as const) await test.member(site).daemon.stop();
    await exported(test, load);
    await refused('--site beta --yes', 5, /alpha is primary of/);
    await refused('--site alpha', 2, /it asks first/);
    const folder = join(test.member('alpha').layout.data, group);
    const dry = await tercet(test, `delete ${group} --site alpha --dry-run`);
    assert.deepEqual([dry.code, existsSync(folder)], [0, true], dry.text);
    const deleted = await tercet(test, `delete ${group} --site alpha --yes`);
    assert.deepEqual([deleted.code, existsSync(folder)], [0, false], deleted.text);

    // A site that was away comes back with a whole copy, and its configuration still has the group.
    await test.member('beta').daemon.start();
    await test.until('beta would claim, and knows that it may not', async () => {
      const { role, waiting } = await test.status('beta');
      return role === 'standby' && waiting.some(({ cause }) => cause === 'this group was deleted, and its copies serve no more');
    });
    const forced = await test.member('beta').client.promote(group, { force: true });
    assert.equal(forced.kind, 'refused', forced.text);
    assert.notEqual((await tercet(test, `witness replace ${group}`)).code, 0);
    assert.equal(await test.servingSite(), null);
    await test.member('beta').daemon.stop();
    for (const site of ['beta', 'gamma'] as const) {
      const removed = await tercet(test, `delete ${group} --site ${site} --yes`);
      assert.equal(removed.code, 0, removed.text);
    }
    assert.match((await tercet(test, `delete ${group} --site gamma --yes`)).out, /is deleted, and there is no copy of it at gamma/);

    for (const { daemon } of test.cluster.members) await daemon.start();
    await test.cluster.create();
    await test.healed();
    const host = await test.attach('alpha');
    const bytes = await host.read(test.layout.sizeBytes / 2, MIB);
    assert.ok(
      bytes.every((byte) => byte === 0),
      'the new group has nothing of the old one',
    );
    await host.close();
  });
});
