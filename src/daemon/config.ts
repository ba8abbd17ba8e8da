// The configuration: one TOML file, the same on every site. Every fault is reported at once; what comes out of here needs no further check.

import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { TomlError, parse } from 'smol-toml';

import type { Address } from '../api/address.ts';
import { assert } from '../core/base/assert.ts';
import { TercetError } from '../core/base/errors.ts';
import type { SiteName } from '../core/base/units.ts';
import type { SidefileGuide } from '../core/replica/set-aside.ts';
import type { ScrubOptions, SiteSpec, Timings } from '../core/site/contract.ts';
import type { GroupDraft } from './config-draft.ts';
import { namedTables, readGroup, readSite } from './config-draft.ts';
import { ConfigFaults, readTable } from './config-faults.ts';
import { checkAddresses, checkFolders, checkNumbers, checkSites } from './config-relations.ts';
import { topShape, tlsShape, witnessShape } from './config-schema.ts';
import { tomlPlaces } from './toml-places.ts';

/** One site of the file. */
export interface SiteConfig {
  readonly name: SiteName;
  /** Data folder, absolute. */
  readonly data: string;
  /** Where the site listens for its peers, and where they connect: TCP. */
  readonly link: Address;
  readonly nbd: readonly Address[];
  /** Whether hosts may, or must, speak TLS over TCP. */
  readonly nbdTls: 'off' | 'optional' | 'required';
  /** Who may be at the other end of that: holders of a certificate of an authority in [tls], or anybody. */
  readonly nbdClients: 'certificate' | 'anybody';
  /** Hosts' connections at once. */
  readonly nbdConnections: number;
  /** What all hosts together may make the site hold. */
  readonly nbdMemoryBytes: number;
  readonly control: Address;
  /** Where commands on other machines reach the control API, by certificates; null for nowhere. */
  readonly remoteControl: Address | null;
  /** Where browsers see the page; null for nowhere. */
  readonly page: Address | null;
  /** File with the token that allows orders there; null: it only shows. */
  readonly pageTokenFile: string | null;
  /** Folder of the programs that are called at events; null for none. */
  readonly hooks: string | null;
}

/** One volume of a group. */
export interface VolumeConfig {
  readonly name: string;
  readonly sizeBytes: number;
  /** How long requests are held while nobody may serve; Infinity: they are never failed. */
  readonly holdMillis: number;
  /** Base images that are not in their default place, by site; absolute. */
  readonly base: ReadonlyMap<SiteName, string>;
}

/** One group of the file. */
export interface GroupConfig {
  readonly name: string;
  /** In order of preference for serving. */
  readonly sites: readonly SiteSpec[];
  readonly timings: Timings;
  readonly segmentBytes: number;
  readonly capacityBytes: number;
  /** Disk space that is set aside for the sidefile at least. */
  readonly setAsideBytes: number;
  /** By which record of the other copies what is set aside goes. */
  readonly sidefileGuide: SidefileGuide;
  /** Most records that are kept for a copy; 0: as many as there is room for. */
  readonly recordsMax: number;
  /** Whether a pair without its witness agrees that its primary may go on alone. */
  readonly preElection: boolean;
  /** Whether it lives in a thread of its own. */
  readonly thread: boolean;
  readonly destageIdleMillis: number;
  readonly destageBacklogBytes: number;
  /** Null: copies are compared only by order. */
  readonly scrub: ScrubOptions | null;
  /** Most that a copy may lack, in seconds, before that is an event; 0: no target. */
  readonly rpoSeconds: number;
  /** Share of it above which there is an alert. */
  readonly rpoAlertPercent: number;
  readonly bitmapChunkBytes: number;
  /** The largest range that a scan compares by one digest, and after which one that is cut off can go on. */
  readonly scanUnitBytes: number;
  readonly volumes: readonly VolumeConfig[];
}

/** Paths of PEM files, absolute; "{site}" in them stands for the name of the site. */
export interface TlsPaths {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** The whole file, complete with defaults. */
export interface Config {
  /** The file that it was read from. */
  readonly file: string;
  /** What was read. */
  readonly text: string;
  readonly insecure: boolean;
  /** Files of the certificates; null where links are not encrypted. */
  readonly tls: TlsPaths | null;
  readonly witness: { readonly address: Address };
  /** In the order of the file. */
  readonly sites: readonly SiteConfig[];
  readonly groups: readonly GroupConfig[];
}

const CONFIG_BYTES_MAX = 1024 * 1024;
const MIB = 1024 * 1024;

/** Reads and checks the file. Throws TERCET_CONFIG_UNREADABLE or TERCET_CONFIG. */
export function loadConfig(path: string): Config {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new TercetError('TERCET_CONFIG_UNREADABLE', { file: path, reason }, { cause });
  }
  if (bytes.length > CONFIG_BYTES_MAX) {
    throw new TercetError('TERCET_CONFIG_UNREADABLE', { file: path, reason: `${bytes.length} bytes, more than ${CONFIG_BYTES_MAX}` });
  }
  return parseConfig(new TextDecoder().decode(bytes), path);
}

/** The site of that name. Throws TERCET_NO_SUCH_SITE. */
export function siteOf(config: Config, name: SiteName): SiteConfig {
  const site = config.sites.find((each) => each.name === name);
  if (site !== undefined) return site;
  throw new TercetError('TERCET_NO_SUCH_SITE', { site: name, known: config.sites.map((each) => each.name).join(', ') });
}

/** The group of that name. Throws TERCET_NO_SUCH_GROUP. */
export function groupOf(config: Config, name: string): GroupConfig {
  const group = config.groups.find((each) => each.name === name);
  if (group !== undefined) return group;
  throw new TercetError('TERCET_NO_SUCH_GROUP', { group: name, known: config.groups.map((each) => each.name).join(', ') });
}

/** Where a site, or whoever else has files of that name, has its certificates; null where links are not encrypted. */
export function tlsFilesOf(config: Config, site: SiteName): TlsPaths | null {
  if (config.tls === null) return null;
  const { ca, cert, key } = config.tls;
  const own = (path: string): string => path.replaceAll('{site}', site);
  return { ca: own(ca), cert: own(cert), key: own(key) };
}

/** Folder of a group's replica at a site. */
export function replicaFolder(site: SiteConfig, group: string): string {
  return join(site.data, group);
}

/**
 * Reads and checks the text of a configuration. `file` is its name for messages; relative paths in it are relative to its folder. Throws
 * TERCET_CONFIG with all faults.
 */
export function parseConfig(text: string, file: string): Config {
  const document = parseToml(text, file);
  const faults = new ConfigFaults(tomlPlaces(text));
  const top = readTable(topShape, document, [], faults);
  const insecure = top.insecure ?? false;
  const folder = dirname(resolve(file));
  const tls = top.tls === undefined ? null : readTable(tlsShape, top.tls, ['tls'], faults);
  const witness = top.witness === undefined ? {} : readTable(witnessShape, top.witness, ['witness'], faults);
  const sites = namedTables(top.site, 'site', faults).map(([name, table]) => readSite(name, table, { folder, faults }));
  const groups = namedTables(top.group, 'group', faults).map(([name, table]) => readGroup(name, table, { folder, faults }));

  checkAddresses({ insecure, encrypted: tls !== null, witness: witness.address, sites }, faults);
  checkFolders(sites, groups, faults);
  const siteNames = top.site === undefined ? null : Object.keys(top.site);
  for (const group of groups) {
    checkSites(group, siteNames, faults);
    checkNumbers(group, faults);
  }
  faults.throwIfAny(file);
  return {
    file,
    text,
    insecure,
    tls:
      tls === null
        ? null
        : { ca: resolve(folder, present(tls.ca)), cert: resolve(folder, present(tls.cert)), key: resolve(folder, present(tls.key)) },
    witness: { address: present(witness.address) },
    sites: sites.map((site) => ({
      name: site.name,
      data: present(site.data),
      link: present(site.link),
      nbd: present(site.nbd),
      nbdTls: site.nbdTls ?? (tls === null ? 'off' : 'optional'),
      nbdClients: present(site.nbdClients),
      nbdConnections: present(site.nbdConnections),
      nbdMemoryBytes: present(site.nbdMemoryMib) * MIB,
      control: present(site.control),
      remoteControl: site.remoteControl ?? null,
      page: site.page ?? null,
      pageTokenFile: site.pageTokenFile ?? null,
      hooks: site.hooks ?? null,
    })),
    groups: groups.map(groupConfig),
  };
}

function parseToml(text: string, file: string): unknown {
  try {
    return parse(text, { unsafeKeyBehaviour: 'throw', maxDepth: 16, integersAsBigInt: 'asNeeded' });
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const what = (cause.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '');
    const faults = `  line ${cause.line}, column ${cause.column}: this is not TOML: ${what}\n${cause.codeblock.trimEnd()}`;
    throw new TercetError('TERCET_CONFIG', { file, count: 1, faults }, { cause });
  }
}

/** The finished form of a group without faults. */
function groupConfig({ name, fields, volumes }: GroupDraft): GroupConfig {
  const async = present(fields.async);
  return {
    name,
    sites: present(fields.sites).map((site) => {
      const overflow = present(fields.overflow)[site];
      const bitmapOnly = present(fields.bitmap_only).includes(site);
      const linkMib = present(fields.link_mib_per_second)[site];
      const foldMillis = present(fields.fold_millis)[site] ?? 0;
      const mode = async.includes(site) ? 'async' : 'sync';
      const streams = present(fields.streams)[site];
      return {
        name: site,
        mode,
        ...(overflow !== undefined && { overflow }),
        ...(bitmapOnly && { bitmapOnly }),
        ...(present(fields.compress)[site] === 'zstd' && { compress: 'zstd' as const }),
        ...(streams !== undefined && { streams }),
        ...(foldMillis > 0 && { foldMillis }),
        ...(present(fields.sidefile)[site] === 'memory' && { sidefile: 'memory' as const }),
        ...(linkMib !== undefined && { linkBytesPerSecond: linkMib * MIB }),
      };
    }),
    timings: {
      leaseMillis: present(fields.lease_millis),
      heartbeatMillis: present(fields.heartbeat_millis),
      peerTimeoutMillis: present(fields.peer_timeout_millis),
      witnessRetryMillis: present(fields.witness_retry_millis),
      driftShare: present(fields.drift_percent) / 100,
      holdMillis: present(fields.hold_seconds) * 1000,
      asyncDelayMillis: present(fields.async_delay_millis),
    },
    segmentBytes: present(fields.segment_mib) * MIB,
    capacityBytes: present(fields.sidefile_mib) * MIB,
    setAsideBytes: present(fields.sidefile_min_mib) * MIB,
    sidefileGuide: present(fields.sidefile_guide),
    recordsMax: present(fields.sidefile_records),
    preElection: present(fields.pre_election),
    thread: present(fields.thread),
    destageIdleMillis: present(fields.destage_idle_millis),
    destageBacklogBytes: present(fields.destage_backlog_mib) * MIB,
    rpoSeconds: present(fields.rpo_seconds),
    rpoAlertPercent: present(fields.rpo_alert_percent),
    bitmapChunkBytes: present(fields.bitmap_kib) * 1024,
    scrub: scrubOf(present(fields.scrub), {
      algorithm: present(fields.scrub_digest),
      reportOnly: !present(fields.scrub_repairs),
      bytesPerSecond: present(fields.scrub_mib_per_second) * MIB,
      window: fields.scrub_window ?? null,
    }),
    scanUnitBytes: present(fields.scan_unit_mib) * MIB,
    volumes: volumes.map((volume) => ({
      name: present(volume.name),
      sizeBytes: present(volume.sizeBytes),
      holdMillis: volume.unserved === 'hold' ? Infinity : (volume.holdSeconds ?? present(fields.hold_seconds)) * 1000,
      base: volume.base,
    })),
  };
}

const DAY_MILLIS = 86_400_000;
const SCRUB_MILLIS = { daily: DAY_MILLIS, weekly: 7 * DAY_MILLIS, monthly: 30 * DAY_MILLIS } as const;

function scrubOf(often: 'off' | keyof typeof SCRUB_MILLIS, how: Omit<ScrubOptions, 'everyMillis'>): ScrubOptions | null {
  return often === 'off' ? null : { everyMillis: SCRUB_MILLIS[often], ...how };
}

/** A value that must be there because no fault was found. */
function present<Value>(value: Value | undefined): Value {
  assert(value !== undefined, 'a configuration without faults lacks a value');
  return value;
}
