// The files that the repository's own rules are about: everything in the folder that .gitignore does not leave out.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import type { Layout } from '../../src/core/base/bytes.ts';
import { isLayout } from './layouts.ts';
import { mask } from './source.ts';

/** The repository's folder. */
export const ROOT: string = join(import.meta.dirname, '..', '..');

/** Paths of all files, relative to the repository, sorted. */
export function listFiles(): string[] {
  const ignored = readFileSync(join(ROOT, '.gitignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  const isIgnored = (path: string, name: string): boolean =>
    name === '.git' ||
    ignored.some((line) =>
      line.startsWith('*') ? name.endsWith(line.slice(1)) : line.replace(/^\/|\/$/g, '') === (line.startsWith('/') ? path : name),
    );
  const walk = (folder: string): string[] =>
    readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (isIgnored(path, entry.name)) return [];
      return entry.isDirectory() ? walk(path) : [path];
    });
  return walk('').sort();
}

/** The text of a file of the repository. */
export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** All layouts that the core exports, by name, and the modules that call layout() more often than they export one. */
export async function coreLayouts(files: readonly string[]): Promise<{ layouts: Map<string, Layout<string>>; hidden: string[] }> {
  const layouts = new Map<string, Layout<string>>();
  const hidden: string[] = [];
  for (const path of files) {
    if (!path.startsWith('src/core/') || !path.endsWith('.ts') || path === 'src/core/base/bytes.ts') continue;
    const calls = [...mask(readText(path)).matchAll(/\blayout\(/g)].length;
    if (calls === 0) continue;
    const module = (await import(pathToFileURL(join(ROOT, path)).href)) as Record<string, unknown>;
    const exported = Object.entries(module).filter((entry): entry is [string, Layout<string>] => isLayout(entry[1]));
    if (exported.length < calls) hidden.push(`${path} makes ${calls} layouts and exports ${exported.length}: export them all`);
    for (const [name, layout] of exported) {
      if (layouts.has(name)) hidden.push(`${path}: a layout named ${name} exists elsewhere too: rename one`);
      layouts.set(name, layout);
    }
  }
  return { layouts, hidden };
}
