// The end of a run: bits rot in base images, of one copy or of two at the same place, and a verify has to find each of them that it can compare, name the right copy,
// and mend it, also when the primary dies in the middle. Nothing that was rotten may be anywhere afterwards.

import { compareAll } from './check/contents.ts';
import type { SeenSite } from './check/observe.ts';
import { keyOf } from './check/verifies.ts';
import type { Simulation } from './run.ts';
import type { DigestAlgorithm } from '../core/base/ports.ts';
import { BLOCK_BYTES } from '../core/base/units.ts';
import { frameHeaderLayout } from '../core/record/layout.ts';
import type { HeldFrame } from '../core/replica/records.ts';
import { MARK_BYTES, SEGMENT_HEADER_BYTES, segmentName } from '../core/replica/segment.ts';
import { knowsDigest, loggedDigests, wrongDigest } from './known-digests.ts';
import type { Chance } from './random.ts';

const MEND_MILLIS = 60_000;
/** One that runs by schedule at a bounded rate has all the records of a sidefile before it, and is not begun anew for an order. */
const SLOW_MEND_MILLIS = 600_000;
const ORDER_MILLIS = 300;

/** Everything is equal and destaged, and no host is at work. */
export function scrubPhase(simulation: Simulation, copies: readonly SeenSite[]): void {
  const { world, watch, settings } = simulation;
  // What was damaged on purpose, or thrown away by order, is found by others.
  const wrong =
    watch.everHarmed || watch.forced ? undefined : copies.map((site) => wrongDigest(site, settings)).find((each) => each !== null);
  if (typeof wrong === 'string') world.fail('verify digests', wrong);
  if (copies.length < 2) return;
  const chance = world.chance('scrub');
  // As much again as the rest of a short run: in half of them is enough.
  if (chance.happens(0.5)) return;
  watch.verifies.load = false;
  if (chance.happens(0.3) && !leavesAlone(simulation, copies)) return;
  if (world.violation === null && chance.happens(0.5)) rotRecords(simulation, copies);
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
  const patience = (settings.scrub?.bytesPerSecond ?? 0) > 0 ? SLOW_MEND_MILLIS : MEND_MILLIS;
  if (!simulation.waitUntil(patience, mended)) {
    // Writers are stopped for a copy that does not come back, by order: then nothing is mended either.
    if (copies.find((site) => site.serving)?.inside?.writers === 'stopped') return;
    world.fail('scrub', `not mended ${patience} ms after bits were flipped; never found: ${missing().join(', ') || 'none'}`);
    return;
  }
  count(simulation, copies, expected);
  watch.verifies.flipped.clear();
  simulation.compareBases(copies);
  for (const site of copies) if (world.violation === null) compareAll(watch, site, simulation.volumeBytes, settings.hosts.unitBytes);
}

function orderVerify(copies: readonly SeenSite[], algorithm: DigestAlgorithm): void {
  const primary = copies.find((site) => site.serving)?.machine;
  primary?.enter('verify', primary.life, () => primary.site?.verify({ algorithm, reportOnly: false, bytesPerSecond: 0 }));
}

/** A byte of a sidefile that is flipped. */
interface Rot {
  readonly site: SeenSite;
  readonly part: 'frame' | 'mark' | 'header';
  readonly frame: HeldFrame;
  readonly byte: { readonly site: string; readonly file: string; readonly at: number };
  /** The bytes of the frame as they were. */
  readonly before: Buffer;
  readonly undo: () => void;
  /** Whether it can be mended: alone, or from another copy that holds the same frame. */
  readonly mendable: boolean;
}

/** Bits rot in records, marks and headers of sidefiles: each is found, and what some copy still has is brought back. */
function rotRecords(simulation: Simulation, copies: readonly SeenSite[]): void {
  const { world, watch } = simulation;
  const chance = world.chance('record rot');
  const rots: Rot[] = [];
  for (let flips = chance.integer(1, 3); flips > 0; flips--) {
    const rot = rotOne(chance, copies, rots);
    if (rot !== null) rots.push(rot);
  }
  if (rots.length === 0) return;
  watch.verifies.flippedRecords = rots.map(({ byte }) => byte);
  let orderedAt = -Infinity;
  const over = (): boolean => {
    if (world.now - orderedAt >= ORDER_MILLIS) {
      orderedAt = world.now;
      orderVerify(copies, chance.pick(['crc32', 'sha256']));
    }
    const held = rots.filter((rot) => isHeld(rot));
    const found = held.every(({ byte }) => watch.verifies.foundRecords.has(byte));
    return found && held.every((rot) => rot.part !== 'frame' || !rot.mendable || durableBytesOf(rot).equals(rot.before));
  };
  if (!simulation.waitUntil(MEND_MILLIS, over)) {
    const left = rots.map(
      ({ byte, part, mendable, frame }) => `${JSON.stringify(byte)} ${part} of ${frame.firstSeq}${mendable ? '' : ', not mendable'}`,
    );
    return world.fail('scrub', `records were not mended ${MEND_MILLIS} ms after bits were flipped: ${left.join('; ')}`);
  }
  for (const rot of rots) {
    // Its file may be another segment by now.
    if (!isHeld(rot)) continue;
    const { part, mendable, undo } = rot;
    if (!mendable) undo();
    if (part !== 'frame') watch.coverage.hit('rot of a mark or of a segment header found and mended');
    else watch.coverage.hit(mendable ? 'rot of a record found and mended' : 'rot of a record found that nobody can mend');
  }
  // What a verify that is under way has still to say of them is no false alarm; what comes behind it would be.
  const { ended } = watch.verifies;
  simulation.waitUntil(MEND_MILLIS, () => watch.verifies.ended > ended || !watch.verifies.underWay);
  // A mark or header whose copy was away when it was to be mended is found again by the next one.
  watch.verifies.flippedRecords = rots.filter(({ part }) => part !== 'frame').map(({ byte }) => byte);
}

/**
 * Whether the copy still has the frame: one that is in the base image and that nobody needs is dropped, rotten or not, and a verify has nothing left to
 * look at. A site that is down holds what it held.
 */
function isHeld({ site, frame }: Rot): boolean {
  if (site.inside === null) return true;
  const now = site.inside.frameOf(frame.firstSeq);
  return now !== null && now.segment === frame.segment && now.at === frame.at;
}

/** What was mended is not done before a loss of power leaves it mended. */
function durableBytesOf({ site, frame }: Rot): Buffer {
  const file = site.machine.disk.durableContentsOf(segmentName(frame.segment)) ?? new Uint8Array(0);
  return Buffer.from(file.subarray(frame.at, frame.at + frame.byteCount));
}

function bytesOf({ site, frame }: Pick<Rot, 'site' | 'frame'>): Buffer {
  const file = site.machine.disk.contentsOf(segmentName(frame.segment)) ?? new Uint8Array(0);
  return Buffer.from(file.subarray(frame.at, frame.at + frame.byteCount));
}

function rotOne(chance: Chance, copies: readonly SeenSite[], known: readonly Rot[]): Rot | null {
  const site = chance.pick(copies);
  const marks = site.inside?.marks;
  // In memory nothing rots.
  if (marks === undefined || marks.oldest > marks.received || site.inside?.inMemory === true) return null;
  const frame = site.inside?.frameOf(chance.integer(marks.oldest, marks.received)) ?? null;
  if (frame === null || known.some((rot) => rot.frame.firstSeq === frame.firstSeq)) return null;
  const before = bytesOf({ site, frame });
  // A frame that was cut back holds records that count no more, and nobody looks at these.
  if (before.readUInt32LE(frameHeaderLayout.at.recordCount) !== frame.lastSeq - frame.firstSeq + 1) return null;
  const part = chance.happens(0.7) ? 'frame' : frame.firstOfSegment && chance.happens(0.5) ? 'header' : 'mark';
  const begin = part === 'header' ? 0 : part === 'mark' ? frame.at + frame.byteCount : frame.at;
  const length = part === 'header' ? SEGMENT_HEADER_BYTES : part === 'mark' ? MARK_BYTES : frame.byteCount;
  const at = begin + chance.integer(0, length - 1);
  const file = segmentName(frame.segment);
  const others = copies.flatMap((copy) => {
    const same = copy === site ? null : (copy.inside?.frameOf(frame.firstSeq) ?? null);
    const holds = same?.firstSeq === frame.firstSeq && same.epoch === frame.epoch && same.byteCount === frame.byteCount;
    const bytes = (): Buffer => (copy.inside?.inMemory === true ? before : bytesOf({ site: copy, frame: same as HeldFrame }));
    return holds ? [bytes()] : [];
  });
  // One that had rotted before, here or there, is put right as well, and then is not what it was before this.
  if (others.some((bytes) => !bytes.equals(before))) return null;
  const mendable = part !== 'frame' || others.length > 0;
  const undo = site.machine.disk.flipBitAt(file, at);
  return { site, part, frame, byte: { site: site.name, file, at }, before, undo, mendable };
}

/**
 * A block of which nobody can prove what it held: all copies but one have rotted, and that one keeps no digest. Nothing may be written there. False when
 * it has one again, from a comparison that was under way: then the others are put right, and this is about nothing.
 */
function leavesAlone(simulation: Simulation, copies: readonly SeenSite[]): boolean {
  const { world, watch, settings } = simulation;
  const chance = world.chance('undecidable');
  const place = placeOf(simulation, copies);
  if (place === null) return true;
  const { volume, offset, baseFile } = place;
  const [keeper, ...victims] = [...copies].sort(() => chance.between(-1, 1)) as [SeenSite, ...SeenSite[]];
  const digest = (site: SeenSite): (() => void) =>
    site.machine.disk.flipBitAt(`digests-${settings.volumes[volume]?.name}`, (offset / BLOCK_BYTES) * 8 + chance.integer(0, 7));
  const undo = [digest(keeper)];
  const flippedAt = world.now;
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
  if ((watch.verifies.learntAt.get(keeper.name) ?? -1) >= flippedAt) return false;
  if (!looked || !watch.verifies.found.has(first)) {
    world.fail('scrub', `${first} was not found within ${MEND_MILLIS} ms`);
    return true;
  }
  if (copies.some((site, index) => !block(site).equals(before[index] as Buffer))) {
    world.fail('scrub', `a block of volume ${volume} at ${offset} was written though nobody can prove what it held`);
    return true;
  }
  for (const back of undo) back();
  watch.verifies.forget();
  watch.coverage.hit('rot that nobody can prove is left alone');
  return true;
}

/** A block that holds something, and whose digests are in the tables alone: what is in a log is in memory too, where nothing rots. */
function placeOf(simulation: Simulation, copies: readonly SeenSite[]): { volume: number; offset: number; baseFile: string } | null {
  const chance = simulation.world.chance('undecidable');
  const volume = chance.integer(0, simulation.settings.volumes.length - 1);
  const { baseFile, name } = simulation.settings.volumes[volume] as { baseFile: string; name: string };
  const bytes = copies[0]?.machine.disk.contentsOf(baseFile) ?? new Uint8Array(0);
  const logged = copies.map(({ machine }) => loggedDigests((file) => machine.disk.contentsOf(file), name));
  const places = Array.from({ length: bytes.length / BLOCK_BYTES }, (_, i) => i * BLOCK_BYTES).filter(
    (at) => bytes.subarray(at, at + BLOCK_BYTES).some((byte) => byte !== 0) && !logged.some((log) => log.has(at / BLOCK_BYTES)),
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
    const sound = copies.filter((site) => !victims.includes(site));
    // Where one copy is left, it and what its disk has made of the others are told apart by digests alone. Some copy may lack one since a crash:
    // then nothing is proven and nothing is mended, and leavesAlone() looks at that.
    const volumeName = settings.volumes[volume]?.name ?? '';
    if (sound.length === 1 && !copies.every(({ machine }) => knowsDigest(machine.disk, volumeName, offset / BLOCK_BYTES))) continue;
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
