// The transmission phase of NBD: requests reach the handler whole and checked, replies have their exact form, and no client can make the
// session hold more than its limits.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InvariantError } from '../../../src/core/base/assert.ts';
import type { NbdRequest } from '../../../src/core/nbd/session.ts';
import { attached, chunks, CMD, type Connection, DB, errorOf, OLD, request, simpleReplies, u16, u32, u64 } from './client.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const pattern = (byteCount: number, seed = 1): Buffer =>
  Buffer.from(Uint8Array.from({ length: byteCount }, (_, i) => (i * 7 + seed) & 0xff));

function only(connection: Connection): NbdRequest {
  assert.equal(connection.requests.length, 1);
  return connection.requests[0] as NbdRequest;
}

describe('requests', () => {
  test('every field of the header reaches the handler', () => {
    const connection = attached();
    connection.send(request({ type: CMD.ZEROES, flags: 1 | 2 | 16, cookie: 0xfedcba9876543210n, offset: 4096, length: 8192 }));
    const { session: _, ...fields } = only(connection);
    assert.deepEqual(fields, {
      cookieHigh: 0xfedcba98,
      cookieLow: 0x76543210,
      command: 'zeroes',
      export: DB,
      volume: 0,
      offset: 4096,
      length: 8192,
      fua: true,
      noHole: true,
      fastZero: true,
      reqOne: false,
      df: false,
      answered: false,
      payload: null,
      memory: null,
      seq: 0,
      needSeq: 0,
      data: null,
      startedMillis: 0,
    });
  });

  test('FUA is accepted on every command', () => {
    const connection = attached({ structured: true, status: true });
    for (const type of [CMD.READ, CMD.FLUSH, CMD.TRIM, CMD.CACHE, CMD.ZEROES, CMD.STATUS]) {
      connection.send(request({ type, flags: 1, length: type === CMD.FLUSH ? 0 : 512 }));
    }
    connection.send(request({ type: CMD.WRITE, flags: 1, payload: pattern(512) }));
    assert.deepEqual(
      connection.requests.map((each) => [each.command, each.fua]),
      [
        ['read', true],
        ['flush', true],
        ['trim', true],
        ['cache', true],
        ['zeroes', true],
        ['status', true],
        ['write', true],
      ],
    );
  });

  test('a payload that lies in one chunk is not copied', () => {
    const views: Uint8Array[] = [];
    const connection = attached({ answer: (each) => views.push(each.payload as Uint8Array) });
    const bytes = request({ type: CMD.WRITE, offset: 512, payload: pattern(4096) });
    connection.send(bytes);
    assert.equal(views[0]?.buffer, bytes.buffer);
    assert.deepEqual(Buffer.from(views[0] ?? []), pattern(4096));
  });

  test('a payload in many chunks becomes one piece, with memory allocated once', () => {
    const connection = attached();
    const payload = pattern(1 << 19);
    const bytes = request({ type: CMD.WRITE, payload });
    for (let at = 0; at < bytes.length; at += 64 * 1024) {
      connection.send(bytes.subarray(at, at + 64 * 1024));
      if (at + 64 * 1024 < bytes.length) assert.equal(connection.session.heldBytes, payload.length);
    }
    assert.deepEqual(connection.payloads[0], payload);
    assert.equal(connection.session.heldBytes, payload.length);
    connection.session.reply(only(connection), 0);
    connection.output();
    assert.equal(connection.session.heldBytes, 0);
  });

  test('short payloads cut by chunks do not share memory with what follows them', () => {
    const connection = attached();
    const first = request({ type: CMD.WRITE, payload: Buffer.from('abcdef') });
    const second = request({ type: CMD.WRITE, payload: Buffer.from('uvwxyz') });
    connection.send(first.subarray(0, 30), first.subarray(30), second.subarray(0, 5), second.subarray(5, 31), second.subarray(31));
    assert.deepEqual(
      connection.requests.map((each) => Buffer.from(each.payload ?? []).toString()),
      ['abcdef', 'uvwxyz'],
    );
  });

  test('a wrong magic number ends the session', () => {
    const { send, session } = attached();
    assert.equal(send(u32(0x25609514), Buffer.alloc(24), request({ type: CMD.FLUSH })).length, 0);
    assert.equal(session.state, 'closing');
    assert.equal(session.finished, true);
  });
});

describe('refusals', () => {
  const cases: [string, Parameters<typeof request>[0], number][] = [
    ['unknown command', { type: 9 }, 22],
    ['RESIZE', { type: 8, offset: 4096 }, 22],
    ['unknown flag', { type: CMD.READ, flags: 1 << 7, length: 512 }, 22],
    ['DF without structured replies', { type: CMD.READ, flags: 4, length: 512 }, 22],
    ['NO_HOLE on a trim', { type: CMD.TRIM, flags: 2, length: 512 }, 22],
    ['FAST_ZERO on a write', { type: CMD.WRITE, flags: 16, payload: pattern(10) }, 22],
    ['PAYLOAD_LEN without extended headers', { type: CMD.WRITE, flags: 32, payload: pattern(10) }, 22],
    ['flush with an offset', { type: CMD.FLUSH, offset: 1 }, 22],
    ['flush with a length', { type: CMD.FLUSH, length: 1 }, 22],
    ['status without a context', { type: CMD.STATUS, length: 512 }, 22],
    ['read beyond the end', { type: CMD.READ, offset: (1 << 20) - 511, length: 512 }, 22],
    ['trim beyond the end', { type: CMD.TRIM, length: (1 << 20) + 1 }, 22],
    ['cache beyond the end', { type: CMD.CACHE, offset: 1 << 20, length: 1 }, 22],
    ['write beyond the end', { type: CMD.WRITE, offset: (1 << 20) - 9, payload: pattern(10) }, 28],
    ['zeroes beyond the end', { type: CMD.ZEROES, offset: 1 << 20, length: 0xffff_ffff }, 28],
    ['zero bytes beyond the end', { type: CMD.READ, offset: (1 << 20) + 1 }, 22],
    ['offset of 2^53', { type: CMD.READ, offset: 1n << 53n, length: 1 }, 22],
    ['offset that would run over', { type: CMD.WRITE, offset: 0xffff_ffff_ffff_ffffn, payload: pattern(2) }, 28],
  ];
  for (const [name, fields, error] of cases) {
    test(`${name} is refused with ${error}, and the session goes on`, () => {
      const { send, requests } = attached();
      const flush = request({ type: CMD.FLUSH, cookie: 8n });
      assert.deepEqual(simpleReplies(send(request({ ...fields, cookie: 7n }), flush)), [[7n, error]]);
      assert.deepEqual(
        requests.map((each) => each.command),
        ['flush'],
      );
    });
  }

  test('nothing may be written to a read-only export', () => {
    const { send, requests } = attached({ name: OLD.name });
    const bytes = [CMD.TRIM, CMD.ZEROES].map((type) => request({ type, length: 512, cookie: BigInt(type) }));
    const write = request({ type: CMD.WRITE, cookie: 1n, payload: pattern(512) });
    assert.deepEqual(simpleReplies(send(...bytes, write)), [
      [4n, 1],
      [6n, 1],
      [1n, 1],
    ]);
    send(request({ type: CMD.READ, length: 8192 }), request({ type: CMD.FLUSH }), request({ type: CMD.CACHE, length: 512 }));
    assert.deepEqual(
      requests.map((each) => each.command),
      ['read', 'flush', 'cache'],
    );
  });

  test('the payload of a refused write is read off without being held, and only then answered', () => {
    const { send, session, requests } = attached();
    const bytes = request({ type: CMD.WRITE, offset: 1 << 20, payload: pattern(200_000) });
    assert.equal(send(bytes.subarray(0, 100_000)).length, 0);
    assert.equal(session.heldBytes, 0);
    assert.deepEqual(simpleReplies(send(bytes.subarray(100_000))), [[1n, 28]]);
    send(request({ type: CMD.FLUSH }));
    assert.equal(requests.length, 1);
  });

  test('a read or write above the limit is refused; zeroes and trims may be longer', () => {
    const big = { ...DB, sizeBytes: 1 << 30 };
    const catalog = { list: () => [big], find: () => big };
    const simple = attached({ catalog });
    assert.deepEqual(simpleReplies(simple.send(request({ type: CMD.READ, length: (64 << 20) + 1 }))), [[1n, 22]]);
    simple.send(request({ type: CMD.ZEROES, length: 1 << 30 }), request({ type: CMD.TRIM, length: 1 << 30 }));
    simple.send(request({ type: CMD.READ, length: 64 << 20 }));
    assert.equal(simple.requests.length, 3);
    const structured = attached({ catalog, structured: true });
    assert.equal(errorOf(chunks(structured.send(request({ type: CMD.READ, length: (64 << 20) + 1 })))[0])[0], 75);
    assert.equal(errorOf(chunks(structured.send(request({ type: CMD.READ, flags: 4, length: (32 << 20) + 1 })))[0])[0], 75);
    const limited = attached({ limits: { requestBytesMax: 1000 } });
    assert.deepEqual(simpleReplies(limited.send(request({ type: CMD.WRITE, payload: pattern(1001) }))), [[1n, 22]]);
  });

  test('with structured replies every error is a chunk with a sentence', () => {
    const { send } = attached({ structured: true });
    for (const type of [CMD.READ, CMD.TRIM, 99]) {
      const [chunk] = chunks(send(request({ type, cookie: 5n, offset: 1 << 20, length: 1 })));
      assert.equal(chunk?.cookie, 5n);
      const [error, sentence] = errorOf(chunk);
      assert.equal(error, 22);
      assert.match(sentence, type === 99 ? /command 99/ : /reaches beyond the export's 1048576 bytes/);
    }
  });
});

describe('replies', () => {
  test('a simple read reply is its header and the bytes', () => {
    const connection = attached();
    connection.send(request({ type: CMD.READ, cookie: 0x0102030405060708n, length: 3 }));
    connection.session.reply(only(connection), 0, Buffer.from('abc'));
    assert.equal(hex(connection.output()), '67446698' + '00000000' + '0102030405060708' + '616263');
  });

  test('long data that was lent is given back with the output it is in, and what was copied or not lent is not', () => {
    const connection = attached();
    for (const [length, lent] of [
      [64 * 1024, true],
      [64 * 1024, false],
      [512, true],
    ] as const) {
      connection.requests.length = 0;
      connection.send(request({ type: CMD.READ, cookie: 3n, length }));
      const data = Buffer.alloc(length, 7);
      connection.session.reply(only(connection), 0, data, lent);
      assert.equal(connection.output().length, 16 + length);
      assert.deepEqual(connection.session.takeLent(), lent && length > 512 ? [data] : []);
    }
  });

  test('a simple error has no data', () => {
    const connection = attached();
    connection.send(request({ type: CMD.READ, cookie: 3n, length: 512 }));
    connection.session.reply(only(connection), 5);
    assert.equal(hex(connection.output()), '67446698' + '00000005' + '0000000000000003');
  });

  test('a structured read reply is one OFFSET_DATA chunk that is the last', () => {
    const connection = attached({ structured: true });
    connection.send(request({ type: CMD.READ, cookie: 9n, offset: 65536, length: 3 }));
    connection.session.reply(only(connection), 0, Buffer.from('abc'));
    const expected = '668e33ef' + '0001' + '0001' + '0000000000000009' + '0000000b' + '0000000000010000' + '616263';
    assert.equal(hex(connection.output()), expected);
  });

  test('other successes stay simple in a structured session, and their errors carry a sentence', () => {
    const connection = attached({ structured: true });
    connection.send(request({ type: CMD.FLUSH, cookie: 1n }), request({ type: CMD.TRIM, cookie: 2n, length: 512 }));
    const [flush, trim] = connection.requests as [NbdRequest, NbdRequest];
    connection.session.reply(flush, 0);
    assert.deepEqual(simpleReplies(connection.output()), [[1n, 0]]);
    connection.session.replyError(trim, 108, 'the group moved to near – ask there');
    const [chunk] = chunks(connection.output());
    assert.deepEqual(errorOf(chunk), [108, 'the group moved to near – ask there']);
    assert.equal(chunk?.cookie, 2n);
  });

  test('a sentence that is too long is cut to what a string may have', () => {
    const connection = attached({ structured: true });
    connection.send(request({ type: CMD.FLUSH }));
    connection.session.replyError(only(connection), 5, '€'.repeat(10_000));
    const [, sentence] = errorOf(chunks(connection.output())[0]);
    assert.ok(Buffer.byteLength(sentence) <= 4096 && sentence.length > 1000);
  });

  test('replies keep the order in which they were given, whatever that of the requests', () => {
    const connection = attached();
    const cookies = [10n, 11n, 12n];
    connection.send(...cookies.map((cookie) => request({ type: CMD.FLUSH, cookie })));
    for (const each of connection.requests.toReversed()) connection.session.reply(each, 0);
    assert.deepEqual(simpleReplies(connection.output()), [
      [12n, 0],
      [11n, 0],
      [10n, 0],
    ]);
  });

  test('the small replies of a turn are one part, and large data is sent without a copy', () => {
    const connection = attached();
    for (let i = 0; i < 32; i++) connection.send(request({ type: CMD.READ, offset: i * 512, length: 512 }));
    for (const each of connection.requests) connection.session.reply(each, 0, pattern(512));
    assert.deepEqual(
      connection.session.takeOutput().map((part) => part.length),
      [32 * (16 + 512)],
    );
    connection.send(request({ type: CMD.READ, length: 1 << 19 }), request({ type: CMD.FLUSH }));
    const data = pattern(1 << 19);
    const [read, flush] = connection.requests.slice(32) as [NbdRequest, NbdRequest];
    connection.session.reply(read, 0, data);
    connection.session.reply(flush, 0);
    const parts = connection.session.takeOutput();
    assert.deepEqual(
      parts.map((part) => part.length),
      [16, 1 << 19, 16],
    );
    assert.equal(parts[1], data);
  });

  test('output that was taken is never written again', () => {
    const connection = attached();
    connection.send(request({ type: CMD.FLUSH, cookie: 1n }), request({ type: CMD.FLUSH, cookie: 2n }));
    const [first, second] = connection.requests as [NbdRequest, NbdRequest];
    connection.session.reply(first, 0);
    const taken = connection.session.takeOutput();
    connection.session.reply(second, 5);
    assert.deepEqual(simpleReplies(connection.output()), [[2n, 5]]);
    assert.deepEqual(simpleReplies(Buffer.concat(taken)), [[1n, 0]]);
  });

  test('requests for no bytes succeed at once, a structured read by a chunk', () => {
    const { send, requests } = attached();
    const bytes = [CMD.READ, CMD.WRITE, CMD.TRIM, CMD.CACHE, CMD.ZEROES].map((type) =>
      request({ type, offset: 1 << 20, cookie: BigInt(type) }),
    );
    assert.deepEqual(simpleReplies(send(...bytes)), [
      [0n, 0],
      [1n, 0],
      [4n, 0],
      [5n, 0],
      [6n, 0],
    ]);
    assert.equal(requests.length, 0);
    const structured = attached({ structured: true, status: true });
    const [chunk] = chunks(structured.send(request({ type: CMD.READ })));
    assert.deepEqual([chunk?.type, chunk?.done, chunk?.payload.length], [0, true, 0]);
    assert.equal(errorOf(chunks(structured.send(request({ type: CMD.STATUS })))[0])[0], 22);
  });

  test('misuse by our own side is an assertion: two answers, too few bytes, none at all', () => {
    const connection = attached();
    connection.send(request({ type: CMD.FLUSH }), request({ type: CMD.READ, length: 512 }), request({ type: CMD.READ, length: 512 }));
    const [flush, first, second] = connection.requests as [NbdRequest, NbdRequest, NbdRequest];
    connection.session.reply(flush, 0);
    assert.throws(() => connection.session.reply(flush, 0), InvariantError);
    assert.throws(() => connection.session.reply(first, 0, pattern(511)), InvariantError);
    assert.throws(() => connection.session.reply(second, 0), InvariantError);
  });
});

describe('reads in pieces', () => {
  const pieces = [
    { length: 512, data: pattern(512) },
    { length: 100_000, data: null },
    { length: 1024, data: pattern(1024, 9) },
  ];
  const whole = Buffer.concat([pattern(512), Buffer.alloc(100_000), pattern(1024, 9)]);
  const read = (structured: boolean, flags: number): Buffer => {
    const connection = attached({ structured });
    connection.send(request({ type: CMD.READ, flags, offset: 4096, length: whole.length }));
    connection.session.replyPieces(only(connection), pieces);
    return connection.output();
  };

  test('holes are chunks of their own, and the last chunk is marked', () => {
    const got = chunks(read(true, 0));
    assert.deepEqual(
      got.map(({ type, done }) => [type, done]),
      [
        [1, false],
        [2, false],
        [1, true],
      ],
    );
    assert.equal(hex(got[1]?.payload ?? u32(0)), hex(Buffer.concat([u64(4608n), u32(100_000)])));
    assert.equal(got[2]?.payload.readBigUInt64BE(), 104_608n);
    assert.deepEqual(got[2]?.payload.subarray(8), pattern(1024, 9));
  });

  test('with DF, and in simple replies, zeroes are sent in one answer', () => {
    const [chunk, ...rest] = chunks(read(true, 4));
    assert.equal(rest.length, 0);
    assert.deepEqual([chunk?.type, chunk?.done, chunk?.payload.readBigUInt64BE()], [1, true, 4096n]);
    assert.deepEqual(chunk?.payload.subarray(8), whole);
    assert.deepEqual(read(false, 0).subarray(16), whole);
  });

  test('no chunk is larger than the maximum that was advertised', () => {
    const big = { ...DB, sizeBytes: 1 << 30 };
    const connection = attached({ structured: true, catalog: { list: () => [big], find: () => big } });
    const data = new Uint8Array((32 << 20) + 4096);
    connection.send(request({ type: CMD.READ, length: data.length }));
    connection.session.reply(only(connection), 0, data);
    const parts = connection.session.takeOutput();
    assert.deepEqual(
      parts.map((part) => part.length),
      [28, 32 << 20, 28 + 4096],
    );
    assert.equal(
      hex(parts[2]?.subarray(0, 28) ?? u32(0)),
      '668e33ef' + '0001' + '0001' + '0000000000000001' + '00001008' + '0000000002000000',
    );
  });

  test('pieces that do not cover the read are refused as misuse', () => {
    const connection = attached({ structured: true });
    connection.send(request({ type: CMD.READ, length: 512 }));
    assert.throws(() => connection.session.replyPieces(only(connection), [{ length: 511, data: null }]), InvariantError);
  });
});

describe('BLOCK_STATUS', () => {
  const data = { hole: false, zero: false };
  const hole = { hole: true, zero: true };
  const ask = (flags: number, extents: { length: number; hole: boolean; zero: boolean }[]): string => {
    const connection = attached({ structured: true, status: true });
    connection.send(request({ type: CMD.STATUS, flags, offset: 4096, length: 10_000 }));
    connection.session.replyStatus(only(connection), extents);
    const [chunk, ...rest] = chunks(connection.output());
    assert.deepEqual([chunk?.type, chunk?.done, rest.length], [5, true, 0]);
    return hex(chunk?.payload ?? u32(0));
  };

  test('like neighbours are joined, and nothing reaches beyond the request', () => {
    const extents = [
      { length: 4096, ...data },
      { length: 1000, ...data },
      { length: 4000, ...hole },
      { length: 5_000_000_000, hole: false, zero: true },
      { length: 4096, ...data },
    ];
    assert.equal(ask(0, extents), hex(Buffer.concat([u32(1), u32(5096), u32(0), u32(4000), u32(3), u32(904), u32(2)])));
  });

  test('one extent is told where one was asked for', () => {
    assert.equal(
      ask(8, [
        { length: 40, ...hole },
        { length: 60, ...hole },
        { length: 9000, ...data },
      ]),
      hex(Buffer.concat([u32(1), u32(100), u32(3)])),
    );
    assert.equal(ask(8, [{ length: 1 << 30, ...data }]), hex(Buffer.concat([u32(1), u32(10_000), u32(0)])));
  });

  test('too many extents are cut short', () => {
    const extents = Array.from({ length: 9000 }, (_, i) => ({ length: 1, ...(i % 2 === 0 ? data : hole) }));
    assert.equal(ask(0, extents).length / 2, 4 + 8 * 4096);
  });
});

describe('end', () => {
  test('DISC ends the session once everything outstanding is answered, and nothing after it counts', () => {
    const connection = attached();
    const after = request({ type: CMD.WRITE, payload: pattern(512) });
    connection.send(request({ type: CMD.FLUSH, cookie: 4n }), request({ type: CMD.DISC, flags: 0xffff }), after);
    const { session } = connection;
    assert.deepEqual([session.state, session.finished, session.outstanding], ['closing', false, 1]);
    connection.send(after);
    session.reply(only(connection), 0);
    assert.equal(session.finished, true);
    assert.deepEqual(simpleReplies(connection.output()), [[4n, 0]]);
  });

  test('a lost connection takes no replies and holds nothing', () => {
    const connection = attached();
    connection.send(
      request({ type: CMD.READ, length: 512 }),
      request({ type: CMD.FLUSH }),
      request({ type: CMD.WRITE, length: 4096 }),
      u16(7),
    );
    const [read, flush] = connection.requests as [NbdRequest, NbdRequest];
    const { session } = connection;
    session.reply(flush, 0);
    session.abort();
    session.reply(read, 0, pattern(512));
    session.receive(request({ type: CMD.FLUSH }));
    session.resume();
    assert.equal(connection.output().length, 0);
    assert.deepEqual([session.state, session.finished, session.outstanding, session.heldBytes], ['closed', true, 0, 0]);
  });

  test('a connection may be given up from within the handler', () => {
    const connection = attached({ answer: (each) => each.session.abort() });
    connection.send(Buffer.concat([request({ type: CMD.FLUSH }), request({ type: CMD.FLUSH })]));
    assert.equal(only(connection).session.state, 'closed');
  });

  test('a drained session answers what it has and takes nothing more', () => {
    const connection = attached();
    connection.send(request({ type: CMD.FLUSH }));
    connection.session.drain('the site stops');
    connection.send(request({ type: CMD.FLUSH }));
    connection.session.reply(only(connection), 108);
    assert.deepEqual(simpleReplies(connection.output()), [[1n, 108]]);
    assert.deepEqual([connection.session.finished, connection.session.closeReason], [true, 'the site stops']);
  });
});

describe('limits', () => {
  const reads = (count: number, length: number): Buffer =>
    Buffer.concat(Array.from({ length: count }, (_, i) => request({ type: CMD.READ, cookie: BigInt(i), length })));

  test('requests beyond the limit wait unparsed, and go on in order as answers are given', () => {
    const connection = attached({ limits: { requestsMax: 2 } });
    const { session, requests } = connection;
    session.receive(reads(5, 512));
    assert.deepEqual([requests.length, session.paused, session.resumable], [2, true, false]);
    session.receive(reads(1, 1024));
    assert.equal(session.heldBytes, 2 * 512 + 4 * 28);
    session.reply(requests[1] as NbdRequest, 0, pattern(512));
    assert.equal(session.resumable, true);
    session.resume();
    assert.deepEqual([requests.length, session.paused, session.resumable], [3, true, false]);
    while (session.outstanding > 0) {
      session.reply(
        requests.find((each) => !each.answered) as NbdRequest,
        0,
        pattern(requests.find((each) => !each.answered)?.length ?? 0),
      );
      session.resume();
    }
    assert.deepEqual(
      requests.map((each) => [each.cookieLow, each.length]),
      [
        [0, 512],
        [1, 512],
        [2, 512],
        [3, 512],
        [4, 512],
        [0, 1024],
      ],
    );
    assert.equal(session.paused, false);
  });

  test('reads are charged with their answers until the output is taken', () => {
    const connection = attached({ limits: { heldBytesMax: 2000 }, answer: (each) => each.session.reply(each, 0, pattern(each.length)) });
    const { session, requests } = connection;
    session.receive(reads(50, 1000));
    let got = 0;
    assert.deepEqual([requests.length, session.paused], [2, true]);
    for (;;) {
      got += connection.output().length;
      if (!session.paused) break;
      assert.ok(session.resumable);
      session.resume();
      assert.ok(session.heldBytes < 2000 + 1016 + 50 * 28);
    }
    assert.deepEqual([requests.length, got], [50, 50 * 1016]);
  });

  test('one request above the limit is carried out all the same', () => {
    const connection = attached({ limits: { heldBytesMax: 100 } });
    const bytes = request({ type: CMD.WRITE, payload: pattern(1000) });
    connection.send(bytes.subarray(0, 500), bytes.subarray(500), request({ type: CMD.FLUSH }));
    assert.deepEqual([connection.requests.length, connection.session.paused], [1, true]);
    connection.session.reply(only(connection), 0);
    connection.output();
    connection.session.resume();
    assert.deepEqual(
      connection.requests.map((each) => each.command),
      ['write', 'flush'],
    );
  });

  test('DISC behind requests that wait is still seen', () => {
    const connection = attached({ limits: { requestsMax: 1 } });
    connection.send(Buffer.concat([reads(2, 512), request({ type: CMD.DISC })]));
    for (let i = 0; i < 2; i++) {
      connection.session.reply(connection.requests[i] as NbdRequest, 0, pattern(512));
      connection.session.resume();
    }
    assert.deepEqual([connection.session.state, connection.session.finished, connection.session.heldBytes > 0], ['closing', true, true]);
    assert.equal(connection.output().length, 2 * 528);
  });
});
