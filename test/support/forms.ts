// Binary forms in words: a dump of each field for the golden files, and the offset table of a layout for the documentation.

import { type FieldType, getU64, type Layout, viewOf } from '../../src/core/base/bytes.ts';

const WIDTH: Readonly<Record<FieldType, number>> = { u8: 1, u16: 2, u32: 4, u64: 8 };

/** Each field of a form that lies at `offset`, one a line: where it is, its bytes as a dump shows them, its name and its value. */
export function reading(title: string, layout: Layout<string>, bytes: Uint8Array, offset: number): string[] {
  const view = viewOf(bytes);
  const lines = layout.fields.map(([name, type]) => {
    const at = offset + (layout.at[name] as number);
    const raw = hex(bytes.subarray(at, at + WIDTH[type]));
    const value =
      type === 'u8'
        ? view.getUint8(at)
        : type === 'u16'
          ? view.getUint16(at, true)
          : type === 'u32'
            ? view.getUint32(at, true)
            : getU64(view, at);
    return `${String(at).padStart(6)}  ${raw.padEnd(23)}  ${name.padEnd(14)} ${value}`;
  });
  return ['', title, ...lines];
}

/** Bytes that are no fields, as hexadecimal, one line. */
export function dump(title: string, bytes: Uint8Array, offset: number, byteCount: number): string[] {
  return ['', title, `${String(offset).padStart(6)}  ${hex(bytes.subarray(offset, offset + byteCount))}`];
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
}
