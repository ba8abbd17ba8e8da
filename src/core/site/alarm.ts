// When a site is to be woken by its clock, and for what. Each source names what is done at its moment. One whose moment is still over when the tick has
// ended has done nothing about it, and would have the loop turn in circles: the first tick finds nothing to do, and so does every other one. That is a
// fault of this program and of no data, so that it is told of and the process goes on: such a source is heard only after pauses that grow.

import { assert } from '../base/assert.ts';
import type { Journal } from '../base/ports.ts';
import type { Millis } from '../base/units.ts';

/** Something that the clock brings. */
export interface Source {
  readonly name: string;
  /** What a tick at its moment does. */
  readonly does: string;
  /** The moment; Infinity when only another event can bring one. */
  readonly at: (now: Millis) => Millis;
}

/** A source whose moment has come and brought nothing. */
export interface Restless {
  readonly name: string;
  readonly does: string;
  /** Ticks in a row that have changed nothing about it. */
  readonly ticks: number;
}

/** So many ticks in a row may find a source due and leave it so: sums of times are rounded, and the next one is behind that. */
const IDLE_TICKS_MAX = 3;
/** The first pause, and the longest: within it a site that has such a fault still notices what another event does not tell it. */
const PAUSE_MILLIS = 4;
const PAUSE_MILLIS_MAX = 250;

interface Watched {
  readonly source: Source;
  ticks: number;
  /** It is not heard before. */
  notBefore: Millis;
  told: boolean;
}

/** The clock's part in one site. */
export class Alarm {
  readonly #watched: readonly Watched[];
  readonly #journal: Journal;

  constructor(sources: readonly Source[], journal: Journal) {
    this.#watched = sources.map((source) => ({ source, ticks: 0, notBefore: -Infinity, told: false }));
    this.#journal = journal;
  }

  /** When tick() is wanted at the latest. */
  at(now: Millis): Millis {
    let earliest = Infinity;
    for (const { source, notBefore } of this.#watched) {
      const at = source.at(now);
      assert(!Number.isNaN(at), 'a moment is a number', { source: source.name });
      earliest = Math.min(earliest, at === Infinity ? at : Math.max(at, notBefore));
    }
    return earliest;
  }

  /** A tick has ended that began at `began`: whatever was due then is not any more. */
  ticked(began: Millis, now: Millis): void {
    for (const watched of this.#watched) {
      const { source } = watched;
      if (source.at(now) > began) {
        watched.ticks = 0;
        watched.notBefore = -Infinity;
        continue;
      }
      if (began < watched.notBefore || ++watched.ticks < IDLE_TICKS_MAX) continue;
      watched.notBefore = now + Math.min(PAUSE_MILLIS_MAX, PAUSE_MILLIS * 2 ** Math.min(watched.ticks - IDLE_TICKS_MAX, 16));
      this.#tell(watched);
    }
  }

  /** A source that ticks find due again and again, without anything being done. */
  get restless(): Restless | null {
    const watched = this.#watched.find(({ ticks }) => ticks >= IDLE_TICKS_MAX);
    return watched === undefined ? null : { name: watched.source.name, does: watched.source.does, ticks: watched.ticks };
  }

  /** Once for each source: a fault that comes again every moment is no news. */
  #tell(watched: Watched): void {
    if (watched.told) return;
    watched.told = true;
    const { name, does } = watched.source;
    const text = `it was to be done and was not: ${does}; it is looked at again after a pause. This is a fault of the program: please report it`;
    this.#journal('alarm.restless', { source: name, ticks: watched.ticks }, text);
  }
}
