// Groups in threads of their own, beside one in the main thread: hosts, peers, commands and a lost primary notice nothing of that; a thread that fails
// ends its process, and one that hangs is told of and keeps neither the other groups from an orderly end nor the process from ending.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { Cluster } from '../../demo/cluster.ts';
import { type Layout, planLayout } from '../../demo/layout.ts';
import { NbdClient } from '../../demo/nbd-client.ts';
import { mustRun, runTool } from '../../demo/tools.ts';
import { pause, until } from '../../demo/waiting.ts';
import { Superblock } from '../../src/core/replica/superblock.ts';
import { machineDigests } from '../../src/host/digests.ts';
import { openReplicaFolder } from '../../src/host/disk.ts';
import { MIB, type SiteNameInTests, type TestCluster, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';

const OTHERS = ['web', 'plain'] as const;

/** Two more groups, one of them in a thread. */
async function moreGroups({ configFile, sites }: Layout): Promise<() => Promise<void>> {
  const names = (async: boolean): string => JSON.stringify(sites.filter(({ mode }) => !async || mode === 'async').map(({ name }) => name));
  for (const [group, thread] of [
    ['web', true],
    ['plain', false],
  ] as const) {
    const keys = [`sites = ${names(false)}`, `async = ${names(true)}`, 'lease_millis = 1000', 'heartbeat_millis = 150'];
    const more = ['peer_timeout_millis = 800', 'segment_mib = 4', 'sidefile_mib = 512', `thread = ${thread}`];
    const volume = [`[[group.${group}.volume]]`, 'name = "log"', `size = ${32 * MIB}`];
    appendFileSync(configFile, ['', `[group.${group}]`, ...keys, ...more, ...volume, ''].join('\n'));
  }
  return () => Promise.resolve();
}

/** Names of the threads of a site's process. */
function threadsOf(test: TestCluster, name: SiteNameInTests): readonly string[] {
  const tasks = `/proc/${test.member(name).daemon.pid}/task`;
  return readdirSync(tasks).map((task) => readFileSync(join(tasks, task, 'comm'), 'utf8').trim());
}

function uriOf(test: TestCluster, group: string, how: 'tcp' | 'unix'): string {
  return test.uri('alpha', how).replace(new RegExp(`${test.layout.group}(/|%2F)[^/?]+`), `${group}/log`);
}

/** fio writes, reads back and compares. */
async function judge(test: TestCluster, group: string, how: 'tcp' | 'unix'): Promise<void> {
  const common = ['--ioengine=nbd', `--uri=${uriOf(test, group, how)}`, '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0'];
  await mustRun('fio', ['--name=random', '--rw=randwrite', '--bs=4k', '--size=16m', '--iodepth=16', '--fsync=64', '--minimal', ...common]);
}

test('two groups in threads of their own, and one that is not, serve their hosts at once, and lose nothing when their primary is killed', async () => {
  await withCluster({ group: { thread: 'true' }, prepare: moreGroups }, async (test) => {
    const { client } = test.member('alpha');
    for (const group of OTHERS) {
      await client.create(group);
      await test.until(`${group} is served, and both others are in step`, async () => {
        const { groups } = await client.status();
        const status = groups.find((each) => each.group === group);
        return status?.serving === true && status.protection === 'mirrored';
      });
    }
    const listed = await mustRun('nbdinfo', ['--list', '--json', `nbd://${test.member('alpha').layout.nbd.text}`]);
    for (const name of [test.exportName, 'web/log', 'plain/log']) assert.ok(listed.includes(`"${name}"`), `${name} in ${listed}`);

    const load = test.load();
    await Promise.all([test.acknowledged(load, 500), judge(test, 'web', 'tcp'), judge(test, 'web', 'unix'), judge(test, 'plain', 'tcp')]);
    await asked(test);
    await changed(test);

    await test.member('alpha').daemon.kill();
    await test.acknowledged(load, 300);
    await test.member('alpha').daemon.start();
    await test.healed();
    await test.acknowledged(load, 300);
    await load.workload.stop();
    await test.verify(load);
    await test.compareCopies(load);
    for (const { daemon } of test.cluster.members) assert.deepEqual(await daemon.ended, { code: 0, signal: null });
  });
});

/** What the control API, the metrics and the events say of groups in threads, and what a reload does. */
async function asked(test: TestCluster): Promise<void> {
  const { group } = test.layout;
  const { client, layout } = test.member('alpha');
  const { groups } = await client.status();
  assert.deepEqual(
    groups.map((status) => [status.group, status.role, status.failure]),
    [group, ...OTHERS].sort().map((name) => [name, 'primary', null]),
  );
  const names = threadsOf(test, 'alpha').filter((name) => name === group || OTHERS.some((other) => other === name));
  assert.deepEqual([...names].sort(), [group, 'web'].sort(), threadsOf(test, 'alpha').join(' '));

  const metrics = await (await fetch(`http://${layout.page.text}/metrics`)).text();
  for (const name of [group, ...OTHERS]) assert.match(metrics, new RegExp(`^tercet_[a-z_]+\\{[^}]*group="${name}"`, 'm'));
  const events: string[] = [];
  for await (const event of client.events({ after: null, follow: false })) events.push(`${event.kind} ${event.group}`);
  for (const name of [group, ...OTHERS])
    assert.ok(
      events.some((event) => event.endsWith(` ${name}`)),
      `${name} in ${events.join(', ')}`,
    );

  assert.ok((await client.explain('web')).sentences.length > 0);
  assert.ok((await client.sidefile('web', { from: 0, count: 10 })).records.length > 0);
  const verified = await tercet(test, `verify ${group} --site alpha`);
  assert.equal(verified.code, 0, verified.text);
  const image = join(test.layout.folder, 'web.img');
  const exported = await tercet(test, `export web/log --site alpha ${image}`);
  assert.equal(exported.code, 0, exported.text);
  assert.ok(existsSync(image));
  const refused = await test.member('gamma').client.promote('web', { force: false });
  assert.equal(refused.kind, 'refused');

  const before = readFileSync(test.layout.configFile, 'utf8');
  writeFileSync(
    test.layout.configFile,
    before.replace(`[group.web]`, '[group.web]\nrpo_seconds = 7').replace('thread = false', 'thread = true'),
  );
  const { changes } = await client.reload({ force: false, dryRun: false });
  assert.deepEqual(
    changes.map(({ key, takes }) => [key, takes]),
    [
      ['group.plain.thread', 'restart'],
      ['group.web.rpo_seconds', 'now'],
    ],
  );
  writeFileSync(test.layout.configFile, before);
  await client.reload({ force: false, dryRun: false });
}

/** A group in a thread grows, is paused, and is handed to another site and back, while hosts come through whichever site they ask. */
async function changed(test: TestCluster): Promise<void> {
  const { client } = test.member('alpha');
  const larger = 48 * MIB;
  const { configFile } = test.layout;
  const web = `[[group.web.volume]]\nname = "log"\nsize = `;
  writeFileSync(configFile, readFileSync(configFile, 'utf8').replace(web + String(32 * MIB), web + String(larger)));
  for (const member of test.cluster.members) await member.client.reload({ force: false, dryRun: false });
  const isServed = async (site: SiteNameInTests): Promise<boolean> => {
    const status = (await test.member(site).client.status()).groups.find((each) => each.group === 'web');
    return status?.serving === true && status.protection === 'mirrored' && status.volumes[0]?.sizeBytes === larger;
  };
  await test.until('it is larger', () => isServed('alpha'));
  assert.equal((await client.pause('web', { site: 'gamma', force: false })).kind, 'done');
  assert.equal((await client.resume('web', 'gamma')).kind, 'done');
  for (const to of ['beta', 'alpha'] as const) {
    const order = await tercet(test, `switchover web --to ${to}`);
    assert.equal(order.code, 0, order.text);
    await test.until(`${to} serves`, () => isServed(to));
    assert.equal((await mustRun('nbdinfo', ['--size', uriOf(test, 'web', 'tcp')])).trim(), String(larger));
  }
  await judge(test, 'web', 'tcp');
}

/** What a service manager hears of all who are started while its socket is in the environment. Node has no sockets of this kind. */
async function manager(folder: string): Promise<{ readonly path: string; readonly heard: () => number; readonly end: () => void }> {
  const path = join(folder, 'notify');
  const listener =
    'import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);s.bind(sys.argv[1])\nwhile True: print(s.recv(4096).decode(),flush=True)';
  const child = spawn('/usr/bin/python3', ['-c', listener, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  let heard = '';
  child.stdout.on('data', (part: Buffer) => (heard += part.toString('utf8')));
  await until('the socket is there', 20_000, async () => existsSync(path) || null);
  return { path, heard: () => heard.split('WATCHDOG=1').length, end: () => child.kill() };
}

/** One site with a group in a thread, which does what a file says, once it is there; and the two others. */
async function withOne(
  body: (cluster: Cluster, say: (what: 'throw' | 'hang' | 'nothing') => void, heard: () => number) => Promise<void>,
  watchdogMillis = 60_000,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-thread-'));
  const layout = await planLayout({ folder, sizeBytes: 16 * MIB, usualPorts: false, siteCount: 1 });
  const order = join(folder, 'order');
  const preload = join(folder, 'preload.mjs');
  writeFileSync(
    preload,
    `import { existsSync, readFileSync } from 'node:fs';
     import { isMainThread, workerData } from 'node:worker_threads';
     if (!isMainThread && workerData?.group === ${JSON.stringify(layout.group)}) setInterval(() => {
       const said = existsSync(${JSON.stringify(order)}) ? readFileSync(${JSON.stringify(order)}, 'utf8') : 'nothing';
       if (said === 'throw') throw new Error('as the test wants it');
       if (said === 'hang') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
     }, 20);`,
  );
  const config = { group: { thread: 'true' } };
  const cluster = new Cluster({ layout, ownGroup: false, config, nodeArgs: () => ['--import', preload], died: () => undefined });
  await moreGroups(layout);
  const { path, heard, end } = await manager(folder);
  try {
    await cluster.witness.start();
    Object.assign(process.env, { NOTIFY_SOCKET: path, WATCHDOG_USEC: String(watchdogMillis * 1000) });
    await cluster.member('alpha').daemon.start();
    delete process.env['NOTIFY_SOCKET'];
    delete process.env['WATCHDOG_USEC'];
    await cluster.create();
    const { client } = cluster.member('alpha');
    for (const group of OTHERS) await client.create(group);
    await until('it serves', 20_000, async () => (await client.status()).groups.every(({ serving }) => serving) || null);
    await body(cluster, (what) => writeFileSync(order, what), heard);
  } finally {
    end();
    await cluster.kill();
  }
  rmSync(folder, { recursive: true });
}

test('a failure in the thread of a group ends the process, with the code and the words of one in the main thread', async () => {
  await withOne(async (cluster, say) => {
    const { daemon } = cluster.member('alpha');
    const second = await runTool(process.execPath, ['src/daemon/main.ts', '--site', 'alpha', '--config', cluster.layout.configFile]);
    assert.match(second.stderr, /"event":"start.failed","code":"TERCET_REPLICA_LOCKED"/, 'what a thread cannot open is told as ever');
    say('throw');
    assert.deepEqual(await daemon.ended, { code: 70, signal: null });
    assert.match(daemon.logTail(), /"event":"fatal","code":"TERCET_INVARIANT".*as the test wants it/);
  });
});

/** Ten times in it the service manager hears that the process is alive. */
const WATCHDOG_MILLIS = 20_000;

test('a thread that hangs is told of, and the process ends in time when it is told to', async () => {
  await withOne(async (cluster, say, heard) => {
    const { client, daemon } = cluster.member('alpha');
    const before = heard();
    await until('the service manager hears that it is alive', 20_000, async () => heard() > before + 2 || null);
    say('hang');
    await until('the status tells of it', 20_000, async () => {
      const [status] = (await client.status()).groups;
      return (status?.serving === false && /its thread has not answered for [0-9.]+ s/.test(status.failure ?? '')) || null;
    });
    assert.equal((await client.health()).healthy, false);
    assert.match(readFileSync(cluster.layout.sites[0]?.log ?? '', 'utf8'), /"event":"thread.late".*its thread has not answered for 3 s/);
    await assert.rejects(client.explain(cluster.layout.group), /group demo was not asked: its thread has not answered/);
    const { nbd: address } = cluster.member('alpha').layout;
    const { group, volume } = cluster.layout;
    await assert.rejects(NbdClient.connect({ address, exportName: `${group}/${volume}` }), 'nobody is left waiting');
    const other = await NbdClient.connect({ address, exportName: 'plain/log' });
    await other.write(0, Buffer.alloc(4096, 1));
    await other.close();
    const silent = heard();
    await pause(WATCHDOG_MILLIS / 5);
    assert.equal(heard(), silent, 'the service manager hears nothing any more');
    const began = performance.now();
    assert.deepEqual(await daemon.stop(), { code: 1, signal: null });
    assert.ok(performance.now() - began < 14_000);
    assert.match(daemon.logTail(), /"event":"stop.late"/);
  }, WATCHDOG_MILLIS);
});

/** Whether a copy was closed in order by whoever had it last. */
async function isClean({ sites: [site] }: Layout, group: string): Promise<boolean> {
  assert.ok(site !== undefined);
  const folder = openReplicaFolder(join(site.data, group));
  const read = Superblock.read(folder.storage, machineDigests);
  assert.equal(read.kind, 'value');
  const { superblock } = read;
  const { cleanShutdown } = superblock.value;
  superblock.close();
  await folder.close();
  return cleanShutdown;
}

test('a thread that hangs as its daemon ends keeps no other group from an orderly end, and is named', async () => {
  await withOne(async (cluster, say) => {
    const { layout } = cluster;
    const { client, daemon, layout: site } = cluster.member('alpha');
    const names = [`${layout.group}/${layout.volume}`, ...OTHERS.map((group) => `${group}/log`)];
    const hosts = await Promise.all(names.map((exportName) => NbdClient.connect({ address: site.nbd, exportName })));
    for (const host of hosts) await host.write(4096, Buffer.alloc(4096, 7));
    say('hang');
    await until('nothing is answered any more', 20_000, async () => {
      const answer = client.explain(layout.group).then(() => true);
      return (await Promise.race([answer, pause(500)])) === true ? null : true;
    });
    const began = performance.now();
    assert.deepEqual(await daemon.stop(), { code: 1, signal: null });
    assert.ok(performance.now() - began < 9_000, 'not by the deadline that a dead disk has');
    assert.match(
      daemon.logTail(),
      new RegExp(`"event":"stop.late","groups":\\["${layout.group}"\\],"msg":"everything else has ended in order`),
    );
    for (const group of OTHERS) assert.ok(await isClean(layout, group), group);
    assert.equal(await isClean(layout, layout.group), false, 'the one that hung was not closed');
    for (const host of hosts) host.destroy('the test is over');
    say('nothing');
    await daemon.start();
    await until('all are served again', 20_000, async () => (await client.status()).groups.every(({ serving }) => serving) || null);
    assert.deepEqual(await daemon.stop(), { code: 0, signal: null });
  });
});

test('a daemon that its watchdog would kill because a thread hangs ends before that, every other group in order', async () => {
  await withOne(async (cluster, say) => {
    const { daemon, layout: site } = cluster.member('alpha');
    const host = await NbdClient.connect({ address: site.nbd, exportName: 'web/log' });
    await host.write(4096, Buffer.alloc(4096, 7));
    const began = performance.now();
    say('hang');
    assert.deepEqual(await daemon.ended, { code: 1, signal: null });
    assert.ok(performance.now() - began < 10_000, 'in time');
    const log = readFileSync(site.log, 'utf8');
    assert.match(log, /"event":"stopping","signal":"WATCHDOG"/);
    assert.match(log, new RegExp(`"event":"stop.late","groups":\\["${cluster.layout.group}"\\]`));
    for (const group of OTHERS) assert.ok(await isClean(cluster.layout, group), group);
    host.destroy('the test is over');
  }, 8_000);
});
