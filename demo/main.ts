// `npm start`: a witness and three sites on this machine, each a process of its own, with a live picture until Ctrl-C.
// `npm start -- --failover`: the story of a lost primary, by itself.

import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { Cluster } from './cluster.ts';
import type { Daemon, Ending } from './daemon.ts';
import { endingText, shellWord } from './daemon.ts';
import { FAILOVER_VOLUME_BYTES, playFailover } from './failover.ts';
import { listenToKeys } from './keys.ts';
import type { Layout } from './layout.ts';
import { CONFIG_MARK, nbdUri, planLayout, sizeInConfig } from './layout.ts';
import { showLive } from './live.ts';
import { bytesText } from './picture.ts';
import { until } from './waiting.ts';

const USAGE = `usage: npm start -- [--failover] [--data DIR] [--size SIZE] [--seconds N]

  --failover   play the story of a lost primary by itself, and compare the three copies
  --data DIR   where everything is kept; default: ./tercet-demo (with --failover: ./tercet-demo/failover, made anew each time)
  --size SIZE  size of the volume when it is new: bytes, or with KiB, MiB, GiB or TiB; default: 1GiB
  --seconds N  end by itself after so long`;

const BLOCK_BYTES = 4096;
const UNITS: Readonly<Record<string, number>> = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 };
const CREATE_MILLIS = 20_000;

interface Arguments {
  readonly failover: boolean;
  /** Absolute. */
  readonly folder: string;
  /** Null when it was not given. */
  readonly sizeBytes: number | null;
  readonly seconds: number | null;
}

/** Something that the user can put right: printed without a stack. */
class UsageError extends Error {
  override readonly name = 'UsageError';
}

function readArguments(): Arguments | null {
  const { values } = parseArgs({
    options: {
      failover: { type: 'boolean', default: false },
      data: { type: 'string' },
      size: { type: 'string' },
      seconds: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const seconds = values.seconds === undefined ? null : Number(values.seconds);
  if (seconds !== null && !(seconds > 0)) throw new UsageError(`--seconds ${values.seconds}: it must be a number above 0`);
  const folder = values.data ?? (values.failover ? join('tercet-demo', 'failover') : 'tercet-demo');
  return {
    failover: values.failover,
    folder: resolve(folder),
    sizeBytes: values.size === undefined ? null : readSize(values.size),
    seconds,
  };
}

function readSize(text: string): number {
  const match = /^([0-9]{1,15}) ?(KiB|MiB|GiB|TiB|)$/.exec(text);
  const bytes = match === null ? 0 : Number(match[1]) * (UNITS[match[2] ?? ''] ?? 1);
  if (bytes >= BLOCK_BYTES && bytes % BLOCK_BYTES === 0) return bytes;
  throw new UsageError(`--size ${text}: it must be a multiple of ${BLOCK_BYTES} bytes, such as 512MiB or 1GiB`);
}

/** The size of the volume that is kept in the folder; null when there is none. */
function keptSize(folder: string): number | null {
  const file = join(folder, 'tercet.toml');
  if (!existsSync(file)) return null;
  const size = sizeInConfig(readFileSync(file, 'utf8'));
  if (size !== null) return size;
  throw new UsageError(
    `${file} does not begin with "${CONFIG_MARK}": it was not written by this demonstration, choose another folder with --data`,
  );
}

/** Takes something back. */
type Undo = () => void;

/** Calls `end` at the first signal, and `force` at the second. */
function onSignals(end: (signal: string) => void, force: () => void): Undo {
  let count = 0;
  const handle = (signal: NodeJS.Signals): void => {
    count++;
    if (count === 1) end(signal);
    else force();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, handle);
  return () => {
    for (const signal of signals) process.off(signal, handle);
  };
}

/** Lines that work when pasted, for the site that serves. */
function attachLines(layout: Layout, siteName: string): readonly string[] {
  const site = layout.sites.find((each) => each.name === siteName) ?? layout.sites[0];
  if (site === undefined) return [];
  const tcp = nbdUri(layout, site.nbd);
  const name = `${layout.group}/${layout.volume}`;
  const [host, port] = site.nbd.text.split(':') as [string, string];
  const lines = [`nbdinfo ${tcp}`, `qemu-img info ${tcp}`, `nbd-client ${host} ${port} /dev/nbd0 -N ${name}`];
  if (site.nbdSocket?.kind === 'unix') {
    const unix = shellWord(nbdUri(layout, site.nbdSocket));
    lines.push(`nbdinfo ${unix}`, `qemu-img info ${unix}`, `nbd-client -unix ${shellWord(site.nbdSocket.path)} /dev/nbd0 -N ${name}`);
  }
  const config = relative(process.cwd(), layout.configFile);
  lines.push(`node bin/tercet.js status --config ${shellWord(config.startsWith('..') ? layout.configFile : config)}`);
  lines.push(`http://${site.page.text} in a browser`);
  return lines;
}

async function createIfNew(cluster: Cluster): Promise<boolean> {
  const statuses = await until('every site has looked at its data folder', CREATE_MILLIS, async () => {
    const gone = cluster.daemons.find((daemon) => daemon.pid === null);
    if (gone !== undefined)
      throw new Error(`${gone.name} ended by itself (${endingText(await gone.ended)}); its last lines are\n${gone.logTail()}`);
    const all = await cluster.statuses();
    return all.every((status) => status !== null && status.role !== 'starting') ? all : null;
  });
  if (!statuses.every((status) => status?.role === 'absent')) return false;
  await cluster.create();
  return true;
}

/** Runs until a signal or the end of the time. */
async function runLive({ folder, sizeBytes, seconds }: Arguments): Promise<number> {
  const kept = keptSize(folder);
  if (kept !== null && sizeBytes !== null && kept !== sizeBytes) {
    throw new UsageError(`the volume in ${folder} has ${kept} bytes: leave out --size, or choose another folder with --data`);
  }
  mkdirSync(folder, { recursive: true });
  const layout = await planLayout({ folder, sizeBytes: kept ?? sizeBytes ?? 1024 ** 3, usualPorts: true });
  const endings = new Map<string, string>();
  const died = (daemon: Daemon, ending: Ending): void => {
    endings.set(daemon.name, endingText(ending));
    if (!process.stdout.isTTY) console.log(`${daemon.name} ended by itself (${endingText(ending)}): see ${folder}`);
  };
  const cluster = new Cluster({ layout, ownGroup: true, died });
  const ending = new AbortController();
  const forget = onSignals(
    () => ending.abort(),
    () => {
      console.log('killing all processes');
      for (const daemon of cluster.daemons) daemon.signal('SIGKILL');
    },
  );
  const release = listenToKeys(cluster, endings, () => process.kill(process.pid, 'SIGINT'));
  const timer = seconds === null ? null : setTimeout(() => ending.abort(), seconds * 1000);
  try {
    await cluster.start();
    const isNew = await createIfNew(cluster);
    console.log(
      `${isNew ? 'made' : 'found'} group ${layout.group} with volume ${layout.volume} of ${bytesText(layout.sizeBytes)} in ${folder}`,
    );
    await showLive(cluster, { signal: ending.signal, endings, attachLines: (site) => attachLines(layout, site) });
  } finally {
    if (timer !== null) clearTimeout(timer);
    release();
    console.log('stopping all processes; Ctrl-C once more kills them');
    await cluster.stop();
    forget();
  }
  console.log(`stopped; the data stays in ${folder}, and \`npm start\` goes on with it`);
  return 0;
}

async function runFailover({ folder, sizeBytes, seconds }: Arguments): Promise<number> {
  if (sizeBytes !== null || seconds !== null) throw new UsageError('--failover takes neither --size nor --seconds');
  keptSize(folder);
  mkdirSync(folder, { recursive: true });
  const layout = await planLayout({ folder, sizeBytes: FAILOVER_VOLUME_BYTES, usualPorts: false });
  const begun = performance.now();
  const tell = (text: string): void =>
    console.log(text === '' ? '' : `${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  let cluster: Cluster | null = null;
  const interrupted = (signal: string): void => {
    console.log(`interrupted by ${signal}: killing all processes`);
    for (const daemon of cluster?.daemons ?? []) daemon.signal('SIGKILL');
    process.exitCode = 130;
    process.exit();
  };
  const forget = onSignals(interrupted, () => process.exit(130));
  const faults = await playFailover(layout, { ownGroup: true, tell, started: (each) => (cluster = each) });
  forget();
  return faults.length === 0 ? 0 : 1;
}

try {
  const wanted = readArguments();
  if (wanted === null) console.log(USAGE);
  else process.exitCode = await (wanted.failover ? runFailover(wanted) : runLive(wanted));
} catch (error) {
  const isUsage =
    error instanceof UsageError || (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'));
  if (isUsage) console.error(`${error.message}\n\n${USAGE}`);
  else console.error(error instanceof Error ? error.message : error);
  process.exitCode = isUsage ? 2 : 1;
}
