// What docs/recovery.md says of a copy that a start mends, and of one whose sidefile is damaged: brought about in the files of a stopped site, looked at
// with `tercet doctor`, and got out of.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { baseImage } from '../../demo/layout.ts';
import { CELL_BYTES, slotLayout } from '../../src/core/base/cell.ts';
import { EXIT } from '../../src/core/base/errors.ts';
import { type TestCluster, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { framesOf, rotBase, rotRecord } from '../support/damage.ts';
import { rehearse, told } from '../support/recovery-page.ts';

/** Records wait in the sidefile for long before they go into the base images. */
const SLOW = { group: { destage_idle_millis: 20_000 } };

const says = (cluster: TestCluster, command: string, pattern: RegExp): Promise<true> =>
  cluster.until(`\`tercet ${command}\` says ${pattern}`, async () => pattern.test((await tercet(cluster, command)).text));

/** What `tercet doctor` says of beta, whose daemon does not run. */
async function doctor(cluster: TestCluster, code: number): Promise<string> {
  const looked = await tercet(cluster, 'doctor --site beta');
  assert.equal(looked.code, code, looked.text);
  return looked.text;
}

test('a start mends what a crash or a disk has left half written', { timeout: 240_000 }, async () => {
  await withCluster(SLOW, async (cluster) => {
    rehearse('A start mends it');
    const load = cluster.load();
    await cluster.acknowledged(load, 300);
    const beta = cluster.member('beta');
    const folder = join(beta.layout.data, cluster.layout.group);

    // It was killed in the middle of an append.
    await beta.daemon.kill();
    const last = framesOf(cluster, 'beta').at(-1);
    assert.ok(last);
    truncateSync(join(folder, last.file), last.at + last.byteCount / 2);
    const torn = await doctor(cluster, EXIT.done);
    assert.match(torn, told('a start mends it'));
    assert.match(torn, told('a torn tail of the sidefile was cut off'));
    assert.equal(await doctor(cluster, EXIT.done), torn, 'looking changes nothing');
    await beta.daemon.start();
    assert.equal(await cluster.healed(), 'alpha');
    await cluster.acknowledged(load, 100);

    // A write of the superblock was cut off: it goes to the slot that does not hold the newest value. That one may not be lost: segments are dropped by it.
    await beta.daemon.kill();
    const superblock = readFileSync(join(folder, 'superblock'));
    const [first, second] = [0, CELL_BYTES / 2].map((at) => superblock.readBigUInt64LE(at + slotLayout.at.revision));
    assert.ok(first !== undefined && second !== undefined && first !== second);
    const older = first < second ? 0 : CELL_BYTES / 2;
    superblock.fill(0x55, older, older + CELL_BYTES / 2);
    writeFileSync(join(folder, 'superblock'), superblock);
    await doctor(cluster, EXIT.done);
    await beta.daemon.start();
    assert.equal(await cluster.healed(), 'alpha');
    await cluster.acknowledged(load, 50);
    await cluster.compareCopies(load);

    // Each block of the base images has its digest.
    const sound = await tercet(cluster, 'doctor --site beta --base');
    assert.deepEqual([sound.code, /67108864 bytes of disk0 compared with their digests/.test(sound.text)], [EXIT.done, true], sound.text);
    // Any place that was written: what never was has no digest.
    const written = readFileSync(baseImage(cluster.layout, beta.layout)).findIndex((byte) => byte !== 0);
    rotBase(cluster, 'beta', written);
    assert.equal((await tercet(cluster, 'doctor --site beta')).code, EXIT.done, 'without being asked it reads none of them');
    const rotten = await tercet(cluster, 'doctor --site beta --base');
    assert.deepEqual(
      [rotten.code, /1 block\(s\) of the base image of disk0 do not have their digests/.test(rotten.text)],
      [EXIT.notInState, true],
      rotten.text,
    );
  });
});

test('a sidefile is damaged below a sound superblock: the copy is set aside, and filled anew', { timeout: 240_000 }, async () => {
  await withCluster(SLOW, async (cluster) => {
    rehearse('A copy is damaged');
    const load = cluster.load();
    await cluster.acknowledged(load, 400);
    const beta = cluster.member('beta');
    const folder = join(beta.layout.data, cluster.layout.group);
    await beta.daemon.kill();
    await says(cluster, 'status', told('new writes are on alpha alone'));
    // In the middle of what is not yet in the base image, with sound records behind it: nothing that a crash leaves.
    const text = await doctor(cluster, EXIT.done);
    const destaged = Number(/of which ([0-9]+) are in the base images/.exec(text)?.[1]);
    const waiting = framesOf(cluster, 'beta').filter(({ firstSeq }) => firstSeq > destaged);
    const frame = waiting[Math.floor(waiting.length / 2)];
    assert.ok(frame, text);
    rotRecord(cluster, 'beta', frame, frame.byteCount - 100);

    await beta.daemon.start();
    await says(cluster, 'status', told('the copy at beta has failed'));
    await says(cluster, 'status', told('sidefile damaged at record ...'));
    await cluster.acknowledged(load, 50);
    await beta.daemon.stop();
    assert.match(await doctor(cluster, EXIT.notInState), told('sidefile damaged at record ...'));
    const repaired = await tercet(cluster, 'doctor --site beta --repair --yes');
    assert.equal(repaired.code, EXIT.done, repaired.text);
    const aside = /set aside as (\S+);/.exec(repaired.text)?.[1];
    assert.ok(aside !== undefined && existsSync(join(aside, frame.file)), repaired.text);
    assert.ok(!existsSync(folder));
    await beta.daemon.start();
    assert.equal(await cluster.healed(), 'alpha');
    await cluster.acknowledged(load, 50);
    await cluster.compareCopies(load);
  });
});
