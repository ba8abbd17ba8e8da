// All that the witness asks of a store: give me everything at the start, and replace one group's state, durably, if nobody else has.
// The file store is the default; a store over a replicated service has the same two calls.

import type { WitnessState } from '../core/arbiter/witness-state.ts';

/** Where a witness keeps its groups. Calls for one group are made one after the other; different groups may overlap. */
export interface WitnessStore {
  /** Name of this witness, made up when the store was: another store has another one, so that a replaced witness is noticed. */
  readonly instance: string;
  /** Every group by its name. Fails when any of them cannot be trusted. */
  readAll(): Promise<ReadonlyMap<string, WitnessState>>;
  /**
   * Makes `next` the state of its group if the stored one has `writes` (null: if there is none), and resolves once that is durable.
   * `conflict`: the stored one is another, nothing was changed. `no-room`: there is none for a group that is new, nothing was changed. Rejects when the store failed, and from then on always: what it holds is
   * unknown until it is opened anew.
   */
  compareAndSet(group: string, writes: number | null, next: WitnessState): Promise<'stored' | 'conflict' | 'no-room'>;
  /** Gives the store back. Nothing is under way when it is called. */
  close(): Promise<void>;
}

/**
 * A store that several witnesses may share, and that may be out of reach for a while: each operation reads what is in it, and a call that
 * rejected says nothing about the next one.
 */
export interface SharedStore extends WitnessStore {
  /** The state of a group now; null when there is none. */
  read(group: string): Promise<WitnessState | null>;
}
