// Hosts that speak TLS: foreign clients with certificates get in at every site, nobody else does, and what they use goes on while sites and
// certificates change.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';

import { mustRun, runTool } from '../../demo/tools.ts';
import type { TlsFiles } from '../../src/host/tls-material.ts';
import type { TlsIdentity } from '../../src/host/tls-identity.ts';
import { Attached } from '../support/attached.ts';
import { holder, TestAuthority } from '../support/certificates.ts';
import type { SiteNameInTests, TestCluster } from '../support/cluster.ts';
import { MIB, withCluster } from '../support/cluster.ts';

/** The folder of a client's files, by the names that libnbd and qemu look for. */
function folderOf(test: TestCluster, name: string, files: TlsFiles, parts: { own: boolean } = { own: true }): string {
  const folder = join(test.layout.folder, `client-${name}`);
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(test.layout.folder, 'tls', 'ca.crt'), join(folder, 'ca-cert.pem'));
  if (parts.own) copyFileSync(files.cert, join(folder, 'client-cert.pem'));
  if (parts.own) copyFileSync(files.key, join(folder, 'client-key.pem'));
  return folder;
}

function secured(test: TestCluster, site: SiteNameInTests, folder: string): string {
  return `${test.uri(site).replace('nbd://', 'nbds://')}?tls-certificates=${encodeURIComponent(folder)}`;
}

/** How qemu names the same. */
function qemu(test: TestCluster, site: SiteNameInTests, folder: string): string[] {
  const { nbd } = test.member(site).layout;
  if (nbd.kind !== 'tcp') throw new Error('a TCP address was expected');
  const options = `driver=nbd,host=${nbd.host},port=${nbd.port},export=${test.exportName},tls-creds=creds`;
  return ['--object', `tls-creds-x509,id=creds,endpoint=client,dir=${folder}`, '--image-opts', options];
}

/** What a client that sends these bytes at once is told until it is cut off. */
function toldTo(test: TestCluster, site: SiteNameInTests, bytes: Uint8Array): Promise<Buffer> {
  const { nbd } = test.member(site).layout;
  if (nbd.kind !== 'tcp') throw new Error('a TCP address was expected');
  return new Promise((resolve, reject) => {
    const socket = connect({ host: nbd.host, port: nbd.port });
    const parts: Buffer[] = [];
    const late = setTimeout(() => reject(new Error('the connection was kept for 30 s')), 30_000);
    socket.on('data', (part: Buffer) => {
      if (parts.length === 0) socket.write(bytes);
      parts.push(part);
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(late);
      resolve(Buffer.concat(parts));
    });
  });
}

function optionBytes(code: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(16);
  head.write('IHAVEOPT');
  head.writeUInt32BE(code, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

function goBytes(name: string): Buffer {
  const data = Buffer.alloc(4 + name.length + 2);
  data.writeUInt32BE(name.length);
  data.write(name, 4);
  return optionBytes(7, data);
}

/** Certificates for everybody, signed by another authority that is trusted beside the old one. */
function change(test: TestCluster): { client: TlsFiles } {
  const folder = join(test.layout.folder, 'tls');
  const next = new TestAuthority(join(test.layout.folder, 'next'), 'the next authority');
  writeFileSync(join(folder, 'ca.crt'), readFileSync(join(folder, 'ca.crt'), 'utf8') + next.certificate);
  const replace = (name: string, identity: TlsIdentity): void => {
    const made = next.issue(name, identity, { hosts: ['127.0.0.1'] });
    writeFileSync(join(folder, `${name}.crt`), readFileSync(made.cert));
    writeFileSync(join(folder, `${name}.key`), readFileSync(made.key));
  };
  for (const { name } of test.layout.sites) replace(name, holder.site(name));
  replace('witness', holder.witness);
  replace('host', holder.client('host'));
  return { client: next.issue('later', holder.client('later')) };
}

test('hosts with certificates get in by TLS at every site, others do not, and nothing ends when sites and certificates change', async () => {
  await withCluster({ tls: true, site: { nbd_tls: 'required' } }, async (test) => {
    const tls = join(test.layout.folder, 'tls');
    const authority = TestAuthority.open(tls);
    const db1 = authority.issue('db1', holder.client('db1'));
    const own = folderOf(test, 'db1', db1);

    // Those who belong here.
    const image = join(test.layout.folder, 'image.raw');
    const back = join(test.layout.folder, 'back.raw');
    writeFileSync(image, randomBytes(3 * MIB + 77));
    truncateSync(image, test.layout.sizeBytes);
    assert.match(await mustRun('nbdinfo', [secured(test, 'alpha', own)]), /with TLS[\s\S]*export="demo\/disk0"/);
    assert.match(await mustRun('nbdinfo', ['--list', secured(test, 'beta', own)]), /demo\/disk0/);
    await mustRun('nbdcopy', ['--flush', image, secured(test, 'beta', own)]);
    await mustRun('nbdcopy', [secured(test, 'alpha', own), back]);
    assert.ok(readFileSync(image).equals(readFileSync(back)), 'what was written by TLS through beta is read by TLS from alpha');
    await mustRun('qemu-img', ['info', ...qemu(test, 'gamma', own)]);
    await mustRun('qemu-io', ['-c', 'write -P 9 8M 64k', '-c', 'flush', '-c', 'read -P 9 8M 64k', ...qemu(test, 'alpha', own)]);
    // A local socket is guarded by its mode.
    await mustRun('qemu-io', ['-f', 'raw', '-c', 'read -P 9 8M 64k', test.uri('alpha', 'unix')]);

    // Those who do not.
    const refused = async (uri: string, expected: RegExp): Promise<void> => {
      const { code, stderr } = await runTool('nbdinfo', [uri]);
      assert.notEqual(code, 0, `${uri} was let in`);
      assert.match(stderr, expected);
    };
    await refused(test.uri('alpha'), /Operation not supported/);
    await refused(secured(test, 'alpha', folderOf(test, 'nobody', db1, { own: false })), /nbdinfo: /);
    const foreign = new TestAuthority(join(test.layout.folder, 'foreign'));
    await refused(secured(test, 'alpha', folderOf(test, 'foreign', foreign.issue('db1', holder.client('db1')))), /nbdinfo: /);
    const witness = { ...db1, cert: join(tls, 'witness.crt'), key: join(tls, 'witness.key') };
    await refused(secured(test, 'alpha', folderOf(test, 'witness', witness)), /nbdinfo: /);
    const limited = authority.issue('web1', { kind: 'client', name: 'web1', groups: ['web'] });
    for (const site of ['alpha', 'beta'] as const)
      await refused(secured(test, site, folderOf(test, 'web1', limited)), /No such file or directory/);
    const late = authority.issue('late', holder.client('late'), { days: -1 });
    await refused(secured(test, 'alpha', folderOf(test, 'late', late)), /nbdinfo: /);
    await test.until('the log says why', () => {
      const log = readFileSync(test.member('alpha').layout.log, 'utf8');
      return log.includes('stream.refused') && /it shows no certificate|of another authority|has expired/.test(log);
    });

    // What stands between STARTTLS and TLS is carried out by nobody.
    const flags = Buffer.from([0, 0, 0, 3]);
    const told = await toldTo(test, 'alpha', Buffer.concat([flags, optionBytes(5), goBytes(test.exportName), Buffer.alloc(100)]));
    assert.equal(told.includes(Buffer.from([0, 0, 0, 7, 0, 0, 0])), false, 'GO is not answered');
    const demanded = await toldTo(test, 'alpha', Buffer.concat([flags, optionBytes(3), goBytes(test.exportName), optionBytes(2)]));
    assert.equal(demanded.toString('hex').split('80000005').length - 1, 2, 'LIST and GO are refused because of TLS');

    // A host whose volume stays while its site and all certificates change.
    const host = authority.issue('host', holder.client('host'));
    const attached = await Attached.open(test, { flags: ['--ca', host.ca, '--cert', host.cert, '--key', host.key] });
    const load = attached.load();
    await test.acknowledged(load, 200);
    const { client } = change(test);
    for (const daemon of [...test.cluster.daemons, attached.daemon]) daemon.signal('SIGHUP');
    const later = folderOf(test, 'later', client);
    await test.until('new certificates are taken', async () => (await runTool('nbdinfo', [secured(test, 'alpha', later)])).code === 0);
    await test.acknowledged(load, 200);
    await test.member('alpha').daemon.kill();
    await test.acknowledged(load, 200);
    await test.member('alpha').daemon.start();
    await test.healed();
    await test.acknowledged(load, 200);
    await mustRun('nbdinfo', [secured(test, 'alpha', later)]);
    assert.deepEqual(load.faults, [], 'the host sees no error and no end');
    await load.workload.stop();
    await test.compareCopies();
  });
});
