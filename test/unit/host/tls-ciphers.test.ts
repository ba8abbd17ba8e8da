// Which cipher two ends agree on, with each other and with those of the release before.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect, type ConnectionOptions, createServer, DEFAULT_CIPHERS, type TlsOptions } from 'node:tls';

import { hasAes, machineCiphers, orderedCiphers } from '../../../src/host/tls-ciphers.ts';
import { TlsMaterial } from '../../../src/host/tls-material.ts';
import { tlsClientOptions, tlsServerOptions } from '../../../src/host/tls-stream.ts';
import { holder, TestAuthority } from '../../support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-tls-ciphers-'));
after(() => rmSync(folder, { recursive: true }));
const authority = new TestAuthority(folder);
const near = new TlsMaterial(authority.issue('near', holder.site('near')), null);
const far = new TlsMaterial(authority.issue('far', holder.site('far')), null);

const AES256 = 'TLS_AES_256_GCM_SHA384';
const AES128 = 'TLS_AES_128_GCM_SHA256';
const CHACHA = 'TLS_CHACHA20_POLY1305_SHA256';

test('a processor without instructions for AES is known, and where that cannot be seen it counts as one that has them', () => {
  const x86 = 'processor\t: 0\nflags\t\t: fpu vme aes avx vaes\n';
  assert.equal(hasAes('x64', x86), true);
  assert.equal(hasAes('x64', x86.replace(' aes', '')), false, 'vaes is another word');
  assert.equal(hasAes('arm64', 'Features\t: fp asimd evtstrm crc32 cpuid\n'), false);
  assert.equal(hasAes('arm64', 'Features\t: fp asimd aes pmull sha1 sha2 crc32\n'), true);
  assert.equal(hasAes('s390x', 'features\t: esan3 zarch stfle msa\n'), true);
  assert.equal(hasAes('x64', null), true);
});

test('only the order is changed, and only where AES is slow', () => {
  assert.equal(orderedCiphers(DEFAULT_CIPHERS, true), DEFAULT_CIPHERS);
  const slow = orderedCiphers(DEFAULT_CIPHERS, false).split(':');
  assert.deepEqual(slow.slice(0, 3), [CHACHA, AES256, AES128]);
  assert.deepEqual(slow.toSorted(), DEFAULT_CIPHERS.split(':').toSorted());
  assert.equal(orderedCiphers(`${AES256}:${AES128}`, false), `${AES256}:${AES128}`);
});

/** The cipher that two ends agree on. */
async function agreed(serverMore: TlsOptions, clientMore: ConnectionOptions): Promise<string> {
  const server = createServer({ ...tlsServerOptions(near), ...serverMore });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect({ host: '127.0.0.1', port, ...tlsClientOptions(far, { kind: 'site', name: 'near' }), ...clientMore });
  try {
    await once(client, 'secureConnect');
    return client.getCipher().name;
  } finally {
    client.destroy();
    server.close();
  }
}

/** A client that offers these, without what a context of ours says. */
function offering(ciphers: string | undefined): ConnectionOptions {
  const { ca, cert, key } = far.pem;
  return { secureContext: undefined, ca, cert, key, ciphers };
}

test('two machines with instructions for AES agree on AES-256-GCM, and one without them gets ChaCha20 from both sides', async () => {
  const [fast, slow] = [orderedCiphers(DEFAULT_CIPHERS, true), orderedCiphers(DEFAULT_CIPHERS, false)];
  assert.equal(await agreed({}, {}), machineCiphers.split(':')[0]);
  assert.equal(await agreed({ ciphers: fast }, offering(fast)), AES256);
  assert.equal(await agreed({ ciphers: fast }, offering(slow)), CHACHA);
  assert.equal(await agreed({ ciphers: slow }, offering(fast)), CHACHA);
});

test('a peer of the release before is talked to from both sides, and so is one that takes a single cipher', async () => {
  const before: TlsOptions = { ciphers: undefined, honorCipherOrder: undefined, secureOptions: undefined };
  for (const ciphers of [orderedCiphers(DEFAULT_CIPHERS, true), orderedCiphers(DEFAULT_CIPHERS, false)]) {
    assert.equal(await agreed(before, offering(ciphers)), AES256);
    assert.equal(await agreed({ ciphers }, offering(undefined)), ciphers.split(':')[0]);
    for (const only of [AES256, AES128, CHACHA]) {
      assert.equal(await agreed({ ciphers }, offering(only)), only);
      assert.equal(await agreed({ ...before, ciphers: only }, offering(ciphers)), only);
    }
  }
});
