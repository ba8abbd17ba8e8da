// A witness's store in etcd, for those who want the witness itself replicated: one key for each group, changed by compare-and-set on its revision.
// The truth is in etcd alone: every operation reads it anew, so that several witnesses may share it, and an answer that was lost on the way
// leaves nothing to guess. Spoken over etcd's JSON gateway (etcd 3.4 or newer): its 64-bit numbers are strings, keys and values are base64, and
// what is false, empty or zero is left out of its answers.

import { randomUUID } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import * as z from 'zod';
import { stateFault } from '../core/arbiter/witness-rules.ts';
import type { WitnessState } from '../core/arbiter/witness-state.ts';
import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';
import { faultsOf, stateSchema } from './schema.ts';
import type { SharedStore } from './store.ts';

/** Where etcd is. */
export interface EtcdOptions {
  /** Client addresses of its members, such as http://10.0.0.1:2379; asked in turn when one does not answer. */
  readonly endpoints: readonly string[];
  /** What all keys begin with, so that several witnesses can have an etcd together. */
  readonly prefix: string;
  /** For https: authorities, and the own certificate and key, as PEM. */
  readonly pem?: { readonly ca: string; readonly cert: string; readonly key: string } | undefined;
  readonly log: Journal;
  /** Until an operation on etcd is given up, over all members. Default 5000. */
  readonly timeoutMillis?: number;
}

/** A member that has not answered for so long is left for the next. */
const MEMBER_MILLIS = 1_000;
const TIMEOUT_MILLIS = 5_000;
const RETRY_PAUSE_MILLIS = 50;

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const countSchema = z.string().regex(/^[0-9]+$/);
const rangeSchema = z.object({
  kvs: z.array(z.object({ key: z.string(), mod_revision: countSchema, value: z.string().default('') })).default([]),
  more: z.boolean().default(false),
});
const txnSchema = z.object({ header: z.object({ revision: countSchema }), succeeded: z.boolean().default(false) });

/** A value in etcd, and the revision at which it was written. */
interface Stored {
  readonly text: string;
  readonly revision: string;
}

/** Opens the store; makes up the witness's name when it is new. Rejects with TERCET_UNREACHABLE when no member answers. */
export async function openEtcdStore(options: EtcdOptions): Promise<SharedStore> {
  const etcd = new Etcd(options);
  const instanceKey = `${options.prefix}instance`;
  const made = randomUUID();
  // Two that begin at the same moment agree on the first one's name.
  const named = (await etcd.get(instanceKey)) ?? (await etcd.put(instanceKey, null, made));
  if (named === 'full') throw new TercetError('TERCET_WITNESS_DISK', { operation: 'write', file: instanceKey, code: 'ENOSPC' });
  const existing = named === true ? null : named === false ? await etcd.get(instanceKey) : named;
  const instance = existing?.text ?? made;
  const keyOf = (group: string): string => `${options.prefix}group/${group}`;
  const read = async (group: string): Promise<{ state: WitnessState; stored: Stored } | null> => {
    const stored = await etcd.get(keyOf(group));
    return stored === null ? null : { state: stateOf(group, stored.text), stored };
  };
  return {
    instance,
    read: async (group) => (await read(group))?.state ?? null,
    readAll: async () => {
      const found = await etcd.list(keyOf(''));
      return new Map([...found].map(([group, text]) => [group, stateOf(group, text)]));
    },
    compareAndSet: async (group, writes, next) => {
      const before = await read(group);
      if ((before?.state.writes ?? null) !== writes) return 'conflict';
      const put = await etcd.put(keyOf(group), before?.stored.revision ?? null, JSON.stringify(next));
      return put === 'full' ? 'no-room' : put ? 'stored' : 'conflict';
    },
    close: () => Promise.resolve(),
  };
}

/** A group's state as etcd has it, checked like any other store's. */
function stateOf(group: string, text: string): WitnessState {
  const damaged = (reason: string): TercetError => new TercetError('TERCET_WITNESS_DAMAGED', { file: `of group ${group} in etcd`, reason });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(`it is not JSON: ${(cause as Error).message}`);
  }
  const parsed = stateSchema.safeParse(value);
  if (!parsed.success) throw damaged(faultsOf(parsed.error));
  const fault = stateFault(parsed.data);
  if (fault !== null) throw damaged(`it breaks a rule: ${fault}`);
  if (parsed.data.group !== group) throw damaged(`it holds group "${parsed.data.group}"`);
  return parsed.data;
}

/** The few calls of etcd that are needed. Each is tried at one member after the other until one answers. */
class Etcd {
  readonly #options: EtcdOptions;
  /** The member that answered last. */
  #at = 0;
  /** What was last told of each member that failed, until it answers again. */
  readonly #told = new Map<string, string>();

  constructor(options: EtcdOptions) {
    this.#options = options;
  }

  /** The value of a key now, at the moment of the call or later (etcd reads are linearizable unless told otherwise). */
  async get(key: string): Promise<Stored | null> {
    const { kvs } = await this.#ask('range', { key: base64(key) }, rangeSchema);
    const [found] = kvs;
    return found === undefined ? null : { text: decoded(found.value), revision: found.mod_revision };
  }

  /** All values below a prefix, by what follows it. */
  async list(prefix: string): Promise<Map<string, string>> {
    // Everything up to the prefix with its last character one higher.
    const end = prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
    const { kvs } = await this.#ask('range', { key: base64(prefix), range_end: base64(end) }, rangeSchema);
    return new Map(kvs.map(({ key, value }) => [decoded(key).slice(prefix.length), decoded(value)]));
  }

  /**
   * Writes a key if it was last written at `revision` (null: if it is not there); false when it was not. An answer that is lost may be of a
   * write that happened: asking again then finds another revision, so that it is looked up whether the value is this very one. `full`: etcd has no
   * room and writes nothing before somebody has made some.
   */
  async put(key: string, revision: string | null, text: string): Promise<boolean | 'full'> {
    const compare =
      revision === null
        ? { key: base64(key), target: 'CREATE', result: 'EQUAL', create_revision: '0' }
        : { key: base64(key), target: 'MOD', result: 'EQUAL', mod_revision: revision };
    const success = [{ requestPut: { key: base64(key), value: base64(text) } }];
    try {
      const { succeeded } = await this.#ask('txn', { compare: [compare], success }, txnSchema);
      return succeeded || (await this.get(key))?.text === text;
    } catch (error) {
      if (!(error instanceof FullError)) throw error;
      return 'full';
    }
  }

  async #ask<Value>(call: 'range' | 'txn', body: unknown, schema: z.ZodType<Value>): Promise<Value> {
    const { endpoints, log, timeoutMillis = TIMEOUT_MILLIS } = this.#options;
    const deadline = performance.now() + timeoutMillis;
    let reason = 'no member is known';
    while (performance.now() < deadline) {
      const endpoint = endpoints[this.#at] ?? '';
      try {
        const answer = await this.#post(`${endpoint}/v3/kv/${call}`, JSON.stringify(body));
        const value = schema.parse(JSON.parse(answer));
        if (call === 'txn' && this.#told.delete(endpoint)) log('etcd.answers', { endpoint, call }, `etcd: ${endpoint} writes again`);
        return value;
      } catch (cause) {
        reason = cause instanceof Error ? `${endpoint}: ${cause.message}` : String(cause);
        if (this.#told.get(endpoint) !== reason) log('etcd.failed', { endpoint, call }, `etcd: ${reason}`);
        this.#told.set(endpoint, reason);
        if (cause instanceof FullError) throw cause;
        this.#at = (this.#at + 1) % endpoints.length;
        await new Promise((resolve) => {
          setTimeout(resolve, RETRY_PAUSE_MILLIS);
        });
      }
    }
    throw new TercetError('TERCET_UNREACHABLE', { what: 'etcd', address: endpoints.join(', '), reason });
  }

  #post(url: string, body: string): Promise<string> {
    const { pem } = this.#options;
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const common = { method: 'POST', headers, agent: false as const, signal: AbortSignal.timeout(MEMBER_MILLIS) };
    return new Promise((resolve, reject) => {
      const sent = url.startsWith('https:') ? tlsRequest(url, { ...common, ...pem, minVersion: 'TLSv1.3' }) : request(url, common);
      sent.on('error', reject);
      sent.on('response', (response) => collect(response, resolve, reject));
      sent.end(body);
    });
  }
}

/** It keeps as much as it may, and takes nothing more (`NOSPACE`). What was asked for is not done, and no member does it. */
class FullError extends Error {}

function decoded(text: string): string {
  return Buffer.from(text, 'base64').toString('utf8');
}

function collect(response: IncomingMessage, resolve: (text: string) => void, reject: (error: Error) => void): void {
  const parts: Uint8Array[] = [];
  let byteCount = 0;
  response.on('data', (part: Uint8Array) => {
    byteCount += part.length;
    if (byteCount <= limits.witnessAnswerBytesMax) parts.push(part);
    else response.destroy(new Error('the answer is too large'));
  });
  response.on('error', reject);
  response.on('end', () => {
    const text = Buffer.concat(parts).toString('utf8');
    if (response.statusCode === 200) resolve(text);
    else {
      const said = `status ${response.statusCode}: ${text.slice(0, 300)}`;
      reject(text.includes('database space exceeded') ? new FullError(said) : new Error(said));
    }
  });
}
