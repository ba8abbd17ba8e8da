// The life of a group as docs/operations.md tells it: an image that was there before is taken over as it is, the volume grows while it is written to,
// a site whose disk was lost comes back under its name, and the volume is taken away as an image of its own.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { firstDifference } from '../../demo/image.ts';
import { baseImage, directName, nbdUri } from '../../demo/layout.ts';
import { NbdClient } from '../../demo/nbd-client.ts';
import { runCli } from '../../src/cli/app.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { EXIT } from '../../src/core/base/errors.ts';
import type { SiteNameInTests, TestCluster } from '../support/cluster.ts';
import { MIB, withCluster } from '../support/cluster.ts';

const SIZE = 16 * MIB;
const LARGER = 24 * MIB;

async function tercet(cluster: TestCluster, line: string): Promise<{ code: number; out: string }> {
  let out = '';
  const write = (text: string): void => void (out += text);
  const fake: CliContext['process'] = { stdout: { write }, stderr: { write }, env: { STRICLI_NO_COLOR: '1' } };
  const words = [...line.split(' '), '--config', cluster.layout.configFile];
  await runCli(words, { process: fake, env: {}, colour: false, ask: null });
  return { code: Number(fake.exitCode ?? 0), out };
}

async function restart(cluster: TestCluster, name: SiteNameInTests): Promise<void> {
  await cluster.member(name).daemon.stop();
  await cluster.member(name).daemon.start();
  await cluster.healed();
}

test(
  'an image is taken over, grows while it is written to, survives the loss of a disk, and is taken away',
  { timeout: 240_000 },
  async () => {
    const image = randomBytes(SIZE);
    // In its first half only: a host of the test writes the second one.
    image.fill(0, SIZE / 2);
    await withCluster(
      {
        sizeBytes: SIZE,
        prepare: async (layout) => {
          const [alpha] = layout.sites;
          assert.ok(alpha);
          mkdirSync(dirname(baseImage(layout, alpha)), { recursive: true });
          writeFileSync(baseImage(layout, alpha), image);
          return () => Promise.resolve();
        },
      },
      async (cluster) => {
        const { layout } = cluster;
        const load = cluster.load({ blockCount: 512 });
        await cluster.acknowledged(load, 100);

        // Growing: the configuration first, then the mirrors one by one, then the site that served, once it is a mirror.
        const config = readFileSync(layout.configFile, 'utf8');
        writeFileSync(layout.configFile, config.replace(`size = ${SIZE}`, `size = ${LARGER}`));
        assert.match((await tercet(cluster, 'reload --site alpha')).out, /size: 16777216 -> 25165824 \(needs a restart of this daemon\)/);
        await restart(cluster, 'beta');
        assert.match((await tercet(cluster, 'status')).out, /volume disk0 has 16\.0 MiB at alpha and gamma, 24\.0 MiB at beta/);
        await restart(cluster, 'gamma');
        const over = await tercet(cluster, `switchover ${layout.group} --to beta`);
        assert.equal(over.code, EXIT.done, over.out);
        await restart(cluster, 'alpha');
        await cluster.acknowledged(load, 100);
        assert.equal((await tercet(cluster, 'status')).code, EXIT.done);
        const host = await NbdClient.connect({ address: cluster.member('beta').layout.nbd, exportName: directName(layout) });
        cluster.onClose(async () => host.destroy('the test is over'));
        assert.equal(host.sizeBytes, LARGER);
        const tail = randomBytes(MIB);
        await host.write(LARGER - MIB, tail);
        await host.flush();

        // The disk of gamma is lost and replaced: an empty folder under the same name.
        await cluster.member('gamma').daemon.stop();
        renameSync(join(cluster.member('gamma').layout.data, layout.group), join(layout.folder, 'lost'));
        await cluster.member('gamma').daemon.start();
        await cluster.healed();

        // Taking it away: what a foreign client reads is what was there and what was written.
        await load.workload.stop();
        const taken = join(layout.folder, 'taken.img');
        const uri = nbdUri(layout, cluster.member('beta').layout.nbd);
        const { status, stderr } = spawnSync('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, taken], { encoding: 'utf8' });
        assert.equal(status, 0, stderr);
        assert.equal(statSync(taken).size, LARGER);
        const read = readFileSync(taken);
        assert.ok(read.subarray(0, SIZE / 2).equals(image.subarray(0, SIZE / 2)), 'what was there before differs');
        assert.ok(read.subarray(LARGER - MIB).equals(tail), 'what was written into the new part differs');
        assert.ok(
          read.subarray(SIZE, LARGER - MIB).every((byte) => byte === 0),
          'the new part differs from zeroes',
        );
        await host.close();
        await cluster.compareCopies(load);
        const bases = layout.sites.map((site) => baseImage(layout, site));
        assert.equal(firstDifference([taken, ...bases], LARGER), null, 'the copies differ from what was taken away');
      },
    );
  },
);
