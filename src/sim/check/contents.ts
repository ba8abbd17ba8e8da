// Safety rule 9 and R5: what a copy would show if everything else vanished is exactly the state after some prefix of the one write order, far and
// near alike; or it says that it is inconsistent. Compared with the truth that the hosts' requests and the primaries' numbers give.

import type { Rule, Scene, SeenSite } from './observe.ts';
import type { Image } from './truth.ts';
import { keyOf } from './verifies.ts';
import { tagOf } from '../history.ts';
import { BLOCK_BYTES } from '../../core/base/units.ts';

/** Events of one site between two looks at a few of its blocks. */
const SAMPLE_EVENTS = 97;
const SAMPLE_BLOCKS = 3;
const READ_BYTES = 64 * 1024;

/** The oracle of rule 9. */
export function contents(volumeBytes: readonly number[], unitBytes: number): Rule {
  const events = new Map<string, number>();
  const fresh = new Set<string>();
  return {
    name: '9 contents',
    started: (_scene, site) => {
      fresh.add(site.name);
    },
    afterEvent: (scene, site) => {
      if (site.inside === null || !site.inside.consistent) return;
      if (fresh.delete(site.name)) {
        compareAll(scene, site, volumeBytes, unitBytes);
        return;
      }
      const count = (events.get(site.name) ?? 0) + 1;
      events.set(site.name, count);
      if (count % SAMPLE_EVENTS !== 0) return;
      const volume = count % volumeBytes.length;
      const blocks = Math.min(SAMPLE_BLOCKS, (volumeBytes[volume] as number) / BLOCK_BYTES);
      const first = ((count / SAMPLE_EVENTS) * SAMPLE_BLOCKS) % ((volumeBytes[volume] as number) / BLOCK_BYTES - blocks + 1);
      compare(scene, site, { volume, offset: first * BLOCK_BYTES, length: blocks * BLOCK_BYTES }, unitBytes);
    },
  };
}

/** A part of a volume. */
interface Range {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
}

/** Compares everything that a copy shows with the truth; the copy must be open and consistent. */
export function compareAll(scene: Scene, site: SeenSite, volumeBytes: readonly number[], unitBytes: number): void {
  const { inside } = site;
  if (inside === null || scene.forced) return;
  const image = scene.truth.image(inside.history, inside.marks.received);
  volumeBytes.forEach((bytes, volume) => {
    for (let offset = 0; offset < bytes; offset += READ_BYTES) {
      compare(scene, site, { volume, offset, length: Math.min(READ_BYTES, bytes - offset) }, unitBytes, image);
    }
  });
}

function compare(scene: Scene, site: SeenSite, range: Range, unitBytes: number, known: Image | null = null): void {
  const { inside, machine } = site;
  if (inside === null || scene.forced) return;
  const { history, marks } = inside;
  const bytes = new Uint8Array(range.length);
  machine.gate.quiet = true;
  inside.readNow(range.volume, range.offset, bytes);
  machine.gate.quiet = false;
  const image = known ?? scene.truth.image(history, marks.received);
  const wrong = mismatch(scene, site, { range, bytes, image }, unitBytes);
  if (wrong === null) return;
  const rule = site.mode === 'async' ? '9 far prefix' : 'R5 contents';
  scene.world.fail(rule, `${site.name} at record ${marks.received} shows ${wrong}`);
}

/** What a copy shows otherwise than an image has it; null when that is nothing. */
export function mismatch(
  scene: Scene,
  site: SeenSite,
  shown: { readonly range: Range; readonly bytes: Uint8Array<ArrayBuffer>; readonly image: Image },
  unitBytes: number,
): string | null {
  const { range, bytes, image } = shown;
  const expected = image.volumes[range.volume] as Uint32Array;
  const words = new Uint32Array(bytes.buffer);
  const wordsPerUnit = unitBytes / 4;
  for (let at = 0; at < words.length; at += wordsPerUnit) {
    const unit = range.offset / unitBytes + at / wordsPerUnit;
    const tag = tagOf(words, at, wordsPerUnit, unit);
    if (tag === expected[unit] || rots(scene, site, range.volume, unit * unitBytes)) continue;
    if (tag !== null && (image.unsure[range.volume]?.has(unit) === true || mayBe(scene, tag, range.volume, unit))) continue;
    const found = tag === null ? 'something torn or foreign' : `write ${tag}`;
    return `${found} in unit ${unit} of volume ${range.volume}, not write ${expected[unit]}`;
  }
  return null;
}

/** Whether the block was damaged on purpose, and is still to be found by a verify. */
function rots(scene: Scene, site: SeenSite, volume: number, at: number): boolean {
  const offset = Math.floor(at / BLOCK_BYTES) * BLOCK_BYTES;
  return scene.verifies.flipped.has(keyOf(site.name, volume, offset));
}

/** Whether a write whose number died with its site can explain what a unit shows. */
function mayBe(scene: Scene, tag: number, volume: number, unit: number): boolean {
  for (const operation of scene.truth.unplaced.values()) {
    if (operation.volume !== volume || unit < operation.fromUnit || unit >= operation.toUnit) continue;
    if (operation.number === tag || (tag === 0 && operation.write?.zero === true)) return true;
  }
  return false;
}
