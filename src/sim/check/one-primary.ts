// Safety rule 1. At most one site could answer a host at any moment; it reigns in an epoch that began after its own start; and a host is answered
// only by the primary that the witness names, in its epoch.

import type { Epoch, SiteName } from '../../core/base/units.ts';
import type { Rule, SeenSite } from './observe.ts';

/** The oracle of rule 1. */
export function onePrimary(): Rule {
  /** Epoch that each site knew when it started: it may not serve in it, nor in an older one. */
  const startedAt = new Map<SiteName, Epoch | null>();
  /** The witness that each site has last noted as the one that it believes. */
  const believes = new Map<SiteName, string | null>();
  return {
    name: '1 one primary',
    started: (_scene, site) => {
      startedAt.set(site.name, null);
    },
    afterEvent: (scene, site) => {
      if (site.inside !== null) believes.set(site.name, site.inside.believes);
      if (startedAt.get(site.name) === null && site.inside !== null) startedAt.set(site.name, site.inside.epoch);
      if (!site.serving || scene.forced) return;
      const serving = scene.sites.filter((other) => mayAnswer(other));
      if (serving.length > 1) {
        scene.world.fail(
          '1 one primary',
          `${serving.map((other) => `${other.name} (epoch ${other.inside?.epoch})`).join(' and ')} serve at one time`,
        );
      }
      const before = startedAt.get(site.name) ?? null;
      if (before !== null && site.inside !== null && site.inside.epoch <= before) {
        scene.world.fail('1 one primary', `${site.name} serves in epoch ${site.inside.epoch}, which it knew when it started`);
      }
    },
    answering: (scene, site, operation, error) => {
      if (error !== 0 || scene.forced) return;
      const { witness } = scene;
      const epoch = site.inside?.epoch ?? null;
      // Whoever was granted an epoch and has turned to another witness since, durably, never begins it.
      const named = witness?.primary ?? null;
      const isVoid = named !== null && named !== site.name && (believes.get(named) ?? null) !== witness?.instance;
      if ((witness?.primary !== site.name || witness.epoch !== epoch) && !isVoid) {
        scene.world.fail(
          '1 one primary',
          `${site.name} answers a ${operation.command} in epoch ${epoch}, the witness says epoch ${witness?.epoch} with ${witness?.primary}`,
        );
      }
      if (!mayAnswer(site))
        scene.world.fail('1 one primary', `${site.name} answers a ${operation.command} although it may not serve now (${site.role})`);
    },
  };
}

/** Whether a site would answer a host if it were asked at this very moment. A frozen one would not: it looks at its lease first. */
function mayAnswer(site: SeenSite): boolean {
  return !site.machine.frozen && site.machine.site?.serving === true;
}
