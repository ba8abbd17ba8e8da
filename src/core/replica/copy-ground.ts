// What the receiver of a copy stands on: its replica, seen through the few things that it needs.

import type { Digests, DiskDone, Journal, Storage, StoredFile } from '../base/ports.ts';
import type { Seq } from '../base/units.ts';
import type { Background } from './background.ts';
import type { Changes } from './changes.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Marks } from './marks.ts';
import type { ReplicaDone, ReplicaFailure } from './options.ts';
import type { Sidefile } from './sidefile.ts';
import type { Superblock, SuperblockValue } from './superblock.ts';

/** What the receiver of a copy needs of its replica. */
export interface CopyGround {
  readonly group: string;
  readonly storage: Storage;
  readonly digests: Digests;
  readonly journal: Journal;
  readonly bases: readonly StoredFile[];
  readonly sidefile: Sidefile;
  /** Bytes that the sidefile may still take, the unwritten end of its newest segment included. */
  readonly sidefileLeftBytes: () => number;
  readonly block: Superblock;
  readonly background: Background;
  readonly commit: GroupCommit;
  readonly changes: Changes;
  readonly marks: Marks;
  /** The replica's failure, once it has one. */
  readonly failure: () => ReplicaFailure | null;
  /** Whether an operation is refused because of an earlier failure, which `done` is then told. */
  readonly refused: (done: ReplicaDone) => boolean;
  /** Calls back as an event of its own, with the replica's failure if there is one by then. */
  readonly later: (done: ReplicaDone) => void;
  /** Stops everything that is begun in the background, or lets it go on. */
  readonly stop: (stopped: boolean) => void;
  /** Everything is as of this record, and nothing waits for destaging. */
  readonly startOver: (position: Seq) => void;
  /** Takes the records behind a seq out of sidefile and overlay. `done` when that is so, or the replica has failed; it may be at once. */
  readonly cut: (seq: Seq, done: () => void) => void;
  /** Brings everything that was received into the bases, also what is not known to be committed. */
  readonly settle: (done: ReplicaDone) => void;
  /** The marks have moved. */
  readonly moved: () => void;
  readonly update: (patch: Partial<SuperblockValue>, done: DiskDone) => void;
  /** Notes a failure of the storage; anything else is thrown on. */
  readonly note: (error: unknown) => void;
}
