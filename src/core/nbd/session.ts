// One NBD client as a state machine: bytes in, requests out; replies in, bytes out. It is the hot path of a site, so everything that one
// read of the socket brought is parsed in one pass, with one object per request and nothing else, and the replies of a turn leave together.
//
// Whoever owns the socket (the shell) does, after receive() and after each turn in which replies were given:
//   do { session.resume(); write(session.takeOutput()); } while (session.resumable && the socket has no backlog);
// It does not read from the socket while `paused` or while the socket has a backlog, closes it when `finished` and everything is written,
// and calls abort() when the connection is gone. How long a handshake may last is the shell's to watch: it ends when `state` leaves
// 'handshake'.

import { assert, unreachable } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { limits } from '../base/limits.ts';
import type { Buffers } from '../base/ports.ts';
import type { VolumeIndex } from '../base/units.ts';
import { BYTES, CMD, CMD_FLAG, MAGIC, type NbdErrno } from './constants.ts';
import {
  type Agreement,
  Handshake,
  type NbdCatalog,
  type NbdExport,
  type NbdHolder,
  type OptionOutcome,
  type PassedOn,
} from './handshake.ts';
import { HostMemory } from './memory.ts';
import { type MovedHandshake, type NbdSessionLimits, type NbdSessionOptions, optionBytes, SESSION_LIMITS } from './session-options.ts';
import {
  type NbdExtent,
  type NbdPiece,
  putErrorChunk,
  putNoneChunk,
  putPositionChunk,
  putReadPieces,
  putReadReply,
  putSimpleReply,
  putStatusReply,
  ReplyBuffer,
  type ReplyTo,
} from './reply.ts';
import {
  chargeOf,
  commandOf,
  emptyRequestHead,
  type NbdCommand,
  readExtendedHead,
  readRequestHead,
  type Refusal,
  refusalOf,
  type RequestHead,
  type TransmissionRules,
} from './request.ts';

/** A complete, validated request. Its length is above 0 except for a flush. All objects have the same fields in the same order. */
export interface NbdRequest extends ReplyTo {
  readonly session: NbdSession;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly command: NbdCommand;
  readonly export: NbdExport;
  readonly volume: VolumeIndex;
  /** Bytes from the start of the export; the range lies within it. */
  readonly offset: number;
  readonly length: number;
  /** Answer only when durable. Clients may set it on any command. */
  readonly fua: boolean;
  /** Zeroes: leave the range allocated. */
  readonly noHole: boolean;
  /** Zeroes: answer ENOTSUP at once, changing nothing, unless it is faster than writing. */
  readonly fastZero: boolean;
  readonly reqOne: boolean;
  readonly df: boolean;
  /** Whether a reply was given: each request gets exactly one. */
  answered: boolean;
  /**
   * Write: the bytes, often a view of the memory given to receive(), and so valid only until that is used again: copy them before the
   * handler returns, or at the latest in the same turn. Null for all other commands and once answered.
   */
  payload: Uint8Array | null;
  /** The session's own: pooled memory of the payload, given back with the answer. */
  memory: Uint8Array | null;
  /** The rest is the handler's own, set to 0 and null at first. */
  seq: number;
  needSeq: number;
  data: Uint8Array | null;
  startedMillis: number;
}

/** Takes requests. */
export interface NbdHandler {
  /** Called from within receive() or resume() for each request; may answer at once. Must not throw. */
  request(request: NbdRequest): void;
}

/**
 * 'asking': another site is asked for what the client wants; 'passed': everything is its and the client's now. 'securing': TLS is about to begin,
 * and a byte of the client before that would be one that anybody could have put there. 'moving': the handshake goes on elsewhere.
 */
type PassingState = 'no' | 'asking' | 'passed' | 'securing' | 'moving';

/** 'closing': nothing more is taken from the client; what is outstanding is still answered. 'closed': after abort(). */
export type NbdSessionState = 'handshake' | 'transmission' | 'closing' | 'closed';

/** What the bytes that come next are. */
type Expected = 'client flags' | 'option head' | 'option data' | 'request head' | 'payload';

/** Longest payload that is read off, whether it is taken or not: what a 32-bit length can say. */
const PAYLOAD_BYTES_MAX = 2 ** 32 - 1;

const BEFORE_TLS = 'bytes came between STARTTLS and TLS';
const NOTHING = new Uint8Array(0);
const NOTHING_VIEW = viewOf(NOTHING);

/** One client connection. No input makes it throw or hold more than its limits. */
export class NbdSession {
  readonly #catalog: NbdCatalog;
  readonly #handler: NbdHandler;
  readonly #limits: NbdSessionLimits;
  readonly #allocate: (byteCount: number) => Uint8Array;
  readonly #payloads: Buffers | null;
  readonly #memory: HostMemory;
  /** Pooled memory in which the payload that is just being taken was gathered. */
  #gathered: Uint8Array | null = null;
  readonly #out: ReplyBuffer;
  readonly #handshake: Handshake;

  #state: NbdSessionState = 'handshake';
  #closeReason: string | null = null;
  #agreement: Agreement | null = null;
  #rules: TransmissionRules | null = null;

  /** The connection is to be passed on to another site. */
  #passedOn: PassedOn | null = null;
  #passing: PassingState = 'no';
  /** Where the handshake is to go on, and with which option. */
  #move: { readonly to: string; readonly option: Uint8Array } | null = null;
  #expected: Expected = 'client flags';
  /** Bytes of what is expected. */
  #wantBytes: number = BYTES.clientFlags;
  /** What is expected, when it does not lie in one received chunk: memory of #wantBytes, and how much of it is filled. */
  #partial: Uint8Array = NOTHING;
  #partialView: DataView = NOTHING_VIEW;
  #partialBytes = 0;
  /** Bytes still to be dropped before anything is expected: data of an option that is too long, payload of a refused write. */
  #skipBytes = 0;
  /** Memory for heads that arrive in pieces. */
  readonly #headBytes = new Uint8Array(BYTES.extendedHead);
  readonly #headView = viewOf(this.#headBytes);

  /** The option whose data is awaited or skipped. */
  #option = 0;
  readonly #head: RequestHead = emptyRequestHead();
  /** The write whose payload is awaited; the refusal that is due once its payload is skipped. */
  #write: NbdRequest | null = null;
  #refusal: Refusal | null = null;

  #outstanding = 0;
  /** Bytes charged for outstanding requests. */
  #chargedBytes = 0;
  /** Received bytes that wait until limits are met again; own memory. */
  #stash: Uint8Array[] = [];
  #stashBytes = 0;
  #parsing = false;

  constructor(options: NbdSessionOptions) {
    this.#handler = options.handler;
    this.#limits = { ...SESSION_LIMITS, ...options.limitsOverride };
    this.#allocate = options.allocate ?? ((byteCount) => new Uint8Array(byteCount));
    this.#payloads = options.payloads ?? null;
    this.#memory = options.memory ?? new HostMemory(Infinity);
    this.#out = new ReplyBuffer(this.#allocate);
    this.#catalog = options.catalog;
    const { catalog, state, tls = 'off' } = options;
    this.#handshake = new Handshake({ catalog, out: this.#out, optionsMax: this.#limits.optionsMax, tls, state });
    if (state !== undefined) this.#expect('option head', BYTES.optionHead);
  }

  /** The connection is gone: nothing that is still held for it may be begun. */
  get gone(): boolean {
    return this.#state === 'closed';
  }

  get state(): NbdSessionState {
    return this.#state;
  }

  /** The export in use; null during the handshake. */
  get export(): NbdExport | null {
    return this.#agreement === null ? null : this.#agreement.export;
  }

  /** Where the connection is to be passed on to, once; null otherwise. Then the shell connects, and calls passed() or notPassed(). */
  takePassedOn(): PassedOn | null {
    const passedOn = this.#passedOn;
    this.#passedOn = null;
    return passedOn;
  }

  /** The other site gives the export. Returns what the client has sent meanwhile; all that follows goes to the shell, not to receive(). */
  passed(sizeBytes: number): Uint8Array[] {
    assert(this.#passing === 'asking', 'only a session that asks can be passed on');
    this.#passing = 'passed';
    this.#handshake.passed(sizeBytes);
    const sent = this.#stash;
    this.#stash = [];
    this.#stashBytes = 0;
    return sent;
  }

  /** The other site does not give it: the handshake goes on. */
  notPassed(reason: string): void {
    if (this.#passing !== 'asking') return;
    this.#passing = 'no';
    this.#follow(this.#handshake.notPassed(reason));
  }

  /** The client is told to begin with TLS: the shell sends what takeOutput() gives, begins TLS, and calls secured(). */
  get securing(): boolean {
    return this.#passing === 'securing' && !this.#isDeaf();
  }

  /** TLS stands: what is received from now on came through it. `holder`: whose certificate was shown; null for none. */
  secured(holder: NbdHolder | null): void {
    assert(this.#passing === 'securing', 'only a session that waits for TLS can be secured');
    this.#passing = 'no';
    this.#handshake.secured(holder);
  }

  /** Where the handshake is to go on; null while it goes on here. Then the shell sends what takeOutput() gives, and calls takeMoved(). */
  get movesTo(): string | null {
    return this.#isDeaf() || this.#move === null ? null : this.#move.to;
  }

  /** Gives the handshake away, and ends the session. */
  takeMoved(): MovedHandshake {
    assert(this.#move !== null, 'only a handshake that moves can be taken');
    const moved = { state: this.#handshake.state, bytes: [this.#move.option, ...this.#stash] };
    this.abort();
    return moved;
  }

  /** Why the session is ending, for the log; null while it is not. */
  get closeReason(): string | null {
    return this.#closeReason;
  }

  /** Nothing more will be answered: close the socket promptly once all output is written. Clients wait for that. */
  get finished(): boolean {
    return this.#state === 'closed' || (this.#state === 'closing' && this.#outstanding === 0);
  }

  /** Requests that the handler has not answered. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /** Bytes held or soon to be held for this client: payloads and replies of outstanding requests, output not taken, input not parsed. */
  get heldBytes(): number {
    // A payload that is being gathered is charged for already.
    const partialBytes = this.#write === null ? this.#partial.length : 0;
    return this.#chargedBytes + this.#out.queuedBytes + partialBytes + this.#stashBytes;
  }

  /** Its client has begun a write and owes the rest of it. */
  get owesPayload(): boolean {
    return this.#write !== null;
  }

  /** The limits are met or exceeded: do not read from the socket. A write that was begun is taken whole. */
  get paused(): boolean {
    return (this.#write === null && this.#isFull()) || this.#stashBytes > 0 || this.#passing === 'asking' || this.#passing === 'moving';
  }

  /** Input that was held back can be parsed now: call resume(). */
  get resumable(): boolean {
    if (this.#stashBytes === 0 || this.#passing !== 'no' || this.#isFull()) return false;
    return !this.#memory.isShort || this.#maySqueeze(this.#stash[0] as Uint8Array);
  }

  /** Queues the greeting, unless it was given elsewhere. Called once, before anything else. */
  start(): void {
    if (this.#expected === 'client flags') this.#handshake.greet();
  }

  /** Takes bytes from the client, cut anywhere. They are not kept: what is still needed afterwards was copied. */
  receive(bytes: Uint8Array): void {
    assert(!this.#parsing, 'a session must not receive while it parses');
    if (bytes.length === 0 || this.#isDeaf()) return;
    const consumed = this.#stashBytes > 0 || this.#passing !== 'no' ? 0 : this.#parse(bytes);
    // The state may have changed by what was parsed.
    if (consumed === bytes.length || this.#isDeaf()) return;
    if (this.#passing === 'securing') return this.drain(BEFORE_TLS);
    // Not slice(): the shell hands in Buffers, whose slice() is no copy.
    const rest = this.#allocate(bytes.length - consumed);
    rest.set(bytes.subarray(consumed));
    this.#stash.push(rest);
    this.#stashBytes += rest.length;
  }

  /** Parses what was held back, as far as the limits allow. */
  resume(): void {
    if (this.#parsing) return;
    while (this.resumable) {
      const first = this.#stash[0] as Uint8Array;
      const consumed = this.#parse(first);
      // A drop on the way has emptied the stash.
      if (this.#stashBytes === 0) return;
      this.#stashBytes -= consumed;
      if (consumed === first.length) this.#stash.shift();
      else this.#stash[0] = first.subarray(consumed);
      if (this.#passing === 'securing' && this.#stashBytes > 0) return this.drain(BEFORE_TLS);
    }
  }

  /**
   * Answers a request. A successful read needs exactly `length` bytes of data, which must not change until they were written to the socket;
   * `lent`: takeLent() then gives them back. Ignored once the connection is gone.
   */
  reply(request: NbdRequest, error: NbdErrno | 0, data?: Uint8Array | null, lent = false): void {
    if (error !== 0) return this.replyError(request, error, '');
    assert(request.command !== 'status', 'a successful status request is answered by replyStatus');
    if (!this.#settle(request)) return;
    if (request.command === 'read') {
      assert(data !== undefined && data !== null, 'a successful read needs its bytes');
      putReadReply(this.#out, request, this.#isStructured(), data);
      if (lent) this.#out.lend(data);
    } else if (request.export.attachment !== undefined && this.#isStructured()) {
      putPositionChunk(this.#out, request, request.needSeq);
    } else {
      putSimpleReply(this.#out, request, 0);
    }
  }

  /** Answers a request with an error and, where the protocol has room for it, a sentence for people. */
  replyError(request: NbdRequest, error: NbdErrno, text: string): void {
    if (this.#settle(request)) this.#putError(request, { error, text });
  }

  /** Answers a read in pieces that cover it, holes among them. Data must not change until it was written to the socket. */
  replyPieces(request: NbdRequest, pieces: readonly NbdPiece[]): void {
    assert(request.command === 'read', 'pieces answer a read only', { command: request.command });
    if (this.#settle(request)) putReadPieces(this.#out, request, this.#isStructured(), pieces);
  }

  /** Answers BLOCK_STATUS with extents that begin at the request's offset: at least one, each with bytes. */
  replyStatus(request: NbdRequest, extents: readonly NbdExtent[]): void {
    assert(request.command === 'status', 'extents answer a status request only', { command: request.command });
    if (!this.#settle(request)) return;
    const told = (this.#agreement?.contexts ?? []).map(({ id, copy }) => ({
      id,
      extents:
        copy === null ? extents : (this.#catalog.lacks?.(request.export, copy, request) ?? [{ length: request.length, lacking: true }]),
    }));
    putStatusReply(this.#out, request, told);
  }

  /** Everything to be written to the socket now, in order. */
  takeOutput(): Uint8Array[] {
    return this.#out.take();
  }

  /** Memory that was lent for what takeOutput() has given: it is free when that was written to the socket. */
  takeLent(): readonly Uint8Array[] {
    return this.#out.takeLent();
  }

  /** Takes nothing more from the client; what is outstanding is still answered. For a server that ends a session in good order. */
  drain(reason: string): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.#state = 'closing';
    this.#closeReason = reason;
    this.#forgetInput();
  }

  /** The connection is gone: no more output, and later replies are ignored. */
  abort(): void {
    if (this.#state === 'closed') return;
    this.#closeReason ??= 'the connection was lost';
    this.#state = 'closed';
    this.#forgetInput();
    this.#out.clear();
    this.#outstanding = 0;
    this.#charge(-this.#chargedBytes);
  }

  #isDeaf(): boolean {
    return this.#state === 'closing' || this.#state === 'closed';
  }

  #isStructured(): boolean {
    return this.#agreement !== null && this.#agreement.structured;
  }

  /** Input held back is left out on purpose: it waits for the rest, so the rest must not wait for it. */
  #isFull(): boolean {
    return this.#outstanding >= this.#limits.requestsMax || this.#chargedBytes + this.#out.queuedBytes >= this.#limits.heldBytesMax;
  }

  #charge(bytes: number): void {
    this.#chargedBytes += bytes;
    this.#memory.add(bytes);
  }

  /**
   * Whether the next request may begin though the memory for all is used up: a small one of a client with nothing under way, so that none is shut
   * out by others. Its head lies in `bytes` from `at`, or it has to wait.
   */
  #maySqueeze(bytes: Uint8Array, at = 0): boolean {
    if (this.#expected !== 'request head') return true;
    if (this.#chargedBytes > 0 || this.#partialBytes > 0 || bytes.length - at < this.#wantBytes) return false;
    const view = viewOf(bytes);
    const type = view.getUint16(at + 6);
    if (type !== CMD.READ && type !== CMD.WRITE) return true;
    const length = this.#out.extended ? view.getUint32(at + 24) * 2 ** 32 + view.getUint32(at + 28) : view.getUint32(at + 24);
    return length <= limits.nbdSmallBytes;
  }

  #forgetInput(): void {
    // Its payload never comes whole, so nobody will answer it.
    if (this.#write !== null) this.#charge(-chargeOf(this.#write));
    this.#stash = [];
    this.#stashBytes = 0;
    this.#partial = NOTHING;
    this.#partialView = NOTHING_VIEW;
    this.#partialBytes = 0;
    this.#skipBytes = 0;
    this.#write = null;
    this.#refusal = null;
  }

  /** Parses a chunk and returns how much of it was used: less than all only when the limits stopped it before a request. */
  #parse(bytes: Uint8Array): number {
    const view = viewOf(bytes);
    let at = 0;
    this.#parsing = true;
    while (at < bytes.length && !this.#isDeaf() && this.#passing === 'no') {
      if (this.#skipBytes > 0) {
        const step = Math.min(this.#skipBytes, bytes.length - at);
        at += step;
        this.#skipBytes -= step;
        if (this.#skipBytes === 0) this.#skipped();
        continue;
      }
      if (this.#expected === 'request head' && (this.#isFull() || (this.#memory.isShort && !this.#maySqueeze(bytes, at)))) break;
      const wantBytes = this.#wantBytes;
      if (this.#partialBytes === 0 && bytes.length - at >= wantBytes) {
        this.#take(bytes, view, at);
        at += wantBytes;
      } else {
        at += this.#collect(bytes, at);
      }
    }
    this.#parsing = false;
    return this.#isDeaf() ? bytes.length : at;
  }

  /** Gathers what does not lie in one chunk; takes it once complete. Returns how many bytes were used. */
  #collect(bytes: Uint8Array, at: number): number {
    const wantBytes = this.#wantBytes;
    if (this.#partialBytes === 0) {
      // A payload gets memory of its own however short it is: the handler may look at it after the next head has arrived.
      const isHead = this.#expected !== 'payload' && this.#expected !== 'option data';
      this.#partial = isHead ? this.#headBytes : this.#memoryFor(wantBytes);
      this.#partialView = isHead ? this.#headView : viewOf(this.#partial);
    }
    const step = Math.min(wantBytes - this.#partialBytes, bytes.length - at);
    this.#partial.set(bytes.subarray(at, at + step), this.#partialBytes);
    this.#partialBytes += step;
    if (this.#partialBytes === wantBytes) {
      const whole = this.#partial;
      const view = this.#partialView;
      this.#partial = NOTHING;
      this.#partialView = NOTHING_VIEW;
      this.#partialBytes = 0;
      if (this.#expected === 'payload' && this.#payloads !== null) this.#gathered = whole;
      this.#take(whole, view, 0);
    }
    return step;
  }

  #memoryFor(byteCount: number): Uint8Array {
    return this.#expected === 'payload' && this.#payloads !== null ? this.#payloads.take(byteCount) : this.#allocate(byteCount);
  }

  /** Takes what was expected, which lies in `bytes` from `at`. */
  #take(bytes: Uint8Array, view: DataView, at: number): void {
    switch (this.#expected) {
      case 'request head':
        return this.#takeRequestHead(view, at);
      case 'payload':
        return this.#takePayload(bytes.subarray(at, at + this.#wantBytes));
      case 'client flags': {
        const dropped = this.#handshake.clientFlags(view.getUint32(at));
        return dropped === null ? this.#expect('option head', BYTES.optionHead) : this.drain(dropped);
      }
      case 'option head':
        return this.#takeOptionHead(view, at);
      case 'option data':
        return this.#carryOut(bytes.subarray(at, at + this.#wantBytes));
      default:
        return unreachable(this.#expected);
    }
  }

  #expect(expected: Expected, byteCount: number): void {
    this.#expected = expected;
    this.#wantBytes = byteCount;
  }

  #takeOptionHead(view: DataView, at: number): void {
    if (view.getUint32(at) !== MAGIC.OPTION[0] || view.getUint32(at + 4) !== MAGIC.OPTION[1]) {
      return this.drain('an option does not begin with its magic number');
    }
    this.#option = view.getUint32(at + 8);
    const byteCount = view.getUint32(at + 12);
    const dropped = this.#handshake.begin(this.#option);
    if (dropped !== null) this.drain(dropped);
    else if (byteCount > this.#limits.optionBytesMax) this.#skipBytes = byteCount;
    else if (byteCount === 0) this.#carryOut(NOTHING);
    else this.#expect('option data', byteCount);
  }

  #carryOut(data: Uint8Array): void {
    const outcome = this.#handshake.option(this.#option, data);
    if (outcome.kind === 'move') this.#move = { to: outcome.to, option: optionBytes(this.#option, data) };
    this.#follow(outcome);
  }

  /** What was to be dropped has gone by. */
  #skipped(): void {
    if (this.#state === 'handshake') return this.#follow(this.#handshake.tooLong(this.#option));
    const refusal = this.#refusal;
    assert(refusal !== null, 'a payload is skipped only because its write was refused');
    this.#refusal = null;
    this.#putRefusal(refusal);
  }

  #follow(outcome: OptionOutcome): void {
    switch (outcome.kind) {
      case 'next':
        return this.#expect('option head', BYTES.optionHead);
      case 'transmission':
        return this.#begin(outcome.agreement);
      case 'elsewhere':
        this.#passing = 'asking';
        this.#passedOn = outcome.passed;
        return this.#expect('option head', BYTES.optionHead);
      case 'move':
        this.#passing = 'moving';
        return this.#expect('option head', BYTES.optionHead);
      case 'secure':
        this.#passing = 'securing';
        return this.#expect('option head', BYTES.optionHead);
      case 'aborted':
        return this.drain('the client ended the handshake');
      case 'dropped':
        return this.drain(outcome.reason);
      default:
        return unreachable(outcome);
    }
  }

  #begin(agreement: Agreement): void {
    this.#agreement = agreement;
    this.#rules = {
      sizeBytes: agreement.export.sizeBytes,
      readOnly: agreement.export.readOnly,
      structured: agreement.structured,
      status: agreement.contexts.length > 0,
      requestBytesMax: this.#limits.requestBytesMax,
      chunkBytesMax: limits.requestBytesAdvertised,
    };
    this.#state = 'transmission';
    this.#out.extended = agreement.extended;
    this.#expectRequest();
    this.#catalog.begun?.(this);
  }

  #expectRequest(): void {
    this.#expect('request head', this.#out.extended ? BYTES.extendedHead : BYTES.requestHead);
  }

  #takeRequestHead(view: DataView, at: number): void {
    const head = this.#head;
    const isWhole = this.#out.extended ? readExtendedHead(view, at, head) : readRequestHead(view, at, head);
    if (!isWhole) return this.drain('a request does not begin with its magic number');
    const hasPayload = head.type === CMD.WRITE || (this.#out.extended && (head.flags & CMD_FLAG.PAYLOAD_LEN) !== 0);
    if (hasPayload && head.length > PAYLOAD_BYTES_MAX) return this.drain(`a payload of ${head.length} bytes was announced`);
    if (this.#out.extended && head.type === CMD.WRITE) head.flags &= ~CMD_FLAG.PAYLOAD_LEN;
    if (head.type === CMD.DISC) return this.drain('the client disconnected');
    const rules = this.#rules;
    assert(rules !== null, 'requests come only after the handshake');
    const command = commandOf(head.type);
    const refusal = refusalOf(head, command, rules);
    if (refusal !== null || command === null) {
      assert(refusal !== null, 'an unknown command must be refused');
      // The payload of a refused write comes all the same, and is answered only after it, as any other write.
      if (!hasPayload || head.length === 0) return this.#putRefusal(refusal);
      this.#refusal = refusal;
      this.#skipBytes = head.length;
      return;
    }
    const request = this.#requestOf(head, command);
    if (head.length === 0 && command !== 'flush') return this.#answerEmpty(request);
    if (command !== 'write') return this.#hand(request);
    this.#write = request;
    this.#charge(head.length);
    this.#expect('payload', head.length);
  }

  #takePayload(payload: Uint8Array): void {
    const request = this.#write;
    assert(request !== null, 'a payload belongs to a write');
    this.#write = null;
    this.#expectRequest();
    request.payload = payload;
    request.memory = this.#gathered;
    this.#gathered = null;
    this.#hand(request);
  }

  #requestOf(head: RequestHead, command: NbdCommand): NbdRequest {
    const agreement = this.#agreement as Agreement;
    const flags = head.flags;
    return {
      session: this,
      cookieHigh: head.cookieHigh,
      cookieLow: head.cookieLow,
      command,
      export: agreement.export,
      volume: agreement.export.volume,
      offset: head.offset,
      length: head.length,
      fua: (flags & CMD_FLAG.FUA) !== 0,
      noHole: (flags & CMD_FLAG.NO_HOLE) !== 0,
      fastZero: (flags & CMD_FLAG.FAST_ZERO) !== 0,
      reqOne: (flags & CMD_FLAG.REQ_ONE) !== 0,
      df: (flags & CMD_FLAG.DF) !== 0,
      answered: false,
      payload: null,
      memory: null,
      seq: 0,
      needSeq: 0,
      data: null,
      startedMillis: 0,
    };
  }

  #hand(request: NbdRequest): void {
    this.#outstanding++;
    if (request.command !== 'write') this.#charge(chargeOf(request));
    this.#handler.request(request);
  }

  /** Nothing to do, and "the server SHOULD NOT disconnect": it has succeeded. The handler never sees it. */
  #answerEmpty(request: NbdRequest): void {
    if (request.command === 'read' && this.#isStructured()) putNoneChunk(this.#out, request);
    else putSimpleReply(this.#out, request, 0);
  }

  /** Ends a request's accounts. False when the connection is gone and there is nobody to answer. */
  #settle(request: NbdRequest): boolean {
    assert(request.session === this, 'a request is answered by its own session');
    if (this.#state === 'closed') return false;
    assert(!request.answered, 'a request is answered once');
    request.answered = true;
    request.payload = null;
    if (request.memory !== null) this.#payloads?.give(request.memory);
    request.memory = null;
    this.#outstanding--;
    this.#charge(-chargeOf(request));
    return true;
  }

  #putRefusal(refusal: Refusal): void {
    const { cookieHigh, cookieLow, offset, length } = this.#head;
    this.#putError({ cookieHigh, cookieLow, offset, length, df: false, reqOne: false }, refusal);
  }

  /** Where structured replies were agreed, errors use them too: only they carry a text. */
  #putError(to: ReplyTo, refusal: Refusal): void {
    if (this.#isStructured()) putErrorChunk(this.#out, to, refusal.error, refusal.text);
    else putSimpleReply(this.#out, to, refusal.error);
  }
}
