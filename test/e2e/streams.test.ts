// Links of several streams between real sites, through relays: streams that are reset while hosts write cost nothing but their bytes, a first connection
// costs the link, and in the end all copies are equal.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { SiteStatus } from '../../demo/cluster.ts';
import { type SiteNameInTests, type TestCluster, withCluster } from '../support/cluster.ts';

type Streams = NonNullable<SiteStatus['peers'][number]['streams']>;

async function streams(test: TestCluster, from: SiteNameInTests, to: SiteNameInTests): Promise<Streams | null> {
  return (await test.status(from)).peers.find(({ site }) => site === to)?.streams ?? null;
}

async function allStand(test: TestCluster, from: SiteNameInTests, to: SiteNameInTests, count: number): Promise<void> {
  await test.until(`${count} streams stand from ${from} to ${to}`, async () => (await streams(test, from, to))?.open === count);
}

for (const tls of [false, true]) {
  test(`streams that are reset under load${tls ? ', encrypted ones,' : ''} lose nothing, and the link goes on without them`, async () => {
    await withCluster({ network: true, tls, group: { streams: '{ beta = 2, gamma = 4 }' } }, async (test) => {
      for (const [from, to, count] of [
        ['alpha', 'beta', 2],
        ['alpha', 'gamma', 4],
        ['beta', 'gamma', 4],
        ['gamma', 'alpha', 4],
      ] as const)
        await allStand(test, from, to, count);
      const watch = test.watch();
      const load = test.load({ depth: 32 });
      test.delay('alpha', 'gamma', 10);
      await test.acknowledged(load, 300);
      const attachedAt = test.member('alpha').daemon.logTail().length;
      for (let round = 0; round < 8; round++) {
        test.resetStream('alpha', 'gamma', round);
        if (round % 2 === 0) test.resetStream('alpha', 'beta', round);
        await test.acknowledged(load, 150);
      }
      const [near, far] = [await streams(test, 'alpha', 'beta'), await streams(test, 'alpha', 'gamma')];
      assert.ok(far !== null && far.lost >= 4 && near !== null && near.lost >= 2, `${far?.lost} and ${near?.lost} streams were lost`);
      const log = test.member('alpha').daemon.logTail().slice(attachedAt);
      assert.doesNotMatch(log, /link\.down/, 'no link ended');
      await allStand(test, 'alpha', 'gamma', 4);

      // The first connection takes the link with it, and both come back.
      test.sever('alpha', 'gamma');
      await test.acknowledged(load, 150);
      test.mend('alpha', 'gamma');
      await test.healed();
      await allStand(test, 'alpha', 'gamma', 4);

      // The other way round: another primary, over the same streams.
      await test.member('alpha').daemon.kill();
      await test.until('beta serves', async () => (await test.status('beta')).serving);
      test.resetStream('beta', 'gamma', 1);
      await test.acknowledged(load, 150);
      await test.member('alpha').daemon.start();
      await test.healed();
      await allStand(test, 'alpha', 'beta', 2);
      await test.acknowledged(load, 150);

      assert.deepEqual((await watch.stop()).faults, []);
      await load.workload.stop();
      await test.verify(load);
      await test.compareCopies(load);
    });
  });
}
