// A resync of gamma that is cut off in the middle, with nobody left who could end it.

import { MIB, type TestCluster } from './cluster.ts';

/** The sites that are lost then. */
export const GONE = ['alpha', 'beta'] as const;

/** What one connection carries in a tenth of a second: slow enough for the resync to be caught in the middle. */
const SLOW_BYTES = MIB / 16;

/** Loses both others while gamma is being made equal by bitmap. The group has `bitmap_only` for gamma, and relays on its links. */
export async function cutResyncOff(cluster: TestCluster): Promise<void> {
  const load = cluster.load({ blockCount: 2048 });
  await cluster.acknowledged(load, 100);
  for (const site of GONE) cluster.sever(site, 'gamma');
  await cluster.acknowledged(load, 4000);
  for (const site of GONE) cluster.delay(site, 'gamma', 100, SLOW_BYTES);
  for (const site of GONE) cluster.sever(site, 'gamma', false);
  await cluster.until('gamma is in the middle of a resync', async () => {
    const peer = (await cluster.status('alpha')).peers.find(({ site }) => site === 'gamma');
    return peer?.attached === 'copying' && (peer.copiedBytes ?? 0) > 0;
  });
  await load.workload.stop();
  for (const site of GONE) cluster.sever(site, 'gamma');
  for (const site of GONE) await cluster.member(site).daemon.kill();
}
