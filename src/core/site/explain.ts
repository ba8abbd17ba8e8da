// Why this site may or may not serve now, in sentences for whoever has to act: computed from the same state that decides.

import type { Millis } from '../base/units.ts';
import type { Inspected } from './status.ts';
import { siteStatus } from './status.ts';
import type { PeerStatus, SiteStatus, Waiting } from './contract.ts';

export function explainSite(inside: Inspected): readonly string[] {
  const status = siteStatus(inside);
  const now = inside.options.clock.now();
  return [
    mainSentence(inside, status),
    ...status.waiting.map((waiting) => waitingSentence(status, waiting, now)),
    ...witnessSentences(status),
    ...agreementSentences(status),
    ...(status.role === 'primary' ? primarySentences(status) : heirSentences(inside, status, now)),
  ];
}

function seconds(millis: Millis): string {
  return `${(Math.max(0, millis) / 1000).toFixed(1)} s`;
}

function mainSentence(inside: Inspected, status: SiteStatus): string {
  const { site, role, epoch } = status;
  switch (role) {
    case 'primary':
      return status.serving
        ? `${site} serves hosts: it is the primary of epoch ${epoch}${leaseText(status)}.`
        : `${site} is the primary of epoch ${epoch}, but may not answer hosts at this moment.`;
    case 'mirror':
      return `${site} does not serve: it follows ${status.knownPrimary ?? 'the primary'}, in epoch ${epoch}.`;
    case 'joining':
      return `${site} does not serve: it is being made equal to ${status.knownPrimary ?? 'the primary'}, to follow it.`;
    case 'standby':
      return `${site} does not serve: it has a copy up to record ${status.marks?.received ?? 0}, and follows nobody.`;
    case 'claiming':
      return `${site} does not serve yet: it has asked the witness to become primary.`;
    case 'starting':
      return `${site} does not serve: it is opening its copy.`;
    case 'absent':
      return `${site} does not serve: it has no copy of ${status.group} yet.`;
    case 'failed':
      return `${site} does not serve and never will with this copy: ${inside.failure ?? 'it has failed'}.`;
    case 'stopped':
      return `${site} does not serve: it is stopping.`;
  }
}

function leaseText(status: SiteStatus): string {
  const required = status.peers.filter((peer) => peer.mode === 'sync' && peer.flag !== 'false');
  const without = status.agreement?.wentWithout ?? null;
  if (without !== null) return `, and ${without}, without which it went on, has left it the right to`;
  if (required.length === 0) return ', and no other sync copy may claim, because all their flags are false';
  const promises = required.map((peer) => `${peer.site} has promised not to claim for another ${seconds(peer.leaseMillis ?? 0)}`);
  return `, and ${promises.join(', ')}`;
}

function waitingSentence(status: SiteStatus, waiting: Waiting, now: Millis): string {
  const until = waiting.deadlineMillis === null ? '' : `, in ${seconds(waiting.deadlineMillis - now)} at the latest`;
  return `${status.site} waits ${waiting.what}: ${waiting.cause}. What comes next${until}: ${waiting.next}.`;
}

function witnessSentences({ site, witness }: SiteStatus): readonly string[] {
  const { view, reachable, ageMillis, provedAgeMillis } = witness;
  if (view === null) return [`The witness has told ${site} nothing yet${reachable === false ? ' and does not answer' : ''}.`];
  const flags = view.copies.map((copy) => `${copy.site} ${copy.flag ? 'true' : 'false'}`).join(', ');
  const silent = reachable === false ? ' It does not answer now.' : '';
  const proved =
    provedAgeMillis === null
      ? `${site} has not had it write yet.`
      : `It last wrote for ${site}, to its disk, ${seconds(provedAgeMillis)} ago.`;
  return [
    `The witness, ${seconds(ageMillis ?? 0)} ago: epoch ${view.epoch}, primary ${view.primary ?? 'nobody'}, flags ${flags} (revision ${view.revision}). ${proved}${silent}`,
  ];
}

function agreementSentences({ site, agreement }: SiteStatus): readonly string[] {
  const sentences: string[] = [];
  const { mayGoWithout, wentWithout, leftTo } = agreement ?? { mayGoWithout: null, wentWithout: null, leftTo: null };
  if (mayGoWithout !== null) sentences.push(`${mayGoWithout} has left ${site} the right to go on without it while the witness is lost.`);
  if (wentWithout !== null) sentences.push(`${site} went on without ${wentWithout}, as was agreed; the witness has not heard of it yet.`);
  if (leftTo !== null)
    sentences.push(`${site} does not claim, because it has left ${leftTo} the right to go on alone, and ${leftTo} may have done so.`);
  return sentences;
}

function primarySentences(status: SiteStatus): readonly string[] {
  const sentences: string[] = [];
  if (status.protection === 'mirrored') sentences.push('A write is answered when every sync copy in step holds it.');
  else if (status.protection === 'solo')
    sentences.push(`A write is answered when the disk of ${status.site} has it: it is the only copy in step.`);
  else if (status.protection === 'changing')
    sentences.push(
      'A write is answered when the own disk has it and every copy whose flag may be true holds it: the set of copies is changing.',
    );
  for (const peer of status.peers) sentences.push(peerSentence(peer, status));
  return sentences;
}

function peerSentence(peer: PeerStatus, status: SiteStatus): string {
  const lag = peer.lagRecords === null || peer.lagRecords === 0 ? 'has everything' : `is ${peer.lagRecords} records behind`;
  if (peer.mode === 'async') {
    const able = peer.flag === 'true' ? 'could be promoted by hand' : 'is not known to be consistent';
    return peer.attached === 'following'
      ? `${peer.site} (async) ${lag} and ${able}.`
      : `${peer.site} (async) does not follow: ${whyAway(peer)}.`;
  }
  if (peer.attached !== 'following') {
    const could = peer.flag === 'false' ? 'it may not take over, its flag is false' : 'its flag may be true';
    return `${peer.site} does not follow (${whyAway(peer)}): ${could}.`;
  }
  const { mayGoWithout = null, wentWithout = null } = status.agreement ?? {};
  if (peer.site === mayGoWithout)
    return `${peer.site} ${lag}; when ${status.site} is lost it waits for it, because it has left it the right to go on alone.`;
  if (peer.site === wentWithout)
    return `${peer.site} ${lag}, and is not relied on until the witness has heard that ${status.site} went on without it.`;
  if (peer.flag === 'true') return `${peer.site} ${lag} and may take over when ${status.site} is lost.`;
  return `${peer.site} ${lag}, and is not relied on yet: it is being admitted.`;
}

function whyAway(peer: PeerStatus): string {
  if (!peer.connected) return peer.lastError ?? 'not connected';
  return peer.attached === 'no' ? (peer.lastError ?? 'connected, and not asking to follow') : peer.attached;
}

/** What would become of this site if the primary were lost now. */
function heirSentences(inside: Inspected, status: SiteStatus, now: Millis): readonly string[] {
  // What it has left another site is said already.
  if ((status.role !== 'mirror' && status.role !== 'joining') || (status.agreement?.leftTo ?? null) !== null) return [];
  const flag = status.witness.view?.copies.find((copy) => copy.site === status.site)?.flag;
  if (inside.members.ownMode === 'async')
    return [
      `If the primary is lost, ${status.site} does not take over by itself, because it is async: \`tercet promote --force\` makes it serve with what it has.`,
    ];
  if (!status.consistent) return [`${status.site} cannot take over: its copy is inconsistent until the whole copy to it has ended.`];
  if (status.unclean)
    return [`${status.site} would take over only if no clean copy can: it is unclean after a power loss until it has caught up.`];
  if (flag !== true)
    return [`${status.site} may not take over: its flag was ${flag === false ? 'false' : 'not known'} when the witness was last asked.`];
  return [
    `If the primary is lost, ${status.site} may take over when its promise has run out, in ${seconds(inside.promisedUntil - now)}: its flag is true and its copy clean.`,
  ];
}
