// The page in the browser: an HTTP listener of its own, which shows what the control API shows and changes nothing. Where the configuration names
// a token, whoever gives it may also order planned changes. Nothing is loaded from elsewhere, and the browser is told so.

import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { extname, join } from 'node:path';

import type { Context } from 'hono';
import { Hono } from 'hono';

import type { Address } from '../api/address.ts';
import { VERSION } from '../api/program.ts';
import type { Control, RunningControl } from '../api/server.ts';
import { boundBodies, controlRoutes, keepFresh, serveRoutes } from '../api/server.ts';
import { TercetError } from '../core/base/errors.ts';
import type { Journal } from '../core/base/ports.ts';
import { EVENT_KINDS } from '../watch/events.ts';
import type { Config } from './config.ts';

/** Files of the page, beside the daemon's own. */
const FOLDER = join(import.meta.dirname, '..', 'page');
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};
/** Own scripts, styles and requests only; nobody frames it. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};
/** Orders that a token allows: none of them can lose a write. */
const ORDERS = ['switchover', 'drain', 'resync'] as const;
/** A shorter token could be guessed. */
const TOKEN_CHARS_MIN = 20;
/** A file that is longer holds something else. */
const TOKEN_CHARS_MAX = 1024;

/** The page of another site. */
export interface OtherPage {
  readonly site: string;
  readonly url: string;
}

const isLoopback = (host: string): boolean => /^(127\.|\[?::1\]?$|localhost$)/.test(host);
const isWildcard = (host: string): boolean => /^(0\.0\.0\.0|\[?::\]?)$/.test(host);

/** Pages that a link can lead to: not those on unix sockets or at "any address"; those at loopback only for sites of one machine. */
export function otherPages(config: Config, own: string): readonly OtherPage[] {
  const page = config.sites.find(({ name }) => name === own)?.page ?? null;
  if (page?.kind !== 'tcp') return [];
  return config.sites.flatMap(({ name, page: other }) => {
    if (name === own || other?.kind !== 'tcp' || isWildcard(other.host) || other.text === page.text) return [];
    if (isLoopback(other.host) && !isLoopback(page.host)) return [];
    return [{ site: name, url: `http://${other.text}/` }];
  });
}

export interface PageOptions {
  readonly address: Address;
  /** File with the token that allows orders; null: nobody may order anything here. */
  readonly tokenFile: string | null;
  readonly site: string;
  /** Pages of other sites, as far as a browser that has this one can be sent there. */
  readonly others: readonly OtherPage[];
  readonly control: Control;
  readonly journal: Journal;
  /** Adds what can be looked at. */
  readonly more: (app: Hono) => void;
}

/** Starts the page. Throws TERCET_PORT_IN_USE and, for a token that is none, TERCET_CONFIG_UNREADABLE. */
export async function startPage(options: PageOptions): Promise<RunningControl> {
  if (options.tokenFile !== null) readToken(options.tokenFile);
  return serveRoutes(pageRoutes(options), options.address, { what: 'the page', log: options.journal });
}

/** The routes: docs/reference/page.md. */
export function pageRoutes(options: PageOptions): Hono {
  const { address, control, site, others, tokenFile } = options;
  const app = new Hono();
  const files = new Map(readdirSync(FOLDER).flatMap((name) => fileOf(name)));
  app.use(async (c, next) => {
    await next();
    for (const [name, value] of Object.entries(HEADERS)) c.res.headers.set(name, value);
  });
  app.use((c, next) => {
    const wrong = foreignHost(c, address);
    return wrong === null ? next() : Promise.resolve(c.text(`${wrong}\n`, 403));
  });
  boundBodies(app);
  keepFresh(app, control);
  app.on(
    'POST',
    ORDERS.map((order) => `/v1/groups/:group/${order}`),
    (c) => carryOut(c, controlRoutes(control), tokenFile),
  );
  app.use((c, next) =>
    c.req.method === 'GET' || c.req.method === 'HEAD'
      ? next()
      : Promise.resolve(c.text('this page only shows: orders are given with `tercet`\n', 405)),
  );
  app.get('/v1/page', (c) =>
    c.json({ site, version: VERSION, others, orders: tokenFile === null ? [] : ORDERS, eventKinds: Object.keys(EVENT_KINDS) }, 200),
  );
  app.get('/v1/status', (c) => c.json(control.status(), 200));
  options.more(app);
  app.get('/:file?', (c) => {
    const file = files.get(c.req.param('file') ?? 'index.html');
    return file === undefined ? c.text('there is no such page\n', 404) : c.body(file.bytes, 200, { 'content-type': file.type });
  });
  app.onError((error, c) => {
    if (!(error instanceof TercetError)) throw error;
    return c.json({ error: { code: error.code, text: error.message } }, error.code === 'TERCET_NO_SUCH_GROUP' ? 404 : 400);
  });
  return app;
}

function fileOf(name: string): [string, { type: string; bytes: Uint8Array<ArrayBuffer> }][] {
  const type = TYPES[extname(name)];
  return type === undefined ? [] : [[name, { type, bytes: new Uint8Array(readFileSync(join(FOLDER, name))) }]];
}

/** A name that somebody else's server answers for can be made to mean this address: only addresses, localhost and the configured name are taken. */
function foreignHost(c: Context, address: Address): string | null {
  const host = (c.req.header('host') ?? '').replace(/:[0-9]+$/, '');
  const known =
    /^([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\]|localhost)$/i.test(host) || (address.kind === 'tcp' && host === address.host);
  return known ? null : 'ask for this page by the address of the machine, or by the name that the configuration has for it';
}

/** Gives an order to the control API, for whoever has the token. */
async function carryOut(c: Context, orders: Hono, tokenFile: string | null): Promise<Response> {
  const refused = (status: 401 | 403, text: string): Response => c.json({ error: { code: 'TERCET_BAD_REQUEST', text } }, status);
  if (tokenFile === null) return refused(403, 'this page only shows: "page_token_file" of the configuration would allow orders');
  const origin = c.req.header('origin');
  if (origin !== undefined && origin !== `http://${c.req.header('host') ?? ''}`)
    return refused(403, 'orders of other web pages are not taken');
  const given = /^Bearer (.+)$/.exec(c.req.header('authorization') ?? '')?.[1];
  if (given === undefined || !isSame(given, readToken(tokenFile))) return refused(401, 'this is not the token of the page');
  const body = await c.req.text();
  const headers = { host: 'localhost', 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) };
  return orders.request(new URL(c.req.url).pathname, { method: 'POST', headers, body });
}

function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

/** The token, read anew each time so that it can be changed. Throws TERCET_CONFIG_UNREADABLE. */
function readToken(file: string): string {
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new TercetError('TERCET_CONFIG_UNREADABLE', { file, reason }, { cause });
  }
  if (token.length >= TOKEN_CHARS_MIN && token.length <= TOKEN_CHARS_MAX) return token;
  throw new TercetError('TERCET_CONFIG_UNREADABLE', { file, reason: `a token has ${TOKEN_CHARS_MIN} to ${TOKEN_CHARS_MAX} characters` });
}
