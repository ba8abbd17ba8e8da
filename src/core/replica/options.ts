// What a replica is given and what it answers: the words that replica.ts and its callers share.

import { TercetError } from '../base/errors.ts';
import type { Buffers, Clock, Digests, DiskFailure, Journal, Storage, StoredFile } from '../base/ports.ts';
import type { Seq, SiteName } from '../base/units.ts';
import type { DigestLogOptions } from './digest-log.ts';
import type { SidefileStorage } from './memory.ts';
import type { DestageOptions } from './schedule.ts';
import type { SetAsideOptions } from './set-aside.ts';
import { type Sidefile, SidefileDamage } from './sidefile.ts';
import type { Superblock, SuperblockValue } from './superblock.ts';

/** A volume of a replica. */
export interface VolumeOptions {
  readonly name: string;
  /** A multiple of a block. As the configuration has it, which may be more than a replica holds yet (VolumeSizes). */
  readonly sizeBytes: number;
  /** Name of its base image in the storage: a file or a block device. */
  readonly baseFile: string;
}

/** Why a replica is of no use any more. Final: a failed write or flush is never tried again. */
export type ReplicaFailure = DiskFailure | SidefileDamage;

/** Whose replica it is, what it stands on, and whom it tells. */
export interface ReplicaOptions {
  readonly group: string;
  /** Id of the group; '' at opening when it is not known, then any is taken. */
  readonly groupId: string;
  readonly site: SiteName;
  readonly volumes: readonly VolumeOptions[];
  readonly storage: Storage;
  readonly digests: Digests;
  readonly buffers: Buffers;
  readonly clock: Clock;
  readonly journal: Journal;
  /** Boot id of the machine now: another one than at the last start, without an orderly stop, means that power was lost. */
  readonly bootId: string;
  /** Size that a segment of the sidefile reaches before the next one is begun. */
  readonly segmentBytes: number;
  /** Size of the sidefile above which it is full. It may be exceeded by what was admitted before. */
  readonly capacityBytes: number;
  /** Disk space that is set aside for it; undefined where nothing may be touched. */
  readonly setAside?: SetAsideOptions | undefined;
  /** The sidefile is to be in memory alone, where that may be (memory.ts). */
  readonly sidefileInMemory?: boolean | undefined;
  readonly destage: DestageOptions;
  /** How large the log of digests of a volume becomes; as usual unless given. */
  readonly digestLog?: DigestLogOptions | undefined;
  /** Bytes of records that are looked through in one turn before a cut. 1 MiB unless given. */
  readonly cutStepBytes?: number | undefined;
  /** What one bit of a peer's bitmap stands for: a multiple of a block, the same at all sites. */
  readonly bitmapChunkBytes: number;
  /** The sidefile has become durable up to here. */
  readonly onDurable: (durable: Seq) => void;
  /** Called once, from within the call or the event that met the failure. */
  readonly onFailure: (failure: ReplicaFailure) => void;
  /** Something in the background has ended that others may wait for: room in the sidefile, a new time for work(). */
  readonly wake: () => void;
}

/** What opening found, to make a Replica of. */
export interface ReplicaParts {
  readonly superblock: Superblock;
  readonly sidefile: Sidefile;
  readonly bases: readonly StoredFile[];
  readonly groupTag: number;
  /** Where the sidefile is, if it may be in memory. */
  readonly files: SidefileStorage | null;
  /** What this start has to note in the superblock before the replica may be used. */
  readonly startPatch: Partial<SuperblockValue>;
}

/** What became of a frame from a peer. */
export type Acceptance =
  | { readonly kind: 'appended'; readonly lastSeq: Seq }
  /** Every record of it was here already. */
  | { readonly kind: 'held' }
  /** It does not follow what is here: records from `expected` on are missing before it. */
  | { readonly kind: 'gap'; readonly expected: Seq }
  /** Its records are not those of this history. */
  | { readonly kind: 'foreign'; readonly why: string }
  | { readonly kind: 'damaged'; readonly why: string };

/** What became of an adoption: 'needs-copy' when the base image or the sidefile cannot go back that far; nothing has been changed then. */
export type Adoption = 'done' | 'needs-copy' | ReplicaFailure;

/** Called once when a lasting operation of the replica has ended: null when it succeeded. Never from within the call, unless said so. */
export type ReplicaDone = (failure: ReplicaFailure | null) => void;

/** The sentence for people that goes with a failure. */
export function failureError(failure: ReplicaFailure): TercetError {
  if (!(failure instanceof SidefileDamage)) return new TercetError('TERCET_DISK', { ...failure });
  const { epoch, seq, file, offset, why } = failure;
  return new TercetError('TERCET_SIDEFILE_DAMAGED', { epoch, seq, file, offset, reason: why }, { cause: failure });
}
