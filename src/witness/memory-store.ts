// A witness's store that lasts as long as its process: for tests of everything above it. It can be told to fail, and to wait, so that a
// test decides when a state becomes durable.

import type { WitnessState } from '../core/arbiter/witness-state.ts';
import type { WitnessStore } from './store.ts';

/** A store in memory with handles for a test. */
export interface MemoryStore extends WitnessStore {
  /** What is "durable" now. */
  readonly groups: Map<string, WitnessState>;
  /** Called before each change takes effect: it may wait, or throw what the store is to fail with. */
  beforeWrite: (next: WitnessState) => Promise<void>;
}

/** An empty store of the given name. */
export function memoryStore(instance: string): MemoryStore {
  const groups = new Map<string, WitnessState>();
  const store: MemoryStore = {
    instance,
    groups,
    beforeWrite: () => Promise.resolve(),
    readAll: () => Promise.resolve(new Map(groups)),
    compareAndSet: async (group, writes, next) => {
      if ((groups.get(group)?.writes ?? null) !== writes) return 'conflict';
      await store.beforeWrite(next);
      groups.set(group, next);
      return 'stored';
    },
    close: () => Promise.resolve(),
  };
  return store;
}
