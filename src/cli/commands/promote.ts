// tercet promote: makes a site the primary of a group, by an administrator's decision.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { ControlClient } from '../../api/client.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';
import { countText, secondsText } from '../text.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly force: boolean;
  readonly yes: boolean;
}

/** Exit code 5 when the site refuses because data could be lost. */
export const promoteCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Make a site the primary of a group',
    fullDescription:
      'Without --force the site becomes primary only if that can lose nothing (exit code 5 when it refuses). With --force it becomes primary with what it has: ' +
      'it shows what is known of the loss and asks first.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site that is to serve', placeholder: 'NAME' },
      force: { kind: 'boolean', brief: 'Also if acknowledged writes may be lost', default: false },
      yes: { kind: 'boolean', brief: 'Do not ask', default: false },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const group = config.groupOf(name);
    if (!group.sites.some((copy) => copy.name === flags.site)) {
      throw new TercetError('TERCET_NO_SUCH_SITE', { site: flags.site, known: group.sites.map((copy) => copy.name).join(', ') });
    }
    const client = await clientOf(config.siteOf(flags.site));
    if (flags.force) await confirm(this, { client, group: name, flags });
    const outcome = await client.promote(name, { force: flags.force });
    if (outcome.kind === 'refused') throw new TercetError('TERCET_UNSAFE', { reason: outcome.text, remedy: outcome.remedy });
    print(this, outcome.text);
  },
});

async function confirm(context: CliContext, order: { client: ControlClient; group: string; flags: Flags }): Promise<void> {
  const { client, group, flags } = order;
  print(context, await lossText(client, { group, site: flags.site }));
  if (flags.yes) return;
  if (context.ask === null) throw usage('--force asks first, and there is no terminal to ask at: add --yes');
  const agreed = await context.ask(`Make ${flags.site} the primary of ${group} with what it has?`);
  if (!agreed)
    throw new TercetError('TERCET_NOT_IN_STATE', { what: `${flags.site} was not promoted`, reason: 'the question was answered with no' });
}

function usage(reason: string): TercetError {
  return new TercetError('TERCET_BAD_REQUEST', { what: '`tercet promote`', reason });
}

/** What is known at the site of what it lacks: a bound, not a promise, because only the primary knows what it has acknowledged. */
async function lossText(client: ControlClient, { group, site }: { group: string; site: string }): Promise<string> {
  const { groups } = await client.status();
  const status = groups.find((each) => each.group === group);
  if (status === undefined || status.marks === null) return `${site} has no copy of ${group} that it could serve.`;
  const primary = status.peers.find((peer) => peer.site === status.knownPrimary);
  const has = `${site} has all records up to (epoch ${status.epoch}, ${status.marks.received}).`;
  const copy = status.consistent ? '' : ' Its copy is INCONSISTENT: a mixture of old and new blocks.';
  if (status.knownPrimary === site) return `${has}${copy} It was the primary itself.`;
  const last = status.knownPrimary === null ? 'No primary is known here' : `The primary it knows is ${status.knownPrimary}`;
  const lag =
    primary?.lagRecords === undefined || primary.lagRecords === null
      ? 'what that has beyond them is not known here'
      : `last known, that had ${countText(primary.lagRecords, 'record')} more${primary.lagSeconds === null ? '' : ` (${secondsText(primary.lagSeconds)})`}`;
  return `${has}${copy} ${last}; ${lag}. Records that are not here are lost for good, acknowledged ones too.`;
}
