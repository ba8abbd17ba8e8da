// Where the demonstration has its things: folders, addresses and the configuration file, which is a real one and can be used with `tercet` too.

import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';

import type { Address } from '../src/api/address.ts';
import { readAddress } from '../src/api/address.ts';

/** What one site has. */
export interface SiteLayout {
  readonly name: string;
  readonly mode: 'sync' | 'async';
  /** What it is for, in a word. */
  readonly part: string;
  readonly data: string;
  readonly link: Address;
  readonly nbd: Address;
  /** The same over a unix socket; null where the path would be too long for one. */
  readonly nbdSocket: Address | null;
  readonly control: Address;
  /** Where browsers see the page. */
  readonly page: Address;
  readonly log: string;
}

/** Everything of one demonstration. Folders are absolute. */
export interface Layout {
  readonly folder: string;
  readonly configFile: string;
  readonly witness: { readonly address: Address; readonly data: string; readonly log: string };
  readonly sites: readonly SiteLayout[];
  readonly group: string;
  readonly volume: string;
  readonly sizeBytes: number;
}

/** First line of a configuration that was written here, so that no other file is ever overwritten. */
export const CONFIG_MARK = '# Written by the demonstration of Tercet (npm start), and written anew at each start.';

const GROUP = 'demo';
const VOLUME = 'disk0';
const HOST = '127.0.0.1';
const WITNESS_PORT = 7400;
const LINK_PORT = 7410;
const NBD_PORT = 10_810;
const CONTROL_PORT = 7510;
const PAGE_PORT = 7480;
/** Below the range from which the system takes ports for outgoing connections: one of those could be in use at any moment. */
const OTHER_PORT_MIN = 12_000;
const OTHER_PORT_MAX = 32_000;
const PORT_TRIES = 200;

const SITES = [
  { name: 'alpha', mode: 'sync', part: 'primary' },
  { name: 'beta', mode: 'sync', part: 'near' },
  { name: 'gamma', mode: 'async', part: 'far' },
] as const;

/**
 * Hands out loopback ports: the wanted one if it is free, else another. Each stays kept for this process as long as it runs, by a datagram socket of
 * the same number that nobody uses: what is to listen at it is started later, and another process may look for ports meanwhile.
 */
export class PortFinder {
  readonly #given = new Set<number>();

  /** A free port, which is not given twice, by no process that looks for one so. */
  async find(wanted: number | null): Promise<number> {
    if (wanted !== null && (await this.#take(wanted))) return wanted;
    for (let tries = 0; tries < PORT_TRIES; tries++) {
      const port = OTHER_PORT_MIN + Math.floor(Math.random() * (OTHER_PORT_MAX - OTHER_PORT_MIN));
      if (await this.#take(port)) return port;
    }
    throw new Error(`no free port was found on ${HOST} in ${PORT_TRIES} tries`);
  }

  async #take(port: number): Promise<boolean> {
    if (this.#given.has(port) || !(await isFree(port)) || !(await keep(port))) return false;
    this.#given.add(port);
    return true;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: HOST, port }, () => server.close(() => resolve(true)));
  });
}

/** Keeps a port until this process ends; false when another process keeps it. */
function keep(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    socket.once('error', () => resolve(false));
    socket.bind({ port, address: HOST, exclusive: true }, () => {
      socket.unref();
      resolve(true);
    });
  });
}

/** An address of this machine. */
export function loopback(port: number): Address {
  return addressOf(`${HOST}:${port}`);
}

function addressOf(text: string): Address {
  const reading = readAddress(text);
  if ('address' in reading) return reading.address;
  throw new Error(`${text} must be ${reading.wrong}`);
}

function socketOf(path: string): Address | null {
  const reading = readAddress(`unix:${path}`);
  return 'address' in reading ? reading.address : null;
}

export interface LayoutOptions {
  /** Absolute. */
  readonly folder: string;
  readonly sizeBytes: number;
  /** Whether to take the ports of the documentation where they are free. */
  readonly usualPorts: boolean;
  readonly ports?: PortFinder;
  /** How many of the three sites there are; default: all. */
  readonly siteCount?: number;
}

/** Chooses addresses that are free now. */
export async function planLayout(options: LayoutOptions): Promise<Layout> {
  const { folder, sizeBytes, usualPorts, ports = new PortFinder(), siteCount = SITES.length } = options;
  const port = async (usual: number): Promise<Address> => loopback(await ports.find(usualPorts ? usual : null));
  const sites: SiteLayout[] = [];
  for (const [index, { name, mode, part }] of SITES.slice(0, siteCount).entries()) {
    sites.push({
      name,
      mode,
      part,
      data: join(folder, name),
      link: await port(LINK_PORT + index),
      nbd: await port(NBD_PORT + index),
      nbdSocket: socketOf(join(folder, `${name}.nbd`)),
      control: socketOf(join(folder, `${name}.control`)) ?? (await port(CONTROL_PORT + index)),
      page: await port(PAGE_PORT + index),
      log: join(folder, `${name}.log`),
    });
  }
  const witness = { address: await port(WITNESS_PORT), data: join(folder, 'witness'), log: join(folder, 'witness.log') };
  return { folder, configFile: join(folder, 'tercet.toml'), witness, sites, group: GROUP, volume: VOLUME, sizeBytes };
}

/** What may be different from the layout in one configuration file. */
export interface ConfigChoices {
  /** Where this file says that a site's link is. */
  readonly linkOf?: (site: SiteLayout) => Address;
  readonly witness?: Address;
  /** Paths of certificates and key, "{site}" for the site's name: links are encrypted then. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  /** More keys of every site. */
  readonly site?: Readonly<Record<string, string | number>>;
  /** More keys of the group: numbers, or TOML as it is. */
  readonly group?: Readonly<Record<string, number | string>>;
}

/** The configuration as TOML. */
export function configText(layout: Layout, choices: ConfigChoices = {}): string {
  const { folder, sites, group, volume, sizeBytes } = layout;
  const text = JSON.stringify;
  const names = (wanted: (site: SiteLayout) => boolean): string =>
    `[${sites
      .filter(wanted)
      .map((site) => text(site.name))
      .join(', ')}]`;
  const linkOf = choices.linkOf ?? ((site) => site.link);
  const lines = [CONFIG_MARK, '', '[witness]', `address = ${text((choices.witness ?? layout.witness.address).text)}`, ''];
  if (choices.tls !== undefined) {
    const { ca, cert, key } = choices.tls;
    lines.push('[tls]', `ca = ${text(ca)}`, `cert = ${text(cert)}`, `key = ${text(key)}`, '');
  }
  for (const site of sites) {
    const nbd = [site.nbd, ...(site.nbdSocket === null ? [] : [site.nbdSocket])];
    lines.push(`[site.${site.name}]`, `data = ${text(relative(folder, site.data))}`, `link = ${text(linkOf(site).text)}`);
    lines.push(
      `nbd = [${nbd.map((address) => text(address.text)).join(', ')}]`,
      `control = ${text(site.control.text)}`,
      `page = ${text(site.page.text)}`,
    );
    for (const [key, value] of Object.entries(choices.site ?? {})) lines.push(`${key} = ${JSON.stringify(value)}`);
    lines.push('');
  }
  lines.push(`[group.${group}]`, `sites = ${names(() => true)}`, `async = ${names((site) => site.mode === 'async')}`);
  for (const [key, value] of Object.entries(choices.group ?? {})) lines.push(`${key} = ${value}`);
  lines.push('', `[[group.${group}.volume]]`, `name = ${text(volume)}`, `size = ${sizeBytes}`, '');
  return lines.join('\n');
}

/** The volume's size in a configuration that was written here; null in any other text. */
export function sizeInConfig(config: string): number | null {
  if (!config.startsWith(CONFIG_MARK)) return null;
  const match = /^size = ([0-9]+)$/m.exec(config);
  return match === null ? null : Number(match[1]);
}

/** Name of the export. */
export function exportName(layout: Layout): string {
  return `${layout.group}/${layout.volume}`;
}

/** The same, but only of the site that is asked: another one refuses, and does not pass the connection on. */
export function directName(layout: Layout): string {
  return `${exportName(layout)}@direct`;
}

/** The base image of the volume at a site. */
export function baseImage(layout: Layout, site: SiteLayout): string {
  return join(site.data, layout.group, `base-${layout.volume}.img`);
}

/** NBD URI of the export over an address. */
export function nbdUri(layout: Layout, address: Address): string {
  const name = exportName(layout).split('/').map(encodeURIComponent).join('/');
  if (address.kind === 'tcp') return `nbd://${address.text}/${name}`;
  const path = address.path.split('/').map(encodeURIComponent).join('/');
  return `nbd+unix:///${name}?socket=${path}`;
}
