// R8: whoever serves holds everything that hosts were told of, but for what the rules allow to be lost (the scene takes that back at once).

import type { Rule } from './observe.ts';

/** The oracle of R8. */
export function kept(): Rule {
  return {
    name: 'R8 kept',
    afterEvent: (scene, site) => {
      if (!site.serving || scene.forced) return;
      const lacking = scene.truth.firstLacking(site.held);
      if (lacking === null) return;
      scene.world.fail('R8 kept', `${site.name} serves without record (${lacking.epoch}, ${lacking.seq}), which hosts were told of`);
    },
  };
}
