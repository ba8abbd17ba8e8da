// Processes that stand still and go on later: the primary for longer than its lease, its mirrors, the witness. A site that wakes up must not act
// on what it knew before.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pause } from '../../demo/waiting.ts';
import type { SiteNameInTests } from '../support/cluster.ts';
import { withCluster } from '../support/cluster.ts';

test('a primary that was frozen for longer than its lease serves nothing when it wakes up', async () => {
  await withCluster({}, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 300);
    for (let round = 0; round < 3; round++) {
      const primary = await test.healed();
      const near: SiteNameInTests = primary === 'alpha' ? 'beta' : 'alpha';
      test.member(primary).daemon.signal('SIGSTOP');
      await test.until(`${near} serves`, async () => (await test.status(near)).serving, 15_000);
      await test.acknowledged(load, 200);
      test.member(primary).daemon.signal('SIGCONT');
      await test.acknowledged(load, 200);
      await test.healed();
      assert.equal((await test.status(primary)).role, 'mirror');
    }
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('frozen mirrors and a frozen witness stop nobody for long', async () => {
  await withCluster({}, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 300);
    const primary = await test.healed();
    for (const site of ['beta', 'gamma'] as const) {
      const { daemon } = test.member(site);
      daemon.signal('SIGSTOP');
      // Beyond the lease and the time after which a silent peer is excluded.
      await pause(1_500);
      await test.acknowledged(load, 300);
      daemon.signal('SIGCONT');
      await test.healed();
    }
    test.cluster.witness.signal('SIGSTOP');
    await test.acknowledged(load, 500);
    // Near is lost while the witness stands still: nothing is acknowledged without near before the witness has agreed.
    test.member('beta').daemon.signal('SIGSTOP');
    await test.until('the primary does not serve', async () => !(await test.status(primary)).serving, 10_000);
    test.cluster.witness.signal('SIGCONT');
    await test.acknowledged(load, 200);
    assert.equal((await test.status(primary)).protection, 'solo');
    test.member('beta').daemon.signal('SIGCONT');
    await test.healed();
    // Shorter than anything: nobody is excluded, and no epoch begins.
    const { epoch, counters } = await test.status(primary);
    for (let round = 0; round < 3; round++) {
      test.member('beta').daemon.signal('SIGSTOP');
      await pause(150);
      test.member('beta').daemon.signal('SIGCONT');
      await test.acknowledged(load, 200);
    }
    const after = await test.status(primary);
    assert.deepEqual([after.epoch, after.counters.excludes], [epoch, counters.excludes]);

    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});
