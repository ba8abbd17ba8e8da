// tercet witness run, status, backup, restore and replace.

import { writeFileSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';

import type { Command, RouteMap } from '@stricli/core';
import { buildCommand, buildRouteMap } from '@stricli/core';
import * as z from 'zod';

import type { Address } from '../../api/address.ts';
import { isLocal, readAddress } from '../../api/address.ts';
import { TercetError, EXIT } from '../../core/base/errors.ts';
import type { WitnessView } from '../../api/schema.ts';
import type { CliContext, ConfigFlag, LoadedConfig } from '../context.ts';
import { clientOf, configFlag, print, printJson, readConfig } from '../context.ts';
import { witnessViewSchema } from '../../api/schema.ts';

type Journal = import('../../core/base/ports.ts').Journal;
type SharedStore = import('../../witness/store.ts').SharedStore;
type TlsMaterial = import('../../host/tls-material.ts').TlsMaterial;
type WitnessAddress = import('../../witness/reader.ts').WitnessAddress;

interface RunFlags {
  readonly data?: string;
  readonly etcd?: readonly string[];
  readonly etcdPrefix: string;
  readonly listen: Address;
  readonly insecure: boolean;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

const pem = { kind: 'parsed', parse: String, placeholder: 'FILE', optional: true } as const;

function tlsFiles({ ca, cert, key }: RunFlags): { ca: string; cert: string; key: string } | null {
  if (ca !== undefined && cert !== undefined && key !== undefined) return { ca, cert, key };
  if (ca === undefined && cert === undefined && key === undefined) return null;
  throw new TercetError('TERCET_BAD_REQUEST', { what: '`tercet witness run`', reason: 'give all of --ca, --cert and --key, or none' });
}

function parseEtcd(text: string): string {
  if (/^https?:\/\/[^/]+$/.test(text)) return text;
  throw new SyntaxError('must be http://HOST:PORT or https://HOST:PORT');
}

async function etcdStore(flags: RunFlags, { log, tls }: { log: Journal; tls: TlsMaterial | undefined }): Promise<SharedStore> {
  const { openEtcdStore } = await import('../../witness/etcd-store.ts');
  return openEtcdStore({ endpoints: flags.etcd ?? [], prefix: flags.etcdPrefix, pem: tls?.pem, log });
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
      data: { kind: 'parsed', parse: String, brief: 'Folder in which it keeps its groups', placeholder: 'DIR', optional: true },
      etcd: {
        kind: 'parsed',
        parse: parseEtcd,
        brief: 'Keep its groups in etcd instead: the address of a member; more than once for several',
        placeholder: 'URL',
        optional: true,
        variadic: true,
      },
      etcdPrefix: { kind: 'parsed', parse: String, brief: 'What its keys in etcd begin with', placeholder: 'TEXT', default: '/tercet/' },
      listen: { kind: 'parsed', parse: parseListen, brief: 'Where the sites ask', placeholder: 'HOST:PORT' },
      insecure: { kind: 'boolean', brief: 'Allow an address that other machines reach without certificates', default: false },
      ca: {
        ...pem,
        brief: 'Certificates of the trusted authorities (PEM); with --cert and --key only holders of a certificate are answered',
      },
      cert: { ...pem, brief: 'Certificate of the witness (PEM)' },
      key: { ...pem, brief: 'Its private key (PEM)' },
    },
  },
  async func(this: CliContext, flags: RunFlags) {
    const { listen } = flags;
    if ((flags.data === undefined) === (flags.etcd === undefined))
      throw new TercetError('TERCET_BAD_REQUEST', { what: '`tercet witness run`', reason: 'say either --data DIR or --etcd URL' });
    const files = tlsFiles(flags);
    if (!isLocal(listen) && files === null && !flags.insecure) {
      const reason = `${listen.text} is reached from other machines; add --ca, --cert and --key, or --insecure if this network is trusted`;
      throw new TercetError('TERCET_BAD_REQUEST', { what: '`tercet witness run`', reason });
    }
    if (listen.kind !== 'tcp') return;
    const [{ startWitness }, { createJournal }, { runService }, { TlsMaterial }, { CertificateWatch }] = await Promise.all([
      import('../../witness/server.ts'),
      import('../../daemon/log.ts'),
      import('../../daemon/service.ts'),
      import('../../host/tls-material.ts'),
      import('../../daemon/certificates.ts'),
    ]);
    const log = createJournal({ program: 'witness' });
    await runService(log, async () => {
      const tls = files === null ? undefined : new TlsMaterial(files, { kind: 'witness', name: '' });
      const at = { host: listen.host, port: listen.port };
      const store = flags.etcd === undefined ? undefined : await etcdStore(flags, { log, tls });
      const running = await startWitness({ dataFolder: resolve(flags.data ?? '.'), listen: at, log, tls, store });
      const certificates = tls === undefined ? null : new CertificateWatch(tls, log);
      log(
        'ready',
        { listen: listen.text, data: flags.etcd?.join(', ') ?? resolve(flags.data ?? '.'), pid: process.pid },
        `the witness is ready at ${listen.text}`,
      );
      return { close: () => running.close(), reload: () => certificates?.reload() };
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
    const groups: { group: string; view: WitnessView | null; trouble: string | null }[] = [];
    const witness = await witnessOf(config);
    for (const group of names) {
      try {
        groups.push({ group, view: await readView(witness, group), trouble: null });
      } catch (error) {
        if (!(error instanceof TercetError) || error.code !== 'TERCET_NOT_IN_STATE') throw error;
        groups.push({ group, view: null, trouble: error.message });
      }
    }
    if (flags.json) printJson(this, { address: config.witness.address.text, groups });
    else
      for (const { group, view, trouble } of groups)
        print(
          this,
          `${group}: ${view === null ? (trouble ?? 'the witness does not know it: not created yet, or deleted') : viewText(view)}`,
        );
    if (groups.some(({ view }) => view === null)) this.process.exitCode = EXIT.notInState;
  },
});

function viewText(view: WitnessView): string {
  const flags = view.copies.map((copy) => `${copy.site} ${copy.flag}${copy.mode === 'async' ? ' (async)' : ''}`).join(', ');
  return `epoch ${view.epoch}, primary ${view.primary ?? 'none'}, revision ${view.revision}; flags: ${flags}`;
}

interface BackupFlags extends ConfigFlag {
  readonly to: string;
}

const backupCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Write down what the witness knows of all groups',
    fullDescription:
      'One file of JSON without secrets, a few hundred bytes for each group. What is restored from it grants nothing until the copies have reported ' +
      '(`tercet witness replace`), so an old backup is as safe as a new one.',
  },
  parameters: {
    flags: {
      config: configFlag,
      to: { kind: 'parsed', parse: String, brief: 'The file to write; it must not exist', placeholder: 'FILE' },
    },
  },
  async func(this: CliContext, flags: BackupFlags) {
    const config = await readConfig(this, flags);
    const witness = await witnessOf(config);
    const { askWitness } = await import('../../witness/reader.ts');
    const { parseBackup } = await import('../../witness/backup.ts');
    let answer: { status: number; text: string };
    try {
      answer = await askWitness(witness, { method: 'GET', path: '/v1/backup' });
    } catch (cause) {
      throw unreachableWitness(witness, (cause as Error).message, cause);
    }
    if (answer.status !== 200) throw unreachableWitness(witness, `status ${answer.status}: ${answer.text.slice(0, 200)}`);
    const backup = parseBackup(answer.text, `the answer of ${witness.host}:${witness.port}`);
    writeNew(flags.to, answer.text);
    print(this, `${flags.to}: ${backup.groups.length} groups of witness ${backup.instance}`);
  },
});

/** Never over a file that is there: it may be the only backup. */
function writeNew(file: string, text: string): void {
  try {
    writeFileSync(file, `${text}\n`, { flag: 'wx', mode: 0o600 });
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new TercetError(
      'TERCET_BAD_REQUEST',
      { what: '`tercet witness backup`', reason: `${file} cannot be written (${code})` },
      { cause },
    );
  }
}

interface RestoreFlags {
  readonly data: string;
}

const restoreCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Make the folder of a new witness from a backup',
    fullDescription:
      'The folder must not hold groups. The new witness has a name of its own and grants nothing at first: start it at the address that the ' +
      'configuration names, then run `tercet witness replace GROUP` for each group. For groups in etcd use the snapshots of etcd.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'The backup', parse: String, placeholder: 'FILE' }] },
    flags: { data: { kind: 'parsed', parse: String, brief: 'Folder of the new witness', placeholder: 'DIR' } },
  },
  async func(this: CliContext, flags: RestoreFlags, file: string) {
    const [{ parseBackup, restoreBackup }, { openFileStore }] = await Promise.all([
      import('../../witness/backup.ts'),
      import('../../witness/file-store.ts'),
    ]);
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
      throw new TercetError(
        'TERCET_BAD_REQUEST',
        { what: '`tercet witness restore`', reason: `${file} cannot be read (${code})` },
        { cause },
      );
    }
    const backup = parseBackup(text, file);
    const store = await openFileStore(resolve(flags.data));
    try {
      const count = await restoreBackup(store, backup);
      print(this, `${flags.data}: ${count} groups; this witness grants nothing until \`tercet witness replace\` was run for each of them`);
    } finally {
      await store.close();
    }
  },
});

const replaceCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Have the sites of a group believe the witness that answers now, in place of a lost one',
    fullDescription:
      'Start the new witness first, empty or restored from a backup, at the address that the configuration names. Each site that can be asked from here ' +
      'notes that it believes that witness and no other, and reports to it; run it at the machines of the others too. The witness begins to grant when ' +
      'every copy that may serve has reported: with a primary that serves these are the primary and the mirrors in step, else all copies. ' +
      'Hosts are served meanwhile. Exit code 3 when a site refuses, or none could be asked.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'Name of the group', parse: String, placeholder: 'GROUP' }] },
    flags: { config: configFlag },
  },
  async func(this: CliContext, flags: ConfigFlag, name: string) {
    const config = await readConfig(this, flags);
    const found = config.groupOf(name);
    let wrong = 0;
    let asked = 0;
    for (const copy of found.sites) {
      let client: Awaited<ReturnType<typeof clientOf>>;
      try {
        client = await clientOf(config, copy.name);
      } catch (error) {
        if (!(error instanceof TercetError)) throw error;
        print(this, `${copy.name}: cannot be asked from here; run this command on its machine`);
        continue;
      }
      asked++;
      const outcome = await client.replaceWitness(name);
      if (outcome.kind === 'refused') wrong++;
      print(this, `${copy.name}: ${outcome.kind === 'done' ? outcome.text : `refused: ${outcome.text}; ${outcome.remedy}`}`);
    }
    if (wrong > 0 || asked === 0) this.process.exitCode = EXIT.notInState;
  },
});

function unreachableWitness(witness: WitnessAddress, reason: string, cause?: unknown): TercetError {
  return new TercetError('TERCET_UNREACHABLE', { what: 'the witness', address: `${witness.host}:${witness.port}`, reason }, { cause });
}

/** How a command asks the witness of a configuration. */
export async function witnessOf(config: LoadedConfig): Promise<WitnessAddress> {
  const { address } = config.witness;
  if (address.kind !== 'tcp') throw new TercetError('TERCET_BAD_REQUEST', { what: 'the witness', reason: 'its address must be HOST:PORT' });
  const { machineTls } = await import('../../daemon/machine-tls.ts');
  return { host: address.host, port: address.port, tls: machineTls(config) };
}

const notGranting = z.object({ error: z.string() });

/** What the witness says of a group; null when it does not know it. Throws TERCET_UNREACHABLE, and TERCET_NOT_IN_STATE while it grants nothing for it. */
export async function readView(witness: WitnessAddress, group: string): Promise<WitnessView | null> {
  const unreachable = (reason: string, cause?: unknown): TercetError => unreachableWitness(witness, reason, cause);
  const { askWitness } = await import('../../witness/reader.ts');
  let answer: { status: number; text: string };
  try {
    answer = await askWitness(witness, { method: 'GET', path: `/v1/groups/${group}` });
  } catch (cause) {
    throw unreachable((cause as Error).message, cause);
  }
  if (answer.status === 404) return null;
  if (answer.status === 409) {
    const error = notGranting.safeParse(JSON.parse(answer.text)).data?.error ?? answer.text.slice(0, 200);
    throw new TercetError('TERCET_NOT_IN_STATE', { what: 'the witness', reason: error.replace('the witness: ', '') });
  }
  try {
    const parsed = witnessViewSchema.safeParse(JSON.parse(answer.text));
    if (parsed.success) return parsed.data;
  } catch (cause) {
    throw unreachable('what answers there is no witness', cause);
  }
  throw unreachable(`what answers there is no witness of this version: ${answer.text.slice(0, 200)}`);
}

/** Commands about the witness. */
export const witnessRoutes: RouteMap<CliContext> = buildRouteMap({
  docs: { brief: 'The witness: run it, ask it, back it up, or replace it' },
  routes: { run: runCommand, status: statusCommand, backup: backupCommand, restore: restoreCommand, replace: replaceCommand },
});
