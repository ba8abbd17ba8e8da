// What a command is given, and what several of them need: the configuration, a site's API, and output that respects who reads it.

import { styleText } from 'node:util';

import type { StricliProcess } from '@stricli/core';

import type { ControlClient } from '../api/client.ts';
import { CONFIG_FILE_DEFAULT } from '../api/program.ts';
import { TercetError } from '../core/base/errors.ts';
import { Reach } from './reach.ts';
import type { Screen } from './screen.ts';

// The configuration belongs to the daemon, whose modules a command loads only when it runs.
type ConfigModule = typeof import('../daemon/config.ts');
type SiteConfig = import('../daemon/config.ts').SiteConfig;
/** One group of the configuration. */
export type GroupConfig = import('../daemon/config.ts').GroupConfig;

/** The configuration, with its look-ups: they throw TERCET_NO_SUCH_SITE and TERCET_NO_SUCH_GROUP. */
export interface LoadedConfig extends ReturnType<ConfigModule['loadConfig']> {
  /** Ways to the daemons. */
  readonly reach: Reach;
  siteOf(name: string): SiteConfig;
  groupOf(name: string): GroupConfig;
  /** Where a site keeps the base image of a volume. */
  baseImageOf(site: string, group: string, volume: string): string;
}

/** The world of a command. Tests give their own. */
export interface CliContext {
  readonly process: StricliProcess;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether the output may have colours. */
  readonly colour: boolean;
  /** Asks a question that is answered with yes or no; null when there is nobody to ask. */
  readonly ask: ((question: string) => Promise<boolean>) | null;
  /** Takes the whole terminal over; missing where there is none, or it can do no more than print. */
  readonly screen?: (() => Screen) | null;
}

/** The flag that every command with a configuration has. */
export interface ConfigFlag {
  readonly config?: string;
}

/** Its definition. */
export const configFlag = {
  kind: 'parsed',
  parse: String,
  brief: `The configuration; default: $TERCET_CONFIG, or ${CONFIG_FILE_DEFAULT}`,
  placeholder: 'FILE',
  optional: true,
} as const;

/** The file that a command reads. */
export function configFile(context: CliContext, flags: ConfigFlag): string {
  return flags.config ?? (context.env['TERCET_CONFIG'] || CONFIG_FILE_DEFAULT);
}

/** Reads the configuration. Throws TERCET_CONFIG or TERCET_CONFIG_UNREADABLE. */
export async function readConfig(context: CliContext, flags: ConfigFlag): Promise<LoadedConfig> {
  const { groupOf, loadConfig, replicaFolder, siteOf } = await import('../daemon/config.ts');
  const config = loadConfig(configFile(context, flags));
  return {
    ...config,
    reach: new Reach(config, context.env),
    siteOf: (name) => siteOf(config, name),
    groupOf: (name) => groupOf(config, name),
    baseImageOf: (site, group, volume) => {
      const own = groupOf(config, group)
        .volumes.find(({ name }) => name === volume)
        ?.base.get(site);
      return own ?? `${replicaFolder(siteOf(config, site), group)}/base-${volume}.img`;
    },
  };
}

/** One line of the answer. */
export function print(context: CliContext, text: string): void {
  context.process.stdout.write(`${text}\n`);
}

/** A value of the `--json` contract. */
export function printJson(context: CliContext, value: unknown): void {
  print(context, JSON.stringify(value, null, 2));
}

/** Marks text where colours are allowed; the text alone says the same. */
export function styled(context: CliContext): (kind: 'bad' | 'dim', text: string) => string {
  const styles = { bad: 'red', dim: 'dim' } as const;
  return (kind, text) => (context.colour ? styleText(styles[kind], text, { validateStream: false }) : text);
}

/** Marks text of the full screen: like `styled`, with what stands out. */
export function toned(context: CliContext): (tone: 'plain' | 'good' | 'bad' | 'dim' | 'strong', text: string) => string {
  const styles = { good: 'green', bad: 'red', dim: 'dim', strong: 'bold' } as const;
  return (tone, text) => (context.colour && tone !== 'plain' ? styleText(styles[tone], text, { validateStream: false }) : text);
}

/** The API of a site. Throws TERCET_UNREACHABLE. */
export async function clientOf(config: LoadedConfig, site: string): Promise<ControlClient> {
  return (await config.reach.site(config.siteOf(site))).client;
}

/** The volume that GROUP/VOLUME names. `command`: who asks, for the error. Throws TERCET_NO_SUCH_VOLUME. */
export function volumeOf(
  config: LoadedConfig,
  name: string,
  command: string,
): { readonly group: GroupConfig; readonly volume: GroupConfig['volumes'][number] } {
  const [groupName = '', volumeName = '', more] = name.split('/');
  if (volumeName === '' || more !== undefined)
    throw new TercetError('TERCET_BAD_REQUEST', { what: `\`${command}\``, reason: `"${name}" must be GROUP/VOLUME` });
  const group = config.groupOf(groupName);
  const volume = group.volumes.find((each) => each.name === volumeName);
  if (volume !== undefined) return { group, volume };
  const known = group.volumes.map((each) => each.name).join(', ');
  throw new TercetError('TERCET_NO_SUCH_VOLUME', { group: groupName, volume: volumeName, known });
}
