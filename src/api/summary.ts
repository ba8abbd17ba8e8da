// What the answers of several sites mean for a group: one line when all is well, and otherwise first what is wrong. It says only what a site has
// said of itself or of its own connections; a site that cannot be asked from here is not a fault as long as the primary is connected to it.

import type { CoverageStatus, PeerStatus, ResyncStatus, RpoBreach, SiteStatus, Waiting } from './schema.ts';
import { unreachable } from '../core/base/assert.ts';
import { limits } from '../core/base/limits.ts';
import { bytesText, countText, secondsText } from './text.ts';

/** A sidefile that is full so soon is worth a sentence. */
const FILLING_SECONDS = 60;

/** A group as it can be seen from here. */
export interface GroupSummary {
  readonly group: string;
  /** Whether nothing is wrong, as far as the sites that answered know. */
  readonly well: boolean;
  /** The site that says that it serves; null when none of those that answered does. */
  readonly serving: string | null;
  /** Sentences, the most important first. */
  readonly problems: readonly string[];
  /** What is so, in one line. */
  readonly state: string;
}

/** Sums up what sites say of one group. */
export function summarize(group: string, statuses: readonly SiteStatus[]): GroupSummary {
  const serving = statuses.filter((status) => status.serving);
  const primary = serving[0] ?? statuses.find((status) => status.role === 'primary') ?? null;
  const problems: string[] = [];
  if (statuses.length === 0) problems.push('no site of the group answers from here');
  else if (serving.length > 1)
    problems.push(`${names(serving)} both say that they serve: ask again, since the answers may be of different moments`);
  else if (primary === null) problems.push(...withoutPrimary(statuses));
  else problems.push(...primaryProblems(primary));
  for (const status of statuses) problems.push(...ownProblems(status, primary));
  problems.push(...sizeProblems(statuses), ...statuses.flatMap(lostPoints));
  return { group, well: problems.length === 0, serving: serving[0]?.site ?? null, problems, state: stateText(primary, statuses) };
}

/** Points that somebody may rely on still, until he removes them. */
function lostPoints({ site, group, points }: SiteStatus): readonly string[] {
  return points
    .filter(({ state }) => state === 'lost')
    .map(
      ({ name, why }) =>
        `${site} has lost point ${name}: ${why ?? 'no reason known'}: \`tercet point remove ${group} ${name} --site ${site}\``,
    );
}

/** That a copy would lose more than is allowed. */
export function breachText({ peer, seconds, bound, targetSeconds }: RpoBreach): string {
  const lost = seconds === null ? 'an unknown time' : `${bound ? 'up to ' : ''}${secondsText(seconds)}`;
  return `${peer} would lose ${lost} of writes, more than the ${secondsText(targetSeconds)} that are allowed`;
}

function names(statuses: readonly SiteStatus[]): string {
  return statuses.map((status) => status.site).join(' and ');
}

/** A volume that is being made larger is so at one site after the other; a primary that is larger itself says what it waits for. */
function sizeProblems(statuses: readonly SiteStatus[]): readonly string[] {
  const all = [...new Set(statuses.flatMap(({ volumes }) => volumes.map(({ name }) => name)))];
  return all.flatMap((name) => {
    const sites = new Map<number, SiteStatus[]>();
    for (const status of statuses) {
      const size = status.volumes.find((volume) => volume.name === name)?.heldBytes ?? null;
      if (size !== null) sites.set(size, [...(sites.get(size) ?? []), status]);
    }
    if (sites.size < 2 || statuses.some(({ waiting }) => waiting.some(({ what }) => what.startsWith(`to serve volume ${name} `))))
      return [];
    const parts = [...sites].sort(([a], [b]) => a - b).map(([size, which]) => `${bytesText(size)} at ${names(which)}`);
    return [
      `the copies of volume ${name} can hold ${parts.join(', ')}: write the new size into the configuration of each site, and \`tercet reload\``,
    ];
  });
}

/** None of those that answered is primary: either it cannot be asked from here, or nobody serves. */
function withoutPrimary(statuses: readonly SiteStatus[]): readonly string[] {
  if (followed(statuses) !== null) return [];
  if (statuses.every((status) => status.role === 'absent')) return ['not created yet: `tercet create` does that'];
  return ['nobody serves, as far as can be seen from here'];
}

/** The primary that mirrors here follow at this moment; null when none does. */
function followed(statuses: readonly SiteStatus[]): string | null {
  const mirror = statuses.find(
    (status) => status.role === 'mirror' && status.peers.some((peer) => peer.site === status.knownPrimary && peer.connected),
  );
  return mirror?.knownPrimary ?? null;
}

function primaryProblems(primary: SiteStatus): readonly string[] {
  const { site, peers } = primary;
  const problems: string[] = [];
  if (!primary.serving) problems.push(`${site} is primary, but may not serve now`);
  if (primary.protection === 'solo' && peers.some((peer) => peer.mode === 'sync')) problems.push(`new writes are on ${site} alone`);
  for (const peer of peers) problems.push(...peerProblems(primary, peer));
  const { writers } = primary;
  if (writers?.state === 'slowed')
    problems.push(`hosts are slowed down to ${bytesText(writers.bytesPerSecond ?? 0)}/s for ${writers.for ?? 'a copy that lags'}`);
  for (const pair of primary.coverage) problems.push(...coverageProblems(primary, pair));
  if (primary.sidefileFullSeconds !== null && primary.sidefileFullSeconds < FILLING_SECONDS)
    problems.push(`the sidefile of ${site} is full in ${secondsText(primary.sidefileFullSeconds)} at this rate`);
  const { verify } = primary;
  if (!verify.running && verify.unmended > 0)
    problems.push(
      `${countText(verify.unmended, 'place')} of the copies differ or are damaged and were not mended: \`tercet verify ${primary.group} --last\` names them`,
    );
  const left = primary.agreement?.mayGoWithout ?? null;
  if (primary.witness.reachable === false)
    problems.push(
      left === null
        ? `the witness does not answer ${site}: no failover until it does`
        : `the witness does not answer ${site}: as was agreed ${site} goes on alone if ${left} is lost, and nobody takes over if ${site} is`,
    );
  return problems;
}

/** What is missing between mirrors that are both there: where one is away, that is said already. */
function coverageProblems(primary: SiteStatus, { from, to, state, why }: CoverageStatus): readonly string[] {
  const there = [from, to].every((site) => primary.peers.some((peer) => peer.site === site && follows(peer)));
  return state === 'not-ready' && there ? [`${from} could not bring ${to} up to date by delta: ${why ?? 'no reason known'}`] : [];
}

function peerProblems(primary: SiteStatus, peer: PeerStatus): readonly string[] {
  const why = peer.lastError === null ? '' : ` (${peer.lastError})`;
  if (peer.paused && peer.attached === 'no')
    return [`${peer.site} is paused by order: \`tercet resume ${primary.group} --site ${peer.site}\` ends that`];
  if (!peer.connected) return [`${peer.site} is not connected to ${primary.site}${why}`];
  if (peer.role === 'failed') return [`the copy at ${peer.site} has failed${why}`];
  switch (peer.attached) {
    case 'no':
      return [`${peer.site} is connected to ${primary.site} and does not follow${why}`];
    case 'joining':
      return [`${peer.site} is joining ${primary.site}${peer.resync === null ? '' : `, by ${peer.resync.rung} (${peer.resync.why})`}`];
    case 'copying':
      return [`${peer.site} ${rungText(peer)}${progressText(peer)}`];
    case 'following':
      return flagProblems(peer);
    default:
      return unreachable(peer.attached);
  }
}

function rungText(peer: PeerStatus): string {
  switch (peer.resync?.rung) {
    case 'delta':
      return 'receives the records that it lacked, by delta';
    case 'bitmap':
      return 'receives the blocks that its bitmap names';
    case 'scan':
      return `is compared block by block${peer.resync.algorithm === null ? '' : `, by ${peer.resync.algorithm}`}`;
    case 'copy':
    case undefined:
      return 'receives a whole copy';
  }
}

/** : 42 %, 3.0 MiB of 7.0 MiB, about 2 s left (why not by the rung above) */
function progressText({ resync }: PeerStatus): string {
  if (resync === null) return '';
  const { doneBytes, totalBytes, why } = resync;
  const share =
    totalBytes === 0 ? '' : `${Math.floor((100 * doneBytes) / totalBytes)} %, ${bytesText(doneBytes)} of ${bytesText(totalBytes)}, `;
  return `: ${share}${leftText(resync)} (${why})`;
}

/** When a resync will have ended, as far as that is known. */
export function leftText({ ending, secondsLeft }: ResyncStatus): string {
  if (ending) return 'everything was sent, it is being made to count';
  return secondsLeft === null ? 'time left not known yet' : `about ${secondsText(secondsLeft)} left`;
}

function flagProblems(peer: PeerStatus): readonly string[] {
  if (peer.mode === 'async' || peer.flag === 'true') return [];
  if (peer.resync !== null) return [`${peer.site} ${rungText(peer)}${progressText(peer)}`];
  return peer.flag === 'maybe' ? [`it is not known yet whether ${peer.site} may serve`] : [`${peer.site} follows, but may not serve yet`];
}

/** What a site says of itself, whoever is primary. */
function ownProblems(status: SiteStatus, primary: SiteStatus | null): readonly string[] {
  const { site, role } = status;
  const problems: string[] = [];
  if (role === 'failed') problems.push(`the copy at ${site} has failed: ${status.failure ?? 'no reason known'}`);
  else if (status.failure !== null) problems.push(`${site}: ${status.failure}`);
  if (role === 'starting' || role === 'claiming' || role === 'stopped') problems.push(`${site} is ${role}`);
  if (role === 'absent' && primary !== null && !isSeen(primary, site)) problems.push(`${site} has no copy yet`);
  if (role === 'standby' && primary !== null && !isSeen(primary, site)) problems.push(`${site} has a copy and follows nobody`);
  if (!status.consistent && role !== 'absent' && role !== 'starting')
    problems.push(`the copy at ${site} is inconsistent: it can serve nothing until it is whole`);
  const { reachable, provedAgeMillis: proved } = status.witness;
  const leftTo = status.agreement?.leftTo ?? null;
  const until = leftTo === null ? 'it does' : `${leftTo}, which it has left the right to go on alone, says that this is over`;
  if (reachable === false && role === 'mirror') problems.push(`the witness does not answer ${site}: no failover to it until ${until}`);
  if (reachable !== false && proved !== null && proved > limits.witnessProofMillisMax)
    problems.push(
      `the witness answers ${site}, and has written nothing for it for ${secondsText(proved / 1000)}: look at the disk of the witness`,
    );
  const without = status.sidefileIn === 'memory' ? 'came back without what it had in memory' : 'came back from a loss of power';
  if (status.unclean) problems.push(`${site} ${without} and has not caught up since`);
  if (status.heldRequests > 0 && !status.serving) problems.push(`${countText(status.heldRequests, 'request')} of hosts held at ${site}`);
  if (role !== 'absent') problems.push(...status.waiting.map((waiting) => waitingText(site, waiting)));
  return problems;
}

/** Whether the primary's own list already says what is wrong with a peer. */
function isSeen(primary: SiteStatus, site: string): boolean {
  return primary.peers.some((peer) => peer.site === site && peerProblems(primary, peer).length > 0);
}

function waitingText(site: string, { what, cause, deadlineMillis, next }: Waiting): string {
  const when = deadlineMillis === null ? 'then' : `in ${secondsText(Math.max(0, deadlineMillis) / 1000)}`;
  return `${site} waits ${what}: ${cause}; ${when}: ${next}`;
}

function stateText(primary: SiteStatus | null, statuses: readonly SiteStatus[]): string {
  if (primary !== null) {
    const does = primary.serving ? 'serves' : 'is primary';
    const parts = primary.peers.filter(follows).map(followText);
    const compares = primary.verify.running ? [verifyText(primary.verify)] : [];
    const kept = statuses.filter(({ sidefileIn }) => sidefileIn === 'memory').map(({ site }) => `${site} keeps its sidefile in memory`);
    return [`${primary.site} ${does} (epoch ${primary.epoch})`, ...parts, ...coverageTexts(primary), ...kept, ...compares].join(', ');
  }
  const other = followed(statuses);
  if (other !== null)
    return `${names(statuses.filter((status) => status.role === 'mirror'))} following ${other}, which cannot be asked from here`;
  return statuses.map((status) => `${status.site} is ${status.role}`).join(', ');
}

/** Which sync mirror could bring which other copy up to date if the primary were lost, and for how much longer. */
function coverageTexts(primary: SiteStatus): readonly string[] {
  const isSync = (site: string): boolean => primary.peers.some((peer) => peer.site === site && peer.mode === 'sync');
  return primary.coverage
    .filter(({ from, state }) => state === 'ready' && isSync(from))
    .map(({ from, to, slackBytes, slackSeconds }) => {
      const slack = [slackBytes === null ? null : bytesText(slackBytes), slackSeconds === null ? null : secondsText(slackSeconds)];
      return `${from} covers ${to} for ${slack.filter((part) => part !== null).join(' or ')} more`;
    });
}

/** comparing copies: 42 %, 120 MiB/s, 3 min left */
export function verifyText({ passedBytes, totalBytes, bytesPerSecond, etaSeconds, resting }: SiteStatus['verify']): string {
  const percent = totalBytes === 0 ? 100 : Math.floor((100 * passedBytes) / totalBytes);
  const left = etaSeconds === null ? '' : `, ${secondsText(etaSeconds)} left`;
  const rests = resting ? ', rests until its window' : '';
  return `comparing copies: ${percent} %, ${bytesText(bytesPerSecond)}/s${left}${rests}`;
}

function follows(peer: PeerStatus): boolean {
  return peer.connected && peer.attached === 'following';
}

function followText(peer: PeerStatus): string {
  if (peer.lagRecords === 0) return `${peer.site} in step`;
  if (peer.lagRecords === null) return `${peer.site} follows`;
  const lag = [peer.lagBytes === null ? null : bytesText(peer.lagBytes), peer.lagSeconds === null ? null : secondsText(peer.lagSeconds)];
  const known = lag.filter((part) => part !== null);
  const delta = peer.resync === null ? '' : `, by delta${progressText(peer)}`;
  return `${peer.site} ${countText(peer.lagRecords, 'record')}${known.length === 0 ? '' : ` (${known.join(', ')})`} behind${delta}`;
}
