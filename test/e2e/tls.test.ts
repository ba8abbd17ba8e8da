// Three sites and a witness that speak TLS with certificates: mirrored, failing over, closed to everybody else, and given other certificates while
// hosts write.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as tlsConnect, type ConnectionOptions } from 'node:tls';

import type { Address } from '../../src/api/address.ts';
import { EXIT } from '../../src/core/base/errors.ts';
import { encodeJson, encodeMessage } from '../../src/core/mirror/messages.ts';
import { machineDigests } from '../../src/host/digests.ts';
import { holder, TestAuthority } from '../support/certificates.ts';
import { withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { rehearse, told } from '../support/recovery-page.ts';

const HELLO = encodeMessage('hello', encodeJson({ group: 'demo', groupId: null, from: 'alpha', to: 'beta' }), machineDigests);

function portOf(address: Address): { host: string; port: number } {
  if (address.kind !== 'tcp') throw new Error('a TCP address was expected');
  return { host: address.host, port: address.port };
}

/** Says hello as alpha, and resolves with what came back until the connection was closed. */
function answerTo(address: Address, options: ConnectionOptions | null): Promise<string> {
  return new Promise((resolve, reject) => {
    const at = portOf(address);
    const socket = options === null ? connect(at) : tlsConnect({ ...at, rejectUnauthorized: false, ...options });
    let text = '';
    const late = setTimeout(() => reject(new Error(`${address.text} kept a stranger for 30 s`)), 30_000);
    socket.on(options === null ? 'connect' : 'secureConnect', () => socket.write(HELLO));
    socket.on('data', (bytes: Buffer) => (text += bytes.toString('latin1')));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(late);
      resolve(text);
    });
  });
}

/** Asks the witness something as the holder of a certificate; its status, or null when it did not even answer. */
function askWitness(address: Address, pem: ConnectionOptions, from: string): Promise<number | null> {
  return new Promise((resolve) => {
    const body = JSON.stringify({ kind: 'read', requestId: 'r', group: 'demo', from });
    const options = {
      ...portOf(address),
      ...pem,
      rejectUnauthorized: false,
      agent: false,
      method: 'POST',
      path: '/v1/groups/demo/operations',
    };
    const sent = request(options, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? null));
    });
    sent.on('error', () => resolve(null));
    sent.end(body);
  });
}

/** Fingerprint of the certificate that a port shows. */
function shownBy(address: Address, pem: ConnectionOptions): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = tlsConnect({ ...portOf(address), ...pem, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? null);
      socket.destroy();
    });
    socket.on('error', () => resolve(null));
  });
}

test('sites that speak TLS fail over, let nobody else in, and take other certificates while hosts write', async () => {
  await withCluster({ tls: true }, async (test) => {
    const folder = join(test.layout.folder, 'tls');
    const own = (name: string): ConnectionOptions => ({
      cert: readFileSync(join(folder, `${name}.crt`)),
      key: readFileSync(join(folder, `${name}.key`)),
    });
    const foreign = new TestAuthority(join(test.layout.folder, 'foreign'));
    const pemOf = ({ cert, key }: { cert: string; key: string }): ConnectionOptions => ({
      cert: readFileSync(cert),
      key: readFileSync(key),
    });
    const load = test.load();
    await test.acknowledged(load, 200);
    const primary = await test.status('alpha');

    const { link } = test.member('beta').layout;
    assert.equal(await answerTo(link, null), '', 'plain text is told nothing');
    assert.equal(await answerTo(link, {}), '', 'nor is whoever has no certificate');
    assert.equal(await answerTo(link, pemOf(foreign.issue('alpha', holder.site('alpha')))), '', 'nor one of another authority');
    assert.match(await answerTo(link, own('gamma')), /the certificate is not that of site/);
    assert.match(await answerTo(link, own('witness')), /the certificate is not that of site/);
    const witness = test.layout.witness.address;
    assert.equal(await askWitness(witness, own('beta'), 'beta'), 200);
    assert.equal(await askWitness(witness, own('beta'), 'alpha'), 403);
    assert.equal(await askWitness(witness, pemOf(foreign.issue('beta', holder.site('beta'))), 'beta'), null);
    assert.equal(await askWitness(witness, {}, 'beta'), null);

    // Another authority for everybody, trusted beside the old one, and new certificates: no connection ends.
    const next = new TestAuthority(join(test.layout.folder, 'next'));
    writeFileSync(join(folder, 'ca.crt'), readFileSync(join(folder, 'ca.crt'), 'utf8') + next.certificate);
    for (const name of ['alpha', 'beta', 'gamma', 'witness']) {
      const made = next.issue(name, name === 'witness' ? holder.witness : holder.site(name));
      writeFileSync(join(folder, `${name}.crt`), readFileSync(made.cert));
      writeFileSync(join(folder, `${name}.key`), readFileSync(made.key));
    }
    for (const daemon of test.cluster.daemons) daemon.signal('SIGHUP');
    const wanted = new X509Certificate(readFileSync(join(folder, 'beta.crt'))).fingerprint256;
    await test.until('beta shows its new certificate', async () => (await shownBy(link, own('alpha'))) === wanted);
    await test.acknowledged(load, 200);
    const after = await test.status('alpha');
    assert.deepEqual([after.epoch, after.counters.excludes], [primary.epoch, primary.counters.excludes]);

    await test.member('alpha').daemon.kill();
    await test.until('beta serves', async () => (await test.servingSite()) === 'beta');
    await test.acknowledged(load, 200);
    await test.member('alpha').daemon.start();
    await test.healed();
    await test.compareCopies(load);

    const lines = readFileSync(join(folder, 'beta.key'), 'utf8')
      .split('\n')
      .filter((line) => line.length > 40);
    const logs = test.layout.sites.map((site) => readFileSync(site.log, 'utf8')).join('\n');
    assert.equal(
      lines.some((line) => logs.includes(line)),
      false,
      'no part of a key is in a log',
    );
  });
});

test('a certificate has expired: no new connection with it, and a new one needs a reload and no restart', async () => {
  await withCluster({ tls: true, network: true }, async (test) => {
    rehearse('A certificate has expired');
    const folder = join(test.layout.folder, 'tls');
    const authority = TestAuthority.open(folder);
    const load = test.load();
    await test.acknowledged(load, 100);
    authority.issue('beta', holder.site('beta'), { days: -1 });
    const { key } = authority.issue('beta', holder.site('gamma'));
    const wrong = await tercet(test, 'reload --site beta');
    assert.equal(wrong.code, EXIT.configuration, wrong.text);
    assert.match(wrong.text, /beta\.crt is the certificate of site gamma, not of site beta/);
    writeFileSync(key, 'no key');
    assert.match((await tercet(test, 'reload --site beta')).text, /those that were in use stay in use/);

    authority.issue('beta', holder.site('beta'), { days: -1 });
    const read = await tercet(test, 'reload --site beta');
    assert.deepEqual(
      [read.code, /certificates read again: site beta.*; the certificate has expired/.test(read.text)],
      [0, true],
      read.text,
    );
    const said = told('site beta: the certificate has expired, so no peer accepts a new connection');
    const status = await tercet(test, 'status');
    assert.deepEqual([status.code, said.test(status.text)], [EXIT.notInState, true], status.text);
    assert.equal(await test.healed(), 'alpha', 'connections that stand go on');

    for (const other of ['alpha', 'gamma', 'witness'] as const) test.sever('beta', other);
    await test.until('beta is away', async () => told('beta is not connected to alpha').test((await tercet(test, 'status')).text));
    for (const other of ['alpha', 'gamma', 'witness'] as const) test.sever('beta', other, false);
    const why = /beta is not connected to alpha \(its certificate has expired/;
    await test.until('the status says why it stays so', async () => why.test((await tercet(test, 'status')).text));
    await test.acknowledged(load, 100);

    const issued = await tercet(test, `cert issue --folder ${folder} --site beta --renew`);
    assert.equal(issued.code, 0, issued.text);
    assert.equal((await tercet(test, 'reload --site beta')).code, 0);
    assert.equal(await test.healed(), 'alpha');
    assert.doesNotMatch((await tercet(test, 'status')).text, said);
    await test.acknowledged(load, 50);
    await test.compareCopies(load);
  });
});
