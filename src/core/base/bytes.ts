// Fixed-layout binary forms. A layout is data: a list of fields with their widths, from which offsets, reader, writer, the documentation's
// offset table and the golden tests all come, so they cannot disagree. Little-endian everywhere but in nbd/, because NBD says so.

import { assert } from './assert.ts';

/** Widths of the fields that a layout may have. */
export const FIELD_BYTES = { u8: 1, u16: 2, u32: 4, u64: 8 } as const;
/** Width of a field. A u64 holds at most 2^53 - 1; anything larger read from outside is refused by the reader's caller as damage. */
export type FieldType = keyof typeof FIELD_BYTES;

/** One field of a fixed layout: name, width, and what it means (printed into the documentation's offset table). */
export type Field = readonly [name: string, type: FieldType, meaning: string];

/** A layout with the offset of each field. */
export interface Layout<Name extends string> {
  readonly fields: readonly Field[];
  readonly bytes: number;
  readonly at: Readonly<Record<Name, number>>;
}

/** Builds a layout and checks that it has the size that its file format promises. */
export function layout<const F extends readonly Field[]>(bytes: number, fields: F): Layout<F[number][0]> {
  const at: Record<string, number> = {};
  let offset = 0;
  for (const [name, type] of fields) {
    assert(offset % FIELD_BYTES[type] === 0, 'a field must be aligned to its width', { name, offset });
    at[name] = offset;
    offset += FIELD_BYTES[type];
  }
  assert(offset === bytes, 'a layout must have its promised size', { offset, bytes });
  return { fields, bytes, at: at as Record<F[number][0], number> };
}

/** A view for reading and writing numbers in bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads an unsigned 64-bit little-endian number; NaN when it is above 2^53 - 1, which no valid form holds. */
export function getU64(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 4, true);
  return high > 0x1fffff ? Number.NaN : high * 0x1_0000_0000 + view.getUint32(offset, true);
}

/** Writes an unsigned 64-bit little-endian number. */
export function setU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
}

/** A copy of bytes that stays when the original is reused. Never `bytes.slice()`: on a Buffer, which the shell hands in, that is a view. */
export function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}
