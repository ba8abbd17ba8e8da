// The two-slot cell: what is written is read again, whatever is torn or flipped never passes for a value, and the form on disk is pinned.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import {
  CELL_BYTES,
  CELL_PAYLOAD_BYTES_MAX,
  canonicalJson,
  decodeSlot,
  encodeSlot,
  fitsCell,
  type Json,
  nextSlot,
  readCell,
  slotLayout,
} from '../../src/core/base/cell.ts';
import { InvariantError } from '../../src/core/base/assert.ts';
import { limits } from '../../src/core/base/limits.ts';
import { decodeUtf8, encodeUtf8 } from '../../src/core/base/utf8.ts';

const SLOT = limits.cellSlotBytes;

function cellOf(first: Uint8Array | null, second: Uint8Array | null): Uint8Array {
  const cell = new Uint8Array(CELL_BYTES);
  if (first !== null) cell.set(first, 0);
  if (second !== null) cell.set(second, SLOT);
  return cell;
}

/** The same slot with other header fields and a header checksum that fits them. */
function withHeader(slot: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const copy = slot.slice();
  const view = new DataView(copy.buffer);
  change(view);
  view.setUint32(slotLayout.at.headerCrc32, crc32(copy.subarray(0, slotLayout.at.headerCrc32)), true);
  return copy;
}

describe('a slot', () => {
  test('gives back what was written', () => {
    const value: Json = { b: [1, null, true, 'é\u{1f40b}\ud800'], a: { nested: -0.5 }, '2': 'two', '10': 'ten' };
    assert.deepEqual(decodeSlot(encodeSlot(7, value, crc32), crc32), { kind: 'value', revision: 7, value });
  });

  test('of zeroes only is empty', () => {
    assert.deepEqual(decodeSlot(new Uint8Array(SLOT), crc32), { kind: 'empty' });
  });

  test('with one bit flipped anywhere in header or value is never another value', () => {
    const slot = encodeSlot(3, { epoch: 12, primary: 'near' }, crc32);
    const used = slotLayout.bytes + canonicalJson({ epoch: 12, primary: 'near' }).length;
    for (let bit = 0; bit < used * 8; bit++) {
      const copy = slot.slice();
      copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.equal(decodeSlot(copy, crc32).kind, 'damaged', `bit ${bit}`);
    }
  });

  test('torn at any 512 bytes is damaged, whichever part reached the disk', () => {
    const older = encodeSlot(1, 'a'.repeat(3000), crc32);
    const newer = encodeSlot(3, 'b'.repeat(3000), crc32);
    for (let cut = 512; cut <= 2560; cut += 512) {
      const headWritten = older.slice();
      headWritten.set(newer.subarray(0, cut), 0);
      assert.equal(decodeSlot(headWritten, crc32).kind, 'damaged');
      const tailWritten = older.slice();
      tailWritten.set(newer.subarray(cut), cut);
      assert.equal(decodeSlot(tailWritten, crc32).kind, 'damaged');
    }
  });

  test('of another version is named, not read', () => {
    const foreign = withHeader(encodeSlot(3, 'x', crc32), (view) => view.setUint16(slotLayout.at.version, 2, true));
    assert.deepEqual(decodeSlot(foreign, crc32), { kind: 'version', found: 2 });
  });

  test('says why it is damaged', () => {
    const good = encodeSlot(3, 'x', crc32);
    const { at } = slotLayout;
    const cases: [string, Uint8Array][] = [
      ['no magic number', good.slice().fill(0, 0, 4)],
      ['reserved fields are not zero', withHeader(good, (view) => view.setUint16(at.flags, 1, true))],
      ['reserved fields are not zero', withHeader(good, (view) => view.setUint32(at.reserved, 1, true))],
      ['revision out of range', withHeader(good, (view) => view.setUint32(at.revision, 0, true))],
      ['revision out of range', withHeader(good, (view) => view.setUint32(at.revision + 4, 0xffff_ffff, true))],
      [
        'value of 16353 bytes does not fit its slot',
        withHeader(good, (view) => view.setUint32(at.payloadBytes, CELL_PAYLOAD_BYTES_MAX + 1, true)),
      ],
      ['checksum of the value does not match', withHeader(good, (view) => view.setUint32(at.payloadBytes, 2, true))],
    ];
    for (const [why, slot] of cases) assert.deepEqual(decodeSlot(slot, crc32), { kind: 'damaged', why });
    const raw = (payload: Uint8Array): Uint8Array => {
      const slot = good.slice();
      slot.set(payload, slotLayout.bytes);
      return withHeader(slot, (view) => {
        view.setUint32(at.payloadBytes, payload.length, true);
        view.setUint32(at.payloadCrc32, crc32(payload), true);
      });
    };
    assert.deepEqual(decodeSlot(raw(Uint8Array.of(0x22, 0xff, 0x22)), crc32), { kind: 'damaged', why: 'the value is not UTF-8' });
    assert.match(JSON.stringify(decodeSlot(raw(encodeUtf8('{"a":')), crc32)), /the value is not JSON/);
  });

  test('refuses values that JSON cannot hold, or that do not fit', () => {
    assert.throws(() => encodeSlot(1, Number.NaN, crc32), InvariantError);
    assert.throws(() => encodeSlot(1, { a: undefined } as unknown as Json, crc32), InvariantError);
    assert.throws(() => encodeSlot(0, 'x', crc32), InvariantError);
    assert.throws(() => encodeSlot(1, 'x'.repeat(CELL_PAYLOAD_BYTES_MAX), crc32), InvariantError);
    assert.equal(fitsCell('x'.repeat(CELL_PAYLOAD_BYTES_MAX)), false);
    assert.equal(fitsCell('x'.repeat(CELL_PAYLOAD_BYTES_MAX - 2)), true);
    assert.throws(() => decodeSlot(new Uint8Array(SLOT - 1), crc32), InvariantError);
  });

  test('is pinned byte by byte', () => {
    const golden = readFileSync(new URL('../golden/cell-v1.bin', import.meta.url));
    const value = { copies: [{ flag: true, site: 'near' }], epoch: 3, group: 'vm', whale: '\u{1f40b}' };
    assert.deepEqual(encodeSlot(5, value, crc32).subarray(0, golden.length), new Uint8Array(golden));
    assert.ok(
      encodeSlot(5, value, crc32)
        .subarray(golden.length)
        .every((byte) => byte === 0),
    );
    const slot = new Uint8Array(SLOT);
    slot.set(golden);
    assert.deepEqual(decodeSlot(slot, crc32), { kind: 'value', revision: 5, value });
  });
});

describe('a cell', () => {
  const one = encodeSlot(1, 'one', crc32);
  const two = encodeSlot(2, 'two', crc32);
  const torn = two.slice().fill(0, 0, 32);

  test('is empty when nothing was ever written', () => {
    const state = readCell(new Uint8Array(CELL_BYTES), crc32);
    assert.deepEqual(state, { kind: 'empty' });
    assert.equal(nextSlot(state), 0);
  });

  test('holds the newer of two values, in either slot, and writes the other slot next', () => {
    const inSecond = readCell(cellOf(one, two), crc32);
    assert.deepEqual(inSecond, {
      kind: 'value',
      revision: 2,
      value: 'two',
      slot: 1,
      otherSlot: { kind: 'value', revision: 1, value: 'one' },
    });
    assert.equal(nextSlot(inSecond), 0);
    const inFirst = readCell(cellOf(two, one), crc32);
    assert.equal(inFirst.kind === 'value' && inFirst.slot, 0);
    assert.equal(nextSlot(inFirst), 1);
  });

  test('falls back to the value before when an update was torn, and writes over the torn slot next', () => {
    const state = readCell(cellOf(one, torn), crc32);
    assert.deepEqual(state, { kind: 'value', revision: 1, value: 'one', slot: 0, otherSlot: { kind: 'damaged', why: 'no magic number' } });
    assert.equal(nextSlot(state), 1);
    const other = readCell(cellOf(torn, one), crc32);
    assert.equal(other.kind === 'value' && other.value, 'one');
    assert.equal(nextSlot(other), 0);
  });

  test('is damaged, not empty, when no slot can be trusted', () => {
    for (const cell of [cellOf(torn, torn), cellOf(torn, null), cellOf(null, torn)]) {
      const state = readCell(cell, crc32);
      assert.equal(state.kind, 'damaged');
      assert.throws(() => nextSlot(state), InvariantError);
    }
    const forked = readCell(cellOf(one, encodeSlot(1, 'other', crc32)), crc32);
    assert.equal(forked.kind, 'damaged');
    const same = readCell(cellOf(one, one), crc32);
    assert.equal(same.kind === 'value' && same.slot, 0);
  });

  test('with a slot of another version is not read, even beside a value', () => {
    const foreign = withHeader(two, (view) => view.setUint16(slotLayout.at.version, 9, true));
    assert.deepEqual(readCell(cellOf(one, foreign), crc32), { kind: 'version', found: 9 });
    assert.deepEqual(readCell(cellOf(foreign, one), crc32), { kind: 'version', found: 9 });
  });

  test('survives any series of updates of which each may be torn: an update that ended is never lost', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ value: fc.jsonValue(), cut: fc.option(fc.integer({ min: 0, max: SLOT })) }), { maxLength: 12 }),
        (updates) => {
          const cell = new Uint8Array(CELL_BYTES);
          cell.set(encodeSlot(1, 'begin', crc32), 0);
          let last: Json = 'begin';
          for (const { value, cut } of updates) {
            const state = readCell(cell, crc32);
            assert.equal(state.kind, 'value');
            if (state.kind !== 'value') return;
            assert.equal(canonicalJson(state.value), canonicalJson(last));
            const slot = encodeSlot(state.revision + 1, value as Json, crc32);
            cell.set(cut === null ? slot : slot.subarray(0, cut), nextSlot(state) * SLOT);
            const after = readCell(cell, crc32);
            // A cut that left only zeroes out wrote the whole update.
            if (cut === null || (after.kind === 'value' && after.revision === state.revision + 1)) last = value as Json;
          }
        },
      ),
    );
  });
});

describe('canonical JSON', () => {
  test('does not depend on the order in which a value was built', () => {
    assert.equal(canonicalJson({ b: 1, a: [{ d: 2, c: 3 }] }), canonicalJson({ a: [{ c: 3, d: 2 }], b: 1 }));
    assert.equal(canonicalJson({ '10': 1, '9': 2, a: 3 }), '{"10":1,"9":2,"a":3}');
  });

  test('reads back as the same value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => assert.deepEqual(JSON.parse(canonicalJson(value as Json)), JSON.parse(JSON.stringify(value)))),
    );
  });
});

describe('UTF-8', () => {
  test('agrees with the platform on every string', () => {
    const encoder = new TextEncoder();
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        assert.deepEqual(encodeUtf8(text), encoder.encode(text));
        assert.equal(decodeUtf8(encodeUtf8(text)), text);
      }),
    );
    const long = 'aé€\u{1f40b}'.repeat(5000);
    assert.equal(decodeUtf8(encodeUtf8(long)), long);
  });

  test('agrees with the platform on which bytes are malformed', () => {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    const expected = (bytes: Uint8Array): string | null => {
      try {
        return decoder.decode(bytes);
      } catch {
        return null;
      }
    };
    // Bytes near the edges of what a sequence may be, so that most inputs are almost right.
    const edge = fc.constantFrom(
      0,
      0x41,
      0x7f,
      0x80,
      0x8f,
      0x90,
      0x9f,
      0xa0,
      0xbf,
      0xc0,
      0xc1,
      0xc2,
      0xdf,
      0xe0,
      0xed,
      0xef,
      0xf0,
      0xf4,
      0xf5,
      0xff,
    );
    fc.assert(
      fc.property(fc.array(edge, { maxLength: 8 }), (list) =>
        assert.equal(decodeUtf8(Uint8Array.from(list)), expected(Uint8Array.from(list))),
      ),
      { numRuns: 5000 },
    );
  });

  test('has no form for a lone surrogate', () => {
    assert.throws(() => encodeUtf8('a\ud800'), InvariantError);
    assert.throws(() => encodeUtf8('\udc00'), InvariantError);
  });
});
