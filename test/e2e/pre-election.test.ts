// Pre-election with real processes and a host that writes: the witness is lost, then the mirror, and the primary goes on; everybody comes back, and the
// mirror takes over like any other. And the other way round: the primary is lost, and its mirror waits for it, or for an operator.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EXIT } from '../../src/core/base/errors.ts';
import { withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { rehearse, told } from '../support/recovery-page.ts';

const agreeing = { group: { pre_election: 'true' } };

test('without the witness and without its mirror a primary goes on, as was agreed, and nothing is lost', async () => {
  await withCluster(agreeing, async (cluster) => {
    const { group } = cluster.layout;
    const watch = cluster.watch();
    const load = cluster.load();
    await cluster.acknowledged(load, 100);
    assert.equal(await cluster.healed(), 'alpha');
    rehearse('The witness is down');
    await cluster.cluster.witness.kill();
    await cluster.until('beta has left alpha the right', async () => (await cluster.status('alpha')).agreement?.mayGoWithout === 'beta');
    assert.equal((await cluster.status('beta')).agreement?.leftTo, 'alpha');
    assert.match((await tercet(cluster, `explain ${group} --site alpha`)).out, /beta has left alpha the right to go on without it/);
    await cluster.acknowledged(load, 100);

    await cluster.member('beta').daemon.kill();
    await cluster.until('alpha went on alone', async () => (await cluster.status('alpha')).agreement?.wentWithout === 'beta');
    await cluster.acknowledged(load, 200);
    const waiting = (await cluster.status('alpha')).waiting.map(({ what }) => what);
    assert.deepEqual(waiting, ['to tell the witness']);
    assert.match((await tercet(cluster, 'status')).text, told('to tell the witness: it went on without beta'));

    // The mirror is back first: it follows, and is not relied on.
    await cluster.member('beta').daemon.start();
    await cluster.until('beta follows again', async () => (await cluster.status('beta')).role === 'mirror');
    assert.equal((await cluster.status('alpha')).protection, 'solo');
    await cluster.acknowledged(load, 100);
    await cluster.cluster.witness.start();
    assert.equal(await cluster.healed(), 'alpha');
    assert.deepEqual((await cluster.status('alpha')).agreement, { mayGoWithout: null, wentWithout: null, leftTo: null });
    await cluster.until('beta may claim again', async () => (await cluster.status('beta')).agreement?.leftTo === null);
    assert.equal((await cluster.status('alpha')).epoch, 1, 'no epoch has begun');

    await cluster.member('alpha').daemon.kill();
    await cluster.acknowledged(load, 100);
    await cluster.member('alpha').daemon.start();
    assert.equal(await cluster.healed(), 'beta');

    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await cluster.verify(load);
    await cluster.compareCopies(load);
  });
});

test('a mirror that has left the right waits for its primary though the witness is back, and for nobody once an operator forces it', async () => {
  await withCluster(agreeing, async (cluster) => {
    const { group } = cluster.layout;
    const load = cluster.load();
    await cluster.acknowledged(load, 100);
    assert.equal(await cluster.healed(), 'alpha');
    await cluster.cluster.witness.kill();
    await cluster.until('beta has left alpha the right', async () => (await cluster.status('alpha')).agreement?.mayGoWithout === 'beta');
    await load.workload.stop();
    await cluster.member('alpha').daemon.kill();
    await cluster.cluster.witness.start();
    await cluster.until('beta reaches the witness', async () => (await cluster.status('beta')).witness.reachable === true);
    await cluster.until('beta says why it waits', async () =>
      (await cluster.status('beta')).waiting.some(({ cause }) => told('it has left alpha the right to go on alone').test(cause)),
    );
    assert.match((await tercet(cluster, `explain ${group} --site beta`)).out, /beta does not claim, because it has left alpha the right/);
    const unforced = await tercet(cluster, `promote ${group} --site beta`);
    assert.notEqual(unforced.code, EXIT.done);

    // The primary is back and has not gone on alone: whichever of the two may, serves.
    await cluster.member('alpha').daemon.start();
    await cluster.healed();
    await cluster.until('beta may claim again', async () => (await cluster.status('beta')).agreement?.leftTo === null);
    await cluster.verify(load);

    // Again, and this time the primary stays away.
    await cluster.healed();
    const primary = await cluster.healed();
    const other = primary === 'alpha' ? 'beta' : 'alpha';
    await cluster.cluster.witness.kill();
    await cluster.until('they have agreed', async () => (await cluster.status(primary)).agreement?.mayGoWithout === other);
    await cluster.member(primary).daemon.kill();
    await cluster.cluster.witness.start();
    // An order that comes before is refused: nobody becomes primary without the witness.
    await cluster.until('it reaches the witness', async () => (await cluster.status(other)).witness.reachable === true);
    await cluster.until('it waits', async () =>
      (await cluster.status(other)).waiting.some(({ cause }) => cause.includes(`it has left ${primary} the right`)),
    );
    const forced = await tercet(cluster, `promote ${group} --site ${other} --force --yes`);
    assert.equal(forced.code, EXIT.done, forced.out + forced.err);
    await cluster.until('it serves', async () => (await cluster.status(other)).serving);
    await cluster.member(primary).daemon.start();
    assert.equal(await cluster.healed(), other);
    await cluster.verify(load);
    await cluster.compareCopies(load);
  });
});
