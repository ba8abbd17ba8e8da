// The survivor that is further on forwards what another one lacks: in order, out of its sidefile, as much at a time as the other acknowledges.
// It changes nothing of its own copy. It ends with its connection, or when this site stops being a mere survivor.

import { limits } from '../base/limits.ts';
import type { Millis, Seq } from '../base/units.ts';
import type { Link } from './link.ts';
import type { ReadFrames } from './tail.ts';

/** What is read from: the replica of the survivor that is further on. */
export interface GivingReplica {
  readonly marks: { readonly oldest: Seq; readonly received: Seq };
  framesFrom(seq: Seq, bytesMax: number): ReadFrames | null;
}

const RUN_BYTES = 256 * 1024;

export class Giver {
  readonly link: Link;
  /** Which of this site's offers it carries out. */
  readonly number: number;
  readonly position: Seq;
  readonly target: Seq;
  readonly #replica: GivingReplica;
  #nextSeq: Seq;
  /** Null until the other side is ready. */
  #received: Seq | null = null;
  #inFlight: { lastSeq: Seq; bytes: number }[] = [];
  #inFlightBytes = 0;
  /** When the other side said something new last. */
  progressAt: Millis;
  sentBytes = 0;

  constructor(options: { link: Link; number: number; replica: GivingReplica; position: Seq; target: Seq; now: Millis }) {
    this.link = options.link;
    this.number = options.number;
    this.#replica = options.replica;
    this.position = options.position;
    this.target = options.target;
    this.#nextSeq = options.position + 1;
    this.progressAt = options.now;
  }

  get done(): boolean {
    return this.#received !== null && this.#received >= this.target;
  }

  get received(): Seq {
    return this.#received ?? this.position;
  }

  /** Takes what the other side says it holds. Returns what is wrong with it, or null. */
  acknowledged(received: Seq, now: Millis): string | null {
    if (received >= this.#nextSeq) return `acknowledges record ${received}, but was sent only those up to ${this.#nextSeq - 1}`;
    if (received < this.received) return `takes back records: held ${this.received}, now says ${received}`;
    if (this.#received === null || received > this.#received) this.progressAt = now;
    this.#received = received;
    while (this.#inFlight.length > 0) {
      const oldest = this.#inFlight[0] as { lastSeq: Seq; bytes: number };
      if (oldest.lastSeq > received) break;
      this.#inFlightBytes -= oldest.bytes;
      this.#inFlight.shift();
    }
    return null;
  }

  /** Sends what the window allows. Returns why it cannot go on, or null. */
  pump(): string | null {
    if (this.#received === null) return null;
    while (this.#nextSeq <= this.target && this.#inFlightBytes < limits.peerWindowBytes) {
      const { oldest, received } = this.#replica.marks;
      if (this.#nextSeq < oldest) return `the sidefile begins at record ${oldest} by now`;
      if (received < this.target) return `the records behind ${received} are not here any more`;
      const frames = this.#replica.framesFrom(this.#nextSeq, RUN_BYTES);
      if (frames === null) return null;
      for (const part of frames.parts) this.link.sendParts('frame', [part], 0, () => frames.release());
      this.#nextSeq = frames.lastSeq + 1;
      this.#inFlight.push({ lastSeq: frames.lastSeq, bytes: frames.bytes });
      this.#inFlightBytes += frames.bytes;
      this.sentBytes += frames.bytes;
    }
    return null;
  }
}
