// A site's copy as its daemon would open it, without anything being changed: for looking at it, and for taking an image out of it.

import { openReplica } from '../core/replica/open.ts';
import type { DigestedBase } from '../core/replica/digested-base.ts';
import type { Replica } from '../core/replica/replica.ts';
import { machineBootId } from '../host/boot-id.ts';
import { BufferPool } from '../host/buffers.ts';
import { machineClock } from '../host/clock.ts';
import { machineDigests } from '../host/digests.ts';
import { openReplicaFolder, type ReplicaFolder } from '../host/disk.ts';
import type { GroupConfig, SiteConfig } from './config.ts';
import { replicaFolder } from './config.ts';
import { DryStorage } from './dry-storage.ts';

/** Lines of the journal of a start that say what it mends, or why it refuses. */
const FINDINGS = ['replica.unclean', 'replica.grown', 'superblock.damaged', 'sidefile.torn', 'digests.damaged'];
const KEPT_BYTES_MAX = 16 * 1024 * 1024;

/** An open copy. */
export interface DryReplica {
  readonly replica: Replica;
  readonly bases: readonly DigestedBase[];
}

/** Opens and locks the data folder of a copy. Throws TERCET_REPLICA_LOCKED while its daemon runs. */
export function lockReplica(site: SiteConfig, group: GroupConfig): ReplicaFolder {
  const paths = Object.fromEntries(
    group.volumes.flatMap(({ name, base }) => (base.has(site.name) ? [[`base-${name}.img`, base.get(site.name) ?? '']] : [])),
  );
  return openReplicaFolder(replicaFolder(site, group.name), { paths });
}

/** Opens the copy in a locked folder; null where there is none. `found` hears what a start would mend. */
export function openDry(
  site: SiteConfig,
  group: GroupConfig,
  { folder, found }: { folder: ReplicaFolder; found: (text: string) => void },
): Promise<DryReplica | { readonly error: string } | null> {
  return new Promise((resolve) => {
    openReplica(
      {
        group: group.name,
        groupId: '',
        site: site.name,
        volumes: group.volumes.map(({ name, sizeBytes }) => ({ name, sizeBytes, baseFile: `base-${name}.img` })),
        storage: new DryStorage(folder.storage),
        digests: machineDigests,
        buffers: new BufferPool(KEPT_BYTES_MAX),
        clock: machineClock(),
        journal: (event, _facts, text) => {
          if (FINDINGS.includes(event)) found(text);
        },
        bootId: machineBootId(),
        segmentBytes: group.segmentBytes,
        bitmapChunkBytes: group.bitmapChunkBytes,
        capacityBytes: group.capacityBytes,
        destage: { idleMillis: group.destageIdleMillis, backlogBytes: group.destageBacklogBytes },
        onDurable: () => {},
        onFailure: (failure) => resolve({ error: 'why' in failure ? String(failure.why) : `the disk fails: ${JSON.stringify(failure)}` }),
        wake: () => {},
      },
      (opened) => {
        if (opened.kind === 'ready') resolve(opened);
        else resolve(opened.kind === 'absent' ? null : { error: opened.error.message });
      },
    );
  });
}
