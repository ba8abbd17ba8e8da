// Packing for simulated links: runs of zeroes only, which is enough for the core to see frames and images that become smaller, others that do not,
// and bytes that unpack to something else. A packed form is a list of pieces: how many zeroes, how many bytes as they are, and those.

import type { Compression } from '../core/base/ports.ts';

const HEAD_BYTES = 8;
/** A shorter run of zeroes is not worth a head. */
const RUN_BYTES_MIN = 16;

export const simCompression: Compression = {
  pack: (parts) => {
    const raw = Buffer.concat(parts);
    const pieces: Buffer[] = [];
    for (let at = 0; at < raw.length;) {
      const plainFrom = zeroesEnd(raw, at);
      const plainTo = nextRun(raw, plainFrom);
      const head = Buffer.alloc(HEAD_BYTES);
      head.writeUInt32LE(plainFrom - at, 0);
      head.writeUInt32LE(plainTo - plainFrom, 4);
      pieces.push(head, raw.subarray(plainFrom, plainTo));
      at = plainTo;
    }
    const packed = Buffer.concat(pieces);
    return packed.length <= (raw.length * 7) / 8 ? packed : null;
  },
  unpack: (bytes, byteCount) => {
    const packed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const raw = new Uint8Array(byteCount);
    let to = 0;
    for (let at = 0; at < packed.length;) {
      if (at + HEAD_BYTES > packed.length) return null;
      const [zeroes, plain] = [packed.readUInt32LE(at), packed.readUInt32LE(at + 4)];
      at += HEAD_BYTES;
      if (at + plain > packed.length || to + zeroes + plain > byteCount) return null;
      raw.set(packed.subarray(at, at + plain), to + zeroes);
      to += zeroes + plain;
      at += plain;
    }
    return to === byteCount ? raw : null;
  },
};

/** Where the zeroes from `from` on end. */
function zeroesEnd(raw: Buffer, from: number): number {
  let at = from;
  while (at < raw.length && raw[at] === 0) at++;
  return at;
}

/** Where the next long run of zeroes begins. */
function nextRun(raw: Buffer, from: number): number {
  let zeroes = 0;
  for (let at = from; at < raw.length; at++) {
    zeroes = raw[at] === 0 ? zeroes + 1 : 0;
    if (zeroes === RUN_BYTES_MIN) return at + 1 - RUN_BYTES_MIN;
  }
  return raw.length;
}
