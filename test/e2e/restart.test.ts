// Clean ends and starts keep everything; a real file system survives a failover; a primary that was away longer than the sidefile reaches back is
// filled anew.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { firstDifference, makeImage, writeImage } from '../../demo/image.ts';
import { baseImage } from '../../demo/layout.ts';
import { mustRun } from '../../demo/tools.ts';
import { MIB, type TestCluster, withCluster } from '../support/cluster.ts';
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

test('each site may be restarted in order while a host writes, and a volume grows by it, and then without', async () => {
  await withCluster({}, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 200);
    const { configFile, sizeBytes } = test.layout;
    const larger = sizeBytes + 16 * MIB;
    const largest = larger + 16 * MIB;
    const resize = (from: number, to: number): void =>
      writeFileSync(configFile, readFileSync(configFile, 'utf8').replace(`size = ${from}`, `size = ${to}`));
    resize(sizeBytes, larger);
    for (const site of ['gamma', 'beta', 'alpha'] as const) {
      const ending = await test.member(site).daemon.stop();
      assert.deepEqual(ending, { code: 0, signal: null });
      await test.acknowledged(load, 200);
      await test.member(site).daemon.start();
      await test.healed();
      const { out } = await tercet(test, 'status');
      assert.equal(/the copies of volume disk0 can hold 64\.0 MiB at .*, 80\.0 MiB at /.test(out), site !== 'alpha', out);
    }
    await writeTail(test, larger);
    resize(larger, largest);
    await growOnline(test, largest);
    const tail = await writeTail(test, largest);
    assert.deepEqual(await test.cluster.witness.stop(), { code: 0, signal: null });
    await test.acknowledged(load, 200);
    await test.cluster.witness.start();
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
    const bases = test.layout.sites.map((site) => baseImage(test.layout, site));
    assert.equal(firstDifference(bases, largest), null);
    const grown = readFileSync(bases[0] as string).subarray(larger);
    assert.ok(grown.subarray(grown.length - tail.length).equals(tail), 'what was written into the new part is at every site');
    assert.ok(
      grown.subarray(0, grown.length - tail.length).every((byte) => byte === 0),
      'the rest of it is zeroes',
    );
  });
});

/** Each site reads its configuration again, the one that serves first: only the last one lets hosts see more. */
async function growOnline(test: TestCluster, largest: number): Promise<void> {
  const serving = await test.healed();
  const sites = [serving, ...(['alpha', 'beta', 'gamma'] as const).filter((name) => name !== serving)];
  for (const [index, site] of sites.entries()) {
    const would = await tercet(test, `reload --site ${site} --dry-run`);
    assert.match(would.out, /volume\[disk0\]\.size: .* \(not read yet; then: in effect, and never smaller again\)/);
    assert.ok(((await test.status(site)).volumes[0]?.heldBytes ?? 0) < largest);
    const reloaded = await tercet(test, `reload --site ${site}`);
    assert.match(reloaded.out, /volume\[disk0\]\.size: .* \(in effect, and never smaller again\)/);
    await test.until(`the copy at ${site} is larger`, async () => (await test.status(site)).volumes[0]?.heldBytes === largest);
    if (index === sites.length - 1) continue;
    assert.ok(((await test.status(serving)).volumes[0]?.sizeBytes ?? 0) < largest);
    assert.match((await tercet(test, 'status')).out, /waits to serve volume disk0 with [0-9]+ bytes: the copy at [a-z]+ can hold/);
  }
  const { configFile } = test.layout;
  const text = readFileSync(configFile, 'utf8');
  writeFileSync(configFile, text.replace(`size = ${largest}`, `size = ${largest - MIB}`));
  const smaller = await tercet(test, `reload --site ${serving}`);
  assert.deepEqual([smaller.code, /never becomes smaller/.test(smaller.err)], [78, true], smaller.text);
  writeFileSync(configFile, text.replace('name = "disk0"', 'name = "disk1"'));
  const renamed = await tercet(test, `reload --site ${serving}`);
  assert.deepEqual(
    [renamed.code, /has the volumes disk0, and the configuration now says disk1/.test(renamed.err)],
    [78, true],
    renamed.text,
  );
  writeFileSync(configFile, text);
}

/** A host that connects now sees the new size, and writes the last part. */
async function writeTail(test: TestCluster, larger: number): Promise<Buffer> {
  const serving = await test.healed();
  await test.until('hosts see the new size', async () => (await test.status(serving)).volumes[0]?.sizeBytes === larger);
  assert.equal((await mustRun('nbdinfo', ['--size', test.uri(serving)])).trim(), String(larger));
  const host = await test.attach(serving);
  assert.equal(host.sizeBytes, larger);
  const tail = randomBytes(MIB);
  await host.write(larger - tail.length, tail);
  await host.flush();
  await host.close();
  return tail;
}

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
