// Loss of each link, in both directions or one, silently or with a reset; loss of the witness; a primary that is cut off from everybody. The
// processes live on, so this is where two sites could come to serve at once.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { verifyLedger } from '../../demo/workload.ts';
import type { End, SiteNameInTests, TestCluster, TestLoad } from '../support/cluster.ts';
import { withCluster } from '../support/cluster.ts';

/** A pause in service that is allowed while a link is broken: detection, a claim, and a busy machine. */
const PAUSE_MILLIS_MAX = 10_000;

async function healAndGoOn(test: TestCluster, load: TestLoad): Promise<void> {
  test.healNetwork();
  await test.acknowledged(load, 100);
  await test.healed();
  await test.acknowledged(load, 100);
}

/** A primary and a near mirror, whatever their names are by now. */
async function pair(test: TestCluster): Promise<{ primary: SiteNameInTests; near: SiteNameInTests }> {
  const primary = await test.healed();
  return { primary, near: primary === 'alpha' ? 'beta' : 'alpha' };
}

test('each link may break, silently, one way or with a reset, and service goes on', async () => {
  await withCluster({ network: true }, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 300);

    const breaks: readonly ((ends: { primary: End; near: End }) => void)[] = [
      ({ primary, near }) => test.cut(primary, near),
      ({ primary, near }) => test.stopBytes(primary, near),
      ({ primary, near }) => test.stopBytes(near, primary),
      ({ primary, near }) => test.sever(primary, near),
      ({ primary }) => test.cut(primary, 'gamma'),
      ({ near }) => test.cut(near, 'gamma'),
      ({ primary }) => test.cut(primary, 'witness'),
      ({ near }) => test.stopBytes('witness', near),
    ];
    for (const breakLink of breaks) {
      breakLink(await pair(test));
      await test.until('hosts are served while the link is broken', async () => (await test.servingSite()) !== null, PAUSE_MILLIS_MAX);
      await test.acknowledged(load, 300);
      await healAndGoOn(test, load);
    }

    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('a primary that is cut off from everybody stops serving, reads too, and near takes over', async () => {
  await withCluster({ network: true }, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 300);
    for (let round = 0; round < 2; round++) {
      const { primary, near } = await pair(test);
      for (const end of [near, 'gamma', 'witness'] as const) test.cut(primary, end);
      await test.until(`${near} serves`, async () => (await test.status(near)).serving, PAUSE_MILLIS_MAX);
      // Its hosts can still reach it, and it does not know that somebody else has taken over.
      assert.equal((await test.status(primary)).serving, false);
      await test.acknowledged(load, 300);
      assert.equal((await test.status(primary)).serving, false);
      await healAndGoOn(test, load);
      assert.equal((await test.status(primary)).role, 'mirror');
    }
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('without partner and witness nobody serves, and a pair without witness serves on', async () => {
  await withCluster({ network: true }, async (test) => {
    const watch = test.watch();
    const load = test.load();
    await test.acknowledged(load, 300);
    const { primary, near } = await pair(test);

    for (const site of ['alpha', 'beta', 'gamma'] as const) test.cut(site, 'witness');
    await test.until('the primary has noticed', async () => (await test.status(primary)).witness.reachable === false);
    await test.acknowledged(load, 300);
    assert.equal((await test.status(primary)).protection, 'mirrored');

    // Now the link between them as well: neither can know about the other.
    test.cut(primary, near);
    await test.until('nobody serves', async () => (await test.servingSite()) === null, PAUSE_MILLIS_MAX);
    const waiting = (await test.status(primary)).waiting.map((one) => one.what);
    assert.ok(waiting.length > 0, 'it says what it waits for');

    await healAndGoOn(test, load);
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('a primary that is lost with bytes still on the way has acknowledged nothing that near lacks', async () => {
  await withCluster({ network: true }, async (test) => {
    const watch = test.watch();
    const load = test.load({ depth: 16 });
    for (let round = 0; round < 3; round++) {
      const { primary, near } = await pair(test);
      test.delay(primary, near, 40);
      test.delay(primary, 'gamma', 40);
      await test.acknowledged(load, 300);
      await test.loseMachine(primary);
      test.healNetwork();
      await test.until(`${near} serves`, async () => (await test.status(near)).serving, PAUSE_MILLIS_MAX);
      await load.workload.stop();
      const client = await test.attach(near);
      assert.deepEqual((await verifyLedger(client, load.ledger)).slice(0, 5), []);
      await client.close();
      load.workload.start();
      await test.member(primary).daemon.start();
      await test.healed();
    }
    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await test.compareCopies(load);
  });
});

test('a far site behind a slow line delays nobody, and catches up', async () => {
  await withCluster({ network: true }, async (test) => {
    const load = test.load();
    const { primary, near } = await pair(test);
    test.delay(primary, 'gamma', 150);
    test.delay(near, 'gamma', 150);
    const begun = performance.now();
    await test.acknowledged(load, 1000);
    const millis = performance.now() - begun;
    // 8 at a time: with far in the way of each write this would take 40 s.
    assert.ok(millis < 15_000, `1000 writes took ${Math.round(millis)} ms`);
    await test.healed();
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});
