// Reading the configuration again while the daemon runs: what has changed, what of that takes effect now, and what only with the next start. Said
// key by key, as the file names them, so that nobody has to guess what a daemon runs with.

import { parse } from 'smol-toml';

import { TercetError } from '../core/base/errors.ts';
import type { Journal } from '../core/base/ports.ts';
import type { SiteName } from '../core/base/units.ts';
import type { CertificateWatch, ReadAgain } from './certificates.ts';
import type { Config } from './config.ts';
import { loadConfig, siteOf } from './config.ts';

/** One key that differs. */
export interface ConfigChange {
  /** As in the file: group.db.rpo_seconds. */
  readonly key: string;
  /** The value as JSON; null: the key was, or is, not there. */
  readonly was: string | null;
  readonly now: string | null;
  /** `agreed`: once every site has read the same; `elsewhere`: it is a matter of another site's daemon. */
  readonly takes: 'now' | 'agreed' | 'restart' | 'elsewhere';
}

/** What a reload has found, and done. */
export interface ReloadReport {
  readonly file: string;
  readonly changes: readonly ConfigChange[];
  /** What was read earlier and waits for a restart of this daemon still: what it runs with, and what the file says. */
  readonly pending: readonly ConfigChange[];
  /** Null: this configuration has none. */
  readonly certificates: ReadAgain | null;
}

/** Keys that take effect without a restart. */
const LIVE_KEYS: readonly RegExp[] = [/^site\.[^.]+\.hooks$/, /^group\.[^.]+\.rpo_(seconds|alert_percent)$/];

/** Keys that the primary puts into effect, once every site that it is connected to has read the same. */
const AGREED_KEY = /^group\.[^.]+\.async$/;

/** Takes effect without a restart where it was there before, as the size of a volume that there is. */
const SIZE_KEY = /^group\.[^.]+\.volume\[[^\]]+\]\.size$/;

/** Keys of another site by which this one reaches it. */
const REACHED_BY: ReadonlySet<string> = new Set(['link', 'nbd', 'nbd_tls']);

/** Differences of two texts of a configuration, both sound, as seen by a site's daemon. Sorted by key. */
export function changesOf(before: string, after: string, site: string): readonly ConfigChange[] {
  const was = leavesOf(parse(before));
  const now = leavesOf(parse(after));
  const keys = [...new Set([...was.keys(), ...now.keys()])].sort();
  return keys.flatMap((key) => {
    const [old, young] = [was.get(key) ?? null, now.get(key) ?? null];
    const grows = SIZE_KEY.test(key) && old !== null && young !== null;
    return old === young ? [] : [{ key, was: old, now: young, takes: grows ? 'now' : takes(key, site) }];
  });
}

function takes(key: string, site: string): ConfigChange['takes'] {
  const named = /^site\.([^.]+)\.(.+)$/.exec(key);
  // How the others are reached is this site's matter, too.
  if (named !== null && named[1] !== site && !REACHED_BY.has(named[2] as string)) return 'elsewhere';
  if (AGREED_KEY.test(key)) return 'agreed';
  return LIVE_KEYS.some((live) => live.test(key)) ? 'now' : 'restart';
}

/** Every value of a document that is no table, by its key; a list of tables counts by their names. */
function leavesOf(document: unknown): ReadonlyMap<string, string> {
  const leaves = new Map<string, string>();
  const walk = (value: unknown, key: string): void => {
    if (Array.isArray(value) && value.some((each) => typeof each === 'object')) {
      value.forEach((each, index) => walk(each, `${key}[${nameOf(each) ?? index}]`));
    } else if (typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)) {
      for (const [name, each] of Object.entries(value)) walk(each, key === '' ? name : `${key}.${name}`);
    } else
      leaves.set(
        key,
        JSON.stringify(value, (_name, each: unknown) => (typeof each === 'bigint' ? String(each) : each)),
      );
  };
  walk(document, '');
  return leaves;
}

function nameOf(table: unknown): string | null {
  return typeof table === 'object' && table !== null && 'name' in table && typeof table.name === 'string' ? table.name : null;
}

/** One line for the log. */
function reloadText({ file, changes, pending }: ReloadReport): string {
  const waits = pending.length === 0 ? '' : `; since earlier ${pending.map(({ key }) => key).join(', ')} needs a restart of this daemon`;
  if (changes.length === 0) return `${file} was read again: nothing has changed since it was read last${waits}`;
  const keys = (wanted: ConfigChange['takes']): string =>
    changes
      .filter(({ takes: when }) => when === wanted)
      .map(({ key }) => key)
      .join(', ');
  const parts = [
    [keys('now'), 'takes effect now'],
    [keys('agreed'), 'takes effect once every site has read the same'],
    [keys('restart'), 'needs a restart of this daemon'],
    [keys('elsewhere'), 'is a matter of other sites'],
  ].flatMap(([names, text]) => (names === '' ? [] : [`${names} ${text}`]));
  return `${file} was read again: ${parts.join('; ')}${waits}`;
}

/** What a daemon reads again, and whom that concerns. */
export interface ReloaderOptions {
  /** What it runs with. */
  readonly config: Config;
  readonly name: SiteName;
  readonly journal: Journal;
  readonly certificates: CertificateWatch | null;
  /** Whether there is a copy of a group here. */
  readonly hasCopy: (group: string) => boolean;
  /** Carries out what takes effect at once. */
  readonly apply: (next: Config) => void;
}

/** `force`: also if it leaves a group a single sync site. `dryRun`: only says what it would come to. */
export interface ReloadOrder {
  readonly force: boolean;
  readonly dryRun: boolean;
}

/** Reads again by order, which is told everything, and by signal, which can be told nothing. */
export interface Reloader {
  /**
   * Throws TERCET_CONFIG, TERCET_CONFIG_UNREADABLE, TERCET_VOLUMES_CHANGED, TERCET_VOLUME_SHRINKS and, but with `force`, TERCET_LAST_SYNC_COPY: then
   * nothing was changed, as with `dryRun`.
   */
  readonly byOrder: (options: ReloadOrder) => ReloadReport;
  readonly bySignal: () => void;
}

/** Throws TERCET_VOLUMES_CHANGED when a group that has a copy here has other volumes than before: names stand in its superblock. */
export function refuseOthers(before: Config, after: Config, hasCopy: (group: string) => boolean): void {
  for (const { name: group, volumes } of after.groups) {
    const known = before.groups.find(({ name }) => name === group);
    if (known === undefined || !hasCopy(group)) continue;
    const names = (of: typeof volumes): string => of.map(({ name }) => name).join(', ');
    const [had, wanted] = [names(known.volumes), names(volumes)];
    if (had !== wanted) throw new TercetError('TERCET_VOLUMES_CHANGED', { group, had, wanted });
  }
}

/** Throws TERCET_VOLUME_SHRINKS when a volume is smaller than before. */
export function refuseSmaller(before: Config, after: Config): void {
  for (const { name: group, volumes } of after.groups) {
    const known = before.groups.find(({ name }) => name === group)?.volumes ?? [];
    for (const { name: volume, sizeBytes } of volumes) {
      const had = known.find(({ name }) => name === volume)?.sizeBytes ?? 0;
      if (sizeBytes < had) throw new TercetError('TERCET_VOLUME_SHRINKS', { group, volume, had, wanted: sizeBytes });
    }
  }
}

/** Throws TERCET_LAST_SYNC_COPY when a group had several sync sites and has one now. */
export function refuseAlone(before: Config, after: Config): void {
  const syncOf = (config: Config, group: string): readonly SiteName[] =>
    (config.groups.find(({ name }) => name === group)?.sites ?? []).filter(({ mode }) => mode === 'sync').map(({ name }) => name);
  for (const { name: group } of after.groups) {
    const [site, ...others] = syncOf(after, group);
    if (site !== undefined && others.length === 0 && syncOf(before, group).length > 1)
      throw new TercetError('TERCET_LAST_SYNC_COPY', { group, site });
  }
}

/** What needs a restart still, beside what has changed just now. */
function pendingOf(
  running: Config,
  next: Config,
  { name, changes }: { name: SiteName; changes: readonly ConfigChange[] },
): readonly ConfigChange[] {
  const told = new Set(changes.map(({ key }) => key));
  return changesOf(running.text, next.text, name).filter(({ key, takes: when }) => when === 'restart' && !told.has(key));
}

/** Reads the configuration and the certificates again, each time against what was read last. */
export function reloader({ config, name, journal, certificates, hasCopy, apply }: ReloaderOptions): Reloader {
  let current = config;
  const byOrder = ({ force, dryRun }: ReloadOrder): ReloadReport => {
    const pems = dryRun ? null : (certificates?.reload() ?? null);
    const next = loadConfig(config.file);
    siteOf(next, name);
    refuseOthers(current, next, hasCopy);
    refuseSmaller(current, next);
    if (!force) refuseAlone(current, next);
    const changes = changesOf(current.text, next.text, name);
    const report = { file: config.file, changes, pending: pendingOf(config, next, { name, changes }), certificates: pems };
    if (dryRun) return report;
    current = next;
    apply(next);
    journal('reload', { changes, pending: report.pending }, reloadText(report));
    return report;
  };
  const bySignal = (): void => {
    try {
      byOrder({ force: false, dryRun: false });
    } catch (error) {
      if (!(error instanceof TercetError)) throw error;
      journal('reload.failed', { code: error.code }, `the configuration in use stays in use: ${error.message}`);
    }
  };
  return { byOrder, bySignal };
}
