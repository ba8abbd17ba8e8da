// The superblock: what was promised durably is found again, updates are merged and in order, and what cannot be right is refused.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvariantError } from '../../../src/core/base/assert.ts';
import { encodeSlot, type Json } from '../../../src/core/base/cell.ts';
import { limits } from '../../../src/core/base/limits.ts';
import type { DiskFailure } from '../../../src/core/base/ports.ts';
import { segmentName } from '../../../src/core/replica/segment.ts';
import { Superblock, SUPERBLOCK_FILE, type SuperblockValue } from '../../../src/core/replica/superblock.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { chance, digests } from '../../support/records.ts';

const VALUE: SuperblockValue = {
  format: 1,
  group: 'db',
  groupId: 'f3b1',
  site: 'near',
  volumes: [{ name: 'db', sizeBytes: 1 << 30 }],
  epoch: 0,
  history: [],
  destaged: 0,
  destageTarget: 0,
  destagedChain: 0,
  durable: 0,
  consistent: true,
  copying: null,
  staging: null,
  unclean: false,
  bootId: 'boot-1',
  cleanShutdown: false,
  startCount: 1,
  pendingClaim: null,
  committed: 0,
  witness: null,
};
const ignore = (failure: DiskFailure | null): void => assert.equal(failure, null);

function created(): { storage: MemoryStorage; superblock: Superblock } {
  const storage = new MemoryStorage();
  const superblock = Superblock.create(storage, digests, VALUE, ignore);
  storage.settle();
  return { storage, superblock };
}

function reread(storage: MemoryStorage): SuperblockValue {
  const read = Superblock.read(storage, digests);
  assert.equal(read.kind, 'value', JSON.stringify(read));
  return (read as { superblock: Superblock }).superblock.value;
}

/** Plants a superblock with this value in its first slot. */
function planted(value: unknown): MemoryStorage {
  const storage = new MemoryStorage();
  storage.plant(SUPERBLOCK_FILE, encodeSlot(1, value as Json, digests.crc32));
  return storage;
}

describe('a superblock', () => {
  test('is absent where nothing is', () => {
    assert.deepEqual(Superblock.read(new MemoryStorage(), digests), { kind: 'absent' });
  });

  test('says that it is of another version once it holds what the first programs do not know, and not before', () => {
    const { storage, superblock } = created();
    superblock.update({ epoch: 1 }, ignore);
    assert.equal(superblock.value.format, 1);
    superblock.update({ members: [{ site: 'near', mode: 'sync' }] }, ignore);
    storage.settle();
    assert.equal(superblock.value.format, 2);
    superblock.update({ agreement: { asked: 1, alone: null, yields: { to: 'near', epoch: 1, number: 7 } } }, ignore);
    storage.settle();
    superblock.close();
    assert.equal(reread(storage).format, 4);
    assert.match(
      JSON.stringify(Superblock.read(planted({ ...VALUE, agreement: { asked: 1, alone: null, yields: null } }), digests)),
      /its version has no agreement/,
    );
    for (const agreement of [null, {}, { asked: -1, alone: null, yields: null }, { asked: 1, alone: { without: 'near' }, yields: null }])
      assert.match(
        JSON.stringify(Superblock.read(planted({ ...VALUE, format: 4, agreement }), digests)),
        /"agreement\\" is missing or out of range/,
      );
    assert.match(
      JSON.stringify(Superblock.read(planted({ ...VALUE, members: [] }), digests)),
      /its version has no members/,
      'a field is never of a version before it',
    );
  });

  test('is found again as it was written, and goes on from there', () => {
    const { storage, superblock } = created();
    assert.deepEqual(superblock.value, VALUE);
    superblock.update({ epoch: 3, history: [{ epoch: 3, firstSeq: 1 }] }, ignore);
    storage.settle();
    superblock.close();
    storage.losePower(() => 1);
    const read = Superblock.read(storage, digests);
    assert.equal(read.kind, 'value');
    if (read.kind !== 'value') return;
    assert.equal(read.superblock.value.epoch, 3);
    read.superblock.update({ destageTarget: 5, destaged: 5 }, ignore);
    storage.settle();
    storage.losePower(() => 1);
    assert.deepEqual([reread(storage).epoch, reread(storage).destaged], [3, 5]);
  });

  test('shows an update at once, and as durable only when it is', () => {
    const { storage, superblock } = created();
    let called = 0;
    superblock.update({ startCount: 2 }, () => called++);
    assert.deepEqual([superblock.value.startCount, superblock.durableValue.startCount, called], [2, 1, 0]);
    storage.settle();
    assert.deepEqual([superblock.durableValue.startCount, called], [2, 1]);
  });

  test('merges the updates that wait, and calls back for each when a write has it', () => {
    const { storage, superblock } = created();
    const order: string[] = [];
    const say = (name: string) => (failure: DiskFailure | null) => {
      assert.equal(failure, null);
      order.push(`${name}:${superblock.durableValue.durable}/${superblock.durableValue.committed}`);
    };
    const before = storage.calls;
    superblock.update({ durable: 1 }, say('a'));
    superblock.update({ durable: 2 }, say('b'));
    superblock.update({ committed: 9 }, say('c'));
    superblock.update({ durable: 3 }, (failure) => {
      say('d')(failure);
      superblock.update({ durable: 4 }, say('e'));
    });
    storage.settle();
    assert.deepEqual(order, ['a:1/0', 'b:3/9', 'c:3/9', 'd:3/9', 'e:4/9']);
    // Three writes with their flushes for five updates.
    assert.equal(storage.calls - before, 6);
  });

  test('never loses a durable value with the power, whatever is torn', () => {
    for (let seed = 0; seed < 200; seed++) {
      const { storage, superblock } = created();
      const random = chance(seed);
      let promised = 1;
      const updates = 1 + Math.floor(random() * 6);
      for (let i = 0; i < updates; i++) {
        const count = superblock.value.startCount + 1;
        superblock.update({ startCount: count, bootId: `boot-${count}`.repeat(200) }, () => (promised = count));
        if (i < updates - 1 || random() < 0.3) storage.settle();
      }
      const newest = superblock.value.startCount;
      storage.losePower(random);
      const found = reread(storage).startCount;
      assert.ok(found >= promised && found <= newest, `promised ${promised}, found ${found}`);
    }
  });

  test('whose making never ended is absent, and can be made', () => {
    for (let seed = 0; seed < 50; seed++) {
      const storage = new MemoryStorage();
      Superblock.create(storage, digests, VALUE, () => assert.fail('it never ended'));
      storage.losePower(chance(seed));
      const read = Superblock.read(storage, digests);
      if (read.kind === 'value') continue;
      assert.deepEqual(read, { kind: 'absent' });
      Superblock.create(storage, digests, VALUE, ignore);
      storage.settle();
      assert.deepEqual(reread(storage), VALUE);
    }
  });

  test('that is damaged, missing beside a sidefile, or of another version is not taken for none', () => {
    const { storage, superblock } = created();
    superblock.update({ startCount: 2 }, ignore);
    storage.settle();
    const bytes = storage.contentOf(SUPERBLOCK_FILE);
    bytes[40] = 0;
    bytes[limits.cellSlotBytes + 40] = 0;
    storage.plant(SUPERBLOCK_FILE, bytes);
    assert.equal(Superblock.read(storage, digests).kind, 'damaged');
    storage.remove(SUPERBLOCK_FILE);
    assert.deepEqual(Superblock.read(storage, digests), { kind: 'absent' });
    storage.plant(segmentName(3), new Uint8Array(64));
    assert.equal(Superblock.read(storage, digests).kind, 'damaged');
    storage.plant(SUPERBLOCK_FILE, new Uint8Array(0));
    assert.equal(Superblock.read(storage, digests).kind, 'damaged');
    assert.deepEqual(Superblock.read(planted({ ...VALUE, format: 6, extra: 1 }), digests), { kind: 'version', found: 6, known: '1 to 5' });
  });

  test('is held to its form: each field present, of its kind, in its range, and no other', () => {
    const why = (value: unknown): string => {
      const read = Superblock.read(planted(value), digests);
      return read.kind === 'damaged' ? read.why : `${read.kind}!`;
    };
    for (const name of Object.keys(VALUE)) {
      const { [name as keyof SuperblockValue]: _gone, ...rest } = VALUE;
      assert.match(why(rest), name === 'format' ? /format/ : new RegExp(`"${name}"`));
    }
    assert.match(why({ ...VALUE, surplus: 1 }), /"surplus"/);
    assert.match(why({ ...VALUE, format: 4, digestLogs: VALUE.volumes.flatMap(() => [1, 1]) }), /log of digests/);
    assert.match(why({ ...VALUE, format: 5, digestLogs: [1] }), /logs of digests/);
    assert.match(why({ ...VALUE, destaged: -1 }), /"destaged"/);
    assert.match(why({ ...VALUE, destagedChain: 2 ** 32 }), /"destagedChain"/);
    assert.match(why({ ...VALUE, history: [{ epoch: 1 }] }), /"history"/);
    assert.match(why({ ...VALUE, copying: {} }), /"copying"/);
    assert.match(why({ ...VALUE, volumes: Array.from({ length: 65 }, () => VALUE.volumes[0]) }), /"volumes"/);
    assert.match(
      why({
        ...VALUE,
        epoch: 3,
        history: [
          { epoch: 2, firstSeq: 9 },
          { epoch: 3, firstSeq: 8 },
        ],
      }),
      /out of order/,
    );
    assert.match(why({ ...VALUE, epoch: 1, history: [{ epoch: 2, firstSeq: 9 }] }), /not adopted/);
    assert.match(why({ ...VALUE, destaged: 2 }), /destageTarget/);
    assert.match(why({ ...VALUE, sidefile: 'memory' }), /its version has its sidefile on the disk/);
    assert.match(why({ ...VALUE, format: 3, sidefile: 'disk' }), /"sidefile"/);
    assert.match(why([]), /format/);
  });

  test('refuses a move that no replica makes', () => {
    const { storage, superblock } = created();
    superblock.update({ epoch: 4, history: [{ epoch: 4, firstSeq: 1 }], durable: 0, destageTarget: 10, destaged: 10 }, ignore);
    const refused = (patch: Partial<SuperblockValue>): void => assert.throws(() => superblock.update(patch, ignore), InvariantError);
    refused({ epoch: 3, history: [] });
    refused({ destaged: 9 });
    refused({ destaged: 11 });
    refused({ startCount: 0 });
    refused({ groupId: 'other' });
    refused({ site: 'far' });
    refused({ history: [{ epoch: 5, firstSeq: 1 }] });
    // Adopting an epoch that begins at 21 while calling 30 of the old ones durable.
    superblock.update({ durable: 30 }, ignore);
    const history = [
      { epoch: 4, firstSeq: 1 },
      { epoch: 5, firstSeq: 21 },
    ];
    refused({ epoch: 5, history });
    superblock.update({ epoch: 5, history, durable: 20 }, ignore);
    // A whole copy may begin anywhere.
    superblock.update({ consistent: false, copying: { fromSeq: 3 }, destaged: 3, destageTarget: 3, durable: 3 }, ignore);
    storage.settle();
    assert.equal(reread(storage).destaged, 3);
  });

  test('on a disk that failed stays failed, for those who wait and for those who come', () => {
    for (const operation of ['write', 'flush'] as const) {
      const { storage, superblock } = created();
      const told: (string | null)[] = [];
      const tell = (failure: DiskFailure | null): number => told.push(failure?.code ?? null);
      storage.faultAt = (one) => (one === operation ? 'EIO' : null);
      superblock.update({ startCount: 2 }, tell);
      superblock.update({ startCount: 3 }, tell);
      assert.deepEqual(told, [], 'never from inside the call');
      storage.faultAt = null;
      storage.settle();
      superblock.update({ startCount: 4 }, tell);
      storage.settle();
      assert.deepEqual(told, ['EIO', 'EIO', 'EIO']);
      assert.equal(superblock.durableValue.startCount, 1);
    }
  });
});
