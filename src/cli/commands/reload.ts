// tercet reload: has a site's daemon read the configuration again, and says what became of each change.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import type { CliContext, ConfigFlag } from '../context.ts';
import { EXIT } from '../../core/base/errors.ts';
import { clientOf, configFlag, print, printJson, readConfig } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly site: string;
  readonly force: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
}

const TAKES = {
  now: 'in effect',
  agreed: 'in effect once every site has read the same: `tercet status`',
  restart: 'needs a restart of this daemon',
  elsewhere: 'a matter of another site',
} as const;

/** Exit code 78 when the new configuration has faults, and nothing was changed, or the certificates have: then those before stay in use. */
export const reloadCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Have a site read the configuration again',
    fullDescription:
      'Says for each key that has changed since it was read last whether it is in effect now or needs a restart, and what has been waiting for one, and what became of the certificates. A configuration with faults changes nothing (exit code 78), nor does one that leaves a group with several sync sites only one (exit code 5; --force). Certificates with faults leave those before in use (exit code 78). ' +
      'The signal SIGHUP does the same, and the answer is in the log.',
  },
  parameters: {
    flags: {
      config: configFlag,
      site: { kind: 'parsed', parse: String, brief: 'The site whose daemon is to read it', placeholder: 'NAME' },
      force: { kind: 'boolean', brief: 'Also if it leaves a group a single sync site', default: false },
      dryRun: { kind: 'boolean', brief: 'Only say what it would come to', default: false },
      json: { kind: 'boolean', brief: 'Print it as JSON: docs/reference/cli-json.md', default: false },
    },
  },
  async func(this: CliContext, flags: Flags) {
    const config = await readConfig(this, flags);
    const report = await (await clientOf(config, flags.site)).reload({ force: flags.force, dryRun: flags.dryRun });
    if (report.certificates?.sound === false) this.process.exitCode = EXIT.configuration;
    if (flags.json) {
      printJson(this, report);
      return;
    }
    if (report.changes.length === 0) print(this, `${report.file}: nothing has changed since it was read last`);
    for (const { key, was, now, takes } of report.changes) {
      const becomes = flags.dryRun ? `not read yet; then: ${TAKES[takes]}` : TAKES[takes];
      const forGood = /^group\..+\.volume\[.+\]\.size$/.test(key) && takes === 'now' ? ', and never smaller again' : '';
      print(this, `${key}: ${was ?? 'not set'} -> ${now ?? 'not set'} (${becomes}${forGood})`);
    }
    for (const { key, was, now } of report.pending ?? []) {
      print(this, `${key}: ${was ?? 'not set'} -> ${now ?? 'not set'} (pending since earlier: ${TAKES.restart})`);
    }
    if (report.certificates !== undefined && report.certificates !== null) print(this, report.certificates.text);
  },
});
