// Faults of a configuration: all of them are collected and told at once, each with its line, its key, the value and the remedy.

import * as z from 'zod';

import { TercetError } from '../core/base/errors.ts';
import type { KeyPath, TomlPlaces } from './toml-places.ts';

/** Longest part of an offending value that is repeated in its fault. */
const VALUE_CHARS_MAX = 60;
/** Longest word for which the nearest known one is looked for. */
const WORD_CHARS_MAX = 64;

/** Collects the faults of one file. */
export class ConfigFaults {
  readonly #places: TomlPlaces;
  readonly #found: { readonly line: number; readonly text: string }[] = [];

  constructor(places: TomlPlaces) {
    this.#places = places;
  }

  /** A value that is there and wrong. `text` says what it must be instead. */
  wrong(path: KeyPath, value: unknown, text: string): void {
    const fallback = this.#places.has(path) ? '' : ' (the default)';
    this.#add(path, `${keyText(path)} = ${valueText(value)}${fallback}: ${text}`);
  }

  /** Something that is missing, or wrong as a whole, so that repeating its value would not help. */
  about(path: KeyPath, text: string): void {
    this.#add(path, path.length === 0 ? text : `${keyText(path)} ${text}`);
  }

  /** Throws TERCET_CONFIG with all faults in the order of the file, if there are any. */
  throwIfAny(file: string): void {
    if (this.#found.length === 0) return;
    const sorted = [...this.#found].sort((a, b) => a.line - b.line);
    const faults = sorted.map((fault) => `  line ${fault.line}: ${fault.text}`).join('\n');
    throw new TercetError('TERCET_CONFIG', { file, count: sorted.length, faults });
  }

  #add(path: KeyPath, text: string): void {
    this.#found.push({ line: this.#places.lineOf(path), text });
  }
}

/**
 * Reads one table of the file. Faults of its keys are collected; the values of the sound ones are returned, so that relations between those
 * can be checked in the same run. Each schema's message is what the value must be, beginning with "must be".
 */
export function readTable<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
  table: unknown,
  path: KeyPath,
  faults: ConfigFaults,
): Partial<z.output<z.ZodObject<Shape>>> {
  const result = z.strictObject(shape).safeParse(table, { reportInput: true });
  if (result.success) return result.data;
  const unsound = new Set<PropertyKey>();
  for (const issue of result.error.issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) faults.wrong([...path, key], member(table, [key]), unknownText(key, path, Object.keys(shape)));
      continue;
    }
    if (issue.path.length === 0) {
      faults.wrong(path, table, 'must be a table');
      return {};
    }
    unsound.add(issue.path[0] ?? '');
    const within = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
    const value = member(table, within);
    if (value === undefined) faults.about([...path, ...within], `is missing: it ${issue.message}`);
    else faults.wrong([...path, ...within], value, issue.message);
  }
  const sound = Object.entries(shape).filter(([key]) => !unsound.has(key));
  return z.object(Object.fromEntries(sound)).parse(table) as Partial<z.output<z.ZodObject<Shape>>>;
}

function member(table: unknown, path: KeyPath): unknown {
  let value: unknown = table;
  for (const step of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string | number, unknown>)[step];
  }
  return value;
}

const TOP_KEYS = ['insecure'];

function unknownText(key: string, path: KeyPath, known: readonly string[]): string {
  if (path.length > 0 && TOP_KEYS.includes(key)) return 'belongs at the top of the file, before the first [table]';
  const near = nearest(key, known);
  return near === null ? `is not a key here; known are ${known.join(', ')}` : `is not a key here; did you mean "${near}"?`;
}

/** The known word that was probably meant: at most a third of its letters differ. null when none is near. */
export function nearest(word: string, known: readonly string[]): string | null {
  if (word.length > WORD_CHARS_MAX) return null;
  const ranked = known.map((name) => ({ name, distance: editDistance(word, name) })).sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.name.length / 3)) ? best.name : null;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  const cell = (line: number, column: number): number => rows[line]?.[column] ?? 0;
  for (let line = 1; line <= from.length; line++) {
    rows.push([line]);
    for (let column = 1; column <= to.length; column++) {
      const same = from[line - 1] === to[column - 1];
      const swapped = line > 1 && column > 1 && from[line - 1] === to[column - 2] && from[line - 2] === to[column - 1];
      const ways = [cell(line - 1, column) + 1, cell(line, column - 1) + 1, cell(line - 1, column - 1) + (same ? 0 : 1)];
      if (swapped) ways.push(cell(line - 2, column - 2) + 1);
      rows[line]?.push(Math.min(...ways));
    }
  }
  return cell(from.length, to.length);
}

/** A key path as it would be written in TOML: group.db.volume[0].size. */
function keyText(path: KeyPath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += `${text === '' ? '' : '.'}${/^[A-Za-z0-9_-]+$/.test(step) ? step : JSON.stringify(step)}`;
  }
  return text;
}

function valueText(value: unknown): string {
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length <= VALUE_CHARS_MAX ? text : `${text.slice(0, VALUE_CHARS_MAX)}…`;
}
