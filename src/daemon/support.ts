// What a site's machine can tell those who help: its configuration, superblocks, decisions and the tail of its log, as texts. Nothing of volumes is
// read, and what is or looks like a secret is taken out of every text, also where it does not belong.

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { arch, freemem, loadavg, release, totalmem, uptime } from 'node:os';
import { join } from 'node:path';

import { parse } from 'smol-toml';

import { VERSION } from '../api/program.ts';
import { CELL_BYTES, readCell } from '../core/base/cell.ts';
import { SUPERBLOCK_FILE } from '../core/replica/superblock.ts';
import { machineDigests } from '../host/digests.ts';
import type { Config, SiteConfig } from './config.ts';
import { replicaFolder, tlsFilesOf } from './config.ts';

/** Of each log: its end. */
const LOG_BYTES_MAX = 2 * 1024 * 1024;
const JOURNAL_LINES_MAX = 5000;
/** In place of a secret. */
const TAKEN_OUT = '[taken out]';
/** A shorter secret would be found in every other word. */
const SECRET_CHARS_MIN = 6;

/** Files of the bundle, by name. */
export type SupportFiles = ReadonlyMap<string, string>;

/** Takes secrets out of a text. */
export type Cleaner = (text: string) => string;

/** What can be told without a daemon. `logs`: files whose ends are wanted. */
export function machineFiles(config: Config, site: SiteConfig, logs: readonly string[]): SupportFiles {
  const clean = cleanerOf(config, site);
  const files = new Map<string, string>();
  const add = (name: string, text: string): void => void files.set(name, clean(text));
  add('about.json', JSON.stringify(aboutMachine(site), null, 2));
  // Read and written again: comments are left out, they may hold anything.
  add('config.json', JSON.stringify(withoutSecrets(parse(config.text)), null, 2));
  for (const group of config.groups.filter(({ sites }) => sites.some(({ name }) => name === site.name))) {
    const folder = replicaFolder(site, group.name);
    add(`${group.name}/superblock.json`, superblockText(join(folder, SUPERBLOCK_FILE)));
    for (const name of ['decisions.1.jsonl', 'decisions.jsonl']) {
      const path = join(folder, name);
      if (existsSync(path)) add(`${group.name}/${name}`, endOf(path));
    }
  }
  for (const [index, path] of logs.entries()) add(`log-${index}.txt`, endOf(path));
  const journal = journalOf(`tercetd@${site.name}.service`);
  if (journal !== null) add('journal.txt', journal);
  return files;
}

function aboutMachine(site: SiteConfig): object {
  return {
    site: site.name,
    version: VERSION,
    node: process.version,
    system: `${process.platform} ${arch()} ${release()}`,
    time: new Date().toISOString(),
    uptimeSeconds: Math.round(uptime()),
    load: loadavg(),
    memoryBytes: { total: totalmem(), free: freemem() },
  };
}

/** The values of keys that name secrets are taken out; paths stay. */
function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  const isSecret = (key: string): boolean => /password|passphrase|secret|token$/i.test(key);
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, isSecret(key) ? TAKEN_OUT : withoutSecrets(each)]));
}

/** The newest value that can be read, as JSON, or why there is none. Reading does not disturb a daemon that runs. */
function superblockText(path: string): string {
  try {
    const cell = new Uint8Array(CELL_BYTES);
    const file = openSync(path, 'r');
    try {
      readSync(file, cell, 0, cell.length, 0);
    } finally {
      closeSync(file);
    }
    return JSON.stringify(
      readCell(cell, (bytes, seed) => machineDigests.crc32(bytes, seed)),
      null,
      2,
    );
  } catch (error) {
    return JSON.stringify({ unreadable: error instanceof Error ? error.message : String(error) });
  }
}

function endOf(path: string): string {
  try {
    const file = openSync(path, 'r');
    try {
      const { size } = fstatSync(file);
      const bytes = Buffer.alloc(Math.min(size, LOG_BYTES_MAX));
      readSync(file, bytes, 0, bytes.length, size - bytes.length);
      return bytes.toString('utf8');
    } finally {
      closeSync(file);
    }
  } catch (error) {
    return `cannot be read: ${error instanceof Error ? error.message : String(error)}\n`;
  }
}

/** The end of the unit's journal; null where there is no systemd that has one. */
function journalOf(unit: string): string | null {
  const { status, stdout } = spawnSync('journalctl', ['-u', unit, '-n', String(JOURNAL_LINES_MAX), '--no-pager', '-o', 'short-iso'], {
    encoding: 'utf8',
    timeout: 20_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  return status === 0 && stdout !== '' ? stdout.slice(-LOG_BYTES_MAX) : null;
}

/** Takes out what this site's files say is secret, and what looks like it. */
export function cleanerOf(config: Config, site: SiteConfig): Cleaner {
  const known = [site.pageTokenFile, tlsFilesOf(config, site.name)?.key ?? null].flatMap((path) => (path === null ? [] : secretsIn(path)));
  return (text) => {
    let clean = text;
    for (const secret of known) clean = clean.replaceAll(secret, TAKEN_OUT);
    return clean
      .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, TAKEN_OUT)
      .replace(/\b(Bearer|Basic) +[A-Za-z0-9._~+/=-]+/g, `$1 ${TAKEN_OUT}`)
      .replace(/([a-z][a-z0-9+.-]*:\/\/)[^/@\s"']+@/gi, `$1${TAKEN_OUT}@`)
      .replace(/((?:password|passphrase|secret|token)["']?\s*[:=]\s*["']?)(?!\[taken out\])[^\s"',}]+/gi, `$1${TAKEN_OUT}`);
  };
}

/** A token, or the lines of a key. */
function secretsIn(path: string): readonly string[] {
  try {
    const lines = readFileSync(path, 'utf8').split('\n');
    return lines.map((line) => line.trim()).filter((line) => line.length >= SECRET_CHARS_MIN && !line.startsWith('-----'));
  } catch {
    // What this user cannot read stands in nothing that this user collects.
    return [];
  }
}
