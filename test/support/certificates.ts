// Certificates for tests: an authority and whatever it is asked to sign, as files in a folder of the test's own.

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { TlsIdentity } from '../../src/host/tls-identity.ts';
import { type Issued, issueCertificate, makeAuthority } from '../../src/host/tls-issue.ts';
import type { TlsFiles } from '../../src/host/tls-material.ts';

const DAY_MILLIS = 24 * 3_600_000;

/** Holders in short form. */
export const holder = {
  site: (name: string, groups: readonly string[] | null = null): TlsIdentity => ({ kind: 'site', name, groups }),
  client: (name: string): TlsIdentity => ({ kind: 'client', name, groups: null }),
  witness: { kind: 'witness', name: '', groups: null } as TlsIdentity,
  admin: { kind: 'admin', name: '', groups: null } as TlsIdentity,
};

/** A date so many days from now. */
export function inDays(days: number): Date {
  return new Date(Date.now() + days * DAY_MILLIS);
}

/** An authority with its folder. */
export class TestAuthority {
  readonly folder: string;
  readonly #authority: Issued;

  /** The one that was made in a folder before. */
  static open(folder: string): TestAuthority {
    const read = (file: string): string => readFileSync(join(folder, file), 'utf8');
    return new TestAuthority(folder, { certificate: read('ca.crt'), key: read('ca.key') });
  }

  constructor(folder: string, authority: string | Issued = 'an authority of a test') {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    this.#authority =
      typeof authority === 'string' ? makeAuthority({ name: authority, validFrom: inDays(-400), validUntil: inDays(3650) }) : authority;
    writeFileSync(join(folder, 'ca.crt'), this.#authority.certificate);
    writeFileSync(join(folder, 'ca.key'), this.#authority.key, { mode: 0o600 });
  }

  get certificate(): string {
    return this.#authority.certificate;
  }

  /** Signs one that is valid for `days` from now; for a negative number, one that was. Overwrites the files of that name. */
  issue(fileName: string, identity: TlsIdentity, { days = 100, hosts = [] }: { days?: number; hosts?: readonly string[] } = {}): TlsFiles {
    const validFrom = inDays(Math.min(days - 1, -1));
    const issued = issueCertificate(this.#authority, { identity, hosts, validFrom, validUntil: inDays(days) });
    const files = {
      ca: join(this.folder, 'ca.crt'),
      cert: join(this.folder, `${fileName}.crt`),
      key: join(this.folder, `${fileName}.key`),
    };
    writeFileSync(files.cert, issued.certificate);
    writeFileSync(files.key, issued.key, { mode: 0o600 });
    chmodSync(files.key, 0o600);
    return files;
  }
}
