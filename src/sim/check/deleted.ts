// A group that was deleted is no more: its tombstone at the witness grants nothing, whoever asks and however late, and no site that has started since
// serves. A primary that lives through it stops once it hears of it (delete-phase.ts asks for that).

import type { SiteName } from '../../core/base/units.ts';
import type { Rule } from './observe.ts';

/** The oracle of deletion. */
export function deleted(): Rule {
  const startedSince = new Set<SiteName>();
  return {
    name: '18 deleted',
    started: (scene, { name }) => {
      if (scene.witness?.deleted === true) startedSince.add(name);
    },
    witnessStep: (scene, { operation, before, reply }) => {
      if (before?.deleted !== true) return;
      if (reply.outcome === 'done' && operation.kind !== 'delete')
        scene.world.fail('18 deleted', `the witness grants ${operation.kind} to ${operation.from} though the group was deleted`);
      if (reply.outcome === 'refused') scene.reached('a question about a deleted group was refused');
    },
    afterEvent: (scene, { name, serving }) => {
      if (serving && startedSince.has(name)) scene.world.fail('18 deleted', `${name} has started and serves though the group was deleted`);
    },
  };
}
