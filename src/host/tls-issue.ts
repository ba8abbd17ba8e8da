// Makes certificates: an authority of one's own, and what it signs for sites, witness, administrators and clients. Only what Tercet needs of
// X.509, written as DER by hand; keys and signatures are the system's (ECDSA P-256, which every TLS library takes), and what was written is
// read back by the same library before it is handed out.

import { X509Certificate, createHash, createPrivateKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { assert } from '../core/base/assert.ts';
import { identityUris, type TlsIdentity } from './tls-identity.ts';

/** A certificate and its private key, as PEM. */
export interface Issued {
  readonly certificate: string;
  readonly key: string;
}

/** What a certificate is made for. */
export interface IssueOptions {
  readonly identity: TlsIdentity;
  /** Host names and addresses at which NBD clients may meet the holder. */
  readonly hosts: readonly string[];
  readonly validFrom: Date;
  readonly validUntil: Date;
}

const TAG = { integer: 2, bits: 3, octets: 4, oid: 6, utf8: 12, utcTime: 23, generalizedTime: 24, sequence: 48, set: 49 } as const;
const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  subjectAltName: '2.5.29.17',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const size = content.length;
  assert(size < 65_536, 'a part of a certificate is small', { size });
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(TAG.sequence, ...parts);
const bytes = (...values: readonly number[]): Buffer => Buffer.from(values);
const TRUE = der(1, bytes(255));

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const arcs = rest.flatMap((arc) => {
    const digits = [arc & 127];
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift((left & 127) | 128);
    return digits;
  });
  return der(TAG.oid, bytes(first * 40 + second, ...arcs));
}

/** A time as X.509 wants it: with two digits of the year up to 2049. */
function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/[-:T]/g, '').slice(0, 14);
  return date.getUTCFullYear() < 2050
    ? der(TAG.utcTime, Buffer.from(`${digits.slice(2)}Z`))
    : der(TAG.generalizedTime, Buffer.from(`${digits}Z`));
}

const nameOf = (text: string): Buffer => sequence(der(TAG.set, sequence(oid(OID.commonName), der(TAG.utf8, Buffer.from(text)))));

function extension(id: string, critical: boolean, value: Uint8Array): Buffer {
  return sequence(oid(id), ...(critical ? [TRUE] : []), der(TAG.octets, value));
}

/** The name of a key: the hash of its public part. */
function keyId(key: KeyObject): Buffer {
  return createHash('sha1').update(publicDer(key)).digest();
}

const publicDer = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });

function addressBytes(host: string): Buffer {
  if (isIP(host) === 4) return bytes(...host.split('.').map(Number));
  // The system's own reading of an IPv6 address: eight groups, with what "::" stands for.
  const [head = '', tail] = new URL(`http://[${host}]`).hostname.slice(1, -1).split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const [before, after] = [groups(head), groups(tail ?? '')];
  const all = tail === undefined ? before : [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
  return bytes(...all.flatMap((group) => [group >> 8, group & 255]));
}

function alternativeNames(options: IssueOptions): Buffer {
  const uris = identityUris(options.identity).map((uri) => der(0x86, Buffer.from(uri)));
  const hosts = options.hosts.map((host) => (isIP(host) === 0 ? der(0x82, Buffer.from(host)) : der(0x87, addressBytes(host))));
  return sequence(...uris, ...hosts);
}

interface Blank {
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: KeyObject;
  readonly validFrom: Date;
  readonly validUntil: Date;
  readonly extensions: readonly Buffer[];
}

function signed(blank: Blank, signingKey: KeyObject): string {
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  // Positive, and never used twice.
  const serial = randomBytes(16);
  serial.writeUInt8((serial.readUInt8(0) & 0x3f) | 0x40, 0);
  const content = sequence(
    der(0xa0, der(TAG.integer, bytes(2))),
    der(TAG.integer, serial),
    algorithm,
    nameOf(blank.issuer),
    sequence(time(blank.validFrom), time(blank.validUntil)),
    nameOf(blank.subject),
    publicDer(blank.publicKey),
    der(0xa3, sequence(...blank.extensions)),
  );
  const signature = sign('sha256', content, signingKey);
  const whole = sequence(content, algorithm, der(TAG.bits, bytes(0), signature));
  const lines = whole.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

const newKeys = (): { publicKey: KeyObject; privateKey: KeyObject } => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keyPem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** Makes an authority that signs for one installation of Tercet. */
export function makeAuthority(options: { name: string; validFrom: Date; validUntil: Date }): Issued {
  const { publicKey, privateKey } = newKeys();
  const extensions = [
    extension(OID.basicConstraints, true, sequence(TRUE)),
    extension(OID.keyUsage, true, der(TAG.bits, bytes(1, 0x06))),
    extension(OID.subjectKeyId, false, der(TAG.octets, keyId(publicKey))),
  ];
  const { validFrom, validUntil } = options;
  const certificate = signed({ subject: options.name, issuer: options.name, publicKey, validFrom, validUntil, extensions }, privateKey);
  assert(new X509Certificate(certificate).ca, 'what was written is an authority');
  return { certificate, key: keyPem(privateKey) };
}

/** Signs a certificate with a new key. The authority's certificate and key fit each other: the caller has checked. */
export function issueCertificate(authority: Issued, options: IssueOptions): Issued {
  const { publicKey, privateKey } = newKeys();
  const issuer = new X509Certificate(authority.certificate);
  const extensions = [
    extension(OID.basicConstraints, true, sequence()),
    extension(OID.keyUsage, true, der(TAG.bits, bytes(7, 0x80))),
    extension(OID.extendedKeyUsage, false, sequence(oid(OID.serverAuth), oid(OID.clientAuth))),
    extension(OID.subjectKeyId, false, der(TAG.octets, keyId(publicKey))),
    extension(OID.authorityKeyId, false, sequence(der(0x80, keyId(issuer.publicKey)))),
    extension(OID.subjectAltName, false, alternativeNames(options)),
  ];
  const { identity, validFrom, validUntil } = options;
  const subject = identity.name === '' ? identity.kind : `${identity.kind} ${identity.name}`;
  const commonName = /^CN=(.*)$/m.exec(issuer.subject)?.[1] ?? '';
  const certificate = signed(
    { subject, issuer: commonName, publicKey, validFrom, validUntil, extensions },
    createPrivateKey(authority.key),
  );
  const read = new X509Certificate(certificate);
  assert(read.checkIssued(issuer) && read.verify(issuer.publicKey), 'what was written is signed by its authority');
  return { certificate, key: keyPem(privateKey) };
}
