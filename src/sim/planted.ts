// Bugs that are planted on purpose, to see whether the simulator finds them: edits of the core's source that are made while it is loaded, in a
// process of its own. The product has no trace of them. An edit whose text is not found exactly once fails loudly, so the list cannot rot.

import { fileURLToPath } from 'node:url';
import type { LoadHookSync } from 'node:module';

/** One planted bug. */
export interface PlantedBug {
  readonly name: string;
  /** Below src/core/. */
  readonly file: string;
  /** Text that occurs there exactly once, and what it becomes. */
  readonly find: string;
  readonly replace: string;
  /** The rule that it breaks. */
  readonly breaks: string;
}

/** The list. */
export const PLANTED: readonly PlantedBug[] = [];

/** A load hook that plants a bug. */
export function plant(bug: PlantedBug): LoadHookSync {
  const path = fileURLToPath(new URL(`../core/${bug.file}`, import.meta.url));
  return (url, context, nextLoad) => {
    const loaded = nextLoad(url, context);
    if (!url.startsWith('file:') || fileURLToPath(url) !== path) return loaded;
    return { ...loaded, source: plantInto(bug, sourceText(loaded.source)) };
  };
}

/** The source with the bug in it. */
export function plantInto(bug: PlantedBug, source: string): string {
  const parts = source.split(bug.find);
  if (parts.length !== 2) throw new Error(`planted bug ${bug.name}: its text occurs ${parts.length - 1} times in ${bug.file}, not once`);
  return parts.join(bug.replace);
}

function sourceText(source: unknown): string {
  if (typeof source === 'string') return source;
  if (source instanceof Uint8Array || source instanceof ArrayBuffer) return new TextDecoder().decode(source);
  throw new Error('a module without a source cannot be changed');
}
