// What is going on, for people: a table that is drawn anew each second, or one plain line for each change where there is no terminal.

import type { WitnessView } from './witness.ts';
import type { SiteStatus } from './cluster.ts';

/** One site as the picture shows it. */
export interface SiteScene {
  readonly name: string;
  /** primary, near or far: what the site is for when all is well. */
  readonly part: string;
  /** Process id; null when there is no process. */
  readonly pid: number | null;
  /** Why there is none; null when nobody knows of an end. */
  readonly ending: string | null;
  /** Null when it does not answer. */
  readonly status: SiteStatus | null;
}

/** Everything that a picture shows, as of one moment. */
export interface Scene {
  /** performance.now() of the moment. */
  readonly atMillis: number;
  readonly sites: readonly SiteScene[];
  /** Null when the witness does not answer or knows no such group. */
  readonly witness: WitnessView | null;
}

const KIB = 1024;

/** 1536 → '1.5 KiB'. */
export function bytesText(byteCount: number): string {
  let value = byteCount;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < KIB || unit === 'GiB') return `${unit === 'B' || value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`;
    value /= KIB;
  }
  return `${byteCount} B`;
}

function countText(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** What a site does, in a few words. */
function stateText({ status, pid, ending }: SiteScene): string {
  if (pid === null) return ending === null ? 'not started' : `gone (${ending})`;
  if (status === null) return 'does not answer';
  if (status.role === 'failed') return `failed: ${status.failure ?? 'no reason known'}`;
  if (status.role !== 'primary') return status.role;
  return status.serving ? `SERVES, ${status.protection ?? 'unknown'}` : 'primary, may not serve now';
}

/** The site that serves. */
function servingSite(scene: Scene): SiteScene | null {
  return scene.sites.find((site) => site.status?.serving === true) ?? null;
}

function flagText(scene: Scene, name: string): string {
  const copy = scene.witness?.copies.find((each) => each.site === name);
  return copy === undefined ? '?' : String(copy.flag);
}

/** How far a site is behind the one that serves; empty for that one itself, and where nobody knows. */
function lagText(scene: Scene, name: string): string {
  const peer = servingSite(scene)?.status?.peers.find((each) => each.site === name);
  if (peer === undefined) return '';
  if (!peer.connected) return 'not connected';
  if (peer.attached === 'copying') return `copying: ${bytesText(peer.copiedBytes ?? 0)} of ${bytesText(peer.copyTotalBytes ?? 0)}`;
  if (peer.lagRecords === null) return peer.attached === 'joining' ? 'joining' : 'unknown';
  if (peer.lagRecords === 0) return 'in step';
  return `${countText(peer.lagRecords)} records, ${bytesText(peer.lagBytes ?? 0)}, ${(peer.lagSeconds ?? 0).toFixed(1)} s`;
}

const COLUMNS = ['site', 'part', 'pid', 'state', 'flag', 'epoch', 'received', 'durable', 'destaged', 'behind'] as const;

function row(scene: Scene, site: SiteScene): readonly string[] {
  const marks = site.status?.marks ?? null;
  const positions = marks === null ? ['', '', ''] : [countText(marks.received), countText(marks.durable), countText(marks.destaged)];
  const epoch = site.status === null ? '' : String(site.status.epoch);
  const pid = site.pid === null ? '' : String(site.pid);
  return [site.name, site.part, pid, stateText(site), flagText(scene, site.name), epoch, ...positions, lagText(scene, site.name)];
}

/** The table of sites. */
export function tableLines(scene: Scene): readonly string[] {
  const rows = [COLUMNS, ...scene.sites.map((site) => row(scene, site))];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((cells) => (cells[column] ?? '').length)));
  const lines = rows.map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return [...lines, witnessText(scene)];
}

function witnessText({ witness }: Scene): string {
  if (witness === null) return 'witness: does not answer';
  return `witness: epoch ${witness.epoch}, primary ${witness.primary ?? 'none'}, revision ${witness.revision}`;
}

/** What the serving site did for hosts between two moments, per second. */
export function throughputLine(before: Scene | null, now: Scene): string {
  const site = servingSite(now);
  if (site?.status === null || site === null) return 'nobody serves';
  const old = before?.sites.find((each) => each.name === site.name)?.status ?? null;
  const seconds = before === null ? 0 : (now.atMillis - before.atMillis) / 1000;
  const { counters } = site.status;
  const rate = (counter: keyof typeof counters): number =>
    old === null || seconds <= 0 ? 0 : Math.max(0, (counters[counter] - old.counters[counter]) / seconds);
  const parts = [
    `writes ${countText(rate('writes'))}/s, ${bytesText(rate('writtenBytes'))}/s`,
    `reads ${countText(rate('reads'))}/s, ${bytesText(rate('readBytes'))}/s`,
    `flushes ${countText(rate('flushes'))}/s`,
    `to peers ${bytesText(rate('sentBytes'))}/s`,
  ];
  return parts.join('   ');
}

/** Sentences of the sites about what they wait for, and about what went wrong last. */
export function troubleLines(scene: Scene): readonly string[] {
  const lines: string[] = [];
  for (const { name, status } of scene.sites) {
    for (const waiting of status?.waiting ?? []) lines.push(`${name} waits ${waiting.what}: ${waiting.cause}; then ${waiting.next}`);
    if (status !== null && !status.consistent && status.role !== 'absent' && status.role !== 'starting')
      lines.push(`the copy at ${name} is not whole yet`);
  }
  return lines;
}

/** The state in one line, without anything that moves all the time: two scenes with equal lines need not both be told. */
export function changeLine(scene: Scene): string {
  const sites = scene.sites.map((site) => {
    const epoch = site.status === null || site.status.epoch === 0 ? '' : `, epoch ${site.status.epoch}`;
    const lag = lagText(scene, site.name);
    const behind = lag === '' || lag === 'in step' || /^[0-9]/.test(lag) ? '' : `, ${lag.replace(/:.*/, '')}`;
    return `${site.name} ${stateText(site)}${epoch}, flag ${flagText(scene, site.name)}${behind}`;
  });
  return [...sites, scene.witness === null ? 'the witness does not answer' : 'witness answers'].join('; ');
}
