// Every byte of a small sidefile changed once, and every call of a recovery made the last: what comes back is the truth or a named damage,
// never other content, never less than was durable, and the same however often a recovery is cut short.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EpochStart } from '../../src/core/base/position.ts';
import type { RecoverOptions } from '../../src/core/replica/recover.ts';
import { MemoryStorage } from '../support/memory-storage.ts';
import { appendUpTo, chance, contents, flush, names, newSidefile, recover, recovered } from '../support/records.ts';

const HISTORY: EpochStart[] = [
  { epoch: 1, firstSeq: 1 },
  { epoch: 2, firstSeq: 22 },
];
const LAST = 33;

/** Segments, durable marks, a frame that was cut in the middle, void frames, and records behind them. */
function rich(flushed = true): { storage: MemoryStorage; chains: (number | null)[] } {
  const storage = new MemoryStorage();
  const sidefile = newSidefile(storage, 1024);
  for (let i = 0; sidefile.received < 26; i++) {
    appendUpTo(sidefile, 1, Math.min(26, sidefile.received + 1 + (i % 3)));
    if (flushed && i % 4 === 1) flush(storage, sidefile);
  }
  sidefile.cutTo(21);
  while (sidefile.received < LAST) appendUpTo(sidefile, 2, sidefile.received + 3);
  const chains = Array.from({ length: LAST + 1 }, (_, seq) => sidefile.chainAt(seq));
  flush(storage, sidefile);
  sidefile.close();
  return { storage, chains };
}

interface Outcomes {
  damaged: number;
  whole: number;
  shorter: number;
}

/** Recovers once for each byte of each file with that byte changed. */
function flipEach(origin: MemoryStorage, options: Partial<RecoverOptions> & { history: EpochStart[] }): Outcomes {
  const outcomes: Outcomes = { damaged: 0, whole: 0, shorter: 0 };
  for (const name of origin.list()) {
    const intact = origin.contentOf(name);
    for (let at = 0; at < intact.length; at++) {
      const storage = origin.copy();
      const bytes = intact.slice();
      bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
      storage.plant(name, bytes);
      const result = recover(storage, options);
      if (result.kind === 'damaged') {
        outcomes.damaged++;
        assert.deepEqual(storage.contentOf(name), bytes, 'damage is left as it was found');
        assert.ok(result.seq >= 1 && result.seq <= LAST + 1, `${name} offset ${at}: ${JSON.stringify(result)}`);
        continue;
      }
      const { oldest, received } = result.sidefile;
      assert.ok(received >= (options.durable ?? 0), `${name} offset ${at}: ends at ${received}`);
      assert.ok(oldest <= (options.destaged ?? 0) + 1, `${name} offset ${at}: begins at ${oldest}`);
      // Payloads that the base image has are checked when they are read.
      const from = Math.max(oldest, (options.destaged ?? 0) + 1);
      assert.deepEqual(contentsFrom(result.sidefile, from), names(HISTORY, from, received), `${name} offset ${at}`);
      if (received === LAST) outcomes.whole++;
      else outcomes.shorter++;
    }
  }
  return outcomes;
}

function contentsFrom(sidefile: Parameters<typeof contents>[0], from: number): string[] {
  const list: string[] = [];
  sidefile.visit(from, sidefile.received, (frame, _segment, _at, first, last) => {
    for (let index = first; index <= last; index++) list.push(`${frame.epoch}.${frame.firstSeq + index}`);
    return true;
  });
  return list;
}

describe('each byte changed once', () => {
  test('after a crash of the program is found, or was of no record', () => {
    const { storage } = rich();
    const outcomes = flipEach(storage, { history: HISTORY, durable: 10 });
    // A changed byte is nothing that a crash of the program leaves behind: nothing is cut off as torn.
    assert.equal(outcomes.shorter, 0);
    assert.ok(outcomes.damaged > 1500, JSON.stringify(outcomes));
    assert.ok(outcomes.whole > 200, JSON.stringify(outcomes));
  });

  test('after a power loss is found, or cut off where no flush had covered it', () => {
    const { storage } = rich();
    const outcomes = flipEach(storage, { history: HISTORY, durable: 10, powerLost: true });
    assert.ok(outcomes.damaged > 1000, JSON.stringify(outcomes));
    assert.ok(outcomes.shorter > 100, JSON.stringify(outcomes));
  });

  test('of records that the superblock says are durable is always found', () => {
    const { storage } = rich();
    const outcomes = flipEach(storage, { history: HISTORY, durable: LAST, powerLost: true });
    assert.equal(outcomes.shorter, 0);
  });

  test('of records that are destaged does not hurt those that are not', () => {
    const { storage, chains } = rich();
    const outcomes = flipEach(storage, { history: HISTORY, destaged: 15, startChain: chains[15] as number, durable: 15, powerLost: true });
    assert.ok(outcomes.damaged > 100, JSON.stringify(outcomes));
  });
});

test('a sidefile cut short at any byte is a prefix, or damage where the prefix is too short', () => {
  const { storage } = rich();
  const files = storage.list();
  for (const [index, name] of files.entries()) {
    const intact = storage.contentOf(name);
    for (let size = 0; size < intact.length; size++) {
      const torn = storage.copy();
      for (const later of files.slice(index + 1)) torn.remove(later);
      torn.plant(name, intact.slice(0, size));
      const result = recover(torn, { history: HISTORY, durable: 12 });
      if (result.kind === 'damaged') continue;
      assert.ok(result.sidefile.received >= 12);
      assert.deepEqual(contents(result.sidefile), names(HISTORY, 1, result.sidefile.received));
    }
  }
});

describe('a recovery that is killed at any call, and begun again,', () => {
  /** Recovers with a kill at each call in turn, then to the end; the result and the files must be those of a recovery that was left alone. */
  function killEach(origin: () => MemoryStorage, options: Partial<RecoverOptions> & { history: EpochStart[] }): number {
    const alone = origin();
    const wanted = recovered(alone, options);
    const calls = alone.calls;
    for (let first = 0; first < calls; first++) {
      const storage = origin();
      // Killed at this call, then at every second call of what is left, then left alone.
      for (const at of [first, 1, 3]) {
        storage.restart();
        storage.killAt = at;
        try {
          recover(storage, options);
        } catch (error) {
          assert.equal((error as Error).name, 'Killed');
        }
      }
      storage.restart();
      const sidefile = recovered(storage, options);
      assert.deepEqual([sidefile.oldest, sidefile.received, sidefile.chain], [wanted.oldest, wanted.received, wanted.chain]);
      assert.deepEqual(storage.list(), alone.list());
      for (const name of storage.list()) assert.deepEqual(storage.contentOf(name), alone.contentOf(name));
    }
    return calls;
  }

  test('cuts off the same torn tail', () => {
    const calls = killEach(
      () => {
        const { storage } = rich(false);
        const third = storage.list()[2] as string;
        const bytes = storage.contentOf(third);
        bytes.fill(0, 300, 500);
        storage.plant(third, bytes);
        return storage;
      },
      { history: HISTORY, powerLost: true },
    );
    assert.ok(calls > 10);
  });

  test('passes over the same void records', () => {
    const history = [
      { epoch: 1, firstSeq: 1 },
      { epoch: 3, firstSeq: 14 },
    ];
    killEach(() => rich().storage, { history });
  });

  test('finds the same sidefile after a power loss, whatever was kept of the recovery before', () => {
    for (let seed = 0; seed < 60; seed++) {
      const { storage, chains } = rich(false);
      const options = { history: HISTORY, destaged: 9, startChain: chains[9] as number, durable: 9, powerLost: true };
      const third = storage.list()[2] as string;
      const bytes = storage.contentOf(third);
      bytes.fill(0, 300, 500);
      storage.plant(third, bytes);
      const first = recovered(storage, options);
      const { received } = first;
      first.dropBefore(10);
      storage.losePower(chance(seed));
      const second = recovered(storage, options);
      assert.equal(second.received, received);
      assert.deepEqual(contents(second), names(HISTORY, second.oldest, received));
    }
  });
});
