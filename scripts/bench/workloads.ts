// What is measured: the rows of the benchmark, each as arguments of fio.

/** One row. */
export interface Workload {
  readonly name: string;
  /** For people. */
  readonly label: string;
  readonly fio: readonly string[];
  /** Bytes of one operation. */
  readonly operationBytes: number;
  /** What an operation is; 'flushed': a write and the flush behind it. */
  readonly operation: 'read' | 'write' | 'mixed' | 'flushed';
  /** Caches are dropped before each run, and nothing is warmed up. */
  readonly cold: boolean;
}

const KIB = 1024;
const MIB = 1024 * KIB;

type Operation = Workload['operation'];

function random(name: string, label: string, given: { operation: Operation; depth: number; rw: string; cold?: boolean }): Workload {
  const fio = [`--rw=${given.rw}`, '--bs=4k', '--norandommap', `--iodepth=${given.depth}`];
  return { name, label: `4 KiB ${label}`, fio, operationBytes: 4 * KIB, operation: given.operation, cold: given.cold ?? false };
}

/** Each job is a connection of its own that flushes after every write: so many flushes wait at a time. */
function flushed(depth: number): Workload {
  const fio = ['--rw=randwrite', '--bs=4k', '--norandommap', '--iodepth=1', '--fsync=1', `--numjobs=${depth}`];
  return {
    name: `flush${depth}`,
    label: `4 KiB write + flush, ${depth} deep`,
    fio,
    operationBytes: 4 * KIB,
    operation: 'flushed',
    cold: false,
  };
}

function sequential(rw: 'read' | 'write'): Workload {
  return {
    name: `seq${rw}`,
    label: `1 MiB sequential ${rw}, 8 deep`,
    fio: [`--rw=${rw}`, '--bs=1m', '--iodepth=8'],
    operationBytes: MIB,
    operation: rw,
    cold: false,
  };
}

/** All rows, in the order in which they are measured. */
export const WORKLOADS: readonly Workload[] = [
  random('write32', 'random write, 32 deep', { operation: 'write', depth: 32, rw: 'randwrite' }),
  random('write1', 'random write, 1 deep', { operation: 'write', depth: 1, rw: 'randwrite' }),
  random('read32', 'random read, 32 deep, cached', { operation: 'read', depth: 32, rw: 'randread' }),
  random('cold32', 'random read, 32 deep, cold', { operation: 'read', depth: 32, rw: 'randread', cold: true }),
  {
    ...random('mix32', '70/30 mix, 32 deep', { operation: 'mixed', depth: 32, rw: 'randrw' }),
    fio: ['--rw=randrw', '--rwmixread=70', '--bs=4k', '--norandommap', '--iodepth=32'],
  },
  flushed(1),
  flushed(8),
  flushed(32),
  sequential('write'),
  sequential('read'),
];
