// The manual pages, in roff: of the commands from their definitions, of the configuration and the ways out from the documentation.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { VERSION } from '../../src/api/program.ts';
import { commands } from '../../src/cli/app.ts';
import type { CommandPage } from '../../src/cli/describe.ts';
import { describeCommands } from '../../src/cli/describe.ts';
import { EXIT, EXIT_MEANINGS } from '../../src/core/base/errors.ts';
import { USAGE as TERCETD_USAGE } from '../../src/daemon/usage.ts';

/** Of the text, not of the build: the same sources give the same package. */
const PAGE_DATE = '2026-11-29';
const ROOT = join(import.meta.dirname, '..', '..');

/** Text as roff takes it: nothing in it is a request or an escape. */
function escape(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1');
}

function page(name: string, section: number, parts: readonly string[]): string {
  return [`.TH ${name.toUpperCase()} ${section} ${PAGE_DATE} "tercet ${VERSION}" "Tercet"`, ...parts, ''].join('\n');
}

const heading = (text: string): string => `.SH ${text}`;
const item = (term: string, text: string): string => `.TP\n.B ${escape(term)}\n${plainText(text)}`;

function commandPart({ form, brief, description, flags }: CommandPage): string {
  const options = flags.map((flag) => item(flag.form, `${flag.brief}${flag.needed ? ' (needed)' : ''}.`));
  const indented = options.length === 0 ? [] : ['.RS', ...options, '.RE'];
  return [`.SS ${escape(form)}`, plainText(`${brief}.${description === null ? '' : ` ${description}`}`), ...indented].join('\n');
}

function exitPart(): string {
  return Object.entries(EXIT)
    .map(([name, code]) => item(String(code), EXIT_MEANINGS[name as keyof typeof EXIT].replaceAll('`', '')))
    .join('\n');
}

/** A page of the documentation in roff: headings, paragraphs, lists, tables as items, code. */
function fromMarkdown(markdown: string): string {
  const lines: string[] = [];
  let inCode = false;
  let paragraph = true;
  for (const written of markdown.split('\n')) {
    // Code in an item of a list stands further right.
    const line = inCode || /^ +```/.test(written) ? written.replace(/^ {0,3}/, '') : written;
    if (line.startsWith('```')) {
      lines.push(inCode ? '.EE\n.RE' : '.RS 4\n.EX');
      inCode = !inCode;
    } else if (inCode) lines.push(escape(line));
    else if (line.startsWith('# ') || line.startsWith('<!--') || /^\| *-/.test(line)) continue;
    else if (/^#{2,} /.test(line)) lines.push(`${line.startsWith('## ') ? '.SH' : '.SS'} ${plainText(line.replace(/^#+ /, ''))}`);
    else if (line.startsWith('| ')) lines.push(rowItem(line));
    else if (/^(- |[0-9]+\. )/.test(line))
      lines.push(`.IP ${line.startsWith('-') ? '\\(bu' : line.split(' ')[0]} 4\n${plainText(line.replace(/^(- |[0-9]+\. )/, ''))}`);
    else if (line.trim() === '') {
      if (paragraph) lines.push('.PP');
    } else lines.push(plainText(line.trim()));
    paragraph = line.trim() !== '' && !line.startsWith('#');
  }
  const needless = (line: string, index: number): boolean =>
    line === '.PP' &&
    (index === 0 || /^\.S[HS]/.test(lines[index - 1] as string) || /^\.(SH|SS|IP|TP|PP|RS)/.test(lines[index + 1] ?? '.SH'));
  return lines.filter((line, index) => !needless(line, index)).join('\n');
}

function rowItem(line: string): string {
  const [first = '', ...others] = line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) => plainText(cell.trim()));
  const text = others.filter((cell) => cell !== '').join('. ');
  return `.TP\n.B ${first === '' ? '\\&' : first}\n${text === '' ? '\\&' : text}`;
}

function plainText(text: string): string {
  return escape(
    text
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replaceAll('`', '')
      .replaceAll('**', '')
      .replaceAll('\\|', '|'),
  );
}

const reading = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** All pages, by file name. */
export function manualPages(): ReadonlyMap<string, string> {
  const pages = describeCommands(commands);
  const tercet = page('tercet', 1, [
    heading('NAME'),
    'tercet \\- block volumes mirrored over three sites: the command',
    heading('SYNOPSIS'),
    pages.map(({ form, flags }) => `.B ${escape(form)}${flags.length === 0 ? '' : ' [OPTION...]'}`).join('\n.br\n'),
    heading('COMMANDS'),
    ...pages.map(commandPart),
    heading('EXIT STATUS'),
    exitPart(),
    heading('FILES'),
    item('/etc/tercet/tercet.toml', 'The configuration; TERCET_CONFIG or \\-\\-config name another.'.replaceAll('\\-', '-')),
    heading('SEE ALSO'),
    '.BR tercetd (8),\n.BR tercet.toml (5),\n.BR tercet-nbd (7),\n.BR tercet-recovery (7)',
  ]);
  const tercetd = page('tercetd', 8, [
    heading('NAME'),
    'tercetd \\- block volumes mirrored over three sites: the daemon of a site',
    heading('SYNOPSIS'),
    '.B tercetd --site\n.I NAME\n[OPTION...]'.replaceAll('--', '\\-\\-'),
    heading('DESCRIPTION'),
    '.EX',
    escape(TERCETD_USAGE),
    '.EE',
    heading('SIGNALS'),
    item('SIGTERM, SIGINT', 'Ends in order, within 10 seconds.'),
    item('SIGHUP', 'Reads the configuration again. The log says what has changed and what needs a restart.'),
    heading('EXIT STATUS'),
    exitPart(),
    heading('SEE ALSO'),
    '.BR tercet (1),\n.BR tercet.toml (5)',
  ]);
  return new Map([
    ['tercet.1', tercet],
    ['tercetd.8', tercetd],
    [
      'tercet.toml.5',
      page('tercet.toml', 5, [
        heading('NAME'),
        'tercet.toml \\- configuration of Tercet',
        heading('DESCRIPTION'),
        fromMarkdown(reading('docs/reference/config.md')),
      ]),
    ],
    [
      'tercet-nbd.7',
      page('tercet-nbd', 7, [
        heading('NAME'),
        'tercet\\-nbd \\- what hosts see of a volume over NBD',
        heading('DESCRIPTION'),
        fromMarkdown(reading('docs/reference/nbd.md')),
      ]),
    ],
    [
      'tercet-recovery.7',
      page('tercet-recovery', 7, [
        heading('NAME'),
        'tercet\\-recovery \\- what to do when something is wrong',
        heading('DESCRIPTION'),
        fromMarkdown(reading('docs/recovery.md')),
      ]),
    ],
  ]);
}
