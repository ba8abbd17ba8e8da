// tercet pause and tercet resume: a mirror is sent nothing for a while, by order.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { ControlClient } from '../../api/client.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';
import { primaryOf } from '../primary.ts';

interface ResumeFlags extends ConfigFlag {
  readonly site: string;
}

interface PauseFlags extends ResumeFlags {
  readonly force: boolean;
}

const group = {
  kind: 'tuple',
  parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }],
} as const;

/** Exit code 5 when the primary refuses. */
export const pauseCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Send a mirror nothing until it is resumed',
    fullDescription:
      'Hosts go on. What the mirror lacks is kept in the sidefile, and noted in its bitmap when that is full; hosts are never slowed for it. A sync mirror ' +
      'follows until the witness has its flag false, and may not take over afterwards. Refused with exit code 5 where hosts would then be answered by one ' +
      'disk alone, or no other mirror follows: --force overrides that. The pause outlasts a restart of the primary, and ends when another site becomes primary.',
  },
  parameters: {
    positional: group,
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The mirror', placeholder: 'NAME' },
      force: { kind: 'boolean', brief: 'Also if it is the last mirror in step, or the only one that follows', default: false },
    },
  },
  async func(this: CliContext, flags: PauseFlags, name: string) {
    const client = await primaryClient(this, flags, name);
    const outcome = await client.pause(name, { site: flags.site, force: flags.force });
    if (outcome.kind === 'refused') throw new TercetError('TERCET_UNSAFE', { reason: outcome.text, remedy: outcome.remedy });
    print(this, outcome.text);
  },
});

/** Exit code 3 when there is no primary that could take it. */
export const resumeCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'End the pause of a mirror',
    fullDescription:
      'The mirror is brought up to date: by the records that it lacks while the sidefile holds them, else by the blocks of its bitmap, or by a comparison. ' +
      'A sync one is admitted again when it has caught up.',
  },
  parameters: {
    positional: group,
    flags: { config: configFlag, site: { kind: 'parsed', parse: String, brief: 'The mirror', placeholder: 'NAME' } },
  },
  async func(this: CliContext, flags: ResumeFlags, name: string) {
    const client = await primaryClient(this, flags, name);
    const outcome = await client.resume(name, flags.site);
    if (outcome.kind === 'refused')
      throw new TercetError('TERCET_NOT_IN_STATE', { what: `${flags.site} is not resumed`, reason: `${outcome.text}; ${outcome.remedy}` });
    print(this, outcome.text);
  },
});

async function primaryClient(context: CliContext, flags: ResumeFlags, name: string): Promise<ControlClient> {
  const config = await readConfig(context, flags);
  const known = config.groupOf(name).sites.map((copy) => copy.name);
  if (!known.includes(flags.site)) throw new TercetError('TERCET_NO_SUCH_SITE', { site: flags.site, known: known.join(', ') });
  return clientOf(config, await primaryOf(config, name, known));
}
