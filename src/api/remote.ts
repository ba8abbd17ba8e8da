// The control API for other machines: the same routes on TCP, for whoever shows a certificate. Administrators order; sites of the installation only
// look, so that a command on one machine can show all of them. What a certificate is and says is the daemon's business: here it is a caller.

import type { IncomingMessage } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import { TLSSocket, type TlsOptions } from 'node:tls';

import type { Context } from 'hono';

import { TercetError } from '../core/base/errors.ts';

/** Who asks. */
export interface Caller {
  /** For people: 'site near'. */
  readonly who: string;
  readonly may: 'order' | 'look' | 'nothing';
  /** The only groups that it may speak about; null for all. */
  readonly groups: readonly string[] | null;
}

/** How callers are known. */
export interface CallerCheck {
  /** Options of the listener: TLS, and a certificate of each caller. */
  readonly tls: TlsOptions;
  /** Lets a listener take new certificates with each reload. */
  follow(server: TlsServer): void;
  caller(socket: TLSSocket): Caller;
}

/** Why a request is not answered; null when it is. */
export function refusedCaller(c: Context, callers: CallerCheck): TercetError | null {
  const { socket } = (c.env as { incoming: IncomingMessage }).incoming;
  const { who, may, groups }: Caller =
    socket instanceof TLSSocket ? callers.caller(socket) : { who: 'nobody', may: 'nothing', groups: null };
  const refuse = (reason: string): TercetError => new TercetError('TERCET_FORBIDDEN', { what: 'the control API', who, reason });
  if (may === 'nothing') return refuse("it takes an administrator's certificate, and a site's for looking");
  if (may === 'look' && c.req.method !== 'GET') return refuse('orders need the certificate of an administrator');
  if (groups === null) return null;
  const group = /^\/v1\/groups\/([a-z0-9-]{1,32})\//.exec(c.req.path)?.[1];
  return group !== undefined && groups.includes(group)
    ? null
    : refuse(`it opens /v1/groups/NAME/... of ${groups.join(', ')}, and nothing else`);
}
