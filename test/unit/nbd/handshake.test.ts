// The handshake of NBD: each option answered as the protocol document says, byte by byte where the form matters, and no client able to lead
// it astray.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import type { NbdExport } from '../../../src/core/nbd/handshake.ts';
import {
  attached,
  catalogOf,
  chunks,
  clientFlags,
  CMD,
  connect,
  DB,
  errorOf,
  haggling,
  infoData,
  metaData,
  OLD,
  OPT,
  option,
  optionReplies,
  REP,
  request,
  text,
  u16,
  u32,
  u64,
} from './client.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const types = (bytes: Buffer): number[] => optionReplies(bytes).map((reply) => reply.type);

describe('greeting', () => {
  test('the server speaks first: both magic numbers and its two flags', () => {
    const { session, output } = connect();
    session.start();
    assert.equal(hex(output()), '4e42444d41474943' + '49484156454f5054' + '0003');
    assert.equal(session.state, 'handshake');
  });

  test('a client that sets a flag which was not offered is dropped', () => {
    for (const flags of [4, 0x8000_0003, 0xffff_ffff]) {
      const { session, send } = connect();
      session.start();
      send(clientFlags(flags));
      assert.equal(session.state, 'closing');
      assert.equal(session.finished, true);
      assert.match(session.closeReason ?? '', /client flags 0x[0-9a-f]+/);
    }
  });

  test('a client without fixed newstyle may only name its export', () => {
    const named = connect();
    named.send(clientFlags(0), option(OPT.NAME, Buffer.from(DB.name)));
    assert.equal(named.session.state, 'transmission');
    const listing = connect();
    assert.equal(listing.send(clientFlags(2), option(OPT.LIST)).length, 0);
    assert.equal(listing.session.finished, true);
  });

  test('bytes that are no option drop the client', () => {
    const { session, send } = haggling();
    assert.equal(send(Buffer.from('GET / HTTP/1.1\r\n\r\n')).length, 0);
    assert.equal(session.finished, true);
    assert.match(session.closeReason ?? '', /magic/);
  });
});

describe('EXPORT_NAME', () => {
  const head = '0000000000100000' + '0d6d';

  test('the answer is size and flags, and 124 zeroes unless the client did without them', () => {
    const short = haggling();
    assert.equal(hex(short.send(option(OPT.NAME, Buffer.from(DB.name)))), head);
    assert.equal(short.session.state, 'transmission');
    const long = connect();
    long.session.start();
    long.output();
    assert.equal(hex(long.send(clientFlags(1), option(OPT.NAME, Buffer.from(DB.name)))), head + '00'.repeat(124));
  });

  test('a name that is not served drops the client without a word', () => {
    for (const catalog of [catalogOf([OLD]), catalogOf([DB], false)]) {
      const { session, send } = haggling({ catalog });
      assert.equal(send(option(OPT.NAME, Buffer.from(DB.name))).length, 0);
      assert.equal(session.finished, true);
    }
  });

  test('the empty name is the only export', () => {
    const { session, send } = haggling({ catalog: catalogOf([OLD]) });
    send(option(OPT.NAME));
    assert.equal(session.export, OLD);
  });
});

describe('INFO and GO', () => {
  test('GO answers with the export and an ACK, to the byte, and never with zeroes behind it', () => {
    const connection = connect();
    connection.session.start();
    connection.output();
    const got = connection.send(clientFlags(1), option(OPT.GO, infoData(DB.name)));
    const replyHead = '0003e889045565a9' + '00000007';
    assert.equal(
      hex(got),
      replyHead + '00000003' + '0000000c' + '0000' + '0000000000100000' + '0d6d' + (replyHead + '00000001' + '00000000'),
    );
    assert.equal(connection.session.state, 'transmission');
    assert.equal(connection.session.export, DB);
  });

  test('what is asked for is told; what is not known is left out', () => {
    const { send, session } = haggling();
    const replies = optionReplies(send(option(OPT.INFO, infoData(DB.name, [1, 2, 3, 77, 0xffff]))));
    assert.deepEqual(
      replies.map((reply) => [reply.type, hex(reply.data)]),
      [
        [REP.INFO, hex(Buffer.concat([u16(0), u64(1n << 20n), u16(0x0d6d)]))],
        [REP.INFO, hex(Buffer.concat([u16(1), Buffer.from(DB.name)]))],
        [REP.INFO, hex(Buffer.concat([u16(2), Buffer.from(DB.description)]))],
        [REP.INFO, hex(Buffer.concat([u16(3), u32(1), u32(4096), u32(32 << 20)]))],
        [REP.ACK, ''],
      ],
    );
    assert.equal(session.state, 'handshake');
  });

  test('INFO followed by GO with the same parameters gives the same answer', () => {
    const { send } = haggling();
    const data = infoData(DB.name, [3, 1]);
    const info = optionReplies(send(option(OPT.INFO, data)));
    const go = optionReplies(send(option(OPT.GO, data)));
    assert.deepEqual(
      go.map(({ type, data: bytes }) => [type, bytes]),
      info.map(({ type, data: bytes }) => [type, bytes]),
    );
  });

  test('the flags tell a read-only export, a shared cache, and DF only with structured replies', () => {
    const flagsOf = (name: string, structured: boolean): number => {
      const { send } = haggling();
      if (structured) send(option(OPT.STRUCTURED));
      return optionReplies(send(option(OPT.INFO, infoData(name))))[0]?.data.readUInt16BE(10) ?? 0;
    };
    const always = 1 | (1 << 2) | (1 << 3) | (1 << 10);
    const writing = (1 << 5) | (1 << 6) | (1 << 11);
    assert.equal(flagsOf(DB.name, false), always | writing | (1 << 8));
    assert.equal(flagsOf(DB.name, true), always | writing | (1 << 8) | (1 << 7));
    assert.equal(flagsOf(OLD.name, false), always | (1 << 1));
  });

  test('a wrong name is an error with a sentence, after which the client may go on', () => {
    const { send, session } = haggling();
    for (const code of [OPT.INFO, OPT.GO]) {
      const [reply, ...rest] = optionReplies(send(option(code, infoData('bank/nothing'))));
      assert.equal(reply?.type, REP.UNKNOWN);
      assert.equal(reply.option, code);
      assert.match(reply.data.toString(), /bank\/nothing/);
      assert.equal(rest.length, 0);
    }
    assert.deepEqual(types(send(option(OPT.GO, infoData(DB.name)))), [REP.INFO, REP.ACK]);
    assert.equal(session.state, 'transmission');
  });

  test('a site that may not serve says so', () => {
    const { send, session } = haggling({ catalog: catalogOf([DB], false) });
    const [reply] = optionReplies(send(option(OPT.GO, infoData(DB.name))));
    assert.equal(reply?.type, REP.SHUTDOWN);
    assert.equal(reply.data.toString(), 'near serves this group');
    assert.equal(session.state, 'handshake');
  });

  test('lengths that do not fit, and names that are no strings, are invalid', () => {
    const { send, session } = haggling();
    const wrong = [
      Buffer.alloc(0),
      Buffer.alloc(3),
      u32(0xffff_ffff),
      Buffer.concat([u32(0xffff_ffff), Buffer.from('name'), u16(0)]),
      Buffer.concat([text(DB.name), u16(1)]),
      Buffer.concat([infoData(DB.name), u16(0)]),
      Buffer.concat([u32(2), Buffer.from([0xc3, 0x28]), u16(0)]),
      Buffer.concat([text('bank\0db'), u16(0)]),
      infoData('x'.repeat(4097)),
    ];
    for (const data of wrong) assert.deepEqual(types(send(option(OPT.GO, data))), [REP.INVALID], hex(data.subarray(0, 32)));
    assert.equal(session.state, 'handshake');
  });
});

describe('other options', () => {
  test('LIST names every export with its description', () => {
    const { send } = haggling();
    const replies = optionReplies(send(option(OPT.LIST)));
    assert.deepEqual(
      replies.map((reply) => [reply.type, hex(reply.data)]),
      [
        [REP.SERVER, hex(Buffer.concat([text(DB.name), Buffer.from(DB.description)]))],
        [REP.SERVER, hex(text(OLD.name))],
        [REP.ACK, ''],
      ],
    );
  });

  test('LIST and STRUCTURED_REPLY with data are invalid', () => {
    const { send } = haggling();
    assert.deepEqual(types(send(option(OPT.LIST, Buffer.from('x')))), [REP.INVALID]);
    assert.deepEqual(types(send(option(OPT.STRUCTURED, Buffer.from('x')))), [REP.INVALID]);
    assert.equal(optionReplies(send(option(OPT.INFO, infoData(DB.name))))[0]?.data.readUInt16BE(10), 0x0d6d);
  });

  test('ABORT is acknowledged, with data or without, and ends the session', () => {
    for (const data of [Buffer.alloc(0), Buffer.from('bye'), Buffer.alloc(70_000)]) {
      const { send, session } = haggling();
      assert.deepEqual(types(send(option(OPT.ABORT, data), option(OPT.LIST))), [REP.ACK]);
      assert.equal(session.finished, true);
    }
  });

  test('an unknown option is answered with ERR_UNSUP under its own number, its data is skipped, and the next option is understood', () => {
    const { send } = haggling();
    for (const code of [OPT.STARTTLS, 4, 0xffff_fffe]) {
      const replies = optionReplies(send(option(code, Buffer.from('IHAVEOPT')), option(OPT.LIST)));
      assert.deepEqual([replies[0]?.option, replies[0]?.type], [code, REP.UNSUP]);
      assert.deepEqual(
        replies.slice(1).map((reply) => reply.type),
        [REP.SERVER, REP.SERVER, REP.ACK],
      );
    }
  });

  test('data that is too long is skipped without being held, answered, and the next option is understood', () => {
    const { send, session } = haggling();
    const long = option(OPT.INFO, Buffer.alloc(1 << 20));
    assert.equal(send(long.subarray(0, 1000)).length, 0);
    assert.equal(session.heldBytes, 0);
    assert.deepEqual(types(send(long.subarray(1000), option(OPT.LIST))), [REP.TOO_BIG, REP.SERVER, REP.SERVER, REP.ACK]);
    assert.equal(send(option(OPT.NAME, Buffer.alloc(1 << 20))).length, 0);
    assert.equal(session.finished, true);
  });

  test('an option of 64 KiB and a name of 4096 bytes are read, and what has one byte more is not', () => {
    const { send, session } = haggling({
      catalog: { ...catalogOf([DB]), find: (name) => ({ refused: 'unknown', text: String(name.length) }) },
    });
    const most = 64 * 1024;
    const full = metaData(DB.name, []);
    const queries = (byteCount: number): Buffer =>
      Buffer.concat([text(DB.name), u32(1), u32(byteCount - full.length - 4), Buffer.alloc(byteCount - full.length - 4, 120)]);
    send(option(OPT.STRUCTURED));
    assert.deepEqual(types(send(option(OPT.LIST_META, queries(most)))), [REP.UNKNOWN], 'it is read, and one query matches nothing');
    assert.deepEqual(types(send(option(OPT.LIST_META, queries(most + 1)))), [REP.TOO_BIG]);
    const many = Buffer.concat([text(DB.name), u32(16_000), Buffer.alloc(4 * 16_000)]);
    assert.deepEqual(types(send(option(OPT.LIST_META, many))), [REP.UNKNOWN], 'so are as many queries as fit');
    const [named] = optionReplies(send(option(OPT.INFO, infoData('x'.repeat(4096)))));
    assert.deepEqual([named?.type, named?.data.toString()], [REP.UNKNOWN, '4096']);
    assert.deepEqual(types(send(option(OPT.INFO, infoData('x'.repeat(4097))))), [REP.INVALID]);
    assert.equal(session.state, 'handshake');
  });

  test('endless options end in a drop', () => {
    const { send, session } = haggling({ limits: { optionsMax: 3 } });
    for (let i = 0; i < 3; i++) assert.deepEqual(types(send(option(77))), [REP.UNSUP]);
    assert.equal(send(option(77)).length, 0);
    assert.equal(session.finished, true);
  });
});

describe('metadata contexts', () => {
  const structured = (): ReturnType<typeof haggling> => {
    const connection = haggling();
    assert.deepEqual(types(connection.send(option(OPT.STRUCTURED))), [REP.ACK]);
    return connection;
  };

  test('both options need structured replies first', () => {
    const { send } = haggling();
    assert.deepEqual(types(send(option(OPT.SET_META, metaData(DB.name, ['base:allocation'])))), [REP.INVALID]);
    assert.deepEqual(types(send(option(OPT.LIST_META, metaData(DB.name, [])))), [REP.INVALID]);
  });

  test('LIST shows base:allocation for no query, the wildcard and the name, once, and ignores other namespaces', () => {
    const { send } = structured();
    const found = [[], ['base:'], ['base:allocation'], ['x-other:a', 'base:allocation', 'base:']];
    for (const queries of found) {
      const replies = optionReplies(send(option(OPT.LIST_META, metaData(DB.name, queries))));
      assert.deepEqual(
        replies.map((reply) => reply.type),
        [REP.META, REP.ACK],
        queries.join(),
      );
      assert.equal(hex(replies[0]?.data ?? u32(9)), hex(Buffer.concat([u32(0), Buffer.from('base:allocation')])));
    }
    for (const queries of [['x-other:'], ['base:dirty'], ['base'], ['']]) {
      assert.deepEqual(types(send(option(OPT.LIST_META, metaData(DB.name, queries)))), [REP.ACK], queries.join());
    }
  });

  test('SET selects by full name only', () => {
    const { send } = structured();
    const replies = optionReplies(
      send(option(OPT.SET_META, metaData(DB.name, ['base:allocation', 'base:allocation', 'qemu:dirty-bitmap:x']))),
    );
    assert.deepEqual(
      replies.map((reply) => reply.type),
      [REP.META, REP.ACK],
    );
    assert.equal(hex(replies[0]?.data ?? u32(9)), hex(Buffer.concat([u32(1), Buffer.from('base:allocation')])));
    for (const queries of [[], ['base:'], ['base:allocation2']]) {
      assert.deepEqual(types(send(option(OPT.SET_META, metaData(DB.name, queries)))), [REP.ACK], queries.join());
    }
  });

  test('a wrong export or wrong lengths are errors', () => {
    const { send } = structured();
    assert.deepEqual(types(send(option(OPT.SET_META, metaData('bank/nothing', ['base:allocation'])))), [REP.UNKNOWN]);
    const wrong = [
      text(DB.name),
      Buffer.concat([text(DB.name), u32(1)]),
      Buffer.concat([text(DB.name), u32(0xffff_ffff)]),
      Buffer.concat([text(DB.name), u32(1), u32(0xffff_fff0), Buffer.from('base:')]),
      Buffer.concat([metaData(DB.name, []), Buffer.from('x')]),
    ];
    for (const data of wrong) assert.deepEqual(types(send(option(OPT.LIST_META, data))), [REP.INVALID]);
  });

  test('every further SET replaces the selection, a failing one too', () => {
    const spoilers = [
      option(OPT.SET_META, metaData(DB.name, [])),
      option(OPT.SET_META, metaData('bank/nothing', ['base:allocation'])),
      option(OPT.SET_META, Buffer.from('x')),
      option(OPT.SET_META, Buffer.alloc(70_000)),
      option(OPT.SET_META, metaData(OLD.name, ['base:allocation'])),
    ];
    for (const spoiler of spoilers) {
      const { send, session } = structured();
      send(option(OPT.SET_META, metaData(DB.name, ['base:allocation'])), spoiler, option(OPT.GO, infoData(DB.name)));
      assert.equal(session.state, 'transmission');
      const [error] = errorOf(chunks(send(request({ type: CMD.STATUS, length: 4096 })))[0]);
      assert.equal(error, 22);
    }
  });

  test('a selection for the export of GO allows BLOCK_STATUS', () => {
    const { send, requests } = attached({ structured: true, status: true });
    assert.equal(send(request({ type: CMD.STATUS, length: 4096 })).length, 0);
    assert.deepEqual(
      requests.map((each) => each.command),
      ['status'],
    );
  });
});

describe('contexts of copies', () => {
  const copied: NbdExport = { ...DB, copies: ['near', 'far'] };
  const names = (bytes: Buffer): [number, string][] =>
    optionReplies(bytes)
      .filter((reply) => reply.type === REP.META)
      .map((reply) => [reply.data.readUInt32BE(0), reply.data.subarray(4).toString()]);
  const open = (): ReturnType<typeof haggling> => {
    const connection = haggling({
      catalog: {
        ...catalogOf([copied]),
        lacks: (_of, copy, { length }) => [
          { length: 4096, lacking: copy === 'far' },
          { length, lacking: false },
        ],
      },
      answer: (each) => each.session.replyStatus(each, [{ length: each.length, hole: true, zero: true }]),
    });
    connection.send(option(OPT.STRUCTURED));
    return connection;
  };

  test('are listed with their namespaces, and selected by full name', () => {
    const { send } = open();
    const list = (...queries: string[]): string[] => names(send(option(OPT.LIST_META, metaData(DB.name, queries)))).map(([, name]) => name);
    const dirty = ['x-tercet:dirty:near', 'x-tercet:dirty:far'];
    assert.deepEqual(list(), ['base:allocation', ...dirty]);
    assert.deepEqual(list('x-tercet:'), dirty);
    assert.deepEqual(list('x-tercet:dirty:', 'base:'), ['base:allocation', ...dirty]);
    assert.deepEqual(list('x-tercet:dirty:far', 'x-tercet:dirty:nowhere', 'qemu:'), ['x-tercet:dirty:far']);
    const select = (...queries: string[]): [number, string][] => names(send(option(OPT.SET_META, metaData(DB.name, queries))));
    assert.deepEqual(select('x-tercet:dirty:', 'base:', 'x-tercet:'), []);
    assert.deepEqual(select('x-tercet:dirty:far', 'base:allocation'), [
      [1, 'base:allocation'],
      [3, 'x-tercet:dirty:far'],
    ]);
  });

  test('are answered each in a chunk of its own, with one bit for what the copy lacks', () => {
    const { send } = open();
    send(option(OPT.SET_META, metaData(DB.name, ['x-tercet:dirty:far', 'base:allocation', 'x-tercet:dirty:near'])));
    send(option(OPT.GO, infoData(DB.name)));
    const told = chunks(send(request({ type: CMD.STATUS, length: 65536, cookie: 7n })));
    assert.deepEqual(
      told.map(({ done, payload }) => [done, payload.readUInt32BE(0), payload.readUInt32BE(4), payload.readUInt32BE(8)]),
      [
        [false, 1, 65536, 3],
        [false, 2, 65536, 0],
        [true, 3, 4096, 1],
      ],
    );
  });

  test('may be all that is selected', () => {
    const { send } = open();
    send(option(OPT.SET_META, metaData(DB.name, ['x-tercet:dirty:near'])), option(OPT.GO, infoData(DB.name)));
    const [only, ...more] = chunks(send(request({ type: CMD.STATUS, length: 4096 })));
    assert.deepEqual([only?.done, only?.payload.readUInt32BE(0), more.length], [true, 2, 0]);
  });
});
