// The witness behind certificates: it answers holders only, each about itself and its groups, and a site asks nobody who is not the witness.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import type { WitnessOperation, WitnessReply } from '../../../src/core/arbiter/witness-state.ts';
import type { TlsIdentity } from '../../../src/host/tls-identity.ts';
import { TlsMaterial } from '../../../src/host/tls-material.ts';
import { WitnessClient } from '../../../src/witness/client.ts';
import { memoryStore } from '../../../src/witness/memory-store.ts';
import { askWitness } from '../../../src/witness/reader.ts';
import { startWitness } from '../../../src/witness/server.ts';
import { holder, TestAuthority } from '../../support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-witness-tls-'));
after(() => rmSync(folder, { recursive: true }));
const authority = new TestAuthority(folder);
const materialOf = (identity: TlsIdentity): TlsMaterial => new TlsMaterial(authority.issue('who', identity), null);

const create: WitnessOperation = {
  kind: 'create',
  requestId: 'create-1',
  group: 'vm',
  from: 'near',
  groupId: 'id-1',
  copies: [{ site: 'near', mode: 'sync' }],
  first: 'near',
};

test('an operation is taken only with the certificate of the site that it is from, and of its group', async (t) => {
  const witness = await startWitness({
    dataFolder: folder,
    log: () => undefined,
    store: memoryStore('w'),
    tls: materialOf(holder.witness),
  });
  t.after(() => witness.close());
  const ask = (identity: TlsIdentity, operation: WitnessOperation): Promise<WitnessReply & { why: string | null }> =>
    new Promise((resolve) => {
      const client = new WitnessClient({ ...witness.address, timeoutMillis: 5000, tls: materialOf(identity) });
      client.call(operation, (reply) => {
        const why = client.lastFailure;
        client.close();
        resolve({ ...reply, why });
      });
    });
  for (const identity of [holder.site('far'), holder.client('near'), holder.admin, holder.witness, holder.site('near', ['web'])]) {
    const { outcome, why } = await ask(identity, create);
    assert.equal(outcome, 'unknown');
    assert.match(why ?? '', /status 403: .*needs a certificate of that site/);
  }
  assert.equal((await ask(holder.site('near', ['vm']), create)).outcome, 'done');
  const look = async (identity: TlsIdentity): Promise<number> =>
    (await askWitness({ ...witness.address, tls: materialOf(identity) }, { method: 'GET', path: '/v1/groups/vm' })).status;
  assert.deepEqual([await look(holder.site('far')), await look(holder.admin), await look(holder.site('far', ['web']))], [200, 200, 403]);
  await assert.rejects(askWitness({ ...witness.address, tls: null }, { method: 'GET', path: '/v1/health' }), /hang up|ECONNRESET|EPIPE/);
});

test('a site asks nothing of whoever has no certificate of a witness', async (t) => {
  const other = await startWitness({
    dataFolder: folder,
    log: () => undefined,
    store: memoryStore('w'),
    tls: materialOf(holder.site('far')),
  });
  t.after(() => other.close());
  const client = new WitnessClient({ ...other.address, timeoutMillis: 5000, tls: materialOf(holder.site('near')) });
  t.after(() => client.close());
  const reply = await new Promise<WitnessReply>((resolve) => {
    client.call(create, resolve);
  });
  assert.deepEqual(reply, { outcome: 'unknown' });
  assert.match(client.lastFailure ?? '', /that of site far, not of the witness/);
});
