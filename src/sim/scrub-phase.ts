// The end of a run: bits rot in base images, of one copy or of two at the same place, and a verify has to find each of them that it can compare, name the right copy,
// and mend it, also when the primary dies in the middle. Nothing that was rotten may be anywhere afterwards.

import { compareAll } from './check/contents.ts';
import type { SeenSite } from './check/observe.ts';
import { keyOf } from './check/verifies.ts';
import type { Simulation } from './run.ts';
import type { DigestAlgorithm } from '../core/base/ports.ts';
import { BLOCK_BYTES } from '../core/base/units.ts';

const MEND_MILLIS = 60_000;
const ORDER_MILLIS = 300;

/** Everything is equal and destaged, and no host is at work. */
export function scrubPhase(simulation: Simulation, copies: readonly SeenSite[]): void {
  const { world, watch, settings } = simulation;
  if (copies.length < 2) return;
  const chance = world.chance('scrub');
  watch.verifies.load = false;
  if (chance.happens(0.3)) leavesAlone(simulation, copies);
  if (world.violation !== null) return;
  const expected = flipBits(simulation, copies);
  if (expected.size === 0) return;
  const cut = chance.happens(0.2) ? world.now + chance.between(0, 200) : Infinity;
  let dead = false;
  const order = (): void => {
    const primary = copies.find((site) => site.serving)?.machine;
    if (primary !== undefined && !dead && world.now >= cut) {
      dead = true;
      primary.end('crash');
    } else orderVerify(copies, chance.pick(['crc32', 'md5', 'sha1', 'sha256']));
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

function orderVerify(copies: readonly SeenSite[], algorithm: DigestAlgorithm): void {
  const primary = copies.find((site) => site.serving)?.machine;
  primary?.enter('verify', primary.life, () => primary.site?.verify({ algorithm, reportOnly: false, bytesPerSecond: 0 }));
}

/** A block of which nobody can prove what it held: all copies but one have rotted, and that one keeps no digest. Nothing may be written there. */
function leavesAlone(simulation: Simulation, copies: readonly SeenSite[]): void {
  const { world, watch, settings } = simulation;
  const chance = world.chance('undecidable');
  const place = placeOf(simulation, copies[0] as SeenSite);
  if (place === null) return;
  const { volume, offset, baseFile } = place;
  const [keeper, ...victims] = [...copies].sort(() => chance.between(-1, 1)) as [SeenSite, ...SeenSite[]];
  const digest = (site: SeenSite): (() => void) =>
    site.machine.disk.flipBitAt(`digests-${settings.volumes[volume]?.name}`, (offset / BLOCK_BYTES) * 8 + chance.integer(0, 7));
  const undo = [digest(keeper)];
  for (const site of victims) {
    undo.push(site.machine.disk.flipBitAt(baseFile, offset + chance.integer(0, BLOCK_BYTES - 1)));
    watch.verifies.flipped.add(keyOf(site.name, volume, offset));
    if (site !== victims[0] && chance.happens(0.5)) undo.push(digest(site));
  }
  const block = (site: SeenSite): Buffer =>
    Buffer.from(site.machine.disk.contentsOf(baseFile)?.subarray(offset, offset + BLOCK_BYTES) ?? []);
  const before = copies.map((site) => block(site));
  const from = watch.verifies.ended;
  let orderedAt = -Infinity;
  const looked = simulation.waitUntil(MEND_MILLIS, () => {
    if (world.now - orderedAt >= ORDER_MILLIS) {
      orderedAt = world.now;
      orderVerify(copies, 'sha256');
    }
    return watch.verifies.ended >= from + 2;
  });
  const first = keyOf((victims[0] as SeenSite).name, volume, offset);
  if (!looked || !watch.verifies.found.has(first)) return world.fail('scrub', `${first} was not found within ${MEND_MILLIS} ms`);
  if (copies.some((site, index) => !block(site).equals(before[index] as Buffer)))
    return world.fail('scrub', `a block of volume ${volume} at ${offset} was written though nobody can prove what it held`);
  for (const back of undo) back();
  watch.verifies.forget();
  watch.coverage.hit('rot that nobody can prove is left alone');
}

/** A block that holds something. */
function placeOf(simulation: Simulation, site: SeenSite): { volume: number; offset: number; baseFile: string } | null {
  const chance = simulation.world.chance('undecidable');
  const volume = chance.integer(0, simulation.settings.volumes.length - 1);
  const { baseFile } = simulation.settings.volumes[volume] as { baseFile: string };
  const bytes = site.machine.disk.contentsOf(baseFile) ?? new Uint8Array(0);
  const places = Array.from({ length: bytes.length / BLOCK_BYTES }, (_, i) => i * BLOCK_BYTES).filter((at) =>
    bytes.subarray(at, at + BLOCK_BYTES).some((byte) => byte !== 0),
  );
  return places.length === 0 ? null : { volume, offset: chance.pick(places), baseFile };
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
