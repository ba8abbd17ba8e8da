// The simulated world: virtual time, one queue of events ordered by (time, tie number), and the hash over everything that happened, by
// which two runs of one seed are compared. Nothing in the simulator happens outside an event of this queue.

import { Chance } from './random.ts';

/** An event that waits for its time. */
export interface Pending {
  readonly time: number;
  readonly tie: number;
  run: (() => void) | null;
}

/** What an oracle found to be wrong: the rule's name and the facts, for a person. */
export interface Violation {
  readonly rule: string;
  readonly text: string;
  readonly time: number;
}

/** A queue of events: the earliest first, those of one time in the order in which they were entered. */
class EventQueue {
  private readonly heap: Pending[] = [];

  get length(): number {
    return this.heap.length;
  }

  push(item: Pending): void {
    const heap = this.heap;
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up] as Pending;
      if (!before(item, parent)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = item;
  }

  pop(): Pending | undefined {
    const heap = this.heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Pending, heap[child] as Pending)) child++;
      const below = heap[child] as Pending;
      if (!before(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Pending, b: Pending): boolean {
  return a.time < b.time || (a.time === b.time && a.tie < b.tie);
}

/** Takes the lines of a traced run. */
export type TraceSink = (line: string) => void;

/** Events after which a run is taken to go round in circles: far above what any run needs. */
const EVENTS_MAX = 5_000_000;

const floatBits = new Float64Array(1);
const wordBits = new Uint32Array(floatBits.buffer);

/** Time, events, chance and the memory of what happened. */
export class World {
  readonly seed: number;
  readonly trace: TraceSink | null;
  /** Milliseconds since the world began. */
  now = 0;
  /** Events that were carried out. */
  events = 0;
  /** FNV-1a over all notes: equal for equal runs. */
  hash = 0x811c9dc5;
  /** The first rule that was broken; the run ends after the event in which it was found. */
  violation: Violation | null = null;
  private tie = 0;
  private readonly queue = new EventQueue();

  constructor(seed: number, trace: TraceSink | null = null) {
    this.seed = seed;
    this.trace = trace;
  }

  /** A stream of chance for one part of this world. */
  chance(part: string): Chance {
    return new Chance(this.seed, part);
  }

  /** Enters an event for a time from now; `delay` may be 0 (then it comes after everything already entered for this instant). */
  after(delay: number, run: () => void): Pending {
    return this.at(this.now + Math.max(0, delay), run);
  }

  /** Enters an event for a time of the world. */
  at(time: number, run: () => void): Pending {
    const item: Pending = { time: Math.max(time, this.now), tie: this.tie++, run };
    this.queue.push(item);
    return item;
  }

  /** Takes back an event that has not happened. */
  cancel(item: Pending | null): void {
    if (item !== null) item.run = null;
  }

  /** Carries out events until the time, the first violation, or until nothing is left. */
  runUntil(time: number): void {
    while (this.violation === null) {
      const item = this.queue.pop();
      if (item === undefined) break;
      if (item.time > time) {
        this.queue.push(item);
        break;
      }
      if (item.run === null) continue;
      this.now = item.time;
      this.events++;
      if (this.events > EVENTS_MAX) this.fail('runaway', `more than ${EVENTS_MAX} events`);
      item.run();
    }
    if (this.violation === null && this.now < time) this.now = time;
  }

  /** Remembers that something happened: enters the hash, and the trace if there is one. `detail` is asked for only when traced. */
  note(who: string, what: string, a: number, b: number, detail: (() => string) | null = null): void {
    let h = this.hash;
    floatBits[0] = this.now;
    h = Math.imul(h ^ (wordBits[0] as number), 0x01000193);
    h = Math.imul(h ^ (wordBits[1] as number), 0x01000193);
    h = Math.imul(h ^ who.charCodeAt(0) ^ (what.charCodeAt(0) << 8) ^ (what.length << 16), 0x01000193);
    h = Math.imul(h ^ (a | 0), 0x01000193);
    h = Math.imul(h ^ (b | 0), 0x01000193);
    this.hash = (h ^ (h >>> 15)) >>> 0;
    if (this.trace === null) return;
    const extra = detail === null ? '' : detail();
    this.trace(
      `${this.now.toFixed(3).padStart(11)} ${who.padEnd(8)} ${what.padEnd(12)} ${String(a).padStart(8)} ${String(b).padStart(8)}  ${extra}`.trimEnd(),
    );
  }

  /** Reports a broken rule; the first one counts. */
  fail(rule: string, text: string): void {
    if (this.violation !== null) return;
    this.violation = { rule, text, time: this.now };
    this.note('oracle', 'VIOLATION', 0, 0, () => `${rule}: ${text}`);
  }
}
