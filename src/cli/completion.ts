// Completion of a command line, for the shells: `tercet __complete WORDS...` prints what may stand in place of the last word. Commands and options
// come from their definitions, names of sites and groups from the configuration.

import type { RouteMap } from '@stricli/core';

import { TercetError } from '../core/base/errors.ts';
import type { CliContext } from './context.ts';
import { print, readConfig } from './context.ts';
import type { CommandPage } from './describe.ts';
import { describeCommands } from './describe.ts';

/** The first word of a command line that asks for completions. */
export const COMPLETE = '__complete';

/** Prints the candidates, one to a line. `words`: those of the line behind `tercet`, the last one as far as it was typed. */
export async function complete(root: RouteMap<CliContext>, words: readonly string[], context: CliContext): Promise<void> {
  const typed = words.at(-1) ?? '';
  const candidates = await candidatesOf(describeCommands(root), words.slice(0, -1), { typed, context });
  for (const candidate of [...new Set(candidates)].sort()) if (candidate.startsWith(typed)) print(context, candidate);
}

async function candidatesOf(
  pages: readonly CommandPage[],
  before: readonly string[],
  { typed, context }: { typed: string; context: CliContext },
): Promise<readonly string[]> {
  const page = pages.find(({ route }) => route.every((word, index) => before[index] === word));
  if (page === undefined) {
    const fitting = pages.filter(({ route }) => before.every((word, index) => route[index] === word));
    return fitting.flatMap(({ route }) => route[before.length] ?? []);
  }
  const last = before.at(-1) ?? '';
  const valued = page.flags.find(({ form }) => form.startsWith(`${last} `));
  if (valued !== undefined) return /^--\S+ (NAME|SITE)$/.test(valued.form) ? names(context, before, 'sites') : valued.values;
  const flags = page.flags.map(({ form }) => form.split(' ')[0] as string).filter((flag) => !before.includes(flag));
  if (typed.startsWith('-')) return [...flags, '--help'];
  if (page.form.includes(' GROUP/VOLUME')) return names(context, before, 'volumes');
  return page.form.includes(' GROUP') ? names(context, before, 'groups') : flags;
}

/** Names from the configuration that the line names; none while it cannot be read. */
async function names(context: CliContext, before: readonly string[], what: 'sites' | 'groups' | 'volumes'): Promise<readonly string[]> {
  const at = before.indexOf('--config');
  const file = at < 0 ? undefined : before[at + 1];
  try {
    const config = await readConfig(context, file === undefined ? {} : { config: file });
    if (what === 'volumes') return config.groups.flatMap(({ name: group, volumes }) => volumes.map(({ name }) => `${group}/${name}`));
    return config[what].map(({ name }) => name);
  } catch (error) {
    // Whoever completes a line wants no sentence about the configuration in the middle of it.
    if (error instanceof TercetError) return [];
    throw error;
  }
}
