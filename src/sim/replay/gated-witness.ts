// A witness whose questions wait until whoever replays a trace lets them arrive: the real step function, answered in the same moment, or not answered
// at all, or so late that nobody waits any more. Looks at it are never held up.

import type { WitnessPort } from '../../core/arbiter/witness-state.ts';
import { apply, type WitnessOperation, type WitnessReply } from '../../core/arbiter/witness-state.ts';
import { type Asker, SimWitness } from '../witness.ts';
import type { World } from '../world.ts';

interface Held {
  readonly asker: Asker;
  readonly life: number;
  readonly operation: WitnessOperation;
  readonly done: (reply: WitnessReply) => void;
}

const NAME = 'witness-1';
const WAY_MILLIS = 0.3;
/** After which a site takes a question that is not answered for lost. */
const PATIENCE_MILLIS = 30;
/** Questions that nobody waits for any more, kept at most. */
const LATE_MAX = 2;

export class GatedWitness extends SimWitness {
  /** Sites whose questions are let through. */
  readonly open = new Set<string>();
  readonly apart = new Set<string>();
  #held: Held[] = [];
  #late: Held[] = [];
  readonly #time: World;
  /** Called before the site hears: what the witness knows has changed. */
  onChange: () => void = () => undefined;

  constructor(world: World) {
    super(world, PATIENCE_MILLIS);
    this.#time = world;
  }

  override portOf(asker: Asker): WitnessPort {
    return {
      call: (operation, done) =>
        asker.gate.pass('witness', () => {
          const held = { asker, life: asker.life, operation, done };
          this.#time.after(WAY_MILLIS, () => this.#arrives(held));
        }),
    };
  }

  /** Kind of the question of a site that waits here; null for none. */
  waiting(site: string): WitnessOperation['kind'] | null {
    return this.#held.find((each) => each.asker.name === site && each.life === each.asker.life)?.operation.kind ?? null;
  }

  letThrough(site: string): void {
    this.open.add(site);
    for (const each of this.#take(site)) this.#answers(each);
  }

  /** What waits here of a site arrives, and the site hears nothing. */
  loseAnswer(site: string): void {
    for (const each of this.#take(site)) {
      this.#step(each);
      this.#unanswered(each);
    }
  }

  /** The path of a site is cut: what waits here is taken for lost, and may arrive late. */
  cutOff(site: string): void {
    this.apart.add(site);
    for (const each of this.#take(site)) {
      this.#unanswered(each);
      this.#keepLate(each);
    }
  }

  mend(site: string): void {
    this.apart.delete(site);
  }

  /** A process is gone: what it has asked may still arrive. */
  ended(site: string): void {
    for (const each of this.#take(site)) this.#keepLate(each);
  }

  arrivesLate(kind: string, site: string): boolean {
    const index = this.#late.findIndex((each) => each.asker.name === site && each.operation.kind === kind);
    const [late] = index < 0 ? [] : this.#late.splice(index, 1);
    if (late === undefined) return false;
    this.#step(late);
    return true;
  }

  #take(site: string): Held[] {
    const taken = this.#held.filter((each) => each.asker.name === site);
    this.#held = this.#held.filter((each) => each.asker.name !== site);
    return taken;
  }

  #keepLate(held: Held): void {
    this.#late.push(held);
    if (this.#late.length > LATE_MAX) this.#late.shift();
  }

  #arrives(held: Held): void {
    const { asker, life, operation } = held;
    if (life !== asker.life || this.apart.has(asker.name)) return this.#unanswered(held);
    const isLook = operation.kind === 'read' || operation.kind === 'prove' || operation.kind === 'create';
    if (isLook || this.open.has(asker.name)) this.#answers(held);
    else this.#held.push(held);
  }

  #answers(held: Held): void {
    const reply = this.#step(held);
    held.asker.enter(`witness-${reply.outcome}`, held.life, () => held.done(reply));
    this.onChange();
  }

  #unanswered(held: Held): void {
    this.#time.after(PATIENCE_MILLIS, () => held.asker.enter('witness-unknown', held.life, () => held.done({ outcome: 'unknown' })));
  }

  #step({ asker, operation }: Held): WitnessReply {
    const { state, answer } = apply(this.state, operation, NAME);
    this.state = state;
    this.#time.note(
      'witness',
      operation.kind,
      state?.revision ?? 0,
      state?.epoch ?? 0,
      () => `${asker.name}: ${JSON.stringify(operation)} -> ${answer.outcome}`,
    );
    return answer;
  }
}
