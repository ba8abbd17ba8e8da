// Recovery: a torn tail is cut off, void records are passed over, and whatever else is missing is named instead of being cut away.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DiskError } from '../../../src/core/base/ports.ts';
import { encodeFrame, frameBytes } from '../../../src/core/record/encode.ts';
import { frameHeaderLayout, RECORD_KIND } from '../../../src/core/record/layout.ts';
import { encodeMark, MARK_BYTES, SEGMENT_HEADER_BYTES, segmentName } from '../../../src/core/replica/segment.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { appendUpTo, contents, digests, flush, frameOf, GROUP_TAG, names, newSidefile, recover, recovered } from '../../support/records.ts';

const E1 = [{ epoch: 1, firstSeq: 1 }];

/** Records 1 to `last` of epoch 1, two in a frame, in segments of this size; places of all frames by their first seq. */
function written(
  last: number,
  segmentBytes: number = 4096,
): { storage: MemoryStorage; at: Map<number, { file: string; at: number; bytes: number }> } {
  const storage = new MemoryStorage();
  const sidefile = newSidefile(storage, segmentBytes);
  const at = new Map<number, { file: string; at: number; bytes: number }>();
  while (sidefile.received < last) {
    const place = appendUpTo(sidefile, 1, Math.min(last, sidefile.received + 2));
    at.set(place.firstSeq, { file: segmentName(place.segment), at: place.at, bytes: place.bytes.length });
  }
  sidefile.close();
  return { storage, at };
}

function spoil(storage: MemoryStorage, name: string, offset: number, mask = 0xff): void {
  const bytes = storage.contentOf(name);
  bytes[offset] = (bytes[offset] as number) ^ mask;
  storage.plant(name, bytes);
}

function shorten(storage: MemoryStorage, name: string, size: number): void {
  storage.plant(name, storage.contentOf(name).slice(0, size));
}

describe('recovery', () => {
  test('of nothing is an empty sidefile where the superblock says', () => {
    const storage = new MemoryStorage();
    const sidefile = recovered(storage, { history: [{ epoch: 3, firstSeq: 1 }], destaged: 40, startChain: 99 });
    assert.deepEqual([sidefile.oldest, sidefile.received, sidefile.chain, sidefile.epoch], [41, 40, 99, 3]);
    assert.deepEqual([sidefile.chainAt(40), sidefile.epochAt(40)], [99, 3]);
  });

  test('finds every record again, and goes on', () => {
    const { storage } = written(61, 1024);
    const files = storage.list();
    const before = files.map((name) => storage.contentOf(name));
    const sidefile = recovered(storage, { history: E1 });
    assert.deepEqual(
      files.map((name) => storage.contentOf(name)),
      before,
      'nothing is changed',
    );
    assert.deepEqual(contents(sidefile), names(E1, 1, 61));
    assert.equal(
      sidefile.heldBytes,
      before.reduce((sum, bytes) => sum + bytes.length, 0),
    );
    assert.deepEqual([sidefile.epochAt(0), sidefile.chainAt(0)], [0, 0]);
    appendUpTo(sidefile, 1, 64);
    sidefile.close();
    assert.deepEqual(contents(recovered(storage, { history: E1 })), names(E1, 1, 64));
  });

  test('begins in the middle, where older segments were dropped', () => {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage, 1024);
    while (sidefile.received < 60) appendUpTo(sidefile, 1, sidefile.received + 2);
    sidefile.dropBefore(31);
    const { oldest } = sidefile;
    const before = sidefile.chainAt(oldest - 1);
    const startChain = sidefile.chainAt(30) as number;
    sidefile.close();
    const again = recovered(storage, { history: E1, destaged: 30, startChain });
    assert.deepEqual([again.oldest, again.chainAt(oldest - 1), again.epochAt(oldest - 1)], [oldest, before, 1]);
    assert.deepEqual(contents(again), names(E1, oldest, 60));
    // The base image ends before the sidefile begins.
    again.close();
    const gap = recover(storage, { history: E1, destaged: oldest - 2, startChain });
    assert.equal(gap.kind, 'damaged');
    assert.equal(gap.kind === 'damaged' && gap.seq, oldest - 1);
  });

  test('makes the next flush cover what may not be on stable storage yet', () => {
    const { storage } = written(60, 1024);
    const sidefile = recovered(storage, { history: E1, durable: 30 });
    assert.equal(sidefile.durable, 30);
    const { files } = sidefile.beginFlush();
    const all = storage.list();
    assert.ok(files.length > 1);
    assert.ok(files.length < all.length);
    assert.deepEqual(
      files.map((file) => file.name),
      all.slice(-files.length),
    );
  });

  test('fails with the disk, and leaves no file open to be used', () => {
    const { storage } = written(10);
    storage.faultAt = (operation) => (operation === 'read' ? 'EIO' : null);
    assert.throws(() => recover(storage, { history: E1 }), DiskError);
    storage.faultAt = null;
    assert.equal(recovered(storage, { history: E1 }).received, 10);
  });
});

describe('a torn tail', () => {
  test('is cut off wherever the last write ended, and never comes back', () => {
    const { storage, at } = written(20);
    const last = at.get(19) as { file: string; at: number; bytes: number };
    for (let size = last.at; size < last.at + last.bytes; size++) {
      const torn = storage.copy();
      shorten(torn, last.file, size);
      const result = recover(torn, { history: E1, durable: 18 });
      assert.equal(result.kind, 'ok', JSON.stringify(result));
      if (result.kind !== 'ok') return;
      assert.deepEqual([result.sidefile.received, result.tornBytes, result.droppedTail], [18, size - last.at, null]);
      assert.equal(torn.contentOf(last.file).length, last.at);
      appendUpTo(result.sidefile, 1, 20);
      assert.deepEqual(contents(result.sidefile), names(E1, 1, 20));
    }
  });

  test('is no part of it when the frame is there as a whole', () => {
    const { storage, at } = written(20);
    const last = at.get(19) as { file: string; at: number; bytes: number };
    for (let size = last.at + last.bytes; size < last.at + last.bytes + MARK_BYTES; size++) {
      const torn = storage.copy();
      shorten(torn, last.file, size);
      const sidefile = recovered(torn, { history: E1, durable: 18 });
      assert.equal(sidefile.received, 20);
      assert.equal(torn.contentOf(last.file).length, last.at + last.bytes + MARK_BYTES, 'and gets its mark');
      appendUpTo(sidefile, 1, 22);
      sidefile.close();
      assert.deepEqual(contents(recovered(torn, { history: E1 })), names(E1, 1, 22));
    }
  });

  test('may be a segment whose name alone reached the disk', () => {
    const { storage } = written(20, 1024);
    const next = segmentName(storage.list().length);
    for (const size of [0, 1, 63, 64]) {
      const torn = storage.copy();
      const last = newSidefileBytes(20);
      torn.plant(next, last.slice(0, size));
      const result = recover(torn, { history: E1, durable: 20, powerLost: true });
      assert.equal(result.kind, 'ok', JSON.stringify(result));
      assert.ok(!torn.list().includes(next));
    }
  });

  test('may be a segment that had not got its name', () => {
    const { storage } = written(20, 1024);
    storage.plant('spare-000000000007', newSidefileBytes(20));
    assert.equal(recovered(storage, { history: E1, durable: 20 }).received, 20);
    assert.ok(!storage.list().includes('spare-000000000007'));
  });

  /** First bytes of the next segment behind 20 records. */
  function newSidefileBytes(count: number): Uint8Array {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage, 1024);
    while (sidefile.received < count) appendUpTo(sidefile, 1, sidefile.received + 2);
    const segments = storage.list().length;
    while (storage.list().length === segments) appendUpTo(sidefile, 1, sidefile.received + 2);
    return storage.contentOf(segmentName(segments)).slice(0, 64);
  }

  test('is damage when the superblock or the base image needs what was in it', () => {
    const { storage, at } = written(20);
    const last = at.get(19) as { file: string; at: number; bytes: number };
    shorten(storage, last.file, last.at + 10);
    const before = storage.contentOf(last.file);
    for (const needs of [{ durable: 19 }, { destageTarget: 19 }]) {
      const result = recover(storage, { history: E1, ...needs });
      const place = { file: last.file, offset: last.at, epoch: 1, seq: 19 };
      assert.deepEqual(result, { kind: 'damaged', ...place, why: 'the frame is cut short', version: null });
      assert.deepEqual(storage.contentOf(last.file), before, 'damage is left as it is');
    }
  });

  test('may be anything after a power loss, records behind it included, as long as no flush covered it', () => {
    const { storage, at } = written(20, 1024);
    // In the second of four segments, behind its first frame.
    const [first, hole] = [...at].filter(([, place]) => place.file === segmentName(1))[1] as [
      number,
      { file: string; at: number; bytes: number },
    ];
    const bytes = storage.contentOf(hole.file);
    bytes.fill(0, hole.at, hole.at + hole.bytes);
    storage.plant(hole.file, bytes);
    const mereCrash = recover(storage.copy(), { history: E1, durable: first - 1 });
    assert.equal(mereCrash.kind, 'damaged');
    const needed = recover(storage.copy(), { history: E1, durable: first, powerLost: true });
    assert.equal(needed.kind, 'damaged');
    const result = recover(storage, { history: E1, durable: first - 1, powerLost: true });
    assert.equal(result.kind, 'ok');
    if (result.kind !== 'ok') return;
    assert.deepEqual([result.sidefile.received, result.droppedTail], [first - 1, { firstSeq: first + 2, lastSeq: 20 }]);
    assert.ok(result.tornBytes > 0);
    assert.equal(storage.contentOf(hole.file).length, hole.at);
    assert.equal(storage.list().at(-1), hole.file);
    // The next segment does not take the name of one that was removed.
    while (storage.list().at(-1) === hole.file) appendUpTo(result.sidefile, 1, result.sidefile.received + 1);
    assert.ok((storage.list().at(-1) as string) > segmentName(1));
  });

  test('does not reach back before what a mark says was durable, also when the superblock does not know', () => {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage, 100_000);
    const places = new Map<number, number>();
    while (sidefile.received < 10) {
      const place = appendUpTo(sidefile, 1, sidefile.received + 2);
      places.set(place.firstSeq, place.at);
    }
    flush(storage, sidefile);
    const { at } = appendUpTo(sidefile, 1, 12);
    appendUpTo(sidefile, 1, 14);
    sidefile.close();
    const inside = storage.copy();
    spoil(inside, segmentName(0), at - MARK_BYTES - 20);
    const result = recover(inside, { history: E1, powerLost: true });
    assert.equal(result.kind, 'damaged');
    assert.equal(result.kind === 'damaged' && result.seq, 9);
    const behind = storage.copy();
    spoil(behind, segmentName(0), at + 5);
    assert.equal(recovered(behind, { history: E1, powerLost: true }).received, 10);
    // A mark of an epoch that was given up proves nothing about the records that replaced it.
    const header = storage.copy();
    spoil(header, segmentName(0), places.get(9) as number);
    const history = [
      { epoch: 1, firstSeq: 1 },
      { epoch: 2, firstSeq: 9 },
    ];
    assert.equal(recovered(header.copy(), { history, powerLost: true }).received, 8);
    assert.equal(recover(header, { history: E1, powerLost: true }).kind, 'damaged');
  });
});

describe('damage', () => {
  test('in the middle is named with record, file and offset, and left alone', () => {
    const { storage, at } = written(40, 1024);
    for (const [seq, place] of at) {
      if (seq >= 39) continue;
      for (const offset of [0, 4, 16, 24, 40, 70, place.bytes - 1]) {
        const spoilt = storage.copy();
        spoil(spoilt, place.file, place.at + offset);
        const before = spoilt.contentOf(place.file);
        const result = recover(spoilt, { history: E1 });
        assert.equal(result.kind, 'damaged', `record ${seq} offset ${offset}`);
        if (result.kind !== 'damaged') continue;
        assert.deepEqual([result.file, result.offset, result.epoch], [place.file, place.at, 1]);
        assert.ok(result.seq === seq || result.seq === seq + 1);
        assert.deepEqual(spoilt.contentOf(place.file), before);
      }
    }
  });

  test('is a whole segment that is gone, or the header of one', () => {
    const { storage } = written(40, 1024);
    const middle = storage.list()[1] as string;
    const gone = storage.copy();
    gone.remove(middle);
    assert.equal(recover(gone, { history: E1 }).kind, 'damaged');
    const first = storage.copy();
    first.remove(storage.list()[0] as string);
    const result = recover(first, { history: E1 });
    assert.equal(result.kind === 'damaged' && result.seq, 1);
    const lost = storage.copy();
    lost.remove(storage.list().at(-1) as string);
    const end = recover(lost, { history: E1, durable: 40 });
    assert.equal(end.kind, 'damaged');
    for (let offset = 0; offset < SEGMENT_HEADER_BYTES; offset++) {
      const header = storage.copy();
      spoil(header, storage.list()[0] as string, offset);
      assert.equal(recover(header, { history: E1, durable: 40, powerLost: true }).kind, 'ok', 'the frames say the same');
      assert.deepEqual(contents(recovered(header, { history: E1, powerLost: true })), names(E1, 1, 40));
    }
  });

  test('is a segment that ends inside a frame while another follows', () => {
    const { storage } = written(40, 1024);
    const middle = storage.list()[1] as string;
    shorten(storage, middle, storage.contentOf(middle).length - MARK_BYTES - 3);
    assert.equal(recover(storage, { history: E1 }).kind, 'damaged');
    assert.equal(recover(storage, { history: E1, powerLost: true }).kind, 'ok');
  });

  test('is not mended by bytes that a host wrote to look like the record that is missing', () => {
    for (const spoilAt of ['table', 'payload'] as const) {
      const storage = new MemoryStorage();
      const sidefile = newSidefile(storage, 100_000);
      appendUpTo(sidefile, 1, 4);
      const forged = frameOf({ epoch: 1, firstSeq: 5, lastSeq: 9, chainBefore: sidefile.chain });
      const records = [{ kind: RECORD_KIND.write, volume: 0, offset: 0, length: forged.bytes.length, payload: forged.bytes }];
      const head = { groupTag: GROUP_TAG, epoch: 1, firstSeq: 5, timeMillis: 1, chainBefore: sidefile.chain, committed: 0 };
      const outer = encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests);
      const { at } = sidefile.append(outer.bytes, outer);
      appendUpTo(sidefile, 1, 7);
      sidefile.close();
      // The payload must stay what it is: spoil its checksum in the table, or a byte behind what looks like a frame.
      spoil(storage, segmentName(0), spoilAt === 'table' ? at + 70 : at + outer.bytes.length - 1);
      assert.equal(recover(storage.copy(), { history: E1 }).kind, 'damaged');
      assert.equal(recovered(storage.copy(), { history: E1, powerLost: true }).received, 4);
    }
  });

  test('is found out by what lies behind it, also across the edge of what is read at once', () => {
    for (const shift of [-4, -3, -2, -1, 0, 1]) {
      const storage = new MemoryStorage();
      const sidefile = newSidefile(storage, 1_000_000);
      // The search begins one byte behind the frame's begin and reads 256 KiB at once: the next frame's first bytes lie across that edge.
      const payload = new Uint8Array(256 * 1024 + 1 + shift - 96).fill(1);
      const records = [{ kind: RECORD_KIND.write, volume: 0, offset: 0, length: payload.length, payload }];
      const head = { groupTag: GROUP_TAG, epoch: 1, firstSeq: 1, timeMillis: 1, chainBefore: 0, committed: 0 };
      const large = encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests);
      const { at } = sidefile.append(large.bytes, large);
      appendUpTo(sidefile, 1, 3);
      sidefile.close();
      spoil(storage, segmentName(0), at);
      const result = recover(storage, { history: E1, powerLost: true });
      assert.deepEqual(result.kind === 'ok' && result.droppedTail, { firstSeq: 2, lastSeq: 3 }, `shift ${shift}`);
    }
  });

  test('is a frame that does not continue the chain, and one of another group', () => {
    const { storage } = written(4);
    const name = segmentName(0);
    const other = frameOf({ epoch: 1, firstSeq: 5, lastSeq: 6, chainBefore: 12345 });
    const mark = new Uint8Array(MARK_BYTES);
    encodeMark({ segmentNumber: 0, epoch: 1, lastSeq: 6, durableEpoch: 0, durable: 0 }, mark, GROUP_TAG, digests);
    const joined = new Uint8Array([...storage.contentOf(name), ...other.bytes, ...mark]);
    storage.plant(name, joined);
    const result = recover(storage, { history: E1, powerLost: true });
    assert.match(result.kind === 'damaged' ? result.why : '', /chain/);
    const foreign = recover(written(4).storage, { history: E1, groupTag: 1 });
    assert.match(foreign.kind === 'damaged' ? foreign.why : '', /another group/);
  });

  test('is never the work of a newer program: a frame of another version is not cut off as torn', () => {
    const { storage, at } = written(6);
    const last = at.get(5) as { file: string; at: number; bytes: number };
    const bytes = storage.contentOf(last.file);
    const view = new DataView(bytes.buffer);
    view.setUint16(last.at + frameHeaderLayout.at.version, 3, true);
    view.setUint32(last.at + 4, digests.crc32(bytes.subarray(last.at + 8, last.at + 64), 0), true);
    storage.plant(last.file, bytes);
    const result = recover(storage, { history: E1, powerLost: true });
    assert.match(result.kind === 'damaged' ? result.why : '', /version 3/);
  });

  test('is a base image that was made from other records', () => {
    const { storage } = written(20);
    const result = recover(storage, { history: E1, destaged: 10, startChain: 1 });
    assert.match(result.kind === 'damaged' ? result.why : '', /base image/);
  });

  test('of a payload does not matter where the base image has the record', () => {
    const { storage, at } = written(20);
    const sidefile = recovered(storage, { history: E1 });
    const startChain = sidefile.chainAt(12) as number;
    sidefile.close();
    const place = at.get(9) as { file: string; at: number; bytes: number };
    spoil(storage, place.file, place.at + place.bytes - 1);
    assert.equal(recovered(storage, { history: E1, destaged: 12, startChain }).received, 20);
    assert.equal(recover(storage, { history: E1 }).kind, 'damaged');
  });
});

describe('a cut back tail', () => {
  /** 1..20 of epoch 1, cut to 11 (inside a frame), then 12..16 of epoch 2. */
  function cut(): { storage: MemoryStorage; history: { epoch: number; firstSeq: number }[] } {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage, 1024);
    while (sidefile.received < 20) appendUpTo(sidefile, 1, sidefile.received + 2);
    sidefile.cutTo(11);
    appendUpTo(sidefile, 2, 14);
    appendUpTo(sidefile, 2, 16);
    sidefile.close();
    return {
      storage,
      history: [
        { epoch: 1, firstSeq: 1 },
        { epoch: 2, firstSeq: 12 },
      ],
    };
  }

  test('is void by the history, in the middle of a frame too', () => {
    const { storage, history } = cut();
    const sidefile = recovered(storage, { history, durable: 16 });
    assert.deepEqual(contents(sidefile), names(history, 1, 16));
    sidefile.close();
    // Once more: void bytes stay where records lie behind them.
    assert.deepEqual(contents(recovered(storage, { history, durable: 16 })), names(history, 1, 16));
  });

  test('is still there when the superblock does not know of the cut', () => {
    const { storage } = cut();
    const sidefile = recovered(storage, { history: E1, durable: 20 });
    assert.deepEqual(contents(sidefile), names(E1, 1, 20));
    // What the unknown epoch wrote is gone from the end.
    appendUpTo(sidefile, 1, 22);
    assert.deepEqual(contents(sidefile), names(E1, 1, 22));
    sidefile.close();
    assert.deepEqual(contents(recovered(storage, { history: E1, durable: 22 })), names(E1, 1, 22));
  });

  test('without anything behind it goes, and records that the new epoch has yet to bring are not missed', () => {
    const { storage } = written(20);
    const history = [
      { epoch: 1, firstSeq: 1 },
      { epoch: 2, firstSeq: 12 },
      { epoch: 4, firstSeq: 31 },
    ];
    const sidefile = recovered(storage, { history, durable: 11 });
    assert.deepEqual([sidefile.received, sidefile.epoch], [11, 1]);
    assert.deepEqual(contents(sidefile), names(history, 1, 11));
  });

  test('whose replacement is unreadable is missed, when the superblock does not know of the cut', () => {
    const { storage } = cut();
    const intact = recovered(storage.copy(), { history: E1 });
    let place = { file: '', at: 0 };
    intact.visit(15, 15, (_frame, segment, at) => {
      place = { file: segmentName(segment), at };
      return true;
    });
    spoil(storage, place.file, place.at);
    const result = recover(storage, { history: E1, durable: 10 });
    assert.deepEqual(result.kind === 'damaged' && [result.file, result.offset, result.seq], [place.file, place.at, 15]);
  });

  test('may be the work of a newer program, which is not passed over', () => {
    for (const history of [
      [
        { epoch: 1, firstSeq: 1 },
        { epoch: 2, firstSeq: 12 },
      ],
      [
        { epoch: 1, firstSeq: 1 },
        { epoch: 3, firstSeq: 12 },
      ],
    ]) {
      const { storage } = cut();
      let place = { file: '', at: 0 };
      recovered(storage.copy(), { history: E1 }).visit(15, 15, (_frame, segment, at) => {
        place = { file: segmentName(segment), at };
        return true;
      });
      const bytes = storage.contentOf(place.file);
      new DataView(bytes.buffer).setUint16(place.at + frameHeaderLayout.at.version, 3, true);
      new DataView(bytes.buffer).setUint32(place.at + 4, digests.crc32(bytes.subarray(place.at + 8, place.at + 64), 0), true);
      storage.plant(place.file, bytes);
      const result = recover(storage, { history, powerLost: true });
      assert.match(result.kind === 'damaged' ? result.why : '', /version 3/);
    }
  });

  test('that was received again, and lost again, is the first one', () => {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage, 100_000);
    const append = (epoch: number, lastSeq: number): { at: number; bytes: number } => {
      const { at, bytes } = appendUpTo(sidefile, epoch, lastSeq);
      return { at, bytes: bytes.length };
    };
    append(1, 20);
    sidefile.cutTo(11);
    append(2, 16);
    sidefile.cutTo(11);
    const again = append(1, 20);
    append(3, 24);
    const lost = append(3, 26);
    sidefile.cutTo(24);
    append(4, 25);
    sidefile.close();
    const bytes = storage.contentOf(segmentName(0));
    bytes.fill(0, again.at, again.at + again.bytes);
    bytes.fill(0, lost.at, lost.at + lost.bytes);
    storage.plant(segmentName(0), bytes);
    const history = [
      { epoch: 1, firstSeq: 1 },
      { epoch: 3, firstSeq: 21 },
      { epoch: 5, firstSeq: 25 },
    ];
    assert.deepEqual(contents(recovered(storage, { history, durable: 24 })), names(history, 1, 24));
  });

  test('may be unreadable: no record is missing', () => {
    const { storage, history } = cut();
    const intact = recovered(storage.copy(), { history });
    const place = new Map<number, number>();
    intact.visit(1, 16, (frame, segment, at) => place.set(frame.firstSeq, segment * 10_000 + at).size > 0);
    intact.close();
    // Bytes between the frame with record 11 and the one with record 12 are void.
    const frame11 = place.get(11) as number;
    const frame12 = place.get(12) as number;
    let checked = 0;
    for (const [index, name] of storage.list().entries()) {
      for (let at = SEGMENT_HEADER_BYTES; at < storage.contentOf(name).length; at += 3) {
        const here = index * 10_000 + at;
        if (here < frame11 + 200 || here >= frame12) continue;
        const spoilt = storage.copy();
        spoil(spoilt, name, at);
        assert.deepEqual(contents(recovered(spoilt, { history, durable: 16 })), names(history, 1, 16), `${name} offset ${at}`);
        checked++;
      }
    }
    assert.ok(checked > 50);
  });
});

describe('removed segments that a power loss brings back', () => {
  test('are recognised by the gap behind them, and removed again', () => {
    const { storage } = written(60, 1024);
    const all = storage.copy();
    const sidefile = recovered(storage, { history: E1, durable: 60 });
    const startChain = sidefile.chainAt(50) as number;
    sidefile.dropBefore(51);
    const { oldest } = sidefile;
    const files = storage.list();
    sidefile.close();
    const dropped = all.list().filter((name) => !files.includes(name));
    assert.ok(dropped.length > 3);
    for (const kept of [[0], [1], [0, 2], [dropped.length - 1], [...dropped.keys()]]) {
      const back = storage.copy();
      for (const index of kept) back.plant(dropped[index] as string, all.contentOf(dropped[index] as string));
      const again = recovered(back, { history: E1, destaged: 50, startChain, durable: 60, powerLost: true });
      assert.equal(again.received, 60);
      if (!kept.includes(dropped.length - 1)) {
        assert.equal(again.oldest, oldest);
        assert.deepEqual(back.list(), files);
      }
      assert.deepEqual(contents(again), names(E1, again.oldest, 60));
    }
  });

  test('are all that is there when a whole copy has just begun', () => {
    const { storage } = written(20);
    const sidefile = recovered(storage, {
      history: [
        { epoch: 1, firstSeq: 1 },
        { epoch: 7, firstSeq: 100 },
      ],
      destaged: 500,
      startChain: 3,
    });
    assert.deepEqual([sidefile.oldest, sidefile.received, sidefile.chain, sidefile.heldBytes], [501, 500, 3, 0]);
    assert.deepEqual(storage.list(), []);
    const { segment } = sidefile.append(...next(sidefile.chain));
    assert.equal(segment, 1);
  });

  function next(chainBefore: number): [Uint8Array, ReturnType<typeof frameOf>] {
    const frame = frameOf({ epoch: 7, firstSeq: 501, lastSeq: 502, chainBefore });
    return [frame.bytes, frame];
  }
});

test('frames larger than the window of the reader are recovered, checked where needed and passed over where not', () => {
  const storage = new MemoryStorage();
  const sidefile = newSidefile(storage, 4 * 1024 * 1024);
  for (let seq = 1; seq <= 4; seq++) {
    const payload = new Uint8Array(700_000 + seq).fill(seq);
    const records = [{ kind: RECORD_KIND.write, volume: 0, offset: 0, length: payload.length, payload }];
    const head = { groupTag: GROUP_TAG, epoch: 1, firstSeq: seq, timeMillis: 1, chainBefore: sidefile.chain, committed: 0 };
    const frame = encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests);
    sidefile.append(frame.bytes, frame);
  }
  const chains = [0, 1, 2, 3, 4].map((seq) => sidefile.chainAt(seq) as number);
  sidefile.close();
  assert.equal(recovered(storage.copy(), { history: E1 }).received, 4);
  spoil(storage, segmentName(0), 2_000_000);
  const result = recover(storage.copy(), { history: E1 });
  assert.equal(result.kind === 'damaged' && result.seq, 3);
  assert.equal(recovered(storage.copy(), { history: E1, destaged: 3, startChain: chains[3] as number }).received, 4);
});
