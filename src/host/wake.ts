// When the daemon acts: at the end of a turn of the event loop in which something happened, and when a deadline is reached. All that
// arrived in one turn is one batch, so a turn ends once, after its last event, whoever asked for it.

import type { Clock } from '../core/base/ports.ts';
import type { Millis } from '../core/base/units.ts';

type Work = () => void;

/**
 * Runs work at the end of the present turn of the event loop (one setImmediate for all of it), in two stages: first the sites, which decide
 * and produce answers, then the connections, which send in one piece what was produced.
 */
export class TurnScheduler {
  #work = new Set<Work>();
  #sends = new Set<Work>();
  readonly #always: Work[] = [];
  #armed = false;
  #running = false;
  #turnCount = 0;
  #awakeUntil = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Turns that have ended. */
  get turnCount(): number {
    return this.#turnCount;
  }

  /** Runs `work` once at the end of this turn. What is touched while a turn ends belongs to the next. */
  touch(work: Work): void {
    this.#work.add(work);
    this.arm();
  }

  /** Runs `send` once at the end of this turn, after all work; also when it is the work of that turn that asks for it. */
  touchSend(send: Work): void {
    this.#sends.add(send);
    if (!this.#running) this.arm();
  }

  /** Runs `send` at the end of every turn that something touches, after its work. Returns what ends that. */
  everyTurn(send: Work): () => void {
    this.#always.push(send);
    return () => {
      const index = this.#always.indexOf(send);
      if (index >= 0) this.#always.splice(index, 1);
    };
  }

  /**
   * Keeps the event loop turning without sleep for `millis` from now: an answer that comes within that time is met awake, which saves the
   * time that a sleeping core needs. Costs a core for that long, so it is for short waits only.
   */
  stayAwake(millis: Millis): void {
    const idle = this.#awakeUntil === 0;
    this.#awakeUntil = Math.max(this.#awakeUntil, this.#clock.now() + millis);
    if (idle) this.#spin();
  }

  /** Ends that: what comes next may be waited for asleep. */
  sleep(): void {
    if (this.#awakeUntil > 0) this.#awakeUntil = Number.MIN_VALUE;
  }

  #spin(): void {
    setImmediate(() => {
      if (this.#clock.now() < this.#awakeUntil) this.#spin();
      else this.#awakeUntil = 0;
    });
  }

  /** Makes this turn end with what is run every turn, though nobody has asked for work. */
  arm(): void {
    if (this.#armed) return;
    this.#armed = true;
    setImmediate(() => this.#endTurn());
  }

  #endTurn(): void {
    this.#armed = false;
    this.#running = true;
    this.#turnCount++;
    try {
      const work = this.#work;
      if (work.size > 0) this.#work = new Set();
      for (const each of work) each();
      for (const each of this.#always) each();
      const sends = this.#sends;
      if (sends.size > 0) this.#sends = new Set();
      for (const each of sends) each();
    } finally {
      this.#running = false;
    }
    // A send may have asked for another one.
    if (this.#sends.size > 0) this.arm();
  }
}

/** Longest time that setTimeout takes. */
const TIMER_MILLIS_MAX = 2 ** 31 - 1;

/** One timer to one deadline, which may be moved often at little cost: one armed earlier than needed is left, and armed again then. */
export class Waker {
  readonly #clock: Clock;
  readonly #wake: Work;
  #timer: NodeJS.Timeout | null = null;
  #armedFor = Infinity;
  #deadline = Infinity;
  #lateMillisMax = 0;

  /** `wake` is called once, when the deadline that was set last has been reached; never from inside at(). */
  constructor(clock: Clock, wake: Work) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** Sets the deadline, in the clock's time, in place of the one before; null for none. One that has passed wakes in the next turn. */
  at(deadline: Millis | null): void {
    this.#deadline = deadline ?? Infinity;
    if (this.#deadline < this.#armedFor) this.#arm();
  }

  /** Ends it: no further wake, and nothing that keeps the process alive. */
  stop(): void {
    this.#deadline = Infinity;
    this.#disarm();
  }

  /** The longest delay of a deadline since the last call, in milliseconds: how long the event loop, or the machine, stood still. */
  takeLateMillisMax(): Millis {
    const late = this.#lateMillisMax;
    this.#lateMillisMax = 0;
    return late;
  }

  #arm(): void {
    this.#disarm();
    if (this.#deadline === Infinity) return;
    this.#armedFor = this.#deadline;
    const wait = Math.min(Math.max(Math.ceil(this.#deadline - this.#clock.now()), 1), TIMER_MILLIS_MAX);
    this.#timer = setTimeout(() => this.#expired(), wait);
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#armedFor = Infinity;
  }

  #expired(): void {
    this.#timer = null;
    this.#armedFor = Infinity;
    const late = this.#clock.now() - this.#deadline;
    if (late < 0) {
      this.#arm();
      return;
    }
    this.#lateMillisMax = Math.max(this.#lateMillisMax, late);
    this.#deadline = Infinity;
    this.#wake();
  }
}
