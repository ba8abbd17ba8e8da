// The witness on the network: three routes over HTTP, because a witness is asked seldom, by programs and by people alike, and anything can
// speak it. Whoever sends garbage, too much, or nothing at all gets a sentence and loses its own connection, and nobody else notices.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { createAdaptorServer } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { InvariantError } from '../core/base/assert.ts';
import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';
import { coversGroup, identityText, type TlsIdentity } from '../host/tls-identity.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import { followMaterial, peerIdentity, tlsServerOptions } from '../host/tls-stream.ts';
import { backupOf } from './backup.ts';
import { openFileStore } from './file-store.ts';
import { faultsOf, operationSchema } from './schema.ts';
import { startService, type WitnessService } from './service.ts';
import type { WitnessStore } from './store.ts';

/** Where a witness listens. Port 0: any free one. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** Bounds of one connection, in milliseconds, and of all of them. Defaults are in limits.ts; tests take shorter ones. */
export interface ConnectionBounds {
  /** Until the head of a request is complete, counted from the connection's or the request's begin. */
  readonly headMillis: number;
  /** Until a request is complete. */
  readonly requestMillis: number;
  /** Between two requests. */
  readonly idleMillis: number;
  readonly connectionsMax: number;
}

/** How a witness is started. */
export interface WitnessOptions {
  /** Where it keeps its groups; ignored when a store is given. */
  readonly dataFolder: string;
  /** Default: loopback, port 0. */
  readonly listen?: Listen;
  readonly log: Journal;
  readonly store?: WitnessStore | undefined;
  /** With it, only holders of a certificate are answered, and each speaks for itself alone. */
  readonly tls?: TlsMaterial | undefined;
  readonly bounds?: Partial<ConnectionBounds>;
}

/** A witness that runs. */
export interface RunningWitness {
  readonly address: Listen;
  /** Name of this witness, as it is in every view. */
  readonly instance: string;
  /** Stops accepting, answers what was asked, and gives the store back. */
  close(): Promise<void>;
}

/**
 * Starts a witness. Throws TercetError when its folder is in use or damaged, or the address cannot be listened on. A broken invariant is
 * thrown from the event loop, which ends the process.
 */
export async function startWitness(options: WitnessOptions): Promise<RunningWitness> {
  const { log, listen = { host: '127.0.0.1', port: 0 } } = options;
  const store = options.store ?? (await openFileStore(options.dataFolder));
  try {
    const service = await startService(store, log);
    const bounds: ConnectionBounds = { ...defaultBounds, ...options.bounds };
    const server = await listenOn(createServer(witnessRoutes(service), bounds, options.tls), listen);
    const { address: host, port } = server.address() as AddressInfo;
    log('witness.started', { host, port, instance: service.instance, groups: service.groupCount }, `witness listens on ${host}:${port}`);
    let closed: Promise<void> | null = null;
    const close = async (): Promise<void> => {
      await closeServer(server, bounds);
      await service.drained();
      await store.close();
      log('witness.stopped', { host, port }, 'witness stopped');
    };
    return { address: { host, port }, instance: service.instance, close: () => (closed ??= close()) };
  } catch (cause) {
    await store.close();
    throw cause;
  }
}

const defaultBounds: ConnectionBounds = {
  headMillis: limits.httpHeadMillis,
  requestMillis: limits.httpRequestMillis,
  idleMillis: limits.httpIdleMillis,
  connectionsMax: limits.witnessConnectionsMax,
};

/** The routes. Refusals are answers too: their status is for people who ask with curl, programs read the body. */
function witnessRoutes(service: WitnessService): WitnessApp {
  const app: WitnessApp = new Hono();
  const sizeLimit = bodyLimit({
    maxSize: limits.httpBodyBytesMax,
    onError: (c) => c.json({ error: `the body is larger than ${limits.httpBodyBytesMax} bytes, which no operation is` }, 413),
  });
  app.post('/v1/groups/:group/operations', sizeLimit, async (c) => {
    const operation = operationOf(await c.req.text(), c.req.param('group'));
    if (typeof operation === 'string') return badRequest(c, operation);
    const wrong = refusalFor(callerOf(c), operation);
    if (wrong !== null) return c.json({ error: wrong }, 403);
    const answer = await service.answer(operation);
    if (answer.outcome === 'done') return c.json(answer, 200);
    return c.json(answer, answer.reason === 'unknown-group' ? 404 : 409);
  });
  app.get('/v1/groups/:group', async (c) => {
    const caller = callerOf(c);
    if (caller !== null && !coversGroup(caller, c.req.param('group')))
      return c.json({ error: `the certificate of ${identityText(caller)} is not for this group` }, 403);
    const view = await service.view(c.req.param('group'));
    return view === null ? c.json({ error: 'this witness knows no such group' }, 404) : c.json(view, 200);
  });
  app.get('/v1/backup', async (c) => {
    const caller = callerOf(c);
    const states = [...(await service.states()).values()].filter(({ group }) => caller === null || coversGroup(caller, group));
    return c.json(backupOf(service.instance, states), 200);
  });
  app.get('/v1/health', (c) => {
    const failure = service.failure();
    if (failure !== null) return c.json({ status: 'failed', instance: service.instance, error: failure.message }, 500);
    return c.json({ status: 'ok', instance: service.instance, groups: service.groupCount }, 200);
  });
  app.notFound((c) =>
    c.json(
      { error: 'a witness has POST /v1/groups/:group/operations, GET /v1/groups/:group, /v1/backup and /v1/health, nothing else' },
      404,
    ),
  );
  app.onError((error, c) => {
    if (error instanceof TercetError && error.code === 'TERCET_BAD_REQUEST') return c.json({ error: error.message }, 400);
    if (error instanceof TercetError && error.code === 'TERCET_NOT_IN_STATE') return c.json({ error: error.message }, 409);
    // A rule of the program itself was broken: nothing it would answer now can be relied on.
    if (error instanceof InvariantError) setImmediate(() => raise(error));
    return c.json({ error: `the witness cannot answer: ${error.message}` }, 500);
  });
  return app;
}

type WitnessApp = Hono<{ Bindings: { incoming: IncomingMessage } }>;

/** Whose certificate the asker has shown; null without TLS. */
function callerOf(c: Context<{ Bindings: { incoming: IncomingMessage } }>): TlsIdentity | null {
  const { socket } = c.env.incoming;
  if (!(socket instanceof TLSSocket)) return null;
  // A certificate of our authority that names nobody of Tercet speaks for nobody.
  return peerIdentity(socket) ?? { kind: 'client', name: '', groups: [] };
}

/** Why an operation is not taken from this asker; null when it is. Only site X speaks for site X. */
function refusalFor(caller: TlsIdentity | null, operation: { readonly from: string; readonly group: string }): string | null {
  if (caller === null) return null;
  const asked = `an operation of ${operation.from} for group ${operation.group}`;
  const who = identityText(caller);
  const isOwn = caller.kind === 'site' && caller.name === operation.from && coversGroup(caller, operation.group);
  return isOwn
    ? null
    : new TercetError('TERCET_FORBIDDEN', { what: 'the witness', who, reason: `${asked} needs a certificate of that site` }).message;
}

function raise(error: Error): never {
  throw error;
}

function badRequest(c: Context, reason: string): Response {
  return c.json({ error: new TercetError('TERCET_BAD_REQUEST', { what: 'the witness', reason }).message }, 400);
}

/** The operation in a body, or what is wrong with it. */
function operationOf(body: string, group: string): ReturnType<typeof operationSchema.parse> | string {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    return `the body is not JSON (${(cause as Error).message})`;
  }
  const parsed = operationSchema.safeParse(value);
  if (!parsed.success) return `the body is no operation: ${faultsOf(parsed.error)}`;
  if (parsed.data.group !== group) return `the path names another group than the operation, which is for "${parsed.data.group}"`;
  return parsed.data;
}

function createServer(app: WitnessApp, bounds: ConnectionBounds, tls: TlsMaterial | undefined): Server {
  const server = createAdaptorServer({
    fetch: app.fetch,
    overrideGlobalObjects: false,
    serverOptions: {
      headersTimeout: bounds.headMillis,
      requestTimeout: bounds.requestMillis,
      keepAliveTimeout: bounds.idleMillis,
      connectionsCheckingInterval: Math.max(50, Math.floor(bounds.headMillis / 4)),
      maxHeaderSize: limits.httpHeadBytesMax,
      ...(tls !== undefined && tlsServerOptions(tls)),
    },
    ...(tls !== undefined && { createServer: createTlsServer }),
  }) as Server;
  if (tls !== undefined) followMaterial(server as TlsServer, tls);
  server.maxConnections = bounds.connectionsMax;
  // Silence in the middle of an answer: the reader is gone, whatever its socket says.
  server.setTimeout(bounds.requestMillis + bounds.idleMillis);
  // A kept connection that was busy when the server was closed would otherwise stay until its idle time is over.
  server.on('request', (_request: IncomingMessage, response: ServerResponse) => {
    response.on('close', () => {
      if (!server.listening) server.closeIdleConnections();
    });
  });
  server.on('clientError', refuseClient);
  server.on('upgrade', (_request: IncomingMessage, socket: Socket) => socket.destroy());
  return server;
}

/** Answers what is not HTTP, or came too slowly, and closes that connection. */
function refuseClient(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const status = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
  const body = JSON.stringify({
    error: `this is the HTTP port of a Tercet witness, and that was no request it can read (${error.code ?? error.message})`,
  });
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  // Whoever does not read the sentence does not keep the socket either.
  socket.destroySoon();
}

function listenOn(server: Server, { host, port }: Listen): Promise<Server> {
  return new Promise((resolve, reject) => {
    const refused = (cause: NodeJS.ErrnoException): void =>
      reject(
        new TercetError(
          'TERCET_PORT_IN_USE',
          { address: `${host}:${port}`, what: 'the witness', code: cause.code ?? cause.message },
          { cause },
        ),
      );
    server.once('error', refused);
    server.listen({ host, port }, () => {
      server.off('error', refused);
      resolve(server);
    });
  });
}

/** Stops listening; connections that are idle end now, the others after their answer, and at the latest when a request's time is over. */
function closeServer(server: Server, bounds: ConnectionBounds): Promise<void> {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => server.closeAllConnections(), Math.min(bounds.requestMillis, limits.shutdownMillis));
    server.close((error) => {
      clearTimeout(deadline);
      if (error === undefined) resolve();
      else reject(error);
    });
    server.closeIdleConnections();
  });
}
