// A witness that answers and writes nothing, as docs/recovery.md has it: its etcd is full. Sites notice that it could grant nothing, and say so; with
// room again it grants, and nobody has to start anything.

import '../support/short-proofs.ts';

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { PortFinder } from '../../demo/layout.ts';
import { type TestCluster, withCluster } from '../support/cluster.ts';
import { tercet } from '../support/command.ts';
import { type Etcd, startEtcd } from '../support/etcd.ts';
import { rehearse, told } from '../support/recovery-page.ts';

const QUOTA_BYTES = 4 * 1024 * 1024;
const base64 = (text: string): string => Buffer.from(text).toString('base64');

const says = (cluster: TestCluster, command: string, pattern: RegExp): Promise<true> =>
  cluster.until(`\`tercet ${command}\` says ${pattern}`, async () => pattern.test((await tercet(cluster, command)).text));

/** Somebody else fills it, until it takes nothing more. */
async function fill({ call }: Etcd): Promise<void> {
  for (let number = 0; number < 100; number++) {
    try {
      await call('kv/put', { key: base64(`/other/${number}`), value: base64('x'.repeat(500_000)) });
    } catch (error) {
      assert.match(String(error), /database space exceeded/);
      return;
    }
  }
  assert.fail('it takes whatever comes');
}

/** What the page says to do, by the calls that `etcdctl` makes. */
async function makeRoom({ call }: Etcd): Promise<void> {
  const { header } = (await call('kv/deleterange', { key: base64('/other/'), range_end: base64('/other0') })) as {
    header: { revision: string };
  };
  await call('kv/compaction', { revision: header.revision, physical: true });
  await call('maintenance/defragment', {});
  const { alarms } = (await call('maintenance/alarm', { action: 'GET' })) as { alarms: { memberID: string }[] };
  for (const { memberID } of alarms) await call('maintenance/alarm', { action: 'DEACTIVATE', memberID, alarm: 'NOSPACE' });
}

test(
  'a witness answers and has written nothing for long: it is told, hosts go on, and with room it grants again',
  { timeout: 240_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tercet-e2e-etcd-'));
    const etcd = await startEtcd(folder, new PortFinder(), QUOTA_BYTES);
    try {
      const nodeArgs = ['--import', join(import.meta.dirname, '../support/short-proofs.ts')];
      await withCluster({ nodeArgs, witnessStore: ['--etcd', etcd.url] }, async (cluster) => {
        rehearse('The witness answers, and writes nothing');
        const load = cluster.load();
        await cluster.acknowledged(load, 100);
        await fill(etcd);
        await says(
          cluster,
          'status',
          told('the witness answers alpha, and has written nothing for it for 4 min: look at the disk of the witness'),
        );
        await cluster.acknowledged(load, 100);
        // Nobody takes over.
        await cluster.member('alpha').daemon.kill();
        await says(cluster, 'status', told('nobody serves'));
        await cluster.member('alpha').daemon.start();

        await makeRoom(etcd);
        await cluster.healed();
        await cluster.until(
          'nobody says that it writes nothing',
          async () => !/has written nothing/.test((await tercet(cluster, 'status')).text),
        );
        const serving = await cluster.healed();
        await cluster.member(serving).daemon.kill();
        await cluster.acknowledged(load, 50);
        await cluster.member(serving).daemon.start();
        await cluster.compareCopies(load);
      });
    } finally {
      await etcd.end();
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
