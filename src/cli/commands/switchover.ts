// tercet switchover, demote, failback: the planned changes of the primary. All three are one order to the group, which any of its sites passes on
// to the primary; they differ in who says which site is to serve next.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { ControlClient } from '../../api/client.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, GroupConfig, LoadedConfig } from '../context.ts';
import { clientOf, configFlag, print, readConfig } from '../context.ts';

interface PlannedFlags extends ConfigFlag {
  readonly dryRun: boolean;
}

const group = {
  kind: 'tuple',
  parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }],
} as const;
const dryRun = { kind: 'boolean', brief: 'Only tell what would happen', default: false } as const;
const SAFE =
  'No write is lost: the primary stops, the other site confirms that it has everything on its disk, the witness names it. Refused with the reason, ' +
  'and exit code 3, when no site is in step or the witness does not answer; the primary then serves on.';

interface SwitchoverFlags extends PlannedFlags {
  readonly to?: string;
}

/** Exit code 3 when the group is in no state for it. */
export const switchoverCommand: Command<CliContext> = buildCommand({
  docs: { brief: 'Hand a group over to another site, without losing a write', fullDescription: SAFE },
  parameters: {
    positional: group,
    flags: {
      config: configFlag,
      to: {
        kind: 'parsed',
        parse: String,
        brief: 'The site that is to serve; default: the first other one that can',
        placeholder: 'NAME',
        optional: true,
      },
      dryRun,
    },
  },
  async func(this: CliContext, flags: SwitchoverFlags, name: string) {
    const config = await readConfig(this, flags);
    const found = config.groupOf(name);
    if (flags.to !== undefined) checkSite(found, flags.to);
    await order(this, { client: await anyClient(config, found), group: name, to: flags.to ?? null, dryRun: flags.dryRun });
  },
});

interface DemoteFlags extends PlannedFlags {
  readonly site: string;
}

export const demoteCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Make a site stop being the primary, before maintenance say',
    fullDescription: `The first other site that can takes over; nothing is done when the site is not the primary. ${SAFE}`,
  },
  parameters: {
    positional: group,
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site that is not to serve', placeholder: 'NAME' },
      dryRun,
    },
  },
  async func(this: CliContext, flags: DemoteFlags, name: string) {
    const config = await readConfig(this, flags);
    const found = config.groupOf(name);
    checkSite(found, flags.site);
    const client = await anyClient(config, found);
    const primary = await primaryOf(client, name);
    if (primary !== flags.site) {
      print(this, `${flags.site} is not primary of ${name}${primary === null ? '' : `: ${primary} is`}`);
      return;
    }
    await order(this, { client, group: name, to: null, dryRun: flags.dryRun });
  },
});

export const failbackCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Hand a group back to its preferred site',
    fullDescription: `The preferred site is the first sync one in the group's list of sites. ${SAFE}`,
  },
  parameters: { positional: group, flags: { config: configFlag, dryRun } },
  async func(this: CliContext, flags: PlannedFlags, name: string) {
    const config = await readConfig(this, flags);
    const found = config.groupOf(name);
    const preferred = found.sites.find((copy) => copy.mode === 'sync');
    if (preferred === undefined) throw new TercetError('TERCET_NO_SUCH_SITE', { site: 'sync', known: namesOf(found) });
    await order(this, { client: await anyClient(config, found), group: name, to: preferred.name, dryRun: flags.dryRun });
  },
});

function namesOf(found: GroupConfig): string {
  return found.sites.map((copy) => copy.name).join(', ');
}

function checkSite(found: GroupConfig, site: string): void {
  if (!found.sites.some((copy) => copy.name === site)) throw new TercetError('TERCET_NO_SUCH_SITE', { site, known: namesOf(found) });
}

/** The first site of the group that can be asked from this machine: whichever it is, it passes the order on. */
async function anyClient(config: LoadedConfig, found: GroupConfig): Promise<ControlClient> {
  let failure: unknown = null;
  for (const copy of found.sites) {
    try {
      return await clientOf(config, copy.name);
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

async function primaryOf(client: ControlClient, name: string): Promise<string | null> {
  const { groups } = await client.status();
  return groups.find((each) => each.group === name)?.knownPrimary ?? null;
}

async function order(
  context: CliContext,
  what: { client: ControlClient; group: string; to: string | null; dryRun: boolean },
): Promise<void> {
  const outcome = await what.client.switchover(what.group, { to: what.to, dryRun: what.dryRun });
  if (outcome.kind === 'refused')
    throw new TercetError('TERCET_NOT_IN_STATE', {
      what: `group ${what.group} was not handed over`,
      reason: `${outcome.text}; ${outcome.remedy}`,
    });
  print(context, outcome.text);
}
