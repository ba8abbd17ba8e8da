// The digests beside a base image: written with it whoever writes, true after every crash, and telling which block has rotted.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { digestCheck, digestEntryLayout } from '../../../src/core/replica/digest-entry.ts';
import type { DigestLogOptions } from '../../../src/core/replica/digest-log.ts';
import { DigestTable } from '../../../src/core/replica/digest-table.ts';
import { DigestedBase } from '../../../src/core/replica/digested-base.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { blockDigests, digests } from '../../support/records.ts';
import { ReplicaRig, VOLUMES, write, zero } from '../../support/replica-rig.ts';
import { StepStorage } from '../../support/step-storage.ts';

function drained(digestLog: DigestLogOptions = { entriesMax: 6, fileBytes: 3 * 4096 }): ReplicaRig {
  const rig = new ReplicaRig({ digestLog }).start();
  rig.append([write(1, 10, 20, 0x11), write(1, 40, 2, 0x22), zero('zeroes', 1, 12, 3), zero('trim', 1, 20, 4)]);
  rig.replica.commit(rig.reference.end);
  rig.wait((done) => rig.replica.drain(done));
  return rig;
}

function flip(rig: ReplicaRig, file: string, at: number): void {
  const handle = rig.disk.open(file, { create: false });
  const byte = new Uint8Array(1);
  handle.read(at, byte);
  byte[0] = (byte[0] as number) ^ 4;
  handle.write(at, [byte]);
  handle.close();
}

test('a block that has rotted is named, and no other', () => {
  const rig = drained();
  rig.checkDigests();
  flip(rig, 'base-wide', 15 * BLOCK_BYTES + 77);
  flip(rig, 'base-wide', 41 * BLOCK_BYTES + 4095);
  const check = rig.checkBase(1, 0, VOLUMES[1].sizeBytes);
  assert.deepEqual('faults' in check && check.faults, [
    { block: 15, kind: 'rot' },
    { block: 41, kind: 'rot' },
  ]);
});

test('a block that became a hole though it was written is rot, and a digest that has rotted is no rot of its block', () => {
  // What is in a log is in memory too, and not asked of the disk before the next start.
  const rig = drained({ entriesMax: 0, fileBytes: 8192 });
  const hole = rig.disk.open('base-wide', { create: false });
  hole.punch(11 * BLOCK_BYTES, BLOCK_BYTES);
  hole.close();
  flip(rig, 'digests-wide', 40 * 8 + 5);
  const check = rig.checkBase(1, 0, VOLUMES[1].sizeBytes);
  assert.deepEqual('faults' in check && check.faults, [
    { block: 11, kind: 'rot' },
    { block: 40, kind: 'digest' },
  ]);
  // Looking at it does not make what is there the truth.
  assert.deepEqual(rig.checkBase(1, 40 * BLOCK_BYTES, BLOCK_BYTES), {
    kind: 'checked',
    faults: [{ block: 40, kind: 'digest' }],
    unknown: [40],
  });
});

test('a range that is written to while it is looked at is looked at again', () => {
  const rig = drained();
  const base = rig.bases[1] as DigestedBase;
  const told: unknown[] = [];
  base.check(40 * BLOCK_BYTES, BLOCK_BYTES, blockDigests, (check) => told.push(check));
  base.writeParts([{ offset: 40 * BLOCK_BYTES, bytes: new Uint8Array(BLOCK_BYTES).fill(9) }], () => {});
  rig.storage.settle();
  assert.deepEqual(told, [{ kind: 'written' }]);
  base.writeParts([{ offset: 40 * BLOCK_BYTES, bytes: new Uint8Array(BLOCK_BYTES).fill(8) }], () => {});
  base.check(40 * BLOCK_BYTES, BLOCK_BYTES, blockDigests, (check) => told.push(check));
  rig.storage.settle();
  assert.deepEqual(told[1], { kind: 'written' });
  assert.deepEqual(rig.checkBase(1, 40 * BLOCK_BYTES, BLOCK_BYTES), { kind: 'checked', faults: [], unknown: [] });
});

test('a table of many pages keeps what is set, forgets what is cleared, and gives whole pages back', () => {
  const disk = new MemoryStorage();
  const storage = new StepStorage(disk);
  const table = new DigestTable(storage.open('digests-x', { create: true }), 5000);
  const know = (block: number): number | string => {
    const snapshot = table.snapshot(block, 1);
    table.file.read(snapshot.part.offset, snapshot.part.bytes);
    const known = snapshot.at(block);
    return known.kind === 'known' ? known.crc : known.kind;
  };
  const settle = (): void => {
    let failure: unknown = 'not called';
    table.writeBack((told) => {
      failure = told;
    });
    storage.settle();
    assert.equal(failure, null);
  };
  for (let block = 0; block < 5000; block += 7) table.set(block, block + 1);
  assert.equal(know(4900), 4901);
  settle();
  assert.equal(know(4900), 4901);
  assert.equal(know(4901), 'unknown');
  table.set(8, 99);
  // Asked for while a round is under way: it is in the next one.
  table.writeBack(() => {});
  table.clear(600, 4000);
  assert.equal(know(4599), 'unknown');
  settle();
  assert.equal(know(7), 8);
  assert.equal(know(8), 99);
  assert.equal(know(595), 596);
  assert.equal(know(602), 'unknown');
  assert.equal(know(2100), 'unknown');
  assert.equal(know(4606), 4607);
  const hole = table.file.extents(2 * 4096, 4096, 1)[0];
  assert.equal(hole?.hole, true);
});

test('a log of digests that has rotted makes everything unknown, and calls nothing rotten', () => {
  for (const at of [1, 9, 14, 30, 45, 60]) {
    // Nothing goes into the table: blocks that were written before have older digests there.
    const rig = drained({ entriesMax: 50, fileBytes: 6 * 4096 });
    for (const fill of [0x33, 0x44]) {
      rig.append([write(1, 100, 1, fill), write(1, 102, 1, fill)]);
      rig.replica.commit(rig.reference.end);
      rig.wait((done) => rig.replica.drain(done));
    }
    const before = rig.checkBase(1, 0, VOLUMES[1].sizeBytes);
    assert.deepEqual('faults' in before && before.faults, []);
    rig.crash();
    const file = ['digest-log-0-wide', 'digest-log-1-wide'].find((name) => rig.disk.contentOf(name)[0] === 0x54) as string;
    const pages = rig.disk.contentOf(file).length / 4096;
    flip(rig, file, (pages - 1) * 4096 + at);
    rig.open();
    assert.deepEqual(
      rig.journal.filter((event) => event === 'digests.damaged'),
      ['digests.damaged'],
      `byte ${at}`,
    );
    const check = rig.checkBase(1, 0, VOLUMES[1].sizeBytes);
    assert.deepEqual('faults' in check && [check.faults, check.unknown.length], [[], VOLUMES[1].sizeBytes / BLOCK_BYTES]);
    // And from then on they are noted again.
    rig.append([write(1, 100, 1, 0x55)]);
    rig.replica.commit(rig.reference.end);
    rig.wait((done) => rig.replica.drain(done));
    rig.crash();
    rig.open();
    assert.equal(rig.journal.filter((event) => event === 'digests.damaged').length, 1);
    const again = rig.checkBase(1, 100 * BLOCK_BYTES, BLOCK_BYTES);
    assert.deepEqual('unknown' in again && again.unknown, []);
  }
});

test('an entry is of its block: moved or flipped it is not believed', () => {
  for (const [crc, block] of [
    [0, 0],
    [0xffff_ffff, 12_345_678_901],
    [0x1234_5678, 77],
  ] as const) {
    const check = digestCheck(crc, block);
    assert.ok(check > 1);
    assert.notEqual(digestCheck(crc, block + 1), check);
    for (let bit = 0; bit < 32; bit++) assert.notEqual(digestCheck((crc ^ (1 << bit)) >>> 0, block), check);
  }
});

test('an entry is pinned: these eight bytes are read for ever', () => {
  const storage = new StepStorage(new MemoryStorage());
  const table = new DigestTable(storage.open('digests-x', { create: true }), 10);
  table.set(3, 0x1234_5678);
  table.writeBack(() => {});
  storage.settle();
  const bytes = new Uint8Array(8);
  table.file.read(24, bytes);
  assert.equal(Buffer.from(bytes).toString('hex'), '785634125e421ada');
  assert.deepEqual(digestEntryLayout.at, { crc: 0, check: 4 });
  assert.equal(digests.crc32(new TextEncoder().encode('123456789'), 0), 0xcbf4_3926);
});
