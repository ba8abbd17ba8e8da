// Bytes inside JSON: two digits each. For what is short or rare, such as digests that sites exchange.

const PAIRS: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const VALUES: ReadonlyMap<string, number> = new Map(PAIRS.map((pair, byte) => [pair, byte]));

export function encodeHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += PAIRS[byte] as string;
  return text;
}

/** The bytes of such a text; null when it is none. */
export function decodeHex(text: unknown): Uint8Array | null {
  if (typeof text !== 'string' || text.length % 2 !== 0) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    const byte = VALUES.get(text.slice(2 * i, 2 * i + 2));
    if (byte === undefined) return null;
    bytes[i] = byte;
  }
  return bytes;
}
