// Nothing about who serves is asked of the witness that the asker has not noted as a decision before, with what it knew then.

import type { WitnessOperation } from '../../core/arbiter/witness-state.ts';
import type { SiteName } from '../../core/base/units.ts';
import type { Rule } from './observe.ts';

/** The decision that stands behind each kind of operation. */
const BEHIND: Partial<Record<WitnessOperation['kind'], string>> = {
  claim: 'claim.begin',
  exclude: 'exclude.begin',
  admit: 'admit.begin',
  handover: 'handover.stage',
  force: 'force',
};

/** The oracle of the decision log. */
export function decided(): Rule {
  const noted = new Map<SiteName, Set<string>>();
  return {
    name: 'decision log',
    decided: (scene, site, decision) => {
      const { inputs, event, rule, text } = decision;
      if (text === '' || rule === '') scene.world.fail('decision log', `${site.name} notes ${event} without a sentence or a rule`);
      const epoch = site.machine.site?.status().epoch;
      if (epoch !== undefined && inputs.epoch !== epoch)
        scene.world.fail('decision log', `${site.name} notes ${event} in epoch ${inputs.epoch}, and is in ${epoch}`);
      const known = noted.get(site.name) ?? new Set();
      known.add(`${event} ${inputs.epoch}`);
      noted.set(site.name, known);
    },
    witnessStep: (scene, { operation }) => {
      const event = BEHIND[operation.kind];
      if (event === undefined || !('epoch' in operation)) return;
      const known = [...(noted.get(operation.from) ?? [])];
      // A claim is decided in the epoch that the site has itself, which may be older than the one that it ends.
      const fits = operation.kind === 'claim' || operation.kind === 'force' ? event : `${event} ${operation.epoch}`;
      if (!known.some((each) => each.startsWith(fits)))
        scene.world.fail(
          'decision log',
          `${operation.from} asks for ${operation.kind} in epoch ${operation.epoch} without having noted why`,
        );
    },
  };
}
