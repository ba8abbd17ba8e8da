// The acknowledgement loop: what a mirror was told that another copy holds on stable storage, that copy had there; and what the primary believes
// a mirror to know, it knows. A mirror drops records on the strength of the first.

import { epochOf } from '../../core/base/position.ts';
import type { SiteName } from '../../core/base/units.ts';
import type { Rule, Scene, SeenSite } from './observe.ts';

/** The oracle of the loop. */
export function held(): Rule {
  const startedAt = new Map<SiteName, number>();
  /** The most that each mirror's process was ever told of each copy in its epoch: what it was told may fall, and its confirmation is then on its way. */
  const everTold = new Map<SiteName, { epoch: number; copies: Map<SiteName, number> }>();
  return {
    name: '10 held',
    started: (scene, site) => {
      startedAt.set(site.name, scene.world.now);
      everTold.delete(site.name);
    },
    afterEvent: (scene, site) => {
      const { inside } = site;
      if (inside === null) return;
      if (inside.attached) {
        checkTold(scene, site);
        let ever = everTold.get(site.name);
        if (ever?.epoch !== inside.epoch) everTold.set(site.name, (ever = { epoch: inside.epoch, copies: new Map() }));
        for (const [of, durable] of inside.told) ever.copies.set(of, Math.max(durable, ever.copies.get(of) ?? 0));
      }
      for (const { mirror, of, durable } of inside.believed) {
        const known = scene.sites.find((other) => other.name === mirror);
        // What it has confirmed it still knows, while its process lives and follows in this epoch.
        if (known?.inside?.attached !== true || known.inside.epoch !== inside.epoch) continue;
        const told = everTold.get(mirror)?.copies.get(of) ?? 0;
        if (told >= durable) continue;
        const since = scene.connectedSince(site.name, mirror);
        // Until the primary hears that the process is another one it believes what the one before had confirmed.
        if (since === null || since < (startedAt.get(mirror) ?? 0)) continue;
        scene.world.fail('10 held', `${site.name} believes that ${mirror} knows ${of} to hold record ${durable}; it knows ${told}`);
      }
    },
  };
}

function checkTold(scene: Scene, site: SeenSite): void {
  const inside = site.inside as NonNullable<SeenSite['inside']>;
  for (const [name, durable] of inside.told) {
    const other = scene.sites.find((candidate) => candidate.name === name);
    if (other === undefined || durable === 0 || other.harmed || scene.forced) continue;
    const epoch = epochOf(inside.history, durable);
    // Where this copy's history does not reach back to the record, nothing can be compared.
    if (epoch === 0) continue;
    const ever = Math.max(0, ...[...other.everDurable].filter(([each]) => each >= epoch).map(([, seq]) => seq));
    if (ever < durable)
      scene.world.fail(
        '10 held',
        `${site.name} was told that ${name} has record ${durable} on its disk, which never had more than ${ever}`,
      );
  }
}
