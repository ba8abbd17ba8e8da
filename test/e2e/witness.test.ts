// A witness that is lost for good, with real processes and a host that writes: the sites serve on, do not believe an empty one, and believe it by
// order, without a moment in which two of them serve. The same with one that comes back from a backup.

import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { EXIT } from '../../src/core/base/errors.ts';
import { withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { rehearse, told } from '../support/recovery-page.ts';

test('a lost witness is replaced while hosts write, empty or from a backup, and never do two sites serve', async () => {
  await withCluster({}, async (cluster) => {
    const { group, witness, folder } = cluster.layout;
    const process = cluster.cluster.witness;
    const watch = cluster.watch();
    const load = cluster.load();
    await cluster.acknowledged(load, 200);
    assert.equal(await cluster.healed(), 'alpha');
    const nothing = await tercet(cluster, `witness replace ${group}`);
    assert.equal(nothing.code, EXIT.notInState);
    assert.match(nothing.out, /alpha: refused: the witness that answers is the one that this site knows/);
    const backup = join(folder, 'witness.backup');
    assert.equal((await tercet(cluster, `witness backup --to ${backup}`)).code, EXIT.done);
    assert.notEqual((await tercet(cluster, `witness backup --to ${backup}`)).code, EXIT.done, 'a backup is not written over');
    assert.doesNotMatch(readFileSync(backup, 'utf8'), /PRIVATE|secret/i);

    // Its disk is gone, and an empty one answers.
    rehearse('The witness is lost for good');
    await process.kill();
    rmSync(witness.data, { recursive: true });
    await process.start();
    await cluster.until(
      'alpha says that it does not believe the witness',
      async () => (await cluster.status('alpha')).witness.trouble !== null,
    );
    assert.match((await tercet(cluster, 'status')).text, told('another witness answers than before, and is not believed'));
    await cluster.acknowledged(load, 200);
    const replaced = await tercet(cluster, `witness replace ${group}`);
    assert.equal(replaced.code, EXIT.done, replaced.out + replaced.err);
    await cluster.acknowledged(load, 200);
    assert.equal(await cluster.healed(), 'alpha');
    assert.equal((await cluster.status('alpha')).counters.claims, 1, 'the primary has served on');
    // A mirror's path is proved like the primary's.
    for (const site of ['alpha', 'beta'] as const)
      await cluster.until(
        `the new witness has written for ${site}`,
        async () => (await cluster.status(site)).witness.provedAgeMillis !== null,
      );
    assert.match((await tercet(cluster, 'witness status')).out, /primary alpha, revision 1[0-9]{3}; flags: alpha true, beta true/);

    // It grants: the primary is lost, and the other takes over.
    await cluster.member('alpha').daemon.kill();
    await cluster.acknowledged(load, 100);
    await cluster.member('alpha').daemon.start();
    assert.equal(await cluster.healed(), 'beta');

    // Lost again, and back from the backup, which is older than all of this.
    await process.kill();
    rmSync(witness.data, { recursive: true });
    assert.equal((await tercet(cluster, `witness restore ${backup} --data ${witness.data}`)).code, EXIT.done);
    assert.equal((await tercet(cluster, `witness restore ${backup} --data ${witness.data}`)).code, EXIT.notInState);
    await process.start();
    const unasked = await tercet(cluster, 'witness status');
    assert.equal(unasked.code, EXIT.notInState);
    assert.match(unasked.out, /grants nothing for group .* until the copies have reported \(so far: none\)/);
    await cluster.until(
      'beta says that it does not believe the witness',
      async () => (await cluster.status('beta')).witness.trouble !== null,
    );
    assert.equal((await tercet(cluster, `witness replace ${group}`)).code, EXIT.done);
    await cluster.acknowledged(load, 200);
    assert.equal(await cluster.healed(), 'beta');

    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await cluster.verify(load);
    await cluster.compareCopies(load);
  });
});
