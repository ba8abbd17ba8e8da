// Coverage: whether one copy's sidefile could bring another copy up to date by delta now, and for how much longer. Computed when asked, from what is
// known at this moment; where something is not known, the pair is not called ready.

import { BLOCK_BYTES, type Seq, type SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { Replica } from '../replica/replica.ts';
import type { CoverageStatus } from './contract.ts';
import type { Lead } from './lead.ts';
import type { Inspected } from './status.ts';

/** A pair without its slack. */
type Verdict = Pick<CoverageStatus, 'state' | 'why'>;

const READY: Verdict = { state: 'ready', why: null };

/** All pairs that this site knows of: as primary each ordered pair of copies, elsewhere those that it would give itself. */
export function coverageOf(inside: Inspected): readonly CoverageStatus[] {
  const { lead, options, replica, role } = inside;
  if (replica === null || replica.failure !== null || role === 'failed' || role === 'stopped') return [];
  const now = options.clock.now();
  if (lead === null) return ownPairs(inside, replica, now);
  const pairs: CoverageStatus[] = [];
  for (const to of lead.followed.values()) {
    const { oldest } = replica.marks;
    const recordsLeft = lead.fixed.left(to);
    const own = { bytes: Math.max(0, replica.spaceLeft()), records: recordsLeft };
    pairs.push(pairOf(options.site, to.site, primaryVerdict(to, oldest), own, replica, now));
    for (const from of lead.followed.values()) {
      if (from === to) continue;
      const room = lead.held.room(from.site);
      // Nothing newer than what it had at its word is taken to have made room there.
      const space = room === null ? 0 : Math.max(0, room.spaceBytes - replica.bytesAfter(room.received));
      pairs.push(pairOf(from.site, to.site, mirrorVerdict(lead, from, to), { bytes: space, records: recordsLeft }, replica, now));
    }
  }
  return pairs;
}

/** What a sidefile can still take; `records` is Infinity where no count of them is set. */
interface Left {
  readonly bytes: number;
  readonly records: number;
}

function pairOf(from: SiteName, to: SiteName, verdict: Verdict, left: Left, replica: Replica, now: number): CoverageStatus {
  if (verdict.state === 'not-ready') return { from, to, ...verdict, slackBytes: null, slackRecords: null, slackSeconds: null };
  const { bytesPerSecond, recordsPerSecond } = replica.use.written(now);
  const isWritten = bytesPerSecond > 0 && recordsPerSecond > 0;
  // While nothing is written, a record is taken for the smallest write.
  const recordBytes = isWritten ? bytesPerSecond / recordsPerSecond : BLOCK_BYTES;
  const bytes = Math.min(left.bytes, left.records * recordBytes);
  const records = isWritten ? bytes / recordBytes : left.records;
  return {
    from,
    to,
    ...verdict,
    slackBytes: Math.floor(bytes),
    slackRecords: records === Infinity ? null : Math.floor(records),
    slackSeconds: isWritten ? bytes / bytesPerSecond : null,
  };
}

/** From the primary itself. */
function primaryVerdict(to: FollowedPeer, oldest: Seq): Verdict {
  if (to.uncovered) return { state: 'not-ready', why: `the sidefile had to forget records that ${to.site} lacks: it gets blocks instead` };
  if (to.attached === 'copying' || to.attached === 'joining') return { state: 'preparing', why: `${to.site} is being brought up to date` };
  if (to.knownDurable === null) return { state: 'preparing', why: `${to.site} has not said in this epoch what it holds` };
  return held(oldest, to.knownDurable, to.site);
}

/** From one mirror to another one, once the primary is lost. */
function mirrorVerdict(lead: Lead, from: FollowedPeer, to: FollowedPeer): Verdict {
  const update = [from, to].find((peer) => peer.attached === 'joining' || peer.attached === 'copying');
  if (update !== undefined) return { state: 'preparing', why: `${update.site} is being brought up to date` };
  if (from.attached === 'no') return { state: 'not-ready', why: `${from.site} does not follow` };
  if (to.knownDurable === null) return { state: 'not-ready', why: `nothing is known in this epoch of what ${to.site} holds` };
  const room = lead.held.room(from.site);
  if (room === null || lead.held.knownTo(from.site, to.site) === null)
    return { state: 'preparing', why: `${from.site} has not confirmed yet that it knows what ${to.site} holds` };
  return held(room.oldest, to.knownDurable, to.site);
}

function held(oldest: Seq, durable: Seq, to: SiteName): Verdict {
  if (oldest <= durable + 1) return READY;
  return { state: 'not-ready', why: `the sidefile begins at record ${oldest}, and ${to} holds those up to ${durable}` };
}

/** What this site, which is not primary, would give to the others. */
function ownPairs(inside: Inspected, replica: Replica, now: number): readonly CoverageStatus[] {
  const { held: table, options, peers } = inside;
  return [...peers.keys()].flatMap((to) => {
    const known = table.epoch === replica.epoch ? table.copies.get(to) : undefined;
    // Of the primary itself nothing is told: it is further on than any mirror.
    if (known === undefined) return [];
    const verdict: Verdict = replica.consistent
      ? held(replica.marks.oldest, known.durable, to)
      : { state: 'preparing', why: `${options.site} is being brought up to date` };
    const records = Math.max(0, (options.recordsMax || Infinity) - (replica.marks.received - known.durable));
    return [pairOf(options.site, to, verdict, { bytes: Math.max(0, replica.spaceLeft()), records }, replica, now)];
  });
}
