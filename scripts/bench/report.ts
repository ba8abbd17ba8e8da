// Puts the rounds together: medians, ratios to the reference, a table for people.

import type { FioResult } from './fio.ts';
import type { Workload } from './workloads.ts';

/** One run of one workload against one server. */
export interface Round extends FioResult {
  readonly workload: string;
  readonly server: string;
  /** Seconds of processor time of all processes of the server, until everything was in place. */
  readonly serverCpuSeconds: number;
  /** Bytes that its daemons allocated on their heaps; null where that was not asked for. */
  readonly allocatedBytes: number | null;
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
  /** Bytes that its daemons allocated on their heaps for an operation. */
  readonly allocatedPerOperation: number | null;
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
      allocatedPerOperation: own.some((round) => round.allocatedBytes === null)
        ? null
        : of((round) => (round.allocatedBytes ?? 0) / round.operations),
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

const COLUMNS = ['server', 'IOPS', 'MiB/s', 'p50 us', 'p99 us', 'CPU s/M', `x ${REFERENCE}`, 'CPU x', 'other load', 'alloc B/op'] as const;

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
      summary.allocatedPerOperation?.toFixed(0) ?? '',
    ]);
  const all = [COLUMNS, ...rows];
  const widths = COLUMNS.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ');
  return [workload.label, ...all.map(line)];
}

/** Ratios that are asked for: of one site to nbdkit, of three sites to nbdkit, of three sites to a quorum of two copies in qemu. */
const WANTED: Readonly<Record<string, readonly (readonly [string, string, number])[]>> = {
  write32: wanted(1.2, 0.5, 3),
  write1: wanted(0.9, 0.35, 1),
  read32: wanted(1, 1, 5),
  cold32: wanted(1, 1, null),
  mix32: wanted(1, 0.7, 3),
  flush1: wanted(0.75, 0.38, 1),
  flush8: wanted(1.1, 0.5, 3),
  flush32: wanted(2, 1, 6),
  seqwrite: wanted(0.7, 0.35, 1),
  seqread: wanted(1, 1, 2),
};

function wanted(one: number, three: number, quorum: number | null): readonly (readonly [string, string, number])[] {
  const more = quorum === null ? [] : ([['tercet3', 'quorum', quorum]] as const);
  return [['tercet1', 'nbdkit', one], ['tercet3', 'nbdkit', three], ...more];
}

/** Ratios of throughput between servers, by "WORKLOAD SERVER/REFERENCE". */
export type Ratios = Readonly<Record<string, number>>;

/** The ratios that are watched: those that are asked for, and of two sites to nbdkit. */
export function ratiosOf(summaries: readonly Summary[]): Ratios {
  const ratios: Record<string, number> = {};
  for (const [workload, pairs] of Object.entries(WANTED)) {
    for (const [server, reference] of [...pairs, ['tercet2', 'nbdkit'] as const]) {
      const ratio = ratioOf(summaries, workload, server, reference);
      if (ratio !== null) ratios[`${workload} ${server}/${reference}`] = Number(ratio.toFixed(3));
    }
  }
  return ratios;
}

function ratioOf(summaries: readonly Summary[], workload: string, server: string, reference: string): number | null {
  const iops = (name: string): number | undefined => summaries.find((one) => one.workload === workload && one.server === name)?.iops;
  const [own, other] = [iops(server), iops(reference)];
  return own === undefined || other === undefined ? null : own / other;
}

/** Sentences for the ratios that are more than a tenth worse than before; those that only one of both has are passed over. */
export function worseThan(before: Ratios, now: Ratios): readonly string[] {
  return Object.entries(now).flatMap(([key, ratio]) => {
    const was = before[key];
    return was === undefined || ratio >= 0.9 * was ? [] : [`${key}: ${ratio.toFixed(2)}, was ${was.toFixed(2)}`];
  });
}

/** The tables of docs/performance.md: figures with processor time in brackets, and ratios beside what is asked for. */
export function markdownOf(workloads: readonly Workload[], summaries: readonly Summary[]): string {
  const servers = [...new Set(summaries.map((summary) => summary.server))];
  const find = (workload: Workload, server: string): Summary | undefined =>
    summaries.find((summary) => summary.workload === workload.name && summary.server === server);
  const figures = workloads.map((workload) => [
    workload.label,
    ...servers.map((server) => {
      const summary = find(workload, server);
      if (summary === undefined) return '';
      const speed =
        workload.operationBytes >= MIB ? `${summary.mibPerSecond.toFixed(0)} MiB/s` : Math.round(summary.iops).toLocaleString('en-US');
      return `${speed} [${summary.cpuSecondsPerMillion.toFixed(summary.cpuSecondsPerMillion < 100 ? 1 : 0)}]`;
    }),
  ]);
  const ratios = workloads.map((workload) => [
    workload.label,
    ...['tercet1/nbdkit', 'tercet3/nbdkit', 'tercet3/quorum'].map((key) => {
      const [server, reference] = key.split('/') as [string, string];
      const ratio = ratioOf(summaries, workload.name, server, reference);
      const least = WANTED[workload.name]?.find((one) => one[0] === server && one[1] === reference)?.[2];
      return ratio === null ? '' : `${ratio.toFixed(2)}${least === undefined ? '' : ` (at least ${least})`}`;
    }),
  ]);
  return [
    ...markdownTable(['workload', ...servers], figures),
    '',
    ...markdownTable(['workload', 'one site / nbdkit', 'three sites / nbdkit', 'three sites / quorum'], ratios),
  ].join('\n');
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)];
}
