// Looks at a running cluster from outside, through its control APIs and the witness: for the picture, and for those who wait for a state.

import type { Cluster, Member, SiteStatus } from './cluster.ts';
import type { Scene } from './picture.ts';
import { pause, until } from './waiting.ts';
import { readWitness } from './witness.ts';

const DRAIN_PAUSE_MILLIS = 100;

/** Everything as of now. `endings` says how processes ended that are gone. */
export async function observe(cluster: Cluster, endings: ReadonlyMap<string, string> = new Map()): Promise<Scene> {
  const { layout } = cluster;
  const [statuses, witness] = await Promise.all([cluster.statuses(), readWitness(layout.witness.address, layout.group)]);
  return {
    atMillis: performance.now(),
    witness,
    sites: cluster.members.map(({ layout: site, daemon }, index) => ({
      name: site.name,
      part: site.part,
      pid: daemon.pid,
      ending: endings.get(site.name) ?? null,
      status: statuses[index] ?? null,
    })),
  };
}

/** Whether `primary` serves, and `mirror` follows it with its flag true. */
export async function followsInStep(cluster: Cluster, primary: Member, mirror: Member): Promise<boolean> {
  const status = await cluster.status(primary.layout.name);
  const peer = status?.peers.find((each) => each.site === mirror.layout.name);
  return status?.serving === true && peer?.attached === 'following' && peer.flag === 'true';
}

/** Brings everything that was written into the base images of all sites. Nothing may write meanwhile. Rejects when that takes too long. */
export async function drain(cluster: Cluster, millisMax: number): Promise<void> {
  await until('everything is in the base images of all sites', millisMax, async () => {
    // Again until all agree: a mirror learns a little later what is committed.
    for (const { client } of cluster.members) await client.drain(cluster.layout.group);
    if (await isDrained(cluster)) return true;
    await pause(DRAIN_PAUSE_MILLIS);
    return null;
  });
}

/** Whether all sites hold the same records, and have them all in their base images. Nothing may write meanwhile. */
async function isDrained(cluster: Cluster): Promise<boolean> {
  const statuses = await cluster.statuses();
  const serving = statuses.find((status) => status?.serving === true)?.marks ?? null;
  if (serving === null) return false;
  return statuses.every((status) => status !== null && isAt(status, serving.received));
}

function isAt({ marks, consistent }: SiteStatus, received: number): boolean {
  return marks !== null && consistent && marks.received === received && marks.destaged === received;
}
