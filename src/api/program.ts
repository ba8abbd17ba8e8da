// What all programs of the package say of themselves: their version, from the one place that has it, and where their configuration is.

import { readFileSync } from 'node:fs';

import { assert } from '../core/base/assert.ts';

/** Version of this program, such as 0.1.0. */
export const VERSION: string = readVersion();

function readVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const version = typeof parsed === 'object' && parsed !== null && 'version' in parsed ? parsed.version : null;
  assert(typeof version === 'string', 'package.json has no version');
  return version;
}

/** Where the programs look for the configuration when they are not told. */
export const CONFIG_FILE_DEFAULT = '/etc/tercet/tercet.toml';
