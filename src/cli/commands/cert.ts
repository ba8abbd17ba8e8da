// tercet cert init, issue and show: an authority of one's own for one installation, so that mutual TLS needs no other tool.

import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Command, RouteMap } from '@stricli/core';
import { buildCommand, buildRouteMap, numberParser } from '@stricli/core';

import { TercetError } from '../../core/base/errors.ts';
import { nameSchema } from '../../api/schema.ts';
import type { CliContext } from '../context.ts';
import { print } from '../context.ts';

type Identity = import('../../host/tls-identity.ts').TlsIdentity;

const DAY_MILLIS = 24 * 3_600_000;
/** Clocks of two machines are never quite equal: a certificate is valid from a little before it was made. */
const EARLIER_MILLIS = 3_600_000;
const AUTHORITY = { cert: 'ca.crt', key: 'ca.key' };

const folderFlag = { kind: 'parsed', parse: String, brief: 'Folder of the authority and of what it signs', placeholder: 'DIR' } as const;

function daysFlag(fallback: number): {
  kind: 'parsed';
  parse: (text: string) => number;
  brief: string;
  placeholder: string;
  default: string;
} {
  return { kind: 'parsed', parse: days, brief: 'For how many days it is valid', placeholder: 'DAYS', default: String(fallback) };
}

function days(text: string): number {
  const count = numberParser(text);
  if (Number.isInteger(count) && count >= 1 && count <= 36_500) return count;
  throw new SyntaxError('must be a whole number of days from 1 to 36500');
}

function usage(what: string, reason: string): TercetError {
  return new TercetError('TERCET_BAD_REQUEST', { what, reason });
}

const validity = (count: number): { validFrom: Date; validUntil: Date } => {
  const now = Date.now();
  return { validFrom: new Date(now - EARLIER_MILLIS), validUntil: new Date(now + count * DAY_MILLIS) };
};

/** Writes a file under its name only when it is whole. */
function place(path: string, text: string, mode: number): void {
  const unfinished = `${path}.${randomUUID()}.new`;
  writeFileSync(unfinished, text, { mode, flag: 'wx' });
  renameSync(unfinished, path);
}

const initCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Make the authority whose certificates the sites and the witness trust',
    fullDescription:
      'Writes ca.crt, which every machine gets, and ca.key, which stays where certificates are issued and nowhere else: whoever has it can be any site.',
  },
  parameters: { flags: { folder: folderFlag, days: daysFlag(3650) } },
  async func(this: CliContext, flags: { folder: string; days: number }) {
    const { makeAuthority } = await import('../../host/tls-issue.ts');
    mkdirSync(flags.folder, { recursive: true, mode: 0o700 });
    const [cert, key] = [join(flags.folder, AUTHORITY.cert), join(flags.folder, AUTHORITY.key)];
    for (const path of [cert, key])
      if (existsSync(path)) throw usage('`tercet cert init`', `${path} is there already, and is not replaced`);
    const made = makeAuthority({ name: `Tercet ${randomUUID().slice(0, 8)}`, ...validity(flags.days) });
    place(key, made.key, 0o600);
    place(cert, made.certificate, 0o644);
    print(this, `${cert} is for every machine; ${key} signs, and stays here`);
  },
});

interface IssueFlags {
  readonly folder: string;
  readonly days: number;
  readonly site?: string;
  readonly client?: string;
  readonly witness: boolean;
  readonly admin: boolean;
  readonly group?: readonly string[];
  readonly host?: readonly string[];
  readonly nbd?: string;
  readonly renew: boolean;
}

/** Exactly one holder, with sound names. */
function identityOf(flags: IssueFlags): Identity {
  const what = '`tercet cert issue`';
  const holders: Pick<Identity, 'kind' | 'name'>[] = [
    ...(flags.site === undefined ? [] : [{ kind: 'site' as const, name: flags.site }]),
    ...(flags.client === undefined ? [] : [{ kind: 'client' as const, name: flags.client }]),
    ...(flags.witness ? [{ kind: 'witness' as const, name: '' }] : []),
    ...(flags.admin ? [{ kind: 'admin' as const, name: '' }] : []),
  ];
  const [holder] = holders;
  if (holder === undefined || holders.length > 1) throw usage(what, 'say one of --site NAME, --client NAME, --witness or --admin');
  const groups = flags.group ?? [];
  for (const name of [...(holder.name === '' ? [] : [holder.name]), ...groups]) {
    if (!nameSchema.safeParse(name).success) throw usage(what, `"${name}" is no name: 1 to 32 of a-z, 0-9 and -`);
  }
  return { ...holder, groups: groups.length === 0 ? null : groups };
}

const parsed = (brief: string, placeholder: string) => ({ kind: 'parsed', parse: String, brief, placeholder, optional: true }) as const;
const yes = (brief: string) => ({ kind: 'boolean', brief, default: false }) as const;

const issueCommand: Command<CliContext> = buildCommand({
  docs: {
    brief: 'Sign a certificate for a site, the witness, a client or an administrator',
    fullDescription:
      'Writes NAME.crt and NAME.key into the folder. Only the site that a certificate names can speak for it; with --group only about those groups. ' +
      'Carry both files and ca.crt to that machine, and remove the key here.',
  },
  parameters: {
    flags: {
      folder: folderFlag,
      days: daysFlag(825),
      site: parsed('The site whose certificate it is', 'NAME'),
      client: parsed('The host of an application whose certificate it is', 'NAME'),
      witness: yes('It is the certificate of the witness'),
      admin: yes('It is the certificate of an administrator'),
      group: { ...parsed('A group that it is for; more than once for several; default: all', 'GROUP'), variadic: true },
      host: { ...parsed('A host name or address of the holder, for clients that check it', 'HOST'), variadic: true },
      nbd: parsed('Folder that gets the files by the names that NBD clients look for: ca-cert.pem, client-cert.pem, client-key.pem', 'DIR'),
      renew: yes('Replace a certificate that is there'),
    },
  },
  async func(this: CliContext, flags: IssueFlags) {
    const identity = identityOf(flags);
    const { issueCertificate } = await import('../../host/tls-issue.ts');
    const authority = readAuthority(flags.folder);
    const name = fileNameOf(identity);
    const [cert, key] = [join(flags.folder, `${name}.crt`), join(flags.folder, `${name}.key`)];
    if (!flags.renew) {
      for (const path of [cert, key])
        if (existsSync(path)) throw usage('`tercet cert issue`', `${path} is there already: add --renew to replace it`);
    }
    const issued = issueCertificate(authority, { identity, hosts: flags.host ?? [], ...validity(flags.days) });
    place(key, issued.key, 0o600);
    place(cert, issued.certificate, 0o644);
    if (flags.nbd !== undefined) placeForClients(flags.nbd, authority.certificate, issued);
    print(this, `${cert} and ${key} are made, valid for ${flags.days} days`);
  },
});

/** By the names that libnbd (tls-certificates) and qemu (tls-creds-x509) look for in a folder. */
function placeForClients(folder: string, authority: string, issued: { certificate: string; key: string }): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  place(join(folder, 'client-key.pem'), issued.key, 0o600);
  place(join(folder, 'client-cert.pem'), issued.certificate, 0o644);
  place(join(folder, 'ca-cert.pem'), authority, 0o644);
}

/** A site's files have its own name, so that a configuration can say {site}. */
function fileNameOf({ kind, name }: Identity): string {
  if (kind === 'client') return `client-${name}`;
  if (kind !== 'site') return kind;
  if (['ca', 'witness', 'admin'].includes(name) || name.startsWith('client-'))
    throw usage('`tercet cert issue`', `the files of a site "${name}" would have the names of others; call the site something else`);
  return name;
}

function readAuthority(folder: string): { certificate: string; key: string } {
  const read = (file: string): string => {
    const path = join(folder, file);
    try {
      return readFileSync(path, 'utf8');
    } catch (cause) {
      throw new TercetError(
        'TERCET_TLS',
        { count: 1, faults: `  ${path} cannot be read (${(cause as NodeJS.ErrnoException).code}): \`tercet cert init\` makes it` },
        { cause },
      );
    }
  };
  return { certificate: read(AUTHORITY.cert), key: read(AUTHORITY.key) };
}

const showCommand: Command<CliContext> = buildCommand({
  docs: { brief: 'Say whose a certificate is, and until when it is valid' },
  parameters: { positional: { kind: 'tuple', parameters: [{ brief: 'A file with a certificate', parse: String, placeholder: 'FILE' }] } },
  async func(this: CliContext, _flags: object, file: string) {
    const { describeCertificate } = await import('../../host/tls-material.ts');
    print(this, describeCertificate(file));
  },
});

/** Commands about certificates. */
export const certRoutes: RouteMap<CliContext> = buildRouteMap({
  docs: { brief: 'Certificates: make them, or look at one' },
  routes: { init: initCommand, issue: issueCommand, show: showCommand },
});
