// The sender's side of a link's order: gives each message its number, spreads the bulk over the streams, and keeps what went until the other side has
// it, so that what a lost stream had on its way goes again over another one, with the same number and the same bytes.

import { limits } from '../base/limits.ts';
import type { MessageName } from './messages.ts';
import { isBulk, type NumberRange } from './stream-order.ts';

/** A connection, as messages are put on it. */
export interface Carrier {
  /** Sends a message with its number before it. `sent` as of LinkPort.send. */
  post(number: number, message: Outgoing, sent?: () => void): void;
}

/** A message that is to be sent. Its parts do not change until `sent` was called. */
export interface Outgoing {
  readonly name: MessageName;
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
  readonly crc: number;
  readonly sent: (() => void) | undefined;
  /** Of a frame: its records, first and last. */
  readonly records?: NumberRange | undefined;
}

/** A message that is on its way. */
interface Flying {
  readonly number: number;
  readonly message: Outgoing;
  /** Null for what went over the first connection and is no bulk: nobody acknowledges it. */
  carrier: Carrier | null;
  /** Connections that still read its parts. */
  reading: number;
  arrived: boolean;
}

export class StreamSender {
  readonly #first: Carrier;
  #streams: readonly Carrier[] = [];
  #lastNumber = 0;
  /** Everything up to this number has arrived. */
  #upTo = 0;
  /** What is on its way from the oldest bulk message on that has not arrived, numbers without a gap. */
  #flight: Flying[] = [];
  #head = 0;
  #aheadBytes = 0;
  /** What waits because too much is on its way. */
  #waiting: Outgoing[] = [];
  readonly #bytesOn = new Map<Carrier, number>();
  /** Bytes that went again because their stream was lost. */
  againBytes = 0;
  #ended = false;

  constructor(first: Carrier) {
    this.#first = first;
    this.#bytesOn.set(first, 0);
  }

  /** Bytes that are on their way over a connection. */
  bytesOn(carrier: Carrier): number {
    return this.#bytesOn.get(carrier) ?? 0;
  }

  /** Bytes that are on their way from the oldest message on that has not arrived, or wait to go. */
  get aheadBytes(): number {
    return this.#waiting.reduce((sum, { bytes }) => sum + bytes, this.#aheadBytes);
  }

  /** Records that have arrived at the other side, and wait there for one before them. */
  get early(): readonly NumberRange[] {
    const ranges: NumberRange[] = [];
    for (let index = this.#head; index < this.#flight.length; index++) {
      const { arrived, message } = this.#flight[index] as Flying;
      if (!arrived || message.records === undefined) continue;
      const { from, to } = message.records;
      const last = ranges[ranges.length - 1];
      if (last?.to === from - 1) ranges[ranges.length - 1] = { from: last.from, to };
      else ranges.push({ from, to });
    }
    return ranges;
  }

  send(message: Outgoing): void {
    if (this.#waiting.length > 0 || this.#isFull) this.#waiting.push(message);
    else this.#put(message);
  }

  opened(stream: Carrier): void {
    this.#streams = [...this.#streams, stream];
    this.#bytesOn.set(stream, 0);
  }

  /** A stream has ended: what did not arrive by it goes again. Returns how many messages that are. */
  lost(stream: Carrier): number {
    this.#streams = this.#streams.filter((other) => other !== stream);
    this.#bytesOn.delete(stream);
    let count = 0;
    for (let index = this.#head; index < this.#flight.length && !this.#ended; index++) {
      const flying = this.#flight[index] as Flying;
      if (flying.carrier !== stream || flying.arrived) continue;
      count++;
      this.againBytes += flying.message.bytes;
      this.#carry(flying);
    }
    return count;
  }

  /** Takes what the other side says has arrived. Returns what is wrong with it, or null. */
  acknowledged(upTo: number, ranges: readonly NumberRange[]): string | null {
    const last = this.#lastNumber;
    if (upTo > last) return `acknowledges message ${upTo} of the link, but was sent only those up to ${last}`;
    if (upTo < this.#upTo) return `takes back messages of the link: had ${this.#upTo}, now says ${upTo}`;
    let at = upTo;
    for (const { from, to } of ranges) {
      if (from <= at + 1 || to < from) return `acknowledges messages ${from} to ${to} of the link behind ${at}: no ranges above it`;
      if (to > last) return `acknowledges message ${to} of the link, but was sent only those up to ${last}`;
      at = to;
    }
    this.#upTo = upTo;
    this.#arrivedUpTo(upTo);
    for (const range of ranges) this.#arrivedRange(range);
    while (this.#waiting.length > 0 && !this.#isFull) this.#put(this.#waiting.shift() as Outgoing);
    return null;
  }

  /** The link ended: memory goes back as soon as no connection reads it. */
  end(): void {
    this.#ended = true;
    for (const flying of this.#flight.slice(this.#head)) this.#arrive(flying);
    for (const { sent } of this.#waiting) sent?.();
    this.#flight = [];
    this.#head = 0;
    this.#waiting = [];
  }

  get #isFull(): boolean {
    return this.#aheadBytes >= limits.streamAheadBytes || this.#flight.length - this.#head >= limits.streamAheadCount;
  }

  #put(message: Outgoing): void {
    const number = ++this.#lastNumber;
    const bulk = isBulk(message.name);
    // With no bulk on its way before it, it can wait for nothing at the other side.
    if (!bulk && this.#head === this.#flight.length) return this.#first.post(number, message, message.sent);
    const flying: Flying = { number, message, carrier: null, reading: 0, arrived: !bulk };
    this.#flight.push(flying);
    this.#aheadBytes += message.bytes;
    if (bulk) this.#carry(flying);
    else this.#first.post(number, message, message.sent);
  }

  /** Puts a bulk message on the stream that has the least on its way; on the first connection while there is none. */
  #carry(flying: Flying): void {
    let best: Carrier = this.#streams[0] ?? this.#first;
    for (const stream of this.#streams) if (this.bytesOn(stream) < this.bytesOn(best)) best = stream;
    flying.carrier = best;
    flying.reading++;
    this.#bytesOn.set(best, this.bytesOn(best) + flying.message.bytes);
    best.post(flying.number, flying.message, () => {
      flying.reading--;
      if (flying.arrived && flying.reading === 0) flying.message.sent?.();
    });
  }

  #arrivedUpTo(upTo: number): void {
    for (; this.#head < this.#flight.length; this.#head++) {
      const flying = this.#flight[this.#head] as Flying;
      if (flying.carrier !== null && flying.number > upTo) break;
      if (flying.carrier !== null) this.#arrive(flying);
      this.#aheadBytes -= flying.message.bytes;
    }
    if (this.#head > 256 || this.#head === this.#flight.length) {
      this.#flight.splice(0, this.#head);
      this.#head = 0;
    }
  }

  #arrivedRange({ from, to }: NumberRange): void {
    const first = this.#flight[this.#head];
    if (first === undefined) return;
    for (let number = Math.max(from, first.number); number <= to; number++) {
      const flying = this.#flight[this.#head + number - first.number];
      if (flying === undefined) return;
      if (flying.carrier !== null) this.#arrive(flying);
    }
  }

  #arrive(flying: Flying): void {
    if (flying.arrived || flying.carrier === null) return;
    flying.arrived = true;
    this.#bytesOn.set(flying.carrier, this.bytesOn(flying.carrier) - flying.message.bytes);
    if (flying.reading === 0) flying.message.sent?.();
  }
}
