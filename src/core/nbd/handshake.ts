// The handshake of one connection: fixed newstyle option haggling. It is given whole options and puts its replies into the connection's
// output; cutting the bytes into options, and skipping data that is too long, is the session's work. Nothing here opens or locks an export:
// asking about one (INFO, LIST) leaves no trace.

import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { limits } from '../base/limits.ts';
import { BLOCK_BYTES, type VolumeIndex } from '../base/units.ts';
import { decodeUtf8, encodeUtf8 } from '../base/utf8.ts';
import { BASE_ALLOCATION, BYTES, DIRTY, FLAG, HANDSHAKE_FLAG, INFO, MAGIC, OPT, REP, STRING_BYTES_MAX } from './constants.ts';
import { type NbdLack, putU64, type ReplyBuffer } from './reply.ts';
import type { NbdSession } from './session.ts';

/** What a client can attach. An object of this kind does not change while a session has it. */
export interface NbdExport {
  readonly name: string;
  /** For people; may be empty. */
  readonly description: string;
  readonly sizeBytes: number;
  readonly volume: VolumeIndex;
  readonly readOnly: boolean;
  /** A flush on one connection covers what was answered on all of them. All connections to the volume must be told the same. */
  readonly multiConn: boolean;
  /** The sites that have a copy, in the group's order: what each lacks can be asked. */
  readonly copies?: readonly string[];
  /** As of which point it is: that one's id. Undefined: as it is now. */
  readonly point?: number;
  /** Whose connection it is, when its user keeps at most one at a time; and then answers say their positions. */
  readonly attachment?: Attachment;
}

/**
 * A user with one connection at a time, which it makes anew when it must (`tercet attach`). A connection of a higher generation ends all
 * those of lower ones before its first request is taken, so that nothing that was sent on an older one is carried out after it.
 */
export interface Attachment {
  readonly user: string;
  readonly generation: number;
}

/** Why an export is not given: there is none of that name, or this site may not serve it now. The text is sent to the client. */
export interface NbdRefusal {
  readonly refused: 'unknown' | 'not-serving';
  readonly text: string;
}

/** An export that another site serves: described as it is there. */
export interface NbdElsewhere {
  readonly elsewhere: string;
  readonly export: NbdExport;
  /** The name to ask that site for. */
  readonly name: string;
}

/** Whoever goes on with the handshake in this one's place: it has the export, or knows all of them. The option is carried out there. */
export interface NbdMove {
  readonly moveTo: string;
}

/** A connection that is to be passed on to another site. */
export interface PassedOn {
  readonly site: string;
  readonly name: string;
  readonly structured: boolean;
  readonly extended: boolean;
  readonly contexts: readonly MetaContext[];
  readonly infos: readonly number[];
}

/** A metadata context of an export. */
export interface MetaContext {
  readonly name: string;
  readonly id: number;
  /** The site whose copy it speaks of; null for base:allocation. */
  readonly copy: string | null;
}

/** Whether a connection can be encrypted by STARTTLS, or must be before anything is said about exports. */
export type NbdTls = 'off' | 'optional' | 'required';

/** Whose certificate a client has shown. */
export interface NbdHolder {
  /** For people. */
  readonly text: string;
  /** The only groups whose volumes it may use; null for all. */
  readonly groups: readonly string[] | null;
}

/** The exports of a server, asked anew for each option. `holder`: null for a client without a certificate. */
export interface NbdCatalog {
  /** False: lengths of more than 32 bits cannot be carried out here. */
  readonly extended?: boolean;
  /** All exports, in the order to be listed. */
  list(holder: NbdHolder | null): readonly NbdExport[] | NbdMove;
  /** The export of this name; the empty name is the only export if there is exactly one. */
  find(name: string, holder: NbdHolder | null): NbdExport | NbdRefusal | NbdElsewhere | NbdMove;
  /** What a copy of an export lacks, from `offset` on: at least one stretch. Without it no export has copies. */
  lacks?(of: NbdExport, copy: string, range: { readonly offset: number; readonly length: number }): readonly NbdLack[];
  /** A session begins to use an export: called before its first request is taken. */
  begun?(session: NbdSession): void;
}

/** What the handshake agreed for the transmission phase. */
export interface Agreement {
  readonly export: NbdExport;
  /** Structured replies were asked for. */
  readonly structured: boolean;
  /** Extended headers were asked for, and so structured replies: every head has 64-bit lengths. */
  readonly extended: boolean;
  /** Those that were selected for this very export. */
  readonly contexts: readonly MetaContext[];
}

/** What follows an option: another one, the transmission phase, the orderly end that the client asked for, or a drop with its reason. */
export type OptionOutcome =
  | { readonly kind: 'next' }
  | { readonly kind: 'transmission'; readonly agreement: Agreement }
  /** The answer to the option is given by passed() or notPassed(), later. */
  | { readonly kind: 'elsewhere'; readonly passed: PassedOn }
  /** Nothing was answered: the option is carried out where the handshake goes on. */
  | { readonly kind: 'move'; readonly to: string }
  /** The answer was an agreement to TLS: it is sent, TLS begins, and secured() is called. Not one byte may come between. */
  | { readonly kind: 'secure' }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'dropped'; readonly reason: string };

/** How far a handshake has come, between two options, in plain values: it can go on elsewhere. */
export interface HandshakeState {
  readonly fixedNewstyle: boolean;
  readonly zeroes: boolean;
  readonly structured: boolean;
  readonly extended: boolean;
  readonly isSecured: boolean;
  readonly holder: NbdHolder | null;
  /** What was selected, and the name of the export for which it was, as the client wrote it; null when nothing is selected. */
  readonly selected: { readonly of: string; readonly contexts: readonly MetaContext[] } | null;
  readonly optionsCount: number;
}

const NEXT: OptionOutcome = { kind: 'next' };
const NOTHING = new Uint8Array(0);

/** Option haggling of one connection. */
export class Handshake {
  readonly #catalog: NbdCatalog;
  readonly #out: ReplyBuffer;
  readonly #optionsMax: number;
  readonly #tls: NbdTls;
  #isSecured = false;
  #holder: NbdHolder | null = null;
  #fixedNewstyle = false;
  #zeroes = true;
  #structured = false;
  #extended = false;
  #selected: HandshakeState['selected'] = null;
  #optionsCount = 0;
  /** What another site is asked for at the moment. */
  #pending: { readonly option: number; readonly infos: ReadonlySet<number>; readonly agreement: Agreement } | null = null;

  /** `state`: of one that began elsewhere. */
  constructor(options: { catalog: NbdCatalog; out: ReplyBuffer; optionsMax: number; tls: NbdTls; state?: HandshakeState | undefined }) {
    this.#catalog = options.catalog;
    this.#out = options.out;
    this.#optionsMax = options.optionsMax;
    this.#tls = options.tls;
    if (options.state !== undefined) this.#goOn(options.state);
  }

  #goOn(state: HandshakeState): void {
    this.#fixedNewstyle = state.fixedNewstyle;
    this.#zeroes = state.zeroes;
    this.#structured = state.structured;
    this.#extended = state.extended;
    this.#isSecured = state.isSecured;
    this.#holder = state.holder;
    this.#selected = state.selected;
    this.#optionsCount = state.optionsCount;
  }

  /** As it was before the option that made it move. */
  get state(): HandshakeState {
    return {
      fixedNewstyle: this.#fixedNewstyle,
      zeroes: this.#zeroes,
      structured: this.#structured,
      extended: this.#extended,
      isSecured: this.#isSecured,
      holder: this.#holder,
      selected: this.#selected,
      optionsCount: this.#optionsCount - 1,
    };
  }

  /** The server's first bytes. */
  greet(): void {
    const at = this.#out.reserve(18);
    const view = this.#out.view;
    view.setUint32(at, MAGIC.INIT[0]);
    view.setUint32(at + 4, MAGIC.INIT[1]);
    view.setUint32(at + 8, MAGIC.OPTION[0]);
    view.setUint32(at + 12, MAGIC.OPTION[1]);
    view.setUint16(at + 16, HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES);
  }

  /** Takes the client's flags. Returns why the client is dropped, or null. */
  clientFlags(flags: number): string | null {
    const unknown = flags & ~(HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES);
    if (unknown !== 0) return `client flags 0x${(unknown >>> 0).toString(16)} were not offered`;
    this.#fixedNewstyle = (flags & HANDSHAKE_FLAG.FIXED_NEWSTYLE) !== 0;
    this.#zeroes = (flags & HANDSHAKE_FLAG.NO_ZEROES) === 0;
    return null;
  }

  /** Takes the header of an option, before its data. Returns why the client is dropped, or null. */
  begin(option: number): string | null {
    this.#optionsCount++;
    if (this.#optionsCount > this.#optionsMax) return `more than ${this.#optionsMax} options in one handshake`;
    if (!this.#fixedNewstyle && option !== OPT.EXPORT_NAME)
      return 'the client did not agree on fixed newstyle, where only an export name may come';
    return null;
  }

  /** An option whose data was too long and has been skipped. */
  tooLong(option: number): OptionOutcome {
    if (this.#isTooEarly(option)) return this.#tooEarly(option);
    if (option === OPT.EXPORT_NAME) return { kind: 'dropped', reason: 'the export name is too long' };
    if (option === OPT.ABORT) return this.#abort();
    // "Issuing this command replaces all previously-set metadata contexts (including when this command fails)".
    if (option === OPT.SET_META_CONTEXT) this.#selected = null;
    return this.#reply(option, REP.ERR_TOO_BIG, 'the data of the option is too long');
  }

  /** Carries out one option. The data is not kept. Never throws, whatever the data is. */
  option(option: number, data: Uint8Array): OptionOutcome {
    if (this.#isTooEarly(option)) return this.#tooEarly(option);
    switch (option) {
      case OPT.STARTTLS:
        return this.#startTls(data);
      case OPT.EXPORT_NAME:
        return this.#exportName(data);
      case OPT.ABORT:
        return this.#abort();
      case OPT.LIST:
        return this.#list(data);
      case OPT.INFO:
      case OPT.GO:
        return this.#infoOrGo(option, data);
      case OPT.STRUCTURED_REPLY:
        if (data.length > 0) return this.#reply(option, REP.ERR_INVALID, 'the option has no data');
        if (this.#extended) return this.#reply(option, REP.ERR_EXT_HEADER_REQD, 'extended headers were agreed already');
        this.#structured = true;
        return this.#reply(option, REP.ACK);
      case OPT.EXTENDED_HEADERS:
        return this.#extendedHeaders(data);
      case OPT.LIST_META_CONTEXT:
      case OPT.SET_META_CONTEXT:
        return this.#metaContext(option, data);
      default:
        return this.#reply(option, REP.ERR_UNSUP, `option ${option} is not known here`);
    }
  }

  /** TLS stands. What was agreed before it counts no more: it may have been said by somebody in between. */
  secured(holder: NbdHolder | null): void {
    assert(!this.#isSecured, 'TLS begins once');
    this.#isSecured = true;
    this.#holder = holder;
    this.#structured = false;
    this.#extended = false;
    this.#selected = null;
  }

  /** "FORCEDTLS": nothing but STARTTLS and ABORT before TLS. */
  #isTooEarly(option: number): boolean {
    return this.#tls === 'required' && !this.#isSecured && option !== OPT.STARTTLS && option !== OPT.ABORT;
  }

  #tooEarly(option: number): OptionOutcome {
    const text = 'this address takes hosts with TLS only';
    return option === OPT.EXPORT_NAME ? { kind: 'dropped', reason: text } : this.#reply(option, REP.ERR_TLS_REQD, text);
  }

  #startTls(data: Uint8Array): OptionOutcome {
    const option = OPT.STARTTLS;
    if (this.#tls === 'off') return this.#reply(option, REP.ERR_UNSUP, 'there is no TLS here');
    if (this.#isSecured) return this.#reply(option, REP.ERR_INVALID, 'TLS was begun already');
    if (data.length > 0) return this.#reply(option, REP.ERR_INVALID, 'the option has no data');
    this.#reply(option, REP.ACK);
    return { kind: 'secure' };
  }

  #extendedHeaders(data: Uint8Array): OptionOutcome {
    const option = OPT.EXTENDED_HEADERS;
    if (this.#catalog.extended === false) return this.#reply(option, REP.ERR_UNSUP, 'extended headers are not spoken here');
    if (data.length > 0) return this.#reply(option, REP.ERR_INVALID, 'the option has no data');
    if (this.#extended) return this.#reply(option, REP.ERR_INVALID, 'extended headers were agreed already');
    this.#structured = true;
    this.#extended = true;
    return this.#reply(option, REP.ACK);
  }

  /** "It cannot return an error": whoever names what is not there is dropped. */
  #exportName(data: Uint8Array): OptionOutcome {
    if (this.#extended) return { kind: 'dropped', reason: 'after extended headers an export is asked for by GO alone' };
    const name = textOf(data);
    if (name === null) return { kind: 'dropped', reason: 'the export name is not a valid string' };
    const found = this.#catalog.find(name, this.#holder);
    if ('moveTo' in found) return { kind: 'move', to: found.moveTo };
    if ('refused' in found) return { kind: 'dropped', reason: found.text };
    if ('elsewhere' in found) return this.#elsewhere(OPT.EXPORT_NAME, name, found, []);
    return this.#named(this.#agree(name, found));
  }

  #named(agreement: Agreement): OptionOutcome {
    const found = agreement.export;
    const byteCount = 10 + (this.#zeroes ? 124 : 0);
    const at = this.#out.reserve(byteCount);
    this.#out.arena.fill(0, at, at + byteCount);
    putU64(this.#out.view, at, found.sizeBytes);
    this.#out.view.setUint16(at + 8, transmissionFlags(agreement));
    return { kind: 'transmission', agreement };
  }

  #abort(): OptionOutcome {
    this.#reply(OPT.ABORT, REP.ACK);
    return { kind: 'aborted' };
  }

  #list(data: Uint8Array): OptionOutcome {
    if (data.length > 0) return this.#reply(OPT.LIST, REP.ERR_INVALID, 'the option has no data');
    const listed = this.#catalog.list(this.#holder);
    if ('moveTo' in listed) return { kind: 'move', to: listed.moveTo };
    for (const { name, description } of listed) {
      const nameBytes = encodeUtf8(name);
      const descriptionBytes = encodeUtf8(description);
      const at = this.#head(OPT.LIST, REP.SERVER, 4 + nameBytes.length + descriptionBytes.length);
      this.#out.view.setUint32(at, nameBytes.length);
      this.#out.arena.set(nameBytes, at + 4);
      this.#out.arena.set(descriptionBytes, at + 4 + nameBytes.length);
    }
    return this.#reply(OPT.LIST, REP.ACK);
  }

  #infoOrGo(option: number, data: Uint8Array): OptionOutcome {
    const reader = new OptionReader(data);
    const name = reader.text();
    const wanted = new Set<number>();
    for (let count = reader.u16(); count > 0 && reader.ok; count--) wanted.add(reader.u16());
    if (!reader.ended()) return this.#reply(option, REP.ERR_INVALID, 'the lengths within the option do not fit its data');
    if (name === null) return this.#reply(option, REP.ERR_INVALID, 'the export name is not a valid string');
    const found = this.#catalog.find(name, this.#holder);
    if ('moveTo' in found) return { kind: 'move', to: found.moveTo };
    if ('refused' in found) return this.#refuse(option, found);
    const isElsewhere = 'elsewhere' in found;
    if (isElsewhere && option === OPT.GO) return this.#elsewhere(option, name, found, wanted);
    const agreement = this.#agree(name, isElsewhere ? found.export : found);
    this.#info(option, wanted, agreement);
    this.#reply(option, REP.ACK);
    return option === OPT.GO ? { kind: 'transmission', agreement } : NEXT;
  }

  #elsewhere(option: number, name: string, found: NbdElsewhere, wanted: Iterable<number>): OptionOutcome {
    const infos = [...wanted];
    const agreement = this.#agree(name, found.export);
    this.#pending = { option, infos: new Set(infos), agreement };
    // What this server has told of the export is what the other one is asked to agree to; only its flags and size are looked at.
    return {
      kind: 'elsewhere',
      passed: {
        site: found.elsewhere,
        name: found.name,
        structured: agreement.structured,
        extended: agreement.extended,
        contexts: agreement.contexts,
        infos: [],
      },
    };
  }

  /** The other site gives the export: the client is told so, in this server's words and with that site's size. */
  passed(sizeBytes: number): void {
    const pending = this.#pending;
    assert(pending !== null, 'only what was to be passed on can have been');
    this.#pending = null;
    const agreement = { ...pending.agreement, export: { ...pending.agreement.export, sizeBytes } };
    if (pending.option === OPT.EXPORT_NAME) {
      this.#named(agreement);
      return;
    }
    this.#info(pending.option, pending.infos, agreement);
    this.#reply(pending.option, REP.ACK);
  }

  /** The other site does not give it. */
  notPassed(reason: string): OptionOutcome {
    const pending = this.#pending;
    assert(pending !== null, 'only what was to be passed on can have failed');
    this.#pending = null;
    if (pending.option === OPT.EXPORT_NAME) return { kind: 'dropped', reason };
    return this.#reply(pending.option, REP.ERR_SHUTDOWN, reason);
  }

  #info(option: number, wanted: ReadonlySet<number>, agreement: Agreement): void {
    const found = agreement.export;
    let at = this.#head(option, REP.INFO, 12);
    this.#out.view.setUint16(at, INFO.EXPORT);
    putU64(this.#out.view, at + 2, found.sizeBytes);
    this.#out.view.setUint16(at + 10, transmissionFlags(agreement));
    if (wanted.has(INFO.NAME)) this.#infoText(option, INFO.NAME, found.name);
    if (wanted.has(INFO.DESCRIPTION) && found.description !== '') this.#infoText(option, INFO.DESCRIPTION, found.description);
    if (wanted.has(INFO.BLOCK_SIZE)) {
      at = this.#head(option, REP.INFO, 14);
      this.#out.view.setUint16(at, INFO.BLOCK_SIZE);
      this.#out.view.setUint32(at + 2, 1);
      this.#out.view.setUint32(at + 6, BLOCK_BYTES);
      this.#out.view.setUint32(at + 10, limits.requestBytesAdvertised);
    }
  }

  #infoText(option: number, info: number, text: string): void {
    const bytes = encodeUtf8(text);
    const at = this.#head(option, REP.INFO, 2 + bytes.length);
    this.#out.view.setUint16(at, info);
    this.#out.arena.set(bytes, at + 2);
  }

  #metaContext(option: number, data: Uint8Array): OptionOutcome {
    const selects = option === OPT.SET_META_CONTEXT;
    if (selects) this.#selected = null;
    if (!this.#structured) return this.#reply(option, REP.ERR_INVALID, 'ask for structured replies first');
    const reader = new OptionReader(data);
    const name = reader.text();
    const queriesCount = reader.u32();
    const queries = new Set<string | null>();
    for (let count = queriesCount; count > 0 && reader.ok; count--) queries.add(reader.text());
    if (!reader.ended()) return this.#reply(option, REP.ERR_INVALID, 'the lengths within the option do not fit its data');
    if (name === null) return this.#reply(option, REP.ERR_INVALID, 'the export name is not a valid string');
    const found = this.#catalog.find(name, this.#holder);
    if ('moveTo' in found) return { kind: 'move', to: found.moveTo };
    if ('refused' in found) return this.#refuse(option, found);
    const all = contextsOf('elsewhere' in found ? found.export : found);
    // "If zero queries are sent", LIST returns all contexts and SET selects none.
    const matching = all.filter((each) => (!selects && queriesCount === 0) || matches(each, queries, selects));
    for (const each of matching) {
      const context = encodeUtf8(each.name);
      const at = this.#head(option, REP.META_CONTEXT, 4 + context.length);
      this.#out.view.setUint32(at, selects ? each.id : 0);
      this.#out.arena.set(context, at + 4);
    }
    if (selects && matching.length > 0) this.#selected = { of: name, contexts: matching };
    return this.#reply(option, REP.ACK);
  }

  #agree(name: string, found: NbdExport): Agreement {
    const contexts = this.#selected?.of === name ? this.#selected.contexts : [];
    return { export: found, structured: this.#structured, extended: this.#extended, contexts };
  }

  #refuse(option: number, refusal: NbdRefusal): OptionOutcome {
    return this.#reply(option, refusal.refused === 'unknown' ? REP.ERR_UNKNOWN : REP.ERR_SHUTDOWN, refusal.text);
  }

  /** A final reply, with a sentence for people when it is an error. */
  #reply(option: number, type: number, text = ''): OptionOutcome {
    const bytes = text === '' ? NOTHING : encodeUtf8(text.slice(0, Math.floor(STRING_BYTES_MAX / 3)).toWellFormed());
    const at = this.#head(option, type, bytes.length);
    this.#out.arena.set(bytes, at);
    return NEXT;
  }

  /** Writes the head of an option reply and returns where its data begins. */
  #head(option: number, type: number, byteCount: number): number {
    const at = this.#out.reserve(BYTES.optionReplyHead + byteCount);
    const view = this.#out.view;
    view.setUint32(at, MAGIC.OPTION_REPLY[0]);
    view.setUint32(at + 4, MAGIC.OPTION_REPLY[1]);
    view.setUint32(at + 8, option);
    view.setUint32(at + 12, type);
    view.setUint32(at + 16, byteCount);
    return at + BYTES.optionReplyHead;
  }
}

function contextsOf({ copies = [] }: NbdExport): readonly MetaContext[] {
  const dirty = copies.map((copy, index) => ({ name: `${DIRTY.prefix}${copy}`, id: DIRTY.firstId + index, copy }));
  return [{ ...BASE_ALLOCATION, copy: null }, ...dirty];
}

/** By its full name, or, to be listed, by the beginnings of it that end with a colon. */
function matches({ name }: MetaContext, queries: ReadonlySet<string | null>, selects: boolean): boolean {
  if (queries.has(name)) return true;
  if (selects) return false;
  for (let colon = name.indexOf(':'); colon >= 0; colon = name.indexOf(':', colon + 1))
    if (queries.has(name.slice(0, colon + 1))) return true;
  return false;
}

/** "Transmission flags". Writing is not offered on a read-only export; flush and FUA are, since clients use them anyway. */
function transmissionFlags(agreement: Agreement): number {
  const { readOnly, multiConn } = agreement.export;
  const writing = FLAG.SEND_TRIM | FLAG.SEND_WRITE_ZEROES | FLAG.SEND_FAST_ZERO;
  return (
    FLAG.HAS_FLAGS |
    FLAG.SEND_FLUSH |
    FLAG.SEND_FUA |
    FLAG.SEND_CACHE |
    (readOnly ? FLAG.READ_ONLY : writing) |
    (agreement.structured ? FLAG.SEND_DF : 0) |
    (multiConn ? FLAG.CAN_MULTI_CONN : 0)
  );
}

/** A string of the protocol: UTF-8 without NUL, at most 4096 bytes; null for anything else. */
function textOf(bytes: Uint8Array): string | null {
  if (bytes.length > STRING_BYTES_MAX || bytes.includes(0)) return null;
  return decodeUtf8(bytes);
}

/** Reads the data of an option. A read past the end gives 0 or null and makes `ok` false for good. */
class OptionReader {
  ok = true;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  u16(): number {
    const at = this.#take(2);
    return this.ok ? this.#view.getUint16(at) : 0;
  }

  u32(): number {
    const at = this.#take(4);
    return this.ok ? this.#view.getUint32(at) : 0;
  }

  /** A string with its length in 32 bits before it; null when it is not a valid one. */
  text(): string | null {
    const length = this.u32();
    const at = this.#take(length);
    return this.ok ? textOf(this.#bytes.subarray(at, at + length)) : null;
  }

  /** Whether everything could be read and nothing is left. */
  ended(): boolean {
    return this.ok && this.#at === this.#bytes.length;
  }

  #take(byteCount: number): number {
    const at = this.#at;
    if (byteCount > this.#bytes.length - at) this.ok = false;
    else this.#at = at + byteCount;
    return at;
  }
}
