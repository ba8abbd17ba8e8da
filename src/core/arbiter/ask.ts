// The site's side of the witness: what was learned, and the one change that is being asked for. A change whose answer was lost is asked again
// with the same id until it is known; a view that is older than one already seen is not believed.

import { assert } from '../base/assert.ts';
import type { Clock, Journal, Random } from '../base/ports.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { WitnessAnswer, WitnessOperation, WitnessPort, WitnessReply, WitnessView } from './witness-state.ts';

/** An operation without what the desk adds: names and, where it has none yet, the request's id. */
export type Change =
  | { kind: 'create'; groupId: string; copies: readonly { site: SiteName; mode: 'sync' | 'async' }[]; first: SiteName }
  | { kind: 'claim'; epoch: number; revision: number; byHand?: true }
  | { kind: 'exclude' | 'admit'; site: SiteName; epoch: number; revision: number }
  | { kind: 'handover'; to: SiteName; epoch: number; revision: number }
  | { kind: 'resign'; revision: number }
  | { kind: 'force'; site: SiteName; epoch: number; revision: number };

interface Asking {
  readonly operation: WitnessOperation;
  readonly done: (answer: WitnessAnswer) => void;
  sentAt: Millis;
  /** Whether an answer to the last try is still awaited. */
  inFlight: boolean;
  tries: number;
}

export class WitnessDesk {
  readonly #group: string;
  readonly #site: SiteName;
  readonly #port: WitnessPort;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #journal: Journal;
  readonly #retryMillis: Millis;
  readonly #onView: (view: WitnessView) => void;
  #view: WitnessView | null = null;
  #viewAt: Millis = -Infinity;
  #instance: string | null = null;
  #minimumRevision = 0;
  #reachable: boolean | null = null;
  #reading = false;
  #readSentAt: Millis = -Infinity;
  #unknownGroup = false;
  #asking: Asking | null = null;
  #stopped = false;

  constructor(options: {
    group: string;
    site: SiteName;
    port: WitnessPort;
    clock: Clock;
    random: Random;
    journal: Journal;
    retryMillis: Millis;
    onView: (view: WitnessView) => void;
  }) {
    this.#group = options.group;
    this.#site = options.site;
    this.#port = options.port;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#journal = options.journal;
    this.#retryMillis = options.retryMillis;
    this.#onView = options.onView;
  }

  /** The newest view; null before the first answer. It may be out of date, but whoever asks for a change names its revision. */
  get view(): WitnessView | null {
    return this.#view;
  }

  /** When the question was sent to which the view is the answer: what is in the view was true at that moment or later. */
  get viewAt(): Millis {
    return this.#viewAt;
  }

  /** Whether the last try was answered; null before the first. */
  get reachable(): boolean | null {
    return this.#reachable;
  }

  /** The witness answers, but knows no such group. */
  get unknownGroup(): boolean {
    return this.#unknownGroup;
  }

  /** Whether a change is under way. */
  get busy(): boolean {
    return this.#asking !== null;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** What was known before a restart: a lower revision of the same witness, or another witness, is not believed. */
  remember(known: { instance: string; revision: number } | null): void {
    if (known === null) return;
    this.#instance = known.instance;
    this.#minimumRevision = known.revision;
  }

  newRequestId(): string {
    return this.#random.id();
  }

  /** Asks for the view, unless that was asked already. */
  read(): void {
    if (this.#reading || this.#stopped) return;
    this.#reading = true;
    const sentAt = this.#clock.now();
    this.#readSentAt = sentAt;
    this.#port.call({ kind: 'read', requestId: this.#random.id(), group: this.#group, from: this.#site }, (reply) => {
      this.#reading = false;
      if (!this.#stopped) this.#learn(reply, sentAt);
    });
  }

  /** Asks for the view when none was asked for during `age`. */
  probe(age: Millis): void {
    if (this.#clock.now() - this.#readSentAt >= age) this.read();
  }

  /** When probe(age) has something to do; Infinity while an answer is awaited, which is an event of its own. */
  probeDeadline(age: Millis): Millis {
    return this.#reading || this.#stopped ? Infinity : this.#readSentAt + age;
  }

  /**
   * Asks for a change until its answer is known. One change at a time. `requestId` is given when the question was asked before a restart.
   * `done` is called once with the answer, unless the change was abandoned.
   */
  ask(change: Change, done: (answer: WitnessAnswer) => void, requestId: string = this.#random.id()): void {
    assert(this.#asking === null, 'one change at a time', { asked: change.kind });
    const operation = { ...change, requestId, group: this.#group, from: this.#site } as WitnessOperation;
    this.#asking = { operation, done, sentAt: -Infinity, inFlight: false, tries: 0 };
    this.#send(this.#asking);
  }

  /** Stops waiting for the answer; the change may still happen. Whoever calls this treats what it would change as unknown. */
  abandon(): void {
    this.#asking = null;
  }

  stop(): void {
    this.#stopped = true;
    this.#asking = null;
  }

  tick(now: Millis): void {
    const asking = this.#asking;
    if (asking !== null && !asking.inFlight && now - asking.sentAt >= this.#retryMillis) this.#send(asking);
  }

  deadline(): Millis {
    const asking = this.#asking;
    return asking !== null && !asking.inFlight ? asking.sentAt + this.#retryMillis : Infinity;
  }

  #send(asking: Asking): void {
    const sentAt = this.#clock.now();
    asking.sentAt = sentAt;
    asking.inFlight = true;
    asking.tries++;
    this.#port.call(asking.operation, (reply) => {
      asking.inFlight = false;
      if (this.#stopped) return;
      const believed = this.#learn(reply, sentAt);
      if (this.#asking !== asking) return;
      if (reply.outcome === 'unknown' || !believed) return;
      // Another question of this site may have been answered with a newer state: such an answer is about the past, and counts all the same,
      // because each change names the revision it was decided on.
      this.#asking = null;
      asking.done(reply);
    });
  }

  /** Returns false when the answer is not to be believed. */
  #learn(reply: WitnessReply, sentAt: Millis): boolean {
    if (reply.outcome === 'unknown') {
      this.#setReachable(false);
      return false;
    }
    this.#setReachable(true);
    this.#unknownGroup = reply.outcome === 'refused' && reply.reason === 'unknown-group';
    const view = reply.view;
    if (view === null) return true;
    if (this.#instance !== null && view.instance !== this.#instance) {
      this.#journal(
        'witness.foreign',
        { known: this.#instance, found: view.instance },
        'another witness answers than before: it is not believed',
      );
      return false;
    }
    if (reply.repeated === true) return true;
    if (view.revision < Math.max(this.#minimumRevision, this.#view?.revision ?? 0)) return true;
    this.#instance = view.instance;
    this.#view = view;
    this.#viewAt = Math.max(this.#viewAt, sentAt);
    this.#onView(view);
    return true;
  }

  #setReachable(reachable: boolean): void {
    if (this.#reachable === reachable) return;
    this.#reachable = reachable;
    if (reachable) this.#journal('witness.reachable', {}, 'the witness answers');
    else this.#journal('witness.unreachable', {}, 'the witness does not answer');
  }
}
