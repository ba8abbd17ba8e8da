// UTF-8 for the core, which has no TextEncoder: that belongs to an environment, and the core has none. Names and JSON pass through here
// from and to disk and network, so malformed input is refused instead of being patched with replacement characters.

import { assert } from './assert.ts';

/** UTF-8 bytes of a string. A lone surrogate has no UTF-8 form: it is a fault of the caller (JSON text never holds one, it is escaped). */
export function encodeUtf8(text: string): Uint8Array {
  return asciiOf(text) ?? encodeAny(text);
}

/** Bytes of a string of ASCII only, which most are; null for another one. */
function asciiOf(text: string): Uint8Array | null {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) return null;
    bytes[i] = code;
  }
  return bytes;
}

function encodeAny(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 3);
  let end = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.codePointAt(i) as number;
    if (code < 0x80) {
      bytes[end++] = code;
    } else if (code < 0x800) {
      bytes[end++] = 0xc0 | (code >> 6);
      bytes[end++] = 0x80 | (code & 0x3f);
    } else if (code < 0x1_0000) {
      assert(code < 0xd800 || code > 0xdfff, 'a lone surrogate has no UTF-8 form', { at: i, code });
      bytes[end++] = 0xe0 | (code >> 12);
      bytes[end++] = 0x80 | ((code >> 6) & 0x3f);
      bytes[end++] = 0x80 | (code & 0x3f);
    } else {
      bytes[end++] = 0xf0 | (code >> 18);
      bytes[end++] = 0x80 | ((code >> 12) & 0x3f);
      bytes[end++] = 0x80 | ((code >> 6) & 0x3f);
      bytes[end++] = 0x80 | (code & 0x3f);
      i++;
    }
  }
  return bytes.slice(0, end);
}

/** Length, bits of the first byte, and least code point of the sequences that begin with a given byte; null when none does. */
function sequenceOf(first: number): { length: number; bits: number; least: number } | null {
  if (first < 0x80) return { length: 1, bits: first, least: 0 };
  if (first < 0xc2) return null;
  if (first < 0xe0) return { length: 2, bits: first & 0x1f, least: 0x80 };
  if (first < 0xf0) return { length: 3, bits: first & 0x0f, least: 0x800 };
  if (first < 0xf5) return { length: 4, bits: first & 0x07, least: 0x1_0000 };
  return null;
}

/** The string that well-formed UTF-8 stands for; null for anything else (overlong, surrogate, beyond U+10FFFF, cut off). */
export function decodeUtf8(bytes: Uint8Array): string | null {
  const parts: string[] = [];
  let units: number[] = [];
  for (let at = 0; at < bytes.length;) {
    const sequence = sequenceOf(bytes[at] as number);
    if (sequence === null || at + sequence.length > bytes.length) return null;
    let code = sequence.bits;
    for (let i = 1; i < sequence.length; i++) {
      const next = bytes[at + i] as number;
      if ((next & 0xc0) !== 0x80) return null;
      code = (code << 6) | (next & 0x3f);
    }
    if (code < sequence.least || code > 0x10_ffff || (code >= 0xd800 && code <= 0xdfff)) return null;
    units.push(code);
    at += sequence.length;
    // Chunks, because a call takes a bounded number of arguments.
    if (units.length === 4096) {
      parts.push(String.fromCodePoint(...units));
      units = [];
    }
  }
  parts.push(String.fromCodePoint(...units));
  return parts.join('');
}
