// Parts of the reference that are written from the code: commands, metrics, events, hooks, exit codes. A page holds a place for each, between two
// comments, as for layouts (layouts.ts). `npm run docs` writes them; the tidy test fails when a page disagrees with the code.
//
//   <!-- reference: metrics -->
//   <!-- end of reference -->

import { commands } from '../../src/cli/app.ts';
import { describeCommands } from '../../src/cli/describe.ts';
import { EXIT, EXIT_MEANINGS } from '../../src/core/base/errors.ts';
import { EVENT_KINDS, HOOK_NAMES } from '../../src/watch/events.ts';
import { METRICS } from '../../src/watch/metrics.ts';

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function commandsText(): string {
  return describeCommands(commands)
    .map(({ form, brief, description, flags }) =>
      [
        `## \`${form}\``,
        `${brief}.${description === null ? '' : ` ${description}`}`,
        table(
          ['flag', 'what it is'],
          flags.map((flag) => [`\`${flag.form}\``, `${flag.brief}${flag.needed ? ' (needed)' : ''}`]),
        ),
      ]
        .slice(0, flags.length === 0 ? 2 : 3)
        .join('\n\n'),
    )
    .join('\n\n');
}

const parts: Readonly<Record<string, () => string>> = {
  commands: commandsText,
  metrics: () =>
    table(
      ['metric', 'type', 'labels', 'what it is'],
      METRICS.map(({ name, type, labels, help }) => [`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(', '), help]),
    ),
  events: () =>
    table(
      ['kind', 'hook', 'what it means'],
      Object.entries(EVENT_KINDS).map(([kind, { meaning, hook }]) => [`\`${kind}\``, hook === null ? '' : `\`${hook}\``, meaning]),
    ),
  hooks: () => HOOK_NAMES.map((name) => `\`${name}\``).join(', '),
  'exit-codes': () =>
    table(
      ['code', 'what it means'],
      Object.entries(EXIT).map(([name, code]) => [String(code), EXIT_MEANINGS[name as keyof typeof EXIT]]),
    ),
};

/** Names of all parts. */
export const REFERENCE_PARTS: readonly string[] = Object.keys(parts);

const PLACE = /<!-- reference: ([a-z-]+) -->\n([\s\S]*?)<!-- end of reference -->/g;

/** The page with its parts written anew. Throws for a part that does not exist. */
export function fillReference(page: string): string {
  return page.replace(PLACE, (_place, name: string) => {
    const part = parts[name];
    if (part === undefined) throw new Error(`there is no part "${name}" of the reference`);
    return `<!-- reference: ${name} -->\n\n${part()}\n\n<!-- end of reference -->`;
  });
}

/** The parts that a page has. */
export function referenceParts(page: string): readonly string[] {
  return [...page.matchAll(PLACE)].map((match) => match[1] as string);
}

/** The same text for the same content, however the formatter has laid out its tables. */
export function plain(page: string): string {
  return page
    .replace(/[ \t]+/g, ' ')
    .replace(/-{3,}/g, '---')
    .replace(/\n+/g, '\n');
}
