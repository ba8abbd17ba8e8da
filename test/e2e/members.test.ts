// The members of a group change while a host writes, by one file that each site reads again: a copy is mirrored in another mode. Whatever is killed in
// between, at most one site serves, nothing is lost, and all copies are equal at the end.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import { runTool } from '../../demo/tools.ts';
import { EXIT } from '../../src/core/base/errors.ts';
import { startWitness } from '../../src/witness/server.ts';
import { type TestCluster, type TestLoad, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

type Name = 'alpha' | 'beta' | 'gamma';

/** Writes which sites are async into the one file that all sites read. */
function write(cluster: TestCluster, async: readonly Name[]): void {
  const { configFile } = cluster.layout;
  const text = readFileSync(configFile, 'utf8').replace(/^async = .*$/m, `async = ${JSON.stringify(async)}`);
  writeFileSync(configFile, text);
}

async function reload(cluster: TestCluster, site: Name): Promise<void> {
  const { code, out, err } = await tercet(cluster, `reload --site ${site}`);
  assert.deepEqual([code, err], [EXIT.done, '']);
  assert.match(out, /\.async: .* \(in effect once every site has read the same: `tercet status`\)/);
}

/** Waits until the primary mirrors a copy in that mode, with its flag true. */
async function mirrored(cluster: TestCluster, site: Name, mode: 'sync' | 'async'): Promise<void> {
  const serving = await cluster.healed();
  await cluster.until(`${site} is ${mode}`, async () => {
    const peer = (await cluster.status(serving)).peers.find((each) => each.site === site);
    return peer?.mode === mode && peer.flag === 'true';
  });
}

test('a far copy becomes sync and takes over, and is async again, while a host writes', async () => {
  await withCluster({}, async (cluster) => {
    const watch = cluster.watch();
    const load = cluster.load();
    await cluster.acknowledged(load, 200);
    assert.equal(await cluster.healed(), 'alpha');

    write(cluster, []);
    await reload(cluster, 'gamma');
    await reload(cluster, 'alpha');
    await cluster.acknowledged(load, 100);
    const half = await tercet(cluster, 'status');
    assert.match(half.out, /waits to mirror gamma as sync: the configuration of beta says something else/);
    assert.equal((await cluster.status('alpha')).peers.find(({ site }) => site === 'gamma')?.mode, 'async');
    await reload(cluster, 'beta');
    await mirrored(cluster, 'gamma', 'sync');
    await cluster.acknowledged(load, 200);

    // Both that were sync before are lost: the third one holds everything that was acknowledged, and may serve.
    await cluster.member('alpha').daemon.kill();
    await cluster.acknowledged(load, 100);
    assert.equal(await cluster.servingSite(), 'beta');
    await cluster.until('gamma is in step with beta', async () => {
      const peer = (await cluster.status('beta')).peers.find(({ site }) => site === 'gamma');
      return peer?.flag === 'true' && peer.attached === 'following';
    });
    await cluster.member('beta').daemon.kill();
    await cluster.acknowledged(load, 100);
    assert.equal(await cluster.servingSite(), 'gamma');
    await cluster.member('alpha').daemon.start();
    await cluster.member('beta').daemon.start();
    assert.equal(await cluster.healed(), 'gamma');

    // It is primary now: another one first.
    write(cluster, ['gamma']);
    for (const site of ['beta', 'gamma', 'alpha'] as const) await reload(cluster, site);
    await cluster.until('gamma says why it stays sync', async () =>
      /waits to mirror gamma as async: gamma is primary.*tercet switchover/s.test((await tercet(cluster, 'status')).out),
    );
    const there = await tercet(cluster, `switchover ${cluster.layout.group} --to alpha`);
    assert.deepEqual([there.code, there.err], [EXIT.done, '']);
    await mirrored(cluster, 'gamma', 'async');
    await cluster.acknowledged(load, 200);

    // One sync site alone is not what a reload takes without being told so.
    write(cluster, ['beta', 'gamma']);
    const alone = await tercet(cluster, 'reload --site alpha');
    assert.equal(alone.code, EXIT.unsafe);
    assert.match(alone.err, /leaves group [a-z]+ one sync site, alpha: .*--force/);
    write(cluster, ['gamma']);

    const report = await watch.stop();
    assert.deepEqual(report.faults, []);
    await load.workload.stop();
    await cluster.verify(load);
    await cluster.compareCopies(load);
  });
});

test('the primary is killed in the middle of a change: the next one goes on with it, and fio finds what it wrote', async () => {
  await withCluster({}, async (cluster) => {
    assert.equal(await cluster.healed(), 'alpha');
    const load = cluster.load();
    // The witness is away: the change has begun and cannot end.
    await cluster.cluster.witness.kill();
    write(cluster, []);
    for (const site of ['alpha', 'beta', 'gamma'] as const) await reload(cluster, site);
    await cluster.until('the change waits for the witness', async () =>
      (await cluster.status('alpha')).waiting.some(({ what }) => what === 'to mirror gamma as sync'),
    );
    await cluster.acknowledged(load, 100);
    await cluster.member('alpha').daemon.kill();
    await cluster.cluster.witness.start();
    await cluster.acknowledged(load, 100);
    await cluster.member('alpha').daemon.start();
    await mirrored(cluster, 'gamma', 'sync');
    await load.workload.stop();
    await cluster.verify(load);

    const serving = await cluster.healed();
    const area = ['--name=modes', '--ioengine=nbd', `--uri=${cluster.uri(serving)}`, '--rw=randwrite', '--bs=4k', '--size=16m'];
    const judge = ['--iodepth=8', '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--rate_iops=1500', '--minimal'];
    const fio = runTool('fio', [...area, ...judge]);
    for (const async of [['gamma'], [], ['gamma']] as const) {
      write(cluster, async);
      for (const site of ['alpha', 'beta', 'gamma'] as const) await reload(cluster, site);
      await mirrored(cluster, 'gamma', async.length === 0 ? 'sync' : 'async');
    }
    const judged = await fio;
    assert.equal(judged.code, 0, `fio: ${judged.stdout}${judged.stderr}`);
    await cluster.compareCopies(load);
  });
});

/** The file names these sites for the group, and no others. */
function writeSites(cluster: TestCluster, sites: readonly Name[]): void {
  const { configFile } = cluster.layout;
  const text = readFileSync(configFile, 'utf8')
    .replace(/^sites = .*$/m, `sites = ${JSON.stringify(sites)}`)
    .replace(/^async = .*$/m, `async = ${JSON.stringify(sites.filter((site) => site === 'gamma'))}`);
  writeFileSync(configFile, text);
}

/** Ends a site's daemon in order, and starts it with the file as it is now; the host goes on. */
async function restart(cluster: TestCluster, load: TestLoad, site: Name): Promise<void> {
  await cluster.member(site).daemon.stop();
  await cluster.acknowledged(load, 50);
  await cluster.member(site).daemon.start();
  await cluster.until(`${site} follows again`, async () => {
    const serving = await cluster.servingSite();
    if (serving === null || serving === site) return false;
    const peer = (await cluster.status(serving)).peers.find((each) => each.site === site);
    return peer?.attached === 'following' && peer.flag === 'true';
  });
}

/** Who the copies are, as the witness has told the primary. */
async function copiesOf(cluster: TestCluster): Promise<readonly string[]> {
  const serving = await cluster.servingSite();
  const view = serving === null ? null : (await cluster.status(serving)).witness.view;
  return (view?.copies ?? []).map(({ site, mode, flag }) => `${site} ${mode} ${flag}`);
}

test('a site is removed, and added again with an empty folder, while a host writes', async () => {
  await withCluster({}, async (cluster) => {
    const { group } = cluster.layout;
    const load = cluster.load();
    await cluster.acknowledged(load, 100);
    assert.equal(await cluster.healed(), 'alpha');

    writeSites(cluster, ['alpha', 'beta']);
    await cluster.member('gamma').daemon.stop();
    await restart(cluster, load, 'beta');
    // Alpha has not read it: nothing happens, and beta says what its own file says.
    assert.equal((await copiesOf(cluster)).length, 3);
    assert.match((await tercet(cluster, 'status')).out, /beta waits to remove gamma: the configuration here says so/);
    const there = await tercet(cluster, `switchover ${group} --to beta`);
    assert.deepEqual([there.code, there.err], [EXIT.done, '']);
    await restart(cluster, load, 'alpha');
    await cluster.until('gamma is no copy any more', async () => (await copiesOf(cluster)).join() === 'alpha sync true,beta sync true');
    await cluster.acknowledged(load, 200);
    // A host that writes as fast as it can may make it say, for a moment, that the sidefile would soon be full.
    await cluster.until('the status is well, and does not name gamma', async () => {
      const { code, out } = await tercet(cluster, 'status');
      return code === EXIT.done && !/gamma/.test(out);
    });

    rmSync(join(cluster.member('gamma').layout.data, group), { recursive: true });
    writeSites(cluster, ['alpha', 'beta', 'gamma']);
    await cluster.member('gamma').daemon.start();
    await restart(cluster, load, 'alpha');
    const back = await tercet(cluster, `switchover ${group} --to alpha`);
    assert.deepEqual([back.code, back.err], [EXIT.done, '']);
    // The one that is to follow it is killed in the middle.
    await cluster.member('gamma').daemon.kill();
    await restart(cluster, load, 'beta');
    await cluster.member('gamma').daemon.start();
    await cluster.until('gamma is a copy again', async () => (await copiesOf(cluster)).includes('gamma async true'));
    assert.equal(await cluster.healed(), 'alpha');
    await load.workload.stop();
    await cluster.verify(load);
    await cluster.compareCopies(load);
  });
});

/** The witness as it was before the operations on members, in front of its own data. Returns how it is ended. */
async function olderWitness({ address, data }: TestCluster['layout']['witness']): Promise<() => Promise<void>> {
  const witness = await startWitness({ dataFolder: data, log: () => undefined });
  const answerTo = async ({ method = 'GET', url = '/' }: IncomingMessage, body: string): Promise<{ status: number; body: string }> => {
    if (/"kind":"(mode|add|remove)"/.test(body)) return { status: 400, body: '{"error":"the body is no operation"}' };
    const answer = await fetch(`http://127.0.0.1:${witness.address.port}${url}`, { method, ...(method === 'POST' && { body }) });
    return { status: answer.status, body: await answer.text() };
  };
  const server = createServer((request, response) => {
    text(request)
      .then((body) => answerTo(request, body))
      .then(({ status, body }) => response.writeHead(status, { 'content-type': 'application/json' }).end(body))
      .catch(() => response.destroy());
  });
  assert.equal(address.kind, 'tcp');
  if (address.kind === 'tcp') server.listen(address.port, address.host);
  await once(server, 'listening');
  return async () => {
    server.close();
    server.closeAllConnections();
    await witness.close();
  };
}

test('a witness that is older than the change is told of, other questions go on, and the change comes with its upgrade', async () => {
  await withCluster({}, async (cluster) => {
    const load = cluster.load();
    await cluster.acknowledged(load, 50);
    await cluster.cluster.witness.stop();
    const end = await olderWitness(cluster.layout.witness);
    write(cluster, []);
    for (const site of ['alpha', 'beta', 'gamma'] as const) await reload(cluster, site);
    await cluster.until('the status says what is to be done', async () =>
      /alpha waits to mirror gamma as sync: the program of the witness is older, .*upgrade the witness first/.test(
        (await tercet(cluster, 'status')).text,
      ),
    );
    assert.equal((await cluster.status('alpha')).witness.reachable, true);
    // Another question: beta is lost, and hosts are served without it.
    await cluster.member('beta').daemon.kill();
    await cluster.until('alpha is alone', async () => (await cluster.status('alpha')).protection === 'solo');
    await cluster.acknowledged(load, 50);
    await cluster.member('beta').daemon.start();
    await cluster.until('beta may serve again', async () => (await cluster.status('alpha')).protection === 'mirrored');
    await end();
    await cluster.cluster.witness.start();
    await mirrored(cluster, 'gamma', 'sync');
    await cluster.healed();
    await cluster.compareCopies(load);
  });
});
