// Copies that differ where nobody wrote are made equal by comparing digests, under the writes of a host: whoever begins, whoever compares, by every
// digest; over a slow link, and when each of the daemons is killed in the middle.

import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { baseImage } from '../../demo/layout.ts';
import { mustRun } from '../../demo/tools.ts';
import { EXIT } from '../../src/core/base/errors.ts';
import type { SiteNameInTests, TestCluster } from '../support/cluster.ts';
import { MIB, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

const BLOCK = 4096;
/** Many units in a small volume, so that a scan has many places to go on from. */
const GROUP = { scan_unit_mib: 1 };

/** Fills the first half of the volume, which the host of the test leaves alone. */
async function fill(cluster: TestCluster, mib: number): Promise<void> {
  const uri = cluster.uri('alpha', 'unix');
  const how = ['--name=fill', '--ioengine=nbd', `--uri=${uri}`, '--rw=write', '--bs=1m', `--size=${mib}m`, '--iodepth=4'];
  await mustRun('fio', [...how, '--refill_buffers', '--minimal']);
  await cluster.healed();
  await cluster.until('everything that was filled is in the base images', async () => {
    for (const { client } of cluster.cluster.members) await client.drain(cluster.layout.group);
    const statuses = await cluster.cluster.statuses();
    return statuses.every((status) => status?.marks?.destaged === status?.marks?.received);
  });
}

/** Blocks of a site's base image get other bytes than were ever written, behind its back. */
function spoil(cluster: TestCluster, site: SiteNameInTests, blocks: readonly number[]): void {
  const file = openSync(baseImage(cluster.layout, cluster.member(site).layout), 'r+');
  for (const block of blocks) writeSync(file, randomBytes(BLOCK), 0, BLOCK, block * BLOCK);
  closeSync(file);
}

interface Line {
  readonly event: string;
  readonly [fact: string]: unknown;
}

/** What a site has written into its journal of one event. */
function journal(cluster: TestCluster, site: SiteNameInTests, event: string): readonly Line[] {
  const lines = readFileSync(cluster.member(site).layout.log, 'utf8').split('\n');
  return lines.filter((line) => line.includes(`"event":"${event}"`)).map((line) => JSON.parse(line) as Line);
}

interface Report {
  readonly kind: string;
  readonly peer: string;
  readonly facts: {
    readonly algorithm: string;
    readonly differingBytes: number;
    readonly endSeq: number;
    readonly ranges: readonly { readonly offset: number; readonly length: number }[];
  };
}

/** The newest report of a scan, out of the events of a site. */
function reportOf(events: string): Report {
  const lines = events.split('\n').filter((line) => line.includes('"scan-done"'));
  return JSON.parse(lines.at(-1) ?? '{}') as Report;
}

const ended = (cluster: TestCluster, primary: SiteNameInTests): number =>
  journal(cluster, primary, 'mirror.copied').filter((line) => line['rung'] === 'scan').length;

test('a scan finds what differs, whoever begins and whoever compares, by every digest', { timeout: 240_000 }, async () => {
  await withCluster({ group: GROUP }, async (cluster) => {
    await fill(cluster, 24);
    const load = cluster.load({ blockCount: 1024 });
    const ways = [
      { site: 'gamma', start: 'primary', compare: 'primary', digest: 'sha256' },
      { site: 'beta', start: 'mirror', compare: 'mirror', digest: 'sha1' },
      { site: 'gamma', start: 'primary', compare: 'mirror', digest: 'md5' },
      { site: 'beta', start: 'mirror', compare: 'primary', digest: 'crc32' },
    ] as const;
    for (const [round, { site, start, compare, digest }] of ways.entries()) {
      await cluster.acknowledged(load, 50);
      spoil(cluster, site, [3 + round, 700 + round, 5000 + round]);
      const before = ended(cluster, 'alpha');
      const said = await tercet(cluster, `resync demo --site ${site} --start ${start} --compare ${compare} --digest ${digest}`);
      assert.equal(said.code, EXIT.done, said.out);
      await cluster.until(`the scan of ${site} has ended`, () => ended(cluster, 'alpha') > before);
      await cluster.healed();
      const begun = journal(cluster, 'alpha', 'resync.begin').findLast((line) => line['rung'] === 'scan');
      assert.deepEqual([begun?.['site'], begun?.['algorithm'], begun?.['compare']], [site, digest, compare]);
      const report = await tercet(cluster, 'events --site alpha --json');
      const { kind, peer, facts } = reportOf(report.out);
      assert.deepEqual([kind, peer, facts.algorithm], ['scan-done', site, digest]);
      // The host writes meanwhile, elsewhere: of that a scan may send something as well.
      for (const block of [3 + round, 700 + round, 5000 + round])
        assert.ok(
          facts.ranges.some(({ offset, length }) => offset <= block * BLOCK && block * BLOCK < offset + length),
          `block ${block}: ${report.out}`,
        );
      assert.ok(facts.differingBytes >= 3 * BLOCK && facts.endSeq > 0, JSON.stringify(facts));
    }
    // The last one was by crc32: a confirmation is offered, and carried out once it is asked for.
    const confirmed = await tercet(cluster, 'resync demo --site gamma --digest crc32 --confirm');
    assert.match(confirmed.out, /everything is compared again by sha256/);
    await cluster.until('both scans have ended', () => ended(cluster, 'alpha') === ways.length + 2);
    const begun = journal(cluster, 'alpha', 'resync.begin').filter((line) => line['rung'] === 'scan');
    assert.deepEqual(
      begun.slice(-2).map((line) => line['algorithm']),
      ['crc32', 'sha256'],
    );
    await cluster.acknowledged(load, 50);
    await cluster.compareCopies(load);
  });
});

test('for a copy that is bitmap-only no records are held while it is away', { timeout: 240_000 }, async () => {
  await withCluster({ group: { bitmap_only: '["gamma"]', destage_backlog_mib: 1 } }, async (cluster) => {
    const load = cluster.load({ blockCount: 512 });
    await cluster.acknowledged(load, 50);
    await cluster.member('gamma').daemon.stop();
    // More than a few segments, far less than the sidefile may take.
    for (const site of ['alpha', 'beta'] as const) {
      const from = (await cluster.status(site)).marks?.received ?? 0;
      await cluster.until(
        `${site} has dropped records that gamma lacks`,
        async () => ((await cluster.status(site)).marks?.oldest ?? 0) > from,
      );
    }
    const { sidefileBytes } = await cluster.status('alpha');
    assert.ok(sidefileBytes < 64 * MIB, `the sidefile of alpha has ${sidefileBytes} bytes`);
    await cluster.member('gamma').daemon.start();
    await cluster.healed();
    const rungs = journal(cluster, 'alpha', 'resync.begin').filter((line) => line['site'] === 'gamma');
    assert.equal(rungs.at(-1)?.['rung'], 'bitmap');
    await cluster.compareCopies(load);
  });
});

test('a scan over a slow link goes on at its cursor when each of the daemons is killed', { timeout: 240_000 }, async () => {
  await withCluster({ group: GROUP, network: true }, async (cluster) => {
    await fill(cluster, 30);
    const load = cluster.load({ blockCount: 512 });
    await cluster.acknowledged(load, 50);
    spoil(
      cluster,
      'gamma',
      Array.from({ length: 30 }, (_, mib) => 256 * mib + 17),
    );
    cluster.delay('alpha', 'gamma', 100);
    cluster.delay('beta', 'gamma', 100);

    assert.equal((await tercet(cluster, 'resync demo --site gamma --start primary')).code, EXIT.done);
    const partWay = async (primary: SiteNameInTests, share: number): Promise<void> => {
      await cluster.until(`a ${share} of gamma is compared`, async () => {
        const peer = (await cluster.cluster.status(primary))?.peers.find(({ site }) => site === 'gamma');
        return peer?.attached === 'copying' && (peer.copiedBytes ?? 0) > share * (peer.copyTotalBytes ?? Infinity);
      });
      await cluster.acknowledged(load, 20);
    };
    await partWay('alpha', 0.1);
    await cluster.member('gamma').daemon.kill();
    await cluster.member('gamma').daemon.start();
    await partWay('alpha', 0.15);
    // The scan waits, so that it is still under way however long the rest takes.
    cluster.sever('alpha', 'gamma');
    await cluster.member('beta').daemon.kill();
    await cluster.member('beta').daemon.start();
    await cluster.until('beta may take over', async () => {
      const peer = (await cluster.cluster.status('alpha'))?.peers.find(({ site }) => site === 'beta');
      return peer?.attached === 'following' && peer.flag === 'true';
    });
    cluster.sever('alpha', 'gamma', false);
    await partWay('alpha', 0.2);
    assert.equal(ended(cluster, 'alpha'), 0, 'the scan is still under way');
    await cluster.member('alpha').daemon.kill();
    await cluster.until('the scan has ended at beta', () => ended(cluster, 'beta') > 0);
    await cluster.member('alpha').daemon.start();
    cluster.healNetwork();
    const resumed = journal(cluster, 'gamma', 'copy.resume');
    assert.ok(resumed.length >= 2, `it went on ${resumed.length} times`);
    for (const line of resumed) assert.ok(Number(line['offset']) >= MIB, `it went on at ${JSON.stringify(line)}`);
    await cluster.healed();
    await cluster.compareCopies(load);
  });
});
