// What a copy needs from time to time whatever its site's role: records made durable that nobody waits for, and moved to the base image; and the word
// of how far back its sidefile is to have room.

import type { Millis, Seq } from '../base/units.ts';
import type { Mode } from '../base/copies.ts';
import type { HeldTable } from '../mirror/held.ts';
import type { Replica } from '../replica/replica.ts';
import type { SiteOptions } from './contract.ts';

/** Who knows what the other copies hold. */
interface Knowledge {
  /** As primary; null elsewhere. */
  readonly lead: () => { readonly held: { readonly oldest: Seq } } | null;
  readonly held: HeldTable;
  /** How the copy here is mirrored, and is to be. */
  readonly modes: () => readonly Mode[];
}

type UpkeepOptions = Pick<SiteOptions, 'destageIdleMillis' | 'setAside' | 'recordsMax'>;

/** Of a fixed count of records, what may be unflushed: what is not durable here is kept elsewhere, and counts there. */
const UNFLUSHED_SHARE = 1 / 8;

export class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #knowledge: Knowledge;
  #lastFlush: Millis = -Infinity;

  constructor(options: UpkeepOptions, knowledge: Knowledge) {
    this.#options = options;
    this.#knowledge = knowledge;
  }

  turn(replica: Replica, now: Millis): void {
    const { durable, received } = replica.marks;
    const { destageIdleMillis, recordsMax = 0 } = this.#options;
    const isMuch = recordsMax > 0 && received - durable > recordsMax * UNFLUSHED_SHARE;
    if (replica.inMemory) {
      // Hosts are answered on the word of a sync copy, which may have to serve: what it holds survives its process.
      if (this.#knowledge.modes().includes('sync') && !replica.changing) replica.toDisk();
      else if (isMuch) replica.flush();
    } else if (durable < received && (isMuch || now - this.#lastFlush >= destageIdleMillis)) {
      this.#lastFlush = now;
      replica.flush();
    }
    if (this.#options.setAside.guide === 'oldest') replica.use.guideFrom = this.#oldestElsewhere(replica);
    replica.work(now);
  }

  deadline(replica: Replica, now: Millis): Millis {
    const { destageIdleMillis } = this.#options;
    const flushes = !replica.inMemory && replica.marks.durable < replica.marks.received;
    const flushAt = flushes ? Math.max(this.#lastFlush, now - 1) + destageIdleMillis : Infinity;
    return Math.min(replica.nextWork, flushAt);
  }

  /** First record that the sidefile of another copy still holds; Infinity when that is not known in this epoch. */
  #oldestElsewhere(replica: Replica): Seq {
    const lead = this.#knowledge.lead();
    if (lead !== null) return lead.held.oldest;
    const { epoch, copies } = this.#knowledge.held;
    return epoch === replica.epoch ? Math.min(Infinity, ...[...copies.values()].map(({ oldest }) => oldest ?? Infinity)) : Infinity;
  }
}
