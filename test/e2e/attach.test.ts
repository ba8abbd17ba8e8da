// `tercet attach`: hosts behind it see no error while sites are killed, stopped and cut off, and what they were told stays true. When a site
// has lost writes that were answered, they are cut off and told.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import { NbdRequestError } from '../../demo/nbd-client.ts';
import { runTool } from '../../demo/tools.ts';
import { Attached } from '../support/attached.ts';
import { MIB, withCluster } from '../support/cluster.ts';

test('a host behind an attachment sees a pause and no error, whoever dies', async () => {
  await withCluster({}, async (test) => {
    const attached = await Attached.open(test);
    const load = attached.load();
    await test.acknowledged(load, 500);
    // A foreign client at the same time, which verifies what it writes.
    const fio = runTool('fio', [
      '--name=attached',
      '--ioengine=nbd',
      `--uri=${attached.uri}`,
      '--rw=randwrite',
      '--bs=4k',
      '--size=8m',
      '--iodepth=8',
      '--rate_iops=300',
      '--fsync=64',
      '--verify=crc32c',
      '--verify_fatal=1',
      '--verify_state_save=0',
      '--output-format=terse',
    ]);
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const primary = await test.healed();
      const { daemon } = test.member(primary);
      if (signal === 'SIGKILL') await daemon.kill();
      else await daemon.stop();
      await test.acknowledged(load, 300);
      assert.notEqual(await test.servingSite(), primary);
      await daemon.start();
    }
    // All at once: nobody serves for a while, and everything is there afterwards.
    await test.healed();
    await test.cluster.kill();
    await test.cluster.start();
    await test.acknowledged(load, 300);
    const judged = await fio;
    assert.equal(judged.code, 0, `fio: ${judged.stdout}${judged.stderr}`);
    assert.deepEqual(load.faults, []);
    await load.workload.stop();
    await attached.daemon.stop();
    await test.verify(load);
    await test.compareCopies(load);
  });
});

test('an attachment that finds nobody answers with an error when its time is over, and goes on afterwards', async () => {
  await withCluster({}, async (test) => {
    const attached = await Attached.open(test, { hold: '1' });
    const client = await attached.connect();
    await client.write(0, Buffer.alloc(4096, 1));
    await test.cluster.kill();
    await assert.rejects(client.write(0, Buffer.alloc(4096, 2)), (error) => error instanceof NbdRequestError && error.errno === 5);
    await assert.rejects(client.read(0, 4096), (error) => error instanceof NbdRequestError && error.errno === 5);
    const waiting = client.write(4096, Buffer.alloc(4096, 3));
    waiting.catch(() => undefined);
    await test.cluster.start();
    await waiting.catch(() => undefined);
    await test.healed();
    await test.until('writes are answered again', async () => {
      try {
        await client.write(0, Buffer.alloc(4096, 4));
        return true;
      } catch (error) {
        if (error instanceof NbdRequestError) return false;
        throw error;
      }
    });
    assert.equal((await client.read(0, 4096))[0], 4);
    assert.equal(client.ended, null, 'the connection stood all the time');
    await client.close();
    const ending = await attached.daemon.stop();
    assert.equal(ending.code, 0);
  });
});

test('a configuration that is ahead of what is served is believed by nobody for long', async () => {
  await withCluster({ network: true }, async (test) => {
    const { configFile, sizeBytes, sites } = test.layout;
    const ahead = sizeBytes + 8 * MIB;
    const text = readFileSync(configFile, 'utf8');
    assert.ok(text.includes(`size = ${sizeBytes}`));
    // Of this host alone: the sites have files of their own.
    writeFileSync(configFile, text.replace(`size = ${sizeBytes}`, `size = ${ahead}`));
    const first = await Attached.open(test, { name: 'first' });
    assert.equal((await first.connect()).sizeBytes, sizeBytes, 'a site has said it before any client asked');

    // Nobody is there to say it: the configuration is all there is, until a site is back.
    for (const { name } of sites) await test.member(name as 'alpha').daemon.stop();
    const second = await Attached.open(test, { name: 'second', sizeBytes: ahead });
    const told = await second.connect();
    assert.equal(told.sizeBytes, ahead);
    for (const { name } of sites) await test.member(name as 'alpha').daemon.start();
    await test.healed();
    await test.until('the client is cut off', () => told.ended !== null);
    const again = await second.connect();
    assert.equal(again.sizeBytes, sizeBytes);
    await again.write(0, Buffer.alloc(4096, 1));
    await again.flush();
    for (const attached of [first, second]) await attached.daemon.stop();
    await test.compareCopies();
  });
});
