// Frames: what is encoded is decoded again, parts of a frame are the same records, and no bytes that were changed pass for a frame.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { InvariantError } from '../../../src/core/base/assert.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { type FrameCheck, type FrameView, readFrame, readFrameTable, subFrame } from '../../../src/core/record/decode.ts';
import { type EncodedFrame, encodeFrame, frameBytes, type NewRecord } from '../../../src/core/record/encode.ts';
import {
  FRAME_HEADER_BYTES,
  frameHeaderLayout,
  RECORD_ENTRY_BYTES,
  RECORD_KIND,
  recordEntryLayout,
} from '../../../src/core/record/layout.ts';
import { BLOCK_BYTES } from '../../../src/core/base/units.ts';
import { digests, frameOf, GROUP_TAG, payloadOf, recordOf } from '../../support/records.ts';

const OPTIONS = { groupTag: GROUP_TAG, checkPayload: true, digests };
const HEAD = { groupTag: GROUP_TAG, epoch: 3, firstSeq: 106, timeMillis: 1_700_000_000_000, chainBefore: 0xdead_beef, committed: 99 };

function encoded(records: readonly NewRecord[], head: typeof HEAD = HEAD): EncodedFrame {
  return encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests);
}

function frameIn(bytes: Uint8Array): FrameView {
  const check = readFrame(bytes, 0, OPTIONS);
  assert.equal(check.kind, 'frame', JSON.stringify(check));
  return (check as FrameCheck & { kind: 'frame' }).frame;
}

/** The same frame with another header, and a header checksum that fits it. */
function withHeader(bytes: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  change(view);
  view.setUint32(frameHeaderLayout.at.headerCrc, digests.crc32(copy.subarray(8, FRAME_HEADER_BYTES), 0), true);
  return copy;
}

/** The same frame with another table, and all checksums but those of payloads made to fit. */
function withTable(bytes: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  change(view);
  const count = view.getUint32(frameHeaderLayout.at.recordCount, true);
  let chain = view.getUint32(frameHeaderLayout.at.chainBefore, true);
  const end = FRAME_HEADER_BYTES + count * RECORD_ENTRY_BYTES;
  for (let at = FRAME_HEADER_BYTES; at < end; at += RECORD_ENTRY_BYTES) {
    chain = digests.crc32(copy.subarray(at + 4, at + RECORD_ENTRY_BYTES), chain);
    view.setUint32(at, chain, true);
  }
  return withHeader(copy, (head) =>
    head.setUint32(frameHeaderLayout.at.tableCrc, digests.crc32(copy.subarray(FRAME_HEADER_BYTES, end), 0), true),
  );
}

function why(bytes: Uint8Array): string {
  const check = readFrame(bytes, 0, OPTIONS);
  assert.equal(check.kind, 'damaged');
  return (check as FrameCheck & { kind: 'damaged' }).why;
}

const anyRecord = fc.oneof(
  fc
    .record({ volume: fc.nat(63), offset: fc.nat(2 ** 45), payload: fc.uint8Array({ minLength: 1, maxLength: 40 }) })
    .map((r): NewRecord => ({ ...r, kind: RECORD_KIND.write, length: r.payload.length })),
  fc
    .record({ volume: fc.nat(63), offset: fc.nat(2 ** 45), length: fc.integer({ min: 1, max: limits.zeroesBytesMax }), trim: fc.boolean() })
    .map(({ volume, offset, length, trim }): NewRecord => ({
      volume,
      offset,
      length,
      kind: trim ? RECORD_KIND.trim : RECORD_KIND.zeroes,
      payload: null,
    })),
);

describe('a frame', () => {
  test('gives back every record that it was made of', () => {
    fc.assert(
      fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 12 }), fc.nat(50), (records, before) => {
        const frame = encoded(records);
        const stream = new Uint8Array(before + frame.bytes.length + 9).fill(0xee);
        stream.set(frame.bytes, before);
        const check = readFrame(stream, before, OPTIONS);
        assert.equal(check.kind, 'frame');
        const view = (check as FrameCheck & { kind: 'frame' }).frame;
        assert.deepEqual([view.epoch, view.firstSeq, view.lastSeq, view.recordCount], [3, 106, 105 + records.length, records.length]);
        assert.deepEqual(
          [view.timeMillis, view.committed, view.chainBefore, view.chainAfter],
          [HEAD.timeMillis, 99, 0xdead_beef, frame.chain],
        );
        assert.deepEqual(view.bytes, frame.bytes);
        // Backwards too: the place of a payload does not depend on what was asked before.
        const order = [...records.keys(), ...[...records.keys()].reverse()];
        for (const index of order) {
          const record = view.record(index);
          const wanted = records[index] as NewRecord;
          assert.deepEqual(
            [record.kind, record.volume, record.offset, record.length],
            [wanted.kind, wanted.volume, wanted.offset, wanted.length],
          );
          const payload = view.bytes.slice(record.payloadAt, record.payloadAt + view.payloadBytesAt(index));
          assert.deepEqual(payload, new Uint8Array(wanted.payload ?? []));
        }
      }),
      { numRuns: 200 },
    );
  });

  test('tells how many bytes it needs when it is cut short anywhere', () => {
    const { bytes } = frameOf({ epoch: 1, firstSeq: 1, lastSeq: 6, chainBefore: 0 });
    for (let end = 0; end < bytes.length; end++) {
      assert.deepEqual(readFrame(bytes.subarray(0, end), 0, OPTIONS), { kind: 'short', needBytes: end < 64 ? 64 : bytes.length });
    }
  });

  test('with any one bit changed is no frame', () => {
    const { bytes } = frameOf({ epoch: 2, firstSeq: 1, lastSeq: 4, chainBefore: 7 });
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const copy = bytes.slice();
      copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.equal(readFrame(copy, 0, OPTIONS).kind, 'damaged', `bit ${bit}`);
    }
  });

  test('with its payload unchecked still finds which payload is wrong', () => {
    const { bytes, payloadStart } = frameOf({ epoch: 2, firstSeq: 1, lastSeq: 4, chainBefore: 7 });
    const first = recordOf(2, 1).length;
    bytes[payloadStart + first] = 0xff ^ (bytes[payloadStart + first] as number);
    const check = readFrame(bytes, 0, { ...OPTIONS, checkPayload: false });
    assert.equal(check.kind, 'frame');
    const { frame } = check as FrameCheck & { kind: 'frame' };
    assert.equal(frame.badPayload(0, 3, digests), 1);
    assert.equal(frame.badPayload(0, 0, digests), -1);
    assert.equal(frame.badPayload(2, 3, digests), -1);
    assert.match(why(bytes), /payload of record 2 /);
  });

  test('of whole blocks knows the checksum of each block once its payloads were found right', () => {
    const lengths = [BLOCK_BYTES, 3 * BLOCK_BYTES, BLOCK_BYTES];
    const records = lengths.map((length, i): NewRecord => {
      return { kind: RECORD_KIND.write, volume: 0, offset: i * 65_536, length, payload: payloadOf(1, i, length) };
    });
    const { bytes, payloadStart } = encoded(records);
    const check = readFrame(bytes, 0, { ...OPTIONS, checkPayload: false });
    const { frame } = check as FrameCheck & { kind: 'frame' };
    assert.equal(frame.blockCrcs, null);
    assert.equal(frame.badPayload(0, 2, digests, true), -1);
    const expected = Array.from({ length: 5 }, (_, i) =>
      digests.crc32(bytes.subarray(payloadStart + i * BLOCK_BYTES, payloadStart + (i + 1) * BLOCK_BYTES), 0),
    );
    assert.deepEqual([...(frame.blockCrcs ?? [])], expected);
    for (const [block, record] of [0, 1, 1, 1, 2].entries()) {
      const changed = bytes.slice();
      changed[payloadStart + block * BLOCK_BYTES + 99] = 1 ^ (changed[payloadStart + block * BLOCK_BYTES + 99] as number);
      const again = readFrame(changed, 0, { ...OPTIONS, checkPayload: false }) as FrameCheck & { kind: 'frame' };
      assert.equal(again.frame.badPayload(0, 2, digests, true), record);
      assert.equal(again.frame.blockCrcs, null);
    }
  });

  test('can be read from header and table alone', () => {
    const { bytes, payloadStart, chain } = frameOf({ epoch: 2, firstSeq: 1, lastSeq: 4, chainBefore: 7 });
    const check = readFrameTable(bytes.subarray(0, payloadStart), 0, OPTIONS);
    assert.equal(check.kind, 'frame');
    const { frame } = check as FrameCheck & { kind: 'frame' };
    assert.deepEqual([frame.byteCount, frame.chainAfter, frame.lastSeq], [bytes.length, chain, 4]);
    assert.deepEqual(readFrameTable(bytes.subarray(0, payloadStart - 1), 0, OPTIONS), { kind: 'short', needBytes: payloadStart });
    assert.throws(() => frame.badPayload(0, 3, digests), InvariantError);
  });

  test('of another group, another version, or with unknown flags is refused by name', () => {
    const { bytes } = frameOf({ epoch: 2, firstSeq: 1, lastSeq: 2, chainBefore: 0 });
    assert.match(why(withHeader(bytes, (view) => view.setUint32(frameHeaderLayout.at.groupTag, 1, true))), /another group/);
    assert.match(why(withHeader(bytes, (view) => view.setUint16(frameHeaderLayout.at.flags, 1, true))), /flags/);
    const newer = withHeader(bytes, (view) => view.setUint16(frameHeaderLayout.at.version, 3, true));
    assert.match(why(newer), /version 3/);
    const check = readFrame(newer, 0, OPTIONS);
    assert.equal((check as FrameCheck & { kind: 'damaged' }).version, 3);
  });

  test('whose header passes its checksum is still held to the limits', () => {
    const { bytes } = frameOf({ epoch: 2, firstSeq: 5, lastSeq: 6, chainBefore: 0 });
    const { at } = frameHeaderLayout;
    const cases: [RegExp, (view: DataView) => void][] = [
      [/cannot hold 0 records/, (view) => view.setUint32(at.recordCount, 0, true)],
      [/cannot hold 4097 records/, (view) => view.setUint32(at.recordCount, 4097, true)],
      [/larger than/, (view) => view.setUint32(at.payloadBytes, 0xffff_ffff, true)],
      [/epoch of the frame/, (view) => view.setUint32(at.epoch, 0, true)],
      [/epoch of the frame/, (view) => view.setUint32(at.epoch + 4, 0x20_0000, true)],
      [/first seq/, (view) => view.setUint32(at.firstSeq, 0, true)],
      [/last seq/, (view) => [view.setUint32(at.firstSeq, 0xffff_ffff, true), view.setUint32(at.firstSeq + 4, 0x1f_ffff, true)]],
      [/time of the frame/, (view) => view.setUint32(at.timeMillis + 4, 0xffff_ffff, true)],
      [/own records are committed/, (view) => view.setUint32(at.committed, 5, true)],
      [/chain/, (view) => view.setUint32(at.chainBefore, 1, true)],
      [/add up/, (view) => view.setUint32(at.payloadBytes, 1, true)],
    ];
    for (const [text, change] of cases) assert.match(why(withHeader(bytes, change)), text);
  });

  test('whose table passes its checksum is still held to the rules of records', () => {
    const { bytes } = encoded([recordOf(1, 1), { kind: RECORD_KIND.trim, volume: 0, offset: 0, length: 5, payload: null }]);
    const { at } = recordEntryLayout;
    const write = FRAME_HEADER_BYTES;
    const trim = write + RECORD_ENTRY_BYTES;
    const cases: [RegExp, (view: DataView) => void][] = [
      [/kind 0/, (view) => view.setUint8(trim + at.kind, 0)],
      [/kind 4/, (view) => view.setUint8(trim + at.kind, 4)],
      [/volume index 64/, (view) => view.setUint16(trim + at.volume, 64, true)],
      [/covers no bytes/, (view) => view.setUint32(trim + at.length, 0, true)],
      [/longer than/, (view) => view.setUint32(trim + at.length, limits.zeroesBytesMax + 1, true)],
      [/beyond the largest volume/, (view) => view.setUint32(trim + at.offset + 4, 0x4_0000, true)],
      [/beyond the largest volume/, (view) => view.setUint32(trim + at.offset + 4, 0xffff_ffff, true)],
      [/does not know/, (view) => view.setUint8(trim + at.flags, 1)],
      [/does not know/, (view) => view.setUint32(trim + at.reserved + 4, 1, true)],
      [/without payload/, (view) => view.setUint32(trim + at.payloadCrc, 1, true)],
      [/add up/, (view) => view.setUint32(write + at.length, 1, true)],
      [/longer than/, (view) => view.setUint32(write + at.length, limits.requestBytesMax + 1, true)],
    ];
    for (const [text, change] of cases) assert.match(why(withTable(bytes, change)), text);
  });

  test('refuses records that no frame may hold, before anything is written', () => {
    const trim = { kind: RECORD_KIND.trim, volume: 0, offset: 0, length: 5, payload: null };
    assert.throws(() => encoded([]), InvariantError);
    assert.throws(() => encoded([{ ...trim, length: 0 }]), InvariantError);
    assert.throws(() => encoded([{ ...trim, offset: 0.5 }]), InvariantError);
    assert.throws(() => encoded([{ ...trim, offset: Number.NaN }]), InvariantError);
    assert.throws(() => encoded([{ ...trim, volume: -1 }]), InvariantError);
    assert.throws(() => encoded([{ ...trim, payload: new Uint8Array(5) }]), InvariantError);
    assert.throws(() => encoded([{ ...trim, kind: RECORD_KIND.write }]), InvariantError);
    assert.throws(() => encoded([{ ...trim, kind: RECORD_KIND.write, payload: new Uint8Array(4) }]), InvariantError);
    assert.throws(() => encoded([trim], { ...HEAD, committed: 106 }), InvariantError);
    assert.throws(() => encoded([trim], { ...HEAD, epoch: 0 }), InvariantError);
    assert.throws(() => encodeFrame(HEAD, [trim], new Uint8Array(97), digests), InvariantError);
  });
});

describe('a part of a frame', () => {
  test('holds the same records, with the same chain, under a header of its own', () => {
    const whole = frameIn(frameOf({ epoch: 4, firstSeq: 20, lastSeq: 31, chainBefore: 99 }).bytes);
    for (let from = 20; from <= 31; from++) {
      for (let to = from; to <= 31; to++) {
        const part = frameIn(subFrame(whole, from, to, digests));
        assert.deepEqual([part.epoch, part.firstSeq, part.lastSeq, part.timeMillis], [4, from, to, whole.timeMillis]);
        assert.equal(part.chainBefore, from === 20 ? 99 : whole.chainAt(from - 21));
        assert.equal(part.chainAfter, whole.chainAt(to - 20));
        for (let seq = from; seq <= to; seq++) assert.deepEqual(part.record(seq - from).offset, recordOf(4, seq).offset);
      }
    }
    assert.deepEqual(subFrame(whole, 20, 31, digests), whole.bytes);
  });

  test('lies within the frame', () => {
    const whole = frameIn(frameOf({ epoch: 4, firstSeq: 20, lastSeq: 23, chainBefore: 99 }).bytes);
    assert.throws(() => subFrame(whole, 19, 20, digests), InvariantError);
    assert.throws(() => subFrame(whole, 21, 24, digests), InvariantError);
    assert.throws(() => subFrame(whole, 22, 21, digests), InvariantError);
  });
});
