// What is compared: Tercet with one, two and three sites, and servers without a mirror that serve the same kind of image.

import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Member } from '../../demo/cluster.ts';
import { Cluster } from '../../demo/cluster.ts';
import { endingText } from '../../demo/daemon.ts';
import type { PortFinder } from '../../demo/layout.ts';
import { nbdUri, planLayout } from '../../demo/layout.ts';
import { drain, followsInStep } from '../../demo/scene.ts';
import { findTool } from '../../demo/tools.ts';
import { until } from '../../demo/waiting.ts';
import { certificatesFor } from '../../test/support/cluster.ts';

/** A server that runs. */
export interface Server {
  readonly name: string;
  readonly uri: string;
  /** All processes that serve, mirrors and witness too. */
  pids(): readonly number[];
  /** Waits until nothing is left to be done behind the last request. */
  settle(): Promise<void>;
  /** Files whose content is dropped from the cache for cold reads, and read into it for all others. */
  files(): readonly string[];
  /** Bytes that its daemons have allocated on their JavaScript heaps so far; null where that is not asked for, or cannot be. */
  allocatedBytes(): number | null;
  stop(): Promise<void>;
}

export interface ServerOptions {
  readonly folder: string;
  readonly sizeBytes: number;
  readonly ports: PortFinder;
  /** Folder for profiles of the daemons; null: none are taken. */
  readonly profiles: string | null;
  /** Keys of the group in place of the defaults. */
  readonly group: Readonly<Record<string, number>>;
  /** Whether the daemons are to say how much they allocate. */
  readonly allocations: boolean;
}

const START_MILLIS = 30_000;
const SETTLE_MILLIS = 300_000;

/** Arguments of qemu-nbd that are the same for all images. */
function qemuArgs(socket: string): readonly string[] {
  return ['-k', socket, '-t', '-e', '64', '-x', ''];
}

/** Two copies in one process, both written, one read: the least that a mirror can do. */
function quorumArgs(images: readonly string[]): readonly string[] {
  const children = images.flatMap((image, index) => [
    `children.${index}.driver=raw`,
    `children.${index}.file.driver=file`,
    `children.${index}.file.filename=${image}`,
  ]);
  return ['--image-opts', ['driver=quorum', `vote-threshold=${images.length}`, 'read-pattern=fifo', ...children].join(',')];
}

/** How each server is started, by name; null where its program is not installed. */
export const SERVERS: Readonly<Record<string, ((options: ServerOptions) => Promise<Server>) | null>> = {
  nbdkit: plain('nbdkit', 'nbdkit', 1, (socket, [image = '']) => ['-f', '-U', socket, 'file', `file=${image}`]),
  'qemu-nbd': plain('qemu-nbd', 'qemu-nbd', 1, (socket, [image = '']) => [...qemuArgs(socket), '-f', 'raw', image]),
  quorum: plain('quorum', 'qemu-nbd', 2, (socket, images) => [...qemuArgs(socket), ...quorumArgs(images)]),
  tercet1: (options) => tercet(options, 'tercet1', 1),
  tercet2: (options) => tercet(options, 'tercet2', 2),
  tercet3: (options) => tercet(options, 'tercet3', 3),
  'tercet3-tls': (options) => tercet(options, 'tercet3-tls', 3),
};

/** Those that are measured unless others are asked for. */
export const USUAL_SERVERS: readonly string[] = Object.keys(SERVERS).filter((name) => name !== 'tercet3-tls');

/** Sites of a group that serves; with a name that ends with "tls" links are encrypted, and hosts come over a unix socket all the same. */
export async function tercet(options: ServerOptions, name: string, siteCount: number): Promise<Server> {
  const { sizeBytes, ports, profiles, group } = options;
  const folder = join(options.folder, name);
  mkdirSync(folder, { recursive: true });
  const layout = await planLayout({ folder, sizeBytes, usualPorts: false, ports, siteCount });
  const profileArgs = (site: string): string[] => [
    '--cpu-prof',
    `--cpu-prof-dir=${join(profiles ?? '', name, site)}`,
    '--cpu-prof-interval=500',
  ];
  const nodeArgs = (site: string): string[] => [
    ...(profiles === null ? [] : profileArgs(site)),
    ...(options.allocations ? ['--trace-gc', '--trace-gc-nvp'] : []),
  ];
  const cluster = new Cluster({
    layout,
    ownGroup: false,
    config: { group, ...(name.endsWith('tls') && { tls: certificatesFor(layout) }) },
    nodeArgs,
    died: (daemon, ending) => {
      console.error(`${name}: ${daemon.name} ended by itself (${endingText(ending)}):\n${daemon.logTail()}`);
    },
  });
  const [first, ...others] = cluster.members as [Member, ...Member[]];
  try {
    await cluster.start();
    await cluster.create();
    await until(`${name} serves and its mirrors are in step`, START_MILLIS, async () => {
      if ((await cluster.status(first.layout.name))?.serving !== true) return false;
      const steps = await Promise.all(others.map((member) => followsInStep(cluster, first, member)));
      return steps.every(Boolean);
    });
  } catch (error) {
    await cluster.kill();
    throw error;
  }
  const { nbdSocket, nbd } = first.layout;
  return {
    name,
    uri: nbdUri(layout, nbdSocket ?? nbd),
    pids: () => cluster.daemons.flatMap((daemon) => (daemon.pid === null ? [] : [daemon.pid])),
    settle: () => drain(cluster, SETTLE_MILLIS),
    files: () => globSync(join(first.layout.data, layout.group, '**', '*')),
    allocatedBytes: () => (options.allocations ? sum(cluster.members.map((member) => allocatedIn(member.layout.log))) : null),
    stop: () => cluster.stop(),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Bytes allocated before each garbage collection that a log tells of. */
function allocatedIn(log: string): number {
  return sum([...readFileSync(log, 'utf8').matchAll(/ allocated=([0-9]+)/g)].map(([, bytes]) => Number(bytes)));
}

/** A server of raw image files on a unix socket. */
function plain(
  name: string,
  program: string,
  imageCount: number,
  args: (socket: string, images: readonly string[]) => readonly string[],
): ((options: ServerOptions) => Promise<Server>) | null {
  const path = findTool(program);
  if (path === null) return null;
  return async ({ folder, sizeBytes }) => {
    const images = Array.from({ length: imageCount }, (_, index) => join(folder, `${name}-${index}.img`));
    const socket = join(folder, `${name}.sock`);
    for (const image of images) {
      writeFileSync(image, '');
      truncateSync(image, sizeBytes);
    }
    const child = spawn(path, args(socket, images), { stdio: ['ignore', 'inherit', 'inherit'] });
    await until(`${name} listens`, START_MILLIS, () => existsSync(socket));
    return {
      name,
      uri: `nbd+unix:///?socket=${socket}`,
      pids: () => [child.pid as number],
      settle: () => Promise.resolve(),
      files: () => images,
      allocatedBytes: () => null,
      stop: () => ended(child),
    };
  };
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    child.on('exit', () => resolve());
    child.kill('SIGTERM');
  });
}
