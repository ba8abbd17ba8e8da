// Safety rule 12: what a site says of itself is what is so. 'mirrored' is said only while a sync peer's flag is true and waited for, 'solo' only
// while all are false; a lag is never told smaller than it is; every waiting state has a cause and a next step.

import type { SiteStatus } from '../../core/site/contract.ts';
import { flagOf, type Rule, type Scene, type SeenSite } from './observe.ts';

/** Events of one site between two looks at its status. */
const SAMPLE_EVENTS = 41;

/** The oracle of rule 12. */
export function honest(): Rule {
  const events = new Map<string, number>();
  return {
    name: '12 honest',
    afterEvent: (scene, site) => {
      const count = (events.get(site.name) ?? 0) + 1;
      events.set(site.name, count);
      if (count % SAMPLE_EVENTS !== 0 || site.machine.site === null || site.machine.frozen) return;
      const { calls } = site.machine.gate;
      const status = site.machine.site.status();
      if (site.machine.gate.calls !== calls) scene.world.fail('12 honest', `${site.name} acts when it is only asked for its status`);
      checkProtection(scene, site, status);
      checkLag(scene, site, status);
      for (const waiting of status.waiting) {
        if (waiting.cause === '' || waiting.next === '')
          scene.world.fail('12 honest', `${site.name} waits for "${waiting.what}" without a cause or a next step`);
      }
    },
  };
}

function checkProtection(scene: Scene, site: SeenSite, status: SiteStatus): void {
  // Of a group that was deleted by force a primary that lives hears later: until then it tells what it knows.
  if (scene.forced || scene.witness?.deleted === true) return;
  const peers = scene.sites.filter((other) => other.name !== site.name && other.mode === 'sync');
  const anyTrue = peers.some((peer) => flagOf(scene.witness, peer.name));
  const seenTrue = peers.some((peer) => status.witness.view?.copies.some((copy) => copy.site === peer.name && copy.flag) === true);
  // A copy may resign by itself: until the primary has heard of it, it is no lie to rely on it. One that has turned to a new witness sees no flags.
  const mayHaveSeen = seenTrue || status.witness.view === null;
  const trueAsKnown = anyTrue || (mayHaveSeen && peers.some((peer) => peer.resignedAt !== Infinity));
  if (status.serving !== site.serving) scene.world.fail('12 honest', `${site.name} says serving ${status.serving}, and that is not so`);
  if (status.protection === 'mirrored' && (!status.serving || !trueAsKnown)) {
    scene.world.fail('12 honest', `${site.name} says it is mirrored, but no sync peer's flag is true`);
  }
  if (status.protection === 'solo' && anyTrue)
    scene.world.fail('12 honest', `${site.name} says it is solo, but a sync peer's flag is true`);
  if (!status.serving && status.protection !== null)
    scene.world.fail('12 honest', `${site.name} says how writes are protected, and serves none`);
}

function checkLag(scene: Scene, site: SeenSite, status: SiteStatus): void {
  for (const said of status.peers) {
    const peer = scene.sites.find((other) => other.name === said.site);
    if (said.attached !== 'following' && said.lagRecords !== null)
      scene.world.fail('12 honest', `${site.name} says ${said.site} lacks ${said.lagRecords} records, and it does not follow`);
    if (said.attached !== 'following' || said.lagRecords === null || peer === undefined || peer.inside === null || site.inside === null)
      continue;
    if (peer.inside.epoch !== site.inside.epoch) continue;
    const since = scene.connectedSince(site.name, peer.name);
    if (since === null || since < peer.lostAt) continue;
    const lag = site.inside.marks.received - peer.inside.marks.received;
    if (said.lagRecords < lag)
      scene.world.fail('12 honest', `${site.name} says ${peer.name} lacks ${said.lagRecords} records, it lacks ${lag}`);
  }
}
