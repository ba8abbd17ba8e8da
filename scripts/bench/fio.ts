// Runs fio's nbd engine and takes from its report what is compared.

import { mustRun } from '../../demo/tools.ts';
import type { Workload } from './workloads.ts';

/** What one run of fio measured. */
export interface FioResult {
  readonly operations: number;
  readonly iops: number;
  readonly bytesPerSecond: number;
  /** Latency of an operation; of the flush alone where each write has one. */
  readonly p50Micros: number;
  readonly p99Micros: number;
  /** Seconds of processor time that fio itself took. */
  readonly clientCpuSeconds: number;
}

interface Latency {
  readonly percentile?: Readonly<Record<string, number>>;
}

interface Side {
  readonly total_ios: number;
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: Latency;
}

interface Job {
  readonly read: Side;
  readonly write: Side;
  readonly sync: { readonly lat_ns: Latency };
  readonly usr_cpu: number;
  readonly sys_cpu: number;
  readonly job_runtime: number;
}

const FIO_MILLIS_MARGIN = 60_000;

/** Measures a workload for some seconds over the first `sizeBytes` of an export. */
export async function runFio(workload: Workload, target: { uri: string; sizeBytes: number; seconds: number }): Promise<FioResult> {
  const { uri, sizeBytes, seconds } = target;
  const args = [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--size=${sizeBytes}`,
    '--time_based',
    `--runtime=${seconds}`,
    '--randrepeat=0',
  ];
  const more = ['--thread', '--group_reporting', '--output-format=json', '--lat_percentiles=0', '--clat_percentiles=1', ...workload.fio];
  const output = await mustRun('fio', [...args, ...more], { millisMax: seconds * 1000 + FIO_MILLIS_MARGIN });
  // The engine prints lines of its own before the report.
  const report = JSON.parse(output.slice(output.indexOf('{'))) as { jobs: Job[] };
  const [job] = report.jobs;
  if (job === undefined) throw new Error('fio reported no job');
  return resultOf(job, workload);
}

/** Writes the whole range with 4 KiB writes in order: a file filled with large writes lies differently in the page cache. */
export async function fill(uri: string, sizeBytes: number): Promise<void> {
  await mustRun(
    'fio',
    [
      '--name=fill',
      '--ioengine=nbd',
      `--uri=${uri}`,
      `--size=${sizeBytes}`,
      '--rw=write',
      '--bs=4k',
      '--iodepth=32',
      '--end_fsync=1',
      '--minimal',
    ],
    {
      millisMax: 600_000,
    },
  );
}

function resultOf(job: Job, { operation }: Workload): FioResult {
  const sides = operation === 'mixed' ? [job.read, job.write] : [operation === 'read' ? job.read : job.write];
  const sum = (value: (side: Side) => number): number => sides.reduce((total, side) => total + value(side), 0);
  const latency = operation === 'flushed' ? job.sync.lat_ns : (sides[0] as Side).clat_ns;
  const micros = (percentile: string): number => (latency.percentile?.[percentile] ?? Number.NaN) / 1000;
  return {
    operations: sum((side) => side.total_ios),
    iops: sum((side) => side.iops),
    bytesPerSecond: sum((side) => side.bw_bytes),
    p50Micros: micros('50.000000'),
    p99Micros: micros('99.000000'),
    clientCpuSeconds: ((job.usr_cpu + job.sys_cpu) / 100) * (job.job_runtime / 1000),
  };
}
