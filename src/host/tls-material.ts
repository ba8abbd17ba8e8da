// The certificates of this process: read from three files, checked as a whole so that every fault is told at once, and read again on demand
// while everything runs. Connections that stand keep the keys they were made with; each new one takes the newest.

import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { constants } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { TercetError } from '../core/base/errors.ts';
import { machineCiphers } from './tls-ciphers.ts';
import { identityText, readIdentity, type IdentityKind, type TlsIdentity } from './tls-identity.ts';

/** Paths of PEM files: the authority's certificates (several may be trusted at once), the own certificate, its private key. */
export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Who the own certificate must speak for. */
export interface ExpectedIdentity {
  readonly kind: IdentityKind;
  readonly name: string;
}

/** What is told of the own certificate. Nothing of the key. */
export interface TlsStatus {
  readonly identity: string;
  /** When the certificate stops being valid, or an authority's, if that is sooner; RFC 3339. */
  readonly expiresAt: string;
  readonly daysLeft: number;
  /** What should be done about it; null while there is nothing to do. */
  readonly warning: string | null;
}

interface Loaded {
  readonly certificate: X509Certificate;
  readonly authorities: readonly X509Certificate[];
  readonly identity: TlsIdentity;
  readonly pem: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly context: SecureContext;
}

/** With fewer days left than this there is a warning. */
export const EXPIRY_WARNING_DAYS = 30;
const DAY_MILLIS = 24 * 3_600_000;
const FILE_BYTES_MAX = 1024 * 1024;

/** Certificates and key, as they are now. */
export class TlsMaterial {
  readonly #files: TlsFiles;
  readonly #expected: ExpectedIdentity | null;
  readonly #listeners = new Set<(context: SecureContext) => void>();
  #loaded: Loaded;

  /** Reads the files. Throws TERCET_TLS with all faults. `expected`: null for a program that may hold any certificate of Tercet. */
  constructor(files: TlsFiles, expected: ExpectedIdentity | null) {
    this.#files = files;
    this.#expected = expected;
    this.#loaded = load(files, expected);
  }

  get identity(): TlsIdentity {
    return this.#loaded.identity;
  }

  get context(): SecureContext {
    return this.#loaded.context;
  }

  /** The PEM texts, for a client that wants them so. */
  get pem(): Loaded['pem'] {
    return this.#loaded.pem;
  }

  /** Reads the files again. Throws TERCET_TLS and keeps what it had when they are not sound. Returns what is different, for people; null if nothing. */
  reload(): string | null {
    const before = this.#loaded;
    const next = load(this.#files, this.#expected);
    const { pem } = next;
    if (pem.ca === before.pem.ca && pem.cert === before.pem.cert && pem.key === before.pem.key) return null;
    this.#loaded = next;
    for (const listener of this.#listeners) listener(next.context);
    return `certificates read again: ${identityText(next.identity)}, valid until ${expiryOf(next).toISOString()}`;
  }

  /** Called with each new context after a reload. Returns what ends that. */
  onChange(listener: (context: SecureContext) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  status(now: number): TlsStatus {
    const loaded = this.#loaded;
    const expiry = expiryOf(loaded);
    const daysLeft = Math.floor((expiry.getTime() - now) / DAY_MILLIS);
    return {
      identity: identityText(loaded.identity),
      expiresAt: expiry.toISOString(),
      daysLeft,
      warning: warningOf(loaded, now, daysLeft),
    };
  }
}

/** Whose the first certificate of a file is, and until when it is valid, in a line. Throws TERCET_TLS. */
export function describeCertificate(file: string): string {
  const faults: string[] = [];
  const pem = readPem(file, faults);
  const [certificate] = pem === null ? [] : certificatesIn(pem, file, faults);
  if (certificate === undefined)
    throw new TercetError('TERCET_TLS', { count: faults.length, faults: faults.map((fault) => `  ${fault}`).join('\n') });
  const identity = readIdentity(certificate);
  const holder = identity === null ? (certificate.ca ? 'an authority' : 'nobody of Tercet') : identityText(identity);
  return `${holder}; valid from ${new Date(certificate.validFrom).toISOString()} until ${new Date(certificate.validTo).toISOString()}; signed by ${certificate.issuer.replaceAll('\n', ', ')}`;
}

function expiryOf({ certificate, authorities }: Loaded): Date {
  const own = authorities.filter((authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey));
  const ends = [Date.parse(certificate.validTo), Math.max(...own.map((authority) => Date.parse(authority.validTo)))];
  return new Date(Math.min(...ends));
}

function warningOf(loaded: Loaded, now: number, daysLeft: number): string | null {
  if (Date.parse(loaded.certificate.validFrom) > now) return 'the certificate is not valid yet: is the clock of this machine right?';
  const remedy = 'issue a new one (`tercet cert issue --renew`) and reload';
  if (expiryOf(loaded).getTime() <= now) return `the certificate has expired, so no peer accepts a new connection: ${remedy}`;
  return daysLeft < EXPIRY_WARNING_DAYS ? `the certificate expires in ${daysLeft} days: ${remedy}` : null;
}

function load(files: TlsFiles, expected: ExpectedIdentity | null): Loaded {
  const faults: string[] = [];
  const ca = readPem(files.ca, faults);
  const cert = readPem(files.cert, faults);
  const key = readPem(files.key, faults);
  const authorities = ca === null ? [] : certificatesIn(ca, files.ca, faults);
  const [certificate] = cert === null ? [] : certificatesIn(cert, files.cert, faults);
  const hasKey = key !== null && checkKey(key, files.key, certificate, faults);
  const identity = certificate === undefined ? null : checkCertificate(certificate, authorities, { file: files.cert, expected }, faults);
  if (faults.length > 0 || certificate === undefined || identity === null || !hasKey || ca === null || cert === null)
    throw new TercetError('TERCET_TLS', { count: faults.length, faults: faults.map((fault) => `  ${fault}`).join('\n') });
  const context = createSecureContext({
    ca,
    cert,
    key,
    ciphers: machineCiphers,
    minVersion: 'TLSv1.3',
    // Each connection proves itself anew: one that could be resumed would outlive the certificate it was made with.
    secureOptions: constants.SSL_OP_NO_TICKET,
    sessionTimeout: 1,
  });
  return { certificate, authorities, identity, pem: { ca, cert, key }, context };
}

function readPem(file: string, faults: string[]): string | null {
  try {
    const bytes = readFileSync(file);
    if (bytes.length <= FILE_BYTES_MAX) return bytes.toString('latin1');
    faults.push(`${file} has ${bytes.length} bytes: that is no certificate`);
  } catch (error) {
    faults.push(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'EIO'})`);
  }
  return null;
}

function certificatesIn(pem: string, file: string, faults: string[]): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) faults.push(`${file} holds no certificate in PEM form`);
  return blocks.flatMap((block) => {
    try {
      return [new X509Certificate(block)];
    } catch {
      // Whatever the library says of it, for people it is no certificate.
      faults.push(`${file} holds a certificate that cannot be read`);
      return [];
    }
  });
}

function checkKey(pem: string, file: string, certificate: X509Certificate | undefined, faults: string[]): boolean {
  // Others must not be able to speak for this site.
  if ((statSync(file).mode & 0o007) !== 0) faults.push(`${file} may be read by everybody on this machine: chmod 600 ${file}`);
  try {
    const key = createPrivateKey(pem);
    if (certificate === undefined || certificate.checkPrivateKey(key)) return true;
    faults.push(`${file} is the key of another certificate`);
  } catch {
    // The library's words could repeat a part of the file.
    faults.push(`${file} holds no private key in PEM form that can be read without a password`);
  }
  return false;
}

function checkCertificate(
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
  { file, expected }: { file: string; expected: ExpectedIdentity | null },
  faults: string[],
): TlsIdentity | null {
  const trusted = authorities.some((authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey));
  if (authorities.length > 0 && !trusted) faults.push(`${file} was not signed by an authority in ca`);
  const identity = readIdentity(certificate);
  if (identity === null) {
    faults.push(`${file} names nobody of Tercet: make it with \`tercet cert issue\``);
    return null;
  }
  if (expected !== null && (identity.kind !== expected.kind || identity.name !== expected.name)) {
    faults.push(`${file} is the certificate of ${identityText(identity)}, not of ${identityText({ ...expected, groups: null })}`);
  }
  return identity;
}
