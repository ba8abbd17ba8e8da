// What a sidefile does with more than it may keep for a copy that is away, on real processes: a fixed count of records overwrites the oldest, and the
// copy gets blocks; with the other overflow modes hosts are slowed down or stopped, nothing is forgotten, and the copy gets its records.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { mustRun } from '../../demo/tools.ts';
import { MIB, type SiteNameInTests, type TestCluster, withCluster } from '../support/cluster.ts';

const WRITE_BYTES = 256 * 1024;
const WRITERS = 4;

/** What a site has written into its journal of one event. */
function journal(cluster: TestCluster, site: SiteNameInTests, event: string): readonly Readonly<Record<string, unknown>>[] {
  const lines = readFileSync(cluster.member(site).layout.log, 'utf8').split('\n');
  return lines.filter((line) => line.includes(`"event":"${event}"`)).map((line) => JSON.parse(line) as Record<string, unknown>);
}

const rungOfGamma = (cluster: TestCluster): unknown =>
  journal(cluster, 'alpha', 'resync.begin').findLast((line) => line['site'] === 'gamma')?.['rung'];

test('with a fixed count of records the oldest is overwritten, and the copy that lacked it gets blocks', { timeout: 240_000 }, async () => {
  await withCluster({ group: { sidefile_records: 10_000 } }, async (cluster) => {
    await cluster.member('gamma').daemon.stop();
    const pair = async (): Promise<{ state: string; why: string | null; slackRecords: number | null } | undefined> =>
      (await cluster.status('alpha')).coverage.find(({ from, to }) => from === 'alpha' && to === 'gamma');
    const write = async (count: number): Promise<void> => {
      const how = ['--name=fill', '--ioengine=nbd', `--uri=${cluster.uri('alpha', 'unix')}`, '--rw=randwrite', '--bs=4k', '--iodepth=16'];
      await mustRun('fio', [...how, `--number_ios=${count}`, '--size=48m', '--norandommap', '--refill_buffers', '--minimal']);
    };
    await write(8000);
    const before = await pair();
    assert.equal(before?.state, 'ready');
    assert.ok((before.slackRecords ?? Infinity) <= 2000, `${before.slackRecords} records are left`);
    await write(3000);
    await cluster.until('gamma is not covered any more', async () => (await pair())?.state === 'not-ready');
    assert.match((await pair())?.why ?? '', /had to forget records that gamma lacks/);
    assert.match(String(journal(cluster, 'alpha', 'coverage.lost')[0]?.['msg']), /lacks more than 10000 records/);
    for (const site of ['alpha', 'beta'] as const) {
      await cluster.until(`${site} has dropped what gamma lacked`, async () => (await cluster.status(site)).sidefileBytes < 16 * MIB);
    }
    await cluster.member('gamma').daemon.start();
    await cluster.healed();
    assert.equal(rungOfGamma(cluster), 'bitmap');
    await cluster.compareCopies();
  });
});

for (const [overflow, state] of [
  ['slow', 'slowed'],
  ['stop', 'stopped'],
] as const) {
  test(
    `with overflow "${overflow}" hosts are ${state} for a copy that is away, and nothing is forgotten`,
    { timeout: 240_000 },
    async () => {
      await withCluster({ group: { overflow: `{ gamma = "${overflow}" }`, hold_seconds: 200 } }, async (cluster) => {
        await cluster.member('gamma').daemon.stop();
        const client = await cluster.attach('alpha');
        let running = true;
        let written = 0;
        const payload = randomBytes(WRITE_BYTES);
        const writer = async (): Promise<void> => {
          while (running) {
            await client.write((written++ * WRITE_BYTES) % (48 * MIB), payload);
          }
        };
        const all = Promise.all(Array.from({ length: WRITERS }, writer));
        const writers = async (): Promise<string | undefined> => (await cluster.status('alpha')).writers?.state;
        await cluster.until(`hosts are ${state}`, async () => (await writers()) === state);
        const { sidefileBytes, sidefileCapacityBytes, coverage } = await cluster.status('alpha');
        assert.ok(sidefileBytes > 0.4 * sidefileCapacityBytes && sidefileBytes <= sidefileCapacityBytes, `${sidefileBytes} bytes`);
        assert.equal(coverage.find(({ from, to }) => from === 'alpha' && to === 'gamma')?.state, 'ready');
        await cluster.member('gamma').daemon.start();
        await cluster.until('hosts write freely again', async () => (await writers()) === 'free');
        running = false;
        await all;
        await client.close();
        assert.deepEqual(journal(cluster, 'alpha', 'coverage.lost'), []);
        assert.equal(rungOfGamma(cluster), 'delta');
        await cluster.compareCopies();
      });
    },
  );
}
