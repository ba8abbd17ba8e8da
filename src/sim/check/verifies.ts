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
  ended = 0;
  /** Whether hosts write. */
  load = true;

  told(told: Told, event: string, facts: Readonly<Record<string, unknown>>): void {
    switch (event) {
      case 'verify.begin':
        if (facts['offset'] !== 0 || facts['volume'] !== 0) told.coverage.hit('verify went on at its cursor');
        return;
      case 'verify.end':
        this.ended++;
        told.coverage.hit('verify ended');
        if (this.load) told.coverage.hit('verify ended while hosts wrote');
        return;
      case 'verify.found':
        return this.#found(told, facts);
      default:
    }
  }

  #found(told: Told, facts: Readonly<Record<string, unknown>>): void {
    const key = keyOf(String(facts['site']), Number(facts['volume']), Number(facts['offset']));
    this.found.add(key);
    if (told.forced || told.everHarmed) return;
    if (!this.flipped.has(key)) {
      told.world.fail('verify false alarm', `a verify calls ${JSON.stringify(facts)} a difference, and nothing was ever damaged there`);
    } else if (facts['kind'] !== 'rot') {
      told.world.fail('verify attribution', `a flipped bit is called ${String(facts['kind'])}: ${JSON.stringify(facts)}`);
    }
  }
}

/** Name of a block of a copy. */
export function keyOf(site: string, volume: number, offset: number): string {
  return `${site} ${volume} ${offset}`;
}
