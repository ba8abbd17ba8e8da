// The situations of docs/recovery.md, for real: each is brought about, told as the page says, and got out of by what the page says.

import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, readdirSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { EXIT } from '../../src/core/base/errors.ts';
import { withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { rehearse, told } from '../support/recovery-page.ts';

/** Turns over a byte in the middle of the oldest segment that holds records of a stopped site. */
function damageSidefile(folder: string): void {
  const segments = readdirSync(folder).filter((name) => name.startsWith('sidefile') || name.startsWith('segment'));
  const name = segments.find((each) => statSync(join(folder, each)).size > 8192);
  assert.ok(name, `no segment in ${readdirSync(folder).join(', ')}`);
  const file = openSync(join(folder, name), 'r+');
  const byte = Buffer.alloc(64);
  readSync(file, byte, 0, byte.length, 4096);
  for (let i = 0; i < byte.length; i++) byte[i] = (byte[i] as number) ^ 0xff;
  writeSync(file, byte, 0, byte.length, 4096);
  closeSync(file);
}

test('a witness that is away, a damaged copy, and a site that is lost', { timeout: 240_000 }, async () => {
  await withCluster({}, async (cluster) => {
    const load = cluster.load();
    await cluster.acknowledged(load, 200);

    rehearse('The witness is down');
    await cluster.cluster.witness.kill();
    await cluster.until('the status says that the witness does not answer', async () =>
      told('the witness does not answer alpha: no failover until it does').test((await tercet(cluster, 'status')).text),
    );
    await cluster.acknowledged(load, 50);
    await cluster.cluster.witness.start();
    await cluster.healed();

    // Its superblock is gone.
    rehearse('A copy is damaged');
    const beta = cluster.member('beta');
    const folder = join(beta.layout.data, cluster.layout.group);
    await beta.daemon.stop();
    await cluster.until('new writes are on alpha alone', async () =>
      /new writes are on alpha alone/.test((await tercet(cluster, 'status')).text),
    );
    const sound = await tercet(cluster, 'doctor --site beta');
    assert.equal(sound.code, EXIT.done, sound.text);
    assert.match(sound.text, /: sound: a start uses it as it is/);
    assert.deepEqual((await tercet(cluster, 'doctor --site beta --repair --yes')).code, EXIT.done, 'what is sound is left alone');
    writeFileSync(join(folder, 'superblock'), Buffer.alloc(statSync(join(folder, 'superblock')).size, 0x55));
    damageSidefile(folder);
    await beta.daemon.start();
    const both = told('both slots of the superblock ... are damaged');
    await cluster.until('the status says that the copy has failed, and what to do', async () =>
      /the copy at beta has failed: both slots of the superblock of group "demo" at "beta" are damaged: .*tercet doctor --site NAME --repair/.test(
        (await tercet(cluster, 'status')).text,
      ),
    );
    assert.match((await tercet(cluster, 'status')).text, both);
    await beta.daemon.stop();
    const damaged = await tercet(cluster, 'doctor --site beta');
    assert.equal(damaged.code, EXIT.notInState, damaged.text);
    assert.match(damaged.text, /damaged: a start does not use it/);
    const repaired = await tercet(cluster, 'doctor --site beta --repair --yes');
    assert.equal(repaired.code, EXIT.done, repaired.text);
    assert.match(repaired.text, /set aside as .*\.aside-[0-9]+T[0-9]+Z; start the daemon/);
    await beta.daemon.start();
    assert.equal(await cluster.healed(), 'alpha');
    // A daemon that runs is not looked into.
    assert.match((await tercet(cluster, 'doctor --site beta')).text, /is in use by another process/);
    await cluster.compareCopies(load);
  });
});

test(
  'nobody serves: the last copy that may serve is not set aside, and the far one is promoted by force',
  { timeout: 240_000 },
  async () => {
    await withCluster({}, async (cluster) => {
      const load = cluster.load();
      await cluster.acknowledged(load, 100);
      await cluster.member('beta').daemon.stop();
      await cluster.until('new writes are on alpha alone', async () =>
        /new writes are on alpha alone/.test((await tercet(cluster, 'status')).text),
      );
      await cluster.acknowledged(load, 50);
      await load.workload.stop();
      await cluster.member('alpha').daemon.stop();
      rehearse('Nobody serves');
      await cluster.until('nobody serves', async () => told('nobody serves').test((await tercet(cluster, 'status')).text));
      const alpha = join(cluster.member('alpha').layout.data, cluster.layout.group);
      const superblock = join(alpha, 'superblock');
      writeFileSync(superblock, Buffer.alloc(statSync(superblock).size, 0x55));
      const refused = await tercet(cluster, 'doctor --site alpha --repair --yes');
      assert.equal(refused.code, EXIT.unsafe, refused.text);
      assert.match(refused.text, /no other copy of .* may serve by the witness's word/);
      // It has promised alpha not to claim, for a moment longer.
      await cluster.until('gamma is promoted by force', async () => {
        const forced = await tercet(cluster, `promote ${cluster.layout.group} --site gamma --force --yes`);
        if (forced.code !== EXIT.done) assert.match(forced.text, /has promised not to claim/);
        return forced.code === EXIT.done;
      });
      await cluster.until('gamma serves', async () => (await cluster.servingSite()) === 'gamma');
    });
  },
);
