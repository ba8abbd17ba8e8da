// SIGKILL of each of the four processes, at many different moments, while a host writes: every acknowledged write is readable afterwards, never do
// two sites serve, and once healed all copies are equal.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { SiteNameInTests, TestCluster, TestLoad } from '../support/cluster.ts';
import { withCluster } from '../support/cluster.ts';
import { rehearse } from '../support/recovery-page.ts';

/** The site that serves now, and the two others by what they are. */
async function parts(test: TestCluster): Promise<{ primary: SiteNameInTests; near: SiteNameInTests; far: 'gamma' }> {
  const primary = await test.healed();
  return { primary, near: primary === 'alpha' ? 'beta' : 'alpha', far: 'gamma' };
}

/** The host goes on, what it wrote is there, and the cluster is whole again. */
async function goesOn(test: TestCluster, load: TestLoad): Promise<void> {
  await test.acknowledged(load, 300);
  await test.healed();
  await test.acknowledged(load, 100);
}

test('a killed primary loses nothing, whenever it is killed', async () => {
  await withCluster({}, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 500);

    rehearse('The serving site is down');
    // Under load, twice: the second time it is the one that took over.
    for (let round = 0; round < 2; round++) {
      const { primary, near } = await parts(test);
      await test.member(primary).daemon.kill();
      await test.acknowledged(load, 200);
      assert.equal(await test.servingSite(), near);
      await test.member(primary).daemon.start();
      await goesOn(test, load);
    }

    // Started again at once, before anybody has taken over.
    const again = (await parts(test)).primary;
    await test.member(again).daemon.kill();
    await test.member(again).daemon.start();
    await goesOn(test, load);

    // While a mirror is joining.
    const { primary, near } = await parts(test);
    await test.member(near).daemon.kill();
    await test.acknowledged(load, 200);
    test.member(near).daemon.launch();
    await test.until('the mirror is back and joining', async () => {
      const peer = (await test.status(primary)).peers.find((each) => each.site === near);
      return peer?.connected === true;
    });
    await test.member(primary).daemon.kill();
    await test.member(near).daemon.ready();
    await test.member(primary).daemon.start();
    await goesOn(test, load);

    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    assert.ok(report.writes > 100, `the watch wrote ${report.writes} times`);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('a killed mirror or witness stops nobody for long', async () => {
  await withCluster({}, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 500);

    for (const victim of ['near', 'far'] as const) {
      // Under load; and again while it is being brought up to date.
      for (const moment of ['in step', 'joining']) {
        const found = await parts(test);
        const { daemon } = test.member(found[victim]);
        await daemon.kill();
        await test.acknowledged(load, 300);
        assert.equal(await test.servingSite(), found.primary, `${found.primary} goes on without ${victim}`);
        if (moment === 'joining') {
          await daemon.start();
          await daemon.kill();
          await test.acknowledged(load, 50);
        }
        await daemon.start();
        await goesOn(test, load);
      }
    }

    // The witness alone: a mirrored pair serves on without it.
    const { primary } = await parts(test);
    const { epoch } = await test.status(primary);
    await test.cluster.witness.kill();
    await test.acknowledged(load, 500);
    assert.equal((await test.status(primary)).epoch, epoch);
    // Then the primary too: nobody may serve until the witness answers.
    const near = primary === 'alpha' ? 'beta' : 'alpha';
    await test.member(primary).daemon.kill();
    await test.until('the mirror has noticed', async () => (await test.status(near)).role === 'standby');
    assert.equal(await test.servingSite(), null);
    await test.cluster.witness.start();
    await test.acknowledged(load, 200);
    assert.equal(await test.servingSite(), near);
    await test.member(primary).daemon.start();
    await goesOn(test, load);

    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('all four killed at once come back with everything', async () => {
  await withCluster({}, async (test) => {
    const watch = test.watch();
    const load = test.load();
    for (let round = 0; round < 2; round++) {
      await test.acknowledged(load, 500);
      await test.cluster.kill();
      await test.cluster.start();
      await goesOn(test, load);
    }
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});
