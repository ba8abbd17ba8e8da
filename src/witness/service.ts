// The witness itself, between the network and a store: one change of a group at a time, durable before anybody sees it (W4).

import {
  apply,
  viewOfState,
  type WitnessAnswer,
  type WitnessOperation,
  type WitnessState,
  type WitnessView,
} from '../core/arbiter/witness-state.ts';
import { InvariantError } from '../core/base/assert.ts';
import { TercetError } from '../core/base/errors.ts';
import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';
import type { WitnessStore } from './store.ts';

/** A witness that answers operations. */
export interface WitnessService {
  readonly instance: string;
  /** Does an operation after those of its group that came before. Rejects, the outcome unknown, once the store has failed. */
  answer(operation: WitnessOperation): Promise<WitnessAnswer>;
  /** What is durable of a group now; null when there is no such group. Throws once the store has failed. */
  view(group: string): WitnessView | null;
  readonly groupCount: number;
  /** Why this witness answers nothing any more; null while it does. */
  failure(): Error | null;
  /** Resolves when everything that was asked before is answered. */
  drained(): Promise<void>;
}

/** Starts a witness over a store, which it reads once. */
export async function startService(store: WitnessStore, log: Journal): Promise<WitnessService> {
  const states = new Map(await store.readAll());
  /** The last operation under way of each group that has any. */
  const tails = new Map<string, Promise<unknown>>();
  let failure: Error | null = null;

  const fail = (cause: Error): Error => {
    if (failure === null) {
      failure = cause;
      log('witness.failed', { error: cause.message }, `the witness has stopped answering: ${cause.message}`);
    }
    return failure;
  };

  const step = async (operation: WitnessOperation): Promise<WitnessAnswer> => {
    if (failure !== null) throw failure;
    const before = states.get(operation.group) ?? null;
    if (before === null && operation.kind === 'create') refuseTooMany(states.size);
    const { state, answer } = apply(before, operation, store.instance);
    if (state === null || state === before) return answer;
    let outcome: 'stored' | 'conflict';
    try {
      outcome = await store.compareAndSet(operation.group, before?.writes ?? null, state);
    } catch (cause) {
      throw fail(cause as Error);
    }
    if (outcome === 'conflict') throw fail(new Error(`the store of group ${operation.group} was changed by another witness`));
    states.set(operation.group, state);
    if (state.revision !== before?.revision) logChange(log, operation, state);
    return answer;
  };

  return {
    instance: store.instance,
    answer: async (operation) => {
      const { group } = operation;
      const mine = Promise.resolve(tails.get(group)).then(() => step(operation));
      const tail = mine.then(
        () => undefined,
        () => undefined,
      );
      tails.set(group, tail);
      try {
        return await mine;
      } catch (cause) {
        if (cause instanceof InvariantError) fail(cause);
        throw cause;
      } finally {
        if (tails.get(group) === tail) tails.delete(group);
      }
    },
    view: (group) => {
      if (failure !== null) throw failure;
      const state = states.get(group);
      // A state that came from another witness's disk is shown as this witness's knowledge: whoever knew the other one does not believe it.
      return state === undefined ? null : { ...viewOfState(state), instance: store.instance };
    },
    get groupCount() {
      return states.size;
    },
    failure: () => failure,
    drained: async () => {
      await Promise.all(tails.values());
    },
  };
}

function refuseTooMany(groupCount: number): void {
  if (groupCount < limits.witnessGroupsMax) return;
  throw new TercetError('TERCET_BAD_REQUEST', {
    what: 'the witness',
    reason: `it holds ${groupCount} groups already, which is its maximum`,
  });
}

function logChange(log: Journal, operation: WitnessOperation, state: WitnessState): void {
  const { group, revision, epoch, primary } = state;
  const flags = state.copies.map((copy) => `${copy.site}=${copy.flag}`).join(' ');
  const facts = { group, from: operation.from, requestId: operation.requestId, revision, epoch, primary, flags };
  const reign = `epoch ${epoch}, primary ${primary ?? 'none'}, flags ${flags}`;
  log(
    `witness.${operation.kind}`,
    facts,
    `group ${group}: ${operation.kind} by ${operation.from} done, now revision ${revision}, ${reign}`,
  );
}
