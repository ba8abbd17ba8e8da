// tercet stop: ends a site's daemon, unless its copy is the last one that may serve.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly force: boolean;
}

/** Exit code 5 when the site refuses. */
export const stopCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: "Stop a site's daemon, unless hosts would be without their volumes",
    fullDescription:
      'Refused with exit code 5 where the copy of the site is the last one in step of a group, or nobody could take over because the witness does not answer. ' +
      'Of a site that serves, `tercet demote` first spares hosts the pause until another one has taken over. A service manager starts the daemon again ' +
      'only where a group did not end in order, with exit code 1; to stop its unit instead is never refused.',
  },
  parameters: {
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site whose daemon is to end', placeholder: 'NAME' },
      force: { kind: 'boolean', brief: 'Also if its copy is the last one in step', default: false },
    },
  },
  async func(this: CliContext, flags: Flags) {
    const config = await readConfig(this, flags);
    const client = await clientOf(config, flags.site);
    const outcome = await client.stop({ force: flags.force });
    if (outcome.kind === 'refused') throw new TercetError('TERCET_UNSAFE', { reason: outcome.text, remedy: outcome.remedy });
    print(this, outcome.text);
  },
});
