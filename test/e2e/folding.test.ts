// What travels to a far site over a slow link, with real daemons: records folded, so that only the newest content of what is written over goes, packed,
// and at a bounded pace. All copies are equal byte for byte behind each of them, and hosts are not held by any.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { mustRun } from '../../demo/tools.ts';
import { pause } from '../../demo/waiting.ts';
import { MIB, type SiteNameInTests, type TestCluster, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

type PeerStatus = Awaited<ReturnType<TestCluster['status']>>['peers'][number];

/** What a site says of another one. */
async function peerOf(test: TestCluster, site: SiteNameInTests, name: SiteNameInTests): Promise<PeerStatus> {
  const peer = (await test.status(site)).peers.find((each) => each.site === name);
  assert.ok(peer !== undefined, `${site} knows ${name}`);
  return peer;
}

async function inStep(test: TestCluster, site: SiteNameInTests, primary: SiteNameInTests): Promise<void> {
  await test.until(`${site} is in step`, async () => {
    const [own, theirs] = [(await test.status(site)).marks, (await test.status(primary)).marks];
    return own !== null && own.received === theirs?.received;
  });
}

/** fio writes a small area over and over, and reads back what it has written. */
async function writeOver(test: TestCluster, site: SiteNameInTests): Promise<void> {
  const where = ['--name=over', '--ioengine=nbd', `--uri=${test.uri(site, 'unix')}`, '--rw=randwrite', '--bs=4k', '--size=256k'];
  await mustRun('fio', [...where, '--loops=64', '--iodepth=16', '--verify=crc32c', '--verify_state_save=0', '--minimal']);
}

test('folded records bring far to the same bytes with less on the way, also when the primary is killed in the middle', async () => {
  await withCluster({ group: { fold_millis: '{ gamma = 1000, alpha = 1000 }' } }, async (test) => {
    assert.equal(await test.healed(), 'alpha');
    await writeOver(test, 'alpha');
    await inStep(test, 'gamma', 'alpha');
    const [near, far] = [await peerOf(test, 'alpha', 'beta'), await peerOf(test, 'alpha', 'gamma')];
    assert.ok(far.folding.records > 1000, `${far.folding.records} records were folded`);
    assert.equal(near.folding.records, 0, 'what a host waits for is not folded');
    assert.ok(far.traffic.rawBytes < near.traffic.rawBytes / 2, `${far.traffic.rawBytes} to far, ${near.traffic.rawBytes} to near`);
    const went = far.traffic.rawBytes + far.folding.savedBytes;
    assert.ok(Math.abs(went - near.traffic.rawBytes) < near.traffic.rawBytes / 20, 'what was saved and what went are what went to near');
    const inspected = await tercet(test, `sidefile inspect ${test.layout.group} --site gamma`);
    assert.match(inspected.out, / folded\b/);

    const load = test.load({ depth: 16, blockCount: 64 });
    await test.acknowledged(load, 2000);
    await test.member('alpha').daemon.kill();
    await test.acknowledged(load, 2000);
    const serving = await test.servingSite();
    assert.equal(serving, 'beta');
    await test.until('near folds for far', async () => (await peerOf(test, 'beta', 'gamma')).folding.records > 0);
    await test.member('alpha').daemon.start();
    await test.acknowledged(load, 500);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('a far copy that is further on gives its folded records to near', async () => {
  await withCluster({ group: { fold_millis: '{ gamma = 200 }', streams: '{ gamma = 2 }' } }, async (test) => {
    const load = test.load({ depth: 16, blockCount: 64 });
    await test.acknowledged(load, 1000);
    await test.member('beta').daemon.kill();
    // Near is excluded, and lacks what far gets from now on.
    await test.acknowledged(load, 2000);
    await load.workload.stop();
    await inStep(test, 'gamma', 'alpha');
    assert.ok((await peerOf(test, 'alpha', 'gamma')).folding.records > 0);
    await test.member('alpha').daemon.kill();
    await test.member('beta').daemon.start();
    await test.until('beta has what gamma has', async () => {
      const [near, far] = [(await test.status('beta')).marks, (await test.status('gamma')).marks];
      return near !== null && near.received === far?.received;
    });
    assert.ok((await peerOf(test, 'gamma', 'beta')).traffic.foldedFrames > 0, 'gamma has given folded frames');
    await test.member('alpha').daemon.start();
    await test.healed();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('what goes to a site whose link is bounded goes no faster, and hosts do not wait for it', async () => {
  await withCluster({ group: { link_mib_per_second: '{ gamma = 2 }' } }, async (test) => {
    await test.healed();
    const client = await test.attach('alpha');
    const data = randomBytes(MIB);
    const before = (await peerOf(test, 'alpha', 'gamma')).traffic.sentBytes;
    const began = performance.now();
    const sent = async (): Promise<number> => (await peerOf(test, 'alpha', 'gamma')).traffic.sentBytes - before;
    for (let at = 0; at < 10; at++) await client.write(at * MIB, data);
    const hostSeconds = (performance.now() - began) / 1000;
    const first = await sent();
    // A frame goes as a whole, so there may be one of a MiB too much; and a tenth of a second's worth after a rest.
    const most = (): number => 2 * MIB * ((performance.now() - began) / 1000 + 0.1) + 2 * MIB;
    assert.ok(first <= most(), `${first} bytes went in ${hostSeconds} s`);
    assert.ok(hostSeconds < 3, `hosts needed ${hostSeconds} s`);
    for (let last = first; last < 10 * MIB; last = await sent()) {
      assert.ok(last <= most(), `${last} bytes have gone`);
      await pause(100);
    }
    await inStep(test, 'gamma', 'alpha');
    const seconds = (performance.now() - began) / 1000;
    assert.ok(seconds > 3.8 && seconds < 15, `10 MiB at 2 MiB/s took ${seconds} s`);
    await client.close();
    await test.compareCopies();
  });
});

test('what can be packed goes smaller, what cannot goes as it is, and every copy has the same bytes', async () => {
  await withCluster({ group: { compress: '{ gamma = "zstd" }' } }, async (test) => {
    await test.healed();
    const client = await test.attach('alpha');
    const text = Buffer.from(Array.from({ length: 8192 }, (_, line) => `line ${line} of a file that can be packed\n`).join(''));
    const traffic = async (site: 'beta' | 'gamma'): Promise<PeerStatus['traffic']> => (await peerOf(test, 'alpha', site)).traffic;
    for (let at = 0; at < 16; at++) await client.write(at * MIB, text.subarray(0, 256 * 1024));
    await inStep(test, 'gamma', 'alpha');
    const packed = await traffic('gamma');
    assert.ok(packed.rawBytes > 4 * MIB && packed.sentBytes < packed.rawBytes / 4, JSON.stringify(packed));
    const near = await traffic('beta');
    assert.equal(near.sentBytes, near.rawBytes, 'only what was chosen is packed');
    for (let at = 16; at < 24; at++) await client.write(at * MIB, randomBytes(256 * 1024));
    await inStep(test, 'gamma', 'alpha');
    const after = await traffic('gamma');
    const [raw, sent] = [after.rawBytes - packed.rawBytes, after.sentBytes - packed.sentBytes];
    assert.ok(raw > 2 * MIB && sent > raw * 0.99 && sent <= raw, `${sent} of ${raw}`);
    await client.close();
    await test.compareCopies();
  });
});
