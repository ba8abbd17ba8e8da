// Files for the segments to come: made ahead, used again, never needed, and never mistaken for what a segment holds.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { DiskFailure } from '../../../src/core/base/ports.ts';
import { MARK_BYTES, SEGMENT_HEADER_BYTES, segmentName } from '../../../src/core/replica/segment.ts';
import type { Sidefile } from '../../../src/core/replica/sidefile.ts';
import { Spares } from '../../../src/core/replica/spares.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { appendUpTo, chance, contents, flush, names, newSidefile, recover, recovered } from '../../support/records.ts';

const E1 = [{ epoch: 1, firstSeq: 1 }];
const SEGMENT_BYTES = 1024;

function spareNames(storage: MemoryStorage): string[] {
  return storage.list().filter((name) => name.startsWith('spare-'));
}

function started(): { storage: MemoryStorage; sidefile: Sidefile; failures: DiskFailure[]; usable: { now: boolean } } {
  const storage = new MemoryStorage();
  const sidefile = newSidefile(storage, SEGMENT_BYTES);
  const failures: DiskFailure[] = [];
  const usable = { now: true };
  sidefile.startSpares({
    begin: (done) => done,
    usable: () => usable.now,
    making: () => false,
    failed: (failure) => failures.push(failure),
  });
  return { storage, sidefile, failures, usable };
}

/** Appends one record at a time, and lets what that begins come to its end. */
function append(storage: MemoryStorage, sidefile: Sidefile, lastSeq: number): void {
  while (sidefile.received < lastSeq) {
    appendUpTo(sidefile, 1, sidefile.received + 1);
    storage.settle();
  }
}

/** Records enough for several segments, dropped up to `seq`, with the chain that a superblock would have. */
function turned(last: number, seq: number): { storage: MemoryStorage; startChain: number } {
  const { storage, sidefile } = started();
  append(storage, sidefile, seq + 3);
  flush(storage, sidefile);
  const startChain = sidefile.chainAt(seq) as number;
  sidefile.dropBefore(seq + 1);
  append(storage, sidefile, last);
  flush(storage, sidefile);
  sidefile.close();
  return { storage, startChain };
}

describe('spare files', () => {
  test('are made when a segment is half full, at full length, and become the next segment', () => {
    const { storage, sidefile } = started();
    append(storage, sidefile, 2);
    assert.deepEqual(spareNames(storage), []);
    while (sidefile.heldBytes <= SEGMENT_BYTES / 2) append(storage, sidefile, sidefile.received + 1);
    const [spare, ...others] = spareNames(storage);
    assert.deepEqual(others, []);
    assert.equal(storage.contentOf(spare as string).length, SEGMENT_BYTES);
    while (!storage.list().includes(segmentName(1))) append(storage, sidefile, sidefile.received + 1);
    assert.ok(!storage.list().includes(spare as string));
    assert.equal(storage.contentOf(segmentName(1)).length, SEGMENT_BYTES);
    assert.deepEqual(contents(sidefile), names(E1, 1, sidefile.received));
  });

  test('come from segments that were dropped, two at most', () => {
    const { storage, sidefile } = started();
    append(storage, sidefile, 60);
    const before = spareNames(storage).length;
    sidefile.dropBefore(50);
    assert.ok(before < 2);
    assert.equal(spareNames(storage).length, 2);
    sidefile.reset({ nextSeq: 100, chain: 1, epoch: 1 });
    assert.equal(spareNames(storage).length, 2, 'what a reset gives up is not used again: it may hold numbers that are yet to come');
  });

  test('come from as many dropped segments as take a quarter of the room, those that had begun empty at full length then', () => {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage, SEGMENT_BYTES, { capacityBytes: 16 * SEGMENT_BYTES });
    append(storage, sidefile, 60);
    assert.deepEqual(spareNames(storage), [], 'nothing is made ahead before it may be');
    sidefile.startSpares({
      begin: (done) => done,
      usable: () => true,
      making: () => false,
      failed: (failure) => assert.fail(failure.code),
    });
    const segments = (): readonly string[] => storage.list().filter((name) => name.startsWith('sidefile-'));
    // One at a time, as destaging drops them: it takes a moment until a file is filled up.
    for (let seq = 1; seq <= 61; seq++) {
      sidefile.dropBefore(seq);
      storage.settle();
    }
    assert.equal(segments().length, 1);
    assert.deepEqual(
      spareNames(storage).map((name) => storage.contentOf(name).length),
      Array.from({ length: 4 }, () => SEGMENT_BYTES),
    );
    append(storage, sidefile, 120);
    flush(storage, sidefile);
    assert.deepEqual(contents(sidefile), names(E1, sidefile.oldest, 120));
    const startChain = sidefile.chainAt(sidefile.oldest - 1) as number;
    const destaged = sidefile.oldest - 1;
    const options = { history: E1, destaged, startChain, segmentBytes: SEGMENT_BYTES };
    assert.deepEqual(contents(recovered(storage.copy(), options)), names(E1, destaged + 1, 120));
  });

  test('are two at most where two take more than may wait, however large the sidefile may become', () => {
    const storage = new MemoryStorage();
    const segmentBytes = 300 * 1024 * 1024;
    const spares = new Spares(storage, segmentBytes, 1024 * segmentBytes);
    spares.start({ begin: (done) => done, usable: () => true, making: () => false, failed: (failure) => assert.fail(failure.code) });
    for (let number = 0; number < 4; number++) {
      const file = storage.open(segmentName(number), { create: true });
      file.truncate(segmentBytes);
      spares.give(file);
      storage.settle();
    }
    assert.equal(spareNames(storage).length, 2);
  });

  test('are done without when the disk has no room, and a disk that fails is told of', () => {
    for (const code of ['ENOSPC', 'EIO']) {
      const { storage, sidefile, failures } = started();
      append(storage, sidefile, 2);
      // A write in the background that fails, as MemoryStorage has it: at once, out of the call.
      storage.faultAt = (operation, name) => (operation === 'flush' && name.startsWith('spare-') ? code : null);
      append(storage, sidefile, 30);
      storage.faultAt = null;
      assert.deepEqual(contents(sidefile), names(E1, 1, 30));
      if (code === 'EIO') assert.equal(failures[0]?.code, 'EIO');
      else assert.deepEqual([failures, spareNames(storage)], [[], []]);
    }
  });

  for (const state of ['made', 'renamed'] as const) {
    test(`that are being ${state} give their space to a segment that needs it at once, on a disk that is full`, () => {
      const storage = new MemoryStorage();
      const segmentBytes = 16 * 1024;
      const sidefile = newSidefile(storage, segmentBytes);
      const failures: DiskFailure[] = [];
      sidefile.startSpares({ begin: (done) => done, usable: () => true, making: () => true, failed: (failure) => failures.push(failure) });
      // Two files, and no room for more: what the second one is for cannot be had otherwise.
      storage.spaceBytes = 2 * segmentBytes;
      if (state === 'renamed') {
        while (!storage.list().includes(segmentName(1))) append(storage, sidefile, sidefile.received + 1);
        flush(storage, sidefile);
        sidefile.dropBefore(sidefile.received + 1);
      }
      const first = sidefile.received + 1;
      const next = segmentName(state === 'made' ? 1 : 2);
      while (!storage.list().includes(next)) appendUpTo(sidefile, 1, sidefile.received + 1);
      assert.equal(storage.contentOf(next).length, segmentBytes);
      const { received, oldest } = sidefile;
      assert.ok(received > first);
      assert.deepEqual(contents(sidefile), names(E1, oldest, received));
      // The file that was given up comes back with its old name, if power is lost now, and is no part of the sidefile.
      const destaged = oldest - 1;
      const startChain = sidefile.chainAt(destaged) as number;
      for (let turn = 0; turn < 20; turn++) {
        const lost = storage.copy();
        lost.losePower(chance(turn), turn / 20);
        const result = recover(lost, { history: E1, destaged, startChain, segmentBytes, durable: destaged, powerLost: true });
        assert.equal(result.kind, 'ok', JSON.stringify(result));
      }
      storage.settle();
      assert.deepEqual([failures, spareNames(storage)], [[], []]);
      flush(storage, sidefile);
      assert.deepEqual(
        contents(recovered(storage.copy(), { history: E1, destaged, startChain, segmentBytes })),
        names(E1, oldest, received),
      );
    });
  }

  test('are not made for a replica that stops, and what is left of them goes with the next start', () => {
    const { storage, sidefile, usable } = started();
    while (sidefile.heldBytes <= SEGMENT_BYTES / 2) appendUpTo(sidefile, 1, sidefile.received + 1);
    assert.equal(spareNames(storage).length, 1);
    usable.now = false;
    storage.settle();
    assert.deepEqual(spareNames(storage), []);
    usable.now = true;
    append(storage, sidefile, sidefile.received + 1);
    assert.equal(spareNames(storage).length, 1);
    const { received } = sidefile;
    sidefile.close();
    assert.equal(recovered(storage, { history: E1, segmentBytes: SEGMENT_BYTES }).received, received);
    assert.deepEqual(spareNames(storage), []);
  });
});

describe('what a file held before', () => {
  test('is no record, wherever the new ones end', () => {
    const { storage, startChain } = turned(75, 50);
    const options = { history: E1, destaged: 50, startChain, segmentBytes: SEGMENT_BYTES };
    const newest = storage.list().findLast((name) => name.startsWith('sidefile-')) as string;
    assert.equal(storage.contentOf(newest).length, SEGMENT_BYTES);
    const sidefile = recovered(storage.copy(), options);
    assert.equal(sidefile.received, 75);
    assert.deepEqual(contents(sidefile), names(E1, sidefile.oldest, 75));
  });

  test('shows through where sectors of the new content did not reach the disk, and is not taken for it', () => {
    let shorter = 0;
    for (let turn = 0; turn < 40; turn++) {
      const { storage, startChain } = turned(90, 50);
      const options = { history: E1, destaged: 50, startChain, segmentBytes: SEGMENT_BYTES, powerLost: true };
      const files = storage.list().filter((name) => name.startsWith('sidefile-'));
      const [older, newer] = files.slice(-3) as [string, string];
      // As if a sector of the one had what it held when it was the other: whole frames and marks with their checksums.
      const from = storage.contentOf(older);
      const bytes = storage.contentOf(newer);
      const at = SEGMENT_HEADER_BYTES + turn * 16;
      bytes.set(from.subarray(at, at + 512), at);
      storage.plant(newer, bytes);
      const result = recover(storage, options);
      assert.equal(result.kind, 'ok', JSON.stringify(result));
      if (result.kind !== 'ok') continue;
      const { oldest, received } = result.sidefile;
      assert.deepEqual(contents(result.sidefile), names(E1, oldest, received));
      if (received < 90) shorter++;
    }
    assert.ok(shorter > 20, `${shorter}`);
  });

  test('does not hide damage: each byte of the last frame, its mark apart, is missed after a crash of the program', () => {
    const { storage, startChain } = turned(75, 50);
    const options = { history: E1, destaged: 50, startChain, segmentBytes: SEGMENT_BYTES };
    const intact = recovered(storage.copy(), options);
    let last = { name: '', at: 0, end: 0 };
    intact.visit(75, 75, (frame, segment, at) => {
      last = { name: segmentName(segment), at, end: at + frame.byteCount };
      return true;
    });
    for (let at = last.at; at < last.end + MARK_BYTES; at++) {
      const spoilt = storage.copy();
      const bytes = spoilt.contentOf(last.name);
      bytes[at] = (bytes[at] as number) ^ 0x20;
      spoilt.plant(last.name, bytes);
      const result = recover(spoilt, options);
      if (at < last.end) assert.equal(result.kind, 'damaged', `byte ${at - last.at} of the frame`);
      else assert.equal(result.kind === 'ok' && result.sidefile.received, 75, 'a frame that is whole needs no mark');
    }
  });
});
