// npm run show:delta [-- --mib 512 --behind 0,1,10,60 --iops 1000]: the primary is killed under fio while far lacks what hosts wrote in the last seconds.
// How long until the other site serves, how long until far is equal to it, and what travelled for that, against what really differed and against a
// whole copy of the same volume. Three sites and a witness of their own on this machine; it takes six times the size on the disk.
//
// Far is put behind by a relay that lets nothing through for so long: a delay would not do, since a link that is silent for longer than a lease is
// given up.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { LEDGER_BLOCK_BYTES } from '../../demo/ledger.ts';
import { NbdClient } from '../../demo/nbd-client.ts';
import { directName } from '../../demo/layout.ts';
import { findTool } from '../../demo/tools.ts';
import { pause, until } from '../../demo/waiting.ts';
import { MIB, type SiteNameInTests, type TestCluster, withCluster } from '../../test/support/cluster.ts';

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '512' },
    behind: { type: 'string', default: '0,1,10,60' },
    iops: { type: 'string', default: '1000' },
    lease: { type: 'string', default: '1500' },
  },
});
const VOLUME_BYTES = Number(values.mib) * MIB;
const FAR = 'gamma';
/** Hosts write for so long before the link to far is cut. */
const WARM_MILLIS = 3000;
const WAIT_MILLIS = 600_000;
const LOOK_MILLIS = 10;

const say = (text: string): void => console.log(text);
const seconds = (millis: number): string => (millis / 1000).toFixed(2);

/** fio, writing 4 KiB at random places of a site's export until it is killed or the site is. */
function startFio(test: TestCluster, site: SiteNameInTests): ChildProcess {
  const { host, port } = test.member(site).layout.nbd as { host: string; port: number };
  const uri = `nbd://${host}:${port}/${directName(test.layout)}`;
  const job = ['--name=load', '--ioengine=nbd', `--uri=${uri}`, `--size=${VOLUME_BYTES - MIB}`, '--rw=randwrite', '--bs=4k', '--iodepth=8'];
  const pace = [`--rate_iops=${values.iops}`, '--time_based', '--runtime=600', '--randrepeat=0', '--thread', '--minimal'];
  return spawn('fio', [...job, ...pace], { stdio: 'ignore' });
}

/** Fills the volume with what cannot be compressed, and waits until all copies have it in their base images. */
async function fill(test: TestCluster, site: SiteNameInTests): Promise<void> {
  const client = await NbdClient.connect({ address: test.member(site).layout.nbd, exportName: directName(test.layout) });
  for (let at = 0; at < VOLUME_BYTES; at += MIB) await client.write(at, randomBytes(MIB));
  await client.close();
  await test.healed(WAIT_MILLIS);
}

/** Writes one block at a site as soon as it takes it: what a host's first request after the loss would be. */
async function writeOnce(test: TestCluster, site: SiteNameInTests): Promise<void> {
  await until('a write is answered', WAIT_MILLIS, async () => {
    try {
      const client = await NbdClient.connect({ address: test.member(site).layout.nbd, exportName: directName(test.layout) });
      await client.write(VOLUME_BYTES - LEDGER_BLOCK_BYTES, randomBytes(LEDGER_BLOCK_BYTES));
      await client.close();
      return true;
    } catch {
      // It does not serve yet: that is what is measured.
      await pause(LOOK_MILLIS);
      return null;
    }
  });
}

async function received(test: TestCluster, site: SiteNameInTests): Promise<{ seq: number; bytes: number }> {
  const { marks, counters } = await test.status(site);
  return { seq: marks?.received ?? 0, bytes: counters.receivedBytes };
}

/** Waits until far follows a site and holds what that held when it was asked. Returns the bytes of all messages that far has received. */
async function farEqual(test: TestCluster, site: SiteNameInTests): Promise<number> {
  const { seq } = await received(test, site);
  let bytes = 0;
  await until('far is equal', WAIT_MILLIS, async () => {
    const { role, marks, counters, consistent } = await test.status(FAR);
    bytes = counters.receivedBytes;
    if (role === 'mirror' && consistent && (marks?.received ?? 0) >= seq) return true;
    await pause(LOOK_MILLIS);
    return null;
  });
  return bytes;
}

interface Loss {
  readonly serveMillis: number;
  readonly equalMillis: number;
  readonly records: number;
  readonly sentBytes: number;
}

/** Kills the primary while far lacks what was written in so many seconds. */
async function lose(test: TestCluster, behindSeconds: number): Promise<Loss> {
  const primary = await test.healed(WAIT_MILLIS);
  const other = primary === 'alpha' ? 'beta' : 'alpha';
  const fio = startFio(test, primary);
  await pause(WARM_MILLIS);
  if (behindSeconds > 0) {
    test.cut(primary, FAR);
    await pause(behindSeconds * 1000);
  }
  // Nothing reaches far any more. Where the link was not cut, the other site begins to give to it at once.
  const before = await received(test, FAR);
  const began = performance.now();
  await test.loseMachine(primary);
  fio.kill('SIGKILL');
  test.mend(primary, FAR);
  const [there, now] = await Promise.all([received(test, other), received(test, FAR)]);
  const here = behindSeconds > 0 ? before : now;
  await writeOnce(test, other);
  const serveMillis = performance.now() - began;
  const bytes = await farEqual(test, other);
  const equalMillis = performance.now() - began;
  await test.member(primary).daemon.start();
  return { serveMillis, equalMillis, records: there.seq - here.seq, sentBytes: bytes - here.bytes };
}

/** Far with an empty folder: everything is copied. */
async function copyWhole(test: TestCluster): Promise<{ millis: number; bytes: number }> {
  const serving = await test.healed(WAIT_MILLIS);
  const { daemon, layout } = test.member(FAR);
  await daemon.stop();
  rmSync(layout.data, { recursive: true, force: true });
  const began = performance.now();
  await daemon.start();
  const bytes = await farEqual(test, serving);
  return { millis: performance.now() - began, bytes };
}

async function main(): Promise<void> {
  if (findTool('fio') === null) throw new Error('fio is missing: install the Debian package fio');
  const group = {
    lease_millis: Number(values.lease),
    heartbeat_millis: 250,
    peer_timeout_millis: 1000,
    witness_retry_millis: 500,
    segment_mib: 16,
    sidefile_mib: 1024,
  };
  await withCluster({ sizeBytes: VOLUME_BYTES, network: true, group }, async (test) => {
    await fill(test, await test.healed());
    say(`volume of ${values.mib} MiB, full; ${values.iops} writes of 4 KiB in a second; lease ${values.lease} ms`);
    say('| far behind | serves again after | far equal after | records far lacked | of them payload | bytes sent | ratio |');
    say('| --- | --- | --- | --- | --- | --- | --- |');
    for (const behind of values.behind.split(',').map(Number)) {
      const { serveMillis, equalMillis, records, sentBytes } = await lose(test, behind);
      const payload = records * LEDGER_BLOCK_BYTES;
      const cells = [`${behind} s`, `${seconds(serveMillis)} s`, `${seconds(equalMillis)} s`, records, `${(payload / MIB).toFixed(1)} MiB`];
      say(`| ${cells.join(' | ')} | ${(sentBytes / MIB).toFixed(2)} MiB | ${records === 0 ? '' : (sentBytes / payload).toFixed(3)} |`);
    }
    const whole = await copyWhole(test);
    say(`a whole copy of the volume: ${seconds(whole.millis)} s, ${(whole.bytes / MIB).toFixed(1)} MiB`);
    await test.compareCopies();
    say('all three copies are equal, byte for byte');
  });
}

await main();
