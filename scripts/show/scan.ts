// npm run show:scan [-- --gib 10 --data-mib 2048 --no-rsync]: how long a scan takes, what it costs and what it sends, when 0, 1 and 1000 blocks of 4 KiB
// differ; by each digest; against rsync on the same two images, and against the digest alone. Two sites of their own on this machine.
//
// Unless --data-mib says less, the volume is full: rsync knows nothing of holes when it compares, so only then both read the same. It takes three
// times the size on the disk, and refuses to begin where that is not free. Everything is in the page cache where memory allows. The first scan pays for
// the start of the threads that digest; sha256 is scanned once more in the end, when they run.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { hash, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { crc32 } from 'node:zlib';

import { Cluster } from '../../demo/cluster.ts';
import { baseImage, exportName, planLayout } from '../../demo/layout.ts';
import { NbdClient } from '../../demo/nbd-client.ts';
import { drain, followsInStep } from '../../demo/scene.ts';
import { findTool, mustRun } from '../../demo/tools.ts';
import { pause, until } from '../../demo/waiting.ts';
import { digestBlocks } from '../../src/host/block-digests.ts';

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '2' },
    'data-mib': { type: 'string' },
    rsync: { type: 'boolean', default: true },
  },
  allowNegative: true,
});
const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const BLOCK = 4096;
const VOLUME_BYTES = Number(values.gib) * 1024 * MIB;
const DATA_BYTES = values['data-mib'] === undefined ? VOLUME_BYTES : Number(values['data-mib']) * MIB;
/** Data lies in so many stretches over the whole volume. */
const STRETCHES = 16;
const DIGESTS = ['sha256', 'sha1', 'md5', 'crc32'] as const;
const WAIT_MILLIS = 600_000;
const TICKS_PER_SECOND = 100;
/** Sites have been in step for so long before a scan is ordered: one that has just come back is dialled less eagerly when its connection ends again. */
const IN_STEP_MILLIS = 3_000;

type Digest = (typeof DIGESTS)[number];

interface Cost {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Of these: what the main threads took, which serve hosts besides. */
  readonly mainSeconds: number;
  readonly bytes: number;
}

const STRETCH_BYTES = DATA_BYTES / STRETCHES;
const stretchAt = (index: number): number => (index * VOLUME_BYTES) / STRETCHES;

/** Processor time of a process and its threads, or of all children that were waited for. */
function cpuSeconds(pid: number | 'children'): number {
  const stat = readFileSync(pid === 'children' ? '/proc/self/stat' : `/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user, system] = pid === 'children' ? [fields[13], fields[14]] : [fields[11], fields[12]];
  return (Number(user) + Number(system)) / TICKS_PER_SECOND;
}

/** Processor time of the main thread of a process. */
function mainSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

class Pair {
  readonly cluster: Cluster;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  get layout(): Cluster['layout'] {
    return this.cluster.layout;
  }

  base(site: 'alpha' | 'beta'): string {
    return baseImage(this.layout, this.cluster.member(site).layout);
  }

  async inStep(): Promise<void> {
    const [alpha, beta] = [this.cluster.member('alpha'), this.cluster.member('beta')];
    await until('beta is in step', WAIT_MILLIS, async () => ((await followsInStep(this.cluster, alpha, beta)) ? true : null));
  }

  /** Fills the stretches with what cannot be compressed. */
  async fill(): Promise<void> {
    const client = await NbdClient.connect({ address: this.cluster.member('alpha').layout.nbd, exportName: exportName(this.layout) });
    for (let index = 0; index < STRETCHES; index++)
      for (let at = 0; at < STRETCH_BYTES; at += MIB) await client.write(stretchAt(index) + at, randomBytes(MIB));
    await client.close();
    await this.inStep();
    await drain(this.cluster, WAIT_MILLIS);
  }

  /** Other bytes in `count` blocks of beta's base image, spread evenly over what holds data. */
  async spoil(count: number): Promise<void> {
    const { daemon } = this.cluster.member('beta');
    await daemon.stop();
    const file = openSync(this.base('beta'), 'r+');
    for (let number = 0; number < count; number++) {
      const place = Math.floor((number * DATA_BYTES) / count / BLOCK) * BLOCK;
      writeSync(file, randomBytes(BLOCK), 0, BLOCK, stretchAt(Math.floor(place / STRETCH_BYTES)) + (place % STRETCH_BYTES));
    }
    closeSync(file);
    await daemon.start();
    await this.inStep();
    await pause(IN_STEP_MILLIS);
  }

  /** Bytes of the messages that both sites have received. */
  async #received(): Promise<number> {
    const statuses = await this.cluster.statuses();
    return statuses.reduce((sum, status) => sum + (status?.counters.receivedBytes ?? 0), 0);
  }

  #cpu(of: (pid: number) => number): number {
    return ['alpha', 'beta'].reduce((sum, site) => sum + of(this.cluster.member(site).daemon.pid as number), 0);
  }

  #ended(): number {
    return readFileSync(this.cluster.member('alpha').layout.log, 'utf8').split('"event":"mirror.copied"').length - 1;
  }

  async scan(digest: Digest): Promise<Cost> {
    const [bytes, cpu, main, ended] = [await this.#received(), this.#cpu(cpuSeconds), this.#cpu(mainSeconds), this.#ended()];
    const began = performance.now();
    const order = { site: 'beta', algorithm: digest, compare: 'primary', confirm: false } as const;
    const outcome = await this.cluster.member('alpha').client.resync(this.layout.group, order);
    if (outcome.kind === 'refused') throw new Error(`${outcome.text}; ${outcome.remedy}`);
    await until('the scan has ended', WAIT_MILLIS, () => (this.#ended() > ended ? true : null));
    const seconds = (performance.now() - began) / 1000;
    const used = { cpuSeconds: this.#cpu(cpuSeconds) - cpu, mainSeconds: this.#cpu(mainSeconds) - main };
    const cost = { seconds, ...used, bytes: (await this.#received()) - bytes };
    await this.inStep();
    return cost;
  }
}

/** rsync from one file into the other, both read as a whole; what it says it has sent and received. */
async function rsync(from: string, to: string): Promise<Cost> {
  const [began, cpu] = [performance.now(), cpuSeconds('children')];
  const args = ['--inplace', '--no-whole-file', '--ignore-times', '--stats', from, to];
  const child = spawn('rsync', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => void (out += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`rsync ended with code ${code}`);
  const number = (name: string): number => Number((new RegExp(`${name}: ([0-9,]+)`).exec(out)?.[1] ?? 'NaN').replaceAll(',', ''));
  return {
    seconds: (performance.now() - began) / 1000,
    cpuSeconds: cpuSeconds('children') - cpu,
    mainSeconds: NaN,
    bytes: number('Total bytes sent') + number('Total bytes received'),
  };
}

/** GiB that one core digests in a second: one digest after the other, and in the way of a scan, several blocks at once where that is possible. */
function rawSpeed(digest: Digest, way: 'one by one' | 'as a scan does'): number {
  const bytes = randomBytes(MIB / 2);
  const rounds = 1024;
  const cpu = process.cpuUsage();
  for (let round = 0; round < rounds; round++) {
    if (way === 'as a scan does') digestBlocks(digest, bytes, 64 * 1024);
    else if (digest === 'crc32') crc32(bytes, 0);
    else hash(digest, bytes, 'buffer');
  }
  const { user, system } = process.cpuUsage(cpu);
  return (rounds * bytes.length) / GIB / ((user + system) / 1e6);
}

function row(what: string, differ: number, cost: Cost, gib: number): string {
  const { seconds, cpuSeconds: cpu, mainSeconds: main, bytes } = cost;
  const cells = [
    seconds.toFixed(2),
    cpu.toFixed(2),
    Number.isNaN(main) ? '' : main.toFixed(2),
    bytes.toLocaleString('en'),
    (gib / seconds).toFixed(2),
    (gib / cpu).toFixed(2),
  ];
  return `| ${what} | ${differ} | ${cells.join(' | ')} |`;
}

const say = (text: string): void => console.log(text);

/** Scan and rsync of the same images, with so many blocks that differ. */
async function compareWithRsync(pair: Pair, count: number, gib: number): Promise<Cost> {
  await pair.spoil(count);
  const before = join(pair.layout.folder, 'before.img');
  if (values.rsync) await mustRun('cp', ['--sparse=always', pair.base('beta'), before], { millisMax: WAIT_MILLIS });
  const scan = await pair.scan('sha256');
  say(row('scan by sha256', count, scan, gib));
  if (!values.rsync) return scan;
  const other = await rsync(pair.base('alpha'), before);
  say(row('rsync', count, other, (2 * VOLUME_BYTES) / GIB));
  rmSync(before);
  const ratios = [other.seconds / scan.seconds, other.cpuSeconds / scan.cpuSeconds, other.bytes / scan.bytes].map((ratio) =>
    ratio.toFixed(1),
  );
  verdicts.push(
    `${count} blocks differ: rsync takes ${ratios[0]} times the seconds, ${ratios[1]} times the CPU, ${ratios[2]} times the bytes`,
  );
  return scan;
}

const verdicts: string[] = [];

async function measure(pair: Pair): Promise<void> {
  say(`${VOLUME_BYTES / GIB} GiB, ${DATA_BYTES / MIB} MiB of them data, ${statSync(pair.base('alpha')).blocks / 2048} MiB on the disk`);
  say('| what | blocks that differ | seconds | CPU s, both sides | of it main threads | bytes sent | GiB/s | GiB per CPU s |');
  say('| --- | --- | --- | --- | --- | --- | --- | --- |');
  const gib = (2 * DATA_BYTES) / GIB;
  const costs = new Map<Digest, Cost>();
  for (const count of [0, 1, 1000]) {
    await compareWithRsync(pair, count, gib);
  }
  // Again sha256: its threads run by now.
  for (const digest of [...DIGESTS.slice(1), 'sha256'] as const) {
    const cost = await pair.scan(digest);
    costs.set(digest, cost);
    say(row(`scan by ${digest}${digest === 'sha256' ? ', once more' : ''}`, 0, cost, gib));
  }
  for (const verdict of verdicts) say(verdict);
  for (const digest of DIGESTS) {
    const cost = costs.get(digest) as Cost;
    const raws = (['one by one', 'as a scan does'] as const).map((way) => {
      const raw = rawSpeed(digest, way);
      return `${(gib / cost.cpuSeconds / raw).toFixed(2)} of the digest alone, ${way} (${raw.toFixed(2)} GiB)`;
    });
    say(`${digest}: ${(gib / cost.cpuSeconds).toFixed(2)} GiB for a second of the processor, ${raws.join(', ')}`);
  }
}

async function main(): Promise<void> {
  if (values.rsync && findTool('rsync') === null) throw new Error('rsync is missing: install the Debian package rsync, or add --no-rsync');
  // Two images and one for rsync, and what sidefiles take meanwhile.
  const needBytes = (values.rsync ? 3 : 2) * DATA_BYTES + 4 * GIB;
  const { bavail, bsize } = statfsSync(tmpdir());
  if (bavail * bsize < needBytes)
    throw new Error(`${(needBytes / GIB).toFixed(0)} GiB are needed in ${tmpdir()}: choose another place by TMPDIR, or a smaller --gib`);
  const folder = mkdtempSync(join(tmpdir(), 'tercet-scan-'));
  const layout = await planLayout({ folder, sizeBytes: VOLUME_BYTES, usualPorts: false, siteCount: 2 });
  // Nothing is lost here, however busy the machine is: a lease that ran out would end the connection that fills the volume.
  const group = { lease_millis: 20_000, heartbeat_millis: 1000, peer_timeout_millis: 15_000 };
  const cluster = new Cluster({ layout, ownGroup: false, config: { group } });
  const pair = new Pair(cluster);
  try {
    await cluster.start();
    await cluster.create();
    await pair.inStep();
    await pair.fill();
    await measure(pair);
    await cluster.stop();
  } finally {
    await cluster.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
