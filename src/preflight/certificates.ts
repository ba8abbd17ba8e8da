// Certificates, before anything relies on them: the own files, and a real handshake with each other site and with the witness. A file that is
// sound is not yet one that the others accept: both ends must show theirs and believe the other's.

import { once } from 'node:events';
import { connect } from 'node:net';
import type { TLSSocket } from 'node:tls';

import type { Address } from '../api/address.ts';
import { TercetError } from '../core/base/errors.ts';
import { connectTls, upgradeClient } from '../host/tls-stream.ts';
import { coversGroup } from '../host/tls-identity.ts';
import { EXPIRY_WARNING_DAYS, TlsMaterial, type ExpectedIdentity, type TlsFiles } from '../host/tls-material.ts';
import { CHECK_GREETING } from './answer.ts';
import { socketLine } from './ask.ts';
import type { Finding } from './findings.ts';

const WAIT_MILLIS = 5_000;
/** In TLS 1.3 a client is done before the server has looked at its certificate: a refusal comes so much later at most, on any sane path. */
const REFUSAL_MILLIS = 1_000;
const DAY_MILLIS = 24 * 3_600_000;

/** What came of showing each other certificates. `expiresAt`: of the other end's, milliseconds of the wall clock. */
export type Shaken =
  | { readonly kind: 'trusted'; readonly expiresAt: number }
  /** The other side is not set up for encrypted links. */
  | { readonly kind: 'plain' }
  | { readonly kind: 'failed'; readonly reason: string };

/** Reads the own files: what they hold, or null when they are not sound, and what is to be said of them. `groups`: those of this site. */
export function ownCertificate(
  files: TlsFiles,
  self: ExpectedIdentity,
  groups: readonly string[],
  now: number,
): { readonly material: TlsMaterial | null; readonly findings: readonly Finding[] } {
  const subject = 'certificate';
  try {
    const material = new TlsMaterial(files, self);
    const { identity, expiresAt, daysLeft, warning } = material.status(now);
    const foreign = groups.filter((group) => !coversGroup(material.identity, group));
    const text = `${files.cert}: ${identity}, valid until ${expiresAt}`;
    if (foreign.length > 0) {
      const remedy = `issue one that is, \`tercet cert issue --group\``;
      return { material, findings: [{ level: 'bad', subject, text: `${text}: it is not for ${foreign.join(', ')}, so ${remedy}` }] };
    }
    if (warning === null) return { material, findings: [{ level: 'good', subject, text: `${text}, ${daysLeft} days` }] };
    return { material, findings: [{ level: Date.parse(expiresAt) <= now ? 'bad' : 'doubtful', subject, text: `${text}: ${warning}` }] };
  } catch (error) {
    if (!(error instanceof TercetError)) throw error;
    return { material: null, findings: [{ level: 'bad', subject, text: error.message }] };
  }
}

/** Shows certificates with `tercet check --answer` at the other side. */
export async function shakeWithAnswer(address: Address, material: TlsMaterial, expected: ExpectedIdentity): Promise<Shaken> {
  const socket = connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
  socket.setTimeout(WAIT_MILLIS, () => socket.destroy(new Error(`no answer within ${WAIT_MILLIS / 1000} s`)));
  try {
    await once(socket, 'connect');
    socket.write(`${CHECK_GREETING} tls\n`);
    const answer = await socketLine(socket);
    if (answer === 'plain') return { kind: 'plain' };
    if (answer !== 'tls') return { kind: 'failed', reason: 'it does not know how: is it of an older version?' };
    return await new Promise<Shaken>((resolve) => {
      upgradeClient(socket, material, expected, (handshake) => {
        if ('failed' in handshake) resolve({ kind: 'failed', reason: handshake.failed });
        else resolve(believed(handshake, WAIT_MILLIS));
      });
    });
  } catch (error) {
    return { kind: 'failed', reason: error instanceof Error ? error.message : String(error) };
  } finally {
    socket.destroy();
  }
}

/** Shows certificates with a daemon or a witness that runs: it takes the connection, and nothing is said on it. */
export async function shakeWithDaemon(address: Address, material: TlsMaterial, expected: ExpectedIdentity): Promise<Shaken> {
  const at = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  return new Promise((resolve) => {
    const giveUp = connectTls(at, { material, expected }, (handshake) => {
      clearTimeout(late);
      if ('failed' in handshake) resolve({ kind: 'failed', reason: handshake.failed });
      else resolve(believed(handshake, REFUSAL_MILLIS));
    });
    const late = setTimeout(() => {
      giveUp();
      resolve({ kind: 'failed', reason: `no answer within ${WAIT_MILLIS / 1000} s` });
    }, WAIT_MILLIS);
  });
}

/** The end of a handshake, as this side sees it. */
interface Shown {
  readonly socket: TLSSocket;
  readonly expiresAt: number;
}

/** Whether the other end believes us as well: it says something, or at least it does not hang up in all that time. */
async function believed({ socket, expiresAt }: Shown, millis: number): Promise<Shaken> {
  const outcome = await new Promise<Shaken>((resolve) => {
    const trusted = { kind: 'trusted', expiresAt } as const;
    const timer = setTimeout(() => resolve(trusted), millis);
    const settle = (shaken: Shaken): void => {
      clearTimeout(timer);
      resolve(shaken);
    };
    const reason = 'it hangs up on the certificate here: look at its log and at its authorities';
    socket.once('data', () => settle(trusted));
    socket.once('error', (error: NodeJS.ErrnoException) =>
      settle({ kind: 'failed', reason: `${reason} (${error.code ?? error.message})` }),
    );
    socket.once('close', () => settle({ kind: 'failed', reason }));
    socket.resume();
  });
  socket.on('error', () => undefined);
  socket.destroy();
  return outcome;
}

/** What a handshake with `whom` (a site's name, or the witness) means. */
export function shakenFinding(whom: string, shaken: Shaken, now: number): Finding {
  const subject = `certificate of ${whom}`;
  switch (shaken.kind) {
    case 'trusted': {
      const days = Math.floor((shaken.expiresAt - now) / DAY_MILLIS);
      const text = `each believes the other; valid until ${new Date(shaken.expiresAt).toISOString()}, ${days} days`;
      if (days >= EXPIRY_WARNING_DAYS) return { level: 'good', subject, text };
      return { level: 'doubtful', subject, text: `${text}: issue a new one there (\`tercet cert issue --renew\`) and reload` };
    }
    case 'plain':
      return { level: 'bad', subject, text: 'the configuration there has no [tls]: it must be the same at every site' };
    case 'failed':
      return { level: 'bad', subject, text: `no encrypted connection: ${shaken.reason}` };
  }
}
