// Requests of the transmission phase: reading the header, and the one place that decides whether a request is allowed and with which error
// it is refused. What passes here is a known command with known flags on bytes that the export has.

import { unreachable } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { CMD, CMD_FLAG, ERRNO, MAGIC, type NbdErrno } from './constants.ts';

/** What a request asks for. DISC is not among them: it has no reply and ends the session. */
export type NbdCommand = 'read' | 'write' | 'flush' | 'trim' | 'zeroes' | 'cache' | 'status';

/** The header of a request as it came. One object is filled again and again. */
export interface RequestHead {
  flags: number;
  type: number;
  cookieHigh: number;
  cookieLow: number;
  /** Bytes; Infinity when it is above what a Number holds exactly, and so beyond any export. */
  offset: number;
  length: number;
}

/** What the handshake agreed, as far as it decides which requests are allowed. */
export interface TransmissionRules {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Structured replies were agreed: DF may be asked for, and read errors have more names. */
  readonly structured: boolean;
  /** A metadata context was selected for this export: BLOCK_STATUS may be asked. */
  readonly status: boolean;
  /** Longest read or write that is carried out. */
  readonly requestBytesMax: number;
  /** Longest read that can be answered in one chunk. */
  readonly chunkBytesMax: number;
}

/** Why a request is not carried out. */
export interface Refusal {
  readonly error: NbdErrno;
  readonly text: string;
}

/** A header with nothing in it, to be filled by readRequestHead. */
export function emptyRequestHead(): RequestHead {
  return { flags: 0, type: 0, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 };
}

/** Fills `into` from the 28 bytes of a header; false when they do not begin with the magic number. */
export function readRequestHead(view: DataView, at: number, into: RequestHead): boolean {
  if (view.getUint32(at) !== MAGIC.REQUEST) return false;
  into.flags = view.getUint16(at + 4);
  into.type = view.getUint16(at + 6);
  into.cookieHigh = view.getUint32(at + 8);
  into.cookieLow = view.getUint32(at + 12);
  into.offset = u64(view, at + 16);
  into.length = view.getUint32(at + 24);
  return true;
}

/** The same for the 32 bytes of an extended header. */
export function readExtendedHead(view: DataView, at: number, into: RequestHead): boolean {
  if (view.getUint32(at) !== MAGIC.EXTENDED_REQUEST) return false;
  into.flags = view.getUint16(at + 4);
  into.type = view.getUint16(at + 6);
  into.cookieHigh = view.getUint32(at + 8);
  into.cookieLow = view.getUint32(at + 12);
  into.offset = u64(view, at + 16);
  into.length = u64(view, at + 24);
  return true;
}

/** Infinity when it is above what a Number holds exactly. */
function u64(view: DataView, at: number): number {
  const high = view.getUint32(at);
  return high > 0x1f_ffff ? Infinity : high * 0x1_0000_0000 + view.getUint32(at + 4);
}

/** The command that a type stands for; null for DISC and for types that this server does not know. */
export function commandOf(type: number): NbdCommand | null {
  switch (type) {
    case CMD.READ:
      return 'read';
    case CMD.WRITE:
      return 'write';
    case CMD.FLUSH:
      return 'flush';
    case CMD.TRIM:
      return 'trim';
    case CMD.CACHE:
      return 'cache';
    case CMD.WRITE_ZEROES:
      return 'zeroes';
    case CMD.BLOCK_STATUS:
      return 'status';
    default:
      return null;
  }
}

/** Whether a request is carried out: null if so, else with which error it is refused. Never throws, whatever the header says. */
export function refusalOf(head: RequestHead, command: NbdCommand | null, rules: TransmissionRules): Refusal | null {
  if (command === null) return { error: ERRNO.EINVAL, text: `command ${head.type} is not known here` };
  const unknown = head.flags & ~flagsAllowed(command, rules.structured);
  if (unknown !== 0) return { error: ERRNO.EINVAL, text: `command flags 0x${unknown.toString(16)} are not valid for ${command} here` };
  switch (command) {
    case 'flush':
      if (head.offset !== 0 || head.length !== 0) return { error: ERRNO.EINVAL, text: 'offset and length of a flush must be 0' };
      return null;
    case 'write':
    case 'zeroes':
    case 'trim':
      if (rules.readOnly) return { error: ERRNO.EPERM, text: `${command} refused: the export is read-only` };
      if (isBeyondEnd(head, rules)) return beyondEnd(command, command === 'trim' ? ERRNO.EINVAL : ERRNO.ENOSPC, head, rules);
      if (command === 'write') return head.length > rules.requestBytesMax ? tooLong(command, ERRNO.EINVAL, head, rules) : null;
      if (head.length <= limits.nbdZeroesBytesMax) return null;
      return {
        error: ERRNO.EOVERFLOW,
        text: `${command} of ${head.length} bytes is too long: at most ${limits.nbdZeroesBytesMax} at once`,
      };
    case 'read':
      if (isBeyondEnd(head, rules)) return beyondEnd(command, ERRNO.EINVAL, head, rules);
      return refusalOfReadLength(head, rules);
    case 'cache':
      return isBeyondEnd(head, rules) ? beyondEnd(command, ERRNO.EINVAL, head, rules) : null;
    case 'status':
      if (!rules.status) return { error: ERRNO.EINVAL, text: 'no metadata context was selected for this export in the handshake' };
      // No reply could say it: a status reply has at least one extent, and an extent at least one byte.
      if (head.length === 0) return { error: ERRNO.EINVAL, text: 'the status of 0 bytes cannot be told' };
      return isBeyondEnd(head, rules) ? beyondEnd(command, ERRNO.EINVAL, head, rules) : null;
    default:
      return unreachable(command);
  }
}

/** FUA is valid on every command once offered ("Command flags", bit 0). */
function flagsAllowed(command: NbdCommand, structured: boolean): number {
  switch (command) {
    case 'read':
      return structured ? CMD_FLAG.FUA | CMD_FLAG.DF : CMD_FLAG.FUA;
    case 'zeroes':
      return CMD_FLAG.FUA | CMD_FLAG.NO_HOLE | CMD_FLAG.FAST_ZERO;
    case 'status':
      return CMD_FLAG.FUA | CMD_FLAG.REQ_ONE;
    case 'write':
    case 'flush':
    case 'trim':
    case 'cache':
      return CMD_FLAG.FUA;
    default:
      return unreachable(command);
  }
}

/** EOVERFLOW exists for structured reads only: "a server is also permitted to reject large read requests up front". */
function refusalOfReadLength(head: RequestHead, rules: TransmissionRules): Refusal | null {
  if (head.length > rules.requestBytesMax) return tooLong('read', rules.structured ? ERRNO.EOVERFLOW : ERRNO.EINVAL, head, rules);
  if ((head.flags & CMD_FLAG.DF) !== 0 && head.length > rules.chunkBytesMax) {
    return {
      error: ERRNO.EOVERFLOW,
      text: `${head.length} bytes do not fit in one chunk: leave DF off, or read at most ${rules.chunkBytesMax}`,
    };
  }
  return null;
}

/** Compared without a sum, so that nothing can run over. */
function isBeyondEnd(head: RequestHead, rules: TransmissionRules): boolean {
  return head.offset > rules.sizeBytes || head.length > rules.sizeBytes - head.offset;
}

function beyondEnd(command: NbdCommand, error: NbdErrno, head: RequestHead, rules: TransmissionRules): Refusal {
  const offset = head.offset === Infinity ? 'an offset above 2^53' : `offset ${head.offset}`;
  return { error, text: `${command} of ${head.length} bytes at ${offset} reaches beyond the export's ${rules.sizeBytes} bytes` };
}

function tooLong(command: NbdCommand, error: NbdErrno, head: RequestHead, rules: TransmissionRules): Refusal {
  return { error, text: `${command} of ${head.length} bytes is too long: at most ${rules.requestBytesMax} at once` };
}

/** A request is charged for the largest reply that it may bring: one answer for each site of a group, and that of base:allocation. */
const STATUS_REPLY_BYTES = 16 * limits.nbdExtentsMax * (limits.groupSitesMax + 1);

/** Bytes that a request holds until it is answered: its payload, or its reply. */
export function chargeOf({ command, length }: { readonly command: NbdCommand; readonly length: number }): number {
  switch (command) {
    case 'read':
    case 'write':
      return length;
    case 'status':
      return STATUS_REPLY_BYTES;
    case 'flush':
    case 'trim':
    case 'zeroes':
    case 'cache':
      return 0;
    default:
      return unreachable(command);
  }
}
