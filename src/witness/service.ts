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
import type { SharedStore, WitnessStore } from './store.ts';

/** A witness that answers operations. */
export interface WitnessService {
  readonly instance: string;
  /** Does an operation after those of its group that came before. Rejects, the outcome unknown, once the store has failed. */
  answer(operation: WitnessOperation): Promise<WitnessAnswer>;
  /** What is durable of a group now; null when there is no such group. Throws once the store has failed, and while nothing is granted for it. */
  view(group: string): Promise<WitnessView | null>;
  /** What is durable of all groups. Throws once the store has failed. */
  states(): Promise<ReadonlyMap<string, WitnessState>>;
  readonly groupCount: number;
  /** Why this witness answers nothing any more; null while it does. */
  failure(): Error | null;
  /** Resolves when everything that was asked before is answered. */
  drained(): Promise<void>;
}

/** How often an operation is decided anew because another witness of a shared store was faster. */
const CONFLICTS_MAX = 20;

/** Starts a witness over a store, which it reads once, or, if others may change it, for each operation. */
export async function startService(store: WitnessStore | SharedStore, log: Journal): Promise<WitnessService> {
  const isShared = 'read' in store;
  const states = new Map(await store.readAll());
  const turns = new GroupTurns();
  let failure: Error | null = null;

  const fail = (cause: Error): Error => {
    if (failure === null) {
      failure = cause;
      log('witness.failed', { error: cause.message }, `the witness has stopped answering: ${cause.message}`);
    }
    return failure;
  };

  const stateNow = async (group: string): Promise<WitnessState | null> => {
    if (!isShared) return states.get(group) ?? null;
    const state = await store.read(group);
    if (state !== null) states.set(group, state);
    return state;
  };

  /** null: another witness was faster, and it is to be decided anew. */
  const tryStep = async (operation: WitnessOperation): Promise<WitnessAnswer | null> => {
    if (failure !== null) throw failure;
    const before = await stateNow(operation.group);
    if (before === null && operation.kind === 'create') refuseTooMany(states.size);
    const { state, answer } = apply(before, operation, store.instance);
    if (state === null || state === before) return answer;
    let outcome: Awaited<ReturnType<WitnessStore['compareAndSet']>>;
    try {
      outcome = await store.compareAndSet(operation.group, before?.writes ?? null, state);
    } catch (cause) {
      // What a shared store holds is read anew for the next operation, so that nothing is left unknown.
      throw isShared ? cause : fail(cause as Error);
    }
    if (outcome === 'no-room') throw noRoom(operation.group);
    if (outcome === 'conflict' && isShared) return null;
    if (outcome === 'conflict') throw fail(new Error(`the store of group ${operation.group} was changed by another witness`));
    states.set(operation.group, state);
    if (state.revision !== before?.revision || state.seeded !== before.seeded) logChange(log, operation, state);
    return answer;
  };

  return {
    instance: store.instance,
    answer: (operation) =>
      turns.take(operation.group, async () => {
        try {
          return await untilStored(operation.group, () => tryStep(operation));
        } catch (cause) {
          if (cause instanceof InvariantError) fail(cause);
          throw cause;
        }
      }),
    view: async (group) => {
      if (failure !== null) throw failure;
      const state = await stateNow(group);
      return state === null ? null : grantedView(state, store.instance);
    },
    states: async () => {
      if (failure !== null) throw failure;
      return isShared ? store.readAll() : new Map(states);
    },
    get groupCount() {
      return states.size;
    },
    failure: () => failure,
    drained: () => turns.drained(),
  };
}

/** What another witness knew, or this one before it was put back, is not shown as if it were so. */
function grantedView(state: WitnessState, instance: string): WitnessView | null {
  if (state.deleted === true) return null;
  if (state.seeded && state.instance === instance) return viewOfState(state);
  const heard = state.seeding?.reports.map((report) => report.site) ?? [];
  const reason =
    `it was replaced, restored or put back, and grants nothing for group ${state.group} until the copies have reported ` +
    `(so far: ${heard.length === 0 ? 'none' : heard.join(', ')}); \`tercet witness replace ${state.group}\` has them do so`;
  throw new TercetError('TERCET_NOT_IN_STATE', { what: 'the witness', reason });
}

async function untilStored(group: string, tryStep: () => Promise<WitnessAnswer | null>): Promise<WitnessAnswer> {
  for (let tries = 0; tries < CONFLICTS_MAX; tries++) {
    const answer = await tryStep();
    if (answer !== null) return answer;
  }
  throw new Error(`group ${group} is changed by other witnesses all the time`);
}

/** Operations of one group one after the other, in the order in which they came; those of different groups side by side. */
class GroupTurns {
  /** The last operation under way of each group that has any. */
  readonly #tails = new Map<string, Promise<unknown>>();

  async take<Value>(group: string, work: () => Promise<Value>): Promise<Value> {
    const mine = Promise.resolve(this.#tails.get(group)).then(work);
    const tail = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(group, tail);
    try {
      return await mine;
    } finally {
      if (this.#tails.get(group) === tail) this.#tails.delete(group);
    }
  }

  async drained(): Promise<void> {
    await Promise.all(this.#tails.values());
  }
}

function noRoom(group: string): TercetError {
  return new TercetError('TERCET_WITNESS_DISK', { operation: 'write', file: `the state of group ${group}`, code: 'ENOSPC' });
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
  if (!state.seeded) {
    const heard = state.seeding?.reports.map((report) => report.site).join(', ') ?? '';
    log(
      'witness.unseeded',
      facts,
      `group ${group}: grants nothing until its copies have reported; so far: ${heard === '' ? 'none' : heard}`,
    );
    return;
  }
  const reign = `epoch ${epoch}, primary ${primary ?? 'none'}, flags ${flags}`;
  log(
    `witness.${operation.kind}`,
    facts,
    `group ${group}: ${operation.kind} by ${operation.from} done, now revision ${revision}, ${reign}`,
  );
}
