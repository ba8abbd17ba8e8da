// tercet resync: has a site's copy compared with the primary's, block by block, and what differs sent again.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';
import { primaryOf } from '../primary.ts';

const DIGESTS = ['sha256', 'sha1', 'md5', 'crc32'] as const;
const SIDES = ['primary', 'mirror'] as const;

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly digest: (typeof DIGESTS)[number];
  readonly compare: (typeof SIDES)[number];
  readonly start: (typeof SIDES)[number];
  readonly confirm: boolean;
}

export const resyncCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: "Compare a site's copy with the primary's, and send again what differs",
    fullDescription:
      'Both sides digest what they hold, from coarse to fine, and only blocks that differ travel. The site keeps the volume that it has until ' +
      'the comparison has ended, and may not serve meanwhile; hosts go on at the primary. One that is cut off goes on where it was. With ' +
      'crc32 a difference may be missed by accident, with md5 and sha1 if somebody wished so; sha256 is taken as proof, and --confirm has ' +
      'everything compared again by it.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site whose copy is compared', placeholder: 'NAME' },
      digest: { kind: 'enum', values: DIGESTS, brief: 'What blocks are compared by', default: 'sha256' },
      compare: { kind: 'enum', values: SIDES, brief: 'Which side compares', default: 'primary' },
      confirm: { kind: 'boolean', brief: 'Afterwards compare everything again by sha256', default: false },
      start: { kind: 'enum', values: SIDES, brief: 'Which side is asked to begin', default: 'mirror' },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const known = config.groupOf(name).sites.map((copy) => copy.name);
    if (!known.includes(flags.site)) throw new TercetError('TERCET_NO_SUCH_SITE', { site: flags.site, known: known.join(', ') });
    const at = flags.start === 'mirror' ? flags.site : await primaryOf(config, name, known);
    const client = await clientOf(config, at);
    // The strongest digest needs no confirmation.
    const confirm = flags.confirm && flags.digest !== 'sha256';
    const outcome = await client.resync(name, { site: flags.site, algorithm: flags.digest, compare: flags.compare, confirm });
    if (outcome.kind === 'refused')
      throw new TercetError('TERCET_NOT_IN_STATE', { what: `${flags.site} is not compared`, reason: `${outcome.text}; ${outcome.remedy}` });
    print(this, `${outcome.text}; "tercet status" shows how far it is`);
    print(this, provesText(flags.digest, confirm));
  },
});

/** What the chosen digest proves, and what can be done about the rest. */
function provesText(digest: Flags['digest'], confirm: boolean): string {
  if (digest === 'sha256') return 'what is equal by sha256 is taken as proved equal';
  const lacks =
    digest === 'crc32'
      ? 'crc32 takes one in four thousand million differing blocks for equal, and any that was made so'
      : `${digest} does not prove anything against blocks that were made to collide`;
  return `${lacks}; ${confirm ? 'everything is compared again by sha256 when it has ended' : '--confirm has everything compared again by sha256'}`;
}
