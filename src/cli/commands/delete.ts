// tercet delete: ends a group for all time, and removes the copy of a site whose daemon does not have it.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { nameSchema } from '../../api/schema.ts';
import { bytesText } from '../../api/text.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { configFlag, print, readConfig } from '../context.ts';
import { witnessOf } from './witness.ts';

type FoundCopy = import('../../daemon/deletion.ts').FoundCopy;
type WitnessWord = import('../../daemon/deletion.ts').WitnessWord;

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly force: boolean;
}

/** Works without the group being in the configuration any more. */
export const deleteCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Delete a group for all time, and the copy of a site',
    fullDescription:
      'The daemon of the site must be stopped, or run without the group. Given first at the site that served last, it tells the witness, for all time, that nobody ' +
      'serves the group any more, then removes the copy there; given at each other site, it removes the copy there. A site that was away meanwhile ' +
      'comes back with a copy that it may not serve. Base images outside the data folder stay. It asks first. Refused with exit code 5 while the daemon has the ' +
      'group, or another site is its primary; --force is for a primary that is lost for good, and for copies that the witness does not know.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site, on whose machine this runs', placeholder: 'NAME' },
      dryRun: { kind: 'boolean', brief: 'Only tell what would be deleted', default: false },
      yes: { kind: 'boolean', brief: 'Do not ask', default: false },
      force: { kind: 'boolean', brief: 'Also where the primary is lost for good, or the witness does not know the copy', default: false },
    },
  },
  async func(this: CliContext, flags: Flags, group: string) {
    const config = await readConfig(this, flags);
    const site = config.siteOf(flags.site);
    const named = nameSchema.safeParse(group);
    if (!named.success)
      throw new TercetError('TERCET_BAD_REQUEST', { what: '`tercet delete`', reason: `"${group}" is no name of a group` });
    const witness = await witnessOf(config);
    const { deleteAtWitness, groupAtWitness, holdCopy, planDeletion } = await import('../../daemon/deletion.ts');
    const held = holdCopy(site, group);
    try {
      const word = await groupAtWitness(witness, group, site.name);
      const plan = planDeletion({ site: site.name, group, copy: held.copy, word, force: flags.force });
      if (plan.kind === 'refused') throw new TercetError('TERCET_UNSAFE', { reason: plan.reason, remedy: plan.remedy });
      if (plan.kind === 'nothing') {
        if (!flags.dryRun) held.remove(new Date());
        print(this, plan.text);
        return;
      }
      const lines = [plan.atWitness, ...linesOf(held.copy, site.name)];
      if (flags.dryRun) {
        for (const line of ['it would do this:', ...lines.map((line) => `  ${line}`)]) print(this, line);
        return;
      }
      await makeSure(this, { group, flags, lines });
      if (plan.view !== null) checkDeleted(group, await deleteAtWitness(witness, plan.view, { from: site.name, force: flags.force }));
      print(this, plan.atWitness);
      held.remove(new Date());
      for (const line of linesOf(held.copy, site.name)) print(this, line);
    } finally {
      await held.release();
    }
  },
});

function linesOf({ exists, folder, volumes, diskBytes }: FoundCopy, site: string): readonly string[] {
  if (!exists) return [`there is no copy at ${site}`];
  const names = volumes.map(({ name, sizeBytes }) => `${name} of ${bytesText(sizeBytes)}`).join(', ');
  const what = names === '' ? '' : `${names}; `;
  return [
    `the copy of ${site} is removed: ${folder} (${what}${bytesText(diskBytes)} on its disk)`,
    ...volumes
      .filter(({ elsewhere }) => elsewhere)
      .map(({ name }) => `the base image of ${name} lies elsewhere and stays, with what is in it`),
  ];
}

function checkDeleted(group: string, word: WitnessWord): void {
  if (word.kind === 'deleted') return;
  const reason =
    word.kind === 'refused'
      ? `the witness refused: ${word.text}`
      : 'what the witness knows of it changed meanwhile; give the command again';
  throw new TercetError('TERCET_NOT_IN_STATE', { what: `group ${group} was not deleted`, reason });
}

async function makeSure(
  context: CliContext,
  { group, flags, lines }: { group: string; flags: Flags; lines: readonly string[] },
): Promise<void> {
  if (flags.yes) return;
  if (context.ask === null)
    throw new TercetError('TERCET_BAD_REQUEST', { what: '`tercet delete`', reason: 'it asks first, and there is no terminal: add --yes' });
  for (const line of lines) print(context, line);
  if (await context.ask(`Delete ${group} at ${flags.site}? There is no way back.`)) return;
  throw new TercetError('TERCET_NOT_IN_STATE', { what: 'nothing was deleted', reason: 'the question was answered with no' });
}
