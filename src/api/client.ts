// Asks a daemon's control API, over its unix socket, its loopback port, or by TLS from another machine. What comes back is checked: an answer that is none is an error.

import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders, RequestOptions } from 'node:http';
import { request } from 'node:http';
import { request as tlsRequest, type RequestOptions as TlsRequestOptions } from 'node:https';

import type * as z from 'zod';

import { TercetError, exitOf } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { OrderOutcome, PauseOrder, PointOrder, SwitchoverOrder } from '../core/site/contract.ts';
import type { Address } from './address.ts';
import type { DaemonStatus, EventLine, Explanation, Health, ReloadLine, ResyncOrder } from './schema.ts';
import {
  apiErrorSchema,
  daemonStatusSchema,
  eventListSchema,
  eventSchema,
  explanationSchema,
  faultsOf,
  healthSchema,
  outcomeSchema,
  reloadSchema,
} from './schema.ts';
import { type ImageEnd, ImageFailure, type ImagePiece } from '../core/base/image.ts';
import { readImageStream } from './image.ts';
import type { SidefileReport } from './sidefile.ts';
import { sidefileSchema } from './sidefile.ts';
import { type VerifyRequest, type VerifyStatus, verifyStatusSchema } from './verify.ts';

/** How long a question may take; an order takes as long as the daemon allows it, and this on top. */
const QUESTION_MILLIS = 5_000;
/** Largest answer that is read: a status of many groups. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;

/** TLS to a daemon on another machine. */
export interface ControlTls {
  /** Of node:https: the own certificate, and a look at the other end's. */
  readonly options: TlsRequestOptions;
  /** Why a connection failed, for people. */
  reasonOf(error: Error): string;
}

interface Way {
  readonly address: Address;
  readonly tls: ControlTls | null;
}

/**
 * Asks one daemon. Each call throws TERCET_UNREACHABLE when nothing that speaks the API answers in time, and what the daemon itself says is
 * wrong as an error with the daemon's code and sentence.
 */
export class ControlClient {
  readonly #address: Address;
  readonly #questionMillis: number;
  readonly #way: Way;

  /** `tls`: the own certificate, and whom to expect at the other end; without it nothing is encrypted. */
  constructor(address: Address, options: { questionMillis?: number; tls?: ControlTls | undefined } = {}) {
    this.#address = address;
    this.#questionMillis = options.questionMillis ?? QUESTION_MILLIS;
    this.#way = { address, tls: options.tls ?? null };
  }

  /** Where it asks, for people. */
  get address(): string {
    return this.#address.text;
  }

  status(): Promise<DaemonStatus> {
    return this.#ask({ method: 'GET', path: '/v1/status', schema: daemonStatusSchema, millis: this.#questionMillis });
  }

  health(): Promise<Health> {
    return this.#ask({ method: 'GET', path: '/v1/health', schema: healthSchema, millis: this.#questionMillis });
  }

  /** Events as they happen, from after an id on, or all that are kept. Ends when the daemon ends, or with TERCET_UNREACHABLE. */
  async *events(options: { after: string | null; follow: boolean }): AsyncGenerator<EventLine> {
    const query = new URLSearchParams({ ...(options.after !== null && { after: options.after }), ...(options.follow && { follow: '1' }) });
    const path = `/v1/events?${query.toString()}`;
    if (!options.follow) {
      yield* (await this.#ask({ method: 'GET', path, schema: eventListSchema, millis: this.#questionMillis })).events;
      return;
    }
    try {
      for await (const data of serverSentData(this.#way, path)) {
        const event = eventSchema.safeParse(JSON.parse(data));
        if (event.success) yield event.data;
      }
    } catch (cause) {
      const reason = this.#reasonOf(cause);
      throw new TercetError('TERCET_UNREACHABLE', { what: 'the daemon', address: this.#address.text, reason }, { cause });
    }
  }

  #reasonOf(cause: unknown): string {
    if (!(cause instanceof Error)) return String(cause);
    if (this.#way.tls !== null) return this.#way.tls.reasonOf(cause);
    return 'code' in cause ? String(cause.code) : String(cause);
  }

  /** Has the daemon read its configuration again. */
  reload(options: { force: boolean; dryRun: boolean }): Promise<ReloadLine> {
    return this.#ask({
      method: 'POST',
      path: '/v1/reload',
      body: { ...(options.force && { force: true }), ...(options.dryRun && { dryRun: true }) },
      schema: reloadSchema,
      millis: this.#questionMillis,
    });
  }

  /** Records of the sidefile from `from` on. */
  sidefile(group: string, range: { from: number; count: number }): Promise<SidefileReport> {
    const path = `/v1/groups/${encodeURIComponent(group)}/sidefile?from=${range.from}&count=${range.count}`;
    return this.#ask({ method: 'GET', path, schema: sidefileSchema, millis: this.#questionMillis });
  }

  /** The image of a volume, as of one moment, piece by piece. Throws ImageFailure too. */
  async *image(group: string, volume: string): AsyncGenerator<ImagePiece, ImageEnd> {
    const path = `/v1/groups/${encodeURIComponent(group)}/export?volume=${encodeURIComponent(volume)}`;
    try {
      const response = await beginStream(this.#way, { method: 'POST', path });
      if (response.statusCode === 200) return yield* readImageStream(response);
      const refused = apiErrorSchema.safeParse(JSON.parse(await textOf(response)));
      if (refused.success) throw new RemoteError(refused.data.error.code, refused.data.error.text);
      throw Object.assign(new Error('no image'), { code: `HTTP status ${response.statusCode}` });
    } catch (cause) {
      if (cause instanceof RemoteError || cause instanceof ImageFailure) throw cause;
      const reason = this.#reasonOf(cause);
      throw new TercetError('TERCET_UNREACHABLE', { what: 'the daemon', address: this.#address.text, reason }, { cause });
    }
  }

  explain(group: string): Promise<Explanation> {
    const path = `/v1/groups/${encodeURIComponent(group)}/explain`;
    return this.#ask({ method: 'GET', path, schema: explanationSchema, millis: this.#questionMillis });
  }

  create(group: string): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/create`, {});
  }

  promote(group: string, options: { force: boolean }): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/promote`, { force: options.force });
  }

  switchover(group: string, order: SwitchoverOrder): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/switchover`, { to: order.to, dryRun: order.dryRun });
  }

  /** Ends the daemon, unless its copy is the last one in step. */
  stop(options: { force: boolean }): Promise<OrderOutcome> {
    return this.#order('/v1/stop', { force: options.force });
  }

  replaceWitness(group: string): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/replace-witness`, {});
  }

  drain(group: string): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/drain`, {});
  }

  resync(group: string, order: ResyncOrder): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/resync`, { ...order });
  }

  pause(group: string, order: PauseOrder): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/pause`, { site: order.site, force: order.force });
  }

  resume(group: string, site: string): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/resume`, { site });
  }

  /** Makes a point of the copy there. */
  createPoint(group: string, order: PointOrder): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/point`, order);
  }

  removePoint(group: string, name: string): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/point-remove`, { name });
  }

  /** Compares the copies of a group; only its primary does. */
  verify(group: string, order: VerifyRequest): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/verify`, order);
  }

  cancelVerify(group: string): Promise<OrderOutcome> {
    return this.#order(`/v1/groups/${encodeURIComponent(group)}/verify-cancel`, {});
  }

  verifyStatus(group: string): Promise<VerifyStatus> {
    const path = `/v1/groups/${encodeURIComponent(group)}/verify`;
    return this.#ask({ method: 'GET', path, schema: verifyStatusSchema, millis: this.#questionMillis });
  }

  #order(path: string, body: object): Promise<OrderOutcome> {
    return this.#ask({ method: 'POST', path, body, schema: outcomeSchema, millis: this.#questionMillis + limits.orderMillis });
  }

  async #ask<Value>(question: { method: string; path: string; body?: object; schema: z.ZodType<Value>; millis: number }): Promise<Value> {
    const unreachable = (reason: string, cause?: unknown): TercetError =>
      new TercetError('TERCET_UNREACHABLE', { what: 'the daemon', address: this.#address.text, reason }, { cause });
    let text: string;
    try {
      text = await exchange(this.#way, question);
    } catch (cause) {
      throw unreachable(this.#reasonOf(cause), cause);
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw unreachable('what answers there is no Tercet daemon', cause);
    }
    const refused = apiErrorSchema.safeParse(value);
    if (refused.success) throw new RemoteError(refused.data.error.code, refused.data.error.text);
    const parsed = question.schema.safeParse(value);
    if (!parsed.success) throw unreachable(`its answer is not one that this version knows: ${faultsOf(parsed.error).slice(0, 300)}`);
    return parsed.data;
  }
}

/** An error that the daemon reports: its code and its sentence, and the exit code for a command. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError';
  readonly code: string;
  readonly exit: number;
  constructor(code: string, text: string) {
    super(text);
    this.code = code;
    this.exit = exitOf(code);
  }
}

function begin({ address, tls }: Way, options: RequestOptions): ClientRequest {
  const where = address.kind === 'unix' ? { socketPath: address.path } : { host: address.host, port: address.port };
  return (tls === null ? request : tlsRequest)({ ...tls?.options, ...where, agent: false, ...options });
}

/** Sends one request and returns the text of the answer, whatever its status. */
function exchange(way: Way, question: { method: string; path: string; body?: object; millis: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    const body = question.body === undefined ? null : JSON.stringify(question.body);
    const sent = begin(way, {
      method: question.method,
      path: question.path,
      headers: {
        host: 'localhost',
        ...(body !== null && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
      signal: AbortSignal.timeout(question.millis),
    });
    sent.on('error', (error) => {
      reject(
        error.name === 'AbortError' || error.name === 'TimeoutError'
          ? Object.assign(error, { code: `no answer within ${question.millis} ms` })
          : error,
      );
    });
    sent.on('response', (response) => readAnswer(response, resolve, reject));
    sent.end(body ?? undefined);
  });
}

function readAnswer(response: IncomingMessage, resolve: (text: string) => void, reject: (error: Error) => void): void {
  const parts: Uint8Array[] = [];
  let byteCount = 0;
  response.on('data', (part: Uint8Array) => {
    byteCount += part.length;
    if (byteCount <= ANSWER_BYTES_MAX) parts.push(part);
    else response.destroy(Object.assign(new Error('the answer is too large'), { code: 'the answer is too large' }));
  });
  response.on('error', reject);
  response.on('end', () => resolve(Buffer.concat(parts).toString('utf8')));
}

/** Sends a request without a body whose answer may last. */
function beginStream(way: Way, { headers, ...options }: RequestOptions): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = begin(way, { ...options, headers: { host: 'localhost', 'content-length': 0, ...(headers as OutgoingHttpHeaders) } });
    sent.on('response', resolve);
    sent.on('error', reject);
    sent.end();
  });
}

function textOf(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    readAnswer(response, resolve, reject);
  });
}

/** The data of each message of an event stream. Ends with the stream. */
async function* serverSentData(way: Way, path: string): AsyncGenerator<string> {
  const response = await beginStream(way, { path, headers: { accept: 'text/event-stream' } });
  if (response.statusCode !== 200) throw Object.assign(new Error('no event stream'), { code: `HTTP status ${response.statusCode}` });
  response.setEncoding('utf8');
  let text = '';
  for await (const part of response) {
    text += String(part);
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trim());
      if (data.length > 0) yield data.join('\n');
    }
    if (text.length > ANSWER_BYTES_MAX) throw Object.assign(new Error('a message is too large'), { code: 'a message is too large' });
  }
}
