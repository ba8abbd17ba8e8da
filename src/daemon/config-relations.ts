// What must hold between the parts of a configuration. Each check looks at the parts that are sound by themselves, so that one wrong value does
// not hide the faults around it.

import { isAbsolute, relative } from 'node:path';

import type { Address } from '../api/address.ts';
import { isLocal } from '../api/address.ts';
import type { SiteName } from '../core/base/units.ts';
import type { ConfigFaults } from './config-faults.ts';
import { nearest } from './config-faults.ts';
import type { GroupDraft, SiteDraft } from './config-draft.ts';
import type { KeyPath } from './toml-places.ts';

interface Listener {
  readonly path: KeyPath;
  readonly address: Address;
  /** Listeners of one machine must not share an address. */
  readonly machine: string;
}

/** The machine of an address, as far as the file shows it: all loopback addresses are this one. */
function machineOf(address: Address): string {
  return address.kind === 'unix' || isLocal(address) ? 'this machine' : address.host;
}

const ANY_HOSTS = ['0.0.0.0', '::'];

/** Who listens where: no address twice on one machine, none that others cannot connect to, none in the open by accident. */
export function checkAddresses(
  config: { insecure: boolean; encrypted: boolean; witness: Address | undefined; sites: readonly SiteDraft[] },
  faults: ConfigFaults,
): void {
  const { encrypted, insecure, witness, sites } = config;
  const connected: Listener[] = [];
  const listeners: Listener[] = [];
  if (witness !== undefined) connected.push({ path: ['witness', 'address'], address: witness, machine: machineOf(witness) });
  for (const site of sites) {
    const machine = site.link === undefined ? `site ${site.name}` : machineOf(site.link);
    if (site.link !== undefined) connected.push({ path: [...site.path, 'link'], address: site.link, machine });
    for (const [index, address] of (site.nbd ?? []).entries()) listeners.push({ path: [...site.path, 'nbd', index], address, machine });
    if (site.page !== undefined) listeners.push({ path: [...site.path, 'page'], address: site.page, machine });
    if (site.control !== undefined) checkControl(site, site.control, faults);
    if (site.control !== undefined) listeners.push({ path: [...site.path, 'control'], address: site.control, machine });
    if (site.remoteControl !== undefined) {
      const path = [...site.path, 'remote_control'];
      // On the machine of an administrator anybody could listen at a loopback port, and be taken for the site.
      if (site.control?.kind === 'tcp')
        faults.wrong([...site.path, 'control'], site.control.text, 'must be unix:/PATH where there is a remote_control');
      // Whoever connects has to prove who it is: there is no way to do without.
      if (encrypted) connected.push({ path, address: site.remoteControl, machine });
      else faults.wrong(path, site.remoteControl.text, 'needs certificates: add [tls] with ca, cert and key');
    }
  }
  for (const { path, address } of connected) {
    if (address.kind === 'tcp' && ANY_HOSTS.includes(address.host)) {
      faults.wrong(path, address.text, 'must be the address that the other sites connect to, not a wildcard');
    }
  }
  const pages = listeners.filter((listener) => listener.path.at(-1) === 'page');
  const hosts = listeners.filter((listener) => listener.path.at(-1) !== 'control' && !pages.includes(listener));
  const remedy = 'put "insecure = true" at the top of the file if this network is trusted';
  const refuse = ({ path, address }: Listener, why: string): void => {
    if (!insecure && !isLocal(address)) faults.wrong(path, address.text, `must be a loopback address, because ${why}, or ${remedy}`);
  };
  if (!encrypted) for (const each of connected) refuse(each, 'without [tls] nothing is encrypted; add [tls] with ca, cert and key');
  const secured = sites.filter((site) => encrypted && site.nbdTls === 'required').map((site) => site.name);
  const open = hosts.filter(({ path }) => !secured.includes(String(path[1])));
  const how = encrypted ? 'set nbd_tls = "required" for the site' : 'add [tls] and set nbd_tls = "required" for the site';
  for (const each of open) refuse(each, `connections of hosts need not be encrypted; ${how}, or use a unix socket`);
  for (const { nbdTls, path } of sites) {
    if (!encrypted && nbdTls !== undefined && nbdTls !== 'off')
      faults.wrong([...path, 'nbd_tls'], nbdTls, 'needs certificates: add [tls] with ca, cert and key');
  }
  for (const each of pages) refuse(each, 'the page is not encrypted; look at it through ssh -L');
  checkDoubles([...connected, ...listeners], faults);
}

function checkControl(site: SiteDraft, control: Address, faults: ConfigFaults): void {
  if (isLocal(control)) return;
  faults.wrong(
    [...site.path, 'control'],
    control.text,
    'must be unix:/PATH or a loopback address: without [tls] it obeys whoever can connect',
  );
}

function checkDoubles(listeners: readonly Listener[], faults: ConfigFaults): void {
  for (const [index, one] of listeners.entries()) {
    const other = listeners.slice(0, index).find((earlier) => earlier.machine === one.machine && clash(earlier.address, one.address));
    if (other === undefined) continue;
    faults.wrong(one.path, one.address.text, `is the address of ${other.path.join('.')} too: give each listener its own`);
  }
}

function clash(a: Address, b: Address): boolean {
  if (a.kind === 'unix' || b.kind === 'unix') return a.kind === 'unix' && b.kind === 'unix' && a.path === b.path;
  if (a.port !== b.port) return false;
  return a.host === b.host || ANY_HOSTS.includes(a.host) || ANY_HOSTS.includes(b.host);
}

/** Sites of one machine must not share a data folder, nor two volumes of one site a base image. */
export function checkFolders(sites: readonly SiteDraft[], groups: readonly GroupDraft[], faults: ConfigFaults): void {
  for (const [index, one] of sites.entries()) {
    const { data, link } = one;
    if (data === undefined || link === undefined) continue;
    const other = sites
      .slice(0, index)
      .find(
        (earlier) =>
          earlier.data !== undefined &&
          earlier.link !== undefined &&
          machineOf(earlier.link) === machineOf(link) &&
          overlap(earlier.data, data),
      );
    if (other === undefined) continue;
    faults.wrong([...one.path, 'data'], data, `overlaps with site.${other.name}.data on the same machine: give each site its own folder`);
  }
  const images = new Map<string, KeyPath>();
  for (const volume of groups.flatMap((group) => group.volumes)) {
    for (const [site, file] of volume.base) {
      const path = [...volume.path, 'base', site];
      const key = `${site} ${file}`;
      const earlier = images.get(key);
      if (earlier === undefined) images.set(key, path);
      else faults.wrong(path, file, 'is the base of another volume of that site too: give each volume its own');
    }
  }
}

function overlap(a: string, b: string): boolean {
  const within = (outer: string, inner: string): boolean => {
    const way = relative(outer, inner);
    return way !== '..' && !way.startsWith('../') && !isAbsolute(way);
  };
  return within(a, b) || within(b, a);
}

/** The sites that a group names, and the names of its volumes. `siteNames`: of all sites of the file; null when the file has no sound list of them. */
export function checkSites(group: GroupDraft, siteNames: readonly SiteName[] | null, faults: ConfigFaults): void {
  const { fields, path } = group;
  const sites = fields.sites ?? [];
  const known = siteNames ?? sites;
  for (const [index, site] of sites.entries()) {
    const place = [...path, 'sites', index];
    if (!known.includes(site)) faults.wrong(place, site, noSite(site, known));
    else if (sites.indexOf(site) < index) faults.wrong(place, site, 'is named twice: remove one');
  }
  const async = fields.async ?? [];
  for (const key of ['async', 'bitmap_only'] as const) {
    const named = fields[key] ?? [];
    for (const [index, site] of named.entries()) {
      const place = [...path, key, index];
      if (fields.sites !== undefined && !sites.includes(site))
        faults.wrong(place, site, `is not among the sites of the group: ${sites.join(', ')}`);
      else if (named.indexOf(site) < index) faults.wrong(place, site, 'is named twice: remove one');
    }
  }
  for (const site of Object.keys(fields.overflow ?? {})) {
    if (fields.sites !== undefined && !sites.includes(site))
      faults.about([...path, 'overflow', site], `is not among the sites of the group: ${sites.join(', ')}`);
    else if (fields.overflow?.[site] !== 'bitmap' && (fields.sidefile_records ?? 0) > 0)
      faults.about(
        [...path, 'overflow', site],
        'must be "bitmap" with sidefile_records: the oldest records are overwritten, and writers wait for nobody',
      );
    else if (fields.overflow?.[site] !== 'bitmap' && fields.bitmap_only?.includes(site) === true)
      faults.about(
        [...path, 'overflow', site],
        'must be "bitmap" for a site that is bitmap_only: no records are held for which writers could wait',
      );
  }
  for (const [site, where] of Object.entries(fields.sidefile ?? {})) {
    if (where === 'memory' && sites.includes(site) && fields.async !== undefined && !async.includes(site))
      faults.wrong(
        [...path, 'sidefile', site],
        where,
        `must be "disk" for a sync site, which may have to serve what hosts were told is safe: name ${site} in async, or leave it out`,
      );
  }
  for (const key of ['link_mib_per_second', 'compress', 'streams', 'fold_millis', 'sidefile'] as const) {
    for (const site of Object.keys(fields[key] ?? {})) {
      if (fields.sites !== undefined && !sites.includes(site))
        faults.about([...path, key, site], `is not among the sites of the group: ${sites.join(', ')}`);
    }
  }
  if (sites.length > 0 && sites.every((site) => async.includes(site)))
    faults.about([...path, 'async'], 'names every site of the group, but none of them could serve by itself: leave one out');
  checkVolumes(group, known, faults);
}

function noSite(site: SiteName, known: readonly SiteName[]): string {
  const near = nearest(site, known);
  return `is not a site of this file; ${near === null ? `known are ${known.join(', ')}` : `did you mean "${near}"?`}`;
}

function checkVolumes(group: GroupDraft, knownSites: readonly SiteName[], faults: ConfigFaults): void {
  for (const [index, volume] of group.volumes.entries()) {
    const twin = group.volumes.findIndex((other) => other.name !== undefined && other.name === volume.name);
    if (twin >= 0 && twin < index)
      faults.wrong([...volume.path, 'name'], volume.name, 'is the name of another volume of the group: rename one');
    const sites = group.fields.sites ?? knownSites;
    for (const [site, file] of volume.base) {
      if (!sites.includes(site))
        faults.wrong([...volume.path, 'base', site], file, `is for a site that the group does not have: ${sites.join(', ')}`);
    }
  }
}

/** Fewer would be on their way to a copy that lags by nothing. */
const RECORDS_MIN = 10_000;

/** How the numbers of a group must relate. */
export function checkNumbers(group: GroupDraft, faults: ConfigFaults): void {
  const { fields, path } = group;
  const {
    lease_millis: lease,
    heartbeat_millis: heartbeat,
    peer_timeout_millis: timeout,
    segment_mib: segment,
    sidefile_mib: sidefile,
    sidefile_min_mib: least,
    sidefile_records: records,
    destage_backlog_mib: backlog,
    bitmap_kib: bitmap,
    scan_unit_mib: unit,
  } = fields;
  if (lease !== undefined && heartbeat !== undefined && heartbeat * 3 >= lease) {
    const text = `must be less than a third of lease_millis (${lease}), so that two lost heartbeats end nothing: at most ${Math.ceil(lease / 3) - 1}`;
    faults.wrong([...path, 'heartbeat_millis'], heartbeat, text);
  }
  if (timeout !== undefined && heartbeat !== undefined && timeout < heartbeat * 2) {
    faults.wrong([...path, 'peer_timeout_millis'], timeout, `must be at least two heartbeats: ${heartbeat * 2} or more`);
  }
  if (timeout !== undefined && lease !== undefined && timeout > lease) {
    const text = `must be at most lease_millis (${lease}): service would stop before a silent peer is excluded`;
    faults.wrong([...path, 'peer_timeout_millis'], timeout, text);
  }
  if (segment !== undefined && sidefile !== undefined && segment * 4 > sidefile) {
    const text = `must be at most a quarter of sidefile_mib (${sidefile}), because whole segments are given back: at most ${Math.floor(sidefile / 4)}`;
    faults.wrong([...path, 'segment_mib'], segment, text);
  }
  if (least !== undefined && sidefile !== undefined && least > sidefile)
    faults.wrong([...path, 'sidefile_min_mib'], least, `must be at most sidefile_mib (${sidefile})`);
  if (records !== undefined && records > 0 && records < RECORDS_MIN)
    faults.wrong([...path, 'sidefile_records'], records, `must be 0 or at least ${RECORDS_MIN}: what is on its way to a copy counts too`);
  if (backlog !== undefined && sidefile !== undefined && backlog * 2 > sidefile) {
    const text = `must be at most half of sidefile_mib (${sidefile}): at most ${Math.floor(sidefile / 2)}`;
    faults.wrong([...path, 'destage_backlog_mib'], backlog, text);
  }
  if (bitmap !== undefined && bitmap % 4 !== 0)
    faults.wrong([...path, 'bitmap_kib'], bitmap, 'must be a multiple of 4, the size of a block');
  if (unit !== undefined && 2 ** Math.round(Math.log2(unit)) !== unit)
    faults.wrong([...path, 'scan_unit_mib'], unit, 'must be a power of two, because coarse digests are made of finer ones');
}
