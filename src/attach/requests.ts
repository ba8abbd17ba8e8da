// The requests of an attached volume's hosts that have no answer yet: which may be sent, which must be sent again to the site that serves
// now, and which have waited too long.
//
// What makes it safe to send a write again:
//   - Of all writes without an answer no two overlap: one that does is held back until the other is answered. So a write that is sent again
//     never overtakes a newer one of the same bytes, and a read between the two tries sees either.
//   - Nothing is sent on a connection before everything that was sent on an older one can take no effect any more: another site begins an
//     epoch of its own, and the same site ends the older connection first (core/nbd, Attachment).
//   - A write that was answered with an error here, or whose client is gone, is not sent again.

import { assert } from '../core/base/assert.ts';
import type { Buffers } from '../core/base/ports.ts';
import type { Millis } from '../core/base/units.ts';
import { ERRNO } from '../core/nbd/constants.ts';
import type { Reply, SentRequest } from '../core/nbd/replies.ts';
import type { NbdRequest } from '../core/nbd/session.ts';

/** Sends one request on the connection that stands. */
export type Send = (tag: number, request: SentRequest) => void;

interface Held {
  readonly tag: number;
  readonly request: NbdRequest;
  readonly changes: boolean;
  /** Bytes of a write that are this table's own; null when they stay where they are until the answer. */
  readonly copy: Uint8Array | null;
  readonly payload: Uint8Array | null;
}

export class Requests {
  readonly #buffers: Buffers;
  /** In the order of their tags, which is the order in which they came. */
  readonly #sent = new Map<number, Held>();
  #waiting: Held[] = [];
  #tags = 0;
  #send: Send | null = null;

  constructor(buffers: Buffers) {
    this.#buffers = buffers;
  }

  /** Requests without an answer. */
  get count(): number {
    return this.#sent.size + this.#waiting.length;
  }

  /** When the oldest of them came; null when there is none. */
  get oldestMillis(): Millis | null {
    let oldest: Millis | null = null;
    for (const held of this.#sent.values()) {
      oldest = held.request.startedMillis;
      break;
    }
    const first = this.#waiting[0]?.request.startedMillis ?? null;
    if (oldest === null || first === null) return oldest ?? first;
    return Math.min(oldest, first);
  }

  /** Takes a request of a client, and sends it if it may be sent now. */
  take(request: NbdRequest, now: Millis): void {
    request.startedMillis = now;
    const { payload } = request;
    let copy: Uint8Array | null = null;
    if (payload !== null && request.memory === null) {
      copy = this.#buffers.take(payload.length);
      copy.set(payload);
    }
    const changes = request.command === 'write' || request.command === 'trim' || request.command === 'zeroes';
    const held: Held = { tag: ++this.#tags, request, changes, copy, payload: copy ?? payload };
    if (this.#send !== null && this.#waiting.length === 0 && !this.#isBlocked(held, [])) this.#sendNow(held, this.#send);
    else {
      this.#waiting.push(held);
      this.#sendWaiting();
    }
  }

  /** A connection stands, and nothing older can take effect: what has no answer is sent again, oldest first, and then what waits. */
  connected(send: Send): void {
    assert(this.#send === null, 'one connection at a time', { count: this.count });
    this.#send = send;
    for (const held of this.#sent.values()) {
      if (held.request.session.gone) this.#forget(held);
      else send(held.tag, sentForm(held));
    }
    this.#sendWaiting();
  }

  /** The connection is not to be used any more. */
  disconnected(): void {
    this.#send = null;
  }

  /** The request of a tag that was sent and has no answer. */
  sent(tag: number): NbdRequest | null {
    return this.#sent.get(tag)?.request ?? null;
  }

  /** Answers a request with what the site said. */
  replied(tag: number, reply: Reply): void {
    const held = this.#sent.get(tag);
    assert(held !== undefined, 'an answer to a request that was not sent', { tag });
    const { request } = held;
    if (!request.session.gone) {
      if (reply.error !== 0) request.session.replyError(request, reply.error, reply.text);
      else if (request.command === 'status') request.session.replyStatus(request, reply.extents);
      else request.session.reply(request, 0, reply.data);
    }
    this.#forget(held);
    this.#sendWaiting();
  }

  /** Whether a request has waited since before `before`. */
  isLate(before: Millis): boolean {
    const oldest = this.oldestMillis;
    return oldest !== null && oldest < before;
  }

  /**
   * Answers what has waited since before `before` with an error. No connection may stand: what was sent on the last one is unknown, and must
   * not take effect after a newer write of the client. Returns how many there were.
   */
  fail(before: Millis, text: string): number {
    assert(this.#send === null, 'requests fail only while no connection stands', { count: this.count });
    let count = 0;
    const late = [...this.#sent.values(), ...this.#waiting].filter((held) => held.request.startedMillis < before);
    for (const held of late) {
      count++;
      if (!held.request.session.gone) held.request.session.replyError(held.request, ERRNO.EIO, text);
      this.#forget(held);
    }
    const failed = new Set(late);
    this.#waiting = this.#waiting.filter((held) => !failed.has(held));
    return count;
  }

  #sendWaiting(): void {
    if (this.#send === null || this.#waiting.length === 0) return;
    const before: Held[] = [];
    for (const held of this.#waiting) {
      if (held.request.session.gone) this.#forget(held);
      else if (this.#isBlocked(held, before)) before.push(held);
      else this.#sendNow(held, this.#send);
    }
    this.#waiting = before;
  }

  /** Whether a write without an answer, or one that waits before it, has bytes of it. */
  #isBlocked(held: Held, before: readonly Held[]): boolean {
    if (!held.changes) return false;
    for (const other of this.#sent.values()) if (overlaps(held, other)) return true;
    return before.some((other) => overlaps(held, other));
  }

  #sendNow(held: Held, send: Send): void {
    this.#sent.set(held.tag, held);
    send(held.tag, sentForm(held));
  }

  #forget(held: Held): void {
    this.#sent.delete(held.tag);
    if (held.copy !== null) this.#buffers.give(held.copy);
  }
}

function overlaps(a: Held, b: Held): boolean {
  if (!b.changes) return false;
  const from = Math.max(a.request.offset, b.request.offset);
  return from < Math.min(a.request.offset + a.request.length, b.request.offset + b.request.length);
}

function sentForm({ request, payload }: Held): SentRequest {
  const { command, fastZero, fua, length, noHole, offset, reqOne } = request;
  return { command, offset, length, fua, noHole, fastZero, reqOne, payload };
}
