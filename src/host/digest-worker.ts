// A thread that digests: it is handed bytes, and gives back their digests. Below the rest in priority, so that hosts do not feel it.

import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import type { DigestAlgorithm } from '../core/base/ports.ts';
import { digestBlocks } from './block-digests.ts';

/** What a thread is handed. */
export interface DigestJob {
  readonly number: number;
  readonly algorithm: DigestAlgorithm;
  readonly bytes: Uint8Array;
  readonly blockBytes: number;
}

/** What it gives back. */
export interface DigestResult {
  readonly number: number;
  readonly digests: Uint8Array;
}

/** A tenth of the usual share where others want the processor. */
const LOW_PRIORITY = 10;

try {
  // On Linux 0 stands for the calling thread alone.
  setPriority(0, LOW_PRIORITY);
} catch {
  // Where that is not allowed it works at the usual priority: the pace of whoever asks still follows the hosts.
}

parentPort?.on('message', ({ number, algorithm, bytes, blockBytes }: DigestJob) => {
  const digests = new Uint8Array(digestBlocks(algorithm, bytes, blockBytes));
  parentPort?.postMessage({ number, digests } satisfies DigestResult, [digests.buffer]);
});
