// The sidefile of a running site, record by record, with who holds each record and who is known to know that: the acknowledgement loop made
// visible. Computed when asked, from what the site knows at that moment.

import type { Epoch, Seq, SiteName } from '../base/units.ts';
import { readFrame } from '../record/decode.ts';
import { groupTagOf } from '../record/layout.ts';
import { recordsOf, type RecordRange, type SidefileRecord } from '../replica/inspect.ts';
import type { Role } from './contract.ts';
import type { Inspected } from './status.ts';

/** Up to where a copy other than this site's own holds the records, as far as is known here. */
export interface HolderReport {
  readonly site: SiteName;
  /** On stable storage; null when nothing is known in this epoch. */
  readonly durable: Seq | null;
  /** As primary, over a link of several streams: records that have come there and wait in memory for one before them. They count for nothing. */
  readonly waiting: readonly { readonly from: Seq; readonly to: Seq }[];
  /** As primary: up to where each other mirror is known to know this. */
  readonly knownTo: readonly { readonly site: SiteName; readonly durable: Seq | null }[];
}

export interface SidefileReport {
  readonly group: string;
  readonly site: SiteName;
  readonly role: Role;
  readonly epoch: Epoch;
  readonly sidefileIn: 'disk' | 'memory';
  /** First and last record that the sidefile holds; oldest is received + 1 when it holds none. */
  readonly oldest: Seq;
  readonly received: Seq;
  readonly destaged: Seq;
  readonly holders: readonly HolderReport[];
  readonly records: readonly SidefileRecord[];
}

/** Bytes of frames that are read for one report at most: the answer may be shorter than asked for. */
const REPORT_BYTES = 8 * 1024 * 1024;

/** Null when there is no copy that could be read. Throws what reading a damaged sidefile throws. */
export function sidefileReport(inside: Inspected, range: RecordRange): SidefileReport | null {
  const { options, replica, role } = inside;
  if (replica === null || replica.failure !== null || role === 'failed' || role === 'stopped') return null;
  const { oldest, received, destaged } = replica.marks;
  const records: SidefileRecord[] = [];
  const groupTag = groupTagOf(replica.superblock.value.groupId, options.digests);
  const given = { volumes: options.volumes, digests: options.digests, history: null };
  let bytes = 0;
  for (let seq = Math.max(range.from, oldest); seq <= received && records.length < range.count && bytes < REPORT_BYTES;) {
    const run = replica.framesFrom(seq, 256 * 1024);
    if (run === null) break;
    for (const part of run.parts) {
      const check = readFrame(part, 0, { groupTag, checkPayload: false, digests: options.digests });
      if (check.kind === 'frame') recordsOf(check.frame, range, given, records);
      run.release();
    }
    bytes += run.bytes;
    seq = run.lastSeq + 1;
  }
  return {
    group: options.group,
    site: options.site,
    role,
    epoch: replica.epoch,
    sidefileIn: replica.inMemory ? 'memory' : 'disk',
    oldest,
    received,
    destaged,
    holders: holders(inside),
    records,
  };
}

function holders(inside: Inspected): HolderReport[] {
  const { lead, held, replica } = inside;
  return [...inside.peers.keys()].map((site) => {
    if (lead === null) {
      const known = held.epoch === replica?.epoch ? held.copies.get(site) : undefined;
      return { site, durable: known?.durable ?? null, waiting: [], knownTo: [] };
    }
    const others = [...lead.followed.keys()].filter((mirror) => mirror !== site);
    return {
      site,
      durable: lead.followed.get(site)?.knownDurable ?? null,
      waiting: lead.followed.get(site)?.streaming === true ? (inside.peers.get(site)?.link?.streams?.sender.early ?? []) : [],
      knownTo: others.map((mirror) => ({ site: mirror, durable: lead.held.knownTo(mirror, site) })),
    };
  });
}
