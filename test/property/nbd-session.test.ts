// Properties of an NBD session over random conversations: how the bytes are cut makes no difference, what was written is what is read, and
// no bytes whatever make it throw, answer after its end, or hold more than its limits.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type NbdRequest, NbdSession } from '../../src/core/nbd/session.ts';
import { catalogOf, clientFlags, CMD, DB, infoData, metaData, OPT, option, request } from '../unit/nbd/client.ts';

const SIZE = 16 * 1024;
const EXPORT = { ...DB, name: 'v', sizeBytes: SIZE };

/** A volume in memory behind a session: answers everything at once, or when told, in an order of its own. */
class Volume {
  readonly bytes = new Uint8Array(SIZE);
  readonly session: NbdSession;
  readonly late: NbdRequest[] = [];
  heldBytesPeak = 0;
  readonly #out: Uint8Array[] = [];

  constructor(options: { late: boolean; requestsMax?: number }) {
    this.session = new NbdSession({
      catalog: catalogOf([EXPORT]),
      handler: { request: (each) => this.#request(each, options.late) },
      limitsOverride: { requestsMax: options.requestsMax ?? 1024, heldBytesMax: 64 * 1024, optionBytesMax: 4096 },
      // Memory with any content, as the shell gives it.
      allocate: (byteCount) => new Uint8Array(byteCount).fill(0xee),
    });
  }

  /** Feeds chunks as a shell does; each is overwritten afterwards, since the memory is reused. */
  feed(bytes: Uint8Array): void {
    const slab = Buffer.from(bytes);
    this.session.receive(slab);
    slab.fill(0xdd);
    do {
      this.#turn();
      this.session.resume();
      this.#turn();
    } while (this.session.resumable);
  }

  output(): Buffer {
    return Buffer.concat(this.#out);
  }

  #turn(): void {
    this.heldBytesPeak = Math.max(this.heldBytesPeak, this.session.heldBytes);
    for (const each of this.late.splice(0)) this.#answer(each);
    for (const part of this.session.takeOutput()) this.#out.push(part);
  }

  #request(each: NbdRequest, late: boolean): void {
    assert.ok(each.offset + each.length <= SIZE);
    // A write takes effect at once: its bytes are gone afterwards.
    if (each.command === 'write') {
      assert.equal(each.payload?.length, each.length);
      this.bytes.set(each.payload, each.offset);
    } else if (each.command === 'zeroes' || each.command === 'trim') {
      this.bytes.fill(0, each.offset, each.offset + each.length);
    } else if (each.command === 'read') {
      each.data = this.bytes.slice(each.offset, each.offset + each.length);
    }
    if (late) this.late.push(each);
    else this.#answer(each);
  }

  #answer(each: NbdRequest): void {
    if (each.command === 'status') this.session.replyStatus(each, [{ length: each.length, hole: false, zero: false }]);
    else this.session.reply(each, 0, each.data);
  }
}

const infos = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 });
const names = fc.constantFrom('v', '', 'w', 'x'.repeat(300), 'vé');
const optionBytes: fc.Arbitrary<Buffer> = fc.oneof(
  fc.tuple(fc.constantFrom(OPT.INFO, OPT.GO), names, infos).map(([code, name, list]) => option(code, infoData(name, list))),
  fc
    .tuple(
      fc.constantFrom(OPT.LIST_META, OPT.SET_META),
      names,
      fc.array(fc.constantFrom('base:', 'base:allocation', 'x-y:z'), { maxLength: 3 }),
    )
    .map(([code, name, queries]) => option(code, metaData(name, queries))),
  fc.constantFrom(OPT.LIST, OPT.STRUCTURED, OPT.STARTTLS, OPT.EXTENDED, 4).map((code) => option(code)),
  fc.tuple(fc.integer({ min: 1, max: 12 }), fc.uint8Array({ maxLength: 5000 })).map(([code, data]) => option(code, data)),
);
const requestBytes: fc.Arbitrary<Buffer> = fc
  .record({
    type: fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom(CMD.READ, CMD.WRITE, CMD.WRITE, CMD.TRIM, CMD.CACHE, CMD.ZEROES, CMD.STATUS) },
      fc.constantFrom(9, 8),
    ),
    flags: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(0, 1) }, fc.constantFrom(2, 4, 8, 16, 32)),
    cookie: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    offset: fc.oneof({ weight: 9, arbitrary: fc.nat(SIZE) }, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })),
    length: fc.oneof(fc.nat(64), fc.nat(SIZE)),
    fill: fc.nat(255),
  })
  .map(({ fill, length, ...fields }) =>
    request({ ...fields, length, payload: new Uint8Array(fields.type === CMD.WRITE ? length : 0).fill(fill) }),
  );
const conversation: fc.Arbitrary<Buffer> = fc
  .tuple(fc.constantFrom(1, 3), fc.array(optionBytes, { maxLength: 4 }), fc.array(requestBytes, { maxLength: 12 }), fc.boolean())
  .map(([flags, options, requests, disconnects]) =>
    Buffer.concat([
      clientFlags(flags),
      ...options,
      option(OPT.GO, infoData('v', [3])),
      ...requests,
      ...(disconnects ? [request({ type: CMD.DISC })] : []),
    ]),
  );

function whole(bytes: Buffer, options: { late: boolean; requestsMax?: number }): Volume {
  const volume = new Volume(options);
  volume.session.start();
  volume.feed(bytes);
  return volume;
}

function inPieces(bytes: Buffer, cuts: (at: number) => number, options: { late: boolean; requestsMax?: number }): Volume {
  const volume = new Volume(options);
  volume.session.start();
  for (let at = 0; at < bytes.length;) {
    const next = at + cuts(at);
    volume.feed(bytes.subarray(at, next));
    at = next;
  }
  return volume;
}

function assertSame(one: Volume, other: Volume): void {
  assert.deepEqual(one.bytes, other.bytes);
  assert.equal(one.session.state, other.session.state);
  assert.equal(one.session.closeReason, other.session.closeReason);
  assert.equal(one.session.finished, other.session.finished);
}

test('a conversation cut anywhere, also byte by byte, gives the same output and the same volume as in one chunk', () => {
  fc.assert(
    fc.property(conversation, fc.array(fc.integer({ min: 1, max: 3000 })), (bytes, sizes) => {
      let i = 0;
      const cut = inPieces(bytes, () => sizes[i++ % sizes.length] ?? 1, { late: false });
      const uncut = whole(bytes, { late: false });
      assertSame(cut, uncut);
      assert.deepEqual(cut.output(), uncut.output());
    }),
    { numRuns: 150 },
  );
});

test('answers that come later, and a limit that stops parsing again and again, change the order of replies only', () => {
  fc.assert(
    fc.property(conversation, fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 3 }), (bytes, step, requestsMax) => {
      const slow = inPieces(bytes, () => step, { late: true, requestsMax });
      const quick = whole(bytes, { late: false });
      assertSame(slow, quick);
      assert.deepEqual(slow.output().sort(), quick.output().sort());
    }),
    { numRuns: 200 },
  );
});

test('a read gives what was written before it, at any offset and length', () => {
  const range = fc
    .tuple(fc.nat(SIZE - 1), fc.integer({ min: 1, max: 9000 }))
    .map(([offset, length]) => ({ offset, length: Math.min(length, SIZE - offset) }));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(range, fc.nat(255)), { maxLength: 20 }),
      range,
      fc.integer({ min: 1, max: 5000 }),
      (writes, read, step) => {
        const model = Buffer.alloc(SIZE);
        const parts = [clientFlags(), option(OPT.GO, infoData('v'))];
        for (const [{ offset, length }, fill] of writes) {
          const payload = Buffer.alloc(length, fill);
          model.set(payload, offset);
          parts.push(request({ type: CMD.WRITE, offset, payload }));
        }
        const before = Buffer.concat(parts);
        const volume = inPieces(before, () => step, { late: false });
        const answered = volume.output().length;
        volume.feed(request({ type: CMD.READ, ...read }));
        assert.deepEqual(volume.output().subarray(answered + 16), model.subarray(read.offset, read.offset + read.length));
      },
    ),
    { numRuns: 200 },
  );
});

test('damaged conversations never throw, end at most once, and hold no more than the limits and one payload', () => {
  const damage = fc.array(fc.tuple(fc.nat(4000), fc.nat(255)), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(conversation, damage, fc.integer({ min: 1, max: 2000 }), (bytes, changes, step) => {
      const broken = Buffer.from(bytes);
      for (const [at, value] of changes) broken[at % broken.length] = value;
      const volume = inPieces(broken, () => step, { late: true });
      const { session } = volume;
      assert.equal(session.outstanding, 0);
      // 64 KiB by the limit, a request beyond it, and a payload that is awaited, each at most the volume's size; option data; a chunk.
      assert.ok(volume.heldBytesPeak <= 64 * 1024 + 2 * Math.max(SIZE, 8 * 4096) + 4096 + step, `held ${volume.heldBytesPeak}`);
      if (session.state === 'closing') {
        const before = volume.output().length;
        volume.feed(bytes);
        assert.equal(volume.output().length, before);
        assert.equal(session.finished, true);
      }
    }),
    { numRuns: 500 },
  );
});

test('noise never throws', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.integer({ min: 0, max: 2 }), (noise, depth) => {
      const prefix = [Buffer.alloc(0), clientFlags(), Buffer.concat([clientFlags(), option(OPT.GO, infoData('v'))])][depth] as Buffer;
      const volume = whole(Buffer.concat([prefix, noise]), { late: false });
      assert.ok(volume.session.outstanding === 0);
    }),
    { numRuns: 300 },
  );
});
