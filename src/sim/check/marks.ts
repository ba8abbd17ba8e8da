// The order of a replica's marks (section 2.2 and 2.7), and what they may do over time: an epoch never falls, and what was durable or held is
// still there after a restart, unless the disk itself was harmed.

import type { Epoch, SiteName } from '../../core/base/units.ts';
import { endOf, holds, type Holding, type Rule, type Scene, type SeenSite } from './observe.ts';

/** The oracle of marks and restarts. */
export function marks(): Rule {
  const epochs = new Map<SiteName, Epoch>();
  /** What a site must hold when it has opened its replica again. */
  const owed = new Map<SiteName, Holding>();
  return {
    name: 'C1 durable',
    ended: (_scene, site, kind) => {
      // A crash loses nothing, a power loss nothing that was durable; `held` and `durable` were left as they were.
      owed.set(site.name, kind === 'crash' ? site.held : site.durable);
    },
    afterEvent: (scene, site) => {
      const { inside } = site;
      if (inside === null) return;
      checkOrder(scene, site);
      const before = epochs.get(site.name) ?? 0;
      if (inside.epoch < before && !site.harmed)
        scene.world.fail('W5 epochs', `${site.name} falls back from epoch ${before} to ${inside.epoch}`);
      epochs.set(site.name, inside.durableEpoch);
      const debt = owed.get(site.name);
      owed.delete(site.name);
      if (debt === undefined || site.harmed || scene.forced || !inside.consistent) return;
      const { epoch, seq } = endOf(debt);
      // A cut that was under way when the process ended may have become durable: it is part of adopting a newer epoch.
      if (seq === 0 || inside.epoch > (debt.history[debt.history.length - 1]?.epoch ?? 0)) return;
      if (!holds({ history: inside.history, upTo: inside.marks.received }, epoch, seq)) {
        scene.world.fail(
          'C1 durable',
          `${site.name} has lost record (${epoch}, ${seq}) in a restart; it holds up to ${inside.marks.received}`,
        );
      }
    },
  };
}

function checkOrder(scene: Scene, site: SeenSite): void {
  const { marks: m } = site.inside as NonNullable<SeenSite['inside']>;
  const right =
    m.oldest - 1 <= m.destaged &&
    m.destaged <= m.destageTarget &&
    m.destaged <= m.committed &&
    m.committed <= m.received &&
    m.durable <= m.received;
  if (!right) scene.world.fail('marks', `${site.name}: the marks are out of order: ${JSON.stringify(m)}`);
}
