// A link of several connections, for long fat networks: the first one carries what is small and must not wait, the others, its streams, carry records and
// images, whichever has the least on its way. One order holds over all of them. A stream that is lost is no loss of the link: what it had on its way
// goes again over the others, and it is dialled again. With the first connection the link ends, and every stream with it.

import type { Buffers } from '../base/ports.ts';
import type { HelloStreams } from './forms.ts';
import type { Link } from './link.ts';
import { decodeNumbers, STREAM_ACKNOWLEDGE_BODY, STREAM_NUMBER_BODY, STREAM_RANGE, type Message } from './messages.ts';
import { KEEPS_PLACE, type NumberRange } from './stream-order.ts';
import { StreamReceiver } from './stream-receive.ts';
import { StreamSender } from './stream-send.ts';

/** What the streams to a peer have gone through: over all its links since this site started. */
export interface StreamCounts {
  /** Messages that came before one that is before them. */
  early: number;
  /** Streams that ended before their link did. */
  lost: number;
  /** Messages that went again because of that. */
  again: number;
}

export function noStreamCounts(): StreamCounts {
  return { early: 0, lost: 0, again: 0 };
}

export class LinkStreams {
  readonly #link: Link;
  /** Names this link among all that there are and were. */
  readonly id: string;
  /** How many are wanted. */
  readonly count: number;
  readonly sender: StreamSender;
  readonly receiver: StreamReceiver;
  readonly #open = new Map<number, Link>();
  counts: StreamCounts = noStreamCounts();

  constructor(link: Link, { id, count, buffers }: { id: string; count: number; buffers: Buffers }, deliver: (message: Message) => boolean) {
    this.#link = link;
    this.id = id;
    this.count = count;
    this.sender = new StreamSender(link);
    this.receiver = new StreamReceiver(buffers, deliver);
  }

  /** The streams that stand. */
  get links(): IterableIterator<Link> {
    return this.#open.values();
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Numbers of the streams that are wanted and do not stand. */
  get missing(): readonly number[] {
    return Array.from({ length: this.count }, (_, index) => index + 1).filter((number) => !this.#open.has(number));
  }

  /** Why a connection cannot be a stream of this link; null when it can. */
  refusal({ link, number = 0 }: HelloStreams): string | null {
    if (link !== this.id) return 'the link that this stream is for has ended';
    return number > this.count ? `the link has ${this.count} streams, there is no stream ${number}` : null;
  }

  /** A connection is a stream from now on. An older one of the same number is dead before the first byte of the newer is used. */
  opened(number: number, stream: Link): void {
    this.#open.get(number)?.close('a newer connection has come');
    this.#open.set(number, stream);
    this.sender.opened(stream);
  }

  /** A stream has ended, and the link has not. Returns its number, and how many messages go again. */
  lost(stream: Link): { readonly number: number; readonly again: number } | null {
    const number = [...this.#open].find(([, open]) => open === stream)?.[0];
    if (number === undefined) return null;
    this.#open.delete(number);
    const again = this.sender.lost(stream);
    this.counts.lost++;
    this.counts.again += again;
    return { number, again };
  }

  /** A message that came with a number, on any connection of the link. Returns what is wrong, or null. */
  arrived(number: number, message: Message): string | null {
    const before = this.receiver.earlyCount;
    const wrong = this.receiver.arrived(number, message);
    this.counts.early += this.receiver.earlyCount - before;
    return wrong;
  }

  acknowledged(body: Uint8Array): string | null {
    const head = decodeNumbers(STREAM_ACKNOWLEDGE_BODY, body);
    if (head === null || body.length !== STREAM_ACKNOWLEDGE_BODY.bytes + head.rangeCount * STREAM_RANGE.bytes)
      return 'an acknowledgement of streams is malformed';
    const ranges: NumberRange[] = [];
    for (let at = STREAM_ACKNOWLEDGE_BODY.bytes; at < body.length; at += STREAM_RANGE.bytes) {
      const range = decodeNumbers(STREAM_RANGE, body.subarray(at));
      if (range === null) return 'an acknowledgement of streams is malformed';
      ranges.push(range);
    }
    return this.sender.acknowledged(head.upTo, ranges);
  }

  /** Tells the other side what has arrived, if that is due. Called when the bytes that came at once have been read. */
  acknowledge(): void {
    if (this.receiver.acknowledgeDue) this.#link.send('streamAcknowledge', this.receiver.acknowledgement());
  }

  /** The first connection has ended. */
  end(reason: string): void {
    const streams = [...this.#open.values()];
    this.#open.clear();
    for (const stream of streams) stream.close(reason);
    this.sender.end();
    this.receiver.end();
  }
}

/** The number that a connection says its next message to have; kept until that message comes. Both come on one connection, one behind the other. */
export class PlaceOfNext {
  #number: number | null = null;

  /** Returns what is wrong with it, or null. */
  said(body: Uint8Array): string | null {
    const number = decodeNumbers(STREAM_NUMBER_BODY, body)?.number ?? 0;
    if (number === 0 || this.#number !== null) return 'a number of a message makes no sense';
    this.#number = number;
    return null;
  }

  /** The number of this message; null when it has none; or what is wrong with that. */
  take({ name }: Message): number | null | string {
    const number = this.#number;
    this.#number = null;
    if (KEEPS_PLACE[name] === (number !== null)) return number;
    return number === null ? `a ${name} message came without its number` : `a ${name} message came with a number`;
  }
}
