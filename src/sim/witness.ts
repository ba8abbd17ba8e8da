// The simulated witness: the real step function over a store that is durable before it is shown, behind a path that delays, loses and doubles
// requests and answers. A request may arrive long after the site that sent it has died and started again.

import {
  apply,
  NEWER_OPERATIONS,
  type WitnessOperation,
  type WitnessPort,
  type WitnessReply,
  type WitnessState,
} from '../core/arbiter/witness-state.ts';
import { Chance } from './random.ts';
import type { Gate } from './gate.ts';
import type { World } from './world.ts';

/** What goes wrong on the way to the witness. */
export interface WitnessTrouble {
  /** Probability that a request, or else its answer, is lost. */
  lostRequests: number;
  lostAnswers: number;
  /** Probability that a request arrives a second time, much later. */
  doubled: number;
  /** Times are multiplied with this. */
  slowness: number;
}

/** What the oracles and the coverage want to know of each operation. */
export interface WitnessStep {
  readonly operation: WitnessOperation;
  readonly before: WitnessState | null;
  readonly after: WitnessState | null;
  readonly reply: WitnessReply;
  /** When this question was put for the first time. */
  readonly askedAt: number;
}

/** A site as the witness sees it. */
export interface Asker {
  readonly name: string;
  readonly gate: Gate;
  readonly life: number;
  enter(what: string, life: number, run: () => void): void;
}

/** The witness's machine. */
export class SimWitness {
  readonly trouble: WitnessTrouble = { lostRequests: 0, lostAnswers: 0, doubled: 0, slowness: 1 };
  /** Probability that a request arrives twice, whatever else is wrong. */
  baseDoubled = 0;
  /** What is durable at the witness whose grants count: the one that began to grant last. */
  state: WitnessState | null = null;
  /** Name of that one, and of the one that answers at the address; for some sites another one does. */
  record = FIRST;
  current = FIRST;
  readonly detours = new Map<string, string>();
  /** Called when a witness that no copy should believe any more changes something. */
  onStray: (step: WitnessStep) => void = () => undefined;
  up = true;
  /** Whether its program is of before the operations on members. */
  isOlder: () => boolean = () => false;
  /** Called when it did not understand an operation. Returns after how long another try of that arrives at a newer program; null: none does. */
  onNotUnderstood: (operation: WitnessOperation) => number | null = () => null;
  /** Kinds of operations whose next answer is lost. */
  readonly loseNext = new Set<WitnessOperation['kind']>();
  /** Kinds of operations at whose next arrival the path of the asker is cut, for so many milliseconds. */
  readonly cutAt = new Map<WitnessOperation['kind'], number>();
  /** Sites whose path to the witness is cut. */
  readonly cut = new Set<string>();
  /** Called when the state has become durable, before anybody is told. */
  onStep: (step: WitnessStep) => void = () => undefined;
  /** Called when an answer does not reach the one who asked. */
  onLost: (operation: WitnessOperation, happened: boolean) => void = () => undefined;
  private readonly world: World;
  private readonly chance: Chance;
  private readonly timeoutMillis: number;
  /** When each request id was used first. */
  private readonly asked = new Map<string, number>();
  private life = 0;
  private storeFree = 0;
  /** What each witness that there ever was has on its disk. */
  private readonly stores = new Map<string, WitnessState | null>();
  /** Older states of the one of record: what backups hold. */
  private readonly past: WitnessState[] = [];
  private readonly lost = new Set<string>();
  private names = 1;

  constructor(world: World, timeoutMillis: number) {
    this.world = world;
    this.chance = world.chance('witness');
    this.timeoutMillis = timeoutMillis;
  }

  /** The way of one site to the witness. */
  portOf(asker: Asker): WitnessPort {
    return { call: (operation, done) => asker.gate.pass('witness', () => this.call(asker, operation, done)) };
  }

  /** Whether the witness that answers at the address is the one whose grants count, for every site. */
  get whole(): boolean {
    return this.current === this.record && this.detours.size === 0;
  }

  /** What the witness that answers at the address has on its disk. */
  get answering(): WitnessState | null {
    return this.stores.get(this.current) ?? null;
  }

  /** Another witness, with an empty disk, or with what an older backup holds. Returns its name. */
  another(fromBackup: boolean): string {
    this.names++;
    const name = `witness-${this.names}`;
    const older = this.past.length === 0 ? null : this.chance.pick(this.past);
    this.stores.set(name, fromBackup ? older : null);
    return name;
  }

  /** A witness whose disk is gone, or that was thrown away. */
  lose(name: string): void {
    this.lost.add(name);
  }

  /** The address names the one of record again, unless that is lost. */
  nameRight(): void {
    this.detours.clear();
    if (!this.lost.has(this.record)) this.current = this.record;
  }

  /** The disk of the witness of record is put back to an older state, and nobody tells it. */
  putBack(revision: number): void {
    const older = this.past.find((state) => state.revision === revision);
    if (older !== undefined) this.stores.set(this.record, older);
  }

  stop(): void {
    this.up = false;
    this.life++;
  }

  start(): void {
    this.up = true;
    this.storeFree = this.world.now;
  }

  /** An operator asks from a site's machine, and is heard. */
  operate(asker: Asker, operation: WitnessOperation): WitnessReply {
    return this.step(asker, operation);
  }

  private call(asker: Asker, operation: WitnessOperation, done: (reply: WitnessReply) => void): void {
    const { life } = asker;
    if (!this.asked.has(operation.requestId)) this.asked.set(operation.requestId, this.world.now);
    let answered = false;
    const answer = (reply: WitnessReply): void => {
      if (answered) return;
      answered = true;
      asker.enter(`witness-${reply.outcome}`, life, () => done(reply));
    };
    this.world.after(this.timeoutMillis, () => answer({ outcome: 'unknown' }));
    // Half of what arrives late arrives only then: the asker has long asked for something else.
    const late = this.chance.happens(Math.max(this.baseDoubled, this.trouble.doubled));
    if (late) {
      this.world.after(this.chance.spread(100, 20_000), () => this.arrive(asker, operation, () => undefined));
    }
    if (this.chance.happens(this.trouble.lostRequests) || (late && this.chance.happens(0.5))) {
      this.onLost(operation, false);
      return;
    }
    this.world.after(this.delay(), () => this.arrive(asker, operation, answer));
  }

  private arrive(asker: Asker, operation: WitnessOperation, answer: (reply: WitnessReply) => void, isNewer = !this.isOlder()): void {
    if (!this.up) {
      // A machine without the process refuses the connection, which is no news about an earlier try.
      if (this.chance.happens(0.5)) this.world.after(this.delay(), () => answer({ outcome: 'unknown' }));
      return;
    }
    const cutMillis = this.cutAt.get(operation.kind);
    if (cutMillis !== undefined) {
      this.cutAt.delete(operation.kind);
      this.cut.add(asker.name);
      this.world.after(cutMillis, () => this.cut.delete(asker.name));
    }
    if (this.cut.has(asker.name)) {
      // What was on its way when the path was cut may arrive after it, long after the asker has given it up.
      if (this.chance.happens(0.3)) this.world.after(this.chance.spread(50, 5000), () => this.arrive(asker, operation, () => undefined));
      return;
    }
    const { life } = this;
    // One operation after the other: the next is decided on what the one before has made durable.
    this.storeFree = Math.max(this.storeFree, this.world.now) + this.chance.spread(0.2, 4) * this.trouble.slowness;
    this.world.at(this.storeFree, () => {
      // A witness that died before this may have stored it or not, and answers nobody.
      if (life !== this.life && this.chance.happens(0.5)) return;
      const reply: WitnessReply =
        isNewer || !NEWER_OPERATIONS.has(operation.kind) ? this.step(asker, operation) : this.notUnderstood(asker, operation);
      const chosen = reply.outcome === 'done' && this.loseNext.delete(operation.kind);
      const lost = chosen || life !== this.life || this.cut.has(asker.name) || this.chance.happens(this.trouble.lostAnswers);
      if (lost) this.onLost(operation, true);
      else this.world.after(this.delay(), () => answer(reply));
    });
  }

  private step(asker: Asker, operation: WitnessOperation): WitnessReply {
    const name = this.detours.get(asker.name) ?? this.current;
    const stored = this.stores.get(name) ?? null;
    const { state, answer } = apply(stored, operation, name);
    this.stores.set(name, state);
    const grants = isSeeded(state, name);
    const begins = grants && !isSeeded(stored, name);
    const before = begins ? this.state : stored;
    if (name === this.record || begins) {
      this.record = name;
      if (grants && state !== null) {
        this.state = state;
        if (state.revision !== stored?.revision) this.past.push(state);
      }
    }
    const revision = state?.revision ?? 0;
    this.world.note(
      'witness',
      operation.kind,
      revision,
      state?.epoch ?? 0,
      () => `${name}: ${asker.name} ${JSON.stringify(operation)} -> ${answerText(answer, state)}`,
    );
    const step = { operation, before, after: state, reply: answer, askedAt: this.asked.get(operation.requestId) ?? this.world.now };
    if (name === this.record) this.onStep(step);
    else if (grants && state?.revision !== stored?.revision) this.onStray(step);
    return answer;
  }

  private notUnderstood(asker: Asker, operation: WitnessOperation): WitnessReply {
    this.world.note('witness', 'not-understood', 0, 0, () => `${asker.name} ${JSON.stringify(operation)}`);
    const again = this.onNotUnderstood(operation);
    if (again !== null) this.world.after(again, () => this.arrive(asker, operation, () => undefined, true));
    return { outcome: 'not-understood' };
  }

  private delay(): number {
    return this.chance.spread(0.3, 6) * this.trouble.slowness;
  }
}

const FIRST = 'witness-1';

/** Whether a witness of that name grants on this state. */
function isSeeded(state: WitnessState | null, name: string): boolean {
  return state !== null && state.seeded && state.instance === name;
}

function answerText(answer: WitnessReply, state: WitnessState | null): string {
  const flags = (state?.copies ?? []).map((copy) => `${copy.site}=${copy.flag ? 1 : 0}`).join(' ');
  const why = answer.outcome === 'refused' ? ` ${answer.reason}` : '';
  return `${answer.outcome}${why}; primary ${state?.primary ?? 'none'} ${flags}`;
}
