// The control API of a site's daemon: what the commands ask and order, as HTTP on a unix socket or a loopback port. There it obeys whoever can
// connect, but takes no order that a web page could have sent from a browser on this machine. Elsewhere it listens by certificates (remote.ts).

import type { IncomingMessage, Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';

import { createAdaptorServer } from '@hono/node-server';
import type { Context } from 'hono';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type * as z from 'zod';

import { InvariantError } from '../core/base/assert.ts';
import type { ErrorCode } from '../core/base/errors.ts';
import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';
import type { OrderOutcome, PauseOrder, SwitchoverOrder } from '../core/site/contract.ts';
import type { Address } from './address.ts';
import { listen } from './listen.ts';
import { type CallerCheck, refusedCaller } from './remote.ts';
import type { ApiError, DaemonStatus, Explanation, Health } from './schema.ts';
import {
  emptySchema,
  faultsOf,
  nameSchema,
  pauseSchema,
  promoteSchema,
  type ResyncOrder,
  resumeSchema,
  resyncSchema,
  switchoverSchema,
} from './schema.ts';

/** What the daemon does for the API. Orders for a group that is not here throw TERCET_NO_SUCH_GROUP. */
export interface Control {
  status(): DaemonStatus;
  /** Resolves when status() is as of now, where it is not at any time; bounded in time. */
  refresh?(): Promise<void>;
  /** Why this site may or may not serve now, and what it has decided. */
  explain(group: string): Promise<Explanation>;
  create(group: string): Promise<OrderOutcome>;
  promote(group: string, options: { force: boolean }): Promise<OrderOutcome>;
  /** A planned change of the primary; any site of the group takes the order. */
  switchover(group: string, order: SwitchoverOrder): Promise<OrderOutcome>;
  /** This site believes the witness that answers now in place of the one before, and reports to it. */
  replaceWitness(group: string): Promise<OrderOutcome>;
  /** Resolves when the base images of this site hold everything that was committed when it was asked. */
  drain(group: string): Promise<OrderOutcome>;
  resync(group: string, order: ResyncOrder): Promise<OrderOutcome>;
  /** The primary sends a mirror nothing until it is resumed; only the primary takes the order. */
  pause(group: string, order: PauseOrder): Promise<OrderOutcome>;
  resume(group: string, site: string): Promise<OrderOutcome>;
}

/** A control API that listens. */
export interface RunningControl {
  /** Stops accepting and ends what is under way, in bounded time. */
  close(): Promise<void>;
}

/** Bounds that tests make shorter, in milliseconds. */
export interface ControlBounds {
  readonly orderMillis: number;
}

/** How a control API is served. */
export interface ControlOptions {
  readonly log: Journal;
  readonly bounds?: ControlBounds;
  /** Adds routes of other parts of the daemon. */
  readonly more?: (app: Hono) => void;
  /** With it, whoever connects shows a certificate, and may come from anywhere. */
  readonly callers?: CallerCheck;
}

/** Starts the API. Throws TERCET_PORT_IN_USE. */
export async function startControl(control: Control, address: Address, options: ControlOptions): Promise<RunningControl> {
  const { log, bounds, more, callers } = options;
  const app = controlRoutes(control, bounds, callers);
  more?.(app);
  return serveRoutes(app, address, { what: 'the control API', log, callers });
}

/** What is served, for messages; and how callers are known, where that is asked. */
export interface ServeOptions {
  readonly what: string;
  readonly log: Journal;
  readonly callers?: CallerCheck | undefined;
}

/** Serves routes for programs and people of the administrator's: bounded in connections, time and size. Throws TERCET_PORT_IN_USE. */
export async function serveRoutes(app: Hono, address: Address, options: ServeOptions): Promise<RunningControl> {
  const { what, log, callers } = options;
  const server = createServer(app, callers);
  await listen(server, address, what);
  // After this, the only errors of a listener are connections that could not be accepted, for lack of file descriptors say.
  server.on('error', (error) =>
    log('control.accept-failed', { address: address.text, error: error.message }, `cannot accept a connection: ${error.message}`),
  );
  return { close: () => closeServer(server) };
}

/** The routes: docs/reference/api.md. */
export function controlRoutes(control: Control, bounds: ControlBounds = { orderMillis: limits.orderMillis }, callers?: CallerCheck): Hono {
  const app = new Hono();
  knowCallers(app, callers);
  boundBodies(app);
  keepFresh(app, control);
  app.get('/v1/status', (c) => c.json(control.status(), 200));
  app.get('/v1/health', (c) => {
    const health = healthOf(control.status());
    return c.json(health, health.healthy ? 200 : 503);
  });
  app.get('/v1/groups/:group/explain', async (c) => c.json(await control.explain(nameOf(c.req.param('group'))), 200));
  app.post('/v1/groups/:group/create', async (c) => {
    const group = nameOf(c.req.param('group'));
    await readBody(c, emptySchema);
    return answer(c, await inTime(control.create(group), `creating group ${group}`, bounds));
  });
  app.post('/v1/groups/:group/promote', async (c) => {
    const group = nameOf(c.req.param('group'));
    const { force } = await readBody(c, promoteSchema);
    return answer(c, await inTime(control.promote(group, { force }), `promoting this site for group ${group}`, bounds));
  });
  app.post('/v1/groups/:group/switchover', async (c) => {
    const group = nameOf(c.req.param('group'));
    const order = await readBody(c, switchoverSchema);
    return answer(c, await inTime(control.switchover(group, order), `handing over group ${group}`, bounds));
  });
  app.post('/v1/groups/:group/replace-witness', async (c) => {
    const group = nameOf(c.req.param('group'));
    await readBody(c, emptySchema);
    return answer(c, await inTime(control.replaceWitness(group), `replacing the witness of group ${group}`, bounds));
  });
  app.post('/v1/groups/:group/drain', async (c) => {
    const group = nameOf(c.req.param('group'));
    await readBody(c, emptySchema);
    return answer(c, await inTime(control.drain(group), `draining group ${group}`, bounds));
  });
  app.post('/v1/groups/:group/resync', async (c) => {
    const group = nameOf(c.req.param('group'));
    const order = await readBody(c, resyncSchema);
    return answer(c, await inTime(control.resync(group, order), `comparing ${order.site} for group ${group}`, bounds));
  });
  app.post('/v1/groups/:group/pause', async (c) => {
    const group = nameOf(c.req.param('group'));
    const order = await readBody(c, pauseSchema);
    return answer(c, await inTime(control.pause(group, order), `pausing ${order.site} of group ${group}`, bounds));
  });
  app.post('/v1/groups/:group/resume', async (c) => {
    const group = nameOf(c.req.param('group'));
    const { site } = await readBody(c, resumeSchema);
    return answer(c, await inTime(control.resume(group, site), `resuming ${site} of group ${group}`, bounds));
  });
  answerTheRest(app);
  return app;
}

/** Has everything that is asked answered as of now. */
export function keepFresh(app: Hono, control: Pick<Control, 'refresh'>): void {
  app.use(async (_c, next) => {
    await control.refresh?.();
    return next();
  });
}

/** What is no route, and what goes wrong in one. */
function answerTheRest(app: Hono): void {
  app.notFound((c) => {
    const routes =
      'GET /v1/status, /v1/health, /v1/view, /v1/events, /metrics, /v1/groups/GROUP/explain, .../sidefile, .../map, ' +
      'POST /v1/reload, /v1/stop, /v1/groups/GROUP/create, .../promote, .../switchover, .../replace-witness, .../drain, .../resync, .../pause, .../resume, .../point, .../point-remove, .../verify and .../export';
    return refuse(c, 404, 'TERCET_BAD_REQUEST', `there is no ${c.req.method} ${c.req.path.slice(0, 200)}: the control API has ${routes}`);
  });
  app.onError((error, c) => {
    if (error instanceof TercetError) return c.json(errorBody(error), statusOf(error.code));
    // A rule of the program was broken: that ends the process, whoever asked.
    if (error instanceof InvariantError) setImmediate(() => raise(error));
    return c.json(errorBody(new TercetError('TERCET_INVARIANT', { text: error.message })), 500);
  });
}

/** Answers nobody who may not ask. */
function knowCallers(app: Hono, callers: CallerCheck | undefined): void {
  app.use(async (c, next) => {
    const wrong = webPage(c) ?? (callers === undefined ? foreignHost(c) : null);
    if (wrong !== null) return refuse(c, 403, 'TERCET_BAD_REQUEST', wrong);
    const forbidden = callers === undefined ? null : refusedCaller(c, callers);
    return forbidden === null ? next() : c.json(errorBody(forbidden), 403);
  });
}

/** Refuses bodies that are large, or whose length is not told beforehand. */
export function boundBodies(app: Hono): void {
  const limit = bodyLimit({
    maxSize: limits.httpBodyBytesMax,
    onError: (c) => refuse(c, 413, 'TERCET_BAD_REQUEST', `the body is larger than ${limits.httpBodyBytesMax} bytes`),
  });
  app.use(async (c, next) => {
    // A request that names no length has no body, and nothing is to be read of it.
    if (c.req.header('transfer-encoding') !== undefined)
      return refuse(c, 411, 'TERCET_BAD_REQUEST', 'a body in pieces is not taken here: send it with its content-length');
    return c.req.header('content-length') === undefined ? next() : limit(c, next);
  });
}

function raise(error: Error): never {
  throw error;
}

/** A page in a browser can reach a port, and show a certificate that the browser has: its requests have an origin. */
function webPage(c: Context): string | null {
  return c.req.header('origin') === undefined ? null : 'requests from web pages are not taken';
}

/** What a page in a browser on this machine asks a loopback port may name another host. */
function foreignHost(c: Context): string | null {
  const host = c.req.header('host') ?? '';
  const local = /^(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?$/.test(host);
  return local ? null : `the host "${host.slice(0, 100)}" is not of this machine: use localhost or 127.0.0.1`;
}

function healthOf(status: DaemonStatus): Health {
  const failed = status.groups.flatMap(({ group, role, failure }) =>
    role === 'failed' || failure !== null ? [{ group, reason: failure ?? 'failed' }] : [],
  );
  return { site: status.site, healthy: failed.length === 0, failed };
}

function nameOf(text: string): string {
  const parsed = nameSchema.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new TercetError('TERCET_BAD_REQUEST', {
    what: 'the control API',
    reason: `the name of the group must be ${faultsOf(parsed.error).replace('the body: ', '')}`,
  });
}

/** The JSON body; none at all counts as {}. */
async function readBody<Value>(c: Context, schema: z.ZodType<Value>): Promise<Value> {
  const fail = (reason: string, cause?: unknown): never => {
    throw new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason }, { cause });
  };
  const text = await c.req.text();
  let value: unknown;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch (cause) {
    return fail(`the body is not JSON (${cause instanceof Error ? cause.message : String(cause)})`, cause);
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? parsed.data : fail(faultsOf(parsed.error));
}

/** Waits for an order, but not for ever: the asker is then told that it is still under way. */
async function inTime(order: Promise<OrderOutcome>, what: string, bounds: ControlBounds): Promise<OrderOutcome> {
  const seconds = bounds.orderMillis / 1000;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const remedy = 'it is still under way; see `tercet status`';
    timer = setTimeout(() => reject(new TercetError('TERCET_DEADLINE', { what, seconds, remedy })), bounds.orderMillis);
  });
  try {
    return await Promise.race([order, late]);
  } finally {
    clearTimeout(timer);
  }
}

function answer(c: Context, outcome: OrderOutcome): Response {
  return c.json(outcome, outcome.kind === 'done' ? 200 : 409);
}

type ErrorStatus = 400 | 403 | 404 | 409 | 411 | 413 | 500 | 504;

function refuse(c: Context, status: ErrorStatus, code: ErrorCode, reason: string): Response {
  return c.json(errorBody(new TercetError(code, { what: 'the control API', reason })), status);
}

function errorBody(error: TercetError): ApiError {
  return { error: { code: error.code, text: error.message } };
}

/** What is wrong with a configuration: whoever wrote it mends it, and the daemon goes on as it was. */
const REFUSED_FILE: ReadonlySet<ErrorCode> = new Set([
  'TERCET_CONFIG',
  'TERCET_CONFIG_UNREADABLE',
  'TERCET_VOLUMES_CHANGED',
  'TERCET_VOLUME_SHRINKS',
]);

function statusOf(code: ErrorCode): ErrorStatus {
  if (REFUSED_FILE.has(code) || code === 'TERCET_BAD_REQUEST') return 400;
  if (code === 'TERCET_NO_SUCH_GROUP') return 404;
  if (code === 'TERCET_LAST_SYNC_COPY') return 409;
  return code === 'TERCET_DEADLINE' ? 504 : 500;
}

function createServer(app: Hono, callers: CallerCheck | undefined): Server {
  const server = createAdaptorServer({
    fetch: app.fetch,
    overrideGlobalObjects: false,
    serverOptions: {
      headersTimeout: limits.httpHeadMillis,
      requestTimeout: limits.httpRequestMillis,
      keepAliveTimeout: limits.httpIdleMillis,
      maxHeaderSize: limits.httpHeadBytesMax,
      ...callers?.tls,
    },
    ...(callers !== undefined && { createServer: createTlsServer }),
  }) as Server;
  callers?.follow(server as TlsServer);
  server.maxConnections = limits.controlConnectionsMax;
  // Silence for longer than any order takes: the asker is gone, whatever its socket says.
  server.setTimeout(limits.orderMillis + limits.httpIdleMillis);
  server.on('clientError', refuseClient);
  server.on('upgrade', (_request: IncomingMessage, socket: Socket) => socket.destroy());
  return server;
}

/** Answers what is not HTTP with a sentence, and closes that connection. */
function refuseClient(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const reason = `this is an HTTP port, and that was no request that it can read (${error.code ?? error.message})`;
  const body = JSON.stringify(errorBody(new TercetError('TERCET_BAD_REQUEST', { what: 'the control API', reason })));
  socket.end(
    `HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  socket.destroySoon();
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => server.closeAllConnections(), limits.shutdownMillis / 2);
    server.close((error) => {
      clearTimeout(deadline);
      if (error === undefined) resolve();
      else reject(error);
    });
    server.closeIdleConnections();
  });
}
