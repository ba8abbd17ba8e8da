// tercet promote: makes a site the primary of a group, by an administrator's decision.

import { writeFileSync } from 'node:fs';

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { ControlClient } from '../../api/client.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, GroupConfig, LoadedConfig } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';
import { countText, secondsText } from '../../api/text.ts';
import type { CopyLoss } from '../loss.ts';
import { lossAgainst, lossLines } from '../loss.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly force: boolean;
  readonly yes: boolean;
  readonly dryRun: boolean;
  readonly export?: string;
}

/** What an order by force is about. */
interface Order {
  readonly config: LoadedConfig;
  readonly group: GroupConfig;
  readonly client: ControlClient;
  readonly flags: Flags;
}

/** Exit code 5 when the site refuses because data could be lost. */
export const promoteCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Make a site the primary of a group',
    fullDescription:
      'Without --force the site becomes primary only if that can lose nothing (exit code 5 when it refuses). With --force it becomes primary with what it has: ' +
      'it shows what would be lost and asks first. Each other copy that can be asked from here is compared record by record: numbers, times, places and bytes of what ' +
      'only it holds; of the others the last known bound is shown. --export keeps the whole list, before anything is given up.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site that is to serve', placeholder: 'NAME' },
      force: { kind: 'boolean', brief: 'Also if acknowledged writes may be lost', default: false },
      yes: { kind: 'boolean', brief: 'Do not ask', default: false },
      dryRun: { kind: 'boolean', brief: 'With --force: only show what would be lost', default: false },
      export: {
        kind: 'parsed',
        parse: String,
        brief: 'With --force: write what would be lost to this file, as JSON; it must not exist',
        placeholder: 'FILE',
        optional: true,
      },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const group = config.groupOf(name);
    if (!group.sites.some((copy) => copy.name === flags.site)) {
      throw new TercetError('TERCET_NO_SUCH_SITE', { site: flags.site, known: group.sites.map((copy) => copy.name).join(', ') });
    }
    if (!flags.force && (flags.dryRun || flags.export !== undefined)) throw usage('--dry-run and --export are about --force');
    const client = await clientOf(config, flags.site);
    if (flags.force) await showLoss(this, { config, group, client, flags });
    if (flags.dryRun) return;
    if (flags.force) await confirm(this, { group: name, flags });
    const outcome = await client.promote(name, { force: flags.force });
    if (outcome.kind === 'refused') throw new TercetError('TERCET_UNSAFE', { reason: outcome.text, remedy: outcome.remedy });
    print(this, outcome.text);
  },
});

/** Shows what would be lost, and writes all of it down where that is asked for. */
async function showLoss(context: CliContext, { config, group, client, flags }: Order): Promise<void> {
  const { name } = group;
  print(context, await lossText(client, { group: name, site: flags.site }));
  const losses: CopyLoss[] = [];
  const own: Parameters<typeof lossAgainst>[1] = (range) => client.sidefile(name, range);
  for (const copy of group.sites) {
    if (copy.name === flags.site) continue;
    try {
      const other = await clientOf(config, copy.name);
      losses.push(await lossAgainst(copy.name, own, (range) => other.sidefile(name, range)));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      losses.push({ site: copy.name, unknown: `it cannot be asked from here (${error.message})`, records: [], ranges: [], bytes: 0 });
    }
  }
  for (const loss of losses) for (const line of lossLines(flags.site, loss)) print(context, line);
  if (flags.export === undefined) return;
  try {
    writeFileSync(flags.export, `${JSON.stringify({ group: name, promoted: flags.site, losses }, null, 2)}\n`, { flag: 'wx', mode: 0o600 });
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new TercetError(
      'TERCET_BAD_REQUEST',
      { what: '`tercet promote`', reason: `${flags.export} cannot be written (${code})` },
      { cause },
    );
  }
}

async function confirm(context: CliContext, { group, flags }: { group: string; flags: Flags }): Promise<void> {
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
  const left = status.agreement?.leftTo ?? null;
  const alone =
    left === null ? '' : ` ${left} had the right to go on alone while the witness was lost: what it has taken since is not known here.`;
  return `${has}${copy} ${last}; ${lag}.${alone} Records that are not here are lost for good, acknowledged ones too.`;
}
