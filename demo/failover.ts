// The whole story by itself: a disk image, a host that goes on writing, the primary killed in the middle of it, near taking over, the old primary
// coming back as a mirror, and at the end three copies compared byte for byte. What it prints was measured in this very run.

import { rmSync } from 'node:fs';
import { join } from 'node:path';

import type { Member } from './cluster.ts';
import { Cluster } from './cluster.ts';
import { endingText } from './daemon.ts';
import { checkFileSystem, firstDifference, makeImage, writeImage } from './image.ts';
import type { Layout } from './layout.ts';
import { baseImage, directName, exportName, nbdUri } from './layout.ts';
import { BlockLedger } from './ledger.ts';
import { NbdClient } from './nbd-client.ts';
import { bytesText, changeLine } from './picture.ts';
import { drain, followsInStep, observe } from './scene.ts';
import { pause, until } from './waiting.ts';
import { verifyLedger, Workload } from './workload.ts';

const MIB = 1024 * 1024;
/** Size of the story's volume: an image at its begin, then the blocks that the host writes. */
export const FAILOVER_VOLUME_BYTES: number = 256 * MIB;
const IMAGE_BYTES = 128 * MIB;
const LEDGER_BLOCKS = 8192;
const DEPTH = 16;
/** How long the host writes before the kill, before the old primary is started again, and after it has come back. */
const WRITE_MILLIS = 2_500;
const WAIT_MILLIS = 30_000;

/** Tells one line of the story, with the time since its begin. */
export type Tell = (text: string) => void;

interface Story {
  readonly cluster: Cluster;
  readonly layout: Layout;
  readonly ledger: BlockLedger;
  readonly workload: Workload;
  readonly tell: Tell;
}

/**
 * Plays the story on a fresh cluster and removes its processes in any case. Resolves to the faults that it found: none when all is as it should
 * be. Rejects when it could not be played to its end.
 */
export async function playFailover(
  layout: Layout,
  options: { ownGroup: boolean; tell: Tell; started: (cluster: Cluster) => void },
): Promise<readonly string[]> {
  const { tell } = options;
  const unexpected: string[] = [];
  for (const site of [...layout.sites.map((each) => each.data), layout.witness.data]) rmSync(site, { recursive: true, force: true });
  const cluster = new Cluster({
    layout,
    ownGroup: options.ownGroup,
    died: (daemon, ending) => {
      unexpected.push(`${daemon.name} ended by itself (${endingText(ending)})`);
      tell(`${daemon.name} ended by itself (${endingText(ending)}): its last lines are\n${daemon.logTail()}`);
    },
  });
  options.started(cluster);
  const ledger = new BlockLedger({ offsetBytes: IMAGE_BYTES, blockCount: LEDGER_BLOCKS });
  const targets = layout.sites.map((site) => ({ site: site.name, address: site.nbd }));
  const workload = new Workload({ targets, exportName: directName(layout), ledger, depth: DEPTH, note: (text) => tell(`  host: ${text}`) });
  try {
    const faults = await play({ cluster, layout, ledger, workload, tell });
    return [...faults, ...unexpected];
  } finally {
    await workload.stop();
    await cluster.stop();
  }
}

async function play(story: Story): Promise<readonly string[]> {
  const { layout, tell } = story;
  const [alpha, beta, gamma] = story.cluster.members as [Member, Member, Member];
  await begin(story);
  const faults: string[] = [];
  const image = await writeDisk(story, alpha);

  tell(`the host keeps ${DEPTH} writes of 4 KiB under way, each with a number of its own`);
  story.workload.start();
  await pause(WRITE_MILLIS);
  const rtoMillis = await killPrimary(story, { primary: alpha, successor: beta });

  await story.workload.stop();
  const checkedCount = story.ledger.acknowledgedCount;
  const lost = await checkAcknowledged(story, beta);
  faults.push(...lost);
  tell(
    `${checkedCount} acknowledged writes checked at ${beta.layout.name}: ${lost.length === 0 ? 'none is lost' : `${lost.length} blocks are WRONG`}`,
  );

  story.workload.start();
  await until('far follows the new primary', WAIT_MILLIS, () => followsInStep(story.cluster, beta, gamma));
  tell(`${gamma.layout.name} (far) follows ${beta.layout.name} and is up to date, while the host goes on writing`);
  await pause(WRITE_MILLIS);

  await alpha.daemon.start();
  tell(`${alpha.layout.name} is started again, as process ${alpha.daemon.pid}`);
  await until('the old primary has rejoined', WAIT_MILLIS, () => followsInStep(story.cluster, beta, alpha));
  tell(`${alpha.layout.name} has rejoined: it follows ${beta.layout.name}, and its flag is true again`);
  await pause(WRITE_MILLIS);
  await story.workload.stop();

  faults.push(...(await checkAcknowledged(story, beta)));
  const total = story.ledger.acknowledgedCount;
  tell(
    `the host has stopped: ${total} writes were acknowledged, ${story.ledger.lostCount} had no answer; ${LEDGER_BLOCKS} blocks read back`,
  );
  faults.push(...(await compareCopies(story, image)));

  tell('');
  tell(`RTO: ${(rtoMillis / 1000).toFixed(2)} s from the kill to the first write acknowledged by ${beta.layout.name}`);
  tell(`RPO: ${lost.length} acknowledged writes lost, of ${checkedCount} checked after the failover and ${total} in all`);
  for (const fault of faults) tell(`WRONG: ${fault}`);
  tell(faults.length === 0 ? `all three copies of ${exportName(layout)} are equal, byte for byte` : `${faults.length} faults`);
  return faults;
}

async function begin({ cluster, layout, tell }: Story): Promise<void> {
  await cluster.start();
  const processes = cluster.daemons.map((daemon) => `${daemon.name} ${daemon.pid}`).join(', ');
  tell(`processes are up: ${processes}`);
  await cluster.create();
  await until('all three copies are in step', WAIT_MILLIS, async () => {
    const [first, ...others] = cluster.members as [Member, ...Member[]];
    const steps = await Promise.all(others.map((member) => followsInStep(cluster, first, member)));
    return steps.every(Boolean);
  });
  tell(`group ${layout.group} is made, volume ${layout.volume} of ${bytesText(layout.sizeBytes)}`);
  tell(changeLine(await observe(cluster)));
}

async function writeDisk({ layout, tell }: Story, primary: Member): Promise<{ path: string; kind: string }> {
  const image = await makeImage(join(layout.folder, 'image'), IMAGE_BYTES);
  tell(
    `a disk image is made: ${image.kind === 'ext4' ? 'ext4' : 'plain bytes (mke2fs is not installed)'}, ${image.fileCount} real files, ${bytesText(image.sizeBytes)}`,
  );
  const address = primary.layout.nbd;
  const writer = await writeImage(image, { uri: nbdUri(layout, address), address, exportName: exportName(layout) });
  tell(`${writer} has written it to ${nbdUri(layout, address)}`);
  return image;
}

/** Kills the primary in the middle of writing. Returns the milliseconds until another site had acknowledged a write. */
async function killPrimary({ cluster, workload, ledger, tell }: Story, sites: { primary: Member; successor: Member }): Promise<number> {
  const { primary, successor } = sites;
  const before = ledger.acknowledgedCount;
  tell(`SIGKILL for ${primary.layout.name}, process ${primary.daemon.pid}; ${before} writes acknowledged so far`);
  const killedAt = performance.now();
  await primary.daemon.kill();
  const first = await workload.nextAcknowledgement(WAIT_MILLIS, ({ site }) => site !== primary.layout.name);
  if (first === null) throw new Error(`no other site acknowledged a write within ${WAIT_MILLIS / 1000} s after the kill`);
  const { site, atMillis } = first;
  const view = (await observe(cluster)).witness;
  tell(`${site} has claimed through the witness (epoch ${view?.epoch ?? '?'}) and serves`);
  if (site !== successor.layout.name) throw new Error(`${site} serves, where ${successor.layout.name} was expected`);
  await pause(WRITE_MILLIS);
  return atMillis - killedAt;
}

/** Reads back every block that the host has written. Nothing writes meanwhile. */
async function checkAcknowledged({ layout, ledger }: Story, member: Member): Promise<readonly string[]> {
  const client = await NbdClient.connect({ address: member.layout.nbd, exportName: exportName(layout) });
  const faults = await verifyLedger(client, ledger);
  await client.flush();
  await client.close();
  return faults.map((fault) => `at ${member.layout.name}: ${fault}`);
}

/** Brings everything into the base images, ends all processes in order, and compares the images. */
async function compareCopies({ cluster, layout, tell }: Story, image: { path: string; kind: string }): Promise<readonly string[]> {
  await drain(cluster, WAIT_MILLIS);
  tell('everything that was written is in the base images of all three sites');
  await cluster.stop();
  const faults: string[] = [];
  const bases = layout.sites.map((site) => baseImage(layout, site));
  const different = firstDifference(bases, layout.sizeBytes);
  if (different !== null) faults.push(`${different.path} differs from ${bases[0]} at byte ${different.offset}`);
  tell(`compared ${bases.length} copies of ${bytesText(layout.sizeBytes)}: ${different === null ? 'equal' : 'DIFFERENT'}`);
  const changed = firstDifference([image.path, ...bases], IMAGE_BYTES);
  if (changed !== null) faults.push(`${changed.path} differs from the disk image at byte ${changed.offset}`);
  if (image.kind !== 'ext4') return faults;
  const checked = await checkFileSystem(bases[0] as string);
  if (checked === null) tell('e2fsck is not installed: the file system was compared, not checked');
  else if (checked.clean) tell(`e2fsck finds the file system clean: ${checked.text.split('\n').at(-1) ?? ''}`);
  else faults.push(`e2fsck finds the file system damaged:\n${checked.text}`);
  return faults;
}
