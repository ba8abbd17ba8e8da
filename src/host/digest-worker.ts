// A thread that digests: bytes that it is handed and hands back, or what it reads from a file itself, into memory of its own that stays in the
// processor's cache. Below the rest in priority, so that hosts do not feel it.

import { read } from 'node:fs';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import type { DigestAlgorithm } from '../core/base/ports.ts';
import { digestBlocks } from './block-digests.ts';
import { readCachedPart } from './libc.ts';
import { codeOf } from './transfers.ts';

/** What a thread is handed: bytes, or a range of an open file. */
export interface DigestJob {
  readonly number: number;
  readonly algorithm: DigestAlgorithm;
  readonly blockBytes: number;
  readonly content: { readonly bytes: Uint8Array } | { readonly fd: number; readonly offset: number; readonly length: number };
}

/** What it gives back: the digests, or the system's code of the error. The bytes that it was handed come back. */
export interface DigestResult {
  readonly number: number;
  readonly digests: Uint8Array | string;
  readonly bytes?: Uint8Array;
}

/** A tenth of the usual share where others want the processor. */
const LOW_PRIORITY = 10;
/** Bytes that are read and digested in one go: half of what a core keeps near itself, eight blocks of a scan, but always whole blocks. */
const SLICE_BYTES = 512 * 1024;
/** Memory that is kept for later. */
const KEPT_MAX = 8;

try {
  // On Linux 0 stands for the calling thread alone.
  setPriority(0, LOW_PRIORITY);
} catch {
  // Where that is not allowed it works at the usual priority: the pace of whoever asks still follows the hosts.
}

const kept: Uint8Array[] = [];

function take(byteCount: number): Uint8Array {
  const last = kept.pop();
  return last?.length === byteCount ? last : Buffer.allocUnsafeSlow(byteCount);
}

function give(bytes: Uint8Array): void {
  if (kept.length < KEPT_MAX) kept.push(bytes);
}

function answer(result: DigestResult): void {
  const { digests, bytes } = result;
  const moved = [digests, bytes].flatMap((part) => (part instanceof Uint8Array ? [part.buffer as ArrayBuffer] : []));
  parentPort?.postMessage(result, moved);
}

/** Digests a range of a file slice by slice. What is cached is read here and now, what is not in the background, while other jobs go on. */
function digestFile({ number, algorithm, blockBytes }: DigestJob, fd: number, offset: number, length: number): void {
  const slice = take(Math.max(blockBytes, Math.floor(SLICE_BYTES / blockBytes) * blockBytes));
  const parts: Uint8Array[] = [];
  let [at, filled] = [0, 0];
  const end = (digests: Uint8Array | string): void => {
    give(slice);
    answer({ number, digests });
  };
  const step = (error: NodeJS.ErrnoException | null, byteCount: number): void => {
    if (error !== null) return end(codeOf(error));
    const wanted = Math.min(slice.length, length - at);
    // Beyond the end of the file.
    if (byteCount === 0) slice.fill(0, filled, wanted);
    filled = byteCount === 0 ? wanted : filled + byteCount;
    if (filled === wanted) digest(wanted);
    if (at === length) end(new Uint8Array(Buffer.concat(parts)));
    else next();
  };
  const digest = (wanted: number): void => {
    parts.push(digestBlocks(algorithm, slice.subarray(0, wanted), blockBytes));
    at += wanted;
    filled = 0;
  };
  const next = (): void => {
    while (at < length) {
      const wanted = Math.min(slice.length, length - at);
      const into = slice.subarray(filled, wanted);
      const byteCount = readCachedPart(fd, offset + at + filled, into);
      if (byteCount !== into.length) {
        read(fd, into, 0, into.length, offset + at + filled, step);
        return;
      }
      digest(wanted);
    }
    end(new Uint8Array(Buffer.concat(parts)));
  };
  next();
}

parentPort?.on('message', (job: DigestJob) => {
  const { number, algorithm, blockBytes, content } = job;
  if ('fd' in content) return digestFile(job, content.fd, content.offset, content.length);
  const { bytes } = content;
  return answer({ number, digests: new Uint8Array(digestBlocks(algorithm, bytes, blockBytes)), bytes });
});
