// What the witness says of a group, for a command: one question over HTTP, with this machine's certificate where links are encrypted.

import { type IncomingMessage, request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { limits } from '../core/base/limits.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import { tlsClientOptions, tlsReason } from '../host/tls-stream.ts';

/** Where the witness is, and with which certificate it is asked. */
export interface WitnessAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsMaterial | null;
}

/** An answer, whatever its status. */
export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

/** Sends one request. Rejects with an Error whose message says why there was no answer. */
export function askWitness(
  address: WitnessAddress,
  { method, path, body }: { method: 'GET' | 'POST'; path: string; body?: unknown },
): Promise<HttpAnswer> {
  const { host, port, tls } = address;
  return new Promise((resolve, reject) => {
    const text = body === undefined ? null : JSON.stringify(body);
    const options = {
      host,
      port,
      method,
      path,
      agent: false as const,
      headers: text === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      signal: AbortSignal.timeout(limits.httpRequestMillis),
    };
    const sent = tls === null ? request(options) : tlsRequest({ ...options, ...tlsClientOptions(tls, { kind: 'witness', name: '' }) });
    sent.on('error', (error: NodeJS.ErrnoException) => {
      const late = error.name === 'AbortError' || error.name === 'TimeoutError';
      reject(new Error(late ? `no answer within ${limits.httpRequestMillis} ms` : tlsReason(error), { cause: error }));
    });
    sent.on('response', (response) => collect(response, resolve, reject));
    sent.end(text ?? undefined);
  });
}

function collect(response: IncomingMessage, resolve: (answer: HttpAnswer) => void, reject: (error: Error) => void): void {
  const parts: Uint8Array[] = [];
  let byteCount = 0;
  response.on('data', (part: Uint8Array) => {
    byteCount += part.length;
    if (byteCount <= limits.witnessAnswerBytesMax) parts.push(part);
    else response.destroy(new Error('the answer is too large'));
  });
  response.on('error', reject);
  response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }));
}
