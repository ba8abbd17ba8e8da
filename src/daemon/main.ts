// The command `tercetd`: the daemon of one site.

import { parseArgs } from 'node:util';

import { EXIT, TercetError } from '../core/base/errors.ts';
import { CONFIG_FILE_DEFAULT, VERSION } from '../api/program.ts';
import { loadConfig, siteOf } from './config.ts';
import { USAGE } from './usage.ts';

interface Arguments {
  readonly config: string;
  readonly site: string | undefined;
  readonly checkOnly: boolean;
}

/** Reads the command line; ends the process where it asks for no daemon, or cannot be understood. */
function readArguments(): Arguments {
  try {
    const { values } = parseArgs({
      options: {
        site: { type: 'string' },
        config: { type: 'string', default: process.env['TERCET_CONFIG'] || CONFIG_FILE_DEFAULT },
        'check-config': { type: 'boolean', default: false },
        version: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) return end(EXIT.done, USAGE);
    if (values.version) return end(EXIT.done, `tercetd ${VERSION}`);
    if (values.site === undefined && !values['check-config']) return end(EXIT.usage, `tercetd: --site is missing\n\n${USAGE}`);
    return { config: values.config, site: values.site, checkOnly: values['check-config'] };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return end(EXIT.usage, `tercetd: ${error.message}\n\n${USAGE}`);
  }
}

function end(code: number, text: string): never {
  (code === EXIT.done ? process.stdout : process.stderr).write(`${text}\n`);
  process.exit(code);
}

async function main(): Promise<void> {
  const { config: file, site, checkOnly } = readArguments();
  const config = loadConfig(file);
  if (site !== undefined) siteOf(config, site);
  if (checkOnly && site !== undefined) (await import('./ground.ts')).openTls(config, site);
  if (checkOnly) end(EXIT.done, `${file} is sound`);
  if (site === undefined) return;
  const [{ startDaemon }, { createJournal }, { runService }, { takePassedSockets }] = await Promise.all([
    import('./daemon.ts'),
    import('./log.ts'),
    import('./service.ts'),
    import('../host/passed-sockets.ts'),
  ]);
  // New sockets and files are for this user and group only.
  process.umask(0o007);
  const log = createJournal({ site });
  const passed = takePassedSockets(process.env);
  await runService(log, () => startDaemon(config, site, log, passed));
}

try {
  await main();
} catch (error) {
  if (!(error instanceof TercetError)) throw error;
  end(error.exit, `tercetd: ${error.message}`);
}
