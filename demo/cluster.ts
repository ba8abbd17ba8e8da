// A witness and its sites as processes of their own on this machine.

import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';

import type { Address } from '../src/api/address.ts';
import { ControlClient, RemoteError } from '../src/api/client.ts';
import type { DaemonStatus } from '../src/api/schema.ts';
import { TercetError } from '../src/core/base/errors.ts';
import type { Ending } from './daemon.ts';
import { Daemon } from './daemon.ts';
import type { ConfigChoices, Layout, SiteLayout } from './layout.ts';
import { configText } from './layout.ts';
import { until } from './waiting.ts';

export interface ClusterOptions {
  readonly layout: Layout;
  readonly ownGroup: boolean;
  /** Arguments of Node.js for each site's daemon. */
  readonly nodeArgs?: (name: string) => readonly string[];
  readonly config?: ConfigChoices;
  /** Where the witness keeps its state, as arguments of its command; default: its folder. */
  readonly witnessStore?: readonly string[];
  /** A configuration file of its own for a site; default: the one of the layout, which all share. */
  readonly configFileOf?: (site: SiteLayout) => string;
  readonly died?: (daemon: Daemon, ending: Ending) => void;
}

/** What a site says of a group. */
export type SiteStatus = DaemonStatus['groups'][number];

const QUESTION_MILLIS = 2_000;
const WITNESS_MILLIS = 20_000;

/** One member: its process, its layout, and how to ask it. */
export interface Member {
  readonly layout: SiteLayout;
  readonly daemon: Daemon;
  readonly client: ControlClient;
}

/** All processes of one layout. */
export class Cluster {
  readonly layout: Layout;
  readonly witness: Daemon;
  readonly members: readonly Member[];

  /** Makes the folders and writes the configuration. Starts nothing. */
  constructor(options: ClusterOptions) {
    const { layout, configFileOf = () => layout.configFile } = options;
    this.layout = layout;
    for (const folder of [layout.folder, layout.witness.data, ...layout.sites.map((site) => site.data)])
      mkdirSync(folder, { recursive: true });
    writeFileSync(layout.configFile, configText(layout, options.config));
    this.witness = witnessDaemon(options);
    this.members = layout.sites.map((site) => {
      const client = new ControlClient(site.control, { questionMillis: QUESTION_MILLIS });
      return { layout: site, client, daemon: siteDaemon(options, site, { client, configFile: configFileOf(site) }) };
    });
  }

  get daemons(): readonly Daemon[] {
    return [this.witness, ...this.members.map((member) => member.daemon)];
  }

  /** Throws when there is no site of that name. */
  member(name: string): Member {
    const member = this.members.find((each) => each.layout.name === name);
    if (member === undefined) throw new Error(`there is no site ${name}`);
    return member;
  }

  /** Starts all at once, and resolves when each answers. */
  async start(): Promise<void> {
    for (const daemon of this.daemons) daemon.launch();
    await Promise.all(this.daemons.map((daemon) => daemon.ready()));
  }

  /** Ends all at once, in order as far as each can; resolves when no process is left. */
  async stop(): Promise<void> {
    await Promise.all(this.daemons.map((daemon) => daemon.stop()));
  }

  /** Ends all at once, at once. */
  async kill(): Promise<void> {
    await Promise.all(this.daemons.map((daemon) => daemon.kill()));
  }

  /** What a site says of the group now; null when it does not answer. */
  async status(name: string): Promise<SiteStatus | null> {
    const { client, daemon } = this.member(name);
    if (daemon.pid === null) return null;
    try {
      const { groups } = await client.status();
      return groups.find((status) => status.group === this.layout.group) ?? null;
    } catch (error) {
      if (error instanceof TercetError || error instanceof RemoteError) return null;
      throw error;
    }
  }

  /** What all sites say, in their order. */
  statuses(): Promise<readonly (SiteStatus | null)[]> {
    return Promise.all(this.members.map((member) => this.status(member.layout.name)));
  }

  /** Makes the group exist, its first site first, once that has reached the witness. */
  async create(): Promise<void> {
    const [first] = this.members;
    if (first === undefined) throw new Error('there is no site');
    const name = first.layout.name;
    await until(`${name} has reached the witness`, WITNESS_MILLIS, async () => (await this.status(name))?.witness.reachable === true);
    const outcome = await first.client.create(this.layout.group);
    if (outcome.kind === 'refused') throw new Error(`the group was not made: ${outcome.text}; ${outcome.remedy}`);
  }
}

function witnessDaemon({ layout, ownGroup, died, config, witnessStore }: ClusterOptions): Daemon {
  const tls = config?.tls;
  const own = (path: string): string => path.replaceAll('{site}', 'witness');
  const { address, data, log } = layout.witness;
  const daemon: Daemon = new Daemon({
    name: 'the witness',
    args: [
      'src/cli/main.ts',
      'witness',
      'run',
      ...(witnessStore ?? ['--data', data]),
      '--listen',
      address.text,
      ...(tls === undefined ? [] : ['--ca', tls.ca, '--cert', own(tls.cert), '--key', own(tls.key)]),
    ],
    log,
    ownGroup,
    // One that wants certificates tells a stranger nothing: that it listens is enough.
    isReady: () => (tls === undefined ? witnessAnswers(address) : listens(address)),
    died: (ending) => died?.(daemon, ending),
  });
  return daemon;
}

function siteDaemon(
  options: ClusterOptions,
  site: SiteLayout,
  { client, configFile }: { client: ControlClient; configFile: string },
): Daemon {
  const daemon: Daemon = new Daemon({
    name: site.name,
    args: ['src/daemon/main.ts', '--config', configFile, '--site', site.name],
    nodeArgs: options.nodeArgs?.(site.name) ?? [],
    log: site.log,
    ownGroup: options.ownGroup,
    isReady: () => siteAnswers(client, site.name),
    died: (ending) => options.died?.(daemon, ending),
  });
  return daemon;
}

async function witnessAnswers(address: Address): Promise<boolean> {
  try {
    const response = await fetch(`http://${address.text}/v1/health`, { signal: AbortSignal.timeout(QUESTION_MILLIS) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    // Refused, reset or late: all of them mean that it does not answer yet.
    return false;
  }
}

function listens(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}

async function siteAnswers(client: ControlClient, name: string): Promise<boolean> {
  try {
    return (await client.status()).site === name;
  } catch (error) {
    if (error instanceof TercetError) return false;
    throw error;
  }
}
