// CRC-32 where the port that computes it costs more than the work: over a few words, and over blocks whose checksums are known already. The same
// polynomial and seeds as Digests.crc32, so that either may go on where the other ended.

import type { Digests } from './ports.ts';
import { BLOCK_BYTES } from './units.ts';

const POLYNOMIAL = 0xedb8_8320;

/** For each value of a byte, the register after it; then the same with one, two and three zero bytes behind. */
const BYTE_TABLES = byteTables();
/** For each value of each byte of a register, what a whole block of zeroes makes of it: the operation is linear, so the four are combined. */
const BLOCK_TABLES = blockTables();

function byteTables(): Uint32Array {
  const tables = new Uint32Array(4 * 256);
  for (let value = 0; value < 256; value++) {
    let register = value;
    for (let bit = 0; bit < 8; bit++) register = register & 1 ? (register >>> 1) ^ POLYNOMIAL : register >>> 1;
    tables[value] = register;
  }
  for (let i = 256; i < tables.length; i++) tables[i] = afterZero(tables, tables[i - 256] as number);
  return tables;
}

function afterZero(tables: Uint32Array, register: number): number {
  return (register >>> 8) ^ (tables[register & 0xff] as number);
}

function blockTables(): Uint32Array {
  const ofBit: number[] = [];
  for (let bit = 0; bit < 32; bit++) {
    let register = (1 << bit) >>> 0;
    for (let i = 0; i < BLOCK_BYTES; i++) register = afterZero(BYTE_TABLES, register);
    ofBit.push(register);
  }
  const tables = new Uint32Array(4 * 256);
  for (let i = 0; i < tables.length; i++) {
    let sum = 0;
    for (let bit = 0; bit < 8; bit++) if (i & (1 << bit)) sum ^= ofBit[8 * (i >>> 8) + bit] as number;
    tables[i] = sum;
  }
  return tables;
}

/** CRC-32 of `wordCount` times four bytes from `at` on, going on from `seed` (0 at the beginning). */
export function crc32OfWords(view: DataView, at: number, wordCount: number, seed: number): number {
  const tables = BYTE_TABLES;
  let register = ~seed;
  for (let word = 0; word < wordCount; word++) {
    register ^= view.getUint32(at + 4 * word, true);
    register =
      (tables[768 + (register & 0xff)] as number) ^
      (tables[512 + ((register >>> 8) & 0xff)] as number) ^
      (tables[256 + ((register >>> 16) & 0xff)] as number) ^
      (tables[register >>> 24] as number);
  }
  return ~register >>> 0;
}

/** Bytes up to which the table is faster than a call of the port and the view that it needs. */
const SHORT_BYTES_MAX = 256;

/** CRC-32 of a range of `bytes`, which `view` shows as well; of whole words, and cheap for a few of them. */
export function crc32OfRange(bytes: Uint8Array, view: DataView, range: { from: number; to: number }, digests: Digests): number {
  const { from, to } = range;
  if (to - from <= SHORT_BYTES_MAX) return crc32OfWords(view, from, (to - from) / 4, 0);
  return digests.crc32(bytes.subarray(from, to), 0);
}

/** CRC-32 of some bytes and a block behind them, from the CRC-32 of each. */
export function crc32WithBlock(before: number, block: number): number {
  const tables = BLOCK_TABLES;
  const shifted =
    (tables[before & 0xff] as number) ^
    (tables[256 + ((before >>> 8) & 0xff)] as number) ^
    (tables[512 + ((before >>> 16) & 0xff)] as number) ^
    (tables[768 + (before >>> 24)] as number);
  return (shifted ^ block) >>> 0;
}
