// Ending a daemon by order. A signal cannot be refused; an order can, and is where the copy here is the last one that may serve.

import type { OrderOutcome, SiteStatus } from '../core/site/contract.ts';

/** Why a site is the last of a group whose copy is in step, as far as it knows; null when another one could go on. */
export function whyLast(status: SiteStatus): string | null {
  const { site, group, role, witness, peers, knownPrimary } = status;
  const own = witness.view?.copies.find((copy) => copy.site === site);
  switch (role) {
    case 'primary': {
      const heir = peers.some((peer) => peer.mode === 'sync' && peer.connected && peer.attached === 'following' && peer.flag === 'true');
      if (!heir) return `${site} is the primary of ${group}, and no other sync copy is in step`;
      if (witness.reachable === true && witness.trouble === null) return null;
      return `${site} is the primary of ${group}, and nobody could take over without the witness`;
    }
    case 'mirror':
    case 'joining':
      // The primary goes on; that one refuses to stop in its turn.
      return peers.some((peer) => peer.site === knownPrimary && peer.connected)
        ? null
        : `the primary of ${group} is not connected to ${site}`;
    case 'standby':
    case 'claiming':
      if (own === undefined) return `${site} holds a copy of ${group}, and has not heard from the witness whether another one may serve`;
      if (own.mode === 'async' || !own.flag) return null;
      return `nobody serves ${group}, and the copy of ${site} may be the one that has to`;
    case 'starting':
      return `${site} has not opened its copy of ${group} yet`;
    case 'absent':
    case 'failed':
    case 'stopped':
      return null;
  }
}

/** What becomes of an order to stop. */
export function stopOutcome(statuses: readonly SiteStatus[], force: boolean): OrderOutcome {
  const last = statuses.map(whyLast).filter((why) => why !== null);
  if (last.length > 0 && !force)
    return {
      kind: 'refused',
      text: last.join('; '),
      remedy: 'wait until another copy is in step (`tercet status`), or add --force: hosts are then without their volumes until it is back',
    };
  const serving = statuses.filter((status) => status.serving).map((status) => status.group);
  const pause = serving.length === 0 ? '' : `; another site takes over ${serving.join(', ')} when its promise has run out`;
  return { kind: 'done', text: `the daemon is stopping${last.length > 0 ? '' : pause}` };
}
