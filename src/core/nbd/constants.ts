// The numbers of the NBD protocol, named as in its document ("Values", NetworkBlockDevice/nbd, doc/proto.md) without the NBD_ prefix.
// Everything on the wire is big-endian. 64-bit magic numbers are kept as two words, because no Number holds them.

/** Magic numbers. The 64-bit ones are [high word, low word]. */
export const MAGIC = {
  /** ASCII 'NBDMAGIC'. */
  INIT: [0x4e42444d, 0x41474943],
  /** ASCII 'IHAVEOPT', sent by the server once and by the client before each option. */
  OPTION: [0x49484156, 0x454f5054],
  OPTION_REPLY: [0x0003e889, 0x045565a9],
  REQUEST: 0x25609513,
  SIMPLE_REPLY: 0x67446698,
  STRUCTURED_REPLY: 0x668e33ef,
  EXTENDED_REQUEST: 0x21e41c71,
  EXTENDED_REPLY: 0x6e8a278c,
} as const;

/** "Handshake flags" of the server and "Client flags": the same bits answer each other. */
export const HANDSHAKE_FLAG = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

/** "Option types". What is missing here is answered with ERR_UNSUP. */
export const OPT = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
  EXTENDED_HEADERS: 11,
} as const;

/** "Option reply types". */
export const REP = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_INVALID: 0x8000_0003,
  ERR_TLS_REQD: 0x8000_0005,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_SHUTDOWN: 0x8000_0007,
  ERR_TOO_BIG: 0x8000_0009,
  ERR_EXT_HEADER_REQD: 0x8000_000a,
} as const;

/** Information types of REP_INFO. */
export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

/** "Transmission flags": what an export can do. */
export const FLAG = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
} as const;

/** "Request types". */
export const CMD = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, WRITE_ZEROES: 6, BLOCK_STATUS: 7 } as const;

/** "Command flags". */
export const CMD_FLAG = { FUA: 1 << 0, NO_HOLE: 1 << 1, DF: 1 << 2, REQ_ONE: 1 << 3, FAST_ZERO: 1 << 4, PAYLOAD_LEN: 1 << 5 } as const;

/** "Structured reply flags". */
export const REPLY_FLAG_DONE = 1;

/**
 * "Structured reply types". POSITION is no part of the protocol: it is sent only on an export that was asked for by a name with `@attach`,
 * after structured replies were agreed, and has one u64, the sequence number that the answer stands for.
 */
export const REPLY_TYPE = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  BLOCK_STATUS_EXT: 6,
  POSITION: 0x7ec7,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;

/** Status flags of the metadata context base:allocation. */
export const STATE = { HOLE: 1, ZERO: 2 } as const;

/** "Error values": the only ones that may be on the wire. */
export const ERRNO = { EPERM: 1, EIO: 5, ENOMEM: 12, EINVAL: 22, ENOSPC: 28, EOVERFLOW: 75, ENOTSUP: 95, ESHUTDOWN: 108 } as const;

/** An error that a request may be answered with. */
export type NbdErrno = (typeof ERRNO)[keyof typeof ERRNO];

/** Bytes of the fixed parts. */
export const BYTES = {
  clientFlags: 4,
  optionHead: 16,
  optionReplyHead: 20,
  requestHead: 28,
  extendedHead: 32,
  simpleReply: 16,
  chunkHead: 20,
} as const;

/** "This applies to export names and error messages": a string is at most this long. */
export const STRING_BYTES_MAX = 4096;

/** The metadata context of holes and zeroes, and its number in replies. */
export const BASE_ALLOCATION = { name: 'base:allocation', id: 1 } as const;

/** Of the sites of a group, one context each: what that site's copy lacks. They are numbered from `firstId` on, in the order of the sites. */
export const DIRTY = { prefix: 'x-tercet:dirty:', firstId: 2 } as const;

/** Status flag of the contexts x-tercet:dirty:SITE, as in qemu:dirty-bitmap. */
export const STATE_DIRTY = 1;
