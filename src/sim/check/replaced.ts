// A witness that was replaced begins with what is so: whoever serves is the primary that it names; no copy may serve alone that lacks what hosts
// were told of, and some copy has it all. And the old one decides nothing any more.

import type { Rule, SeenSite } from './observe.ts';

const RULE = 'W8 replaced';

/** The oracle of the replacement of a witness. */
export function replaced(): Rule {
  return {
    name: RULE,
    witnessStep: (scene, { operation, before, after, reply }) => {
      if (scene.forced || operation.kind !== 'report' || reply.outcome !== 'done' || after === null || before === after) return;
      const { world, truth, sites } = scene;
      for (const site of sites) {
        if (site.machine.site?.serving === true && after.primary !== site.name)
          world.fail(RULE, `${site.name} serves, and the new witness begins with ${after.primary} as primary`);
      }
      const able = sites.filter((site) => after.copies.some((copy) => copy.site === site.name && copy.flag));
      for (const site of able) {
        const lacking = truth.firstLacking(site.held);
        if (site.mode === 'async' || lacking === null || site.harmed || (site.everHeld.get(lacking.epoch) ?? 0) >= lacking.seq) continue;
        world.fail(RULE, `the new witness begins with ${site.name} true, which lacks record (${lacking.epoch}, ${lacking.seq})`);
      }
      const whole = (site: SeenSite): boolean => truth.firstLacking(site.held) === null;
      if (!able.some(whole) && !sites.some((site) => site.harmed))
        world.fail(
          RULE,
          `the new witness begins with ${able.map(({ name }) => name).join(', ')} true, none of which holds what hosts were told of`,
        );
      scene.reached(operation.report.role === 'waiting' ? 'a new witness begins without a primary' : 'a new witness begins with a primary');
    },
    strayStep: (scene, { operation }) => {
      // An exclusion that was on its way when its site turned away takes a right, and gives none; of an admission its primary has told the new one.
      if (scene.forced || operation.kind === 'force' || operation.kind === 'exclude' || operation.kind === 'admit') return;
      scene.world.fail(RULE, `a witness that was replaced carries out ${operation.kind} by ${operation.from}`);
    },
  };
}
