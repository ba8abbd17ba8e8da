// No false alarm: as long as no fault has destroyed anything, no verify finds a difference, whatever hosts write meanwhile and whoever dies. And
// when bits have been flipped, it is exactly their blocks that are found, at the copies that have them.

import type { Coverage } from '../coverage.ts';
import type { World } from '../world.ts';

/** What the oracle needs to see. */
interface Told {
  readonly world: World;
  readonly coverage: Coverage;
  readonly forced: boolean;
  readonly everHarmed: boolean;
}

/** What verifies have said so far in a run. */
export class Verifies {
  /** Blocks whose bits were flipped, as site, volume and offset. Empty until then: nothing may be found. */
  readonly flipped = new Set<string>();
  readonly found = new Set<string>();
  /** Bytes of sidefiles that were flipped, and those of them that were found. */
  flippedRecords: { readonly site: string; readonly file: string; readonly at: number }[] = [];
  readonly foundRecords = new Set<object>();
  /** What the verify under way has found. What it mends it writes anew, at copies too that it could not compare: those are mended unseen. */
  #run = new Set<string>();
  /** Flipped blocks that need not be found any more: mended together with the same block of another copy. */
  readonly mendedUnseen = new Set<string>();
  /** When each copy has last learnt digests that it did not know. */
  readonly learntAt = new Map<string, number>();
  ended = 0;
  /** Whether a verify has begun and has not ended; one that was cut off counts as under way. */
  underWay = false;
  /** Whether hosts write. */
  load = true;

  told(told: Told, site: string, event: string, facts: Readonly<Record<string, unknown>>): void {
    switch (event) {
      case 'verify.begin':
        // One that was cut off has not told whom it had compared.
        this.#excuse([]);
        this.underWay = true;
        if (facts['offset'] !== 0 || facts['volume'] !== 0) told.coverage.hit('verify went on at its cursor');
        return;
      case 'verify.end':
        this.ended++;
        this.underWay = false;
        this.#excuse([site, ...(facts['compared'] as readonly string[])]);
        told.coverage.hit('verify ended');
        if (this.load) told.coverage.hit('verify ended while hosts wrote');
        return;
      case 'verify.found':
        return this.#found(told, facts);
      case 'verify.learn':
        this.learntAt.set(site, told.world.now);
        return;
      default:
    }
  }

  /** What was flipped has been put right. */
  forget(): void {
    this.flipped.clear();
    this.found.clear();
    this.mendedUnseen.clear();
    this.#run.clear();
  }

  /** Ends a run that had compared the copies of these sites in every step. */
  #excuse(compared: readonly string[]): void {
    const places = new Set([...this.#run].map((key) => key.slice(key.indexOf(' '))));
    this.#run.clear();
    for (const key of this.flipped) {
      const at = key.indexOf(' ');
      if (places.has(key.slice(at)) && !compared.includes(key.slice(0, at))) this.mendedUnseen.add(key);
    }
  }

  #foundRecord(told: Told, facts: Readonly<Record<string, unknown>>): void {
    const [from, length] = [Number(facts['offset']), Number(facts['length'])];
    const named = this.flippedRecords.filter(
      ({ site, file, at }) => site === facts['site'] && file === facts['file'] && at >= from && at < from + length,
    );
    for (const one of named) this.foundRecords.add(one);
    if (named.length === 0 && !told.forced && !told.everHarmed)
      told.world.fail('verify false alarm', `a verify calls ${JSON.stringify(facts)} damaged, and nothing was ever damaged there`);
  }

  #found(told: Told, facts: Readonly<Record<string, unknown>>): void {
    // Disks fail to read now and then, and that is what it says.
    if (facts['kind'] === 'unreadable') return;
    if (facts['file'] !== null) return this.#foundRecord(told, facts);
    const key = keyOf(String(facts['site']), Number(facts['volume']), Number(facts['offset']));
    this.found.add(key);
    this.#run.add(key);
    if (told.forced || told.everHarmed) return;
    const place = key.slice(key.indexOf(' '));
    const unproven = facts['proven'] === false;
    if (!this.flipped.has(key) && !(unproven && [...this.flipped].some((one) => one.endsWith(place)))) {
      told.world.fail('verify false alarm', `a verify calls ${JSON.stringify(facts)} a difference, and nothing was ever damaged there`);
    } else if (facts['kind'] === 'missed-write') {
      told.world.fail('verify attribution', `a flipped bit is called ${String(facts['kind'])}: ${JSON.stringify(facts)}`);
    }
  }
}

/** Name of a block of a copy. */
export function keyOf(site: string, volume: number, offset: number): string {
  return `${site} ${volume} ${offset}`;
}
