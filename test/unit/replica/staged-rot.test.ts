// Images of a resync wait beside the sidefile for its end. What the disk changes of them meanwhile goes into no base.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { isChanged, Staging } from '../../../src/core/replica/staging.ts';
import type { DiskFailure } from '../../../src/core/base/ports.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { digests } from '../../support/records.ts';
import { assertSame, beginResync, type ReplicaRig, SMALL_BLOCKS } from '../../support/replica-rig.ts';
import { StepStorage } from '../../support/step-storage.ts';

const BLOCKS = 1024;
const volumes = [{ sizeBytes: BLOCKS * BLOCK_BYTES }, { sizeBytes: BLOCKS * BLOCK_BYTES }];
const blocks = (count: number, fill: number): Uint8Array => new Uint8Array(count * BLOCK_BYTES).fill(fill);

/** Flips one bit of a byte where it lies. */
function flip(disk: Pick<MemoryStorage, 'open'>, name: string, at: number): void {
  const file = disk.open(name, { create: false });
  const byte = new Uint8Array(1);
  file.read(at, byte);
  file.write(at, [Uint8Array.of((byte[0] as number) ^ 0x10)]);
  file.close();
}

/** A staging area of two volumes, and what its calls come to. */
class Area {
  readonly storage: StepStorage = new StepStorage(new MemoryStorage());
  staging: Staging = this.open(0);

  open(entries: number): Staging {
    return new Staging({ storage: this.storage, digests, volumes, leaveBytes: () => 0 }, entries);
  }

  wait(begin: (done: (failure: DiskFailure | null) => void) => void): DiskFailure | null {
    let result: DiskFailure | null | undefined;
    begin((failure) => {
      result = failure;
    });
    this.storage.settle();
    assert(result !== undefined, 'it has called back');
    return result;
  }

  put(volume: number, at: number, content: Parameters<Staging['put']>[2]): void {
    const failure = this.wait((done) => this.staging.put(volume, at * BLOCK_BYTES, content, 0, done));
    assert.equal(failure, null);
  }

  /** Tables are written, as a flush does that covers them. */
  flush(): void {
    for (const volume of volumes.keys())
      assert.equal(
        this.wait((done) => this.staging.fileAt(volume).table.writeBack(done)),
        null,
      );
  }

  check(): DiskFailure | null {
    return this.wait((done) => this.staging.check(done));
  }
}

test('a bit of a staged image or of its digest that has changed is found, and named by its block', () => {
  const area = new Area();
  area.put(0, 3, blocks(300, 0x11));
  area.put(1, 700, blocks(2, 0x22));
  area.put(1, 705, { zeroLength: 4 * BLOCK_BYTES });
  area.flush();
  assert.equal(area.check(), null);
  for (const [file, at, volume, block] of [
    ['staging-0', 302 * BLOCK_BYTES + 5, 0, 302],
    ['staging-1', 700 * BLOCK_BYTES, 1, 700],
    ['staging-digests-1', 701 * 8 + 1, 1, 701],
    ['staging-digests-1', 701 * 8 + 6, 1, 701],
  ] as const) {
    flip(area.storage, file, at);
    const failure = area.check();
    assert(failure !== null && isChanged(failure), file);
    assert.deepEqual(area.staging.changedAt, { volume, offset: block * BLOCK_BYTES }, file);
    flip(area.storage, file, at);
    assert.equal(area.check(), null, file);
  }
  flip(area.storage, 'staging-0', 9 * BLOCK_BYTES);
  area.put(0, 9, blocks(1, 0x33));
  assert.equal(area.check(), null, 'it has come once more');
  flip(area.storage, 'staging-0', 600 * BLOCK_BYTES);
  assert.equal(area.check(), null, 'what lies there counts for nothing');
});

test('nothing of a piece that has changed is brought into a base', () => {
  const area = new Area();
  area.put(0, 0, blocks(600, 0x11));
  area.flush();
  const base = area.storage.open('base', { create: true });
  base.write(0, [blocks(BLOCKS, 0x77)]);
  flip(area.storage, 'staging-0', 599 * BLOCK_BYTES + 100);
  const failure = area.wait((done) => area.staging.apply([base, base], done));
  assert(failure !== null && isChanged(failure));
  const bytes = new Uint8Array(BLOCKS * BLOCK_BYTES);
  base.read(0, bytes);
  const wanted = blocks(BLOCKS, 0x77);
  wanted.set(blocks(512, 0x11));
  assertSame(bytes, wanted, 'the base');
});

test('what may have been written again since it was counted is not called changed, and an area of before the tables neither', () => {
  const area = new Area();
  area.put(0, 0, blocks(10, 0x11));
  area.put(1, 0, blocks(10, 0x11));
  area.flush();
  // They were on their way when the process ended: the images came to the disk, and their digests did not.
  for (const volume of volumes.keys()) area.storage.open(`staging-${volume}`, { create: false }).write(5 * BLOCK_BYTES, [blocks(2, 0x44)]);
  area.staging.close();
  area.staging = area.open(2);
  const failure = area.check();
  assert(failure !== null && isChanged(failure), 'unless somebody says from where on');
  area.staging.forgetFrom({ volume: 0, offset: 5 * BLOCK_BYTES });
  assert.equal(area.check(), null);
  flip(area.storage, 'staging-0', 4 * BLOCK_BYTES);
  assert.notEqual(area.check(), null, 'what lies before that place is still known');
  area.staging.close();
  for (const volume of volumes.keys()) area.storage.remove(`staging-digests-${volume}`);
  area.staging = area.open(2);
  assert.equal(area.check(), null);
});

/** A copy of 0x0d as of record 1, and all images of a resync that ends there. */
function resynced(): ReplicaRig {
  const { rig } = beginResync();
  for (const at of [0, 1, 2]) rig.wait((done) => rig.replica.receiver.writeImage(0, at * BLOCK_BYTES, blocks(1, 0x11), done));
  return rig;
}

function assertEnded(rig: ReplicaRig): void {
  const { receiver } = rig.replica;
  for (const at of [0, 1, 2]) rig.wait((done) => receiver.writeImage(0, at * BLOCK_BYTES, blocks(1, 0x12), done));
  assert.equal(
    rig.wait((done) => receiver.end(1, done)),
    null,
  );
  assert.equal(rig.replica.consistent, true);
  const wanted = blocks(SMALL_BLOCKS, 0x0d);
  wanted.fill(0x12, 0, 3 * BLOCK_BYTES);
  assertSame(rig.disk.contentOf('base-small'), wanted, 'the volume in the end');
  assert.deepEqual(rig.failures, []);
}

test('an image that has changed before the end: the older volume stays, and the resync begins anew', () => {
  const rig = resynced();
  flip(rig.disk, 'staging-0', BLOCK_BYTES + 17);
  assert.equal(
    rig.wait((done) => rig.replica.receiver.end(1, done)),
    null,
    'the disk has not failed',
  );
  assert.equal(rig.replica.consistent, false);
  assert.ok(rig.journal.includes('staging.damaged') && !rig.journal.includes('copy.end'));
  const { staged, older } = rig.replica.receiver;
  assert.deepEqual([staged?.entries, staged?.cursor, staged?.endSeq, older?.seq], [0, { volume: 0, offset: 0 }, null, 1]);
  assertSame(rig.disk.contentOf('base-small'), blocks(SMALL_BLOCKS, 0x0d), 'the older volume');
  const { epoch, history } = rig.replica;
  rig.wait((done) => rig.replica.receiver.resume({ epoch, history, cutTo: 1 }, done));
  assertEnded(rig);
});

test('an image that has changed while the bases are brought to the end: the copy is inconsistent until another one ends', () => {
  const rig = resynced();
  rig.replica.receiver.end(1, () => undefined);
  while (rig.replica.superblock.durableValue.staging?.endSeq === null) rig.storage.step();
  rig.crash();
  flip(rig.disk, 'staging-0', BLOCK_BYTES + 17);
  rig.open();
  rig.storage.settle();
  const { consistent, copying, staging } = rig.replica.superblock.durableValue;
  assert.deepEqual([consistent, copying !== null, staging], [false, true, null]);
  assert.ok(rig.journal.includes('staging.damaged') && rig.replica.receiver.partial);
  assert.deepEqual(
    rig.disk.list().filter((name) => name.startsWith('staging')),
    [],
  );
  const { epoch, history, chain } = rig.replica;
  rig.wait((done) => rig.replica.receiver.begin({ epoch, history, position: 1, chain, rung: 'copy' }, done));
  assertEnded(rig);
});

test('an image that has changed at any step of the end goes into no volume that counts', () => {
  const seen = new Set<string>();
  for (let steps = 0; steps < 60; steps++) {
    const rig = resynced();
    rig.replica.receiver.end(1, () => undefined);
    for (let step = 0; step < steps; step++) rig.storage.step();
    if (rig.disk.list().includes('staging-0')) flip(rig.disk, 'staging-0', 2 * BLOCK_BYTES + 9);
    rig.storage.settle();
    const { consistent, copying, staging } = rig.replica.superblock.durableValue;
    seen.add(consistent ? 'ended' : staging === null ? 'lost' : 'anew');
    assert.equal(copying === null, consistent, `${steps} steps`);
    if (!consistent) continue;
    const wanted = blocks(SMALL_BLOCKS, 0x0d);
    wanted.fill(0x11, 0, 3 * BLOCK_BYTES);
    assertSame(rig.disk.contentOf('base-small'), wanted, `${steps} steps`);
  }
  assert.deepEqual([...seen].sort(), ['anew', 'ended', 'lost']);
});
