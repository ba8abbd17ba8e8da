// Processor time: of some processes, and of the whole machine, so that other load during a run is seen.

import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** Linux counts processor time for user space in hundredths of a second. */
const TICKS_PER_SECOND = 100;
/** Places in /proc/PID/stat behind the name: utime and stime. */
const UTIME_FIELD = 11;

/** Seconds that processes and all their threads have used since they began. */
export function processSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[UTIME_FIELD]) + Number(fields[UTIME_FIELD + 1]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Seconds that all cores together have been busy since the machine started. */
export function machineBusySeconds(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] = (
    /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? ''
  )
    .split(' ')
    .map(Number);
  return (user + nice + system + irq + softIrq + steal) / TICKS_PER_SECOND;
}

/** Name and number of the processors. */
export function processorText(): string {
  const all = cpus();
  return `${all.length} x ${all[0]?.model ?? 'unknown'}`;
}
