// The site's side of the witness: what was learned, and the one change that is being asked for. A change whose answer was lost is asked again
// with the same id until it is known; a view that is older than one already seen is not believed.

import { assert, unreachable } from '../base/assert.ts';
import type { Clock, Journal, Random } from '../base/ports.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { CopyReport } from './seeding.ts';
import type { CopyMode, WitnessAnswer, WitnessOperation, WitnessPort, WitnessReply, WitnessView } from './witness-state.ts';

/** An operation without what the desk adds: names and, where it has none yet, the request's id. */
export type Change =
  | { kind: 'create'; groupId: string; copies: readonly { site: SiteName; mode: 'sync' | 'async' }[]; first: SiteName }
  | { kind: 'claim'; epoch: number; revision: number; byHand?: true }
  | { kind: 'exclude' | 'admit'; site: SiteName; epoch: number; revision: number }
  | { kind: 'handover'; to: SiteName; epoch: number; revision: number }
  | { kind: 'mode' | 'add'; site: SiteName; mode: 'sync' | 'async'; epoch: number; revision: number }
  | { kind: 'remove'; site: SiteName; epoch: number; revision: number }
  | { kind: 'resign'; revision: number }
  | { kind: 'force'; site: SiteName; epoch: number; revision: number };

/**
 * Why a witness that answers is not believed. foreign: another one than before. empty: it knows no such group, and this copy has been in it.
 * rolled-back: it tells an older state than it told before. unseeded: it grants nothing until the copies have reported. refused: it does not take
 * this copy's report. deleted: it is believed, and says that this very group was deleted.
 */
export type WitnessTrouble =
  | { readonly kind: 'foreign'; readonly instance: string }
  | { readonly kind: 'empty' }
  | { readonly kind: 'deleted' }
  | { readonly kind: 'rolled-back'; readonly known: number; readonly found: number }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'unseeded'; readonly view: WitnessView; readonly missing: readonly SiteName[]; readonly round: number };

/** What a copy reports to a witness that was replaced. */
export interface Report {
  readonly groupId: string;
  readonly copies: readonly { site: SiteName; mode: CopyMode }[];
  readonly report: CopyReport;
}

/** Any, or just this answer to something that was asked aside. */
type Heard = (reply: WitnessReply) => void;

/** What was known when a question left. */
interface Sending {
  readonly at: Millis;
  readonly instance: string | null;
  readonly revision: number;
}

interface Asking {
  readonly operation: WitnessOperation;
  readonly done: (answer: WitnessAnswer) => void;
  readonly notUnderstood: (() => void) | null;
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
  readonly #groupId: () => string | null;
  readonly #proveMillis: Millis;
  readonly #onView: (view: WitnessView) => void;
  #view: WitnessView | null = null;
  #viewAt: Millis = -Infinity;
  #instance: string | null = null;
  /** Name of a witness that knows no such group, while none is believed: it is the one that is asked to enter it. */
  #met: string | null = null;
  #minimumRevision = 0;
  #reachable: boolean | null = null;
  #reading = false;
  #readSentAt: Millis = -Infinity;
  #provedAt: Millis = -Infinity;
  /** The last question was to prove the path, and no answer to it was believed: the next only asks. */
  #proofFailed = false;
  #unknownGroup = false;
  #asking: Asking | null = null;
  #trouble: WitnessTrouble | null = null;
  /** The witness that is believed from now on is told what this copy is, until it grants. */
  #moving = false;
  #stopped = false;

  constructor(options: {
    group: string;
    site: SiteName;
    port: WitnessPort;
    clock: Clock;
    random: Random;
    journal: Journal;
    retryMillis: Millis;
    /** Of the copy here; null while there is none. */
    groupId: () => string | null;
    /** How old the last proof of the whole path may become. */
    proveMillis: Millis;
    onView: (view: WitnessView) => void;
  }) {
    this.#group = options.group;
    this.#site = options.site;
    this.#port = options.port;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#journal = options.journal;
    this.#retryMillis = options.retryMillis;
    this.#groupId = options.groupId;
    this.#proveMillis = options.proveMillis;
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

  /** When the question was sent to which the last answer came that had been written to the witness's disk first; -Infinity before. */
  get provedAt(): Millis {
    return this.#provedAt;
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

  /** Why the witness that answers is not believed; null while it is, or does not answer. */
  get trouble(): WitnessTrouble | null {
    return this.#trouble;
  }

  /** Name of the witness that is believed; null before the first. */
  get instance(): string | null {
    return this.#instance;
  }

  /** Whether this copy reports to a new witness. Until that one grants, nothing that any witness says of the group counts. */
  get moving(): boolean {
    return this.#moving;
  }

  /** Newest revision that was seen of the witness that is believed. */
  get knownRevision(): number {
    return Math.max(this.#minimumRevision, this.#view?.revision ?? 0);
  }

  /** What was known before a restart: a lower revision of the same witness, or another witness, is not believed. */
  remember(known: { instance: string; revision: number; reporting?: true } | null): void {
    if (known === null) return;
    this.#instance = known.instance;
    if (known.reporting === true) return this.moveTo(known.instance);
    this.#minimumRevision = known.revision;
  }

  /** Believes only that witness from now on. A change that is being asked for is asked of it, and refused: it names a revision of the old one. */
  moveTo(instance: string): void {
    this.#instance = instance;
    this.#moving = true;
    // An operator's decision about a state that he saw there is not carried over.
    if (this.#asking?.operation.kind === 'force') this.#asking = null;
    this.#view = null;
    this.#viewAt = -Infinity;
    this.#provedAt = -Infinity;
    this.#minimumRevision = 0;
    this.#trouble = null;
    this.#unknownGroup = false;
  }

  /** Tells the witness what this copy is. `heard` gets the answer too. */
  report({ groupId, copies, report }: Report, then: Heard): void {
    const instance = this.#instance;
    if (instance === null || this.#stopped) return;
    const round = this.#trouble?.kind === 'unseeded' ? this.#trouble.round : 0;
    this.#aside({ kind: 'report', ...this.#names(), instance, groupId, copies, round, report }, then);
  }

  /** Asks for the witness's state and hands the answer over, believed or not. */
  look(then: Heard): void {
    this.#aside({ kind: 'read', ...this.#names() }, then);
  }

  newRequestId(): string {
    return this.#random.id();
  }

  /** Asks for the view, unless that was asked already. */
  read(): void {
    this.#askView('read');
  }

  /** Asks for the view when none was asked for during `age`; now and then so that the answer proves that the witness can write. */
  probe(age: Millis): void {
    const now = this.#clock.now();
    if (now - this.#readSentAt < age) return;
    // Only of a witness that is believed: whoever is told something else learns it by a plain question.
    const canProve = this.#view !== null && this.#trouble === null && !this.#moving && !this.#proofFailed;
    this.#askView(canProve && now - this.#provedAt >= this.#proveMillis ? 'prove' : 'read');
  }

  #askView(kind: 'read' | 'prove'): void {
    if (this.#reading || this.#stopped) return;
    this.#reading = true;
    const sentAt = this.#clock.now();
    this.#readSentAt = sentAt;
    const { instance } = this;
    this.#proofFailed = kind === 'prove';
    this.#aside({ kind, ...this.#names() }, (reply) => {
      this.#reading = false;
      if (kind === 'read' || reply.outcome !== 'done' || this.#trouble !== null || this.#instance !== instance) return;
      this.#proofFailed = false;
      this.#provedAt = Math.max(this.#provedAt, sentAt);
    });
  }

  /** When probe(age) has something to do; Infinity while an answer is awaited, which is an event of its own. */
  probeDeadline(age: Millis): Millis {
    return this.#reading || this.#stopped ? Infinity : this.#readSentAt + age;
  }

  /**
   * Asks for a change until its answer is known. One change at a time. `requestId` is given when the question was asked before a restart.
   * `done` is called once with the answer, unless the change was abandoned. With `notUnderstood`, a witness whose program does not know the operation ends
   * the question, too: earlier tries may still be carried out, should it be a newer one meanwhile.
   */
  ask(
    change: Change,
    done: (answer: WitnessAnswer) => void,
    { requestId = this.#random.id(), notUnderstood = null }: { requestId?: string; notUnderstood?: (() => void) | null } = {},
  ): void {
    assert(this.#asking === null, 'one change at a time', { asked: change.kind });
    const operation = { ...change, requestId, group: this.#group, from: this.#site } as WitnessOperation;
    this.#asking = { operation, done, notUnderstood, sentAt: -Infinity, inFlight: false, tries: 0 };
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
    const sent = this.#sending();
    asking.sentAt = sent.at;
    asking.inFlight = true;
    asking.tries++;
    this.#port.call({ ...asking.operation, ...this.#seen() }, (reply) => {
      asking.inFlight = false;
      if (this.#stopped) return;
      const believed = this.#learn(reply, sent, asking.operation.kind);
      if (this.#asking !== asking) return;
      if (reply.outcome === 'not-understood') {
        if (asking.notUnderstood === null) return;
        this.#asking = null;
        return asking.notUnderstood();
      }
      // An order by hand that an unseeded witness refuses is refused, whatever else it says; and what is asked about a deleted group is.
      const ended = this.#trouble?.kind === 'deleted' || asking.operation.kind === 'force';
      const final = believed || (ended && reply.outcome === 'refused');
      if (reply.outcome === 'unknown' || !final) return;
      // Another question of this site may have been answered with a newer state: such an answer is about the past, and counts all the same,
      // because each change names the revision it was decided on.
      this.#asking = null;
      asking.done(reply);
    });
  }

  /** Something that is asked once, and whose answer is taken like any other. */
  #aside(operation: WitnessOperation, then: Heard): void {
    const sent = this.#sending();
    this.#port.call({ ...operation, ...this.#seen() }, (reply) => {
      if (this.#stopped) return;
      this.#learn(reply, sent, operation.kind);
      then(reply);
    });
  }

  #names(): { requestId: string; group: string; from: SiteName } {
    return { requestId: this.#random.id(), group: this.#group, from: this.#site };
  }

  #seen(): { seen?: { instance: string; revision: number } } {
    const instance = this.#instance ?? this.#met;
    return instance === null ? {} : { seen: { instance, revision: this.knownRevision } };
  }

  #sending(): Sending {
    return { at: this.#clock.now(), instance: this.#instance, revision: this.knownRevision };
  }

  /** Returns false when the answer is not to be believed. `sent`: what was known when the question left. */
  #learn(reply: WitnessReply, sent: Sending, kind: WitnessOperation['kind']): boolean {
    // A proof that is not given says nothing of the path: the plain question that follows does, and a witness that cannot write does answer that one.
    if (kind !== 'prove' || reply.outcome !== 'unknown') this.#setReachable(reply.outcome !== 'unknown');
    if (reply.outcome === 'unknown' || reply.outcome === 'not-understood') return false;
    // The question went to the witness that was believed before: its answer is about a world that this copy has left.
    if (sent.instance !== this.#instance && sent.instance !== null) return false;
    const trouble = this.#troubleOf(reply, sent, kind);
    if (trouble !== null) {
      if (trouble.kind === 'deleted') this.#view = null;
      this.#setTrouble(trouble);
      return false;
    }
    // A witness that this copy has only just turned to counts once it has taken its report, or an operator has named the survivor.
    if (this.#moving && (reply.outcome !== 'done' || (kind !== 'report' && kind !== 'force'))) return false;
    this.#setTrouble(null);
    const view = reply.view;
    const wasDeleted = reply.outcome === 'refused' && reply.reason === 'deleted';
    this.#unknownGroup = wasDeleted || (reply.outcome === 'refused' && reply.reason === 'unknown-group');
    // What was known of the group before is of no use to the next one of its name.
    if (wasDeleted) this.#view = null;
    if (view === null && reply.outcome === 'refused') this.#met = reply.instance ?? null;
    if (view === null || reply.repeated === true) return true;
    if (view.revision < this.knownRevision) return true;
    this.#moving = false;
    this.#instance = view.instance;
    this.#view = view;
    this.#viewAt = Math.max(this.#viewAt, sent.at);
    this.#onView(view);
    return true;
  }

  #troubleOf(reply: WitnessAnswer, sent: Sending, kind: WitnessOperation['kind']): WitnessTrouble | null {
    const { view } = reply;
    if (view === null) {
      const other = reply.outcome === 'refused' && reply.instance !== undefined && reply.instance !== this.#instance;
      const deleted = reply.outcome === 'refused' ? (reply.deleted?.groupId ?? null) : null;
      const own = this.#groupId();
      if (deleted !== null && deleted === own && (!other || this.#instance === null)) return { kind: 'deleted' };
      if (this.#instance === null || (deleted !== null && own === null && !other)) return null;
      return other ? { kind: 'foreign', instance: reply.instance ?? '' } : { kind: 'empty' };
    }
    if (this.#instance !== null && view.instance !== this.#instance) return { kind: 'foreign', instance: view.instance };
    if (reply.outcome === 'refused' && (reply.reason === 'unseeded' || reply.seeding !== undefined)) {
      const { round, missing } = reply.seeding ?? { round: 0, missing: [] };
      return { kind: 'unseeded', view, round, missing };
    }
    if (kind === 'report' && reply.outcome === 'refused') return { kind: 'refused', why: reply.text };
    // An answer to a question that left later than a newer state was known: it cannot be of before.
    const isOld = reply.repeated !== true && sent.instance !== null && view.revision < sent.revision;
    return isOld ? { kind: 'rolled-back', known: sent.revision, found: view.revision } : null;
  }

  #setTrouble(trouble: WitnessTrouble | null): void {
    const was = this.#trouble?.kind ?? null;
    this.#trouble = trouble;
    if (trouble === null || trouble.kind === was) return;
    switch (trouble.kind) {
      case 'foreign':
        return this.#journal(
          'witness.foreign',
          { known: this.#instance, found: trouble.instance },
          'another witness answers than before: it is not believed',
        );
      case 'deleted':
        return this.#journal('witness.deleted', {}, 'the witness says that this group was deleted: this copy serves no more');
      case 'empty':
        return this.#journal('witness.empty', { known: this.#instance }, 'the witness has forgotten this group: it is not believed');
      case 'rolled-back':
        return this.#journal(
          'witness.rolled-back',
          { known: trouble.known, found: trouble.found },
          `the witness tells revision ${trouble.found}, and has told ${trouble.known} before: it was put back, and is not believed`,
        );
      case 'refused':
        return this.#journal('witness.refuses', { why: trouble.why }, `the witness does not take this copy's report: ${trouble.why}`);
      case 'unseeded':
        return this.#journal('witness.unseeded', { missing: trouble.missing }, 'the witness grants nothing until the copies have reported');
      default:
        return unreachable(trouble);
    }
  }

  #setReachable(reachable: boolean): void {
    if (this.#reachable === reachable) return;
    this.#reachable = reachable;
    if (reachable) this.#journal('witness.reachable', {}, 'the witness answers');
    else this.#journal('witness.unreachable', {}, 'the witness does not answer');
  }
}
