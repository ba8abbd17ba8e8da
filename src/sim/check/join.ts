// Safety rule 7 and the order of records (S1, S2): a record's name says what it is. Wherever (epoch, seq) is held the chain there is the same;
// histories only ever name epochs that the witness has given, each to begin at one seq; what reached a base image is never cut back. An epoch has begun
// once that is on the disk of its primary, and nobody leads or follows in it before. One that was granted and never begun may be given anew, by a
// witness that was told by the copies (docs/decisions/0008-replacing-a-witness.md): nothing was ever named by it.

import { type EpochStart, epochOf, inHistory } from '../../core/base/position.ts';
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
  const inside = site.inside as NonNullable<SeenSite['inside']>;
  const durable = inside.durableHistory[inside.durableHistory.length - 1];
  if (durable !== undefined && !starts.has(durable.epoch)) starts.set(durable.epoch, durable.firstSeq);
  checkStart(scene, site, starts, durable);
  checkStart(scene, site, starts, inside.history[inside.history.length - 1]);
  if ((site.role === 'primary' || site.role === 'mirror') && inside.durableEpoch < inside.epoch)
    scene.world.fail(
      '7 join',
      `${site.name} is ${site.role} in epoch ${inside.epoch}, and on its disk it is in epoch ${inside.durableEpoch}`,
    );
}

function checkStart(scene: Scene, site: SeenSite, starts: ReadonlyMap<Epoch, Seq>, start: EpochStart | undefined): void {
  if (start === undefined) return;
  const known = starts.get(start.epoch);
  if (known !== undefined && known !== start.firstSeq)
    scene.world.fail('7 join', `${site.name} has epoch ${start.epoch} begin at record ${start.firstSeq}, another copy at ${known}`);
  if (start.epoch > (scene.witness?.epoch ?? 0))
    scene.world.fail('7 join', `${site.name} is in epoch ${start.epoch}, which the witness never gave`);
}
