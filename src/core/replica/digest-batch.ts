// What a log of digests is made of: batches, each for one write, one behind the other at whole pages of a file. The first batch of a file holds all that
// counts, so that one file is enough; each other one names the one before it by its checksum, so that what lies behind the end from earlier times is
// never taken for more of it.

import { getU64, type Layout, layout, setU64, viewOf } from '../base/bytes.ts';
import type { Digests } from '../base/ports.ts';
import { digestCheck } from './digest-entry.ts';
import type { DigestMap } from './digest-map.ts';

const MAGIC = 0x4c44_4354;
const PAGE_BYTES = 4096;

const headerFields = [
  ['magic', 'u32', "'TCDL'"],
  ['crc', 'u32', 'CRC-32 of the batch from byte 8 to the end of its last entry'],
  ['generation', 'u64', 'of the file: of two, the higher one counts'],
  ['sequence', 'u32', 'number of the batch in its file; 0: what batches before it said does not count any more'],
  ['start', 'u32', 'number of the start of the copy that wrote it; never falls within a file'],
  ['chain', 'u32', '`crc` of the batch before; 0 in the first'],
  ['ranges', 'u32', 'number of ranges behind this head'],
  ['entries', 'u32', 'number of entries behind the ranges'],
  ['reserved', 'u32', '0'],
] as const;

/** The head of a batch. */
export const digestBatchLayout: Layout<(typeof headerFields)[number][0]> = layout(40, headerFields);

const rangeFields = [
  ['first', 'u64', 'first block of which the log says nothing any more: the table does'],
  ['count', 'u64', 'number of blocks'],
] as const;

/** A range of a batch. */
export const digestRangeLayout: Layout<(typeof rangeFields)[number][0]> = layout(16, rangeFields);

const logEntryFields = [
  ['block', 'u64', 'number of the block'],
  ['crc', 'u32', 'CRC-32 of its 4096 bytes'],
  ['check', 'u32', 'as in the table'],
] as const;

/** An entry of a batch. */
export const digestLogEntryLayout: Layout<(typeof logEntryFields)[number][0]> = layout(16, logEntryFields);

const HEADER_BYTES = digestBatchLayout.bytes;
const ITEM_BYTES = 16;

/** A batch in its place: what its head says. */
export interface BatchHead {
  readonly generation: number;
  readonly sequence: number;
  readonly start: number;
  readonly chain: number;
}

/** Blocks of which the log says nothing any more. */
export interface BlockRange {
  readonly first: number;
  readonly count: number;
}

/** Bytes that a batch takes in its file. */
export function batchBytes(ranges: number, entries: number): number {
  return Math.ceil((HEADER_BYTES + ITEM_BYTES * (ranges + entries)) / PAGE_BYTES) * PAGE_BYTES;
}

/** A batch as it is written. `maps`: what becomes entries; of a block that is in several the first one counts. */
export function encodeBatch(
  head: BatchHead,
  ranges: readonly BlockRange[],
  maps: readonly DigestMap[],
  digests: Digests,
): { readonly bytes: Uint8Array; readonly crc: number } {
  const bound = maps.reduce((sum, map) => sum + map.size, 0);
  const bytes = new Uint8Array(batchBytes(ranges.length, bound));
  const view = viewOf(bytes);
  let at = HEADER_BYTES;
  for (const { first, count } of ranges) {
    setU64(view, at + digestRangeLayout.at.first, first);
    setU64(view, at + digestRangeLayout.at.count, count);
    at += ITEM_BYTES;
  }
  let entries = 0;
  for (const [index, map] of maps.entries()) {
    const before = maps.slice(0, index);
    map.visit((block, crc) => {
      if (before.some((newer) => newer.get(block) >= 0)) return;
      setU64(view, at + digestLogEntryLayout.at.block, block);
      view.setUint32(at + digestLogEntryLayout.at.crc, crc, true);
      view.setUint32(at + digestLogEntryLayout.at.check, digestCheck(crc, block), true);
      at += ITEM_BYTES;
      entries++;
    });
  }
  const { at: field } = digestBatchLayout;
  view.setUint32(field.magic, MAGIC, true);
  setU64(view, field.generation, head.generation);
  view.setUint32(field.sequence, head.sequence, true);
  view.setUint32(field.start, head.start, true);
  view.setUint32(field.chain, head.chain, true);
  view.setUint32(field.ranges, ranges.length, true);
  view.setUint32(field.entries, entries, true);
  const crc = digests.crc32(bytes.subarray(8, at), 0);
  view.setUint32(field.crc, crc, true);
  return { bytes: bytes.subarray(0, batchBytes(ranges.length, entries)), crc };
}

/** A batch that was read. */
export interface Batch extends BatchHead {
  readonly crc: number;
  /** Bytes that it takes in its file. */
  readonly byteCount: number;
  /** Visits its ranges, then its entries. */
  visit(range: (first: number, count: number) => void, entry: (block: number, crc: number) => void): void;
}

/** The batch at a place of a file's bytes; null when there is none, or not whole. */
function decodeBatch(file: Uint8Array, from: number, digests: Digests): Batch | null {
  if (from + HEADER_BYTES > file.length) return null;
  const bytes = file.subarray(from);
  const view = viewOf(bytes);
  const { at: field } = digestBatchLayout;
  if (view.getUint32(field.magic, true) !== MAGIC) return null;
  const ranges = view.getUint32(field.ranges, true);
  const entries = view.getUint32(field.entries, true);
  const end = HEADER_BYTES + ITEM_BYTES * (ranges + entries);
  const crc = view.getUint32(field.crc, true);
  if (end > bytes.length || digests.crc32(bytes.subarray(8, end), 0) !== crc) return null;
  return {
    generation: getU64(view, field.generation),
    sequence: view.getUint32(field.sequence, true),
    start: view.getUint32(field.start, true),
    chain: view.getUint32(field.chain, true),
    crc,
    byteCount: batchBytes(ranges, entries),
    visit: (range, entry) => {
      for (let i = 0; i < ranges + entries; i++) {
        const at = HEADER_BYTES + i * ITEM_BYTES;
        if (i < ranges) range(getU64(view, at), getU64(view, at + digestRangeLayout.at.count));
        else entry(getU64(view, at), view.getUint32(at + digestLogEntryLayout.at.crc, true));
      }
    },
  };
}

/** What the bytes of a file of a log come to. */
export interface LogRead {
  /** Those that count, in order; none when its first is not there. */
  readonly batches: readonly Batch[];
  /** Where the next one goes. */
  readonly end: number;
}

/** Reads a file of a log. */
export function readBatches(file: Uint8Array, digests: Digests): LogRead {
  const batches: Batch[] = [];
  let end = 0;
  let last: Batch | null = null;
  for (;;) {
    const batch: Batch | null = decodeBatch(file, end, digests);
    if (batch === null || !follows(last, batch)) break;
    batches.push(batch);
    end += batch.byteCount;
    last = batch;
  }
  return { batches, end };
}

function follows(last: Batch | null, batch: Batch): boolean {
  if (last === null) return batch.sequence === 0;
  const { generation, sequence, crc, start } = last;
  return batch.generation === generation && batch.sequence === sequence + 1 && batch.chain === crc && batch.start >= start;
}
