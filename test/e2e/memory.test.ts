// A far site that keeps its sidefile in memory, with real daemons: it is killed in the middle of writes and comes back, it is promoted by force, and it
// becomes sync. Whatever happens to it, hosts lose nothing, and all copies are equal byte for byte at the end.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';

import { baseImage } from '../../demo/layout.ts';
import { pause } from '../../demo/waiting.ts';
import { type TestCluster, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

const IN_MEMORY = { group: { sidefile: '{ gamma = "memory" }' } };

/** Segments in gamma's folder. */
function segments(test: TestCluster): readonly string[] {
  const { layout } = test.member('gamma');
  return readdirSync(dirname(baseImage(test.layout, layout))).filter((name) => /^(sidefile|spare)-[0-9]/.test(name));
}

async function where(test: TestCluster, place: 'disk' | 'memory'): Promise<void> {
  assert.equal((await test.status('gamma')).sidefileIn, place);
}

test('far is killed again and again while a host writes, comes back each time, and all copies are equal', async () => {
  // What hosts write while far is away has room.
  await withCluster({ group: { ...IN_MEMORY.group, sidefile_mib: 1024 } }, async (test) => {
    assert.equal(await test.healed(), 'alpha');
    await where(test, 'memory');
    const load = test.load({ depth: 16, blockCount: 512 });
    await test.acknowledged(load, 500);
    assert.match((await tercet(test, 'status')).out, /gamma keeps its sidefile in memory/);
    assert.match(
      (await tercet(test, `sidefile inspect ${test.layout.group} --site gamma --count 1`)).out,
      /destaged up to [0-9]+, in memory/,
    );
    assert.deepEqual(segments(test), []);
    const rungs: string[] = [];
    for (let kill = 0; kill < 6; kill++) {
      await pause(100 + 130 * kill);
      await test.member('gamma').daemon.kill();
      const stopped = await tercet(test, `sidefile inspect ${test.layout.group} --site gamma --files`);
      assert.match(stopped.err, /its sidefile was in memory .*the base image holds everything up to record [0-9]+/);
      await test.acknowledged(load, 300);
      await test.member('gamma').daemon.start();
      await test.until('gamma is followed', async () => {
        const peer = (await test.status('alpha')).peers.find(({ site }) => site === 'gamma');
        if (peer?.resync !== null && peer?.resync !== undefined && rungs[kill] === undefined) rungs[kill] = peer.resync.rung;
        return peer?.attached === 'following' && peer.flag === 'true' && (await test.status('gamma')).unclean === false;
      });
      await where(test, 'memory');
    }
    assert.deepEqual(segments(test), []);
    assert.ok(
      rungs.every((rung) => rung === 'delta' || rung === 'scan'),
      rungs.join(', '),
    );
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('an orderly stop of far loses nothing: it goes on by delta, in memory again', async () => {
  await withCluster(IN_MEMORY, async (test) => {
    const load = test.load({ blockCount: 512 });
    await test.acknowledged(load, 500);
    await load.workload.stop();
    await test.healed();
    await test.member('gamma').daemon.stop();
    await test.member('gamma').daemon.start();
    await test.healed();
    const { unclean, consistent, marks } = await test.status('gamma');
    assert.deepEqual([unclean, consistent, marks?.received], [false, true, (await test.status('alpha')).marks?.received]);
    await where(test, 'memory');
    await test.compareCopies(load);
  });
});

test('far is promoted by force: its sidefile goes to the disk first, and a kill of it loses nothing then', async () => {
  await withCluster(IN_MEMORY, async (test) => {
    const load = test.load({ blockCount: 512 });
    await test.acknowledged(load, 500);
    await load.workload.stop();
    await test.until('gamma has everything', async () => {
      const [far, primary] = [(await test.status('gamma')).marks, (await test.status('alpha')).marks];
      return far !== null && far.received === primary?.received;
    });
    await Promise.all([test.member('alpha').daemon.kill(), test.member('beta').daemon.kill()]);
    await test.until(
      'gamma is promoted',
      async () => (await test.member('gamma').client.promote(test.layout.group, { force: true })).kind === 'done',
    );
    await where(test, 'disk');
    assert.notDeepEqual(segments(test), []);
    const host = await test.attach('gamma');
    const data = Buffer.alloc(4096, 0x5a);
    await host.write(0, data);
    await test.member('gamma').daemon.kill();
    await test.member('gamma').daemon.start();
    await test.until(
      'gamma is promoted again',
      async () => (await test.member('gamma').client.promote(test.layout.group, { force: true })).kind === 'done',
    );
    const again = await test.attach('gamma');
    assert.ok(data.equals(Buffer.from(await again.read(0, 4096))), 'what was acknowledged alone is there');
    await test.member('alpha').daemon.start();
    await test.member('beta').daemon.start();
    assert.equal(await test.healed(), 'gamma');
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('far becomes sync while a host writes: its sidefile is on the disk then, and in memory is refused', async () => {
  await withCluster(IN_MEMORY, async (test) => {
    const load = test.load({ blockCount: 512 });
    await test.acknowledged(load, 200);
    const { configFile } = test.layout;
    const before = readFileSync(configFile, 'utf8');
    const sync = before.replace(/^async = .*$/m, 'async = []');
    writeFileSync(configFile, sync);
    const refused = await tercet(test, 'reload --site alpha');
    assert.match(refused.err, /sidefile\.gamma.*memory.*must be "disk" for a sync site/s);
    writeFileSync(configFile, sync.replace(/^sidefile = .*$/m, ''));
    for (const site of ['alpha', 'beta', 'gamma']) assert.equal((await tercet(test, `reload --site ${site}`)).code, 0);
    await test.until('gamma is sync', async () => {
      const peer = (await test.status('alpha')).peers.find(({ site }) => site === 'gamma');
      return peer?.mode === 'sync' && peer.flag === 'true';
    });
    await where(test, 'disk');
    await test.acknowledged(load, 200);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});
