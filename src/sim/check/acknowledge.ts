// Safety rule 3, looked at from outside at the moment a host is answered: whichever copy the witness calls true holds the record, a second
// failure domain has it, what is promised to be durable is durable there, and a read shows nothing that could still be lost.

import { epochOf } from '../../core/base/position.ts';
import type { Epoch, Seq } from '../../core/base/units.ts';
import type { HostOperation } from '../host.ts';
import { holds, type Rule, type Scene, type SeenSite, trueSyncPeers } from './observe.ts';

/** The oracle of rule 3. */
export function acknowledge(): Rule {
  const seen = new Map<string, Seq>();
  return {
    name: '3 acknowledge',
    afterEvent: (scene, site) => {
      if (site.role !== 'primary' || site.inside === null || scene.forced) return;
      const { committed } = site.inside.marks;
      // Only what has just become committed: what was so before is judged as of then, whatever the peers have lost meanwhile.
      const life = `${site.name} ${site.machine.life}`;
      const before = seen.get(life);
      seen.set(life, Math.max(committed, before ?? 0));
      if (before === undefined || committed <= before) return;
      const epoch = epochOf(site.inside.history, committed);
      const reign = scene.truth.reign(epoch);
      if (epoch === 0 || committed <= reign.committed) return;
      reign.committed = committed;
      checkHeld(scene, site, epoch, committed, 'takes for committed');
    },
    answering: (scene, site, operation, error, data) => {
      if (error !== 0 || site.inside === null || scene.forced) return;
      const { epoch } = site.inside;
      if (operation.write !== null) {
        const place = scene.truth.places.get(operation.number);
        if (place === undefined) return;
        checkHeld(scene, site, place.epoch, place.seq, `answers write ${operation.number}`);
        if (operation.fua) checkDurable(scene, site, epoch, place.seq, `answers write ${operation.number} with FUA`);
      } else if (operation.command === 'read' && data !== null) {
        for (const tag of tagsOf(data, scene, operation)) {
          const place = scene.truth.places.get(tag);
          if (place === undefined) continue;
          const reign = scene.truth.reign(place.epoch);
          // What hosts have been told or shown before is no news, whatever has failed since.
          if (place.seq <= Math.max(reign.acknowledged, reign.committed)) continue;
          checkHeld(scene, site, place.epoch, place.seq, `shows write ${tag} to read ${operation.number}`);
        }
      } else if (operation.command === 'flush') {
        const before = operation.flushTo;
        if (before !== null) checkDurable(scene, site, before.epoch, before.seq, `answers flush ${operation.number}`);
      }
    },
  };
}

function checkHeld(scene: Scene, site: SeenSite, epoch: Epoch, seq: Seq, what: string): void {
  const peers = trueSyncPeers(scene, site.name);
  for (const peer of peers) {
    if (holds(peer.held, epoch, seq)) continue;
    // It told this site before it lost power, and this site cannot have heard of that yet; or both have it on disk from before.
    const since = scene.connectedSince(site.name, peer.name);
    const told = (peer.everHeld.get(epoch) ?? 0) >= seq && since !== null && since < peer.lostAt;
    if (!told && !peer.harmed) {
      scene.world.fail(
        '3 acknowledge',
        `${site.name} ${what} record (${epoch}, ${seq}), which ${peer.name} lacks although its flag is true`,
      );
    }
  }
  if (peers.length > 0 || holds(site.durable, epoch, seq)) return;
  // A copy that has just given itself up had said that it holds the record; until the primary hears of that it counts.
  if (scene.sites.some((peer) => peer !== site && hasJustResigned(scene, site, peer) && (peer.everHeld.get(epoch) ?? 0) >= seq)) return;
  scene.world.fail('3 acknowledge', `${site.name} ${what} record (${epoch}, ${seq}) alone and before it is on its disk`);
}

function hasJustResigned(scene: Scene, site: SeenSite, peer: SeenSite): boolean {
  const since = scene.connectedSince(site.name, peer.name);
  return peer.resignedAt !== Infinity && since !== null && since < peer.resignedAt;
}

function checkDurable(scene: Scene, site: SeenSite, epoch: Epoch, seq: Seq, what: string): void {
  if (seq === 0) return;
  if (!holds(site.durable, epoch, seq))
    scene.world.fail('R7 flush', `${site.name} ${what}: record (${epoch}, ${seq}) is not on its own disk`);
  for (const peer of trueSyncPeers(scene, site.name)) {
    if (holds(peer.durable, epoch, seq) || (peer.everDurable.get(epoch) ?? 0) >= seq || peer.harmed) continue;
    scene.world.fail('R7 flush', `${site.name} ${what}: record (${epoch}, ${seq}) is not on the disk of ${peer.name}, whose flag is true`);
  }
}

function tagsOf(data: Uint8Array, scene: Scene, operation: HostOperation): ReadonlySet<number> {
  const tags = new Set<number>();
  const unitBytes = operation.request.length / Math.max(1, operation.toUnit - operation.fromUnit);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < data.length; at += unitBytes) tags.add(view.getUint32(at, true));
  tags.delete(0);
  if (tags.size > 1000) scene.world.fail('R5 contents', 'a read has more different contents than it has units');
  return tags;
}
