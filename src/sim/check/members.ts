// Members: nothing is granted to a site that is no copy of the group at the witness; it does not serve, and does not follow the primary.

import type { WitnessOperation } from '../../core/arbiter/witness-state.ts';
import type { SiteName } from '../../core/base/units.ts';
import { flagOf, type Rule } from './observe.ts';

/** The oracle of membership. */
export function members(): Rule {
  return {
    name: '21 member',
    witnessStep: (scene, { operation, before, after, reply }) => {
      if (reply.outcome !== 'done' || before === null || after === null || before.revision === after.revision) return;
      if (operation.kind === 'remove' && flagOf(before, operation.site))
        scene.world.fail('21 member', `${operation.site} is struck out while its flag is true`);
      if (operation.kind === 'create' || operation.kind === 'report' || operation.kind === 'delete' || before.deleted === true) return;
      const site = grantedTo(operation);
      if (before.copies.some((copy) => copy.site === site)) return;
      scene.world.fail('21 member', `the witness grants ${operation.kind} to ${site}, which is no copy of the group`);
    },
    afterEvent: (scene, { name, inside, role, serving }) => {
      const { witness } = scene;
      if (witness === null || witness.deleted === true || inside === null) return;
      const isMember = (site: SiteName): boolean => witness.copies.some((copy) => copy.site === site);
      // Whoever was left behind by a promotion by force serves until it hears of that.
      if (serving && !isMember(name) && !scene.forced) scene.world.fail('21 member', `${name} serves and is no copy of the group`);
      if (role !== 'primary' || witness.primary !== name || witness.epoch !== inside.epoch) return;
      for (const other of scene.sites) {
        if (other.name === name || isMember(other.name) || !inside.streams(other.name)) continue;
        scene.world.fail('21 member', `${other.name} follows ${name} and is no copy of the group`);
      }
    },
  };
}

function grantedTo(operation: WitnessOperation): SiteName {
  return operation.kind === 'force' ? operation.site : operation.from;
}
