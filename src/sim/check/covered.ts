// Coverage as it is shown: a pair of mirrors that the primary calls ready is covered, but for the moments that news takes to travel.

import type { Rule, Scene, SeenSite } from './observe.ts';

/** For how long the primary may not know yet that a mirror has dropped records. */
const NEWS_MILLIS = 6000;

/** The oracle of what is shown as coverage. */
export function covered(): Rule {
  const uncoveredSince = new Map<string, number>();
  return {
    name: '14 coverage',
    afterEvent: (scene, site) => {
      for (const other of scene.sites) {
        if (other === site) continue;
        look(scene, { from: site, to: other }, uncoveredSince);
        look(scene, { from: other, to: site }, uncoveredSince);
      }
    },
  };
}

function look(scene: Scene, { from, to }: { from: SeenSite; to: SeenSite }, uncoveredSince: Map<string, number>): void {
  const key = `${from.name} ${to.name}`;
  const ahead = from.inside;
  // What the other one has on its disk it has there also while it is away; a new disk is news of its own.
  const uncovered = ahead?.attached === true && !to.harmed && ahead.marks.oldest > to.durable.upTo + 1;
  if (!uncovered) {
    uncoveredSince.delete(key);
    return;
  }
  const { now } = scene.world;
  if (!uncoveredSince.has(key)) uncoveredSince.set(key, now);
  const primary = scene.sites.find((site) => site.serving && site.inside?.epoch === ahead.epoch);
  if (primary === undefined || primary === to) return;
  // A sidefile in memory may be lost in the middle of destaging: that is news which the copy itself brings.
  const ownNews = to.inside?.inMemory === true ? (scene.connectedSince(primary.name, to.name) ?? now) : 0;
  const heardSince = Math.max(
    ownNews,
    uncoveredSince.get(key) ?? now,
    primary.machine.thawedAt,
    from.machine.thawedAt,
    scene.connectedSince(primary.name, from.name) ?? now,
  );
  if (now - heardSince < NEWS_MILLIS || primary.machine.frozen || from.machine.frozen) return;
  scene.reached('a mirror that does not cover another one, and the primary knows');
  const pair = primary.machine.site?.status().coverage.find((each) => each.from === from.name && each.to === to.name);
  if (pair?.state === 'ready')
    scene.world.fail(
      '14 coverage',
      `${primary.name} says that ${from.name} covers ${to.name}, whose records end at ${to.durable.upTo}; its sidefile begins at ${ahead.marks.oldest}`,
    );
}
