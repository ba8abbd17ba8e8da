// What would be lost if a site were promoted by force: the records that other copies hold and it does not, with their times and places. Exact for each
// copy that can be asked, as far as its sidefile reaches back; of the others only a bound is known, and that is said.

import type { SidefileReport } from '../api/sidefile.ts';
import { bytesText, countText } from '../api/text.ts';

type SidefileRecord = SidefileReport['records'][number];

/** What a copy is asked for: records from `from` on, `count` at most. */
export type AskRecords = (range: { readonly from: number; readonly count: number }) => Promise<SidefileReport>;

/** A run of bytes of a volume. */
export interface LostRange {
  readonly volume: string;
  readonly offset: number;
  readonly length: number;
}

/** What one other copy holds beyond the one that is to be promoted. */
export interface CopyLoss {
  readonly site: string;
  /** null when it can be told record by record; else why only a bound is known. */
  readonly unknown: string | null;
  readonly records: readonly SidefileRecord[];
  /** Without overlaps, sorted. */
  readonly ranges: readonly LostRange[];
  /** Bytes in these ranges: each place counts once. */
  readonly bytes: number;
}

/** Records that are asked for at once: the most that the API gives. */
const PIECE_RECORDS = 10_000;
/** Ranges that are shown; the export has all. */
const SHOWN_RANGES = 8;

/** The loss against one other copy that answers. `own`: the copy that is to be promoted. */
export async function lossAgainst(site: string, own: AskRecords, other: AskRecords): Promise<CopyLoss> {
  const ours = await own({ from: 0, count: 1 });
  const theirs = await other({ from: 0, count: 1 });
  if (theirs.received <= ours.received && theirs.epoch <= ours.epoch) {
    const differs = theirs.epoch === ours.epoch ? [] : await beyond(ours, own, other, theirs);
    return withRanges(site, null, differs);
  }
  const records = await beyond(ours, own, other, theirs);
  const [first] = records;
  const reaches = theirs.oldest <= ours.received + 1;
  const gap = `its sidefile reaches back to record ${theirs.oldest} only, and ${ours.site} ends at ${ours.received}: there is more than is listed`;
  return withRanges(site, reaches || (first !== undefined && first.seq <= ours.received) ? null : gap, records);
}

/** Records of the other copy that are not among ours: behind our end, or of another epoch at the same number. */
async function beyond(
  ours: SidefileReport,
  own: AskRecords,
  other: AskRecords,
  theirs: SidefileReport,
): Promise<readonly SidefileRecord[]> {
  // In one epoch both follow one primary, and what we hold is the beginning of what they hold.
  const isSame = ours.epoch === theirs.epoch;
  const from = isSame ? ours.received + 1 : Math.max(ours.oldest, theirs.oldest);
  const epochs = new Map(isSame ? [] : (await all(own, from, ours.received)).map((record) => [record.seq, record.epoch]));
  const records = await all(other, from, theirs.received);
  return records.filter((record) => record.seq > ours.received || epochs.get(record.seq) !== record.epoch);
}

async function all(ask: AskRecords, from: number, to: number): Promise<readonly SidefileRecord[]> {
  const list: SidefileRecord[] = [];
  for (let next = from; next <= to;) {
    const { records } = await ask({ from: next, count: PIECE_RECORDS });
    const last = records.at(-1);
    if (last === undefined) break;
    list.push(...records);
    next = last.seq + 1;
  }
  return list;
}

function withRanges(site: string, unknown: string | null, records: readonly SidefileRecord[]): CopyLoss {
  const ranges: { volume: string; offset: number; length: number }[] = [];
  const sorted = [...records].sort((a, b) => (a.volume === b.volume ? a.offset - b.offset : a.volume < b.volume ? -1 : 1));
  for (const { volume, offset, length } of sorted) {
    const last = ranges.at(-1);
    if (last !== undefined && last.volume === volume && offset <= last.offset + last.length)
      last.length = Math.max(last.length, offset + length - last.offset);
    else ranges.push({ volume, offset, length });
  }
  return { site, unknown, records, ranges, bytes: ranges.reduce((sum, { length }) => sum + length, 0) };
}

/** The loss for people. */
export function lossLines(promoted: string, loss: CopyLoss): readonly string[] {
  const { site, unknown, records, ranges, bytes } = loss;
  const [first, last] = [records[0], records.at(-1)];
  if (first === undefined || last === undefined)
    return [
      unknown === null
        ? `${site} holds nothing that ${promoted} lacks.`
        : `What ${site} holds beyond ${promoted} is not known: ${unknown}.`,
    ];
  const times = records.map(({ timeMillis }) => timeMillis);
  const earliest = new Date(times.reduce((a, b) => Math.min(a, b), Infinity)).toISOString();
  const latest = new Date(times.reduce((a, b) => Math.max(a, b), -Infinity)).toISOString();
  const lines = [
    `${site} holds ${countText(records.length, 'record')} that ${promoted} lacks: ${first.seq} to ${last.seq}, written from ${earliest} to ${latest}, ` +
      `${bytesText(bytes)} in ${countText(ranges.length, 'place')}:`,
    ...ranges.slice(0, SHOWN_RANGES).map(({ volume, offset, length }) => `  ${volume} at ${offset}: ${bytesText(length)}`),
  ];
  if (ranges.length > SHOWN_RANGES) lines.push(`  and ${ranges.length - SHOWN_RANGES} more; --export writes all of them`);
  if (unknown !== null) lines.push(`  At least: ${unknown}.`);
  return lines;
}
