// The sidefile in memory and on disk: dense appends, reading back by seq and by place, cutting, dropping, flushing.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvariantError } from '../../../src/core/base/assert.ts';
import { DiskError } from '../../../src/core/base/ports.ts';
import { readFrame } from '../../../src/core/record/decode.ts';
import { encodeFrame, frameBytes } from '../../../src/core/record/encode.ts';
import { RECORD_KIND } from '../../../src/core/record/layout.ts';
import { decodeMark, MARK_BYTES, SEGMENT_HEADER_BYTES, segmentName, segmentNumberOf } from '../../../src/core/replica/segment.ts';
import { discardSidefile, Sidefile, SidefileDamage } from '../../../src/core/replica/sidefile.ts';
import { MemoryStorage } from '../../support/memory-storage.ts';
import { appendUpTo, contents, digests, flush, frameOf, GROUP_TAG, names, newSidefile, recordOf } from '../../support/records.ts';

const OPTIONS = { groupTag: GROUP_TAG, checkPayload: true, digests };

/** A sidefile of epoch 1 with frames of one, two and three records, up to `last`. */
function filled(last: number, segmentBytes: number = 1024): { storage: MemoryStorage; sidefile: Sidefile } {
  const storage = new MemoryStorage();
  const sidefile = newSidefile(storage, segmentBytes);
  for (let i = 0; sidefile.received < last; i++) appendUpTo(sidefile, 1, Math.min(last, sidefile.received + 1 + (i % 3)));
  return { storage, sidefile };
}

/** What a peer gets from a run of frames: names of the records, after checking each part as the peer would. */
function received(parts: readonly Uint8Array[], chainBefore: number): string[] {
  const list: string[] = [];
  let chain = chainBefore;
  for (const part of parts) {
    const check = readFrame(part, 0, OPTIONS);
    assert.equal(check.kind, 'frame');
    if (check.kind !== 'frame') continue;
    assert.equal(check.frame.bytes.length, part.length);
    assert.equal(check.frame.chainBefore, chain);
    chain = check.frame.chainAfter;
    for (let seq = check.frame.firstSeq; seq <= check.frame.lastSeq; seq++) list.push(`${check.frame.epoch}.${seq}`);
  }
  return list;
}

describe('segment names', () => {
  test('sort as their numbers and are read back', () => {
    assert.equal(segmentName(42), 'sidefile-000000000042');
    assert.equal(segmentNumberOf('sidefile-000000000042'), 42);
    for (const name of ['superblock', 'sidefile-42', 'sidefile-00000000004x', 'sidefile-0000000000420', 'base-000000000042']) {
      assert.equal(segmentNumberOf(name), null, name);
    }
  });
});

describe('an empty sidefile', () => {
  test('holds nothing and knows the chain that it begins with', () => {
    const storage = new MemoryStorage();
    const sidefile = new Sidefile({ storage, digests, groupTag: GROUP_TAG, segmentBytes: 4096 }, { nextSeq: 51, chain: 77, epoch: 6 });
    assert.deepEqual([sidefile.oldest, sidefile.received, sidefile.chain, sidefile.epoch, sidefile.heldBytes], [51, 50, 77, 6, 0]);
    assert.deepEqual([sidefile.chainAt(50), sidefile.epochAt(50), sidefile.timeAt(50)], [77, 6, null]);
    assert.deepEqual([sidefile.chainAt(49), sidefile.chainAt(51)], [null, null]);
    assert.equal(sidefile.framesFrom(51, 1000), null);
    assert.deepEqual(storage.list(), []);
  });

  test('does not begin over the segments of another', () => {
    const { storage, sidefile } = filled(20);
    sidefile.close();
    assert.throws(() => newSidefile(storage), InvariantError);
    const next = discardSidefile(storage);
    assert.ok(next > 0);
    const again = new Sidefile(
      { storage, digests, groupTag: GROUP_TAG, segmentBytes: 4096, firstSegment: next },
      { nextSeq: 1, chain: 0, epoch: 0 },
    );
    assert.equal(appendUpTo(again, 1, 3).segment, next);
  });
});

describe('append', () => {
  test('writes each frame as it is, with one write, and tells its place', () => {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage);
    const first = appendUpTo(sidefile, 1, 4);
    const calls = storage.calls;
    const second = appendUpTo(sidefile, 1, 6);
    assert.equal(storage.calls - calls, 1);
    assert.deepEqual([first.segment, first.at], [0, SEGMENT_HEADER_BYTES]);
    assert.deepEqual([second.segment, second.at], [0, SEGMENT_HEADER_BYTES + first.bytes.length + MARK_BYTES]);
    const file = storage.contentOf(segmentName(0));
    assert.deepEqual(file.subarray(first.at, first.at + first.bytes.length), first.bytes);
    assert.deepEqual(file.subarray(second.at, second.at + second.bytes.length), second.bytes);
    assert.equal(file.length, second.at + second.bytes.length + MARK_BYTES);
    assert.equal(sidefile.heldBytes, file.length);
    const payload = new Uint8Array(recordOf(1, 1).length);
    sidefile.read(first.segment, first.at + first.payloadStart, payload);
    assert.deepEqual(payload, recordOf(1, 1).payload);
  });

  test('takes a frame as a mirror reads it off the wire', () => {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage);
    const check = readFrame(frameOf({ epoch: 1, firstSeq: 1, lastSeq: 5, chainBefore: 0 }).bytes, 0, OPTIONS);
    assert.equal(check.kind, 'frame');
    if (check.kind === 'frame') sidefile.append(check.frame.bytes, check.frame);
    assert.deepEqual(contents(sidefile), names([{ epoch: 1, firstSeq: 1 }], 1, 5));
  });

  test('begins a segment when one is full, and gives a frame that is larger than a segment one of its own', () => {
    const { storage, sidefile } = filled(60, 1024);
    assert.ok(storage.list().length > 3);
    for (const name of storage.list()) assert.ok(storage.contentOf(name).length <= 1024);
    const payload = new Uint8Array(5000).fill(9);
    const records = [{ kind: RECORD_KIND.write, volume: 0, offset: 0, length: 5000, payload }];
    const head = { groupTag: GROUP_TAG, epoch: 1, firstSeq: 61, timeMillis: 1, chainBefore: sidefile.chain, committed: 0 };
    const large = encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests);
    const place = sidefile.append(large.bytes, large);
    assert.equal(place.at, SEGMENT_HEADER_BYTES);
    assert.equal(storage.contentOf(segmentName(place.segment)).length, SEGMENT_HEADER_BYTES + large.bytes.length + MARK_BYTES);
    assert.equal(appendUpTo(sidefile, 1, 62).segment, place.segment + 1);
  });

  test('refuses a gap, a record twice, a broken chain, and an older epoch', () => {
    const { sidefile } = filled(10);
    const wrong = (at: { epoch?: number; firstSeq?: number; chainBefore?: number }): void => {
      const frame = frameOf({ epoch: 1, firstSeq: 11, lastSeq: 12, chainBefore: sidefile.chain, ...at });
      assert.throws(() => sidefile.append(frame.bytes, frame), InvariantError);
    };
    wrong({ firstSeq: 12 });
    wrong({ firstSeq: 10 });
    wrong({ chainBefore: (sidefile.chain ^ 1) >>> 0 });
    appendUpTo(sidefile, 2, 11);
    wrong({ firstSeq: 12, chainBefore: sidefile.chain });
    assert.equal(sidefile.received, 11);
  });

  test('that failed is the last', () => {
    const { storage, sidefile } = filled(10);
    storage.faultAt = (operation) => (operation === 'write' ? 'ENOSPC' : null);
    assert.throws(() => appendUpTo(sidefile, 1, 11), DiskError);
    storage.faultAt = null;
    assert.throws(() => appendUpTo(sidefile, 1, 11), InvariantError);
    assert.equal(sidefile.received, 10);
  });
});

describe('what is held', () => {
  test('is known by seq: chain, epoch and time of each record', () => {
    const storage = new MemoryStorage();
    const sidefile = newSidefile(storage, 512);
    const chains = [0];
    for (let seq = 1; seq <= 40; seq++)
      chains.push(frameOf({ epoch: 1, firstSeq: seq, lastSeq: seq, chainBefore: chains[seq - 1] as number }).chain);
    for (let i = 0; sidefile.received < 40; i++) appendUpTo(sidefile, 1, Math.min(40, sidefile.received + 1 + (i % 4)));
    for (let seq = 0; seq <= 40; seq++) assert.equal(sidefile.chainAt(seq), chains[seq], `chain of ${seq}`);
    for (let seq = 1; seq <= 40; seq++) assert.equal(sidefile.epochAt(seq), 1);
    assert.equal(sidefile.epochAt(0), 0);
    assert.equal(sidefile.epochAt(41), null);
    // The time is that of the frame: records 2 and 3 came in one.
    assert.deepEqual(
      [sidefile.timeAt(1), sidefile.timeAt(2), sidefile.timeAt(3)],
      [1_700_000_000_001, 1_700_000_000_002, 1_700_000_000_002],
    );
    assert.deepEqual([sidefile.timeAt(0), sidefile.timeAt(41)], [null, null]);
  });

  test('is read back for a peer from any record on, whole frames, within its bytes', () => {
    const { sidefile } = filled(40);
    for (let seq = 1; seq <= 40; seq++) {
      for (const bytesMax of [1, 300, 1000, 100_000]) {
        const run = sidefile.framesFrom(seq, bytesMax);
        assert.ok(run !== null);
        const list = received(run.parts, sidefile.chainAt(seq - 1) as number);
        assert.deepEqual(list, names([{ epoch: 1, firstSeq: 1 }], seq, run.lastSeq));
        assert.equal(run.firstSeq, seq);
        assert.equal(
          run.bytes,
          run.parts.reduce((sum, part) => sum + part.length, 0),
        );
        assert.ok(run.bytes <= bytesMax || run.parts.length === 1);
        if (bytesMax === 100_000) assert.equal(run.lastSeq, 40);
      }
    }
    assert.throws(() => filledAndDropped().framesFrom(1, 100), InvariantError);
  });

  function filledAndDropped(): Sidefile {
    const { sidefile } = filled(40);
    sidefile.dropBefore(30);
    return sidefile;
  }

  test('is visited in order, from and to any record, until the visitor has had enough', () => {
    const { sidefile } = filled(40);
    for (const [from, to] of [
      [1, 40],
      [2, 2],
      [5, 17],
      [40, 40],
      [9, 8],
    ] as const) {
      const seen: string[] = [];
      sidefile.visit(from, to, (frame, _segment, _at, firstIndex, lastIndex) => {
        for (let index = firstIndex; index <= lastIndex; index++) seen.push(`1.${frame.firstSeq + index}`);
        return true;
      });
      assert.deepEqual(seen, names([{ epoch: 1, firstSeq: 1 }], from, to));
    }
    let visits = 0;
    sidefile.visit(1, 40, () => ++visits < 3);
    assert.equal(visits, 3);
  });

  test('is checked whenever it is read: a changed byte is named, never returned', () => {
    const { storage, sidefile } = filled(12, 4096);
    const file = storage.open(segmentName(0), { create: false });
    const intact = storage.contentOf(segmentName(0));
    const frames: { from: number; to: number }[] = [];
    sidefile.visit(1, 12, (frame, _segment, at) => frames.push({ from: at, to: at + frame.byteCount }) > 0);
    for (let at = SEGMENT_HEADER_BYTES; at < intact.length; at += 5) {
      // Marks are read by a recovery only.
      if (!frames.some(({ from, to }) => at >= from && at < to)) continue;
      file.write(at, [Uint8Array.of((intact[at] as number) ^ 0x10)]);
      assert.throws(() => sidefile.visit(1, 12, () => true), SidefileDamage, `offset ${at}`);
      assert.throws(() => sidefile.framesFrom(1, 1_000_000), SidefileDamage, `offset ${at}`);
      file.write(at, [intact.subarray(at, at + 1)]);
    }
    assert.deepEqual(contents(sidefile).length, 12);
    // A sound frame in the wrong place: what a misdirected write leaves behind.
    const other = frameOf({ epoch: 1, firstSeq: 30, lastSeq: 30, chainBefore: 5 });
    file.write(SEGMENT_HEADER_BYTES, [other.bytes]);
    assert.throws(
      () => sidefile.visit(1, 12, () => true),
      (error) =>
        error instanceof SidefileDamage && error.seq === 1 && error.file === segmentName(0) && error.offset === SEGMENT_HEADER_BYTES,
    );
  });
});

describe('cutTo', () => {
  test('drops the tail, inside a frame too, and goes on from there in another epoch', () => {
    for (let cut = 0; cut <= 20; cut++) {
      const { storage, sidefile } = filled(20);
      const before = storage.list().map((name) => storage.contentOf(name));
      const chain = sidefile.chainAt(cut) as number;
      sidefile.cutTo(cut);
      assert.deepEqual([sidefile.received, sidefile.chain], [cut, chain]);
      assert.deepEqual(
        storage.list().map((name) => storage.contentOf(name)),
        before,
        'a cut changes no byte',
      );
      appendUpTo(sidefile, 2, cut + 3);
      const history = [
        { epoch: 1, firstSeq: 1 },
        { epoch: 2, firstSeq: cut + 1 },
      ];
      assert.deepEqual(contents(sidefile), names(history, 1, cut + 3));
      const run = sidefile.framesFrom(1, 1_000_000);
      assert.deepEqual(received(run?.parts ?? [], 0), names(history, 1, cut + 3));
      assert.equal(sidefile.epochAt(cut), cut === 0 ? 0 : 1);
    }
  });

  test('does not reach what is gone or not there', () => {
    const { sidefile } = filled(40);
    assert.throws(() => sidefile.cutTo(41), InvariantError);
    sidefile.dropBefore(20);
    assert.throws(() => sidefile.cutTo(sidefile.oldest - 2), InvariantError);
    sidefile.cutTo(sidefile.oldest - 1);
    assert.equal(sidefile.oldest, sidefile.received + 1);
  });
});

describe('dropBefore', () => {
  test('removes whole segments only, tells how many bytes, and keeps the chain before what is left', () => {
    const { storage, sidefile } = filled(60);
    const chains = Array.from({ length: 61 }, (_, seq) => sidefile.chainAt(seq));
    const held = sidefile.heldBytes;
    const freed = sidefile.dropBefore(31);
    assert.ok(freed > 0);
    assert.equal(sidefile.heldBytes, held - freed);
    assert.equal(
      sidefile.heldBytes,
      storage.list().reduce((sum, name) => sum + storage.contentOf(name).length, 0),
    );
    assert.ok(sidefile.oldest <= 31);
    assert.ok(sidefile.oldest > 20);
    for (let seq = sidefile.oldest - 1; seq <= 60; seq++) assert.equal(sidefile.chainAt(seq), chains[seq]);
    assert.equal(sidefile.chainAt(sidefile.oldest - 2), null);
    assert.equal(sidefile.dropBefore(31), 0);
    assert.deepEqual(contents(sidefile), names([{ epoch: 1, firstSeq: 1 }], sidefile.oldest, 60));
  });

  test('keeps the newest segment, whatever is in it', () => {
    const { storage, sidefile } = filled(60);
    sidefile.dropBefore(61);
    assert.equal(storage.list().length, 1);
    assert.ok(sidefile.oldest <= 60);
  });

  test('keeps what was cut back until records behind it are dropped too', () => {
    const { storage, sidefile } = filled(60);
    const cutSegments = storage.list();
    sidefile.cutTo(5);
    sidefile.dropBefore(6);
    // A restart before the superblock knows of the cut must still find records 6 to 60.
    assert.ok(cutSegments.slice(-3).every((name) => storage.list().includes(name)));
    while (sidefile.received < 60) appendUpTo(sidefile, 2, sidefile.received + 1);
    sidefile.dropBefore(60);
    assert.ok(cutSegments.slice(0, -1).every((name) => !storage.list().includes(name)));
  });
});

describe('flushing', () => {
  test('covers what was appended before it began, new segments included', () => {
    const { storage, sidefile } = filled(30);
    const { files, upTo } = sidefile.beginFlush();
    assert.equal(upTo, 30);
    assert.deepEqual(
      files.map((file) => file.name),
      storage.list(),
    );
    appendUpTo(sidefile, 1, 31);
    assert.throws(() => sidefile.beginFlush(), InvariantError);
    assert.equal(sidefile.endFlush(true), 30);
    assert.equal(sidefile.durable, 30);
    const next = sidefile.beginFlush();
    assert.deepEqual([next.files.length, next.upTo], [1, 31]);
    assert.equal(sidefile.endFlush(true), 31);
    assert.deepEqual(sidefile.beginFlush(), { files: [], upTo: 31 });
    sidefile.endFlush(true);
  });

  test('that fails is final', () => {
    const { sidefile } = filled(5);
    sidefile.beginFlush();
    assert.equal(sidefile.endFlush(false), 0);
    assert.throws(() => sidefile.beginFlush(), InvariantError);
    assert.throws(() => appendUpTo(sidefile, 1, 6), InvariantError);
  });

  test('does not make durable what was cut back meanwhile', () => {
    const { sidefile } = filled(20);
    sidefile.beginFlush();
    sidefile.cutTo(12);
    appendUpTo(sidefile, 2, 25);
    assert.equal(sidefile.endFlush(true), 12);
  });

  test('is named by the mark behind the next frame, with its epoch', () => {
    const { storage, sidefile } = filled(20, 100_000);
    const markBehind = ({ at, bytes }: { at: number; bytes: Uint8Array }): unknown => {
      const mark = new Uint8Array(MARK_BYTES);
      sidefile.read(0, at + bytes.length, mark);
      return decodeMark(mark, 0, GROUP_TAG, digests);
    };
    const mark = (epoch: number, lastSeq: number, durableEpoch: number, durable: number): unknown => ({
      segmentNumber: 0,
      epoch,
      lastSeq,
      durableEpoch,
      durable,
    });
    assert.deepEqual(markBehind(appendUpTo(sidefile, 1, 22)), mark(1, 22, 0, 0));
    flush(storage, sidefile);
    assert.deepEqual(markBehind(appendUpTo(sidefile, 1, 23)), mark(1, 23, 1, 22));
    sidefile.cutTo(12);
    assert.deepEqual(markBehind(appendUpTo(sidefile, 2, 14)), mark(2, 14, 1, 12));
    flush(storage, sidefile);
    assert.deepEqual(markBehind(appendUpTo(sidefile, 2, 15)), mark(2, 15, 2, 14));
  });

  test('keeps the files that it covers until it has ended', () => {
    const { storage, sidefile } = filled(60);
    const { files } = sidefile.beginFlush();
    const count = storage.list().length;
    sidefile.dropBefore(60);
    assert.equal(storage.list().length, count);
    storage.flush(files, (failure) => sidefile.endFlush(failure === null));
    storage.settle();
    assert.equal(storage.list().length, 1);
  });
});

test('reset forgets everything and begins anew where it is told, in a new segment', () => {
  const { storage, sidefile } = filled(30);
  const newest = storage.list().at(-1) as string;
  sidefile.reset({ nextSeq: 501, chain: 4711, epoch: 9 });
  assert.deepEqual(storage.list(), []);
  assert.deepEqual([sidefile.oldest, sidefile.received, sidefile.chain, sidefile.heldBytes], [501, 500, 4711, 0]);
  assert.equal(appendUpTo(sidefile, 9, 503).segment, (segmentNumberOf(newest) as number) + 1);
  assert.deepEqual(contents(sidefile), ['9.501', '9.502', '9.503']);
});
