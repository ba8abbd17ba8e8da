// One site's daemon: all its groups, its listeners for hosts, peers and commands, and the witness's client.

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
import type { Journal } from '../core/base/ports.ts';
import { DiskError } from '../core/base/ports.ts';
import type { SiteName } from '../core/base/units.ts';
import { HostMemory } from '../core/nbd/memory.ts';
import type { NbdListener } from '../host/nbd-listener.ts';
import type { PassedSocket } from '../host/passed-sockets.ts';
import { passedForNone } from '../host/passed-sockets.ts';
import { addressText } from '../host/stream-address.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import { streamAddress } from './addresses.ts';
import { callersBy } from './callers.ts';
import type { Config, SiteConfig } from './config.ts';
import { siteOf } from './config.ts';
import { Exports } from './exports.ts';
import { type Closer, closeHosts, diskError, openGround, openHosts, openTls } from './ground.ts';
import { Groups } from './groups.ts';
import type { LiveGroup } from './live-group.ts';
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
    throw error instanceof DiskError ? diskError(error) : error;
  }
}

async function open(config: Config, name: SiteName, lines: Journal, { closers, passed }: Opening): Promise<Omit<Running, 'close'>> {
  const site = siteOf(config, name);
  const watch = new Watch({ site: name, settings: watchSettings(config, site), journal: lines });
  const { journal } = watch;
  const tls = openTls(config, name);
  const certificates = tls === null ? null : new CertificateWatch(tls, journal);
  closers.push(async () => certificates?.stop());
  const groups = new Groups(config, name, journal);
  const { shares } = groups;
  const dropHosts = (group: string, reason: string): void => {
    exports.drop(group);
    // With one group, every connection is the group's: those that have nothing under way end at once, too.
    if (groups.count === 1) nbd?.dropAll(reason, (session) => exports.readsPoint(session));
    parts.turns.arm();
  };
  let nbd: NbdListener | null = null;
  const parts = openGround({ config, site, journal, tls, dropHosts, shares }, closers);
  const { findSite, takerOf } = groups;
  const peers = new PeerListener({ ...parts, findSite, ...(config.groups.some(({ thread }) => thread) && { takerOf }) });
  closers.push(() => peers.gone());
  closers.push(() => groups.stop());
  await groups.open(parts, { happened: (draft) => watch.happened(draft), adopt: (host, gone) => nbd?.adopt(host, gone) });
  if (certificates !== null) certificates.also = groups.readCertificates;
  const exports = new Exports(groups.all, parts.buffers, { memory: new HostMemory(site.nbdMemoryBytes / shares) });

  // Closed after the hosts and before the groups: what is asked last is answered.
  const { orders, reload } = await openControl({ config, site, groups, watch, certificates, tls }, closers);
  const hosts = await openHosts(exports, parts, { listen: site.nbd.map(streamAddress), passed, move: groups.moveHost });
  nbd = hosts;
  closers.push(async () => {
    await Promise.all([closeHosts(hosts), groups.endHosts()]);
  });
  await peers.open();
  closers.push(async () => peers.stop());
  closers.push(async () => watch.stop());
  watch.start(
    () => orders.status(),
    () => groups.takeLoopDelaySecondsMax(),
  );
  groups.start();
  journal('ready', readyFacts(site, groups.all), `site ${name} is ready`);
  return {
    reload: reload.bySignal,
    summary: () => summaryOf(orders.status()),
    isAlive: () => groups.areAlive,
    unended: () => groups.unended,
  };
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
  readonly groups: Groups;
  readonly watch: Watch;
  readonly certificates: CertificateWatch | null;
  readonly tls: TlsMaterial | null;
}

/** The control API, with everything that can be asked and ordered there, and the page. */
async function openControl(parts: ControlParts, closers: Closer[]): Promise<{ orders: Control; reload: Reloader }> {
  const { config, site, watch, certificates } = parts;
  const groups = parts.groups.all;
  const { name } = site;
  const { journal } = watch;
  const orders = controlOf(parts);
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
    const here = (wanted: string): LiveGroup | null => groups.find(({ group }) => group === wanted) ?? null;
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

function readyFacts(site: SiteConfig, groups: readonly LiveGroup[]): Record<string, unknown> {
  return {
    pid: process.pid,
    version: VERSION,
    groups: groups.map((group) => group.group),
    link: site.link.text,
    nbd: site.nbd.map((address) => address.text),
    control: site.control.text,
  };
}

function groupIn(groups: readonly LiveGroup[], name: string): LiveGroup {
  const group = groups.find((each) => each.group === name);
  if (group !== undefined) return group;
  throw new TercetError('TERCET_NO_SUCH_GROUP', { group: name, known: groups.map((each) => each.group).join(', ') });
}

function controlOf({ site, groups: parts, certificates, watch }: ControlParts): Control {
  const groups = parts.all;
  const find = (name: string): LiveGroup => groupIn(groups, name);
  const sorted = [...groups].sort((a, b) => (a.group < b.group ? -1 : 1));
  return {
    status: (): DaemonStatus => {
      const statuses = sorted.map((group) => group.status());
      const tls = certificates?.status() ?? null;
      return { site: site.name, version: VERSION, tls, groups: statuses, rpoBreaches: watch.breaches(statuses) };
    },
    refresh: () => parts.refresh(),
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
