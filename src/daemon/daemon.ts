// One site's daemon: all its groups, its listeners for hosts, peers and commands, and the witness's client.

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

import type { Hono } from 'hono';

import type { DaemonStatus } from '../api/schema.ts';
import type { Control } from '../api/server.ts';
import { startControl } from '../api/server.ts';
import { addImageRoute } from '../api/image.ts';
import { addPointRoutes } from '../api/points.ts';
import { addReloadRoute } from '../api/reload.ts';
import { addSidefileRoute } from '../api/sidefile.ts';
import { addStopRoute } from '../api/stop.ts';
import { addVerifyRoutes } from '../api/verify.ts';
import { addMapRoute } from '../api/volume-map.ts';
import { VERSION } from '../api/program.ts';
import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';
import { DiskError } from '../core/base/ports.ts';
import type { SiteName } from '../core/base/units.ts';
import { HostMemory } from '../core/nbd/memory.ts';
import { machineBootId } from '../host/boot-id.ts';
import { BufferPool } from '../host/buffers.ts';
import { machineClock } from '../host/clock.ts';
import { DigestThreads } from '../host/digest-threads.ts';
import { machineDigests } from '../host/digests.ts';
import type { HostTls, NbdListener } from '../host/nbd-listener.ts';
import { openNbdListener } from '../host/nbd-listener.ts';
import type { PassedSocket } from '../host/passed-sockets.ts';
import { passedForNone } from '../host/passed-sockets.ts';
import { machineRandom } from '../host/random.ts';
import { addressText } from '../host/stream-address.ts';
import { TlsMaterial } from '../host/tls-material.ts';
import { TurnScheduler } from '../host/wake.ts';
import { WitnessClient } from '../witness/client.ts';
import { streamAddress, waysTo } from './addresses.ts';
import { callersBy } from './callers.ts';
import type { Config, SiteConfig } from './config.ts';
import { siteOf, tlsFilesOf } from './config.ts';
import { Exports } from './exports.ts';
import type { SharedParts } from './group.ts';
import { GroupRunner } from './group.ts';
import { PeerListener } from './peer-listener.ts';
import { otherPages, startPage } from './page.ts';
import type { Reloader } from './reload.ts';
import { reloader } from './reload.ts';
import type { Running } from './service.ts';
import { stopOutcome } from './stop.ts';
import { CertificateWatch } from './certificates.ts';
import { addWatchRoutes } from '../watch/routes.ts';
import type { WatchSettings } from '../watch/watch.ts';
import { Watch } from '../watch/watch.ts';

/** Memory that waits to be used again. */
const KEPT_BYTES_MAX = 128 * 1024 * 1024;

/** What is open so far, to be closed in the opposite order. */
type Closer = () => Promise<void>;

interface Opening {
  readonly closers: Closer[];
  /** Sockets that the service manager has opened. */
  readonly passed: readonly PassedSocket[];
}

/**
 * Starts the daemon of a site. Throws TercetError when a data folder, an address or a device cannot be had; nothing is left open then.
 */
export async function startDaemon(
  config: Config,
  name: SiteName,
  journal: Journal,
  passed: readonly PassedSocket[] = [],
): Promise<Running> {
  const closers: Closer[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const { nbd } = siteOf(config, name);
    for (const { address } of passedForNone(passed, nbd.map(streamAddress)))
      throw new TercetError('TERCET_PASSED_SOCKET', { address: addressText(address), known: nbd.map((each) => each.text).join(', ') });
    return { close, ...(await open(config, name, journal, { closers, passed })) };
  } catch (error) {
    await close();
    if (error instanceof DiskError) {
      const { operation, file, code } = error.failure;
      throw new TercetError('TERCET_DISK', { operation, file, code }, { cause: error });
    }
    throw error;
  }
}

async function open(config: Config, name: SiteName, lines: Journal, { closers, passed }: Opening): Promise<Omit<Running, 'close'>> {
  const site = siteOf(config, name);
  const watch = new Watch({ site: name, settings: watchSettings(config, site), journal: lines });
  const { journal } = watch;
  const tls = openTls(config, name);
  const certificates = tls === null ? null : new CertificateWatch(tls, journal);
  closers.push(async () => certificates?.stop());
  const clock = machineClock();
  const turns = new TurnScheduler(clock);
  const buffers = new BufferPool(KEPT_BYTES_MAX);
  const witness = openWitnessClient(config, tls, closers);
  let nbd: NbdListener | null = null;
  const threads = new DigestThreads();
  closers.push(() => threads.close());
  const parts: SharedParts = {
    config,
    site,
    bootId: machineBootId(),
    clock,
    random: machineRandom(),
    digests: machineDigests,
    blockDigests: threads,
    buffers,
    turns,
    witness,
    journal,
    tls,
    dropHosts: (group, reason) => {
      exports.drop(group);
      // With one group, every connection is the group's: those that have nothing under way end at once, too.
      if (groups.length === 1) nbd?.dropAll(reason, (session) => exports.readsPoint(session));
      turns.arm();
    },
  };
  const peers = new PeerListener();
  closers.push(() => peers.gone());
  const groups: GroupRunner[] = [];
  closers.push(async () => {
    await Promise.all(groups.map((group) => group.stop()));
  });
  for (const group of config.groups) {
    if (group.sites.some((copy) => copy.name === name)) groups.push(new GroupRunner(group, parts));
  }
  const exports = new Exports(groups, buffers, new HostMemory(site.nbdMemoryBytes));

  // Closed after the hosts and before the groups: what is asked last is answered.
  const { orders, reload } = await openControl({ config, site, groups, watch, certificates, tls }, closers);
  nbd = await openHosts(exports, parts, { closers, passed });
  await peers.open({
    config,
    site,
    clock,
    buffers,
    turns,
    journal,
    tls,
    findSite: (group) => groups.find((each) => each.group === group)?.owner ?? null,
  });
  closers.push(async () => peers.stop());
  closers.push(async () => watch.stop());
  watch.start(() => orders.status());
  for (const group of groups) group.start();
  journal('ready', readyFacts(site, groups), `site ${name} is ready`);
  return { reload: reload.bySignal, summary: () => summaryOf(orders.status()) };
}

/** Listens for hosts, and passes those of other sites on to them. */
async function openHosts(exports: Exports, parts: SharedParts, { closers, passed }: Opening): Promise<NbdListener> {
  const { buffers, config, journal, site, tls, turns } = parts;
  for (const address of site.nbd) if (address.kind === 'unix') mkdirSync(dirname(address.path), { recursive: true });
  const hosts = await openNbdListener({
    listen: site.nbd.map(streamAddress),
    turns,
    buffers,
    journal,
    passed,
    memory: exports.memory,
    limitsOverride: { nbdConnectionsMax: site.nbdConnections },
    tls: hostTls(site, tls),
    newSession: (mode) => exports.newSession(mode),
    waysTo: (other) => waysTo(siteOf(config, other), tls),
  });
  closers.push(() => hosts.close({ graceMillis: limits.shutdownMillis }));
  return hosts;
}

function hostTls({ nbdTls, nbdClients }: SiteConfig, material: TlsMaterial | null): HostTls | null {
  if (nbdTls === 'off' || material === null) return null;
  return { mode: nbdTls, clients: nbdClients === 'certificate' ? 'needed' : 'not-asked', material };
}

/** What the watch needs of the configuration. */
function watchSettings(config: Config, site: SiteConfig): WatchSettings {
  return {
    hooks: site.hooks,
    groups: new Map(
      config.groups.map(({ name, sites, timings, rpoSeconds, rpoAlertPercent }) => [
        name,
        { sites, timings, rpo: { rpoSeconds, alertPercent: rpoAlertPercent } },
      ]),
    ),
  };
}

interface ControlParts {
  readonly config: Config;
  readonly site: SiteConfig;
  readonly groups: readonly GroupRunner[];
  readonly watch: Watch;
  readonly certificates: CertificateWatch | null;
  readonly tls: TlsMaterial | null;
}

/** The control API, with everything that can be asked and ordered there, and the page. */
async function openControl(parts: ControlParts, closers: Closer[]): Promise<{ orders: Control; reload: Reloader }> {
  const { config, site, groups, watch, certificates } = parts;
  const { name } = site;
  const { journal } = watch;
  const orders = controlOf(name, groups, { certificates, watch });
  const apply = (next: Config): void => {
    watch.change(watchSettings(next, siteOf(next, name)));
    for (const group of groups) {
      const changed = next.groups.find((each) => each.name === group.group);
      if (changed !== undefined) group.change(changed);
    }
  };
  const hasCopy = (wanted: string): boolean => groups.some((each) => each.group === wanted && each.role !== 'absent');
  const reload = reloader({ config, name, journal, certificates, hasCopy, apply });
  const looks = (app: Hono): void => {
    addWatchRoutes(app, watch);
    addMapRoute(app, async (group, volume, cellsMax) => groupIn(groups, group).map(volume, cellsMax));
  };
  const more = (app: Hono): void => {
    looks(app);
    addReloadRoute(app, reload.byOrder);
    addSidefileRoute(app, (group, range) => groupIn(groups, group).sidefile(range));
    addImageRoute(app, (group, volume) => groupIn(groups, group).image(volume));
    addStopRoute(app, (force) => {
      const outcome = stopOutcome(orders.status().groups, force);
      // As if by a signal, once the answer is on its way: the listeners and the copies are closed in order.
      if (outcome.kind === 'done') setImmediate(() => process.kill(process.pid, 'SIGTERM'));
      return outcome;
    });
    const here = (wanted: string): GroupRunner | null => groups.find(({ group }) => group === wanted) ?? null;
    addVerifyRoutes(app, here);
    addPointRoutes(app, here);
  };
  const control = await startControl(orders, site.control, { log: journal, more });
  closers.push(() => control.close());
  if (site.remoteControl !== null && parts.tls !== null) {
    const remote = await startControl(orders, site.remoteControl, { log: journal, more, callers: callersBy(parts.tls) });
    closers.push(() => remote.close());
  }
  if (site.page !== null) {
    const { page: address, pageTokenFile: tokenFile } = site;
    const others = otherPages(config, name);
    const page = await startPage({ address, tokenFile, site: name, others, control: orders, journal, more: looks });
    closers.push(() => page.close());
  }
  return { orders, reload };
}

/** A line for the service manager: db primary, serving; web mirror. */
function summaryOf({ groups }: DaemonStatus): string {
  if (groups.length === 0) return 'no group has a copy here';
  return groups
    .map(({ group, role, serving, failure }) => `${group} ${role}${serving ? ', serving' : ''}${failure === null ? '' : `: ${failure}`}`)
    .join('; ');
}

function readyFacts(site: SiteConfig, groups: readonly GroupRunner[]): Record<string, unknown> {
  return {
    pid: process.pid,
    version: VERSION,
    groups: groups.map((group) => group.group),
    link: site.link.text,
    nbd: site.nbd.map((address) => address.text),
    control: site.control.text,
  };
}

/** The certificates of a site; null where links are not encrypted. Throws TERCET_TLS. */
export function openTls(config: Config, name: SiteName): TlsMaterial | null {
  const files = tlsFilesOf(config, name);
  return files === null ? null : new TlsMaterial(files, { kind: 'site', name });
}

function openWitnessClient(config: Config, tls: TlsMaterial | null, closers: Closer[]): WitnessClient {
  const { address } = config.witness;
  if (address.kind !== 'tcp') throw new TercetError('TERCET_BAD_REQUEST', { what: 'the witness', reason: 'its address must be HOST:PORT' });
  const client = new WitnessClient({ host: address.host, port: address.port, tls: tls ?? undefined });
  closers.push(async () => client.close());
  return client;
}

function groupIn(groups: readonly GroupRunner[], name: string): GroupRunner {
  const group = groups.find((each) => each.group === name);
  if (group !== undefined) return group;
  throw new TercetError('TERCET_NO_SUCH_GROUP', { group: name, known: groups.map((each) => each.group).join(', ') });
}

function controlOf(
  site: SiteName,
  groups: readonly GroupRunner[],
  { certificates, watch }: { readonly certificates: CertificateWatch | null; readonly watch: Watch },
): Control {
  const find = (name: string): GroupRunner => groupIn(groups, name);
  const sorted = [...groups].sort((a, b) => (a.group < b.group ? -1 : 1));
  return {
    status: (): DaemonStatus => {
      const statuses = sorted.map((group) => group.status());
      const tls = certificates?.status() ?? null;
      return { site, version: VERSION, tls, groups: statuses, rpoBreaches: watch.breaches(statuses) };
    },
    // Async, so that a group that is not here is a rejected order like any other.
    explain: async (group) => find(group).explain(),
    create: async (group) => find(group).create(),
    promote: async (group, options) => find(group).promote(options),
    switchover: async (group, order) => find(group).switchover(order),
    replaceWitness: async (group) => find(group).replaceWitness(),
    drain: async (group) => find(group).drain(),
    resync: async (group, order) => find(group).resync(order),
    pause: async (group, order) => find(group).pause(order),
    resume: async (group, site) => find(group).resume(site),
  };
}
