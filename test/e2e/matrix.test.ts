// Every client that there is, each at the one address that it was given, before and after the site that serves is lost: none of them knows that
// there are sites. One of them, qemu, stays connected all the time and connects again by itself.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, writeSync, fsyncSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { mustRun, runTool } from '../../demo/tools.ts';
import type { TestCluster } from '../support/cluster.ts';
import { MIB, withCluster } from '../support/cluster.ts';

const KIB64 = 64 * 1024;

/** Each client has a MiB of its own, and writes what it is told into it. */
const PLACES = { qemuIo: 1, nbdsh: 2, nbdcopy: 3, nbdfuse: 4, bridge: 5, fio: 8 } as const;

function ended(child: ChildProcess): Promise<unknown> {
  return child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : once(child, 'exit');
}

/** A program that serves until it is told to stop; ended with the test. */
function serve(test: TestCluster, name: string, args: readonly string[]): ChildProcess {
  const child = spawn(name, args, { stdio: 'ignore' });
  test.onClose(async () => {
    child.kill('SIGKILL');
    await ended(child);
  });
  return child;
}

/** qemu as a client that serves on what it is given: it waits for a lost server, and asks it again. */
async function openBridge(test: TestCluster): Promise<string> {
  const { nbd } = test.member('gamma').layout;
  assert.ok(nbd.kind === 'tcp');
  const socket = join(test.layout.folder, 'bridge.sock');
  const server = `server.type=inet,server.host=${nbd.host},server.port=${nbd.port},export=${test.exportName},reconnect-delay=60`;
  serve(test, 'qemu-nbd', [
    '-t',
    '-e',
    '4',
    '-k',
    socket,
    '--image-opts',
    `driver=raw,file.driver=nbd,${server.replaceAll(/(^|,)/g, '$1file.')}`,
  ]);
  await test.until('qemu-nbd serves on', () => existsSync(socket));
  return `nbd+unix:///?socket=${socket}`;
}

function pattern(uri: string, place: number, byte: number): string[] {
  return ['-f', 'raw', '-c', `write -P ${byte} ${place}M 64k`, '-c', 'flush', '-c', `read -P ${byte} ${place}M 64k`, uri];
}

/** A file of the volume, as databases and loop devices want it. */
async function useByFuse(test: TestCluster, uri: string, byte: number): Promise<void> {
  const folder = join(test.layout.folder, `fuse-${byte}`);
  const path = join(folder, 'disk');
  mkdirSync(folder);
  const child = serve(test, 'nbdfuse', [path, uri]);
  await test.until('nbdfuse has mounted the volume', () => existsSync(path));
  const file = openSync(path, 'r+');
  writeSync(file, Buffer.alloc(KIB64, byte), 0, KIB64, PLACES.nbdfuse * MIB);
  fsyncSync(file);
  const back = Buffer.alloc(KIB64);
  readSync(file, back, 0, KIB64, PLACES.nbdfuse * MIB);
  closeSync(file);
  assert.ok(back.equals(Buffer.alloc(KIB64, byte)));
  await mustRun('fusermount3', ['-u', folder]);
  await ended(child);
}

/** Lets each client write `byte` and read it. */
async function useAll(test: TestCluster, bridge: string, byte: number): Promise<void> {
  const uri = test.uri('gamma');
  const { folder, sizeBytes } = test.layout;
  assert.match(await mustRun('qemu-img', ['info', '--output=json', uri]), new RegExp(`"virtual-size": ${sizeBytes}`));
  assert.match(await mustRun('nbdinfo', ['--json', uri]), new RegExp(`"export-size": ${sizeBytes}`));
  assert.equal((await mustRun('nbdinfo', ['--size', uri])).trim(), String(sizeBytes));
  await mustRun('qemu-io', pattern(uri, PLACES.qemuIo, byte));
  const at = PLACES.nbdsh * MIB;
  const script = `h.pwrite(b"\\x${byte.toString(16).padStart(2, '0')}" * ${KIB64}, ${at}, nbd.CMD_FLAG_FUA); assert h.pread(${KIB64}, ${at}) == bytes([${byte}]) * ${KIB64}`;
  await mustRun('/usr/bin/python3', ['-m', 'nbd', '-u', uri, '-c', script]);
  await useByFuse(test, uri, byte);
  await mustRun('qemu-io', pattern(bridge, PLACES.bridge, byte));
  const fio = ['--name=matrix', '--ioengine=nbd', `--uri=${uri}`, '--rw=randwrite', '--bs=4k', `--offset=${PLACES.fio}m`, '--size=4m'];
  await mustRun('fio', [...fio, '--iodepth=16', '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--minimal']);
  // Out, changed, and in again, as backups do it.
  const [copy, image] = [join(folder, `copy-${byte}`), join(folder, `image-${byte}`)];
  await mustRun('nbdcopy', [uri, copy]);
  await mustRun('qemu-io', pattern(copy, PLACES.nbdcopy, byte));
  await mustRun('nbdcopy', ['--flush', copy, uri]);
  await mustRun('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', bridge, image]);
  await mustRun('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', uri, image]);
  const bytes = readFileSync(copy);
  for (const place of [PLACES.qemuIo, PLACES.nbdsh, PLACES.nbdcopy, PLACES.nbdfuse, PLACES.bridge])
    assert.ok(bytes.subarray(place * MIB, place * MIB + KIB64).equals(Buffer.alloc(KIB64, byte)), `the bytes at ${place} MiB`);
}

/** What of the volume a site's copy is said to lack: [offset, length] by nbdinfo. */
async function lacking(uri: string, site: string): Promise<[number, number][]> {
  const map = JSON.parse(await mustRun('nbdinfo', [`--map=x-tercet:dirty:${site}`, '--json', uri])) as {
    offset: number;
    length: number;
    type: number;
  }[];
  return map.filter(({ type }) => type === 1).map(({ offset, length }) => [offset, length]);
}

/** A mirror goes and comes back: what it lacks meanwhile is what was written, asked at the primary and through another site. */
async function seeWhatIsLacking(test: TestCluster): Promise<void> {
  const uri = test.uri('beta');
  await test.until('alpha lacks nothing', async () => (await lacking(uri, 'alpha')).length === 0);
  await test.member('alpha').daemon.kill();
  await mustRun('qemu-io', pattern(uri, 40, 23));
  const written = [[40 * MIB, KIB64]];
  assert.deepEqual(await lacking(uri, 'alpha'), written);
  assert.deepEqual(await lacking(test.uri('gamma'), 'alpha'), written);
  assert.deepEqual(await lacking(uri, 'beta'), []);
  const { nbd } = test.member('beta').layout;
  assert.ok(nbd.kind === 'tcp');
  // qemu shows a context of its user's in place of its own: what is lacking looks like a hole.
  const image = `driver=nbd,host=${nbd.host},port=${nbd.port},export=${test.exportName},x-dirty-bitmap=x-tercet:dirty:alpha`;
  const map = JSON.parse(await mustRun('qemu-img', ['map', '--output=json', '--image-opts', image])) as {
    start: number;
    length: number;
    data: boolean;
  }[];
  assert.deepEqual(
    map.filter(({ data }) => !data).map(({ start, length }) => [start, length]),
    written,
  );
  await test.member('alpha').daemon.start();
  await test.healed();
  await test.until('alpha lacks nothing again', async () => (await lacking(uri, 'alpha')).length === 0);
}

test('all clients do at one address what they do anywhere, also after a failover, and qemu stays connected through it', async () => {
  await withCluster({}, async (test) => {
    const bridge = await openBridge(test);
    await useAll(test, bridge, 17);
    await test.member('alpha').daemon.kill();
    // qemu's request waits for the site that takes over.
    await mustRun('qemu-io', pattern(bridge, PLACES.bridge, 18));
    await test.until('beta serves', async () => (await test.servingSite()) === 'beta');
    await test.until('gamma passes its hosts on', async () => (await runTool('nbdinfo', [test.uri('gamma')])).code === 0);
    await useAll(test, bridge, 19);
    await test.member('alpha').daemon.start();
    await test.healed();
    await seeWhatIsLacking(test);
    await test.compareCopies();
  });
});
