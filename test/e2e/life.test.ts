// The life of a group: an image that it begins with, what hosts see while nobody may serve, a site that is replaced; and its end, with a volume that is written
// out of a stopped copy before, and a name that begins anew.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { firstDifference } from '../../demo/image.ts';
import { baseImage, type Layout, PortFinder } from '../../demo/layout.ts';
import { LEDGER_BLOCK_BYTES } from '../../demo/ledger.ts';
import { NbdRequestError } from '../../demo/nbd-client.ts';
import { mustRun } from '../../demo/tools.ts';
import { MIB, type TestCluster, type TestLoad, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

/** The image of a stopped mirror holds every write of the host, and holes; nothing is written over, and nothing half done is left. */
async function exported(test: TestCluster, { ledger }: TestLoad): Promise<void> {
  const file = join(test.layout.folder, 'image.raw');
  const made = await tercet(test, `export ${test.exportName} --site beta ${file}`);
  assert.equal(made.code, 0, made.text);
  assert.match(made.out, /as of record \([0-9]+, [0-9]+\) of 20/);
  const { size, blocks } = statSync(file);
  assert.equal(size, test.layout.sizeBytes);
  assert.ok(blocks * 512 < size / 2, `holes are kept: ${blocks * 512} of ${size} bytes`);
  const image = readFileSync(file);
  for (let block = 0; block < ledger.blockCount; block++) {
    const at = ledger.offsetOf(block);
    assert.equal(ledger.check(block, image.subarray(at, at + LEDGER_BLOCK_BYTES)), null);
  }
  const again = await tercet(test, `export ${test.exportName} --site beta ${file}`);
  assert.deepEqual([again.code, /exists already/.test(again.err)], [3, true], again.text);
  const nowhere = await tercet(test, `export ${test.exportName} --site beta ${join(test.layout.folder, 'no-such-folder', 'image.raw')}`);
  assert.deepEqual([nowhere.code, /cannot be written \(ENOENT\)/.test(nowhere.err)], [3, true], nowhere.text);
  const left = readdirSync(test.layout.folder).filter((name) => name.includes('.raw'));
  assert.deepEqual(left, ['image.raw']);
}

test('a deleted group serves nowhere again, not at a site that was away, and its name is free for a new one', async () => {
  await withCluster({}, async (test) => {
    const { group } = test.layout;
    const load = test.load();
    await test.acknowledged(load, 100);
    const running = join(test.layout.folder, 'running.img');
    const live = await tercet(test, `export ${test.exportName} --site gamma ${join(test.layout.folder, 'busy.img')}`);
    assert.deepEqual([live.code, /as of record \([0-9]+, [0-9]+\) of 20/.test(live.out)], [0, true], live.text);
    await load.workload.stop();
    assert.equal((await tercet(test, `export ${test.exportName} --site beta ${running}`)).code, 0);
    const refused = async (line: string, code: number, why: RegExp): Promise<void> => {
      const answer = await tercet(test, `delete ${group} ${line}`);
      assert.equal(answer.code, code, answer.text);
      assert.match(answer.err, why);
    };
    await refused('--site alpha --yes --force', 5, /the daemon of alpha runs with group/);
    for (const site of ['gamma', 'beta', 'alpha'] as const) await test.member(site).daemon.stop();
    await exported(test, load);
    assert.equal(firstDifference([running, join(test.layout.folder, 'image.raw')], test.layout.sizeBytes), null);
    await refused('--site beta --yes', 5, /alpha is primary of/);
    await refused('--site alpha', 2, /it asks first/);
    const folder = join(test.member('alpha').layout.data, group);
    const dry = await tercet(test, `delete ${group} --site alpha --dry-run`);
    assert.deepEqual([dry.code, existsSync(folder)], [0, true], dry.text);
    const deleted = await tercet(test, `delete ${group} --site alpha --yes`);
    assert.deepEqual([deleted.code, existsSync(folder)], [0, false], deleted.text);

    // A site that was away comes back with a whole copy, and its configuration still has the group.
    await test.member('beta').daemon.start();
    await test.until('beta would claim, and knows that it may not', async () => {
      const { role, waiting } = await test.status('beta');
      return role === 'standby' && waiting.some(({ cause }) => cause === 'this group was deleted, and its copies serve no more');
    });
    const forced = await test.member('beta').client.promote(group, { force: true });
    assert.equal(forced.kind, 'refused', forced.text);
    assert.notEqual((await tercet(test, `witness replace ${group}`)).code, 0);
    assert.equal(await test.servingSite(), null);
    await test.member('beta').daemon.stop();
    for (const site of ['beta', 'gamma'] as const) {
      const removed = await tercet(test, `delete ${group} --site ${site} --yes`);
      assert.equal(removed.code, 0, removed.text);
    }
    assert.match((await tercet(test, `delete ${group} --site gamma --yes`)).out, /is deleted, and there is no copy of it at gamma/);

    for (const { daemon } of test.cluster.members) await daemon.start();
    await test.cluster.create();
    await test.healed();
    const host = await test.attach('alpha');
    const bytes = await host.read(test.layout.sizeBytes / 2, MIB);
    assert.ok(
      bytes.every((byte) => byte === 0),
      'the new group has nothing of the old one',
    );
    await host.close();

    // By force from elsewhere, as if alpha were lost: it lives, hears of it, and stops.
    await test.member('beta').daemon.stop();
    const byForce = await tercet(test, `delete ${group} --site beta --yes --force`);
    assert.equal(byForce.code, 0, byForce.text);
    await test.until('alpha has heard of it', async () => {
      const { role, serving, witness } = await test.status('alpha');
      return role === 'standby' && !serving && witness.trouble?.cause === 'this group was deleted, and its copies serve no more';
    });
  });
});

test('a site that served is lost for good, and another machine takes its name at another address', async () => {
  await withCluster({}, async (test) => {
    const { configFile, sites } = test.layout;
    const load = test.load();
    await test.acknowledged(load, 200);
    assert.equal(await test.healed(), 'alpha');
    const alpha = test.member('alpha');
    await alpha.daemon.kill();
    await test.acknowledged(load, 200);
    assert.equal(await test.servingSite(), 'beta');

    rmSync(alpha.layout.data, { recursive: true });
    const ports = new PortFinder();
    let text = readFileSync(configFile, 'utf8');
    for (const { text: address } of [alpha.layout.link, alpha.layout.nbd])
      text = text.replaceAll(address, address.replace(/[0-9]+$/, String(await ports.find(null))));
    writeFileSync(configFile, text);
    await alpha.daemon.start();
    assert.equal(await test.healed(), 'beta', 'it is filled, and the others were not restarted');
    await test.acknowledged(load, 100);
    await load.workload.stop();

    for (const { name } of sites.slice(1)) {
      const { daemon } = test.member(name as 'beta');
      await daemon.stop();
      await daemon.start();
      await test.healed();
    }
    const serving = await test.healed();
    if (serving !== 'alpha') assert.equal((await tercet(test, `switchover ${test.layout.group} --to alpha`)).code, 0);
    assert.equal(await test.healed(), 'alpha');
    // A host of another site is passed on to the new machine.
    assert.equal((await mustRun('nbdinfo', ['--size', test.uri('gamma')])).trim(), String(test.layout.sizeBytes));
    await test.compareCopies(load);
  });
});

test('an image that is there becomes the base of the first site as it is, and the others are filled from it', async () => {
  const content = randomBytes(64 * MIB);
  let inode = 0;
  const prepare = (layout: Layout): Promise<() => Promise<void>> => {
    const [alpha] = layout.sites;
    assert.ok(alpha);
    const base = baseImage(layout, alpha);
    mkdirSync(dirname(base), { recursive: true });
    writeFileSync(base, content);
    inode = statSync(base).ino;
    return Promise.resolve(() => Promise.resolve());
  };
  await withCluster({ sizeBytes: content.length, prepare }, async (test) => {
    const host = await test.attach('alpha');
    assert.ok(content.subarray(MIB, 3 * MIB).equals(await host.read(MIB, 2 * MIB)));
    await host.close();
    await test.compareCopies();
    const [first, ...others] = test.layout.sites.map((site) => baseImage(test.layout, site));
    assert.equal(statSync(first as string).ino, inode, 'it was not copied');
    for (const base of others) assert.ok(content.equals(readFileSync(base)), base);
  });
});

test('while nobody may serve, requests wait for as long as the configuration says, then fail, and are answered again afterwards', async () => {
  await withCluster({ group: { hold_seconds: 5 } }, async (test) => {
    const host = await test.attach('alpha');
    const block = Buffer.alloc(4096, 7);
    await host.write(0, block);
    await test.cluster.witness.kill();
    await test.member('beta').daemon.kill();
    await test.until('alpha may not serve', async () => !(await test.status('alpha')).serving);
    const asked = assert.rejects(host.write(4096, block), NbdRequestError);
    await test.until('it is held', async () => (await test.status('alpha')).heldRequests > 0);
    await asked;
    await test.member('beta').daemon.start();
    await test.until('alpha serves again', async () => (await test.status('alpha')).serving);
    await host.write(4096, block);
    await host.flush();
    await test.cluster.witness.start();
    assert.equal(await test.healed(), 'alpha');
    await test.compareCopies();
  });
});
