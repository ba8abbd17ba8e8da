// tercet status: one line for each group when all is well, and otherwise first what is wrong.

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { EXIT, TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { configFlag, print, printJson, readConfig, styled } from '../context.ts';
import { gatherStatus, statusLines } from '../status-report.ts';
import type { Watched } from '../watch-screen.ts';
import { watchStatus } from '../watch-screen.ts';

interface Flags extends ConfigFlag {
  readonly json: boolean;
  readonly watch: boolean;
  readonly site?: string;
}

/** Exit codes: 0 all is well, 3 something is wrong, 4 no site answers. */
export const statusCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Say how the groups are',
    fullDescription:
      'Asks every site whose control address can be reached from here. One line for each group when all is well; otherwise it begins with what is wrong. ' +
      'Exit code 0: all is well; 3: something is wrong; 4: no site answers. ' +
      'With --watch it fills the terminal, each second anew, with who serves, flags, leases, lag, rates, resyncs and the last events, until q or Ctrl-C.',
  },
  parameters: {
    flags: {
      config: configFlag,
      json: { kind: 'boolean', brief: 'Print everything as JSON: docs/reference/cli-json.md', default: false },
      watch: { kind: 'boolean', brief: 'Fill the terminal and go on until q or Ctrl-C; arrow keys scroll', default: false },
      site: { kind: 'parsed', parse: String, brief: 'Ask this site only', placeholder: 'NAME', optional: true },
    },
  },
  async func(this: CliContext, flags: Flags) {
    const config = await readConfig(this, flags);
    const sites = flags.site === undefined ? config.sites : [config.siteOf(flags.site)];
    const groups = config.groups.filter((group) => group.sites.some((copy) => sites.some((site) => site.name === copy.name)));
    if (flags.watch) {
      await watch(this, flags, { reach: config.reach, sites, groups });
      return;
    }
    const report = await gatherStatus(
      config.reach,
      sites,
      groups.map((group) => group.name),
    );
    if (flags.json) printJson(this, report);
    else for (const line of statusLines(report, styled(this))) print(this, line);
    if (report.sites.every((site) => !site.reachable)) this.process.exitCode = EXIT.unreachable;
    else if (!report.well) this.process.exitCode = EXIT.notInState;
  },
});

async function watch(context: CliContext, flags: Flags, watched: Watched): Promise<void> {
  const usage = (reason: string): TercetError => new TercetError('TERCET_BAD_REQUEST', { what: '`tercet status`', reason });
  if (flags.json) throw usage('--watch draws for people; for programs ask for --json again and again, or follow `tercet events`');
  const screen = context.screen ?? null;
  if (screen === null) throw usage('--watch needs a terminal for input and output that can place text');
  await watchStatus(context, watched, screen());
}
