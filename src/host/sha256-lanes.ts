// SHA-256 of several blocks of one length at a time. One digest waits for itself: each step needs the one before. OpenSSL, which Node carries and whose
// functions its program exports, interleaves four or eight of them, and takes two thirds of the time. It is no documented function of OpenSSL, so it is
// used only with the versions whose sources were read, where the processor has what it was written for, and where it says of blocks of this process
// what Node's own digest says. Everywhere else blocks are digested one by one.

import { hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import koffi from 'koffi';
import { assert } from '../core/base/assert.ts';
import { addressOf } from './libc.ts';

/** OpenSSL has had this function since 1.0.2, with these three parameters and this form of the state and of what is handed over. */
const OPENSSL_VERSIONS = /^3\./;
/** Blocks that are digested at once, at least, and at most. */
export const LANES_MIN = 4;
const LANES_MAX = 8;
const DIGEST_BYTES = 32;
/** SHA-256 takes so many bytes at a time; a block is a multiple of it. */
const CHUNK_BYTES = 64;
/** The state before the first byte, as FIPS 180-4 has it. */
const INITIAL = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19] as const;
/** Pointer, number of chunks, and four bytes without meaning. */
const DESCRIPTOR_WORDS = 4;
const U32 = 2 ** 32;

/** Many digests at once. One is used by one thread. */
export class Sha256Lanes {
  readonly #call: (state: number, descriptors: number, lanesByFour: number) => void;
  /** Eight words of each lane: the first words of all lanes, then the second ones. */
  readonly #state: Uint32Array = aligned(INITIAL.length * LANES_MAX);
  readonly #fresh: Uint32Array = Uint32Array.from(
    { length: INITIAL.length * LANES_MAX },
    (_, i) => INITIAL[Math.floor(i / LANES_MAX)] as number,
  );
  readonly #descriptors: Uint32Array = aligned(DESCRIPTOR_WORDS * LANES_MAX);
  /** What SHA-256 appends to a block. */
  readonly #padding: Uint8Array = new Uint8Array(CHUNK_BYTES);
  readonly #stateAddress: number = addressOf(this.#state);
  readonly #descriptorsAddress: number = addressOf(this.#descriptors);
  readonly #paddingAddress: number = addressOf(this.#padding);

  /** Null where it cannot be had, or does not agree with Node's digest. */
  static open(): Sha256Lanes | null {
    if (process.platform !== 'linux' || process.arch !== 'x64') return null;
    if (!OPENSSL_VERSIONS.test(process.versions.openssl) || !hasInstructions()) return null;
    let lanes;
    try {
      lanes = new Sha256Lanes(koffi.load(null).func('sha256_multi_block', 'void', ['uintptr_t', 'uintptr_t', 'int']));
    } catch {
      // This Node was built without OpenSSL in it, or without this part: blocks are digested one by one.
      return null;
    }
    return lanes.#agrees() ? lanes : null;
  }

  private constructor(call: (state: number, descriptors: number, lanesByFour: number) => void) {
    this.#call = call;
    this.#padding[0] = 0x80;
  }

  /** Whether blocks of such a length can be digested here. */
  static takes(blockBytes: number): boolean {
    return blockBytes > 0 && blockBytes % CHUNK_BYTES === 0 && blockBytes * 8 < U32;
  }

  /** Digests of the first `count` blocks, one behind the other; `count` is a multiple of LANES_MIN. */
  digest(bytes: Uint8Array, blockBytes: number, count: number): Uint8Array {
    assert(Sha256Lanes.takes(blockBytes) && count % LANES_MIN === 0, 'blocks are of whole chunks, and as many as lanes', {
      blockBytes,
      count,
    });
    assert(count * blockBytes <= bytes.length, 'all blocks are there', { blockBytes, count, byteCount: bytes.length });
    const digests = new Uint8Array(count * DIGEST_BYTES);
    const view = new DataView(digests.buffer);
    new DataView(this.#padding.buffer).setUint32(CHUNK_BYTES - 4, blockBytes * 8);
    const address = addressOf(bytes);
    for (let first = 0; first < count;) {
      const lanes = count - first >= LANES_MAX ? LANES_MAX : LANES_MIN;
      this.#state.set(this.#fresh);
      for (let lane = 0; lane < lanes; lane++) this.#describe(lane, address + (first + lane) * blockBytes, blockBytes / CHUNK_BYTES);
      this.#call(this.#stateAddress, this.#descriptorsAddress, lanes / LANES_MIN);
      for (let lane = 0; lane < lanes; lane++) this.#describe(lane, this.#paddingAddress, 1);
      this.#call(this.#stateAddress, this.#descriptorsAddress, lanes / LANES_MIN);
      for (let lane = 0; lane < lanes; lane++)
        for (let word = 0; word < INITIAL.length; word++)
          view.setUint32((first + lane) * DIGEST_BYTES + 4 * word, this.#state[word * LANES_MAX + lane] as number);
      first += lanes;
    }
    return digests;
  }

  #describe(lane: number, address: number, chunks: number): void {
    const at = lane * DESCRIPTOR_WORDS;
    this.#descriptors[at] = address % U32;
    this.#descriptors[at + 1] = Math.floor(address / U32);
    this.#descriptors[at + 2] = chunks;
  }

  /** Blocks of different contents, with eight lanes and with four. */
  #agrees(): boolean {
    const blockBytes = 3 * CHUNK_BYTES;
    const count = LANES_MAX + LANES_MIN;
    const bytes = Uint8Array.from({ length: count * blockBytes }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 24);
    const digests = this.digest(bytes, blockBytes, count);
    return Array.from({ length: count }, (_, i) => i).every((i) => {
      const one = hash('sha256', bytes.subarray(i * blockBytes, (i + 1) * blockBytes), 'buffer');
      return one.equals(digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES));
    });
  }
}

/** Words at an address such as OpenSSL gives them. */
function aligned(wordCount: number): Uint32Array {
  const memory = new ArrayBuffer(4 * wordCount + CHUNK_BYTES);
  const beyond = addressOf(new Uint8Array(memory)) % CHUNK_BYTES;
  return new Uint32Array(memory, beyond === 0 ? 0 : CHUNK_BYTES - beyond, wordCount);
}

/** Where processors tell what they can; the first of them is at the beginning. */
const PROCESSORS = '/proc/cpuinfo';
const PROCESSOR_BYTES_MAX = 16 * 1024;

/** Whether this processor has instructions for it: with older ones it would be no faster, or not work at all. */
function hasInstructions(): boolean {
  try {
    const file = openSync(PROCESSORS, 'r');
    try {
      const bytes = Buffer.alloc(PROCESSOR_BYTES_MAX);
      const text = bytes.toString('latin1', 0, readSync(file, bytes));
      const flags = /^flags\s*:(.*)$/m.exec(text)?.[1]?.split(' ') ?? [];
      return flags.includes('ssse3') && (flags.includes('sha_ni') || flags.includes('avx2'));
    } finally {
      closeSync(file);
    }
  } catch {
    // Not to be had here.
    return false;
  }
}
