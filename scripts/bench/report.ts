// Puts the rounds together: medians, ratios to the reference, a table for people.

import type { FioResult } from './fio.ts';
import type { Workload } from './workloads.ts';

/** One run of one workload against one server. */
export interface Round extends FioResult {
  readonly workload: string;
  readonly server: string;
  /** Seconds of processor time of all processes of the server, until everything was in place. */
  readonly serverCpuSeconds: number;
  /** Share of all cores that neither the server nor fio used, 0 to 1: the kernel's own work, and other load. */
  readonly otherShare: number;
}

/** Medians of the rounds of one workload and server. */
export interface Summary {
  readonly workload: string;
  readonly server: string;
  readonly rounds: number;
  readonly iops: number;
  readonly mibPerSecond: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
  /** Seconds of the server's processor time for a million operations. */
  readonly cpuSecondsPerMillion: number;
  readonly otherShare: number;
  /** Of the IOPS, and of the processor time, to those of the reference; null where that was not measured. */
  readonly ratio: number | null;
  readonly cpuRatio: number | null;
}

const MIB = 1024 * 1024;

/** What the others are compared with. */
export const REFERENCE = 'nbdkit';

/** The middle value, or the mean of the two in the middle. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  const high = sorted[Math.floor(middle)] ?? Number.NaN;
  return (low + high) / 2;
}

/** Medians for each workload and server, in the order in which they were first measured. */
export function summarize(rounds: readonly Round[]): readonly Summary[] {
  const keys = [...new Set(rounds.map((round) => `${round.workload} ${round.server}`))];
  const plain = keys.map((key) => {
    const own = rounds.filter((round) => `${round.workload} ${round.server}` === key);
    const of = (value: (round: Round) => number): number => median(own.map(value));
    const { workload, server } = own[0] as Round;
    return {
      workload,
      server,
      rounds: own.length,
      iops: of((round) => round.iops),
      mibPerSecond: of((round) => round.bytesPerSecond / MIB),
      p50Micros: of((round) => round.p50Micros),
      p99Micros: of((round) => round.p99Micros),
      cpuSecondsPerMillion: of((round) => (1e6 * round.serverCpuSeconds) / round.operations),
      otherShare: of((round) => round.otherShare),
    };
  });
  return plain.map((one) => {
    const reference = plain.find((other) => other.workload === one.workload && other.server === REFERENCE);
    const isReference = reference === undefined || reference === one;
    return {
      ...one,
      ratio: isReference ? null : one.iops / reference.iops,
      cpuRatio: isReference ? null : one.cpuSecondsPerMillion / reference.cpuSecondsPerMillion,
    };
  });
}

const COLUMNS = ['server', 'IOPS', 'MiB/s', 'p50 us', 'p99 us', 'CPU s/M', `x ${REFERENCE}`, 'CPU x', 'other load'] as const;

/** The rows of one workload. */
export function tableOf(workload: Workload, summaries: readonly Summary[]): readonly string[] {
  const rows = summaries
    .filter((summary) => summary.workload === workload.name)
    .map((summary) => [
      summary.server,
      Math.round(summary.iops).toLocaleString('en-US'),
      summary.mibPerSecond.toFixed(0),
      summary.p50Micros.toFixed(0),
      summary.p99Micros.toFixed(0),
      summary.cpuSecondsPerMillion.toFixed(1),
      summary.ratio?.toFixed(2) ?? '',
      summary.cpuRatio?.toFixed(2) ?? '',
      `${(100 * summary.otherShare).toFixed(0)} %`,
    ]);
  const all = [COLUMNS, ...rows];
  const widths = COLUMNS.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ');
  return [workload.label, ...all.map(line)];
}
