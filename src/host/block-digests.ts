// Digests of blocks on the main thread, in slices: between two of them everything else has its turn.

import { hash } from 'node:crypto';
import type { BlockDigests, DigestAlgorithm } from '../core/base/ports.ts';
import { crc32 } from './digests.ts';
import { LANES_MIN, Sha256Lanes } from './sha256-lanes.ts';

/** Bytes digested in one go: some 200 µs. */
const SLICE_BYTES = 256 * 1024;

/** One digest, in the same form everywhere: a CRC as four bytes in little-endian order. */
function digestOf(algorithm: DigestAlgorithm, bytes: Uint8Array): Uint8Array {
  if (algorithm !== 'crc32') return hash(algorithm, bytes, 'buffer');
  const digest = Buffer.allocUnsafe(4);
  digest.writeUInt32LE(crc32(bytes, 0));
  return digest;
}

/** Of this thread; undefined before the first use. */
let lanes: Sha256Lanes | null | undefined;

/** The digests of the blocks of some bytes, one behind the other. */
export function digestBlocks(algorithm: DigestAlgorithm, bytes: Uint8Array, blockBytes: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  const count = LANES_MIN * Math.floor(bytes.length / blockBytes / LANES_MIN);
  if (algorithm === 'sha256' && count > 0 && Sha256Lanes.takes(blockBytes)) {
    if (lanes === undefined) lanes = Sha256Lanes.open();
    if (lanes !== null) {
      parts.push(lanes.digest(bytes, blockBytes, count));
      at = count * blockBytes;
    }
  }
  for (; at < bytes.length; at += blockBytes) parts.push(digestOf(algorithm, bytes.subarray(at, at + blockBytes)));
  return Buffer.concat(parts);
}

interface Job {
  readonly algorithm: DigestAlgorithm;
  readonly bytes: Uint8Array;
  readonly blockBytes: number;
  readonly done: (digests: Uint8Array) => void;
  readonly parts: Uint8Array[];
  at: number;
}

/** Digests one job after the other, a slice in each turn of the event loop. */
export class SlicedDigests implements BlockDigests {
  readonly #jobs: Job[] = [];
  #running = false;

  take(byteCount: number): Uint8Array {
    return Buffer.allocUnsafeSlow(byteCount);
  }

  digest(algorithm: DigestAlgorithm, bytes: Uint8Array, blockBytes: number, done: (digests: Uint8Array) => void): void {
    this.#jobs.push({ algorithm, bytes, blockBytes, done, parts: [], at: 0 });
    if (this.#running) return;
    this.#running = true;
    setImmediate(() => this.#slice());
  }

  digestNow(algorithm: DigestAlgorithm, bytes: Uint8Array): Uint8Array {
    return digestOf(algorithm, bytes);
  }

  #slice(): void {
    const job = this.#jobs[0];
    if (job === undefined) {
      this.#running = false;
      return;
    }
    const { algorithm, bytes, blockBytes } = job;
    const end = Math.min(bytes.length, job.at + Math.max(blockBytes, Math.floor(SLICE_BYTES / blockBytes) * blockBytes));
    job.parts.push(digestBlocks(algorithm, bytes.subarray(job.at, end), blockBytes));
    job.at = end;
    if (end === bytes.length) {
      this.#jobs.shift();
      job.done(Buffer.concat(job.parts));
    }
    setImmediate(() => this.#slice());
  }
}
