// A planned change of the primary. When the witness gives the reign from one site to another, the giver answers nobody any more, the taker holds
// everything that hosts were told of, on its disk too, and both flags stay true. The taker requires the giver from its first write: rule 3 sees.

import { flagOf, type Rule } from './observe.ts';

const RULE = 'handover';

/** The oracle of the handover. */
export function handover(): Rule {
  return {
    name: RULE,
    witnessStep: (scene, { operation, before, after, reply }) => {
      if (scene.forced || reply.outcome !== 'done' || operation.kind !== 'handover' || after === null || after.epoch === before?.epoch)
        return;
      const { world, truth, sites } = scene;
      const giver = sites.find((site) => site.name === operation.from);
      const taker = sites.find((site) => site.name === operation.to);
      if (giver === undefined || taker === undefined) return;
      if (giver.machine.site?.serving === true)
        world.fail(RULE, `${giver.name} would still answer hosts when epoch ${after.epoch} is given to ${taker.name}`);
      for (const site of [giver, taker]) if (!flagOf(after, site.name)) world.fail(RULE, `the flag of ${site.name} fell in a handover`);
      const lacking = truth.firstLacking(taker.held);
      if (lacking !== null && !taker.harmed)
        world.fail(RULE, `${taker.name} is given the reign without record (${lacking.epoch}, ${lacking.seq}), which hosts were told of`);
      // What the giver has not lost since it asked, the taker has on its disk.
      const undurable = truth.firstLacking(taker.durable);
      if (undurable !== null && !taker.harmed && taker.machine.site !== null && taker.inside?.epoch === operation.epoch)
        world.fail(RULE, `${taker.name} is given the reign with record (${undurable.epoch}, ${undurable.seq}) not on its disk`);
    },
    answering: (scene, site, operation, error) => {
      if (error !== 0 || scene.forced) return;
      const status = site.machine.site?.status();
      if (
        status?.waiting.some((waiting) => waiting.cause.startsWith('the reign is being handed over') && waiting.what === 'to answer hosts')
      ) {
        const asked = status.waiting.some((waiting) => /\((offered|asked)\)/.test(waiting.cause));
        if (asked) scene.world.fail(RULE, `${site.name} answers a ${operation.command} after it has stopped for a handover`);
      }
    },
  };
}
