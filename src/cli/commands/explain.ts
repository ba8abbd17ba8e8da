// tercet explain: why each site may or may not serve a group now, in sentences, and what was decided last.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { Explanation } from '../../api/schema.ts';
import { TercetError } from '../../core/base/errors.ts';
import { limits } from '../../core/base/limits.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, printJson, readConfig, styled } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site?: string;
  readonly decisions: number;
  readonly json: boolean;
}

/** Exit code 4 when no site of the group can be asked. */
export const explainCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Tell why each site may or may not serve a group, and what was decided last',
    fullDescription: 'Asks every site of the group that can be reached from here. Decisions are kept at each site, across restarts.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'Ask this site only', placeholder: 'NAME', optional: true },
      decisions: {
        kind: 'parsed',
        parse: parseCount,
        brief: `How many of the last decisions to show, at most ${limits.decisionsKept}`,
        placeholder: 'COUNT',
        default: '5',
      },
      json: { kind: 'boolean', brief: 'As JSON', default: false },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const sites = config.groupOf(name).sites.map((copy) => copy.name);
    if (flags.site !== undefined && !sites.includes(flags.site))
      throw new TercetError('TERCET_NO_SUCH_SITE', { site: flags.site, known: sites.join(', ') });
    const asked = flags.site === undefined ? sites : [flags.site];
    const answers: Explanation[] = [];
    const silent: TercetError[] = [];
    for (const site of asked) {
      try {
        const explanation = await (await clientOf(config, site)).explain(name);
        answers.push({ ...explanation, decisions: flags.decisions === 0 ? [] : explanation.decisions.slice(-flags.decisions) });
      } catch (error) {
        if (!(error instanceof TercetError)) throw error;
        silent.push(error);
      }
    }
    const [first] = silent;
    if (answers.length === 0 && first !== undefined) throw first;
    if (flags.json) return printJson(this, answers);
    for (const answer of answers) show(this, answer);
    for (const error of silent) print(this, styled(this)('dim', error.message));
  },
});

function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 0 && count <= limits.decisionsKept) return count;
  throw new TercetError('TERCET_BAD_REQUEST', { what: '--decisions', reason: `it is a count from 0 to ${limits.decisionsKept}` });
}

function show(context: CliContext, { site, sentences, decisions }: Explanation): void {
  print(context, `${site}:`);
  for (const sentence of sentences) print(context, `  ${sentence}`);
  if (decisions.length === 0) return;
  print(context, `  Decided there, newest last:`);
  for (const { atMillis, text, rule } of decisions)
    print(context, `    ${new Date(atMillis).toISOString()}  ${text} ${styled(context)('dim', `[rule ${rule}]`)}`);
}
