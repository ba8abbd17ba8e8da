// The form of records on disk and on the wire. Records travel in frames: what arrived in one turn of the primary is one header, a table with
// one entry for each record, and the payloads. A mirror appends a frame unchanged, so this form is the only one that a record ever has.

import { type Layout, layout } from '../base/bytes.ts';
import { limits } from '../base/limits.ts';
import type { Digests } from '../base/ports.ts';
import { encodeUtf8 } from '../base/utf8.ts';

/** 'TCFR' as it reads in a dump. */
export const FRAME_MAGIC = 0x5246_4354;
/** Frames of which each record stands for itself. */
export const FRAME_VERSION = 1;
/** Frames that are one step: some of their records, which later ones of the same frame cover, travel without their payloads. */
export const FOLDED_FRAME_VERSION = 2;

/**
 * What a record does to its range: `write` puts its payload there, `zeroes` makes it read as zeroes and keeps it allocated, `trim` makes it
 * read as zeroes and may give its space back. Zero is no kind: lost blocks read as zeroes.
 */
export const RECORD_KIND = { write: 1, zeroes: 2, trim: 3 } as const;
/** A value of RECORD_KIND. */
export type RecordKind = (typeof RECORD_KIND)[keyof typeof RECORD_KIND];

const headerFields = [
  ['magic', 'u32', "'TCFR'"],
  ['headerCrc', 'u32', 'CRC-32 of bytes 8 to 63 of this header'],
  ['version', 'u16', 'version of this form: 1; 2 where a table of foldings stands behind the table of records'],
  ['flags', 'u16', '0'],
  ['groupTag', 'u32', 'CRC-32 of the group id: guards against frames of another group'],
  ['epoch', 'u64', 'epoch of every record of the frame, from 1'],
  ['firstSeq', 'u64', 'seq of the first record, from 1; the others follow without a gap'],
  ['timeMillis', 'u64', 'wall clock of the primary when it numbered the records, milliseconds since 1970; version 2: the earliest of them'],
  ['recordCount', 'u32', 'entries in the table, 1 to 4096'],
  ['payloadBytes', 'u32', 'bytes behind the tables: the payloads of all writes that are not folded, back to back'],
  ['chainBefore', 'u32', 'chain of the record before firstSeq, 0 before the first record of all'],
  ['tableCrc', 'u32', 'CRC-32 of the table; version 2: of both'],
  [
    'committed',
    'u64',
    'newest committed seq that the primary knew of when it made the frame, less than firstSeq; version 2: firstSeq - 1, and the frame itself is',
  ],
] as const;

/** Header of a frame; the table follows it. */
export const frameHeaderLayout: Layout<(typeof headerFields)[number][0]> = layout(64, headerFields);

const entryFields = [
  ['chain', 'u32', 'CRC-32 of bytes 4 to 31 of this entry, going on from the chain of the record before'],
  ['kind', 'u8', '1 write, 2 zeroes (stay allocated), 3 trim (may become a hole)'],
  ['flags', 'u8', '0'],
  ['volume', 'u16', 'index of the volume in its group'],
  ['length', 'u32', 'bytes of the range, from 1'],
  ['payloadCrc', 'u32', 'CRC-32 of the payload; 0 for zeroes and trim, which have none'],
  ['offset', 'u64', 'first byte of the range in the volume'],
  ['reserved', 'u64', '0'],
] as const;

/** Entry of one record in a frame's table. */
export const recordEntryLayout: Layout<(typeof entryFields)[number][0]> = layout(32, entryFields);

const foldingFields = [['folding', 'u32', 'bit 31: the payload does not travel; bits 0 to 30: milliseconds after timeMillis']] as const;

/** What version 2 says of one record, behind the table of records. */
export const foldingLayout: Layout<(typeof foldingFields)[number][0]> = layout(4, foldingFields);

/** Bit of a folding that says that the record has no payload here. */
export const FOLDED_BIT = 0x8000_0000;
/** Latest time of a record after that of its frame. */
export const FOLDING_MILLIS_MAX = 0x7fff_ffff;
/** Bytes of one folding. */
export const FOLDING_BYTES: number = foldingLayout.bytes;

/** Bytes of a frame's header. */
export const FRAME_HEADER_BYTES: number = frameHeaderLayout.bytes;
/** Bytes of one entry of a frame's table. */
export const RECORD_ENTRY_BYTES: number = recordEntryLayout.bytes;
/** First byte of a header that its checksum covers. */
export const HEADER_CRC_FROM: number = frameHeaderLayout.at.version;
/** First byte of an entry that its chain value covers. */
export const CHAIN_FROM: number = recordEntryLayout.at.kind;
/** Words of four bytes that it covers: the rest of the entry. */
export const CHAIN_WORDS: number = (RECORD_ENTRY_BYTES - CHAIN_FROM) / 4;

/** Where the payloads of a frame begin. */
export function payloadStartOf(recordCount: number, isFolded: boolean): number {
  return FRAME_HEADER_BYTES + recordCount * (RECORD_ENTRY_BYTES + (isFolded ? FOLDING_BYTES : 0));
}

/** What a frame carries in its header to be told from the frames of other groups. */
export function groupTagOf(groupId: string, digests: Digests): number {
  return digests.crc32(encodeUtf8(groupId), 0);
}

/** Why a record's fields are out of range; null when they are right. The same rule before writing and after reading. */
export function recordFault(kind: number, volume: number, offset: number, length: number): string | null {
  if (kind < RECORD_KIND.write || kind > RECORD_KIND.trim) return `there is no record kind ${kind}`;
  if (volume >= limits.groupVolumesMax) return `volume index ${volume} is above ${limits.groupVolumesMax - 1}`;
  if (length < 1) return 'a record covers no bytes';
  const lengthMax = kind === RECORD_KIND.write ? limits.requestBytesMax : limits.zeroesBytesMax;
  if (length > lengthMax) return `a record of ${length} bytes is longer than ${lengthMax}`;
  // Written so that NaN, which an offset above 2^53 reads as, fails too.
  if (!(offset + length <= limits.volumeBytesMax)) return `a record at ${offset} reaches beyond the largest volume`;
  return null;
}
