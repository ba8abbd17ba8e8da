// A two-slot cell: a small value that must survive a crash in the middle of its own update. The file has two slots of equal size; an update
// goes to the slot that does not hold the newest valid value, so a torn write harms only what was about to be replaced. The superblock of a
// replica and the witness's store are such cells. Each slot: a header with its own checksum, then the value as JSON, then zeroes.

import { assert } from './assert.ts';
import { getU64, type Layout, layout, setU64, viewOf } from './bytes.ts';
import { limits } from './limits.ts';
import type { Digests } from './ports.ts';
import { isCount } from './units.ts';
import { decodeUtf8, encodeUtf8 } from './utf8.ts';

/** What a cell may hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** CRC-32 of bytes, going on from a seed; the cell is handed it. */
export type Crc32 = Digests['crc32'];

/** 'TCEL' as it reads in a dump of the file. */
const CELL_MAGIC = 0x4c45_4354;
/** The only version of the form so far. */
export const CELL_VERSION = 1;

const slotFields = [
  ['magic', 'u32', "'TCEL'"],
  ['version', 'u16', 'version of this form: 1'],
  ['flags', 'u16', '0'],
  ['revision', 'u64', 'number of the value, from 1; of two valid slots the larger one counts'],
  ['payloadBytes', 'u32', 'length of the value: UTF-8 JSON with sorted keys, right behind this header'],
  ['payloadCrc32', 'u32', 'CRC-32 of the value'],
  ['reserved', 'u32', '0'],
  ['headerCrc32', 'u32', 'CRC-32 of the 28 bytes before it'],
] as const;

/** Header of one slot. */
export const slotLayout: Layout<(typeof slotFields)[number][0]> = layout(32, slotFields);

/** Largest JSON text that a cell holds, in bytes. */
export const CELL_PAYLOAD_BYTES_MAX: number = limits.cellSlotBytes - slotLayout.bytes;
/** Size of a cell's file. */
export const CELL_BYTES: number = 2 * limits.cellSlotBytes;

/** What one slot holds. `empty` is all zeroes: never written. `version` is a sound slot that another version of the program wrote. */
export type SlotState =
  | { readonly kind: 'value'; readonly revision: number; readonly value: Json }
  | { readonly kind: 'empty' }
  | { readonly kind: 'damaged'; readonly why: string }
  | { readonly kind: 'version'; readonly found: number };

/** 0 for the first slot of the file, 1 for the second. */
export type SlotIndex = 0 | 1;

/**
 * What a cell holds. `damaged` means that no slot can be trusted to be the last that was written: both are damaged, or one is and the other
 * was never used, or both carry one revision with different values. It must not be taken for `empty`.
 */
export type CellState =
  | {
      readonly kind: 'value';
      readonly revision: number;
      readonly value: Json;
      /** The slot that holds it. */
      readonly slot: SlotIndex;
      /** What lies in the other one: the value before, the same value, or the remains of an update that never ended. */
      readonly otherSlot: SlotState;
    }
  | { readonly kind: 'empty' }
  | { readonly kind: 'damaged'; readonly why: string; readonly slots: readonly [SlotState, SlotState] }
  | { readonly kind: 'version'; readonly found: number };

/** JSON text with sorted keys: equal values have equal texts. Refuses what JSON cannot hold (undefined, NaN, infinite). */
export function canonicalJson(value: Json): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    assert(Number.isFinite(value), 'JSON holds finite numbers only', { value });
    return JSON.stringify(value);
  }
  assert(typeof value === 'object', 'a value that JSON cannot hold', { type: typeof value });
  if (Array.isArray(value)) return `[${value.map((item: Json) => canonicalJson(item)).join(',')}]`;
  const members = Object.entries(value as { readonly [key: string]: Json }).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${members.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
}

/** Whether a value fits into a cell. */
export function fitsCell(value: Json): boolean {
  return encodeUtf8(canonicalJson(value)).length <= CELL_PAYLOAD_BYTES_MAX;
}

/** Bytes of a whole slot, zeroes behind the value. The value must fit. */
export function encodeSlot(revision: number, value: Json, crc32: Crc32): Uint8Array {
  assert(isCount(revision), 'a revision is a count', { revision });
  assert(revision > 0, 'revisions begin at 1', { revision });
  const payload = encodeUtf8(canonicalJson(value));
  assert(payload.length <= CELL_PAYLOAD_BYTES_MAX, 'the value is too large for its cell', {
    bytes: payload.length,
    max: CELL_PAYLOAD_BYTES_MAX,
  });
  const slot = new Uint8Array(limits.cellSlotBytes);
  slot.set(payload, slotLayout.bytes);
  const view = viewOf(slot);
  const { at } = slotLayout;
  view.setUint32(at.magic, CELL_MAGIC, true);
  view.setUint16(at.version, CELL_VERSION, true);
  setU64(view, at.revision, revision);
  view.setUint32(at.payloadBytes, payload.length, true);
  view.setUint32(at.payloadCrc32, crc32(payload, 0), true);
  view.setUint32(at.headerCrc32, crc32(slot.subarray(0, at.headerCrc32), 0), true);
  return slot;
}

function damaged(why: string): SlotState {
  return { kind: 'damaged', why };
}

/** Reads one slot. Nothing in it is believed before its checksum; bytes behind the value are not looked at. */
export function decodeSlot(slot: Uint8Array, crc32: Crc32): SlotState {
  assert(slot.length === limits.cellSlotBytes, 'a slot has a fixed size', { bytes: slot.length });
  const view = viewOf(slot);
  const { at } = slotLayout;
  if (view.getUint32(at.magic, true) !== CELL_MAGIC) {
    return slot.every((byte) => byte === 0) ? { kind: 'empty' } : damaged('no magic number');
  }
  if (view.getUint32(at.headerCrc32, true) !== crc32(slot.subarray(0, at.headerCrc32), 0)) return damaged('header checksum does not match');
  const version = view.getUint16(at.version, true);
  if (version !== CELL_VERSION) return { kind: 'version', found: version };
  const flags = view.getUint16(at.flags, true);
  if (flags !== 0 || view.getUint32(at.reserved, true) !== 0) return damaged('reserved fields are not zero');
  const revision = getU64(view, at.revision);
  if (!isCount(revision) || revision === 0) return damaged('revision out of range');
  const payloadBytes = view.getUint32(at.payloadBytes, true);
  if (payloadBytes > CELL_PAYLOAD_BYTES_MAX) return damaged(`value of ${payloadBytes} bytes does not fit its slot`);
  const payload = slot.subarray(slotLayout.bytes, slotLayout.bytes + payloadBytes);
  if (view.getUint32(at.payloadCrc32, true) !== crc32(payload, 0)) return damaged('checksum of the value does not match');
  const text = decodeUtf8(payload);
  if (text === null) return damaged('the value is not UTF-8');
  try {
    return { kind: 'value', revision, value: JSON.parse(text) as Json };
  } catch (cause) {
    return damaged(`the value is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

/** The slot's bytes within the bytes of a cell. */
function slotBytes(cell: Uint8Array, index: SlotIndex): Uint8Array {
  return cell.subarray(index * limits.cellSlotBytes, (index + 1) * limits.cellSlotBytes);
}

/** Reads a cell from the bytes of both slots (a shorter file is to be filled up with zeroes) and picks the newer valid value. */
export function readCell(cell: Uint8Array, crc32: Crc32): CellState {
  assert(cell.length === CELL_BYTES, 'a cell has two slots', { bytes: cell.length });
  const first = decodeSlot(slotBytes(cell, 0), crc32);
  const second = decodeSlot(slotBytes(cell, 1), crc32);
  // A value of another version may be the newer one: using the other slot would silently go back.
  if (first.kind === 'version') return first;
  if (second.kind === 'version') return second;
  if (first.kind === 'value' && second.kind === 'value') {
    if (first.revision === second.revision && canonicalJson(first.value) !== canonicalJson(second.value)) {
      return { kind: 'damaged', why: `both slots have revision ${first.revision}, with different values`, slots: [first, second] };
    }
    return first.revision >= second.revision ? { ...first, slot: 0, otherSlot: second } : { ...second, slot: 1, otherSlot: first };
  }
  if (first.kind === 'value') return { ...first, slot: 0, otherSlot: second };
  if (second.kind === 'value') return { ...second, slot: 1, otherSlot: first };
  if (first.kind === 'empty' && second.kind === 'empty') return first;
  return { kind: 'damaged', why: `${slotText('first', first)}, ${slotText('second', second)}`, slots: [first, second] };
}

function slotText(name: string, slot: SlotState): string {
  return `${name} slot: ${slot.kind === 'damaged' ? slot.why : slot.kind}`;
}

/** The slot for the next update: never the one with the newest valid value. Offset in the file: index x limits.cellSlotBytes. */
export function nextSlot(state: CellState): SlotIndex {
  assert(state.kind === 'value' || state.kind === 'empty', 'a damaged or foreign cell is never written', { kind: state.kind });
  return state.kind === 'value' && state.slot === 0 ? 1 : 0;
}
