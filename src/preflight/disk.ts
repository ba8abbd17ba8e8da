// What a site's disk can do for a replica: space, and how long it takes to have something on stable storage. Every acknowledged write of a solo
// primary, and every flush, waits for that.

import { closeSync, fdatasyncSync, fsyncSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const PROBE_BYTES = 4096;
const PROBE_FILE_BYTES = 1024 * 1024;

/** What was measured in a folder. */
export interface DiskMeasures {
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** Milliseconds of writing 4 KiB and waiting until it is on stable storage: median and 99th percentile. */
  readonly flushMillis: { readonly median: number; readonly p99: number };
  readonly flushesPerSecond: number;
}

/** Measures for about `seconds`, with a file of 1 MiB that is removed afterwards. Makes the folder. Throws the system's error. */
export function measureDisk(folder: string, seconds: number): DiskMeasures {
  mkdirSync(folder, { recursive: true });
  const { bavail, blocks, bsize } = statfsSync(folder);
  const path = join(folder, `check-${process.pid}.tmp`);
  const fd = openSync(path, 'wx', 0o600);
  try {
    // Written once before, like a segment of a sidefile: what is measured is the flush, not the growing of a file.
    writeSync(fd, new Uint8Array(PROBE_FILE_BYTES), 0, PROBE_FILE_BYTES, 0);
    fsyncSync(fd);
    const block = new Uint8Array(PROBE_BYTES).fill(1);
    const millis: number[] = [];
    const begun = performance.now();
    for (let at = 0; performance.now() - begun < seconds * 1000; at = (at + PROBE_BYTES) % PROBE_FILE_BYTES) {
      const from = performance.now();
      writeSync(fd, block, 0, PROBE_BYTES, at);
      fdatasyncSync(fd);
      millis.push(performance.now() - from);
    }
    const flushesPerSecond = (millis.length / (performance.now() - begun)) * 1000;
    millis.sort((a, b) => a - b);
    const at = (share: number): number => millis[Math.min(millis.length - 1, Math.floor(share * millis.length))] as number;
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, flushMillis: { median: at(0.5), p99: at(0.99) }, flushesPerSecond };
  } finally {
    closeSync(fd);
    rmSync(path, { force: true });
  }
}
