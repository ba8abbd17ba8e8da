// Opening and making a replica: checks that the folder is what the configuration says, notes this start in the superblock before anything else
// happens, and recovers the sidefile. Whatever does not fit is refused with a sentence; nothing is mended silently.

import { assert } from '../base/assert.ts';
import { TercetError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { DiskError, type DiskFailure, type StoredFile } from '../base/ports.ts';
import { epochOf } from '../base/position.ts';
import { BLOCK_BYTES, type Epoch, type Seq } from '../base/units.ts';
import { FOLDED_FRAME_VERSION, FRAME_VERSION, groupTagOf } from '../record/layout.ts';
import type { DigestTable } from './digest-table.ts';
import { DigestedBase, DigestedStorage, logPlaces, notedPlace } from './digested-base.ts';
import { afterMemory, discardAll, isLost, mayBeInMemory, SidefileStorage } from './memory.ts';
import { failureError, type ReplicaOptions, type ReplicaParts, type VolumeOptions } from './options.ts';
import { recoverSidefile } from './recover.ts';
import { Replica } from './replica.ts';
import { discardSidefile, Sidefile, SidefileDamage, type SidefileOptions } from './sidefile.ts';
import { failureOf, soundEntries } from './staging.ts';
import { agreedOf, sizesPatch } from './volume-sizes.ts';
import { Superblock, SUPERBLOCK_FILE, SUPERBLOCK_FORMAT, type SuperblockValue } from './superblock.ts';

/** What a folder turned out to hold. */
type PartsFound =
  | { readonly kind: 'parts'; readonly parts: ReplicaParts }
  | { readonly kind: 'absent' }
  | { readonly kind: 'refused'; readonly error: TercetError };

/** Why a replica could not be made. */
export type CreateFailure = DiskFailure | { readonly why: string };

/** What came of opening a replica. */
export type Opened =
  | {
      readonly kind: 'ready';
      readonly replica: Replica;
      /** The base images, with the digests of their blocks. */
      readonly bases: readonly DigestedBase[];
    }
  /** Nothing was ever made here. */
  | { readonly kind: 'absent' }
  /** It is another one's, or damaged, or the disk fails. */
  | { readonly kind: 'refused'; readonly error: TercetError };

/**
 * Opens the replica in the storage. `done` is called when this start is durable in the superblock; before this returns when there is nothing to
 * be opened. What is visible is not known to be durable yet: a flush is begun at once, and onDurable tells of it.
 */
export function openReplica(given: ReplicaOptions, done: (opened: Opened) => void): void {
  const files = given.sidefileInMemory === true ? new SidefileStorage(given.storage) : null;
  const options = withDigests(files === null ? given : { ...given, storage: files });
  const found = openParts(options, files);
  if (found.kind !== 'parts') return done(found);
  let replica: Replica;
  try {
    replica = new Replica(options, found.parts);
  } catch (error) {
    if (error instanceof DiskError) return done({ kind: 'refused', error: failureError(error.failure) });
    if (error instanceof SidefileDamage) return done({ kind: 'refused', error: failureError(error) });
    throw error;
  }
  const { value } = found.parts.superblock;
  const { startPatch } = found.parts;
  const bases = found.parts.bases.filter((base) => base instanceof DigestedBase);
  if (startPatch.unclean === true && !value.unclean) {
    const { group, journal } = options;
    const { received } = replica.marks;
    const isMixed = value.consistent && startPatch.consistent === false;
    const then = isMixed ? ', and this copy is inconsistent until a resync ends' : '';
    const lost = `the last run kept its sidefile in memory: what was not in the base image is gone${then}`;
    journal('replica.unclean', { group, received }, isLost(value) ? lost : 'power was lost: records that were not flushed may be gone');
  }
  const noted = (failure: DiskFailure | null): void => {
    if (failure !== null) return done({ kind: 'refused', error: failureError(failure) });
    replica.flush();
    done({ kind: 'ready', replica, bases });
  };
  // Bases that have grown are that large on stable storage before the superblock says so, and what is said of their digests is so before it counts.
  const isDigestsKept = value.digestLogs !== undefined && bases.every(({ table }) => table.isSettled);
  if (startPatch.volumes === undefined && isDigestsKept) return replica.superblock.update(startPatch, noted);
  options.storage.flush(found.parts.bases, (unflushed) => {
    const failure = unflushed ?? failureOf(() => bases.forEach(({ table }) => table.settle()));
    if (failure !== null) noted(failure);
    else replica.superblock.update({ ...startPatch, digestLogs: logPlaces(bases) }, noted);
  });
}

/** The same replica, on a storage whose base images keep the digests of their blocks. */
function withDigests(options: ReplicaOptions): ReplicaOptions {
  return {
    ...options,
    storage: new DigestedStorage(options.storage, options.volumes, { digests: options.digests, log: options.digestLog }),
  };
}

/** Reads what is there, and recovers the sidefile. Changes nothing but a torn tail. */
function openParts(options: ReplicaOptions, files: SidefileStorage | null): PartsFound {
  const opened: { close: () => void }[] = [];
  const refuse = (error: TercetError): PartsFound => {
    for (const one of opened) one.close();
    return { kind: 'refused', error };
  };
  try {
    const found = readSuperblock(options);
    if (found instanceof TercetError) return refuse(found);
    if (found === null) return { kind: 'absent' };
    opened.push(found);
    const { value } = found;
    const bases: StoredFile[] = [];
    let grown = false;
    for (const [index, volume] of options.volumes.entries()) {
      const base = options.storage.open(volume.baseFile, { create: false });
      opened.push(base);
      bases.push(base);
      const before = value.volumes[index]?.sizeBytes ?? volume.sizeBytes;
      // Shorter than it was on stable storage: what it has lost is not zeroes.
      const found = base.size();
      if (found < before || found > volume.sizeBytes) return refuse(sizeError(volume, found));
      if (before < volume.sizeBytes) {
        grow(options, base, { volume, before });
        grown = true;
      }
      if (base.size() !== volume.sizeBytes) return refuse(sizeError(volume, base.size()));
    }
    const powerLost = isLost(value) || (value.bootId !== options.bootId && !value.cleanShutdown);
    const unclean = value.unclean || powerLost;
    const groupTag = groupTagOf(value.groupId, options.digests);
    const lost = afterMemory(value);
    const now = { ...value, ...lost };
    const sidefile = openSidefile(options, now, { groupTag, powerLost: unclean, files });
    if (sidefile instanceof TercetError) return refuse(sidefile);
    const where = files?.inMemory === true ? 'memory' : undefined;
    const { bootId } = options;
    const start = { bootId, cleanShutdown: false, unclean, startCount: value.startCount + 1, sidefile: where } as const;
    const staged = { ...lost, ...stagedNow(options, now, sidefile.received) };
    // Hosts see nothing of it before every copy is known to hold as much.
    const volumes = grown ? sizesPatch(options.volumes, agreedOf(value)) : {};
    const startPatch = { ...start, ...volumes, ...staged };
    const tables = loadDigests(options, bases, value);
    forgetUnsettled(tables, sidefile, { ...value, ...staged });
    return { kind: 'parts', parts: { superblock: found, sidefile, bases, groupTag, files, startPatch } };
  } catch (error) {
    if (error instanceof DiskError) return refuse(failureError(error.failure));
    if (error instanceof SidefileDamage) return refuse(failureError(error));
    throw error;
  }
}

/**
 * What a start has to say of a resync whose images are staged, other than the superblock does. Where the disk has changed the index, nobody knows any
 * more what is staged: the images come again, over the older volume that is still in the bases. Once those are being brought to the end they are of no
 * moment in time, and without the index, or the records up to the end, only another copy helps. Throws DiskError.
 */
function stagedNow(options: ReplicaOptions, value: SuperblockValue, received: Seq): Partial<SuperblockValue> {
  const { storage, digests, group, journal } = options;
  const { staging, history, destaged } = value;
  if (staging === null) return {};
  const { entries, endSeq } = staging;
  const sound = soundEntries(storage, digests, entries);
  if (sound < entries) {
    const then = endSeq === null ? 'the resync begins anew' : 'this copy is inconsistent until another one ends';
    journal('staging.damaged', { group, sound, entries, endSeq }, `the index of what a resync has staged cannot be read: ${then}`);
  }
  if (endSeq !== null) return sound < entries || endSeq > received ? { staging: null } : {};
  if (sound === entries) return {};
  const upTo = { epoch: epochOf(history, destaged), seq: destaged };
  return { staging: { ...staging, entries: 0, cursor: { volume: 0, offset: 0 }, upTo } };
}

/** Reads the logs of digests. Where the disk has changed one, neither it nor the table beside it can be believed. Throws DiskError. */
function loadDigests(options: ReplicaOptions, bases: readonly StoredFile[], value: SuperblockValue): DigestTable[] {
  return bases.map((base, index) => {
    assert(base instanceof DigestedBase, 'a base image keeps digests', { file: base.name });
    const volume = options.volumes[index]?.name;
    // Of a copy that is filled nothing is known in any case.
    const counts = value.consistent || value.staging !== null;
    if (base.table.load(notedPlace(value.digestLogs, index), value.startCount + 1) === 'damaged' && counts) {
      const text = `the log of digests of volume ${volume} cannot be read: no digest of it is known until a verify has compared the copies`;
      options.journal('digests.damaged', { group: options.group, volume }, text);
    }
    return base.table;
  });
}

/**
 * Image and table are two files, so what was being written when the last start ended may be in one of them alone: the digests of those blocks count
 * as unknown until they are written again. A destage pass writes blocks of records up to its target; what a resync without a staging area had
 * written nobody knows any more. Throws DiskError, SidefileDamage.
 */
function forgetUnsettled(tables: readonly DigestTable[], sidefile: Sidefile, value: SuperblockValue): void {
  if (!value.consistent && value.staging === null) {
    for (const table of tables) table.reset();
    return;
  }
  sidefile.visit(value.destaged + 1, Math.min(value.destageTarget, sidefile.received), (frame, _segment, _at, first, last) => {
    for (let index = first; index <= last; index++) {
      tables[frame.volumeAt(index)]?.clear(frame.offsetAt(index) / BLOCK_BYTES, frame.lengthAt(index) / BLOCK_BYTES);
    }
    return true;
  });
}

/**
 * Makes a base image as large as the configuration says, its new part zeroes: on a device something else may lie there. The superblock is told
 * later; until then no record can name the new part, so that this may be cut off and begun again at any point.
 */
function grow(options: ReplicaOptions, base: StoredFile, { volume, before }: { volume: VolumeOptions; before: number }): void {
  // What a file gains is a hole.
  const clean = base.size() === before;
  if (!clean) cutBack(base, before);
  if (base.size() < volume.sizeBytes) base.truncate(volume.sizeBytes);
  if (!clean) base.punch(before, volume.sizeBytes - before);
  options.journal(
    'replica.grown',
    { group: options.group, volume: volume.name, before, now: volume.sizeBytes },
    `volume ${volume.name} is made larger: it had ${before} bytes and has ${volume.sizeBytes}`,
  );
}

/**
 * A file that an earlier start has made longer may be so in the cache alone: when the flush of that failed, the system no longer means to write it,
 * later flushes succeed without it, and a loss of power takes it back. So it is made longer anew, by a change that the next flush covers.
 */
function cutBack(base: StoredFile, to: number): void {
  try {
    base.truncate(to);
  } catch (error) {
    // A device is as long as it is.
    if (!(error instanceof DiskError) || error.failure.code !== 'EINVAL') throw error;
  }
}

function sizeError(volume: { name: string; sizeBytes: number; baseFile: string }, found: number): TercetError {
  return new TercetError('TERCET_VOLUME_SIZE', { volume: volume.name, path: volume.baseFile, found, wanted: volume.sizeBytes });
}

/** How messages name the folder, which the core does not know. */
function folderOf(options: ReplicaOptions): string {
  return `of group "${options.group}" at "${options.site}"`;
}

/** The superblock, if it is of this group and site and has these volumes; null when there is no replica. */
function readSuperblock(options: ReplicaOptions): Superblock | TercetError | null {
  const folder = folderOf(options);
  const read = Superblock.read(options.storage, options.digests);
  switch (read.kind) {
    case 'absent':
      return null;
    case 'damaged':
      options.journal('superblock.damaged', { group: options.group, why: read.why }, 'the superblock cannot be used');
      return new TercetError('TERCET_SUPERBLOCK_DAMAGED', { folder });
    case 'version':
      return new TercetError('TERCET_FORMAT_VERSION', { what: `the superblock ${folder}`, found: read.found, known: read.known });
    case 'value':
      break;
  }
  const { value } = read.superblock;
  const fault = foreignFault(options, value, folder) ?? volumesFault(options, value);
  if (fault === null) return read.superblock;
  read.superblock.close();
  return fault;
}

function foreignFault(options: ReplicaOptions, value: SuperblockValue, folder: string): TercetError | null {
  const sameGroup = value.group === options.group && (options.groupId === '' || value.groupId === options.groupId);
  if (sameGroup && value.site === options.site) return null;
  const named = value.group !== options.group || options.groupId === '' || value.groupId === options.groupId;
  const found = named ? value.group : `${value.group} (${value.groupId})`;
  const wanted = named ? options.group : `${options.group} (${options.groupId})`;
  return new TercetError('TERCET_REPLICA_FOREIGN', { folder, found, foundSite: value.site, wanted, wantedSite: options.site });
}

function volumesFault(options: ReplicaOptions, value: SuperblockValue): TercetError | null {
  const count = Math.max(options.volumes.length, value.volumes.length);
  for (let index = 0; index < count; index++) {
    const found = value.volumes[index];
    const wanted = options.volumes[index];
    if (found?.name !== wanted?.name) {
      const reason = `volume ${index} is "${found?.name ?? 'none'}" in the replica and "${wanted?.name ?? 'none'}" in the configuration`;
      return new TercetError('TERCET_NOT_IN_STATE', {
        what: `replica ${folderOf(options)}`,
        reason: `${reason}: make the configuration as it was`,
      });
    }
    // A volume may grow. What a host wrote beyond a smaller end would be lost.
    if (found !== undefined && wanted !== undefined && found.sizeBytes > wanted.sizeBytes) return sizeError(wanted, found.sizeBytes);
  }
  return null;
}

/** The sidefile, in memory where it is to be there and may. */
function openSidefile(
  options: ReplicaOptions,
  value: SuperblockValue,
  how: { groupTag: number; powerLost: boolean; files: SidefileStorage | null },
): Sidefile | TercetError {
  const { storage, digests, segmentBytes, capacityBytes } = options;
  const { destaged, destagedChain, history } = value;
  // Of a run in memory nothing is there but what an earlier run has left, and a power loss has brought back.
  const wasInMemory = value.sidefile === 'memory';
  const found = wasInMemory ? null : recoveredSidefile(options, value, how);
  if (found instanceof TercetError) return found;
  const enters = how.files !== null && mayBeInMemory(options, value, found?.received ?? destaged);
  if (found !== null && !enters) return found;
  found?.close();
  const firstSegment = discardAll(storage, value);
  if (enters) how.files?.enter();
  const shared: SidefileOptions = { storage, digests, groupTag: how.groupTag, segmentBytes, capacityBytes };
  return new Sidefile({ ...shared, firstSegment }, { nextSeq: destaged + 1, chain: destagedChain, epoch: epochOf(history, destaged) });
}

/** The sidefile as it is recovered; an empty one when the replica is inconsistent, because then another copy is the next step anyway. */
function recoveredSidefile(
  options: ReplicaOptions,
  value: SuperblockValue,
  how: { groupTag: number; powerLost: boolean },
): Sidefile | TercetError {
  const { storage, digests, segmentBytes, capacityBytes, journal, group } = options;
  const { destaged, destageTarget, destagedChain, durable, history } = value;
  const shared: SidefileOptions = { storage, digests, groupTag: how.groupTag, segmentBytes, capacityBytes };
  const empty = (): Sidefile => {
    const firstSegment = discardSidefile(storage);
    return new Sidefile({ ...shared, firstSegment }, { nextSeq: destaged + 1, chain: destagedChain, epoch: epochOf(history, destaged) });
  };
  if (!value.consistent && value.staging === null) return empty();
  const start = { startSeq: destaged + 1, startChain: destagedChain };
  const recovery = recoverSidefile({ ...shared, ...start, history, destaged, destageTarget, durable, powerLost: how.powerLost });
  if (recovery.kind === 'damaged') {
    const { epoch, seq, file, offset, why, version } = recovery;
    // Not even the records of a resync: another version of the program can read them.
    if (version !== null) {
      // At its beginning a segment has its own header, of which there is one form.
      const known = offset === 0 ? FRAME_VERSION : `${FRAME_VERSION} and ${FOLDED_FRAME_VERSION}`;
      return new TercetError('TERCET_FORMAT_VERSION', { what: `${file} ${folderOf(options)}`, found: version, known });
    }
    if (!value.consistent) {
      // Records of a resync that has not ended: nobody relies on them, and another one brings them again.
      journal('sidefile.discarded', { group, epoch, seq, file, offset, why }, 'records of a resync cannot be read: it begins anew');
      return empty();
    }
    return new TercetError('TERCET_SIDEFILE_DAMAGED', { epoch, seq, file, offset, reason: why });
  }
  const { sidefile, tornBytes, droppedTail } = recovery;
  if (tornBytes > 0) {
    const facts = {
      group,
      tornBytes,
      received: sidefile.received,
      droppedFrom: droppedTail?.firstSeq ?? null,
      droppedTo: droppedTail?.lastSeq ?? null,
    };
    journal('sidefile.torn', facts, 'a torn tail of the sidefile was cut off: none of it had been flushed');
  }
  return sidefile;
}

/** What a new copy is. */
interface NewCopy {
  /** Whether the bases count as the volume as it is now, or wait to be filled from a primary. */
  readonly consistent: boolean;
  readonly startEpoch?: Epoch;
  /** Of one that is to be filled: what its primary says that every copy can hold. It is filled so far, and grows from there. */
  readonly agreedBytes?: readonly number[] | undefined;
}

/**
 * Makes a replica: its base images (sparse when they are not there; what is there is taken as it is) and, last, its superblock.
 * `done` gets null when it is durable; it is called before this returns when nothing could be begun.
 */
export function createReplica(given: ReplicaOptions, how: NewCopy, done: (failure: CreateFailure | null) => void): void {
  const options = withDigests(given);
  assert(options.groupId !== '', 'a replica is made for a group that has an id', { group: options.group });
  const { storage, digests } = options;
  const bases: StoredFile[] = [];
  const end = (failure: CreateFailure | null): void => {
    for (const base of bases.splice(0)) base.close();
    done(failure);
  };
  try {
    const read = Superblock.read(storage, digests);
    if (read.kind === 'value') read.superblock.close();
    if (read.kind !== 'absent')
      return end({ why: new TercetError('TERCET_REPLICA_EXISTS', { group: options.group, site: options.site }).message });
    const wrong = makeBases(options, bases);
    if (wrong !== null) return end({ why: wrong.message });
    const value = firstValue(options, how);
    // The bases first: once there is a superblock, there is a replica.
    storage.flush(bases, (unflushed) => {
      if (unflushed !== null) return end(unflushed);
      try {
        const superblock = Superblock.create(storage, digests, value, (failure) => {
          superblock.close();
          end(failure);
        });
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        end(error.failure);
      }
    });
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    end(error.failure);
  }
}

/** Opens the bases of a new replica, making those that are not there. */
function makeBases(options: ReplicaOptions, bases: StoredFile[]): TercetError | null {
  assert(options.volumes.length <= limits.groupVolumesMax, 'a group has a bounded number of volumes', { count: options.volumes.length });
  for (const volume of options.volumes) {
    assert(volume.sizeBytes % BLOCK_BYTES === 0, 'a volume is made of whole blocks', { volume: volume.name, sizeBytes: volume.sizeBytes });
    assert(volume.baseFile !== SUPERBLOCK_FILE, 'a base has a file of its own', { volume: volume.name });
    const base = options.storage.open(volume.baseFile, { create: true });
    bases.push(base);
    assert(base instanceof DigestedBase, 'a base image keeps digests', { volume: volume.name });
    // What is there is taken as it is: digests of something else that lay here mean nothing.
    base.table.reset();
    if (base.size() === 0) base.truncate(volume.sizeBytes);
    else if (base.size() === volume.sizeBytes) sealEnd(base);
    if (base.size() !== volume.sizeBytes) return sizeError(volume, base.size());
  }
  return null;
}

/**
 * An image that ends in a hole may have been made by an earlier attempt whose flush failed, and be so long in the cache alone. A block that is written
 * there stays, and all before it. The zeroes that it is made of are there already.
 */
function sealEnd(base: StoredFile): void {
  const last = base.size() - BLOCK_BYTES;
  const isHole = base.extents(last, BLOCK_BYTES, 1)[0]?.hole === true;
  if (isHole) base.write(last, [new Uint8Array(BLOCK_BYTES)]);
}

function firstValue(options: ReplicaOptions, how: NewCopy): SuperblockValue {
  const sizes = options.volumes.map((volume, index) => ({
    ...volume,
    // What lies behind that in a base image that was something else's is never copied: the next start makes zeroes of it.
    sizeBytes: Math.min(volume.sizeBytes, how.agreedBytes?.[index] ?? volume.sizeBytes),
  }));
  return {
    format: SUPERBLOCK_FORMAT,
    group: options.group,
    groupId: options.groupId,
    site: options.site,
    // A copy that is to be filled hears from its primary what is agreed.
    ...sizesPatch(
      sizes,
      sizes.map(({ sizeBytes }) => (how.consistent ? sizeBytes : 0)),
    ),
    epoch: how.startEpoch ?? 0,
    history: [],
    destaged: 0,
    destageTarget: 0,
    destagedChain: 0,
    durable: 0,
    consistent: how.consistent,
    copying: null,
    staging: null,
    unclean: false,
    bootId: options.bootId,
    cleanShutdown: true,
    startCount: 0,
    pendingClaim: null,
    committed: 0,
    witness: null,
  };
}
