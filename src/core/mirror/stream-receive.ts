// The receiver's side of a link's order: what comes too early waits here, in bounded memory, and everything is handed on in the order of its numbers,
// once. A message that comes again, because a stream was lost that had brought it already, is left out.

import { limits } from '../base/limits.ts';
import type { Buffers } from '../base/ports.ts';
import { encodeNumbers, STREAM_ACKNOWLEDGE_BODY, STREAM_RANGE, type Message, type MessageName } from './messages.ts';
import { isBulk } from './stream-order.ts';

/** A message that waits for those before it. */
interface Early {
  readonly name: MessageName;
  /** Taken from the buffers, and so perhaps longer than the body. */
  readonly memory: Uint8Array;
  readonly bytes: number;
}

export class StreamReceiver {
  readonly #buffers: Buffers;
  /** Hands a message on; false when the link ended meanwhile. */
  readonly #deliver: (message: Message) => boolean;
  /** Everything up to this number was handed on. */
  #upTo = 0;
  readonly #early = new Map<number, Early>();
  #earlyBytes = 0;
  /** The numbers in #early as ranges, rising, with gaps between them. */
  #ranges: { from: number; to: number }[] = [];
  /** Something has arrived that the other side waits to hear of. */
  acknowledgeDue = false;
  /** Messages that came before one that is before them. */
  earlyCount = 0;

  constructor(buffers: Buffers, deliver: (message: Message) => boolean) {
    this.#buffers = buffers;
    this.#deliver = deliver;
  }

  /** Bytes that wait for a message before them. */
  get waitingBytes(): number {
    return this.#earlyBytes;
  }

  get waitingCount(): number {
    return this.#early.size;
  }

  /** Takes a message that came with this number, its body valid during the call. Returns what is wrong, or null. */
  arrived(number: number, message: Message): string | null {
    if (isBulk(message.name)) this.acknowledgeDue = true;
    if (number <= this.#upTo || this.#early.has(number)) return null;
    if (number > this.#upTo + 1) return this.#keep(number, message);
    this.#upTo = number;
    if (this.#deliver(message)) this.#handOn();
    return null;
  }

  #keep(number: number, { name, body }: Message): string | null {
    if (this.#earlyBytes >= limits.streamAheadBytes || this.#early.size >= limits.streamAheadCount)
      return `message ${number} of the link came while ${this.#early.size} of ${this.#earlyBytes} bytes wait for message ${this.#upTo + 1}`;
    const memory = this.#buffers.take(body.length);
    memory.set(body);
    this.#early.set(number, { name, memory, bytes: body.length });
    this.#earlyBytes += body.length;
    this.earlyCount++;
    this.#note(number);
    return null;
  }

  /** Hands on what waited for the message that has just been handed on. */
  #handOn(): void {
    for (let next = this.#early.get(this.#upTo + 1); next !== undefined; next = this.#early.get(this.#upTo + 1)) {
      const { name, memory, bytes } = next;
      this.#upTo++;
      this.#early.delete(this.#upTo);
      this.#earlyBytes -= bytes;
      this.acknowledgeDue = true;
      const goOn = this.#deliver({ name, body: memory.subarray(0, bytes) });
      this.#buffers.give(memory);
      if (!goOn) return;
    }
    const first = this.#ranges[0];
    if (first !== undefined && first.from <= this.#upTo) this.#ranges.shift();
  }

  #note(number: number): void {
    const ranges = this.#ranges;
    let index = ranges.length;
    while (index > 0 && (ranges[index - 1] as { from: number }).from > number) index--;
    const before = ranges[index - 1];
    const after = ranges[index];
    if (before?.to === number - 1) {
      before.to = number;
      if (after?.from !== number + 1) return;
      before.to = after.to;
      ranges.splice(index, 1);
    } else if (after?.from === number + 1) after.from = number;
    else ranges.splice(index, 0, { from: number, to: number });
  }

  /** Body of the message that says what has arrived. */
  acknowledgement(): Uint8Array {
    this.acknowledgeDue = false;
    const ranges = this.#ranges.slice(0, limits.streamRangesMax);
    const body = new Uint8Array(STREAM_ACKNOWLEDGE_BODY.bytes + ranges.length * STREAM_RANGE.bytes);
    body.set(encodeNumbers(STREAM_ACKNOWLEDGE_BODY, [this.#upTo, ranges.length, 0]));
    for (const [index, { from, to }] of ranges.entries())
      body.set(encodeNumbers(STREAM_RANGE, [from, to]), STREAM_ACKNOWLEDGE_BODY.bytes + index * STREAM_RANGE.bytes);
    return body;
  }

  /** The link ended: what waits is never handed on. */
  end(): void {
    for (const { memory } of this.#early.values()) this.#buffers.give(memory);
    this.#early.clear();
    this.#ranges = [];
    this.#earlyBytes = 0;
  }
}
