// The documentation's offset tables come from the layouts in the code. A page holds a place for each, between two comments:
//
//   <!-- layout: recordHeader -->
//   (the table)
//   <!-- end of layout -->
//
// `npm run docs` writes the tables; the tidy test fails when a page disagrees with the code.

import type { Field, Layout } from '../../src/core/base/bytes.ts';

const WIDTHS = { u8: 1, u16: 2, u32: 4, u64: 8 } as const;

/** Whether an exported value was made by layout(). */
export function isLayout(value: unknown): value is Layout<string> {
  if (typeof value !== 'object' || value === null) return false;
  return 'fields' in value && Array.isArray(value.fields) && 'bytes' in value && typeof value.bytes === 'number' && 'at' in value;
}

/** The offset table of a layout, in Markdown. */
export function layoutTable(layout: Layout<string>): string {
  const rows = layout.fields.map(([name, type, meaning]: Field) => [String(layout.at[name]), String(WIDTHS[type]), `\`${name}\``, meaning]);
  rows.push([String(layout.bytes), '', '', 'end']);
  const table = [['offset', 'bytes', 'field', 'meaning'], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => (row[column] as string).length)));
  const line = (row: readonly string[]): string => `| ${row.map((cell, column) => cell.padEnd(widths[column] as number)).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [line(table[0] as string[]), rule, ...table.slice(1).map(line)].join('\n');
}

const PLACE = /<!-- layout: (\w+) -->\n([\s\S]*?)<!-- end of layout -->/g;

/** The places of a page: the layout's name and the text that stands there now. */
export function layoutPlaces(page: string): { name: string; text: string }[] {
  return [...page.matchAll(PLACE)].map((match) => ({ name: match[1] as string, text: match[2] as string }));
}

/** What stands in the place of a layout whose page is right. */
export function layoutPlaceText(layout: Layout<string>): string {
  return `\n${layoutTable(layout)}\n\n`;
}

/** The page with the tables of the given layouts filled in; places of unknown layouts stay as they are. */
export function fillLayouts(page: string, layouts: ReadonlyMap<string, Layout<string>>): string {
  return page.replace(PLACE, (place, name: string) => {
    const layout = layouts.get(name);
    return layout === undefined ? place : `<!-- layout: ${name} -->\n${layoutPlaceText(layout)}<!-- end of layout -->`;
  });
}
