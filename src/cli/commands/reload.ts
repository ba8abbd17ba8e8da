// tercet reload: has a site's daemon read the configuration again, and says what became of each change.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { CliContext, ConfigFlag } from '../context.ts';
import { clientOf, configFlag, print, printJson, readConfig } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly force: boolean;
  readonly json: boolean;
}

const TAKES = {
  now: 'in effect',
  agreed: 'in effect once every site has read the same: `tercet status`',
  restart: 'needs a restart of this daemon',
  elsewhere: 'a matter of another site',
} as const;

/** Exit code 78 when the new configuration has faults: then nothing was changed. */
export const reloadCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Have a site read the configuration again',
    fullDescription:
      'Says for each key that has changed since it was read last whether it is in effect now or needs a restart, and what has been waiting for one. A configuration with faults changes nothing (exit code 78), nor does one that leaves a group with several sync sites only one (exit code 5; --force). ' +
      'The signal SIGHUP does the same, and the answer is in the log.',
  },
  parameters: {
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site whose daemon is to read it', placeholder: 'NAME' },
      force: { kind: 'boolean', brief: 'Also if it leaves a group a single sync site', default: false },
      json: { kind: 'boolean', brief: 'Print it as JSON: docs/reference/cli-json.md', default: false },
    },
  },
  async func(this: CliContext, flags: Flags) {
    const config = await readConfig(this, flags);
    const report = await (await clientOf(config, flags.site)).reload({ force: flags.force });
    if (flags.json) {
      printJson(this, report);
      return;
    }
    if (report.changes.length === 0) print(this, `${report.file}: nothing has changed since it was read last`);
    for (const { key, was, now, takes } of report.changes) {
      print(this, `${key}: ${was ?? 'not set'} -> ${now ?? 'not set'} (${TAKES[takes]})`);
    }
    for (const { key, was, now } of report.pending ?? []) {
      print(this, `${key}: ${was ?? 'not set'} -> ${now ?? 'not set'} (pending since earlier: ${TAKES.restart})`);
    }
  },
});
