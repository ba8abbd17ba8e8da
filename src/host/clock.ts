// The real clock. Its time goes on while the machine sleeps (CLOCK_BOOTTIME), so that a site that wakes up finds its lease run out instead
// of going on with it. Node's own monotonic clock stands still meanwhile and is used only where there is nothing better.

import type { Clock } from '../core/base/ports.ts';
import { bootMillis } from './libc.ts';

/** The machine's clock: monotonic milliseconds with fractions, and wall time for people. */
export function machineClock(): Clock {
  const monotonic = bootMillis() === null ? processMillis : (): number => bootMillis() ?? processMillis();
  return { now: monotonic, wall: () => Date.now() };
}

function processMillis(): number {
  const [seconds, nanos] = process.hrtime();
  return seconds * 1000 + nanos / 1e6;
}
