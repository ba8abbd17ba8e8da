// All commands, and how they end: every error is one sentence, every exit code is one of EXIT (src/core/base/errors.ts).

import type { Application, ApplicationText, Command, RouteMap } from '@stricli/core';
import { buildApplication, buildCommand, buildRouteMap, run, text_en } from '@stricli/core';

import { VERSION } from '../api/program.ts';
import { RemoteError } from '../api/client.ts';
import { EXIT, TercetError } from '../core/base/errors.ts';
import { attachCommand } from './commands/attach.ts';
import { certRoutes } from './commands/cert.ts';
import { checkCommand } from './commands/check.ts';
import { createCommand } from './commands/create.ts';
import { deleteCommand } from './commands/delete.ts';
import { doctorCommand } from './commands/doctor.ts';
import { drainCommand } from './commands/drain.ts';
import { eventsCommand } from './commands/events.ts';
import { pauseCommand, resumeCommand } from './commands/pause.ts';
import { resyncCommand } from './commands/resync.ts';
import { exportCommand } from './commands/export.ts';
import { explainCommand } from './commands/explain.ts';
import { pointRoutes } from './commands/point.ts';
import { promoteCommand } from './commands/promote.ts';
import { reloadCommand } from './commands/reload.ts';
import { sidefileRoutes } from './commands/sidefile.ts';
import { demoteCommand, failbackCommand, switchoverCommand } from './commands/switchover.ts';
import { statusCommand } from './commands/status.ts';
import { stopCommand } from './commands/stop.ts';
import { supportCommand } from './commands/support.ts';
import { verifyCommand } from './commands/verify.ts';
import { witnessRoutes } from './commands/witness.ts';
import { COMPLETE, complete } from './completion.ts';
import type { CliContext, ConfigFlag, GroupConfig } from './context.ts';
import { configFile, configFlag, print, readConfig } from './context.ts';
import { bytesText, countText } from '../api/text.ts';

const checkConfigCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Check the configuration',
    fullDescription:
      'Reports every fault at once, each with its line and the remedy. Exit code 78 when there is one. Notes name what is allowed and seldom meant.',
  },
  parameters: { flags: { config: configFlag } },
  async func(this: CliContext, flags: ConfigFlag) {
    const { sites, groups } = await readConfig(this, flags);
    const volumeCount = groups.reduce((sum, group) => sum + group.volumes.length, 0);
    const parts = [countText(sites.length, 'site'), countText(groups.length, 'group'), countText(volumeCount, 'volume')];
    print(this, `${configFile(this, flags)} is sound: ${parts.join(', ')}`);
    for (const group of groups) for (const note of notesOf(group)) print(this, `note: group ${group.name}: ${note}`);
  },
});

/** What is allowed, and seldom meant. */
function notesOf({ sites }: GroupConfig): readonly string[] {
  const notes: string[] = [];
  for (const { name, mode, linkBytesPerSecond, compress } of sites) {
    if (mode !== 'sync') continue;
    if (linkBytesPerSecond !== undefined)
      notes.push(`${name} is sync and gets ${bytesText(linkBytesPerSecond)}/s at most: hosts write no faster than that`);
    if (compress !== undefined) notes.push(`${name} is sync and what goes to it is packed: hosts wait for that too`);
  }
  return notes;
}

const versionCommand: Command<CliContext> = buildCommand({
  docs: { brief: 'Print the version' },
  parameters: {},
  func(this: CliContext) {
    print(this, `tercet ${VERSION}`);
  },
});

/** An error as a person reads it: the sentence alone where it is meant for people, everything where it is a fault of the program. */
function errorText(error: unknown): string {
  if (error instanceof TercetError || error instanceof RemoteError) return `tercet: ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

const text: ApplicationText = {
  ...text_en,
  exceptionWhileRunningCommand: errorText,
  exceptionWhileLoadingCommandFunction: errorText,
};

/** All commands. */
export const commands: RouteMap<CliContext> = buildRouteMap({
  docs: { brief: 'Block volumes mirrored over three sites' },
  routes: {
    status: statusCommand,
    explain: explainCommand,
    events: eventsCommand,
    create: createCommand,
    delete: deleteCommand,
    switchover: switchoverCommand,
    failback: failbackCommand,
    demote: demoteCommand,
    promote: promoteCommand,
    drain: drainCommand,
    export: exportCommand,
    stop: stopCommand,
    resync: resyncCommand,
    pause: pauseCommand,
    resume: resumeCommand,
    attach: attachCommand,
    point: pointRoutes,
    sidefile: sidefileRoutes,
    verify: verifyCommand,
    witness: witnessRoutes,
    cert: certRoutes,
    reload: reloadCommand,
    doctor: doctorCommand,
    support: supportCommand,
    check: checkCommand,
    'check-config': checkConfigCommand,
    version: versionCommand,
  },
});

const app: Application<CliContext> = buildApplication(commands, {
  name: 'tercet',
  versionInfo: { currentVersion: VERSION },
  scanner: { caseStyle: 'allow-kebab-for-camel', allowArgumentEscapeSequence: true },
  documentation: { caseStyle: 'convert-camel-to-kebab' },
  localization: { text },
  determineExitCode: (error) => (error instanceof TercetError || error instanceof RemoteError ? error.exit : EXIT.invariant),
});

/** Runs one command line. The exit code is in context.process.exitCode when it has ended. */
export async function runCli(inputs: readonly string[], context: CliContext): Promise<void> {
  if (inputs[0] === COMPLETE) {
    await complete(commands, inputs.slice(1), context);
    return;
  }
  await run(app, inputs, context);
  const { exitCode } = context.process;
  // The library's own codes for wrong command lines are negative.
  if (typeof exitCode === 'number' && exitCode < 0) context.process.exitCode = EXIT.usage;
}
