// What a peer says in the clear as it begins TLS: protocols that it offers (ALPN, RFC 7301). With one of them it names the group that its connection is
// for, so that the thread of that group can be handed the connection before anything of it is encrypted. It decides nothing else: who the other end is, its
// certificate says, and which group is meant, its first message.

import { createHash } from 'node:crypto';
import { limits } from '../core/base/limits.ts';

const PREFIX = 'tercet-link/';
/** Of the digest: enough to tell the groups of a site apart. Whoever listens on the way sees it, and may find a name that can be guessed. */
const DIGEST_DIGITS = 16;

const RECORD_HEADER_BYTES = 5;
const HANDSHAKE_RECORD = 22;
const HANDSHAKE_HEADER_BYTES = 4;
const CLIENT_HELLO = 1;
/** Version and random bytes. */
const FIXED_BYTES = 34;
const EXTENSION_PROTOCOLS = 16;

/** The protocol that stands for links of a group. */
export function linkProtocol(group: string): string {
  return PREFIX + createHash('sha256').update(group, 'utf8').digest('hex').slice(0, DIGEST_DIGITS);
}

/** What the first bytes of a connection offer: protocols, or none that can be made out. */
export type Beginning = readonly string[] | null | 'no TLS';

/** Protocols that are offered in the first bytes of a connection. */
export function offeredProtocols(bytes: Uint8Array): Beginning | 'more' {
  const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (record.length > 0 && record[0] !== HANDSHAKE_RECORD) return 'no TLS';
  if (record.length < RECORD_HEADER_BYTES) return 'more';
  const recordBytes = record.readUInt16BE(3);
  if (recordBytes > limits.clientHelloBytesMax) return null;
  if (record.length < RECORD_HEADER_BYTES + recordBytes) return 'more';
  const message = record.subarray(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + recordBytes);
  // One that is cut into several records is not put together: it goes the way of those that offer nothing.
  if (message.length < HANDSHAKE_HEADER_BYTES || message[0] !== CLIENT_HELLO) return null;
  if (message.readUIntBE(1, 3) !== message.length - HANDSHAKE_HEADER_BYTES) return null;
  return protocolsOf(new Fields(message.subarray(HANDSHAKE_HEADER_BYTES)));
}

function protocolsOf(hello: Fields): readonly string[] | null {
  hello.skip(FIXED_BYTES);
  // Session, ciphers, compressions.
  for (const lengthBytes of [1, 2, 1]) hello.take(lengthBytes);
  const extensions = new Fields(hello.take(2));
  while (extensions.leftBytes > 0) {
    const kind = extensions.number(2);
    const body = extensions.take(2);
    if (kind !== EXTENSION_PROTOCOLS) continue;
    const list = new Fields(new Fields(body).take(2));
    const names: string[] = [];
    while (list.leftBytes > 0) names.push(list.take(1).toString('latin1'));
    return list.isBroken ? null : names;
  }
  return null;
}

/** Reads one field after the other. What would go beyond the end reads as empty, and is broken. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;
  isBroken = false;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get leftBytes(): number {
    return this.#bytes.length - this.#at;
  }

  skip(byteCount: number): Buffer {
    if (byteCount > this.leftBytes) {
      this.isBroken = true;
      this.#at = this.#bytes.length;
      return Buffer.alloc(0);
    }
    this.#at += byteCount;
    return this.#bytes.subarray(this.#at - byteCount, this.#at);
  }

  number(byteCount: number): number {
    const bytes = this.skip(byteCount);
    return bytes.length === 0 ? 0 : bytes.readUIntBE(0, byteCount);
  }

  /** A field behind its length. */
  take(lengthBytes: number): Buffer {
    return this.skip(this.number(lengthBytes));
  }
}
