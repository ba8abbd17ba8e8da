// Digests of much data on threads of their own, which are started when they are first needed and end when they have had nothing to do for a
// while. Bytes go there and back without being copied, and their memory is used again: a fresh megabyte costs more than its digest. A file is read
// by the thread that digests it. Few bytes are digested here and now, in slices: a trip to a thread would cost more.

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { BlockDigests, DigestAlgorithm, DigestHow } from '../core/base/ports.ts';
import { SlicedDigests } from './block-digests.ts';
import type { DigestJob, DigestResult } from './digest-worker.ts';

/** Below this a job stays on the main thread. */
const THREAD_BYTES_MIN = 128 * 1024;
/** One core is left to the hosts. */
const THREADS_MAX = Math.max(1, Math.min(4, availableParallelism() - 1));
const IDLE_MILLIS = 30_000;
/** Memory that is kept for the next bytes, while there are threads. */
const KEPT_BYTES_MAX = 16 * 1024 * 1024;

type Done = (digests: Uint8Array | string) => void;

interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, Done>;
  idle: NodeJS.Timeout | null;
}

/** Digests on a few threads. */
export class DigestThreads implements BlockDigests {
  readonly #small = new SlicedDigests();
  readonly #threads = new Set<Thread>();
  #number = 0;
  /** Memory that came back, the last first. */
  #kept: Uint8Array[] = [];
  #keptBytes = 0;

  take(byteCount: number): Uint8Array {
    const index = byteCount < THREAD_BYTES_MIN ? -1 : this.#kept.findLastIndex((bytes) => bytes.length === byteCount);
    const bytes = index < 0 ? undefined : this.#kept.splice(index, 1)[0];
    if (bytes === undefined) return this.#small.take(byteCount);
    this.#keptBytes -= byteCount;
    return bytes;
  }

  digest(algorithm: DigestAlgorithm, bytes: Uint8Array, blockBytes: number, done: (digests: Uint8Array) => void): void {
    if (bytes.length < THREAD_BYTES_MIN || bytes.byteLength !== bytes.buffer.byteLength) {
      this.#small.digest(algorithm, bytes, blockBytes, done);
      return;
    }
    this.#begin({ algorithm, blockBytes }, { bytes }, (digests) => {
      if (typeof digests === 'string') throw new Error(`bytes in memory cannot be read: ${digests}`);
      done(digests);
    });
  }

  digestNow(algorithm: DigestAlgorithm, bytes: Uint8Array): Uint8Array {
    return this.#small.digestNow(algorithm, bytes);
  }

  /** Digests a range of a file, which stays open until `done` is told the digests, or the system's code of the error. */
  digestFile(content: { readonly fd: number; readonly offset: number; readonly length: number }, how: DigestHow, done: Done): void {
    this.#begin(how, content, done);
  }

  /** Ends all threads; what they have not given back is never told. */
  async close(): Promise<void> {
    const threads = [...this.#threads];
    this.#threads.clear();
    await Promise.all(threads.map(({ worker, idle }) => (idle === null ? undefined : clearTimeout(idle), worker.terminate())));
  }

  #begin({ algorithm, blockBytes }: DigestHow, content: DigestJob['content'], done: Done): void {
    const thread = this.#idlest();
    if (thread.idle !== null) clearTimeout(thread.idle);
    thread.idle = null;
    const job: DigestJob = { number: ++this.#number, algorithm, blockBytes, content };
    thread.jobs.set(job.number, done);
    thread.worker.postMessage(job, 'bytes' in content ? [content.bytes.buffer as ArrayBuffer] : []);
  }

  /** The thread with the least to do; another one while all are busy and there may be more. */
  #idlest(): Thread {
    let best: Thread | null = null;
    for (const thread of this.#threads) if (best === null || thread.jobs.size < best.jobs.size) best = thread;
    return best === null || (best.jobs.size > 0 && this.#threads.size < THREADS_MAX) ? this.#start() : best;
  }

  #start(): Thread {
    // The sources run as they are; what was built from them has another ending.
    const file = import.meta.url.endsWith('.ts') ? './digest-worker.ts' : './digest-worker.js';
    const worker = new Worker(new URL(file, import.meta.url));
    const thread: Thread = { worker, jobs: new Map(), idle: null };
    // A daemon that ends does not wait for digests.
    worker.unref();
    worker.on('message', ({ number, digests, bytes }: DigestResult) => {
      const done = thread.jobs.get(number);
      thread.jobs.delete(number);
      if (thread.jobs.size === 0) thread.idle = this.#endLater(thread);
      if (bytes !== undefined) this.#keep(bytes);
      done?.(digests);
    });
    // Only a fault of the program ends a thread by itself: it ends the process like any other.
    worker.on('error', (error) => {
      throw error;
    });
    this.#threads.add(thread);
    return thread;
  }

  #keep(bytes: Uint8Array): void {
    if (this.#keptBytes + bytes.length > KEPT_BYTES_MAX) return;
    this.#kept.push(bytes);
    this.#keptBytes += bytes.length;
  }

  #endLater(thread: Thread): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#threads.delete(thread);
      if (this.#threads.size === 0) {
        this.#kept = [];
        this.#keptBytes = 0;
      }
      thread.worker.terminate().catch((error: unknown) => {
        throw error;
      });
    }, IDLE_MILLIS);
    timer.unref();
    return timer;
  }
}
