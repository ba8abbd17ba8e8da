// May this site claim now? Safety rules 2, 5 and 6 in one place, as the first reason against it: what is waited for, until when, and what comes
// next. The same answer decides and is shown, so status cannot tell anything else than what the site does.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { Promised } from '../arbiter/lease.ts';
import type { WitnessView } from '../arbiter/witness-state.ts';
import { comparePositions } from '../base/position.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { PeerState } from '../mirror/forms.ts';
import type { Peer } from '../mirror/peer.ts';
import type { Replica } from '../replica/replica.ts';
import type { Agreements } from './agreement.ts';
import type { SiteOptions, Waiting } from './contract.ts';
import type { Members } from './members.ts';
import type { Survivors } from './survivors.ts';
import { witnessTrouble } from './witness-trouble.ts';

/** What the decision looks at. */
export interface ClaimGround {
  readonly options: SiteOptions;
  readonly replica: Replica | null;
  readonly peers: ReadonlyMap<SiteName, Peer>;
  readonly desk: WitnessDesk;
  readonly promised: Promised;
  readonly standbySince: Millis;
  readonly survivors: Survivors;
  readonly members: Members;
  readonly agreements: Agreements;
}

/** Sites that could claim at the same moment do so this much apart, in their order of preference. */
export const CLAIM_STAGGER_MILLIS = 50;

function waiting(cause: string, next: string, deadlineMillis: Millis | null = null): Waiting {
  return { what: 'to become primary', cause, deadlineMillis, next };
}

/** Null when this site may claim now. Only looks: status asks it too. */
export function whyNotClaim(ground: ClaimGround, now: Millis): Waiting | null {
  const { options, replica, promised } = ground;
  const own = options.sites.findIndex((spec) => spec.name === options.site);
  if (replica === null) return waiting('there is no replica here', 'it is filled by a primary');
  // As the witness has told it; a claim that rests on older news is refused there.
  if (ground.members.ownMode === 'async')
    return waiting('an async copy is never claimed for by itself', 'it follows the next primary, or an operator promotes it');
  if (!replica.consistent) return waiting('this copy is inconsistent: a whole copy to it was cut off', 'it is filled by a primary');
  const allowedAt = promised.until + own * CLAIM_STAGGER_MILLIS;
  if (now < allowedAt) return waiting('this site has promised not to claim', 'it asks the witness', allowedAt);
  const { leftTo } = ground.agreements;
  if (leftTo !== null)
    return waiting(
      `it has left ${leftTo} the right to go on alone while the witness was lost, and ${leftTo} may have done so`,
      `${leftTo} comes back and says that this is over, or an operator forces it`,
    );
  const wrong = witnessWaits(ground);
  if (wrong !== null) return wrong;
  const last = lastPrimaryWaits(ground, now);
  if (last !== null) return last;
  // Before the new epoch's first record: what another survivor holds beyond it would be cut then.
  const level = ground.survivors.waits(now);
  if (level !== null) return level;
  if (replica.unclean) {
    const behind = uncleanWaits(ground);
    if (behind !== null) return behind;
  }
  if (replica.marks.durable < replica.marks.received) return waiting('its own sidefile is not on stable storage yet', 'it claims');
  return null;
}

/** Sees to what a claim waits for, as far as this site can: a view of the witness that is fresh, and its own sidefile on disk. */
export function pursueClaim(ground: ClaimGround): void {
  const { desk, options, replica, standbySince } = ground;
  if (!desk.unknownGroup && (desk.view === null || desk.viewAt < standbySince)) desk.probe(options.timings.witnessRetryMillis);
  if (replica !== null && replica.marks.durable < replica.marks.received) replica.flush();
}

function witnessWaits(ground: ClaimGround): Waiting | null {
  const { desk, options, standbySince } = ground;
  const trouble = witnessTrouble(desk, options.group);
  if (trouble !== null) return waiting(trouble.cause, trouble.next);
  if (desk.unknownGroup) return waiting('the witness knows no such group', `tercet create ${options.group} makes it`);
  const { view } = desk;
  if (view === null || desk.viewAt < standbySince) {
    return waiting(desk.reachable === false ? 'the witness does not answer' : 'the witness has been asked', 'it asks again');
  }
  if (view.groupId !== ground.replica?.superblock.value.groupId) {
    return waiting('the witness knows another group of this name', 'an operator gives this site the right data folder, or an empty one');
  }
  if (desk.busy) return waiting('an earlier question to the witness is not answered yet', 'it asks again');
  const own = view.copies.find((copy) => copy.site === options.site);
  if (own === undefined)
    return waiting(
      'this site is no copy of the group: it was removed, or is not entered yet',
      'the primary enters it once the configuration of every site names it',
    );
  if (!own.flag)
    return waiting(
      'its flag is false: it may lack acknowledged writes',
      `it follows ${view.primary ?? 'the next primary'} as soon as that one is reachable`,
    );
  return null;
}

/**
 * After a stop of all sites the last primary goes on, and nobody's flag falls for nothing: whoever else could claim leaves it a lease's time,
 * if it is here, clean and in step.
 */
function lastPrimaryWaits(ground: ClaimGround, now: Millis): Waiting | null {
  const { options, peers, promised } = ground;
  const { primary, copies } = ground.desk.view as WitnessView;
  const until = promised.until + options.timings.leaseMillis;
  if (primary === null || primary === options.site || now >= until) return null;
  if (!copies.some((copy) => copy.site === primary && copy.mode === 'sync' && copy.flag)) return null;
  const peer = peers.get(primary);
  const said = peer?.link === null ? null : (peer?.said ?? null);
  const goesOn = said !== null && (said.role === 'standby' || said.role === 'claiming') && said.consistent && !said.unclean;
  return goesOn ? waiting(`${primary}, the last primary, is here and may go on`, `${primary} claims, or this site does`, until) : null;
}

/** What a peer said, once it can be compared with: a site that is still opening its copy, or has none that works, says nothing of what it holds. */
function comparable(said: PeerState | null): PeerState | null {
  return said === null || said.role === 'starting' || said.role === 'absent' || said.role === 'failed' || said.role === 'stopped'
    ? null
    : said;
}

/**
 * Rule 6. A copy that may have lost unflushed records leaves the right to a clean copy whose flag is true; if all of those are unclean, they
 * compare, and the furthest goes on.
 */
function uncleanWaits(ground: ClaimGround): Waiting | null {
  const { options, peers, desk } = ground;
  const replica = ground.replica as Replica;
  // Of equal ones the first goes on, in the order of the witness, which is the same for all: files may differ.
  const { copies } = desk.view as WitnessView;
  const orderOf = (site: SiteName): number => copies.findIndex((copy) => copy.site === site);
  for (const copy of copies) {
    if (copy.site === options.site || copy.mode !== 'sync' || !copy.flag || copy.site === ground.agreements.wentWithout) continue;
    const peer = peers.get(copy.site);
    const said = peer?.link === null ? null : comparable(peer?.said ?? null);
    if (said === null)
      return waiting(
        `this copy is unclean after a power loss, and ${copy.site}, whose flag is true, cannot be asked`,
        `it compares with ${copy.site}, or an operator forces it`,
      );
    if (!said.unclean && said.consistent)
      return waiting(`this copy is unclean after a power loss, and ${copy.site} is clean`, `${copy.site} claims, and this site follows it`);
    const order = comparePositions({ epoch: said.endEpoch, seq: said.endSeq }, replica.end);
    if (order > 0 || (order === 0 && orderOf(copy.site) < orderOf(options.site))) {
      return waiting(
        `this copy is unclean after a power loss, and ${copy.site} holds as much or more`,
        `${copy.site} claims, and this site follows it`,
      );
    }
  }
  return null;
}
