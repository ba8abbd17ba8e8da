// What would happen if a site, or the witness, died at this moment: by the rules that decide it when it happens, from what the primary knows now.
// Says less rather than more: where two outcomes are possible, it names neither.

import type { Millis, SiteName } from '../base/units.ts';
import { CLAIM_STAGGER_MILLIS } from './standby.ts';
import type { PeerStatus, SiteSpec, SiteStatus, Timings } from './contract.ts';

/** One answer. */
export interface WhatIf {
  /** The site, or 'witness'. */
  readonly dies: string;
  /** Who serves afterwards, without anybody's help; null when nobody does, or it cannot be said. */
  readonly serves: SiteName | null;
  /** Records that hosts were told are safe and that would be gone; null when it cannot be said. 0 also when nobody serves, as long as they exist. */
  readonly lostRecords: number | null;
  /** For how long hosts wait, at most, by the configured times and with a witness that answers at once; null when nobody serves. */
  readonly pauseMillisMax: Millis | null;
  /** What protects new writes then. */
  readonly protection: 'mirrored' | 'solo' | null;
  /** One sentence. */
  readonly text: string;
  /** What an operator can do, and what that would cost; null when nothing has to be done. */
  readonly remedy: string | null;
}

/** What does not change with the state of the sites. */
export interface WhatIfGround {
  /** In order of preference. */
  readonly sites: readonly SiteSpec[];
  readonly timings: Timings;
}

/** Answers for each site of the group, in order, and for the witness. Empty at a site that is not primary: it does not know enough. */
export function whatIfs(status: SiteStatus, ground: WhatIfGround): readonly WhatIf[] {
  if (status.role !== 'primary') return [];
  const sites = ground.sites.map(({ name }) => (name === status.site ? primaryDies(status, ground) : peerDies(status, name, ground)));
  return [...sites, witnessDies(status, ground)];
}

/** Rule 3: whoever's flag may be true holds every acknowledged write. Rule 5: who is known true, here and clean may claim. */
function primaryDies(status: SiteStatus, ground: WhatIfGround): WhatIf {
  const { site, peers, witness } = status;
  const sync = peers.filter((peer) => peer.mode === 'sync' && peer.flag !== 'false' && peer.flag !== null);
  const heirs = sync.filter(mayInherit);
  const heir = heirs[0];
  const dies = { dies: site, serves: null, pauseMillisMax: null, protection: null } as const;
  if (heir === undefined) return nobodyInherits(status, sync);
  if (witness.reachable === false) {
    const right = status.agreement?.mayGoWithout === heir.site;
    const text = right
      ? `nobody serves until ${site} is back, because ${heir.site} has left it the right to go on alone; nothing that was acknowledged is lost`
      : `nobody serves until the witness answers; then ${heir.site} does, and nothing that was acknowledged is lost`;
    const byForce = `promote ${heir.site} by force, which loses what ${site} has taken alone, if it has`;
    const remedy = right ? `bring ${site} back, or ${byForce}` : 'bring the witness back';
    return { ...dies, lostRecords: 0, text, remedy };
  }
  if (sync.some((peer) => !mayInherit(peer))) {
    const text = 'a change of the flags is under way: who may serve then is known when it is done';
    return { ...dies, lostRecords: null, text, remedy: null };
  }
  const order = ground.sites.findIndex((spec) => spec.name === heir.site);
  const pauseMillisMax = ground.timings.leaseMillis + order * CLAIM_STAGGER_MILLIS + 2 * ground.timings.witnessRetryMillis;
  const protection = heirs.length > 1 ? 'mirrored' : 'solo';
  const text = `${heir.site} serves within ${seconds(pauseMillisMax)}; nothing that was acknowledged is lost; new writes are then ${protection === 'solo' ? `on ${heir.site} alone` : 'mirrored'}`;
  return { dies: site, serves: heir.site, lostRecords: 0, pauseMillisMax, protection, text, remedy: null };
}

function mayInherit(peer: PeerStatus): boolean {
  return peer.flag === 'true' && peer.connected && peer.attached === 'following';
}

function nobodyInherits(status: SiteStatus, maybe: readonly PeerStatus[]): WhatIf {
  const { site, peers } = status;
  const none = { dies: site, serves: null, pauseMillisMax: null, protection: null } as const;
  if (maybe.length > 0) {
    const text = `it cannot be said: ${maybe.map((peer) => peer.site).join(' and ')} may or may not be allowed to serve`;
    return { ...none, lostRecords: null, text, remedy: null };
  }
  const far = peers.filter((peer) => peer.attached === 'following' && peer.lagRecords !== null);
  const best = [...far].sort((a, b) => (a.lagRecords as number) - (b.lagRecords as number))[0];
  const text = `nobody serves: no other copy may, because each may lack writes that were acknowledged`;
  if (best === undefined) return { ...none, lostRecords: null, text, remedy: `bring ${site} back` };
  const lost = best.lagRecords as number;
  const lag =
    lost === 0
      ? 'nothing'
      : `${lost} record${lost === 1 ? '' : 's'}${best.lagSeconds === null ? '' : ` (${best.lagSeconds.toFixed(1)} s)`}`;
  return { ...none, lostRecords: lost, text, remedy: `bring ${site} back, or promote ${best.site} by force: that would lose ${lag}` };
}

/** Rule 4: a peer that must hold every write is excluded at the witness first. */
function peerDies(status: SiteStatus, name: SiteName, ground: WhatIfGround): WhatIf {
  const { site, peers, witness, serving } = status;
  const peer = peers.find((each) => each.site === name);
  const others = peers.filter((each) => each.site !== name && each.mode === 'sync' && each.flag === 'true');
  const protection = others.length > 0 ? 'mirrored' : 'solo';
  const required = peer !== undefined && peer.mode === 'sync' && (peer.flag === 'true' || peer.flag === 'maybe');
  const now = { dies: name, serves: serving ? site : null, lostRecords: 0 } as const;
  if (!required) {
    const text = `${site} goes on without a pause${peer?.mode === 'async' ? `; ${name} is behind until it is back` : ''}`;
    return { ...now, pauseMillisMax: 0, protection: status.protection === 'mirrored' ? 'mirrored' : 'solo', text, remedy: null };
  }
  if (witness.reachable === false && status.agreement?.mayGoWithout !== name) {
    const text = `hosts wait until the witness or ${name} is back: ${site} may not go on alone without having said so there`;
    return {
      dies: name,
      serves: null,
      lostRecords: 0,
      pauseMillisMax: null,
      protection: null,
      text,
      remedy: `bring the witness or ${name} back`,
    };
  }
  const pauseMillisMax = ground.timings.peerTimeoutMillis + ground.timings.heartbeatMillis + 2 * ground.timings.witnessRetryMillis;
  const alone = protection === 'solo' ? `on ${site} alone until ${name} is back` : 'mirrored';
  const text = `${site} goes on after at most ${seconds(pauseMillisMax)}; new writes are then ${alone}`;
  return { ...now, pauseMillisMax, protection, text, remedy: null };
}

/** Rule 10. */
function witnessDies(status: SiteStatus, ground: WhatIfGround): WhatIf {
  const { site, serving } = status;
  const mirrored = ground.sites.some((spec) => spec.name !== site && spec.mode === 'sync');
  const without =
    status.agreement === null || ground.sites.filter((spec) => spec.mode === 'sync').length > 2
      ? 'hosts wait if a copy that must hold every write dies'
      : `${site} goes on without its mirror as soon as they have agreed on that`;
  const text = mirrored
    ? `${site} goes on without a pause; until the witness is back nobody takes over if ${site} dies, and ${without}`
    : `${site} goes on without a pause`;
  const protection = status.protection === 'mirrored' ? 'mirrored' : status.protection === 'solo' ? 'solo' : null;
  return { dies: 'witness', serves: serving ? site : null, lostRecords: 0, pauseMillisMax: 0, protection, text, remedy: null };
}

function seconds(millis: Millis): string {
  return `${(millis / 1000).toFixed(1)} s`;
}
