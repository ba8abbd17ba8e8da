// The client's side of the handshake: asks a server for an export, and says what it answered. Used by `tercet attach` to find the site that
// serves, and by a site that passes a host's connection on to it. One question at a time; after INFO another may follow, after GO the bytes
// are the transmission's.

import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { decodeUtf8, encodeUtf8 } from '../base/utf8.ts';
import { BYTES, HANDSHAKE_FLAG, INFO, MAGIC, OPT, REP } from './constants.ts';
import { ReplyBuffer } from './reply.ts';

/** What is asked of a server. */
export interface Question {
  readonly name: string;
  /** GO begins the transmission; INFO leaves no trace. */
  readonly go: boolean;
  /** Metadata contexts to be selected; only after structured replies. */
  readonly contexts: readonly string[];
  /** Information types wanted besides INFO_EXPORT. */
  readonly infos: readonly number[];
}

/** What the server has said of an export. */
export interface Described {
  readonly kind: 'described';
  readonly sizeBytes: number;
  readonly flags: number;
  /** Empty when the server gave none. */
  readonly description: string;
  /** Numbers of the selected contexts, by name. */
  readonly contexts: ReadonlyMap<string, number>;
  /** Bytes that came behind the answer: the transmission's, after GO. */
  readonly rest: Uint8Array;
}

export type Answered =
  | Described
  /** The server begins with TLS: so does the client, and calls secured(). The question is asked then. */
  | { readonly kind: 'secure' }
  /** An error of the protocol; another question may follow. */
  | { readonly kind: 'refused'; readonly code: number; readonly text: string }
  /** The server does not keep to the protocol: the connection is of no use. */
  | { readonly kind: 'broken'; readonly reason: string };

/** Bytes of one reply, and of replies that are not taken yet: what a server may make us hold. */
const HELD_BYTES_MAX = 64 * 1024;
const NOTHING = new Uint8Array(0);

/** One connection's handshake, seen from the client. */
export class Asking {
  readonly #out = new ReplyBuffer((byteCount) => new Uint8Array(byteCount));
  /** What is agreed before the first question; null when replies are to be simple. */
  readonly #mode: number | null;
  /** Nothing is asked before TLS stands. */
  readonly #tls: boolean;
  #isSecured = false;
  #delayed: Question | null = null;
  #held: Uint8Array = NOTHING;
  #greeted = false;
  #begun = false;
  /** Options whose last reply has not come. */
  #expected: number[] = [];
  #contexts = new Map<string, number>();
  #sizeBytes: number | null = null;
  #flags = 0;
  #description = '';

  constructor(options: { structured: boolean; extended?: boolean; tls?: boolean }) {
    this.#tls = options.tls === true;
    this.#mode = options.extended === true ? OPT.EXTENDED_HEADERS : options.structured ? OPT.STRUCTURED_REPLY : null;
  }

  /** Queues a question. Not while another one has no answer. */
  ask(question: Question): void {
    assert(this.#expected.length === 0, 'one question at a time', { expected: this.#expected });
    if (!this.#begun) this.#begin();
    if (this.#tls && !this.#isSecured) {
      this.#delayed = question;
      return;
    }
    this.#question(question);
  }

  #question(question: Question): void {
    this.#contexts = new Map();
    this.#sizeBytes = null;
    this.#description = '';
    const name = encodeUtf8(question.name);
    if (question.contexts.length > 0) {
      const queries = question.contexts.map(encodeUtf8);
      const byteCount = queries.reduce((sum, query) => sum + 4 + query.length, 4 + name.length + 4);
      let at = this.#text(this.#option(OPT.SET_META_CONTEXT, byteCount), name);
      this.#out.view.setUint32(at, queries.length);
      at += 4;
      for (const query of queries) at = this.#text(at, query);
    }
    let at = this.#text(this.#option(question.go ? OPT.GO : OPT.INFO, 4 + name.length + 2 + 2 * question.infos.length), name);
    this.#out.view.setUint16(at, question.infos.length);
    for (const info of question.infos) this.#out.view.setUint16((at += 2), info);
  }

  /** TLS stands: queues the question that had to wait for it. */
  secured(): void {
    assert(this.#delayed !== null && !this.#isSecured, 'TLS begins once, before the first question is asked');
    this.#isSecured = true;
    const question = this.#delayed;
    this.#delayed = null;
    if (this.#mode !== null) this.#option(this.#mode, 0);
    this.#question(question);
  }

  /** Queues the orderly end of the handshake. */
  abort(): void {
    this.#option(OPT.ABORT, 0);
  }

  /** What is to be sent now. */
  takeOutput(): Uint8Array[] {
    return this.#out.take();
  }

  /** Takes bytes of the server, cut anywhere; null while the answer is not complete. */
  receive(bytes: Uint8Array): Answered | null {
    const held = new Uint8Array(this.#held.length + bytes.length);
    held.set(this.#held);
    held.set(bytes, this.#held.length);
    const view = viewOf(held);
    let at = 0;
    if (!this.#greeted) {
      if (held.length < 18) return this.#hold(held);
      if (!isWord(view, 0, MAGIC.INIT) || !isWord(view, 8, MAGIC.OPTION)) return broken('what answers is no NBD server');
      if ((view.getUint16(16) & HANDSHAKE_FLAG.FIXED_NEWSTYLE) === 0) return broken('the server speaks an NBD that is too old');
      this.#greeted = true;
      at = 18;
    }
    while (held.length - at >= BYTES.optionReplyHead) {
      if (!isWord(view, at, MAGIC.OPTION_REPLY)) return broken('an answer of the server does not begin with its magic number');
      const byteCount = view.getUint32(at + 16);
      if (byteCount > HELD_BYTES_MAX / 2) return broken(`an answer of the server has ${byteCount} bytes`);
      if (held.length - at - BYTES.optionReplyHead < byteCount) break;
      const from = at + BYTES.optionReplyHead;
      at = from + byteCount;
      const answered = this.#reply(view.getUint32(from - 12), view.getUint32(from - 8), held.subarray(from, at));
      if (answered === null) continue;
      this.#held = NOTHING;
      // What came behind the answer is from before TLS, where anybody may have put it.
      if (answered.kind === 'secure' && at < held.length) return broken('bytes came between the answer to STARTTLS and TLS');
      return answered.kind === 'described' ? { ...answered, rest: held.subarray(at) } : answered;
    }
    return this.#hold(held.subarray(at));
  }

  #hold(rest: Uint8Array): Answered | null {
    if (rest.length > HELD_BYTES_MAX) return broken('the server sends more than it was asked for');
    this.#held = rest;
    return null;
  }

  #reply(option: number, type: number, data: Uint8Array): Answered | null {
    const expected = this.#expected[0];
    if (option !== expected) return broken(`the server answers option ${option}, which was not asked`);
    const view = viewOf(data);
    if (type >= 0x8000_0000) {
      this.#expected.shift();
      const text = decodeUtf8(data) ?? '';
      if (option === OPT.STARTTLS) return broken(`there is no TLS at the server${text === '' ? '' : `: ${text}`}`);
      if (option === this.#mode) return broken('the server has no structured replies, or no extended headers');
      // A question is over with its last option, which is refused for the same reason.
      return this.#expected.length > 0 ? null : { kind: 'refused', code: type, text };
    }
    switch (type) {
      case REP.META_CONTEXT: {
        const name = data.length > 4 ? decodeUtf8(data.subarray(4)) : null;
        if (name !== null) this.#contexts.set(name, view.getUint32(0));
        return null;
      }
      case REP.INFO:
        return this.#info(view, data);
      case REP.ACK:
        this.#expected.shift();
        if (option === OPT.STARTTLS) return { kind: 'secure' };
        return option === OPT.GO || option === OPT.INFO ? this.#described() : null;
      default:
        return broken(`the server answers with type ${type}, which is not known here`);
    }
  }

  #info(view: DataView, data: Uint8Array): Answered | null {
    if (data.length < 2) return broken('an information of the server is too short');
    const kind = view.getUint16(0);
    if (kind === INFO.DESCRIPTION) this.#description = decodeUtf8(data.subarray(2)) ?? '';
    if (kind !== INFO.EXPORT) return null;
    if (data.length !== 12) return broken('the server does not say how large the export is');
    const high = view.getUint32(2);
    if (high > 0x1f_ffff) return broken('the export is larger than any volume');
    this.#sizeBytes = high * 0x1_0000_0000 + view.getUint32(6);
    this.#flags = view.getUint16(10);
    return null;
  }

  #described(): Answered {
    if (this.#sizeBytes === null) return broken('the server did not say how large the export is');
    return {
      kind: 'described',
      sizeBytes: this.#sizeBytes,
      flags: this.#flags,
      description: this.#description,
      contexts: this.#contexts,
      rest: NOTHING,
    };
  }

  #begin(): void {
    const at = this.#out.reserve(BYTES.clientFlags);
    this.#out.view.setUint32(at, HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES);
    this.#begun = true;
    if (this.#tls) this.#option(OPT.STARTTLS, 0);
    else if (this.#mode !== null) this.#option(this.#mode, 0);
  }

  /** Writes the head of an option and returns where its data begins. */
  #option(option: number, byteCount: number): number {
    const at = this.#out.reserve(BYTES.optionHead + byteCount);
    const view = this.#out.view;
    view.setUint32(at, MAGIC.OPTION[0]);
    view.setUint32(at + 4, MAGIC.OPTION[1]);
    view.setUint32(at + 8, option);
    view.setUint32(at + 12, byteCount);
    this.#expected.push(option);
    return at + BYTES.optionHead;
  }

  /** Writes a string with its length before it, and returns where the next thing goes. */
  #text(at: number, bytes: Uint8Array): number {
    this.#out.view.setUint32(at, bytes.length);
    this.#out.arena.set(bytes, at + 4);
    return at + 4 + bytes.length;
  }
}

function isWord(view: DataView, at: number, magic: readonly [number, number]): boolean {
  return view.getUint32(at) === magic[0] && view.getUint32(at + 4) === magic[1];
}

function broken(reason: string): Answered {
  return { kind: 'broken', reason };
}
