// A follower, made from the options of its site.

import type { Promised } from '../arbiter/lease.ts';
import { Follower } from '../mirror/follow.ts';
import type { ScanChoice } from '../mirror/forms.ts';
import type { HeldTable } from '../mirror/held.ts';
import type { Link } from '../mirror/link.ts';
import type { Replica } from '../replica/replica.ts';
import type { SiteOptions } from './contract.ts';
import { bitmapOnlyOf } from './lead.ts';

/** Follows the primary at the other end of a connection. */
export function followerOf(
  options: SiteOptions,
  parts: {
    readonly link: Link;
    readonly replica: Replica;
    readonly promised: Promised;
    readonly scanWanted: ScanChoice | null;
    readonly held: HeldTable;
    readonly changed: () => void;
  },
): Follower {
  const { clock, journal, timings, shell, sites, site, blockDigests } = options;
  return new Follower({
    ...parts,
    clock,
    journal,
    promiseMillis: timings.leaseMillis,
    sites: sites.map((spec) => spec.name),
    blockDigests,
    site,
    bitmapOnly: bitmapOnlyOf(sites),
    recordsMax: options.recordsMax ?? 0,
    wake: () => shell.wake(),
  });
}
