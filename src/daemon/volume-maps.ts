// Maps of volumes for whoever asks: gathered in small steps between the turns of the event loop, one at a time, and kept for a moment, so that many
// who look cost no more than one.

import type { VolumeMap } from '../core/site/volume-map.ts';

/** For how long a map is shown to others who ask, and how much rarer than it takes it is gathered. */
const KEPT_MILLIS = 2000;
const KEPT_SHARE = 20;

interface Kept {
  readonly until: number;
  readonly map: Promise<VolumeMap>;
}

/** What one step of gathering gives: the map, or null while there is more to do. */
type Step = () => VolumeMap | null;

/** The maps of one group. */
export class VolumeMaps {
  readonly #kept = new Map<string, Kept>();
  #last: Promise<unknown> = Promise.resolve();

  /** The map under a key, which says what it is of: as kept, or gathered by the steps that `begin` gives. */
  map(key: string, begin: () => Step): Promise<VolumeMap> {
    const kept = this.#kept.get(key);
    if (kept !== undefined && performance.now() < kept.until) return kept.map;
    const began = performance.now();
    const map = this.#last.then(() => gather(begin()));
    const forget = (): void => {
      this.#kept.delete(key);
    };
    this.#kept.set(key, { until: Infinity, map });
    this.#last = map.then(() => {
      const took = performance.now() - began;
      this.#kept.set(key, { until: performance.now() + Math.max(KEPT_MILLIS, took * KEPT_SHARE), map });
    }, forget);
    // One who asks for many different ones does not fill the memory with them.
    if (this.#kept.size > KEYS_MAX) for (const other of [...this.#kept.keys()].slice(0, 1)) this.#kept.delete(other);
    return map;
  }
}

const KEYS_MAX = 16;

async function gather(step: Step): Promise<VolumeMap> {
  for (;;) {
    const map = step();
    if (map !== null) return map;
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}
