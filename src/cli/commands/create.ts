// tercet create: makes a group that is in the configuration exist, with its first site serving.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, GroupConfig } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly first?: string;
}

/** Talks to the first site of the group, or the one that --first names; that site makes the first copy and serves. */
export const createCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Create a group of the configuration',
    fullDescription:
      'The first site makes its copy and serves; the other sites are filled from it by themselves. Volumes are as their base images are: new ones read as zeroes. ' +
      'A group that exists already is left as it is (exit code 3).',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      first: {
        kind: 'parsed',
        parse: String,
        brief: 'The sync site that serves first; default: the first of the group',
        placeholder: 'SITE',
        optional: true,
      },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const group = config.groupOf(name);
    const first = firstSite(group, flags.first);
    const client = await clientOf(config, first);
    const outcome = await client.create(name);
    if (outcome.kind === 'done') {
      print(this, outcome.text);
      return;
    }
    throw new TercetError('TERCET_NOT_IN_STATE', { what: `group ${name} was not created`, reason: `${outcome.text}; ${outcome.remedy}` });
  },
});

function firstSite(group: GroupConfig, wanted: string | undefined): string {
  const usage = (reason: string): TercetError => new TercetError('TERCET_BAD_REQUEST', { what: '`tercet create`', reason });
  const site = wanted === undefined ? group.sites[0] : group.sites.find((each) => each.name === wanted);
  const known = group.sites.map((each) => each.name).join(', ');
  if (site === undefined) throw usage(`${wanted} is not a site of group ${group.name}, which has ${known}`);
  if (site.mode === 'async') throw usage(`${site.name} is async in group ${group.name}; the first site must be a sync one`);
  return site.name;
}
