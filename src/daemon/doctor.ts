// Looks at a site's copy while its daemon does not run: superblock, sidefile, base images. It opens the replica as the daemon would, on a storage
// that keeps every change to itself, so what it says is what a start would do. On request it sets a copy aside that a start would refuse.

import { renameSync } from 'node:fs';

import type { DigestedBase } from '../core/replica/digested-base.ts';
import { SlicedDigests } from '../host/block-digests.ts';
import type { ReplicaFolder } from '../host/disk.ts';
import type { GroupConfig, SiteConfig } from './config.ts';
import { replicaFolder } from './config.ts';
import { lockReplica, openDry } from './dry-replica.ts';

const CHECK_BYTES = 4 * 1024 * 1024;
const BLOCK_BYTES = 4096;

/**
 * `absent`: nothing was ever made here. `sound`: a start uses it as it is. `mends`: a start mends what is said, and nothing that was on stable
 * storage is lost. `damaged`: it must be filled from a peer.
 */
export type Verdict = 'absent' | 'sound' | 'mends' | 'damaged';

/** What was found. */
export interface Diagnosis {
  readonly group: string;
  readonly site: string;
  readonly folder: string;
  readonly verdict: Verdict;
  /** Sentences. */
  readonly findings: readonly string[];
  readonly marks: { readonly oldest: number; readonly destaged: number; readonly durable: number; readonly received: number } | null;
  readonly epoch: number | null;
  readonly consistent: boolean | null;
  readonly unclean: boolean | null;
  readonly bases: readonly { readonly volume: string; readonly checkedBytes: number; readonly wrongBlocks: number }[];
}

/** Looks at a copy; throws TERCET_REPLICA_LOCKED while its daemon runs. `base`: whether every block of the base images is read, too. */
export async function diagnose(site: SiteConfig, group: GroupConfig, options: { base: boolean }): Promise<Diagnosis> {
  const opened = lockReplica(site, group);
  try {
    return await look({ site, group, opened }, options);
  } finally {
    await opened.close();
  }
}

interface Looking {
  readonly site: SiteConfig;
  readonly group: GroupConfig;
  readonly opened: ReplicaFolder;
}

async function look({ site, group, opened: folder }: Looking, options: { base: boolean }): Promise<Diagnosis> {
  const findings: string[] = [];
  const about = { group: group.name, site: site.name, folder: replicaFolder(site, group.name) };
  const nothing = { marks: null, epoch: null, consistent: null, unclean: null, bases: [] };
  const opened = await openDry(site, group, { folder, found: (text) => findings.push(text) });
  if (opened === null) return { ...about, ...nothing, verdict: 'absent', findings: ['there is no copy here: a primary fills it'] };
  if ('error' in opened) return { ...about, ...nothing, verdict: 'damaged', findings: [...findings, opened.error] };
  const { replica, bases } = opened;
  if (!replica.consistent)
    findings.push('the copy is inconsistent: a whole copy to it was cut off, and goes on or begins again when its primary is there');
  const { oldest, destaged, durable, received } = replica.marks;
  const mends = findings.length > 0;
  const checked = options.base ? await checkBases(group, bases) : [];
  const wrongBlocks = checked.reduce((sum, { wrongBlocks: wrong }) => sum + wrong, 0);
  for (const { volume, wrongBlocks: wrong } of checked) {
    if (wrong > 0) findings.push(`${wrong} block(s) of the base image of ${volume} do not have their digests: the disk has changed them`);
  }
  const verdict = wrongBlocks > 0 ? 'damaged' : mends ? 'mends' : 'sound';
  const marks = { oldest, destaged, durable, received };
  return {
    ...about,
    verdict,
    findings,
    marks,
    epoch: replica.epoch,
    consistent: replica.consistent,
    unclean: replica.unclean,
    bases: checked,
  };
}

async function checkBases(group: GroupConfig, bases: readonly DigestedBase[]): Promise<Diagnosis['bases']> {
  const digests = new SlicedDigests();
  const results: { volume: string; checkedBytes: number; wrongBlocks: number }[] = [];
  for (const [index, base] of bases.entries()) {
    let [checkedBytes, wrongBlocks] = [0, 0];
    for (let at = 0; at < base.size();) {
      const length = Math.min(CHECK_BYTES, base.size() - at);
      const [offset, bytes] = [at, length - (length % BLOCK_BYTES)];
      const check = await new Promise<Parameters<Parameters<DigestedBase['check']>[3]>[0]>((resolve) => {
        base.check(offset, bytes, digests, resolve);
      });
      if (check.kind === 'checked') wrongBlocks += check.faults.length;
      checkedBytes += bytes;
      at += bytes;
    }
    results.push({ volume: group.volumes[index]?.name ?? '', checkedBytes, wrongBlocks });
  }
  return results;
}

/** Puts a copy aside, whole, so that the next start makes a new one: the new name. Base images that lie elsewhere stay, and will be written over. */
export function setAside(site: SiteConfig, group: GroupConfig, now: Date): string {
  const folder = replicaFolder(site, group.name);
  const aside = `${folder}.aside-${now.toISOString().replace(/[-:]|\.\d+/g, '')}`;
  renameSync(folder, aside);
  return aside;
}
