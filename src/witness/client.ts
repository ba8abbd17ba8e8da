// A site's way to the witness. It never fails: whatever goes wrong on the way, the site learns `unknown`, because that is the truth: the
// request may have been done, may be done later, or never. The site then asks again with the same request id.

import { Agent, type IncomingMessage, request, type ClientRequest } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { NEWER_OPERATIONS, type WitnessOperation, type WitnessPort, type WitnessReply } from '../core/arbiter/witness-state.ts';
import { limits } from '../core/base/limits.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import { tlsClientOptions, tlsReason } from '../host/tls-stream.ts';
import { answerSchema, faultsOf } from './schema.ts';

/** Where the witness is, and how long to wait for it. */
export interface WitnessClientOptions {
  readonly host: string;
  readonly port: number;
  /** From the call to its `unknown`. Default 1000. */
  readonly timeoutMillis?: number;
  /** With it, only a witness with a certificate is asked. */
  readonly tls?: TlsMaterial | undefined;
}

const UNKNOWN: WitnessReply = { outcome: 'unknown' };

/** Asks a witness over HTTP, on connections that are kept open. */
export class WitnessClient implements WitnessPort {
  readonly #host: string;
  readonly #port: number;
  readonly #timeoutMillis: number;
  readonly #tls: TlsMaterial | undefined;
  #agent: Agent;
  readonly #underWay: Set<(why: string) => void> = new Set();
  readonly #forget: (() => void) | undefined;
  #closed = false;
  #lastFailure: string | null = null;

  constructor(options: WitnessClientOptions) {
    this.#host = options.host;
    this.#port = options.port;
    this.#timeoutMillis = options.timeoutMillis ?? 1000;
    this.#tls = options.tls;
    this.#agent = newAgent(this.#tls);
    // Connections made with the old certificates are not used for another question.
    this.#forget = this.#tls?.onChange(() => {
      const before = this.#agent;
      this.#agent = newAgent(this.#tls);
      before.destroy();
    });
  }

  /** Why the last call got no answer; null after one that did. For people, who want to know whether it is the name, the port or the cable. */
  get lastFailure(): string | null {
    return this.#lastFailure;
  }

  call(operation: WitnessOperation, done: (reply: WitnessReply) => void): void {
    if (this.#closed) {
      setImmediate(() => done(UNKNOWN));
      return;
    }
    let sent: ClientRequest | null = null;
    const finish = (reply: WitnessReply, why: string | null): void => {
      // The first end counts: a request that was given up may still report an error, or even an answer.
      if (!this.#underWay.delete(giveUp)) return;
      clearTimeout(timer);
      this.#lastFailure = why;
      sent?.destroy();
      done(reply);
    };
    const giveUp = (why: string): void => finish(UNKNOWN, why);
    const timer = setTimeout(() => giveUp(`no answer within ${this.#timeoutMillis} ms`), this.#timeoutMillis);
    this.#underWay.add(giveUp);
    const send = (again: boolean): void => {
      sent = this.#request(operation, {
        answered: (reply) => finish(reply, null),
        failed: (why, idleSocket) => {
          // A kept connection that the witness has closed meanwhile says nothing about the witness. Asking twice is harmless: one id.
          if (idleSocket && !again && this.#underWay.has(giveUp)) send(true);
          else giveUp(why);
        },
      });
    };
    // Later, so that `done` is never called from inside the call, not even when the address itself is refused.
    setImmediate(() => {
      if (!this.#underWay.has(giveUp)) return;
      try {
        send(false);
      } catch (cause) {
        giveUp((cause as Error).message);
      }
    });
  }

  /** Ends all connections; calls under way learn `unknown`. */
  close(): void {
    this.#closed = true;
    this.#forget?.();
    for (const giveUp of this.#underWay) giveUp('the client was closed');
    this.#agent.destroy();
  }

  #request(
    operation: WitnessOperation,
    on: { answered: (reply: WitnessReply) => void; failed: (why: string, idleSocket: boolean) => void },
  ): ClientRequest {
    const body = JSON.stringify(operation);
    const sent = (this.#tls === undefined ? request : tlsRequest)({
      ...(this.#tls !== undefined && tlsClientOptions(this.#tls, { kind: 'witness', name: '' })),
      host: this.#host,
      port: this.#port,
      agent: this.#agent,
      method: 'POST',
      path: `/v1/groups/${encodeURIComponent(operation.group)}/operations`,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    });
    sent.on('error', (error: NodeJS.ErrnoException) => {
      on.failed(tlsReason(error), sent.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE'));
    });
    sent.on('response', (response) => {
      readBody(response, (text) => {
        const reply = typeof text === 'string' ? replyOf(response.statusCode ?? 0, text, operation) : text;
        if ('failed' in reply) on.failed(reply.failed, false);
        else on.answered(reply);
      });
    });
    sent.end(body);
    return sent;
  }
}

function newAgent(tls: TlsMaterial | undefined): Agent {
  const options = { keepAlive: true, maxSockets: 8, maxFreeSockets: 2, timeout: limits.httpIdleMillis };
  return tls === undefined ? new Agent(options) : new TlsAgent({ ...options, maxCachedSessions: 0 });
}

/** Collects a response; something that is no answer of a witness is not read to its end. */
function readBody(response: IncomingMessage, done: (text: string | { failed: string }) => void): void {
  const parts: Buffer[] = [];
  let byteCount = 0;
  response.on('data', (part: Buffer) => {
    byteCount += part.length;
    if (byteCount <= limits.httpBodyBytesMax) parts.push(part);
    else response.destroy();
  });
  response.on('error', (error) => done({ failed: `the answer broke off: ${error.message}` }));
  response.on('close', () => {
    if (response.complete) done(Buffer.concat(parts).toString('utf8'));
    else done({ failed: 'the answer broke off' });
  });
}

/** The answer in a response, or why it is none. */
function replyOf(status: number, text: string, operation: WitnessOperation): WitnessReply | { failed: string } {
  // What this program sends is well formed: a witness that cannot read it is of a release before it. Of anything else 400 is no answer of a witness.
  if (status === 400 && NEWER_OPERATIONS.has(operation.kind)) return { outcome: 'not-understood' };
  if (status !== 200 && status !== 404 && status !== 409) return { failed: `status ${status}: ${text.slice(0, 500)}` };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return { failed: `the answer is not JSON: ${(cause as Error).message}` };
  }
  const parsed = answerSchema.safeParse(value);
  if (!parsed.success) return { failed: `the answer is not a witness's: ${faultsOf(parsed.error)}` };
  const { view } = parsed.data;
  if (view !== null && view.group !== operation.group) return { failed: `the answer is about group "${view.group}"` };
  return parsed.data;
}
