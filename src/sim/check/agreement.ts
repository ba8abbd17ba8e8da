// Rule 25, pre-election: a primary goes on without its mirror and without the witness only where that mirror has noted, durably, that it leaves it the
// right; and who has left it claims nothing and is handed nothing until that is over.

import type { Epoch, SiteName } from '../../core/base/units.ts';
import type { Rule, Scene, SeenSite } from './observe.ts';

/** The oracle of agreements. */
export function agreement(): Rule {
  return {
    name: '25 agreement',
    afterEvent: (scene, site) => {
      const { inside } = site;
      if (inside === null || scene.forced) return;
      const { right, value } = inside.agreement;
      if (right !== null) scene.reached('a primary may go on alone, as was agreed');
      if (right !== null) mustHaveLeft(scene, site, right, inside.epoch);
      const alone = value?.alone ?? null;
      if (alone === null || alone.epoch !== inside.epoch || site.role !== 'primary') return;
      scene.reached('a primary went on alone, as was agreed');
      mustHaveLeft(scene, site, alone.without, alone.epoch);
    },
    witnessStep: (scene, { operation, before, reply }) => {
      if (scene.forced || reply.outcome !== 'done' || reply.repeated === true) return;
      const taker = operation.kind === 'claim' ? operation.from : operation.kind === 'handover' ? operation.to : null;
      const site = scene.sites.find(({ name }) => name === taker);
      const yields = site?.inside?.agreement.value?.yields ?? null;
      if (site === undefined || yields === null || yields.epoch < (before?.epoch ?? 0)) return;
      scene.world.fail('25 agreement', `${site.name} is made primary although it has left ${yields.to} the right to go on alone`);
    },
  };
}

function mustHaveLeft(scene: Scene, site: SeenSite, other: SiteName, epoch: Epoch): void {
  const peer = scene.sites.find(({ name }) => name === other);
  // A disk that was put in meanwhile holds nothing that could serve; a newer epoch was begun at the witness.
  if (peer === undefined || peer.harmed || (peer.inside?.epoch ?? 0) > epoch) return;
  if (peer.yields?.to === site.name && peer.yields.epoch === epoch) return;
  scene.world.fail('25 agreement', `${site.name} goes on, or may go on, without ${other}, which has not left it the right`);
}
