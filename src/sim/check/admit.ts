// Safety rule 8. A copy's flag becomes true only when it holds everything hosts were told of, is clean and consistent, and when the primary waits
// for it already.

import { flagOf, holds, type Rule } from './observe.ts';

/** The oracle of rule 8. */
export function admit(): Rule {
  return {
    name: '8 admit',
    witnessStep: (scene, { operation, before, reply, askedAt }) => {
      if (
        scene.forced ||
        reply.outcome !== 'done' ||
        reply.repeated === true ||
        operation.kind !== 'admit' ||
        flagOf(before, operation.site)
      )
        return;
      const primary = scene.sites.find((candidate) => candidate.name === operation.from);
      const site = scene.sites.find((candidate) => candidate.name === operation.site);
      if (primary === undefined || site === undefined || site.mode === 'async') return;
      if (primary.inside?.epoch === operation.epoch && primary.inside.flagView(site.name) === 'false') {
        scene.world.fail('8 admit', `${primary.name} has ${site.name} admitted without waiting for it`);
      }
      // What it lost in a power loss of this very moment it had when the primary asked; the rules then call it unclean.
      const lacking = scene.truth.firstLacking(site.held);
      const everHeld = lacking === null || (site.everHeld.get(lacking.epoch) ?? 0) >= lacking.seq;
      if (!everHeld && !site.harmed) {
        scene.world.fail('8 admit', `${site.name} is admitted without record (${lacking.epoch}, ${lacking.seq}), which hosts were told of`);
      }
      for (const reign of scene.truth.reigns.values()) {
        const durable = Math.max(site.durable.upTo, site.everDurable.get(reign.epoch) ?? 0);
        if (reign.flushed === 0 || site.harmed || holds({ history: site.held.history, upTo: durable }, reign.epoch, reign.flushed))
          continue;
        scene.world.fail(
          '8 admit',
          `${site.name} is admitted before record (${reign.epoch}, ${reign.flushed}), which a flush has covered, is on its disk`,
        );
      }
      // A power loss after the question was put makes it unclean again, and so does one that the primary cannot know of yet, because its connection
      // is from before and only silent, or has ended meanwhile: rule 6 keeps such a copy from claiming.
      const since = scene.connectedSince(primary.name, site.name);
      const unknown = since === null || since < site.lostAt;
      if (site.inside?.unclean === true && askedAt > site.lostAt && !unknown) {
        scene.world.fail('8 admit', `${site.name} is admitted although it is unclean`);
      }
    },
  };
}
