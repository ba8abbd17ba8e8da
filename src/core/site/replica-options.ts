// The options of a site's replica, out of those of the site.

import { DiskError } from '../base/ports.ts';
import { SidefileDamage } from '../replica/sidefile.ts';
import { failureError, type ReplicaOptions } from '../replica/options.ts';
import type { SiteOptions } from './contract.ts';

/** `durable` and `failed`: what the site does when its copy has become durable further, and when its disk has failed. */
export function replicaOptionsOf(
  o: SiteOptions,
  groupId: string,
  site: { durable: () => void; failed: (reason: string) => void },
): ReplicaOptions {
  const own = o.sites.find(({ name }) => name === o.site);
  return {
    group: o.group,
    groupId,
    site: o.site,
    volumes: o.volumes,
    storage: o.storage,
    digests: o.digests,
    buffers: o.buffers,
    clock: o.clock,
    journal: o.journal,
    bootId: o.bootId,
    segmentBytes: o.segmentBytes,
    capacityBytes: o.capacityBytes,
    setAside: o.setAside,
    bitmapChunkBytes: o.bitmapChunkBytes,
    sidefileInMemory: own?.mode === 'async' && own.sidefile === 'memory',
    destage: { idleMillis: o.destageIdleMillis, backlogBytes: o.destageBacklogBytes, ...o.destageSteps },
    digestLog: o.digestLog,
    cutStepBytes: o.cutStepBytes,
    onDurable: () => {
      site.durable();
      o.shell.wake();
    },
    onFailure: (failure) => site.failed(failureError(failure).message),
    wake: () => o.shell.wake(),
  };
}

/** What a broken disk or a damaged sidefile throws. */
export function isReplicaError(error: unknown): boolean {
  return error instanceof DiskError || error instanceof SidefileDamage;
}
