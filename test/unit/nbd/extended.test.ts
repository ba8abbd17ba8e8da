// Extended headers: every head has 64-bit lengths, and every reply is a chunk.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';

import {
  type Connection,
  type ConnectionOptions,
  CMD,
  DB,
  haggling,
  infoData,
  metaData,
  OLD,
  OPT,
  option,
  optionReplies,
  REP,
  u16,
  u32,
  u64,
} from './client.ts';

const EXT_HEADER_REQD = 0x8000_000a;
const PAYLOAD_LEN = 32;

interface Head {
  readonly type: number;
  readonly flags?: number;
  readonly cookie?: bigint;
  readonly offset?: bigint;
  readonly length?: bigint;
  readonly payload?: Uint8Array;
}

function extended({
  type,
  flags = 0,
  cookie = 1n,
  offset = 0n,
  payload = new Uint8Array(0),
  length = BigInt(payload.length),
}: Head): Buffer {
  return Buffer.concat([u32(0x21e41c71), u16(flags), u16(type), u64(cookie), u64(offset), u64(length), payload]);
}

interface ExtendedChunk {
  readonly done: boolean;
  readonly type: number;
  readonly cookie: bigint;
  readonly offset: bigint;
  readonly payload: Buffer;
}

/** Chunks in order; the bytes must hold nothing else. */
function extendedChunks(bytes: Buffer): ExtendedChunk[] {
  const all: ExtendedChunk[] = [];
  for (let at = 0; at < bytes.length;) {
    assert.equal(bytes.readUInt32BE(at), 0x6e8a278c);
    const length = Number(bytes.readBigUInt64BE(at + 24));
    const payload = bytes.subarray(at + 32, at + 32 + length);
    assert.equal(payload.length, length);
    const [cookie, offset] = [bytes.readBigUInt64BE(at + 8), bytes.readBigUInt64BE(at + 16)];
    all.push({ done: bytes.readUInt16BE(at + 4) === 1, type: bytes.readUInt16BE(at + 6), cookie, offset, payload });
    at += 32 + length;
  }
  return all;
}

const only = (bytes: Buffer): ExtendedChunk => {
  const [chunk, ...more] = extendedChunks(bytes);
  assert.ok(chunk !== undefined && more.length === 0 && chunk.done);
  return chunk;
};

function open(options: ConnectionOptions = {}, name = DB.name): Connection {
  const connection = haggling(options);
  const [agreed] = optionReplies(connection.send(option(OPT.EXTENDED)));
  assert.equal(agreed?.type, REP.ACK);
  connection.send(option(OPT.SET_META, metaData(name, ['base:allocation'])), option(OPT.GO, infoData(name)));
  assert.equal(connection.session.state, 'transmission');
  return connection;
}

test('they are agreed once, bring structured replies with them, and leave no way but GO', () => {
  const connection = haggling();
  const answers = connection.send(
    option(OPT.EXTENDED, Buffer.from('x')),
    option(OPT.EXTENDED),
    option(OPT.EXTENDED),
    option(OPT.STRUCTURED),
  );
  assert.deepEqual(
    optionReplies(answers).map((reply) => reply.type),
    [REP.INVALID, REP.ACK, REP.INVALID, EXT_HEADER_REQD],
  );
  const selected = optionReplies(connection.send(option(OPT.SET_META, metaData(DB.name, ['base:allocation']))));
  assert.deepEqual(
    selected.map((reply) => reply.type),
    [REP.META, REP.ACK],
  );
  connection.send(option(OPT.NAME, Buffer.from(DB.name)));
  assert.match(connection.session.closeReason ?? '', /by GO alone/);
  const without = haggling({ catalog: { extended: false, list: () => [DB], find: () => DB } });
  assert.equal(optionReplies(without.send(option(OPT.EXTENDED)))[0]?.type, REP.UNSUP);
});

test('every reply is an extended chunk with the offset of its request', () => {
  const connection = open({
    answer: (each) => {
      if (each.command === 'status')
        each.session.replyStatus(each, [
          { length: 4096, hole: true, zero: true },
          { length: 8192, hole: false, zero: false },
        ]);
      else each.session.reply(each, 0, each.command === 'read' ? Buffer.alloc(each.length, 7) : null);
    },
  });
  const written = only(
    connection.send(extended({ type: CMD.WRITE, flags: PAYLOAD_LEN, cookie: 9n, offset: 8192n, payload: Buffer.from('hello') })),
  );
  assert.deepEqual([written.type, written.cookie, written.offset, written.payload.length], [0, 9n, 8192n, 0]);
  assert.equal(connection.payloads[0]?.toString(), 'hello');
  const read = only(connection.send(extended({ type: CMD.READ, offset: 4096n, length: 3n })));
  assert.deepEqual([read.type, read.offset, read.payload.toString('hex')], [1, 4096n, '0000000000001000070707']);
  const status = only(connection.send(extended({ type: CMD.STATUS, length: 12288n })));
  assert.equal(status.type, 6);
  assert.equal(
    status.payload.toString('hex'),
    ['00000001', '00000002', '0000000000001000', '0000000000000003', '0000000000002000', '0000000000000000'].join(''),
  );
  assert.equal(only(connection.send(extended({ type: CMD.FLUSH }))).type, 0);
});

test('one request trims, zeroes or asks about more than 4 GiB', () => {
  const size = 64 * 2 ** 40;
  const connection = open({ catalog: { list: () => [DB], find: () => ({ ...DB, sizeBytes: size }) } });
  connection.send(
    extended({ type: CMD.TRIM, length: 2n ** 43n }),
    extended({ type: CMD.ZEROES, offset: 2n ** 40n, length: 2n ** 44n }),
    extended({ type: CMD.STATUS, length: BigInt(size) }),
  );
  assert.deepEqual(
    connection.requests.map((each) => [each.command, each.offset, each.length]),
    [
      ['trim', 0, 2 ** 43],
      ['zeroes', 2 ** 40, 2 ** 44],
      ['status', 0, size],
    ],
  );
  const refused = only(connection.send(extended({ type: CMD.TRIM, length: 2n ** 45n })));
  assert.deepEqual([refused.type, refused.payload.readUInt32BE(0)], [0x8001, 75]);
});

test('what is wrong is refused with a chunk, its payload is read off, and the session goes on', () => {
  const connection = open({ answer: (each) => each.session.reply(each, 0) });
  for (const [head, errno] of [
    [{ type: CMD.TRIM, offset: 2n ** 63n, length: 4096n }, 22],
    [{ type: CMD.ZEROES, length: 2n ** 64n - 1n }, 28],
    [{ type: CMD.READ, length: 2n ** 40n }, 22],
    [{ type: 77 }, 22],
    // No command but a write has a payload here.
    [{ type: CMD.STATUS, flags: PAYLOAD_LEN, payload: Buffer.alloc(5000, 0x21) }, 22],
    [{ type: CMD.WRITE, flags: PAYLOAD_LEN, offset: BigInt(DB.sizeBytes), payload: Buffer.alloc(5000, 0x21) }, 28],
  ] as const) {
    const chunk = only(connection.send(extended({ ...head, cookie: 5n })));
    assert.deepEqual(
      [chunk.type, chunk.cookie, chunk.payload.readUInt32BE(0)],
      [0x8001, 5n, errno],
      JSON.stringify(head, (_, value: unknown) => String(value)),
    );
    assert.equal(only(connection.send(extended({ type: CMD.FLUSH }))).type, 0);
  }
  const readOnly = open({}, OLD.name);
  assert.equal(
    only(readOnly.send(extended({ type: CMD.WRITE, flags: PAYLOAD_LEN, payload: Buffer.from('x') }))).payload.readUInt32BE(0),
    1,
  );
  connection.send(extended({ type: CMD.WRITE, flags: PAYLOAD_LEN, length: 2n ** 33n }));
  assert.match(connection.session.closeReason ?? '', /payload of 8589934592 bytes/);
});

test('a head of the old form ends the session, and no bytes make it throw', () => {
  const connection = open();
  connection.send(u32(0x25609513), Buffer.alloc(28));
  assert.match(connection.session.closeReason ?? '', /magic number/);
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 6 }), fc.integer({ min: 0, max: 9 }), (parts, type) => {
      const hostile = open({ limits: { requestBytesMax: 65536 } });
      hostile.send(...parts.map((part) => Buffer.concat([u32(0x21e41c71), u16(0), u16(type), part])));
      assert.ok(hostile.session.heldBytes < 1 << 20);
    }),
  );
});
