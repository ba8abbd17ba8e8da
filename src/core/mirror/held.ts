// The acknowledgement loop: a mirror acknowledges to the primary; the primary tells the other mirrors what that one holds; those confirm that they
// have heard. So a mirror drops only what the others are known to hold, and the primary knows which mirror knows what. What is told is what is
// on stable storage: records that are only received may be gone after a loss of power.

import { assert } from '../base/assert.ts';
import { isCount, type Epoch, type Millis, type Seq, type SiteName } from '../base/units.ts';
import { decodeJson } from './messages.ts';

/** What one copy holds, as its primary knows it. */
export interface HeldCopy {
  readonly site: SiteName;
  readonly received: Seq;
  readonly durable: Seq;
  /** First record that its sidefile still holds, as it said last; told only where the size of sidefiles goes by it. */
  readonly oldest?: Seq;
}

/** Primary to mirror: what the other copies hold. */
export interface Held {
  readonly epoch: Epoch;
  /** Number of this message on its connection, from 1. */
  readonly number: number;
  readonly copies: readonly HeldCopy[];
}

/** Null when the body is not of this form. */
export function readHeld(body: Uint8Array): Held | null {
  const o = decodeJson(body);
  if (o === null || !isCount(o['epoch']) || !isCount(o['number']) || !Array.isArray(o['copies'])) return null;
  const copies: HeldCopy[] = [];
  for (const item of o['copies'] as unknown[]) {
    if (typeof item !== 'object' || item === null) return null;
    const { site, received, durable, oldest } = item as Record<string, unknown>;
    if (typeof site !== 'string' || site.length === 0 || site.length > 128 || !isCount(received) || !isCount(durable)) return null;
    if (durable > received || (oldest !== undefined && !isCount(oldest))) return null;
    copies.push({ site, received, durable, ...(oldest !== undefined && { oldest }) });
  }
  return { epoch: o['epoch'], number: o['number'], copies };
}

/** A mirror's knowledge of the other copies. It outlives the connection, and the primary; another epoch makes it void. */
export class HeldTable {
  #epoch: Epoch = 0;
  #copies: ReadonlyMap<SiteName, HeldCopy> = new Map();

  get epoch(): Epoch {
    return this.#epoch;
  }

  get copies(): ReadonlyMap<SiteName, HeldCopy> {
    return this.#copies;
  }

  take(held: Held): void {
    this.#epoch = held.epoch;
    this.#copies = new Map(held.copies.map((copy) => [copy.site, copy]));
  }

  /**
   * First record that some other copy is not known to hold, Infinity when those that matter are known to hold everything; null when nothing is
   * known in this epoch. `noted`: what a copy lacks is noted otherwise, so that no record need be held for it.
   */
  floor(epoch: Epoch, noted: (copy: HeldCopy) => boolean): Seq | null {
    if (epoch !== this.#epoch || this.#copies.size === 0) return null;
    const lacking = [...this.#copies.values()].filter((copy) => !noted(copy));
    return Math.min(...lacking.map((copy) => copy.durable)) + 1;
  }
}

/** Pauses between two messages to one mirror. */
export interface HeldPauses {
  /** When there is something new to tell. */
  readonly news: Millis;
  /** When there is not: how the mirror's own sidefile is, it says only in its answer. */
  readonly again: Millis;
}

/** The primary's side of the loop with one mirror, on one connection: one message is under way at a time. */
export class HeldTeller {
  #number = 0;
  /** What was told last. */
  #told: readonly HeldCopy[] = [];
  #hasNews = false;
  #sent: readonly HeldCopy[] | null = null;
  #sentAt: Millis = -Infinity;
  /** What the mirror has confirmed to know. */
  #known: ReadonlyMap<SiteName, HeldCopy> = new Map();

  /** The mirror's connection ended: it may have forgotten. */
  reset(): void {
    this.#number = 0;
    this.#told = [];
    this.#hasNews = false;
    this.#sent = null;
    this.#known = new Map();
  }

  /** What the mirror is known to know of another copy. */
  known(site: SiteName): HeldCopy | null {
    return this.#known.get(site) ?? null;
  }

  /**
   * When there is something to tell or to ask next; Infinity while the last message is not confirmed, and while nothing is known at all. `copies` are
   * asked for only where that depends on them: this is called in every turn.
   */
  dueAt(copies: () => readonly HeldCopy[], pauses: HeldPauses): Millis {
    if (this.#sent !== null) return Infinity;
    this.#hasNews ||= !areSame(copies(), this.#told);
    if (this.#hasNews) return this.#sentAt + pauses.news;
    return this.#told.length === 0 ? Infinity : this.#sentAt + pauses.again;
  }

  next(epoch: Epoch, copies: readonly HeldCopy[], now: Millis): Held {
    assert(this.#sent === null, 'one message at a time', { number: this.#number });
    this.#sent = copies;
    this.#sentAt = now;
    this.#told = copies;
    this.#hasNews = false;
    // A copy that has less than it had is known to the mirror up to there only, from the moment in which that is told.
    const lower = copies.filter((copy) => copy.durable < (this.#known.get(copy.site)?.durable ?? 0));
    if (lower.length > 0) this.#known = new Map([...this.#known, ...lower.map((copy) => [copy.site, copy] as const)]);
    return { epoch, number: ++this.#number, copies };
  }

  /** The mirror has heard. Returns what is wrong with that, or null. */
  confirmed(number: number): string | null {
    if (number > this.#number) return `confirms message ${number} on what other copies hold, ${this.#number} were sent`;
    if (number < this.#number || this.#sent === null) return null;
    this.#known = new Map(this.#sent.map((copy) => [copy.site, copy]));
    this.#sent = null;
    return null;
  }
}

function areSame(some: readonly HeldCopy[], others: readonly HeldCopy[]): boolean {
  if (some.length !== others.length) return false;
  return some.every((copy, index) => {
    const other = others[index] as HeldCopy;
    return copy.site === other.site && copy.received === other.received && copy.durable === other.durable;
  });
}
