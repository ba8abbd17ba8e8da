// Steps: only what a primary has called committed is folded, and no position that a copy has, or tells, is ever of a record within a step.

import { epochOf } from '../../core/base/position.ts';
import type { Epoch, Seq } from '../../core/base/units.ts';
import type { Rule, Scene, SeenSite } from './observe.ts';

/** The oracle of folded frames. */
export function folding(): Rule {
  return {
    name: '23 folding',
    afterEvent: (scene, site) => {
      const { inside } = site;
      if (inside === null) return;
      const { epoch, marks } = inside;
      const { calledCommitted: committed } = scene.truth;
      if (site.role === 'primary' && marks.committed > (committed.get(epoch) ?? 0)) committed.set(epoch, marks.committed);
      if (inside.folding.heldUpTo === 0) return;
      // In a resync the copy already has the history of what it becomes, and still holds what it gives up: that would be named wrongly.
      if (inside.consistent) checkCommitted(scene, site, committed);
      // As a resync begins, the marks are of what comes, and the sidefile is still of what goes, until the superblock says so.
      if (!inside.consistent && marks.oldest > marks.received) return;
      for (const [name, seq] of Object.entries(marks))
        if (name !== 'oldest' && !inside.endsAt(seq as Seq))
          scene.world.fail(
            '23 folding',
            `${site.name}: its position ${name} is record ${String(seq)}, within records that came as one step`,
          );
    },
  };
}

function checkCommitted(scene: Scene, site: SeenSite, committed: ReadonlyMap<Epoch, Seq>): void {
  const { history, folding: steps } = site.inside as NonNullable<SeenSite['inside']>;
  const seq = steps.heldUpTo;
  const epoch = epochOf(history, seq);
  for (const [reign, upTo] of committed) if (reign >= epoch && upTo >= seq) return;
  scene.world.fail(
    '23 folding',
    `${site.name} holds record ${seq} of epoch ${epoch} as part of a step, and no primary has called it committed`,
  );
}
