// The picture of `tercet status --watch`: what the sites have said of themselves, as lines that fit a terminal. Only what was said and measured is
// shown; what is not known is a dash. Says the same without colours.

import type { EventLine, PeerStatus, SiteStatus } from '../api/schema.ts';
import type { GroupReport, StatusReport } from './status-report.ts';
import { leftText } from '../api/summary.ts';
import { bytesText, countText, secondsText } from '../api/text.ts';

/** What a piece of text is, for terminals with colours. */
export type Tone = 'plain' | 'good' | 'bad' | 'dim' | 'strong';

/** Pieces of a line, from left to right. */
export type Line = readonly (readonly [Tone, string])[];

/** What happens in a second at a site, as counted between two looks. */
export interface Rates {
  readonly writes: number;
  readonly writtenBytes: number;
  readonly reads: number;
  readonly readBytes: number;
  readonly flushes: number;
  readonly sentBytes: number;
  /** Bytes of the volume that a resync has passed, by the peer that is brought up to date. */
  readonly resyncBytes: Readonly<Record<string, number>>;
}

/** What the picture shows, as of one moment. */
export interface Scene {
  readonly time: Date;
  readonly report: StatusReport;
  /** Sites of each group, in the order of the configuration, with their modes. */
  readonly sites: ReadonlyMap<string, readonly { readonly name: string; readonly mode: 'sync' | 'async' }[]>;
  /** By group and site; missing until there were two looks. */
  readonly rates: ReadonlyMap<string, Rates>;
  /** Oldest first. */
  readonly events: readonly EventLine[];
}

const plain = (text: string): Line => [['plain', text]];
const EVENT_LINES_MIN = 4;
const BAR_CELLS = 24;
const FOLD_INDENT = 6;
/** In a terminal that is narrower still, lines are cut. */
const FOLD_COLUMNS_MIN = 40;

/** Key of a site's part in a group in Scene.rates. */
export function rateKey(group: string, site: string): string {
  return `${group} ${site}`;
}

/** Everything, whether it fits or not: groups first, in lines as long as the terminal's, then the newest events in what room is left, at least some. */
export function sceneLines(scene: Scene, { columns, rows }: { readonly columns: number; readonly rows: number }): readonly Line[] {
  const head = headLines(scene).flatMap((line) => foldLine(line, columns));
  const body = scene.report.groups.flatMap((group) => [plain(''), ...groupLines(scene, group, columns)]);
  const room = Math.max(EVENT_LINES_MIN, rows - head.length - body.length - 3);
  return [...head, ...body, plain(''), ...eventLines(scene.events, room)];
}

function headLines({ time, report }: Scene): readonly Line[] {
  const answering = report.sites.filter((site) => site.reachable);
  const nobody = answering.length === 0;
  const word: Line[number] = nobody ? ['bad', 'NO SITE ANSWERS'] : report.well ? ['good', 'WELL'] : ['bad', 'NOT WELL'];
  const lines: Line[] = [
    [
      ['strong', 'tercet  '],
      word,
      ['dim', `  ${time.toTimeString().slice(0, 8)}  ${answering.length} of ${countText(report.sites.length, 'site')} answer   q: end`],
    ],
  ];
  for (const { site, tls } of report.sites) if (tls !== null && tls.warning !== null) lines.push([['bad', `site ${site}: ${tls.warning}`]]);
  for (const { site, error } of report.sites) if (error !== null) lines.push([['dim', `site ${site}: ${error}`]]);
  return lines;
}

function groupLines(scene: Scene, report: GroupReport, columns: number): readonly Line[] {
  const { group, problems } = report;
  const primary = report.sites.find((status) => status.serving) ?? report.sites.find((status) => status.role === 'primary') ?? null;
  const newest = report.sites.reduce<SiteStatus | null>((best, each) => (best === null || each.epoch > best.epoch ? each : best), null);
  const epoch = primary ?? newest;
  const serves: Line[number] =
    report.serving === null ? ['bad', 'nobody serves, as far as can be seen'] : ['good', `${report.serving} serves`];
  const facts = [epoch === null ? null : `epoch ${epoch.epoch}`, primary?.protection ?? null].filter((fact) => fact !== null);
  const lines: Line[] = [[['strong', `${group}  `], serves, ['plain', facts.map((fact) => `, ${fact}`).join('')]]];
  for (const problem of problems) lines.push([['bad', `  ! ${problem}`]]);
  const below =
    primary === null ? [] : [...flowLines(scene, primary), ...primary.peers.flatMap((peer) => resyncLines(scene, primary, peer))];
  const fold = (line: Line): readonly Line[] => foldLine(line, columns);
  return [...lines.flatMap(fold), ...siteTable(scene, report, { primary, columns }), ...below.flatMap(fold)];
}

const COLUMNS = ['site', 'mode', 'role', 'flag', 'lease', 'behind', 'received', 'durable', 'destaged', 'sidefile'] as const;
/** What a narrow terminal leaves out, the first first. */
const LEFT_OUT: readonly (typeof COLUMNS)[number][] = ['durable', 'destaged', 'received', 'mode', 'lease', 'sidefile'];
type Cells = Record<(typeof COLUMNS)[number], string>;
const UNKNOWN = '-';

/** A row for each site of the configuration, of what it says itself and of what its primary says of it. */
function siteTable(
  scene: Scene,
  report: GroupReport,
  { primary, columns }: { readonly primary: SiteStatus | null; readonly columns: number },
): readonly Line[] {
  const sites = scene.sites.get(report.group) ?? [];
  const rows = sites.map(({ name, mode }) => {
    const own = report.sites.find((status) => status.site === name) ?? null;
    const peer = primary?.peers.find((each) => each.site === name) ?? null;
    return { cells: cellsOf({ name, mode, own, peer, primary }), tone: toneOf(own, peer) };
  });
  const head = Object.fromEntries(COLUMNS.map((column) => [column, column])) as Cells;
  const width = (column: (typeof COLUMNS)[number]): number =>
    2 + Math.max(...[head, ...rows.map(({ cells }) => cells)].map((cells) => cells[column].length));
  let shown: readonly (typeof COLUMNS)[number][] = COLUMNS;
  for (const column of LEFT_OUT) {
    if (shown.reduce((sum, each) => sum + width(each), 0) <= columns) break;
    shown = shown.filter((each) => each !== column);
  }
  const text = (cells: Cells): string => shown.map((column) => `  ${cells[column]}`.padEnd(width(column))).join('');
  return [[['dim', text(head)]], ...rows.map(({ cells, tone }): Line => [[tone, text(cells)]])];
}

interface SiteFacts {
  readonly name: string;
  readonly mode: string;
  readonly own: SiteStatus | null;
  readonly peer: PeerStatus | null;
  readonly primary: SiteStatus | null;
}

function cellsOf({ name, mode, own, peer, primary }: SiteFacts): Cells {
  const view = (own ?? primary)?.witness.view ?? null;
  const witnessFlag = view?.copies.find((copy) => copy.site === name)?.flag;
  const seq = (value: number | null | undefined): string => (typeof value === 'number' ? String(value) : UNKNOWN);
  return {
    site: name,
    mode,
    role: own === null ? (peer?.connected === true ? (peer.role ?? UNKNOWN) : 'no answer') : own.serving ? 'SERVES' : own.role,
    flag: peer?.flag ?? (witnessFlag === undefined ? UNKNOWN : String(witnessFlag)),
    lease: typeof peer?.leaseMillis === 'number' ? secondsText(peer.leaseMillis / 1000) : UNKNOWN,
    behind: behindText(peer),
    received: seq(own?.marks?.received ?? peer?.received),
    durable: seq(own?.marks?.durable ?? peer?.durable),
    destaged: seq(own?.marks?.destaged ?? peer?.destaged),
    sidefile: own === null ? UNKNOWN : sidefileText(own),
  };
}

function sidefileText({ sidefileBytes, sidefileCapacityBytes }: SiteStatus): string {
  const percent = sidefileCapacityBytes === 0 ? 0 : Math.round((100 * sidefileBytes) / sidefileCapacityBytes);
  return `${percent} % of ${bytesText(sidefileCapacityBytes)}`;
}

function behindText(peer: PeerStatus | null): string {
  if (peer === null) return UNKNOWN;
  if (!peer.connected) return 'not connected';
  if (peer.attached !== 'following') return peer.attached === 'no' ? 'does not follow' : peer.attached;
  if (peer.lagRecords === null) return UNKNOWN;
  if (peer.lagRecords === 0) return 'in step';
  const more = [peer.lagBytes === null ? null : bytesText(peer.lagBytes), peer.lagSeconds === null ? null : secondsText(peer.lagSeconds)];
  return [countText(peer.lagRecords, 'record'), ...more.filter((part) => part !== null)].join(', ');
}

function toneOf(own: SiteStatus | null, peer: PeerStatus | null): Tone {
  if (own?.serving === true) return 'good';
  if (own?.role === 'failed' || peer?.connected === false) return 'bad';
  return own === null && peer === null ? 'dim' : 'plain';
}

function flowLines(scene: Scene, primary: SiteStatus): readonly Line[] {
  const rates = scene.rates.get(rateKey(primary.group, primary.site));
  const folded = primary.peers.filter(({ folding }) => folding.records > 0);
  const saved = folded.map(({ site, folding }) => `   folding saved ${bytesText(folding.savedBytes)} on the way to ${site}`).join('');
  const held = primary.heldRequests === 0 ? '' : `   ${countText(primary.heldRequests, 'request')} under way`;
  if (rates === undefined) return [plain(`  rates: not known yet${held}`)];
  const parts = [
    `writes ${perSecond(rates.writes)}, ${bytesText(rates.writtenBytes)}/s`,
    `reads ${perSecond(rates.reads)}, ${bytesText(rates.readBytes)}/s`,
    `flushes ${perSecond(rates.flushes)}`,
    `to other sites ${bytesText(rates.sentBytes)}/s`,
  ];
  return [plain(`  ${parts.join('   ')}${saved}${held}`)];
}

function perSecond(count: number): string {
  return `${count < 10 ? count.toFixed(1) : Math.round(count)}/s`;
}

/** Rung, bar, bytes, rate, time left, and why it is not the rung above. */
function resyncLines(scene: Scene, primary: SiteStatus, peer: PeerStatus): readonly Line[] {
  const { resync } = peer;
  if (resync === null) return [];
  const { rung, doneBytes, totalBytes } = resync;
  const rate = scene.rates.get(rateKey(primary.group, primary.site))?.resyncBytes[peer.site];
  const share = totalBytes === 0 ? null : Math.min(1, doneBytes / totalBytes);
  const parts = [
    share === null ? null : `${barText(share)} ${Math.floor(share * 100)} %`,
    share === null ? null : `${bytesText(doneBytes)} of ${bytesText(totalBytes)}`,
    `${bytesText(resync.sentBytes)} sent`,
    rate === undefined ? null : `${bytesText(rate)}/s`,
    leftText(resync),
  ];
  return [
    [
      ['strong', `  ${peer.site} by ${rung}: `],
      ['plain', parts.filter((part) => part !== null).join('  ')],
    ],
    [['dim', `    why: ${resync.why}`]],
  ];
}

function barText(share: number): string {
  const full = Math.floor(share * BAR_CELLS);
  return `[${'#'.repeat(full)}${'.'.repeat(BAR_CELLS - full)}]`;
}

function eventLines(events: readonly EventLine[], room: number): readonly Line[] {
  const shown = events.slice(-Math.max(1, room - 1));
  const head: Line = [['dim', shown.length === 0 ? 'no events yet' : 'last events']];
  return [
    head,
    ...shown.map(({ time, site, kind, group, peer, text }): Line => {
      const about = [group, peer].filter((part) => part !== null).join(' ');
      return [
        ['dim', `  ${new Date(time).toTimeString().slice(0, 8)} ${site} `],
        ['plain', `${kind}${about === '' ? '' : ` ${about}`}: ${text}`],
      ];
    }),
  ];
}

/** A line that is too long as several, broken between words; what goes on is indented further. */
function foldLine(line: Line, columns: number): readonly Line[] {
  const room = Math.max(columns, FOLD_COLUMNS_MIN);
  const lines: [Tone, string][][] = [[]];
  let used = 0;
  for (const [tone, text] of line) {
    let rest = text;
    while (used + rest.length > room) {
      // As much as goes, up to a gap; a word that is longer than a line is left to be cut.
      const gap = rest.lastIndexOf(' ', room - used);
      if (gap <= 0 && used > FOLD_INDENT) {
        lines.push([[tone, ' '.repeat(FOLD_INDENT)]]);
      } else if (gap <= FOLD_INDENT) break;
      else {
        lines.at(-1)?.push([tone, rest.slice(0, gap)]);
        lines.push([[tone, ' '.repeat(FOLD_INDENT)]]);
        rest = rest.slice(gap).trimStart();
      }
      used = FOLD_INDENT;
    }
    lines.at(-1)?.push([tone, rest]);
    used += rest.length;
  }
  return lines;
}

/** Lines as text, none wider than the terminal: cut where they are too long, which a mark shows. `from`: lines that were scrolled away. */
export function fitLines(
  lines: readonly Line[],
  size: { readonly columns: number; readonly rows: number; readonly from: number },
  style: (tone: Tone, text: string) => string,
): readonly string[] {
  const shown = lines.slice(size.from, size.from + size.rows);
  const hidden = lines.length - size.from - shown.length;
  const fitted = shown.map((line) => fitLine(line, size.columns, style));
  if (hidden <= 0 || fitted.length === 0) return fitted;
  const more: Line = [['strong', `${countText(hidden + 1, 'more line')}: arrow keys`]];
  return [...fitted.slice(0, -1), fitLine(more, size.columns, style)];
}

function fitLine(line: Line, columns: number, style: (tone: Tone, text: string) => string): string {
  let left = columns;
  let text = '';
  for (const [tone, piece] of line) {
    // What sites say may hold anything; a terminal obeys some of it.
    const clean = piece.replace(/[^\u0020-\u007E\u00A0-\uFFFF]/gu, '?');
    if (left <= 0) break;
    text += style(tone, clean.length <= left ? clean : `${clean.slice(0, left - 1)}>`);
    left -= clean.length;
  }
  return text;
}
