// tercet attach: a volume on this machine's own socket, whichever site serves it.

import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import type { Command } from '@stricli/core';
import { buildCommand } from '@stricli/core';

import { TercetError } from '../../core/base/errors.ts';
import type { CliContext, ConfigFlag, GroupConfig, LoadedConfig } from '../context.ts';
import { configFlag, readConfig, volumeOf } from '../context.ts';

interface Flags extends ConfigFlag {
  readonly socket?: string;
  readonly hold?: number;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

const pem = { kind: 'parsed', parse: String, placeholder: 'FILE', optional: true } as const;

function parseHold(text: string): number {
  if (text === 'forever') return Infinity;
  const seconds = Number(text);
  if (!/^[0-9]{1,6}$/.test(text)) throw new SyntaxError('must be a whole number of seconds, or "forever"');
  return seconds * 1000;
}

/** Runs until it is told to stop, or until answers that were given are no longer true. */
export const attachCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Give a volume to this host, whichever site serves it',
    fullDescription:
      'Serves the volume over NBD on a local socket. Requests are held while no site serves, and sent again to the site that takes over, so that ' +
      'a failover is a pause and no error. A request that was held for too long is answered with an error. ' +
      'Exit code 5: a site has lost writes that were answered here; the clients were cut off, look at the volume before you attach it again. ' +
      'A daemon: ends cleanly at SIGTERM or SIGINT, looks again for a volume that has grown at SIGHUP, and logs JSON lines to standard error.',
  },
  parameters: {
    positional: { kind: 'tuple', parameters: [{ brief: 'The volume', parse: String, placeholder: 'GROUP/VOLUME' }] },
    flags: {
      config: configFlag,
      socket: {
        kind: 'parsed',
        parse: String,
        brief: 'Local socket to listen on; not needed when one was passed by the service manager (LISTEN_FDS)',
        placeholder: 'PATH',
        optional: true,
      },
      hold: {
        kind: 'parsed',
        parse: parseHold,
        brief: 'How long requests are held while no site serves, or "forever"; default: as the configuration says for the volume',
        placeholder: 'SECONDS',
        optional: true,
      },
      ca: { ...pem, brief: 'Certificates of the authorities that sites are trusted by (PEM); default: ca of [tls] in the configuration' },
      cert: { ...pem, brief: 'Certificate of this host (PEM), for sites that speak TLS with hosts; default: cert of [tls]' },
      key: { ...pem, brief: 'Its private key (PEM); default: key of [tls]' },
    },
  },
  async func(this: CliContext, flags: Flags, name: string) {
    const config = await readConfig(this, flags);
    const { group, volume } = volumeOf(config, name, 'tercet attach');
    const files = tlsFiles(flags, config, group);
    const passed = await passedSocket(flags);
    const socket = passed?.address.path ?? resolve(flags.socket ?? '');
    const [{ startAttachment }, { createJournal }, { runService }, { waysTo }, { TlsMaterial }, { CertificateWatch }] = await Promise.all([
      import('../../attach/attachment.ts'),
      import('../../daemon/log.ts'),
      import('../../daemon/service.ts'),
      import('../../daemon/addresses.ts'),
      import('../../host/tls-material.ts'),
      import('../../daemon/certificates.ts'),
    ]);
    // New sockets are for this user and group only.
    process.umask(0o007);
    mkdirSync(dirname(socket), { recursive: true });
    const log = createJournal({ program: 'attach', volume: name });
    await runService(log, async () => {
      const material = files === null ? null : new TlsMaterial(files, null);
      const certificates = material === null ? null : new CertificateWatch(material, log);
      const targets = group.sites.map(({ name: site }) => ({ site, ways: waysTo(config.siteOf(site), material) }));
      const running = await startAttachment({
        group: group.name,
        volume: volume.name,
        sizeBytes: volume.sizeBytes,
        targets,
        listen: { path: socket },
        passed: passed === null ? [] : [passed],
        holdMillis: flags.hold ?? volume.holdMillis,
        journal: log,
        broken: (error) => {
          log('attach.failed', { code: error.code }, error.message);
          process.exit(error.exit);
        },
      });
      log('ready', { socket, pid: process.pid }, `${name} is at ${socket}`);
      const close = async (): Promise<void> => {
        certificates?.stop();
        await running.close();
      };
      const reload = (): void => {
        certificates?.reload();
        running.renew();
      };
      return { close, reload };
    });
  },
});

/** The local socket that was passed to this process; null when --socket names one to be made. */
async function passedSocket(flags: Flags): Promise<{ fd: number; address: { path: string } } | null> {
  const { takePassedSockets } = await import('../../host/passed-sockets.ts');
  const [first, ...more] = takePassedSockets(process.env);
  const what = '`tercet attach`';
  if (first === undefined) {
    if (flags.socket === undefined) throw new TercetError('TERCET_BAD_REQUEST', { what, reason: 'say where to listen: --socket PATH' });
    return null;
  }
  const { address, fd } = first;
  const reason = 'it takes one local socket with a path, and that of --socket if there is one';
  if (more.length > 0 || !('path' in address)) throw new TercetError('TERCET_BAD_REQUEST', { what, reason });
  if (flags.socket !== undefined && resolve(flags.socket) !== resolve(address.path))
    throw new TercetError('TERCET_PASSED_SOCKET', { address: `unix:${address.path}`, known: `--socket ${flags.socket}` });
  return { fd, address };
}

/**
 * The files of this host's certificate: those that were named, else those of the configuration, unless they are a site's. None is right only where
 * every site takes hosts without TLS.
 */
function tlsFiles(flags: Flags, config: LoadedConfig, group: GroupConfig): { ca: string; cert: string; key: string } | null {
  const { tls } = config;
  const wrong = (reason: string): TercetError => new TercetError('TERCET_BAD_REQUEST', { what: '`tercet attach`', reason });
  if ((flags.cert === undefined) !== (flags.key === undefined)) throw wrong('give both of --cert and --key, or none');
  const ca = flags.ca ?? tls?.ca;
  if (flags.cert !== undefined && flags.key !== undefined) {
    if (ca === undefined) throw wrong('give --ca, since the configuration has no [tls]');
    return { ca, cert: flags.cert, key: flags.key };
  }
  if (tls !== null && ca !== undefined && !`${tls.cert}${tls.key}`.includes('{site}')) return { ca, cert: tls.cert, key: tls.key };
  const strict = group.sites.find(({ name }) => config.siteOf(name).nbdTls === 'required');
  if (strict !== undefined) throw wrong(`site ${strict.name} takes hosts with TLS only: give --cert and --key of this host`);
  return null;
}
