// Points on real processes: foreign clients read a volume as it was while hosts write it, at far and at the primary, over a change of the primary; and
// where the sidefile has no room for that any more, they get errors, and everybody is told.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { firstDifference } from '../../demo/image.ts';
import { NbdClient } from '../../demo/nbd-client.ts';
import { mustRun, runTool } from '../../demo/tools.ts';
import { MIB, type SiteNameInTests, type TestCluster, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

/** An image with data where no load of the test writes, and holes. */
function makeImage(test: TestCluster, name: string): string {
  const path = join(test.layout.folder, name);
  writeFileSync(path, '');
  for (const at of [0, (test.layout.sizeBytes * 3) / 4]) {
    truncateSync(path, at);
    writeFileSync(path, randomBytes(6 * MIB), { flag: 'a' });
  }
  truncateSync(path, test.layout.sizeBytes);
  return path;
}

async function ordered(test: TestCluster, line: string): Promise<string> {
  const answer = await tercet(test, line);
  assert.equal(answer.code, 0, answer.text);
  return answer.out;
}

/** An image of a point, taken by a foreign client. */
async function taken(test: TestCluster, site: SiteNameInTests, point: string, by: 'nbdcopy' | 'qemu-img' = 'nbdcopy'): Promise<string> {
  const path = join(test.layout.folder, `${site}-${point}-${by}.raw`);
  const uri = `${test.uri(site)}@${point}`;
  if (by === 'nbdcopy') await mustRun('nbdcopy', [uri, path]);
  else await mustRun('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, path]);
  return path;
}

function same(test: TestCluster, paths: readonly string[]): void {
  const different = firstDifference(paths, test.layout.sizeBytes);
  assert.equal(different, null, `${different?.path} differs from ${paths[0]} at byte ${different?.offset}`);
}

test(
  'a point is read as it was while hosts write, at far and at the primary, and over a change of the primary',
  { timeout: 240_000 },
  async () => {
    await withCluster({}, async (test) => {
      const { group } = test.layout;
      const before = makeImage(test, 'before.raw');
      await mustRun('nbdcopy', ['--flush', before, test.uri('alpha', 'unix')]);
      const { received } = (await test.status('alpha')).marks ?? { received: 0 };
      await test.until('far has all of it', async () => ((await test.status('gamma')).marks?.committed ?? 0) >= received);
      for (const site of ['alpha', 'gamma'] as const) {
        const made = await ordered(test, `point create ${group} noon --site ${site}`);
        assert.match(made, new RegExp(`^point noon of group ${group} is record ${received} at ${site}`));
      }
      const load = test.load();
      const writer = await test.attach('alpha');
      for (let at = 0; at < 8 * MIB; at += MIB) await writer.write(at, randomBytes(MIB));
      await writer.close();
      await test.acknowledged(load, 500);
      same(test, [
        before,
        await taken(test, 'gamma', 'noon'),
        await taken(test, 'gamma', 'noon', 'qemu-img'),
        await taken(test, 'alpha', 'noon'),
      ]);

      // In the middle of writes: the same record, read at two sites and at different times, is the same volume.
      await ordered(test, `point create ${group} busy --site gamma`);
      const at = (await test.status('gamma')).points.find(({ name }) => name === 'busy')?.seq;
      const early = await taken(test, 'gamma', 'busy');
      const made = await tercet(test, `point create ${group} busy --site beta --at ${at}`);
      await test.acknowledged(load, 500);
      // Beta may have destaged it by then: it says so.
      if (made.code === 0) same(test, [early, await taken(test, 'beta', 'busy')]);
      else assert.match(made.err, /is in the base image together with later ones/);
      same(test, [early, await taken(test, 'gamma', 'busy', 'qemu-img')]);

      const client = await NbdClient.connect({ address: test.member('alpha').layout.nbd, exportName: `${test.exportName}@noon` });
      test.onClose(async () => client.destroy('the test is over'));
      const first = await client.read(0, MIB);
      assert.equal((await test.member('alpha').client.switchover(group, { to: 'beta', dryRun: false })).kind, 'done');
      assert.deepEqual(await client.read(0, MIB), first, 'a reader is no host of the reign that has ended');
      await client.close();
      const refused = await runTool('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', `${test.uri('gamma')}@noon`]);
      assert.notEqual(refused.code, 0, 'nobody writes into a point');
      const list = await ordered(test, `point list ${group}`);
      assert.match(list, /^alpha {2}noon {2}record \d+ of \S+ {2}ready, 0 connections, keeps /m);
      assert.match(list, /^gamma {2}busy /m);
      for (const line of list.trim().split('\n')) {
        const [site, name] = line.split('  ');
        await ordered(test, `point remove ${group} ${name} --site ${site}`);
      }
      assert.notEqual((await runTool('nbdinfo', [`${test.uri('gamma')}@noon`])).code, 0);
      await test.compareCopies(load);
    });
  },
);

test(
  'a point whose room is needed is lost: its readers get errors, hosts do not, and everybody is told',
  { timeout: 240_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'tercet-e2e-points-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const [hooks, log] = [join(folder, 'hooks.d'), join(folder, 'called')];
    mkdirSync(hooks);
    writeFileSync(join(hooks, 'note'), `#!/bin/sh\necho "$1 $TERCET_SITE $TERCET_GROUP $TERCET_EVENT" >> '${log}'\n`, { mode: 0o755 });
    await withCluster({ site: { hooks } }, async (test) => {
      const { group } = test.layout;
      const client = await test.attach('alpha');
      const payload = randomBytes(MIB);
      await client.write(0, payload);
      await ordered(test, `point create ${group} noon --site alpha`);
      const reader = await NbdClient.connect({ address: test.member('alpha').layout.nbd, exportName: `${test.exportName}@noon` });
      test.onClose(async () => reader.destroy('the test is over'));
      const read = async (): Promise<boolean> => {
        try {
          assert.deepEqual(Buffer.from(await reader.read(0, MIB)), payload);
          return true;
        } catch (error) {
          assert(!(error instanceof assert.AssertionError), String(error));
          return false;
        }
      };
      let lost = false;
      for (let i = 0; !lost; i++) {
        assert(i < 128, 'the sidefile has room for no more');
        await client.write((i % 60) * MIB, randomBytes(MIB));
        lost = !(await read());
        assert(!lost || i > 80, `it was lost after ${i} MiB`);
      }
      await test.until('the sidefile is small again', async () => (await test.status('alpha')).sidefileBytes < 24 * MIB);
      const why = 'less than a quarter of the room for its sidefile is left';
      assert.match(await ordered(test, `point list ${group} --site alpha`), new RegExp(`noon .* lost: ${why}`));
      const status = await tercet(test, 'status');
      assert.equal(status.code, 3, status.text);
      assert.match(status.out, new RegExp(`alpha has lost point noon: ${why}`));
      const events = await tercet(test, 'events --site alpha');
      assert.match(events.out, new RegExp(`point noon of group ${group} at alpha is lost: ${why}`));
      await test.until('the hook for a lost point is called', () =>
        existsSync(log) ? readFileSync(log, 'utf8').includes(`point alpha ${group} point-lost\n`) : false,
      );
      const refused = await runTool('qemu-img', ['info', `${test.uri('alpha')}@noon`]);
      assert.match(refused.stderr, new RegExp(`was given up: ${why}`));
      await ordered(test, `point remove ${group} noon --site alpha`);
      assert.doesNotMatch((await tercet(test, 'status')).out, /noon/);
      await client.close();
      await test.compareCopies();
    });
  },
);
