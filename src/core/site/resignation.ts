// What a copy that has failed still does: it takes its own flag back, which the witness allows while another one is true, so nobody waits for it.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { Journal } from '../base/ports.ts';
import type { SiteName } from '../base/units.ts';
import type { SiteOptions } from './contract.ts';

export class Resignation {
  readonly #site: SiteName;
  readonly #desk: WitnessDesk;
  readonly #journal: Journal;
  /** Nothing is to be asked of the witness about this copy: it has resigned, or must not. */
  #settled = false;

  constructor(options: SiteOptions, desk: WitnessDesk) {
    this.#site = options.site;
    this.#desk = desk;
    this.#journal = options.journal;
  }

  /** Only where another copy surely holds everything: a copy that fails while nobody leads may be the one that holds the most. */
  begin(elsewhere: boolean): void {
    this.#settled = !elsewhere;
    this.turn();
  }

  turn(): void {
    const { view } = this.#desk;
    if (this.#settled || view === null || this.#desk.busy) return;
    const own = view.copies.find((copy) => copy.site === this.#site);
    const other = view.copies.some((copy) => copy.site !== this.#site && copy.mode === 'sync' && copy.flag);
    if (own?.flag !== true || !other) return;
    this.#desk.ask({ kind: 'resign', revision: view.revision }, (answer) => {
      this.#settled = answer.outcome === 'done';
      if (this.#settled) this.#journal('resign.done', {}, 'this copy has failed and has put its own flag to false');
    });
  }
}
