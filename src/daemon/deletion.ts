// The end of a group: first the witness is told, durably, that nobody serves it any more; only then the copy of a site is removed. In that order,
// so that a crash between the two leaves copies that nobody may serve, and the same command goes on where it ended. The folder's lock shows that
// no daemon of this site has the copy open; together with the witness's word that this site was the last to serve, nobody serves it.

import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import type { WitnessAnswer, WitnessOperation, WitnessView } from '../core/arbiter/witness-state.ts';
import { TercetError } from '../core/base/errors.ts';
import { DiskError } from '../core/base/ports.ts';
import { Superblock } from '../core/replica/superblock.ts';
import { machineDigests } from '../host/digests.ts';
import { openReplicaFolder, type ReplicaFolder, syncFolder } from '../host/disk.ts';
import { askWitness, type WitnessAddress } from '../witness/reader.ts';
import { answerSchema, faultsOf } from '../witness/schema.ts';
import type { SiteConfig } from './config.ts';
import { replicaFolder } from './config.ts';

/** What a site holds of a group. */
export interface FoundCopy {
  readonly folder: string;
  readonly exists: boolean;
  /** null where there is no copy, or its superblock cannot be read. */
  readonly groupId: string | null;
  /** Why the superblock cannot be read; null where it can, or there is none. */
  readonly unreadable: string | null;
  readonly volumes: readonly { readonly name: string; readonly sizeBytes: number; readonly elsewhere: boolean }[];
  /** Bytes that the folder takes on its disk. */
  readonly diskBytes: number;
}

/** A copy that no daemon has open, and none can open before release(). */
export interface HeldCopy {
  readonly copy: FoundCopy;
  /** Removes the folder. Throws TERCET_NOT_IN_STATE where it cannot be moved aside; then nothing was removed. */
  remove(now: Date): void;
  release(): Promise<void>;
}

/** Removed copies, and those whose removal was cut off: no group's name holds a dot, so no daemon ever takes one for a copy. */
const ASIDE = '.deleted-';

/** Takes a site's copy of a group from under its daemon. Throws TERCET_UNSAFE while that runs with it. */
export function holdCopy(site: SiteConfig, group: string): HeldCopy {
  const folder = replicaFolder(site, group);
  if (!existsSync(folder)) {
    const copy: FoundCopy = { folder, exists: false, groupId: null, unreadable: null, volumes: [], diskBytes: 0 };
    return { copy, remove: () => removeLeft(folder), release: async () => {} };
  }
  let opened: ReplicaFolder;
  try {
    opened = openReplicaFolder(folder);
  } catch (error) {
    if (!(error instanceof TercetError) || error.code !== 'TERCET_REPLICA_LOCKED') throw error;
    const reason = `the daemon of ${site.name} runs with group ${group}, and hosts may be using it`;
    const remedy = `detach the hosts, take the group out of the configuration and restart the daemon, or stop the daemon; then give this command again`;
    throw new TercetError('TERCET_UNSAFE', { reason, remedy }, { cause: error });
  }
  const copy: FoundCopy = { folder, exists: true, diskBytes: diskBytesOf(folder), ...whatIs(opened) };
  return {
    copy,
    remove: (now) => {
      moveAside(folder, `${folder}${ASIDE}${now.toISOString().replace(/[-:]|\.\d+/g, '')}`);
      removeLeft(folder);
    },
    release: () => opened.close(),
  };
}

function whatIs({ storage }: ReplicaFolder): Pick<FoundCopy, 'groupId' | 'unreadable' | 'volumes'> {
  const nothing = { groupId: null, volumes: [] };
  try {
    const read = Superblock.read(storage, machineDigests);
    if (read.kind === 'absent') return { ...nothing, unreadable: null };
    if (read.kind === 'damaged') return { ...nothing, unreadable: read.why };
    if (read.kind === 'version') return { ...nothing, unreadable: `it has format version ${read.found}` };
    const { groupId, volumes } = read.superblock.value;
    read.superblock.close();
    const here = new Set(storage.list());
    return {
      groupId,
      unreadable: null,
      volumes: volumes.map((volume) => ({ ...volume, elsewhere: !here.has(`base-${volume.name}.img`) })),
    };
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    return { ...nothing, unreadable: `${error.failure.operation} fails with ${error.failure.code}` };
  }
}

function diskBytesOf(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).blocks * 512, 0);
}

/** The whole copy is gone in one step: what a crash leaves has another name, and is no copy. */
function moveAside(folder: string, aside: string): void {
  try {
    renameSync(folder, aside);
    syncFolder(dirname(folder));
  } catch (cause) {
    const reason = `${folder} cannot be moved aside (${(cause as NodeJS.ErrnoException).code ?? String(cause)}): nothing was removed here`;
    throw new TercetError('TERCET_NOT_IN_STATE', { what: 'the copy is still there', reason }, { cause });
  }
}

function removeLeft(folder: string): void {
  const parent = dirname(folder);
  if (!existsSync(parent)) return;
  for (const name of readdirSync(parent)) {
    if (name.startsWith(`${basename(folder)}${ASIDE}`)) rmSync(join(parent, name), { recursive: true, force: true });
  }
}

// ── the witness ──

/** What the witness says of a group by that name. */
export type WitnessWord =
  | { readonly kind: 'alive'; readonly view: WitnessView }
  | { readonly kind: 'deleted'; readonly groupId: string }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'refused'; readonly text: string };

/** Asks for a group. Throws TERCET_UNREACHABLE. */
export async function groupAtWitness(witness: WitnessAddress, group: string, from: string): Promise<WitnessWord> {
  const answer = await ask(witness, { kind: 'read', requestId: randomUUID(), group, from });
  return wordOf(answer);
}

/** Ends a group at the witness. Throws TERCET_UNREACHABLE: then it may have happened, and asking again is harmless. */
export async function deleteAtWitness(
  witness: WitnessAddress,
  view: WitnessView,
  { from, force }: { from: string; force: boolean },
): Promise<WitnessWord> {
  const { group, groupId, instance, revision } = view;
  const seen = { instance, revision };
  const answer = await ask(witness, {
    kind: 'delete',
    requestId: randomUUID(),
    group,
    groupId,
    from,
    seen,
    revision,
    ...(force && { force }),
  });
  return answer.outcome === 'done' ? { kind: 'deleted', groupId } : wordOf(answer);
}

function wordOf(answer: WitnessAnswer): WitnessWord {
  if (answer.outcome === 'done') return { kind: 'alive', view: answer.view };
  if (answer.deleted !== undefined) return { kind: 'deleted', groupId: answer.deleted.groupId };
  return answer.reason === 'unknown-group' ? { kind: 'unknown' } : { kind: 'refused', text: answer.text };
}

async function ask(witness: WitnessAddress, operation: WitnessOperation): Promise<WitnessAnswer> {
  const unreachable = (reason: string, cause?: unknown): TercetError =>
    new TercetError('TERCET_UNREACHABLE', { what: 'the witness', address: `${witness.host}:${witness.port}`, reason }, { cause });
  let text: string;
  let value: unknown;
  try {
    const path = `/v1/groups/${operation.group}/operations`;
    ({ text } = await askWitness(witness, { method: 'POST', path, body: operation }));
    value = JSON.parse(text);
  } catch (cause) {
    throw unreachable((cause as Error).message, cause);
  }
  const parsed = answerSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw unreachable(`its answer is not one of this version: ${text.slice(0, 200)} (${faultsOf(parsed.error)})`);
}

// ── what is to be done ──

/** What deleting would do. `view`: the group at the witness that is to be ended first; null where nothing is to be done there. */
export type DeletionPlan =
  | { readonly kind: 'refused'; readonly reason: string; readonly remedy: string }
  | { readonly kind: 'nothing'; readonly text: string }
  | { readonly kind: 'go'; readonly view: WitnessView | null; readonly atWitness: string };

/** Decides from what is here and what the witness says. */
export function planDeletion(what: {
  readonly site: string;
  readonly group: string;
  readonly copy: FoundCopy;
  readonly word: WitnessWord;
  readonly force: boolean;
}): DeletionPlan {
  const { site, group, copy, word, force } = what;
  const refused = (reason: string, remedy: string): DeletionPlan => ({ kind: 'refused', reason, remedy });
  const here = copy.exists;
  switch (word.kind) {
    case 'refused':
      return refused(`the witness does not answer for the group: ${word.text}`, 'bring the witness in order first');
    case 'alive':
      return planAlive(what, word.view);
    case 'deleted':
      if (!here) return { kind: 'nothing', text: `group ${group} is deleted, and there is no copy of it at ${site}` };
      if (copy.groupId === word.groupId || force)
        return { kind: 'go', view: null, atWitness: 'the group is deleted at the witness already' };
      return refused(
        `the copy at ${site} ${copy.groupId === null ? `cannot be read (${copy.unreadable ?? 'there is no superblock'})` : 'is of another group of that name than the one that was deleted'}`,
        '--force, if it is of no use any more',
      );
    case 'unknown':
      if (!here) return { kind: 'nothing', text: `the witness knows no group ${group}, and there is no copy of it at ${site}` };
      if (force) return { kind: 'go', view: null, atWitness: 'the witness knows no such group; only the copy here is removed' };
      return refused(
        `the witness knows no group ${group}, and so cannot say whether this copy is the last one`,
        'check the address of the witness; --force, if the copy is of no use any more',
      );
  }
}

function planAlive(
  { site, group, copy, force }: { site: string; group: string; copy: FoundCopy; force: boolean },
  view: WitnessView,
): DeletionPlan {
  const refused = (reason: string, remedy: string): DeletionPlan => ({ kind: 'refused', reason, remedy });
  if (copy.groupId !== null && copy.groupId !== view.groupId) {
    if (force) return { kind: 'go', view: null, atWitness: 'another group of that name stays as it is; only the old copy here is removed' };
    return refused(
      `the copy at ${site} is of another group of that name than the one that there is now`,
      '--force removes the copy here only',
    );
  }
  if (copy.groupId === null && !force) {
    const why = copy.unreadable === null ? `there is no copy of it at ${site}` : `the copy at ${site} cannot be read (${copy.unreadable})`;
    return refused(
      `group ${group} exists, and ${why}`,
      'give the command at the site that served last; --force, if that one is lost for good',
    );
  }
  const { primary } = view;
  if (primary !== null && primary !== site && !force) {
    return refused(
      `${primary} is primary of ${group}, and may be serving it`,
      `give the command there first, with its daemon stopped or without the group; --force, if ${primary} is lost for good`,
    );
  }
  const sites = view.copies.map((each) => each.site).join(', ');
  const atWitness = `the group is deleted at the witness: no site serves it any more (copies at ${sites}; epoch ${view.epoch})`;
  return { kind: 'go', view, atWitness };
}
