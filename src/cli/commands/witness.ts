// tercet witness run and tercet witness status.

import { resolve } from 'node:path';

import type { Command, RouteMap } from '@stricli/core';
import { buildCommand, buildRouteMap } from '@stricli/core';

import type { Address } from '../../api/address.ts';
import { isLocal, readAddress } from '../../api/address.ts';
import { TercetError, EXIT } from '../../core/base/errors.ts';
import { limits } from '../../core/base/limits.ts';
import type { WitnessView } from '../../api/schema.ts';
import type { CliContext, ConfigFlag } from '../context.ts';
import { configFlag, print, printJson, readConfig } from '../context.ts';
import { witnessViewSchema } from '../../api/schema.ts';

interface RunFlags {
  readonly data: string;
  readonly listen: Address;
  readonly insecure: boolean;
}

function parseListen(text: string): Address {
  const reading = readAddress(text);
  if ('address' in reading && reading.address.kind === 'tcp') return reading.address;
  throw new SyntaxError('must be HOST:PORT, such as 10.0.0.9:7400');
}

const runCommand: Command<CliContext> = buildCommand({
  docs: { brief: 'Run the witness', fullDescription: 'A daemon: ends cleanly at SIGTERM or SIGINT. Logs JSON lines to standard error.' },
  parameters: {
    flags: {
      data: { kind: 'parsed', parse: String, brief: 'Folder in which it keeps its groups', placeholder: 'DIR' },
      listen: { kind: 'parsed', parse: parseListen, brief: 'Where the sites ask', placeholder: 'HOST:PORT' },
      insecure: { kind: 'boolean', brief: 'Allow an address that other machines reach: nothing is encrypted yet', default: false },
    },
  },
  async func(this: CliContext, flags: RunFlags) {
    const { listen } = flags;
    if (!isLocal(listen) && !flags.insecure) {
      const reason = `${listen.text} is reached from other machines, and nothing is encrypted yet; add --insecure if this network is trusted`;
      throw new TercetError('TERCET_BAD_REQUEST', { what: '`tercet witness run`', reason });
    }
    if (listen.kind !== 'tcp') return;
    const [{ startWitness }, { createJournal }, { runService }] = await Promise.all([
      import('../../witness/server.ts'),
      import('../../daemon/log.ts'),
      import('../../daemon/service.ts'),
    ]);
    const log = createJournal({ program: 'witness' });
    await runService(log, async () => {
      const running = await startWitness({ dataFolder: resolve(flags.data), listen: { host: listen.host, port: listen.port }, log });
      log('ready', { listen: listen.text, data: resolve(flags.data), pid: process.pid }, `the witness is ready at ${listen.text}`);
      return running;
    });
  },
});

interface StatusFlags extends ConfigFlag {
  readonly json: boolean;
}

const statusCommand: Command<CliContext> = buildCommand({
  docs: { brief: 'Say what the witness knows of the groups' },
  parameters: {
    flags: { config: configFlag, json: { kind: 'boolean', brief: 'Print it as JSON: docs/reference/cli-json.md', default: false } },
  },
  async func(this: CliContext, flags: StatusFlags) {
    const config = await readConfig(this, flags);
    const names = config.groups.map((group) => group.name).sort();
    const groups: { group: string; view: WitnessView | null }[] = [];
    for (const group of names) groups.push({ group, view: await readView(config.witness.address, group) });
    if (flags.json) printJson(this, { address: config.witness.address.text, groups });
    else
      for (const { group, view } of groups)
        print(this, `${group}: ${view === null ? 'the witness does not know it: not created yet' : viewText(view)}`);
    if (groups.some(({ view }) => view === null)) this.process.exitCode = EXIT.notInState;
  },
});

function viewText(view: WitnessView): string {
  const flags = view.copies.map((copy) => `${copy.site} ${copy.flag}${copy.mode === 'async' ? ' (async)' : ''}`).join(', ');
  return `epoch ${view.epoch}, primary ${view.primary ?? 'none'}, revision ${view.revision}; flags: ${flags}`;
}

/** What the witness says of a group; null when it does not know it. Throws TERCET_UNREACHABLE. */
async function readView(address: Address, group: string): Promise<WitnessView | null> {
  const unreachable = (reason: string, cause?: unknown): TercetError =>
    new TercetError('TERCET_UNREACHABLE', { what: 'the witness', address: address.text, reason }, { cause });
  try {
    const response = await fetch(`http://${address.text}/v1/groups/${group}`, { signal: AbortSignal.timeout(limits.httpRequestMillis) });
    if (response.status === 404) return null;
    const parsed = witnessViewSchema.safeParse(await response.json());
    if (parsed.success) return parsed.data;
    throw unreachable('what answers there is no witness of this version', parsed.error);
  } catch (cause) {
    if (cause instanceof TercetError) throw cause;
    throw unreachable(reasonOf(cause), cause);
  }
}

/** The system's code, which fetch hides in the cause of its error. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error && 'code' in cause ? String(cause.code) : error.message;
}

/** Commands about the witness. */
export const witnessRoutes: RouteMap<CliContext> = buildRouteMap({
  docs: { brief: 'The witness: run it, or ask it' },
  routes: { run: runCommand, status: statusCommand },
});
