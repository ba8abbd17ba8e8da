// The commands as data, from their definitions: what the reference page and the manual pages are written from, so that neither can say more or
// less than the program does.

import type { Command, RouteMap } from '@stricli/core';

import type { CliContext } from './context.ts';

/** A flag of a command. */
export interface FlagPage {
  /** As it is typed: --site NAME, --json. */
  readonly form: string;
  readonly brief: string;
  readonly needed: boolean;
  /** What it takes, where that is one of a few words. */
  readonly values: readonly string[];
}

/** A command, with everything that it takes. */
export interface CommandPage {
  /** As it is typed, without the flags: tercet witness run, tercet create GROUP. */
  readonly form: string;
  /** Words that lead to it: ['witness', 'run']. */
  readonly route: readonly string[];
  readonly brief: string;
  readonly description: string | null;
  readonly flags: readonly FlagPage[];
}

interface FlagDefinition {
  readonly kind: string;
  readonly brief: string;
  readonly placeholder?: string;
  readonly optional?: boolean;
  readonly default?: unknown;
  readonly hidden?: boolean;
  readonly values?: readonly string[];
}
interface PositionalDefinition {
  readonly placeholder?: string;
  readonly optional?: boolean;
}
type Positional =
  | { readonly kind: 'tuple'; readonly parameters: readonly PositionalDefinition[] }
  | { readonly kind: 'array'; readonly parameter: PositionalDefinition };

/** All commands below a route map, in its order; hidden ones are left out. */
export function describeCommands(root: RouteMap<CliContext>, route: readonly string[] = []): readonly CommandPage[] {
  return root.getAllEntries().flatMap(({ name, target, hidden }) => {
    if (hidden) return [];
    const words = [...route, name.original];
    return 'getAllEntries' in target ? describeCommands(target, words) : [describe(target, words)];
  });
}

function describe(command: Command<CliContext>, route: readonly string[]): CommandPage {
  const flags = Object.entries((command.parameters.flags ?? {}) as unknown as Readonly<Record<string, FlagDefinition>>);
  const positional = command.parameters.positional as unknown as Positional | undefined;
  return {
    form: ['tercet', ...route, ...positionalForms(positional)].join(' '),
    route,
    brief: command.brief,
    description: command.fullDescription ?? null,
    flags: flags.filter(([, flag]) => flag.hidden !== true).map(([name, flag]) => describeFlag(name, flag)),
  };
}

function describeFlag(name: string, flag: FlagDefinition): FlagPage {
  const typed = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  const form = flag.kind === 'boolean' ? typed : `${typed} ${flag.placeholder ?? 'VALUE'}`;
  const needed = flag.kind !== 'boolean' && flag.optional !== true && flag.default === undefined;
  const { values = [] } = flag;
  const among = values.length === 0 ? '' : `: ${values.slice(0, -1).join(', ')} or ${values.at(-1) ?? ''}`;
  return { form, brief: `${flag.brief}${among}`, needed, values };
}

function positionalForms(positional: Positional | undefined): readonly string[] {
  if (positional === undefined) return [];
  const form = ({ placeholder, optional }: PositionalDefinition): string =>
    optional === true ? `[${placeholder ?? 'ARG'}]` : (placeholder ?? 'ARG');
  return positional.kind === 'tuple' ? positional.parameters.map(form) : [`[${form(positional.parameter)}...]`];
}
