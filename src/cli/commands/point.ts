// tercet point create, list and remove: positions of a site's copy under a name, so that volumes can be read as of them while hosts go on.

import type { Command, RouteMap } from '@stricli/core';
import { buildCommand, buildRouteMap } from '@stricli/core';

import type { SiteStatus } from '../../api/schema.ts';
import { bytesText, countText } from '../../api/text.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, LoadedConfig } from '../context.ts';
import { clientOf, configFlag, print, printJson, readConfig } from '../context.ts';

interface SiteFlags extends ConfigFlag {
  readonly site: string;
}

type At = { readonly seq: number } | { readonly timeMillis: number };

interface CreateFlags extends SiteFlags {
  readonly at: At | undefined;
}

interface ListFlags extends ConfigFlag {
  readonly site: string | undefined;
  readonly json: boolean;
}

const names = {
  kind: 'tuple',
  parameters: [
    { brief: 'Name of the group', parse: String, placeholder: 'GROUP' },
    { brief: 'Name of the point', parse: String, placeholder: 'POINT' },
  ],
} as const;

const siteFlag = { kind: 'parsed', parse: String, brief: 'The site whose copy it is', placeholder: 'NAME' } as const;

const MOMENT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/;

function positionOf(text: string): At {
  if (/^[0-9]{1,15}$/.test(text)) return { seq: Number(text) };
  const timeMillis = MOMENT.test(text) ? Date.parse(text) : NaN;
  if (!Number.isNaN(timeMillis)) return { timeMillis };
  throw new TercetError('TERCET_BAD_REQUEST', {
    what: '`tercet point create`',
    reason: `--at must be the number of a record, or a moment like 2026-11-29T22:15:00Z, not "${text}"`,
  });
}

/** Exit code 3 when it cannot be made there. */
const createCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Make a point: the volumes of a group as of now, to be read while hosts go on',
    fullDescription:
      'From then on that site exports GROUP/VOLUME@POINT, read only, whether it serves or not, until the point is removed: one position for all volumes of the group. ' +
      'Without --at it is the newest committed record of the copy there. Nothing behind it goes to the base images meanwhile, so it takes room in the sidefile of that site; ' +
      'where that runs short, the point is given up, and whoever reads it is cut off. It ends with the daemon too.',
  },
  parameters: {
    positional: names,
    flags: {
      config: configFlag,
      site: siteFlag,
      at: {
        kind: 'parsed',
        parse: positionOf,
        brief: 'The number of a record, or a moment (RFC 3339), that is not in the base image yet',
        placeholder: 'SEQ|TIME',
        optional: true,
      },
    },
  },
  async func(this: CliContext, flags: CreateFlags, group: string, name: string) {
    const client = await clientAt(await readConfig(this, flags), group, flags.site);
    const outcome = await client.createPoint(group, { name, at: flags.at ?? null });
    if (outcome.kind === 'refused')
      throw new TercetError('TERCET_NOT_IN_STATE', { what: `point ${name}`, reason: `${outcome.text}; ${outcome.remedy}` });
    print(this, outcome.text);
  },
});

/** Exit code 3 when there is none of that name. */
const removeCommand: Command<CliContext> = buildCommand({
  docs: { brief: 'Remove a point', fullDescription: 'Connections that read it end.' },
  parameters: { positional: names, flags: { config: configFlag, site: siteFlag } },
  async func(this: CliContext, flags: SiteFlags, group: string, name: string) {
    const client = await clientAt(await readConfig(this, flags), group, flags.site);
    const outcome = await client.removePoint(group, name);
    if (outcome.kind === 'refused')
      throw new TercetError('TERCET_NOT_IN_STATE', { what: `point ${name}`, reason: `${outcome.text}; ${outcome.remedy}` });
    print(this, outcome.text);
  },
});

const listCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'List the points of a group',
    fullDescription:
      'Of each site of the group that can be reached from here: the record, its time, how much the sidefile keeps because of it, and how many connections read it. One that ' +
      'was given up is listed with the reason until it is removed or made anew.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'Only this site', placeholder: 'NAME', optional: true },
      json: { kind: 'boolean', brief: 'Print JSON for programs', default: false },
    },
  },
  async func(this: CliContext, flags: ListFlags, group: string) {
    const config = await readConfig(this, flags);
    const known = config.groupOf(group).sites.map((copy) => copy.name);
    const sites = flags.site === undefined ? known : [flags.site];
    const found: { readonly site: string; readonly points: SiteStatus['points'] }[] = [];
    for (const site of sites) {
      try {
        const { groups } = await (await clientAt(config, group, site)).status();
        found.push({ site, points: groups.find((status) => status.group === group)?.points ?? [] });
      } catch (error) {
        if (!(error instanceof TercetError) || flags.site !== undefined) throw error;
        if (!flags.json) print(this, error.message);
      }
    }
    if (flags.json) return printJson(this, found);
    for (const { site, points } of found) for (const point of points) print(this, lineOf(site, point));
  },
});

function lineOf(site: string, point: SiteStatus['points'][number]): string {
  const { name, seq, timeMillis, state, why, connections, pinnedBytes } = point;
  const time = timeMillis === null ? '' : ` of ${new Date(timeMillis).toISOString()}`;
  const what = state === 'lost' ? `lost: ${why}` : `${state}, ${countText(connections, 'connection')}, keeps ${bytesText(pinnedBytes)}`;
  return `${site}  ${name}  record ${seq}${time}  ${what}`;
}

async function clientAt(config: LoadedConfig, group: string, site: string): ReturnType<typeof clientOf> {
  const known = config.groupOf(group).sites.map((copy) => copy.name);
  if (!known.includes(site)) throw new TercetError('TERCET_NO_SUCH_SITE', { site, known: known.join(', ') });
  return clientOf(config, site);
}

/** All of `tercet point`. */
export const pointRoutes: RouteMap<CliContext> = buildRouteMap({
  docs: { brief: 'Points: positions as of which volumes can be read while hosts go on' },
  routes: { create: createCommand, list: listCommand, remove: removeCommand },
});
