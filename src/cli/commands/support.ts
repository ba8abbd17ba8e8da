// tercet support: everything that those who help will ask for, in one archive, without secrets and without data of volumes.

import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { ControlClient, RemoteError } from '../../api/client.ts';
import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, LoadedConfig } from '../context.ts';
import { configFlag, print, readConfig } from '../context.ts';
import { gatherStatus, statusLines } from '../status-report.ts';
import { tarOf } from '../tar.ts';
import { readView, witnessOf } from './witness.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly out?: string;
  readonly log?: readonly string[];
}

/** Tells what it could not have as well: a daemon that does not answer is what a bundle is often about. */
export const supportCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Collect what those who help will ask for',
    fullDescription:
      'Writes an archive (.tar.gz) with versions, the configuration without comments, statuses, events, decisions, superblocks, the witness and the end of the ' +
      'log of this machine. It holds no data of volumes; keys, tokens and passwords are taken out. It runs whether the daemon runs or not. Look into it before you send it.',
  },
  parameters: {
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site, on whose machine this runs', placeholder: 'NAME' },
      out: {
        kind: 'parsed',
        parse: String,
        brief: 'File to write; default: tercet-support-NAME.tar.gz here',
        placeholder: 'FILE',
        optional: true,
      },
      log: {
        kind: 'parsed',
        parse: String,
        brief: 'A log file whose end is added; more than once for several',
        placeholder: 'FILE',
        variadic: true,
        optional: true,
      },
    },
  },
  async func(this: CliContext, flags: Flags) {
    const config = await readConfig(this, flags);
    const site = config.siteOf(flags.site);
    const { cleanerOf, machineFiles } = await import('../../daemon/support.ts');
    const clean = cleanerOf(config, site);
    const files = new Map(machineFiles(config, site, flags.log ?? []));
    for (const [name, text] of await askedFiles(config, site.name)) files.set(name, clean(text));
    const out = flags.out ?? `tercet-support-${site.name}.tar.gz`;
    // Only for whoever collects it: it is theirs to look through and to send.
    writeFileSync(out, gzipSync(tarOf(files, Math.floor(Date.now() / 1000))), { mode: 0o600 });
    print(this, `${out}: ${[...files.keys()].join(', ')}`);
    print(this, 'It holds no data of volumes; secrets are taken out where they were found. Look into it before you send it.');
  },
});

/** What daemons and the witness say, or why they say nothing. */
async function askedFiles(config: LoadedConfig, site: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const groups = config.groups.map(({ name }) => name);
  const report = await gatherStatus(config.reach, config.sites, groups);
  files.set('status.json', JSON.stringify(report, null, 2));
  files.set('status.txt', `${statusLines(report, (_kind, text) => text).join('\n')}\n`);
  const client = new ControlClient(config.siteOf(site).control);
  await add(files, 'events.jsonl', async () => {
    const lines: string[] = [];
    for await (const event of client.events({ after: null, follow: false })) lines.push(JSON.stringify(event));
    return `${lines.join('\n')}\n`;
  });
  for (const group of config.groups.filter(({ sites }) => sites.some(({ name }) => name === site)))
    await add(files, `${group.name}/explain.json`, async () => JSON.stringify(await client.explain(group.name), null, 2));
  await add(files, 'witness.json', async () => {
    const witness = await witnessOf(config);
    return JSON.stringify(await Promise.all(groups.map((group) => readView(witness, group))), null, 2);
  });
  return files;
}

async function add(files: Map<string, string>, name: string, text: () => Promise<string>): Promise<void> {
  try {
    files.set(name, await text());
  } catch (error) {
    if (!(error instanceof TercetError) && !(error instanceof RemoteError)) throw error;
    files.set(name, `${error.message}\n`);
  }
}
