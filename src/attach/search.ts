// Finds the site that serves a volume: asks all of them at once, and takes the one of the newest epoch. An old primary that has not noticed
// yet says it serves, too; its epoch is older, and it answers nothing that could be wrong (it has no lease).

import type { Buffers } from '../core/base/ports.ts';
import { INFO } from '../core/nbd/constants.ts';
import { readStanding, type Standing } from '../core/nbd/standing.ts';
import { Outgoing, type Way } from '../host/nbd-outgoing.ts';
import type { TurnScheduler } from '../host/wake.ts';

/** Where a site may be asked. */
export interface Target {
  readonly site: string;
  readonly ways: readonly Way[];
}

/** A site that serves, and the connection over which it said so. */
export interface Found {
  readonly site: string;
  readonly standing: Standing;
  readonly connection: Outgoing;
}

export interface SearchOptions {
  readonly targets: readonly Target[];
  /** Name of the export. */
  readonly name: string;
  readonly buffers: Buffers;
  readonly turns: TurnScheduler;
}

/** For each site to answer. */
const ANSWER_MILLIS = 2_000;
/** How long others are waited for when one has answered already. */
const OTHERS_MILLIS = 250;

/** One round of questions. */
export class Search {
  readonly #found: Found[] = [];
  readonly #reasons = new Map<string, string>();
  readonly #open = new Set<Outgoing>();
  readonly #done: (found: Found | null, reasons: ReadonlyMap<string, string>) => void;
  #timer: NodeJS.Timeout | null = null;
  #isOver = false;

  /** `done` is called once, later: with the site to use, or with why each does not serve. Not after stop(). */
  constructor(options: SearchOptions, done: (found: Found | null, reasons: ReadonlyMap<string, string>) => void) {
    this.#done = done;
    for (const target of options.targets) for (const way of target.ways) this.#ask(target.site, way, options);
    if (this.#open.size === 0) setImmediate(() => this.#end());
  }

  /** Gives the round up. */
  stop(): void {
    this.#isOver = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const connection of this.#open) connection.destroy('not needed any more');
    for (const { connection } of this.#found) connection.destroy('not needed any more');
  }

  #ask(site: string, way: Way, { buffers, name, turns }: SearchOptions): void {
    const connection = new Outgoing({ way, buffers, turns, timeoutMillis: ANSWER_MILLIS, structured: true });
    this.#open.add(connection);
    connection.ask({ name: `${name}@direct`, go: false, contexts: [], infos: [INFO.DESCRIPTION] }, (answer) => {
      this.#open.delete(connection);
      const standing = answer.kind === 'described' ? readStanding(answer.description) : null;
      if (standing !== null) {
        this.#found.push({ site: standing.site, standing, connection });
        this.#timer ??= setTimeout(() => this.#end(), OTHERS_MILLIS);
      } else {
        this.#reasons.set(site, answer.kind === 'described' ? 'what answers there is no site of this version' : answer.reason);
        connection.destroy('it does not serve');
      }
      if (this.#open.size === 0) this.#end();
    });
  }

  #end(): void {
    if (this.#isOver) return;
    let best: Found | null = null;
    for (const found of this.#found) if (best === null || found.standing.epoch > best.standing.epoch) best = found;
    if (best !== null) this.#found.splice(this.#found.indexOf(best), 1);
    this.stop();
    this.#done(best, this.#reasons);
  }
}
