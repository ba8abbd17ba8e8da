// tercet sidefile inspect: a site's sidefile record by record, with who holds each record and who is known to know that; of a running site, or of
// the files of one that is stopped.

import type { Command, RouteMap } from '@stricli/core';
import { buildCommand, buildRouteMap } from '@stricli/core';

import type { SidefileReport } from '../../api/sidefile.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, printJson, readConfig } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly files: boolean;
  readonly from: number;
  readonly count: number;
  readonly json: boolean;
}

type SidefileRecord = SidefileReport['records'][number];

function wholeNumber(name: string): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text !== '' && Number.isSafeInteger(value) && value >= 0) return value;
    throw new TercetError('TERCET_BAD_REQUEST', {
      what: '`tercet sidefile inspect`',
      reason: `--${name} must be a whole number, not "${text}"`,
    });
  };
}

const inspectCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Show the records of a sidefile',
    fullDescription:
      'Sorted by number: epoch, time, volume, place, kind, whether the checksum is right, which other copies hold the record on stable storage ("waits": it has come over ' +
      'one of several streams, and waits in memory for one before it), and, at the primary, which mirrors are known to know that. With --files it reads the data folder of a site whose daemon is stopped.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site whose sidefile it is', placeholder: 'NAME' },
      files: { kind: 'boolean', brief: 'Read the files of the stopped site, on this machine', default: false },
      from: { kind: 'parsed', parse: wholeNumber('from'), brief: 'First record; default: the oldest', placeholder: 'SEQ', default: '0' },
      count: { kind: 'parsed', parse: wholeNumber('count'), brief: 'Records at most; default: 1000', placeholder: 'N', default: '1000' },
      json: { kind: 'boolean', brief: 'Print JSON for programs', default: false },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const group = config.groupOf(name);
    const site = config.siteOf(flags.site);
    const range = { from: flags.from, count: flags.count };
    if (!flags.files) {
      const client = await clientOf(config, flags.site);
      const report = await client.sidefile(name, range);
      if (flags.json) return printJson(this, report);
      for (const line of reportLines(report)) print(this, line);
      return;
    }
    const { replicaFolder } = await import('../../daemon/config.ts');
    const { readSidefileFiles } = await import('../../daemon/sidefile-files.ts');
    const { superblock, records, oldest, received, faults } = await readSidefileFiles(replicaFolder(site, group.name), range);
    const { epoch, destaged, durable, committed, consistent, unclean } = superblock;
    if (flags.json)
      return printJson(this, {
        group: name,
        site: site.name,
        epoch,
        oldest,
        received,
        destaged,
        durable,
        committed,
        consistent,
        unclean,
        records,
        faults,
      });
    print(
      this,
      `${name} at ${site.name}, stopped: epoch ${epoch}, records ${oldest ?? 'none'} to ${received ?? 'none'}, destaged up to ${destaged}${unclean ? ', unclean' : ''}`,
    );
    for (const line of table(records, [])) print(this, line);
    for (const { file, offset, why } of faults) print(this, `${file} at ${offset}: ${why}`);
  },
});

/** All of `tercet sidefile`. */
export const sidefileRoutes: RouteMap<CliContext> = buildRouteMap({
  docs: { brief: 'Look into the sidefile of a site' },
  routes: { inspect: inspectCommand },
});

/** A column that depends on who holds what. */
interface Column {
  readonly title: string;
  readonly of: (seq: number) => string;
}

function mark(known: number | null, waiting: SidefileReport['holders'][number]['waiting'] = []): (seq: number) => string {
  return (seq) => {
    if (known === null) return '?';
    if (seq <= known) return 'yes';
    return waiting.some(({ from, to }) => from <= seq && seq <= to) ? 'waits' : 'no';
  };
}

/** The answer of a running site, as people read it. */
function reportLines(report: SidefileReport): string[] {
  const { group, site, role, epoch, sidefileIn, oldest, received, destaged } = report;
  const columns: Column[] = report.holders.flatMap((holder) => [
    { title: `${holder.site} holds`, of: mark(holder.durable, holder.waiting) },
    ...holder.knownTo.map((other) => ({ title: `${other.site} knows`, of: mark(other.durable) })),
  ]);
  const held = oldest > received ? 'no records' : `records ${oldest} to ${received}`;
  const where = sidefileIn === 'memory' ? ', in memory' : '';
  return [`${group} at ${site}, ${role}: epoch ${epoch}, ${held}, destaged up to ${destaged}${where}`, ...table(report.records, columns)];
}

function table(records: readonly SidefileRecord[], columns: readonly Column[]): string[] {
  if (records.length === 0) return [];
  const rows = [
    ['seq', 'epoch', 'time', 'volume', 'offset', 'length', 'kind', 'checksum', ...columns.map(({ title }) => title)],
    ...records.map((record) => [
      String(record.seq),
      String(record.epoch),
      new Date(record.timeMillis).toISOString(),
      record.volume,
      String(record.offset),
      String(record.length),
      record.kind,
      record.checksum,
      ...columns.map((column) => column.of(record.seq)),
    ]),
  ];
  const widths = (rows[0] as string[]).map((_title, index) => Math.max(...rows.map((row) => (row[index] as string).length)));
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] as number))
      .join('  ')
      .trimEnd(),
  );
}
