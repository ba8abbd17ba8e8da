// Safety rule 7 and the order of records (S1, S2): a record's name says what it is. Wherever (epoch, seq) is held the chain there is the same;
// histories only ever name epochs that the witness has given, each to begin at one seq; what reached a base image is never cut back.

import { epochOf, inHistory } from '../../core/base/position.ts';
import type { Epoch, Seq, SiteName } from '../../core/base/units.ts';
import type { Rule, Scene, SeenSite } from './observe.ts';

/** The oracle of rule 7. */
export function join(): Rule {
  const starts = new Map<Epoch, Seq>();
  const destaged = new Map<SiteName, { readonly epoch: Epoch; readonly seq: Seq; readonly life: number }>();
  return {
    name: '7 join',
    started: (_scene, site) => {
      destaged.delete(site.name);
    },
    afterEvent: (scene, site) => {
      const { inside } = site;
      if (inside === null) return;
      checkStarts(scene, site, starts);
      if (!inside.consistent) {
        destaged.delete(site.name);
        return;
      }
      checkChain(scene, site);
      const before = destaged.get(site.name);
      if (
        before !== undefined &&
        before.life === site.machine.life &&
        before.seq > 0 &&
        !inHistory(inside.history, before.epoch, before.seq)
      ) {
        scene.world.fail('7 join', `${site.name} has cut back record (${before.epoch}, ${before.seq}), which is in its base image`);
      }
      const seq = inside.marks.destaged;
      destaged.set(site.name, { epoch: epochOf(inside.history, seq), seq, life: site.machine.life });
    },
  };
}

function checkChain(scene: Scene, site: SeenSite): void {
  const inside = site.inside as NonNullable<SeenSite['inside']>;
  const { history, marks } = inside;
  const { received } = marks;
  const epoch = epochOf(history, received);
  if (received === 0 || epoch === 0) return;
  const chain = inside.chainAt(received);
  if (chain === null) return;
  const { chains } = scene.truth.reign(epoch);
  const known = chains.get(received);
  if (known === undefined) chains.set(received, chain);
  else if (known !== chain) scene.world.fail('7 join', `${site.name} holds another record (${epoch}, ${received}) than another copy did`);
}

function checkStarts(scene: Scene, site: SeenSite, starts: Map<Epoch, Seq>): void {
  const newest = site.inside?.history[site.inside.history.length - 1];
  if (newest === undefined) return;
  const known = starts.get(newest.epoch);
  if (known === undefined) starts.set(newest.epoch, newest.firstSeq);
  else if (known !== newest.firstSeq) {
    scene.world.fail('7 join', `${site.name} has epoch ${newest.epoch} begin at record ${newest.firstSeq}, another copy at ${known}`);
  }
  if (newest.epoch > (scene.witness?.epoch ?? 0))
    scene.world.fail('7 join', `${site.name} is in epoch ${newest.epoch}, which the witness never gave`);
}
