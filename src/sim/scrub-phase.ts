// The end of a run: bits rot in base images, of one copy or of two at the same place, and a verify has to find each of them that it can compare, name the right copy,
// and mend it, also when the primary dies in the middle. Nothing that was rotten may be anywhere afterwards.

import { compareAll } from './check/contents.ts';
import type { SeenSite } from './check/observe.ts';
import { keyOf } from './check/verifies.ts';
import type { Simulation } from './run.ts';
import { BLOCK_BYTES } from '../core/base/units.ts';

const MEND_MILLIS = 60_000;
const ORDER_MILLIS = 300;

/** Everything is equal and destaged, and no host is at work. */
export function scrubPhase(simulation: Simulation, copies: readonly SeenSite[]): void {
  const { world, watch, settings } = simulation;
  if (copies.length < 2) return;
  const chance = world.chance('scrub');
  watch.verifies.load = false;
  const expected = flipBits(simulation, copies);
  if (expected.size === 0) return;
  const cut = chance.happens(0.2) ? world.now + chance.between(0, 200) : Infinity;
  let dead = false;
  const order = (): void => {
    const primary = copies.find((site) => site.serving)?.machine;
    if (primary !== undefined && !dead && world.now >= cut) {
      dead = true;
      primary.end('crash');
    } else if (primary !== undefined) {
      const how = { algorithm: chance.pick(['crc32', 'md5', 'sha1', 'sha256'] as const), reportOnly: false, bytesPerSecond: 0 };
      primary.enter('verify', primary.life, () => primary.site?.verify(how));
    }
  };
  const { found, mendedUnseen } = watch.verifies;
  const missing = (): string[] => [...expected].filter((key) => !found.has(key) && !mendedUnseen.has(key));
  let orderedAt = -Infinity;
  const mended = (): boolean => {
    if (world.now - orderedAt >= ORDER_MILLIS) {
      orderedAt = world.now;
      order();
    }
    return missing().length === 0 && simulation.settled(true) && clean(simulation, copies);
  };
  if (!simulation.waitUntil(MEND_MILLIS, mended)) {
    world.fail('scrub', `not mended ${MEND_MILLIS} ms after bits were flipped; never found: ${missing().join(', ') || 'none'}`);
    return;
  }
  count(simulation, copies, expected);
  watch.verifies.flipped.clear();
  simulation.compareBases(copies);
  for (const site of copies) if (world.violation === null) compareAll(watch, site, settings.hosts.volumeBytes, settings.hosts.unitBytes);
}

/** Flips bits of blocks that hold something, never of all copies of one. */
function flipBits(simulation: Simulation, copies: readonly SeenSite[]): ReadonlySet<string> {
  const { world, settings, watch } = simulation;
  const chance = world.chance('rot');
  const expected = new Set<string>();
  for (let flips = chance.integer(1, 4); flips > 0; flips--) {
    const volume = chance.integer(0, settings.volumes.length - 1);
    const { baseFile, sizeBytes } = settings.volumes[volume] as { baseFile: string; sizeBytes: number };
    const offset = chance.integer(0, sizeBytes / BLOCK_BYTES - 1) * BLOCK_BYTES;
    const bytes = copies[0]?.machine.disk.contentsOf(baseFile)?.subarray(offset, offset + BLOCK_BYTES);
    const known = copies.some((site) => watch.verifies.flipped.has(keyOf(site.name, volume, offset)));
    if (known || bytes === undefined || !bytes.some((byte) => byte !== 0)) continue;
    const victims = [...copies].sort(() => chance.between(-1, 1)).slice(0, chance.integer(1, copies.length - 1));
    for (const site of victims) {
      site.machine.disk.flipBitAt(baseFile, offset + chance.integer(0, BLOCK_BYTES - 1));
      expected.add(keyOf(site.name, volume, offset));
      watch.verifies.flipped.add(keyOf(site.name, volume, offset));
    }
  }
  return expected;
}

/** Whether the base images are equal again. */
function clean(simulation: Simulation, copies: readonly SeenSite[]): boolean {
  return simulation.settings.volumes.every(({ baseFile }) => {
    const [first, ...others] = copies.map((site) => site.machine.disk.contentsOf(baseFile));
    return (
      first !== undefined &&
      first !== null &&
      others.every((bytes) => bytes !== null && bytes !== undefined && Buffer.compare(bytes, first) === 0)
    );
  });
}

function count(simulation: Simulation, copies: readonly SeenSite[], expected: ReadonlySet<string>): void {
  const { coverage } = simulation.watch;
  coverage.hit('rot found and mended');
  const primary = copies.find((site) => site.serving)?.name;
  const places = [...expected].map((key) => key.split(' '));
  if (places.some(([site]) => site === primary)) coverage.hit('rot of the primary found and mended');
  if (places.some(([site, ...at]) => places.some(([other, ...there]) => other !== site && there.join() === at.join())))
    coverage.hit('rot of two copies of one block found and mended');
}
