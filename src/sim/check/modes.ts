// Modes: the witness changes the mode of no copy whose flag is true, and only for a primary that knows that it is false; and whatever a primary waits
// for or relies on, it takes for what the witness says it is.

import { flagOf, type Rule } from './observe.ts';

/** The oracle of modes. */
export function modes(): Rule {
  return {
    name: '20 mode',
    witnessStep: (scene, { operation, before, reply }) => {
      if (operation.kind !== 'mode' || reply.outcome !== 'done' || reply.repeated === true) return;
      if (before?.copies.find(({ site }) => site === operation.site)?.mode === operation.mode) return;
      if (flagOf(before, operation.site))
        scene.world.fail('20 mode', `${operation.site} becomes ${operation.mode} at the witness while its flag is true`);
      const inside = scene.sites.find(({ name }) => name === operation.from)?.inside ?? null;
      // What has ended or begun anew since it asked knows nothing of the question.
      if (inside?.epoch !== operation.epoch || inside.flagView(operation.site) === null) return;
      if (inside.flagView(operation.site) !== 'false')
        scene.world.fail('20 mode', `${operation.from} has the mode of ${operation.site} changed, and still counts on its flag`);
    },
    afterEvent: (scene, { name, inside, role }) => {
      const { witness } = scene;
      if (role !== 'primary' || inside === null || witness?.primary !== name || witness.epoch !== inside.epoch) return;
      for (const { site, mode, flag } of witness.copies) {
        const counted = inside.modeView(site);
        if (site === name || counted === null || counted === mode) continue;
        // Its question has been answered, and the answer is on its way.
        if (inside.flagView(site) === 'false' && !flag) continue;
        scene.world.fail('20 mode', `${name} counts ${site} as ${counted}, and the witness has it ${mode}`);
      }
    },
  };
}
