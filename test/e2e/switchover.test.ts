// The planned change of the primary with real processes and a host that writes: nothing is lost, never do two sites serve, the other copy stays
// in step, and what is unsafe is refused with the service going on.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EXIT } from '../../src/core/base/errors.ts';
import { type TestCluster, type TestLoad, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

test('switchover, failback and demote lose nothing; what is unsafe is refused', async () => {
  await withCluster({}, async (cluster) => {
    const { group } = cluster.layout;
    const watch = cluster.watch();
    const load = cluster.load();
    await cluster.acknowledged(load, 300);
    const first = await cluster.healed();
    assert.equal(first, 'alpha');

    const plan = await tercet(cluster, `switchover ${group} --dry-run`);
    assert.equal(plan.code, EXIT.done, plan.err);
    assert.match(plan.out, /^beta would become primary and alpha would follow it\. beta is in step/);
    assert.equal(await cluster.servingSite(), 'alpha');

    const there = await tercet(cluster, `switchover ${group} --to beta`);
    assert.deepEqual([there.code, there.err], [EXIT.done, '']);
    assert.match(there.out, /^beta is the primary of epoch [0-9]+; alpha had stopped for [0-9]+ ms\n$/);
    await cluster.acknowledged(load, 200);
    assert.equal(await cluster.healed(), 'beta');
    // No flag fell, so nobody had to be excluded or admitted anew at the witness to be synchronised.
    assert.equal((await cluster.status('beta')).counters.excludes, 0);
    assert.equal((await cluster.status('alpha')).counters.claims, 1);

    // Ordered at whichever site answers first: it passes the order on to the primary.
    const back = await tercet(cluster, `failback ${group}`);
    assert.deepEqual([back.code, back.err], [EXIT.done, '']);
    await cluster.acknowledged(load, 200);
    assert.equal(await cluster.healed(), 'alpha');
    assert.match((await tercet(cluster, `failback ${group}`)).out, /^alpha is primary already/);

    const away = await tercet(cluster, `demote ${group} --site alpha`);
    assert.deepEqual([away.code, away.err], [EXIT.done, '']);
    await cluster.acknowledged(load, 200);
    assert.equal(await cluster.healed(), 'beta');

    // Unsafe: an async site; a site that is away; a witness that is away. The service goes on.
    const far = await tercet(cluster, `switchover ${group} --to gamma`);
    assert.equal(far.code, EXIT.notInState);
    assert.match(far.err, /was not handed over: gamma is async/);
    await cluster.cluster.witness.kill();
    const blind = await tercet(cluster, `switchover ${group} --to alpha`);
    assert.equal(blind.code, EXIT.notInState);
    assert.match(blind.err, /witness does not answer/);
    await cluster.acknowledged(load, 100);
    await cluster.cluster.witness.start();
    await cluster.member('alpha').daemon.kill();
    await cluster.until('alpha is seen to be gone', async () => (await cluster.status('beta')).peers.some((each) => !each.connected));
    const alone = await tercet(cluster, `demote ${group} --site beta`);
    assert.equal(alone.code, EXIT.notInState);
    assert.match(alone.err, /no other site can take over now: alpha is not connected; gamma is async/);
    await cluster.acknowledged(load, 100);
    await cluster.member('alpha').daemon.start();
    await cluster.healed();

    await pauses(cluster, load);

    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await cluster.verify(load);
    await cluster.compareCopies(load);
  });
});

/** beta serves. Far is paused at once, the last sync mirror by force only; both stay paused over a restart of the primary, and then catch up. */
async function pauses(cluster: TestCluster, load: TestLoad): Promise<void> {
  const { group } = cluster.layout;
  const peers = async (): Promise<readonly string[]> =>
    (await cluster.status('beta')).peers.map(({ site, paused, attached }) => `${site} ${paused} ${attached}`).toSorted();
  const far = await tercet(cluster, `pause ${group} --site gamma`);
  assert.deepEqual([far.code, far.err], [EXIT.done, '']);
  assert.match(far.out, /^gamma is paused; `tercet resume [^ ]+ --site gamma` ends that/);
  const last = await tercet(cluster, `pause ${group} --site alpha`);
  assert.equal(last.code, EXIT.unsafe);
  assert.match(last.err, /without alpha, hosts would be answered by the disk of beta alone/);
  await cluster.acknowledged(load, 100);
  assert.deepEqual(await peers(), ['alpha false following', 'gamma true no']);
  // It is a consistent copy all the same.
  assert.equal((await cluster.status('beta')).witness.view?.copies.find(({ site }) => site === 'gamma')?.flag, true);

  const near = await tercet(cluster, `pause ${group} --site alpha --force`);
  assert.deepEqual([near.code, near.err], [EXIT.done, '']);
  await cluster.acknowledged(load, 100);
  assert.equal((await cluster.status('beta')).protection, 'solo');
  const status = await tercet(cluster, 'status');
  assert.equal(status.code, EXIT.notInState);
  assert.match(status.out, /alpha is paused by order/);
  const refused = await tercet(cluster, `switchover ${group} --to alpha`);
  assert.match(refused.err, /alpha is paused by order/);

  await cluster.member('beta').daemon.kill();
  await cluster.member('beta').daemon.start();
  await cluster.until('beta serves again', async () => (await cluster.servingSite()) === 'beta');
  await cluster.acknowledged(load, 100);
  assert.deepEqual(await peers(), ['alpha true no', 'gamma true no']);
  for (const site of ['alpha', 'gamma']) {
    const resumed = await tercet(cluster, `resume ${group} --site ${site}`);
    assert.deepEqual([resumed.code, resumed.err], [EXIT.done, '']);
  }
  await cluster.acknowledged(load, 100);
  assert.equal(await cluster.healed(), 'beta');
  assert.match((await tercet(cluster, `resume ${group} --site alpha`)).out, /^alpha is not paused/);
}
