// tercet drain: moves what is committed from a site's sidefile into its base image, so that the image alone is the volume.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site: string | undefined;
}

/** Without --site: every site of the group, one after the other. */
export const drainCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Write everything that is committed into the base images',
    fullDescription:
      'Afterwards the base image of a site holds the volume as of this moment, for comparing copies or for taking an image away. ' +
      'Hosts go on writing meanwhile; what they write later is in the sidefile again.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'Only this site', placeholder: 'NAME', optional: true },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const group = config.groupOf(name);
    const known = group.sites.map((copy) => copy.name);
    if (flags.site !== undefined && !known.includes(flags.site)) {
      throw new TercetError('TERCET_NO_SUCH_SITE', { site: flags.site, known: known.join(', ') });
    }
    for (const site of flags.site === undefined ? known : [flags.site]) {
      const client = await clientOf(config, site);
      const outcome = await client.drain(name);
      if (outcome.kind === 'refused')
        throw new TercetError('TERCET_NOT_IN_STATE', { what: `${site} was not drained`, reason: `${outcome.text}; ${outcome.remedy}` });
      print(this, outcome.text);
    }
  },
});
