// Safety rule 3 as one pure function: up to which record may hosts be answered. Everything that is acknowledged, destaged or shown as
// committed goes through here.

import type { FlagView } from '../base/copies.ts';
import type { Seq, SiteName } from '../base/units.ts';

/** What the rule needs to know of a sync copy other than the primary. */
export interface RequiredView {
  readonly site: SiteName;
  /** What is known of its flag; a copy whose flag is known false is not required. */
  readonly flag: FlagView;
  /** Highest contiguous seq it holds in this epoch; 0 when it has not joined. */
  readonly received: Seq;
  readonly durable: Seq;
}

/** Up to where records count as committed, and up to where they are on stable storage wherever they must be. */
export interface Acknowledged {
  readonly committed: Seq;
  readonly durable: Seq;
}

/**
 * (a) every sync peer whose flag may be true holds the record, and (b) a second failure domain has it: a peer whose flag is known true, or the
 * local disk; while a peer is being excluded the local disk, whatever others hold, so that what its exclusion began with stays so until the witness
 * has been asked (rule 4). A group that was configured with one copy only has no second domain to wait for: it behaves as a disk with a write cache
 * (docs/decisions/0004-single-copy-groups.md).
 */
export function acknowledgedUpTo(
  own: { received: Seq; durable: Seq },
  syncPeers: readonly RequiredView[],
  { onlyCopy, excluding }: { readonly onlyCopy: boolean; readonly excluding: boolean },
): Acknowledged {
  let held = own.received;
  let durable = own.durable;
  let knownTrue = false;
  for (const peer of syncPeers) {
    if (peer.flag === 'false') continue;
    if (peer.flag === 'true') knownTrue = true;
    held = Math.min(held, peer.received);
    durable = Math.min(durable, peer.durable);
  }
  const committed = (knownTrue && !excluding) || onlyCopy ? held : Math.min(held, own.durable);
  return { committed, durable };
}
