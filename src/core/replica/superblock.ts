// What a replica must still know after any crash: whose it is, which epochs its records belong to, what is in the base image, what was on
// stable storage. A two-slot cell (base/cell.ts): the slot that holds the newest durable value is never the one that is written.

import { assert } from '../base/assert.ts';
import type { Member } from '../base/copies.ts';
import { CELL_BYTES, CELL_VERSION, encodeSlot, type Json, readCell, type SlotIndex } from '../base/cell.ts';
import { limits } from '../base/limits.ts';
import {
  DiskError,
  type DigestAlgorithm,
  type Digests,
  type DiskDone,
  type DiskFailure,
  type Storage,
  type StoredFile,
} from '../base/ports.ts';
import type { EpochStart } from '../base/position.ts';
import { type Epoch, isCount, type Seq, type SiteName } from '../base/units.ts';
import { segmentNumberOf } from './segment.ts';

/** File name of the superblock. */
export const SUPERBLOCK_FILE = 'superblock';
/**
 * The newest version of the value. Version 1 is what the first programs know: it has no `members`, and is written as long as there are none. Version 2
 * has no `sidefile`, and is written as long as that is on the disk. Version 4 is written once there is an `agreement`. Version 5 has `digestLogs`.
 */
export const SUPERBLOCK_FORMAT = 5;
const FORMAT_WITHOUT_LOG = 4;
const FORMAT_WITHOUT_AGREEMENT = 3;
const FORMAT_WITHOUT_MEMORY = 2;
const FORMAT_WITHOUT_MEMBERS = 1;
const KNOWN_FORMATS: readonly number[] = [
  FORMAT_WITHOUT_MEMBERS,
  FORMAT_WITHOUT_MEMORY,
  FORMAT_WITHOUT_AGREEMENT,
  FORMAT_WITHOUT_LOG,
  SUPERBLOCK_FORMAT,
];

/** What a superblock holds. */
export interface SuperblockValue {
  readonly format: number;
  readonly group: string;
  /** Made once for the group and never again, unlike its name: sites of two groups of one name do not mix. */
  readonly groupId: string;
  readonly site: SiteName;
  /** What this copy can hold of each volume. */
  readonly volumes: readonly { readonly name: string; readonly sizeBytes: number }[];
  /** What every copy of the group is known to hold of each volume: no host is served more. Left out while it is what this copy can hold. */
  readonly agreedBytes?: readonly number[] | undefined;
  /** Newest epoch that this replica has adopted. */
  readonly epoch: Epoch;
  /** Which epoch each record belongs to. A record that is not named by it is void, also where its bytes still lie in the sidefile. */
  readonly history: readonly EpochStart[];
  /** Everything up to here is in the base image, on stable storage. */
  readonly destaged: Seq;
  /** Nothing behind here has been written to the base image; between destaged and here the base may hold a mixture. */
  readonly destageTarget: Seq;
  /** Chain of record `destaged`. */
  readonly destagedChain: number;
  /** Everything up to here was on stable storage when this was written: what a recovery must find. Not behind a cut. */
  readonly durable: Seq;
  /** False while the base image holds bytes out of order (a whole copy that has not ended). */
  readonly consistent: boolean;
  /** A whole copy under way: the images are taken behind this record. */
  readonly copying: null | { readonly fromSeq: Seq };
  /**
   * Images of a resync wait beside the sidefile: the base images are those of an older volume, or, once `endSeq` is set, are being brought to
   * the new one. null while none do: a copy under way is then written straight into the bases.
   */
  readonly staging: null | StagingValue;
  /**
   * A copy under way is written straight into the bases, and copies of them are kept as protection images: they are the volume as of this record. null,
   * or left out, while there are none.
   */
  readonly protection?: null | { readonly older: StagingValue['older'] };
  /** May lack records that it had acknowledged without having them on stable storage. */
  readonly unclean: boolean;
  /** Boot id of the machine at the last start. */
  readonly bootId: string;
  /** Written by an orderly stop, cleared by the next start. */
  readonly cleanShutdown: boolean;
  /** Starts of this replica's site so far. */
  readonly startCount: number;
  /** A claim that was sent and whose answer is not known. */
  readonly pendingClaim: null | { readonly requestId: string; readonly epoch: Epoch; readonly revision: number };
  /** Newest seq known to be committed. */
  readonly committed: Seq;
  /**
   * The witness that this site believes, and the newest state that it has seen. `reporting`: it has turned to that witness by order and tells it
   * what it is until that one grants; the revision is then the newest of the one before.
   */
  readonly witness: null | { readonly instance: string; readonly revision: number; readonly reporting?: true };
  /** Mirrors that this site, as primary, sends nothing by order. Left out by copies that were made before it was kept. */
  readonly paused?: readonly SiteName[];
  /**
   * Who the copies are and how each is mirrored, as of the newest state of the witness that was seen: what a new one is told, whatever the configuration
   * says by then. Left out by copies that were made before it was kept.
   */
  readonly members?: readonly Member[];
  /** The sidefile is in memory: what is not destaged goes with the process. Left out while it is on the disk. */
  readonly sidefile?: 'memory' | undefined;
  /** What was agreed while the witness was lost. Left out by copies that never had to. */
  readonly agreement?: AgreementValue;
  /**
   * How far the log of the digests of each volume was on stable storage: two numbers for each, the generation of its file and how many batches of it. It says
   * more than the digests beside the base image. Left out before a program that keeps one has opened the copy.
   */
  readonly digestLogs?: readonly number[] | undefined;
}

/** Pre-election (docs/decisions/0015). */
export interface AgreementValue {
  /** Numbers that this site has asked for as primary: none is used twice. */
  readonly asked: number;
  /** As primary of that epoch it went on without this site, and the witness has not heard of it yet. */
  readonly alone: null | { readonly without: SiteName; readonly epoch: Epoch; readonly number: number };
  /** It leaves the right to go on to the primary of that epoch, and does not claim until that one says that this number is over. */
  readonly yields: null | { readonly to: SiteName; readonly epoch: Epoch; readonly number: number };
}

/** How a resync may be brought to its end. */
export type ResyncRung = 'bitmap' | 'scan' | 'copy';

/** What may be chosen for a scan that is ordered. */
export interface ScanChoice {
  readonly algorithm: DigestAlgorithm;
  /** Who compares, and so says which blocks travel. */
  readonly compare: 'primary' | 'mirror';
  /** Once it has ended, everything is compared again by the digest that is taken as proof. */
  readonly confirm: boolean;
}

/** A resync whose images are staged. */
export interface StagingValue {
  readonly rung: ResyncRung;
  /** scan: how, so that one that is cut off goes on so under any primary. Left out by copies that were begun before it was kept. */
  readonly scan?: ScanChoice | null;
  /** The volume that the base images hold: everything up to `seq` by that history. */
  readonly older: { readonly history: readonly EpochStart[]; readonly seq: Seq; readonly chain: number };
  /** Entries of the index of staged images that are on stable storage. */
  readonly entries: number;
  /** Everything before this place is settled: staged or known to be equal, as of records up to `upTo` at the latest. */
  readonly cursor: { readonly volume: number; readonly offset: number };
  readonly upTo: { readonly epoch: Epoch; readonly seq: Seq };
  /** The end marker has come and everything up to it is on stable storage: what is staged counts, the older volume does not any more. */
  readonly endSeq: Seq | null;
}

/** What a replica's folder holds in place of a superblock. `absent` also where the making of one never ended: nothing was promised yet. */
export type SuperblockRead =
  | { readonly kind: 'value'; readonly superblock: Superblock }
  | { readonly kind: 'absent' }
  | { readonly kind: 'damaged'; readonly why: string }
  /** `known`: the versions that this program reads of what has another one, the slot's form or the value. */
  | { readonly kind: 'version'; readonly found: number; readonly known: string };

/** The superblock of an open replica. Updates are merged: each write takes all that was asked for while the one before was under way. */
export class Superblock {
  readonly #storage: Storage;
  readonly #digests: Digests;
  readonly #file: StoredFile;
  #value: SuperblockValue;
  #durableValue: SuperblockValue;
  #revision: number;
  #slot: SlotIndex;
  #writing = false;
  #waiting: DiskDone[] = [];
  #failure: DiskFailure | null = null;

  private constructor(parts: {
    storage: Storage;
    digests: Digests;
    file: StoredFile;
    value: SuperblockValue;
    revision: number;
    slot: SlotIndex;
  }) {
    this.#storage = parts.storage;
    this.#digests = parts.digests;
    this.#file = parts.file;
    this.#value = parts.value;
    this.#durableValue = parts.value;
    this.#revision = parts.revision;
    this.#slot = parts.slot;
  }

  /** Reads the superblock of the replica in this storage. Throws DiskError. */
  static read(storage: Storage, digests: Digests): SuperblockRead {
    const names = storage.list();
    const hasSegments = names.some((name) => segmentNumberOf(name) !== null);
    if (!names.includes(SUPERBLOCK_FILE)) {
      return hasSegments ? { kind: 'damaged', why: 'there are segments of a sidefile, but no superblock' } : { kind: 'absent' };
    }
    const file = storage.open(SUPERBLOCK_FILE, { create: false });
    const cell = new Uint8Array(CELL_BYTES);
    file.read(0, cell);
    const state = readCell(cell, (bytes, seed) => digests.crc32(bytes, seed));
    if (state.kind === 'value') {
      const format = formatOf(state.value);
      const isKnown = format !== null && KNOWN_FORMATS.includes(format);
      const fault = isKnown ? superblockFault(state.value) : null;
      if (isKnown && fault === null) {
        // Checked field by field just above.
        const value = state.value as unknown as SuperblockValue;
        return { kind: 'value', superblock: new Superblock({ storage, digests, file, value, revision: state.revision, slot: state.slot }) };
      }
      file.close();
      return format !== null && !isKnown
        ? { kind: 'version', found: format, known: `${FORMAT_WITHOUT_MEMBERS} to ${SUPERBLOCK_FORMAT}` }
        : { kind: 'damaged', why: fault ?? 'it has no format number' };
    }
    file.close();
    if (state.kind === 'version') return { ...state, known: String(CELL_VERSION) };
    // The first value goes to the first slot. While the second was never written nobody has been promised anything, so this is an unfinished start.
    const unfinished = state.kind === 'empty' || (state.slots[0].kind === 'damaged' && state.slots[1].kind === 'empty');
    if (unfinished && !hasSegments) return { kind: 'absent' };
    return { kind: 'damaged', why: state.kind === 'damaged' ? state.why : 'it is empty, but there are segments of a sidefile' };
  }

  /** Writes the first superblock of a new replica. Calls `done` when it is durable; until then the replica may not be used. Throws DiskError. */
  static create(storage: Storage, digests: Digests, given: SuperblockValue, done: DiskDone): Superblock {
    const value = withoutUnset(given);
    const fault = superblockFault(value as unknown as Json);
    assert(fault === null, 'a superblock holds what it must', { fault });
    const file = storage.open(SUPERBLOCK_FILE, { create: true });
    file.truncate(0);
    file.truncate(CELL_BYTES);
    // As if the second slot had been written last, with revision 0.
    const superblock = new Superblock({ storage, digests, file, value, revision: 0, slot: 1 });
    superblock.#waiting.push(done);
    superblock.#write();
    return superblock;
  }

  /** The newest value: what is on disk, with every update so far. */
  get value(): SuperblockValue {
    return this.#value;
  }

  /** What a restart would find now. */
  get durableValue(): SuperblockValue {
    return this.#durableValue;
  }

  /** Changes the value at once and makes it durable; `done` is called when a write with this change in it is. A failure is final. */
  update(patch: Partial<SuperblockValue>, done: DiskDone): void {
    const next = withoutUnset({ ...this.#value, ...patch });
    assertMove(this.#value, next);
    this.#value = next;
    this.#waiting.push(done);
    if (!this.#writing) this.#write();
  }

  /** Closes the file; nothing may be updated afterwards. */
  close(): void {
    this.#file.close();
  }

  #write(): void {
    const value = this.#value;
    const dones = this.#waiting;
    this.#waiting = [];
    this.#writing = true;
    const ended = (failure: DiskFailure | null): void => {
      this.#writing = false;
      this.#failure = this.#failure ?? failure;
      if (this.#failure === null) this.#durableValue = value;
      // The next write begins before anybody is told, so that an update made by one of them joins the write after it.
      if (this.#waiting.length > 0) this.#write();
      for (const done of dones) done(this.#failure);
    };
    if (this.#failure === null) this.#writeSlot(value);
    // After a failure nothing is written any more; an empty flush is a way to call back later.
    this.#storage.flush(this.#failure === null ? [this.#file] : [], ended);
  }

  #writeSlot(value: SuperblockValue): void {
    this.#revision++;
    this.#slot = this.#slot === 0 ? 1 : 0;
    const slot = encodeSlot(this.#revision, value as unknown as Json, (bytes, seed) => this.#digests.crc32(bytes, seed));
    try {
      this.#file.write(this.#slot * limits.cellSlotBytes, [slot]);
    } catch (failure) {
      if (!(failure instanceof DiskError)) throw failure;
      this.#failure = failure.failure;
    }
  }
}

/**
 * What is not set is not written: programs that do not know a field can read a superblock without it. One with a field that the first programs do not
 * know has the number of another version, so that they say that, and not that it is damaged.
 */
function withoutUnset(given: SuperblockValue): SuperblockValue {
  const { agreedBytes, sidefile, digestLogs, ...rest } = given;
  const withoutMemory = given.members === undefined ? FORMAT_WITHOUT_MEMBERS : FORMAT_WITHOUT_MEMORY;
  const withoutAgreement = sidefile === undefined ? withoutMemory : FORMAT_WITHOUT_AGREEMENT;
  const withoutLog = given.agreement === undefined ? withoutAgreement : FORMAT_WITHOUT_LOG;
  const format = digestLogs === undefined ? withoutLog : SUPERBLOCK_FORMAT;
  return {
    ...rest,
    format,
    ...(agreedBytes !== undefined && { agreedBytes }),
    ...(sidefile !== undefined && { sidefile }),
    ...(digestLogs !== undefined && { digestLogs }),
  };
}

/** Checks that a value may follow another: what a fault of the program could break, before it is on disk. */
function assertMove(now: SuperblockValue, next: SuperblockValue): void {
  const facts = { now, next };
  const fault = superblockFault(next as unknown as Json);
  assert(fault === null, 'a superblock holds what it must', { fault });
  assert(next.groupId === now.groupId, 'a replica stays in its group', facts);
  assert(next.site === now.site, 'a replica stays at its site', facts);
  assert(next.epoch >= now.epoch, 'the adopted epoch never falls', facts);
  assert(next.startCount >= now.startCount, 'starts are counted upwards', facts);
  const copying = !now.consistent || !next.consistent;
  assert(copying || next.destaged >= now.destaged, 'destaged falls only with a whole copy', facts);
  // Records of an epoch that is adopted now cannot have been durable before: whoever cuts back must take `durable` back with it.
  const adopted = next.history.find((start) => start.epoch > now.epoch);
  assert(
    copying || adopted === undefined || next.durable < adopted.firstSeq,
    'durable is not behind the start of a newly adopted epoch',
    facts,
  );
}

function formatOf(value: Json): number | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const format = (value as { readonly [key: string]: Json })['format'];
  return isCount(format) ? format : null;
}

type Check = (value: unknown) => boolean;
const isText: Check = (value) => typeof value === 'string';
const isFlag: Check = (value) => typeof value === 'boolean';
const isMode: Check = (value) => value === 'sync' || value === 'async';
const isNullOr =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    value === null || fieldFault(value, fields) === null;
const isObject =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    fieldFault(value, fields) === null;
const isListOf =
  (countMax: number, fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    Array.isArray(value) && value.length <= countMax && value.every((item) => fieldFault(item, fields) === null);

const isOlder = isObject({
  history: isListOf(limits.historyEpochsMax, { epoch: isCount, firstSeq: isCount }),
  seq: isCount,
  chain: (value) => isCount(value) && value <= 0xffff_ffff,
});

const valueFields: Readonly<Record<keyof SuperblockValue, Check>> = {
  format: (value) => isCount(value) && KNOWN_FORMATS.includes(value),
  group: isText,
  groupId: isText,
  site: isText,
  volumes: isListOf(limits.groupVolumesMax, { name: isText, sizeBytes: (value) => isCount(value) && value <= limits.volumeBytesMax }),
  agreedBytes: (value) =>
    value === undefined || (Array.isArray(value) && value.length <= limits.groupVolumesMax && value.every((each) => isCount(each))),
  epoch: isCount,
  history: isListOf(limits.historyEpochsMax, { epoch: isCount, firstSeq: isCount }),
  destaged: isCount,
  destageTarget: isCount,
  destagedChain: (value) => isCount(value) && value <= 0xffff_ffff,
  durable: isCount,
  consistent: isFlag,
  copying: isNullOr({ fromSeq: isCount }),
  staging: isNullOr({
    rung: (value) => value === 'bitmap' || value === 'scan' || value === 'copy',
    scan: (value) => value === undefined || isNullOr({ algorithm: isText, compare: isText, confirm: isFlag })(value),
    older: isOlder,
    entries: isCount,
    cursor: isObject({ volume: isCount, offset: isCount }),
    upTo: isObject({ epoch: isCount, seq: isCount }),
    endSeq: (value) => value === null || isCount(value),
  }),
  protection: (value) => value === undefined || isNullOr({ older: isOlder })(value),
  unclean: isFlag,
  bootId: isText,
  cleanShutdown: isFlag,
  startCount: isCount,
  pendingClaim: isNullOr({ requestId: isText, epoch: isCount, revision: isCount }),
  committed: isCount,
  paused: (value) =>
    value === undefined || (Array.isArray(value) && value.length < limits.groupSitesMax && value.every((site) => isText(site))),
  members: (value) => value === undefined || isListOf(limits.groupSitesMax, { site: isText, mode: isMode })(value),
  sidefile: (value) => value === undefined || value === 'memory',
  agreement: (value) =>
    value === undefined ||
    isObject({
      asked: isCount,
      alone: isNullOr({ without: isText, epoch: isCount, number: isCount }),
      yields: isNullOr({ to: isText, epoch: isCount, number: isCount }),
    })(value),
  digestLogs: (value) => value === undefined || (Array.isArray(value) && value.every((each) => isCount(each))),
  witness: isNullOr({ instance: isText, revision: isCount, reporting: (value) => value === undefined || value === true }),
};

/** Why an object has not these fields; null when it has. Fields that are not listed are refused: they would be lost with the next update. */
function fieldFault(value: unknown, fields: Readonly<Record<string, Check>>): string | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is not an object';
  for (const [name, check] of Object.entries(fields)) {
    if (!check((value as Readonly<Record<string, unknown>>)[name])) return `its "${name}" is missing or out of range`;
  }
  const unknown = Object.keys(value).find((name) => !Object.hasOwn(fields, name));
  return unknown === undefined ? null : `"${unknown}" is no field of it`;
}

/** Why a value cannot be a superblock of this format; null when it can. The same rule before writing and after reading. */
function superblockFault(value: Json): string | null {
  const fault = fieldFault(value, valueFields);
  if (fault !== null) return fault;
  const block = value as unknown as SuperblockValue;
  if (block.format === FORMAT_WITHOUT_MEMBERS && block.members !== undefined) return 'its version has no members';
  if (block.format < FORMAT_WITHOUT_AGREEMENT && block.sidefile !== undefined) return 'its version has its sidefile on the disk';
  if (block.format < FORMAT_WITHOUT_LOG && block.agreement !== undefined) return 'its version has no agreement';
  if (block.format < SUPERBLOCK_FORMAT && block.digestLogs !== undefined) return 'its version has no log of digests';
  if (block.digestLogs !== undefined && block.digestLogs.length !== 2 * block.volumes.length)
    return 'logs of digests are of other volumes than it has';
  for (let i = 1; i < block.history.length; i++) {
    const before = block.history[i - 1] as EpochStart;
    const start = block.history[i] as EpochStart;
    if (start.epoch <= before.epoch || start.firstSeq < before.firstSeq) return 'its history is out of order';
  }
  const newest = block.history[block.history.length - 1];
  if (newest !== undefined && newest.epoch > block.epoch) return 'its history names an epoch that was not adopted';
  if (block.staging !== null && (block.consistent || block.copying === null)) return 'images are staged, and no copy is under way';
  const { agreedBytes, volumes } = block;
  if (agreedBytes !== undefined && agreedBytes.length !== volumes.length) return 'sizes were agreed of other volumes than it has';
  if (agreedBytes?.some((bytes, index) => bytes > (volumes[index]?.sizeBytes ?? 0)) === true)
    return 'a size was agreed that it cannot hold';
  if ((block.protection ?? null) !== null && (block.staging !== null || block.copying === null))
    return 'an older volume is protected, and no copy is written into the bases';
  if (block.destaged > block.destageTarget) return 'its "destaged" is behind its "destageTarget"';
  return null;
}
