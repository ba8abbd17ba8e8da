// Safety rule 9 during a resync: where its images are staged, the base images are exactly the older volume until the end marker counts, after every
// crash too; where they are not and there are protection images, those are.
// And B1: a bitmap that a peer is brought up to date by has the blocks of every record that the peer lacks.

import { inHistory } from '../../core/base/position.ts';
import type { Rule, Scene, SeenSite } from './observe.ts';
import type { StagingValue } from '../../core/replica/superblock.ts';
import { tagOf } from '../history.ts';

/** Events of one site between two looks. */
const SAMPLE_EVENTS = 61;

/** The oracle of the older volume. */
export function older(volumeBytes: readonly number[], unitBytes: number): Rule {
  const events = new Map<string, number>();
  const fresh = new Set<string>();
  return {
    name: '9 older volume',
    started: (_scene, site) => {
      fresh.add(site.name);
    },
    afterEvent: (scene, site) => {
      const { staged = null, protectedOlder = null } = site.inside ?? {};
      const kept = staged === null ? protectedOlder : staged.endSeq === null ? staged.older : null;
      if (kept === null || scene.forced || site.flipped || site.harmed) return;
      const count = (events.get(site.name) ?? 0) + 1;
      events.set(site.name, count);
      const isFresh = fresh.delete(site.name);
      if (isFresh && staged !== null) scene.reached('older volume kept over a restart');
      if (!isFresh && count % SAMPLE_EVENTS !== 0) return;
      compareOlder(scene, { site, file: staged === null ? 'protection-' : 'base-vol', older: kept }, volumeBytes, unitBytes);
    },
  };
}

function compareOlder(
  scene: Scene,
  kept: { readonly site: SeenSite; readonly file: string; readonly older: StagingValue['older'] },
  volumeBytes: readonly number[],
  unitBytes: number,
): void {
  const { site, file } = kept;
  const { history, seq } = kept.older;
  const image = scene.truth.image(history, seq);
  volumeBytes.forEach((size, volume) => {
    const base = site.machine.disk.contentsOf(`${file}${volume}`);
    // It may be on its way to being larger.
    if (base === null) return;
    const words = new Uint32Array(new Uint8Array(base).buffer);
    const wordsPerUnit = unitBytes / 4;
    for (let unit = 0; unit < Math.min(size, base.length) / unitBytes; unit++) {
      const tag = tagOf(words, unit * wordsPerUnit, wordsPerUnit, unit);
      if (tag === image.volumes[volume]?.[unit] || image.unsure[volume]?.has(unit) === true) continue;
      const unplaced = [...scene.truth.unplaced.values()].some(
        (one) => one.volume === volume && unit >= one.fromUnit && unit < one.toUnit && (one.number === tag || tag === 0),
      );
      if (unplaced) continue;
      scene.world.fail(
        '9 older volume',
        `${site.name} keeps the volume as of record ${seq}, but unit ${unit} of volume ${volume} is another one`,
      );
      return;
    }
  });
}

/** B1, at the moment when `primary` begins to bring a peer up to date by its bitmap: the peer holds everything up to `cutTo`. */
export function checkBitmap(scene: Scene, primary: SeenSite, facts: { site: string; cutTo: number }, unitBytes: number): void {
  const { inside } = primary;
  if (inside === null || scene.forced) return;
  const { history, marks } = inside;
  for (const start of history) {
    for (const { seq, operation } of scene.truth.reigns.get(start.epoch)?.records ?? []) {
      if (seq <= facts.cutTo || seq > marks.received || !inHistory(history, start.epoch, seq)) continue;
      for (let unit = operation.fromUnit; unit < operation.toUnit; unit++) {
        if (inside.inBitmap(facts.site, operation.volume, unit * unitBytes)) continue;
        scene.world.fail(
          'B1 bitmap',
          `the bitmap of ${facts.site} lacks unit ${unit} of volume ${operation.volume}, which record ${seq} has written`,
        );
        return;
      }
    }
  }
}
