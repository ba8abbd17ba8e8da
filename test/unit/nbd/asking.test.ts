// The client's side of the protocol against the server's own session: both were written from the document, apart from each other. Hostile
// servers are made by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';

import { type Answered, Asking, type Question } from '../../../src/core/nbd/asking.ts';
import { putRequest, type Reply, ReplyReader } from '../../../src/core/nbd/replies.ts';
import { ReplyBuffer } from '../../../src/core/nbd/reply.ts';
import { attachName, readExportName } from '../../../src/core/nbd/export-name.ts';
import { holds, positionIn, readStanding, standingText } from '../../../src/core/nbd/standing.ts';
import { catalogOf, connect, DB, OLD, u16, u32, u64 } from './client.ts';

const GO: Question = { name: DB.name, go: true, contexts: ['base:allocation'], infos: [2] };

/** Lets a client ask a session, some bytes at a time. */
function meet(
  question: Question,
  options: { step?: number; structured?: boolean } = {},
): { answer: Answered; server: ReturnType<typeof connect> } {
  const { step = 1, structured = true } = options;
  const server = connect();
  const asking = new Asking({ structured });
  server.session.start();
  asking.ask(question);
  let answer: Answered | null = null;
  let bytes = server.output();
  for (const part of asking.takeOutput()) server.session.receive(part);
  bytes = Buffer.concat([bytes, server.output()]);
  for (let at = 0; at < bytes.length && answer === null; at += step) answer = asking.receive(bytes.subarray(at, at + step));
  assert.ok(answer !== null, 'the answer is complete');
  return { answer, server };
}

test('an export is described, and begun by GO alone', () => {
  for (const step of [1, 7, 4096]) {
    const { answer, server } = meet(GO, { step });
    assert.ok(answer.kind === 'described');
    assert.deepEqual(
      [answer.sizeBytes, answer.description, [...answer.contexts]],
      [DB.sizeBytes, DB.description, [['base:allocation', 1]]],
    );
    assert.equal(server.session.state, 'transmission');
  }
  const asked = meet({ ...GO, go: false, contexts: [] });
  assert.equal(asked.server.session.state, 'handshake');
});

test('a refusal has the sentence of the server, and another question may follow', () => {
  const server = connect({ catalog: catalogOf([DB, OLD]) });
  const asking = new Asking({ structured: true });
  server.session.start();
  const ask = (question: Question): Answered | null => {
    asking.ask(question);
    let bytes = server.output();
    for (const part of asking.takeOutput()) server.session.receive(part);
    bytes = Buffer.concat([bytes, server.output()]);
    return asking.receive(bytes);
  };
  const refused = ask({ ...GO, name: 'nosuch' });
  assert.deepEqual(refused, { kind: 'refused', code: 0x8000_0006, text: 'there is no export "nosuch"' });
  assert.equal(ask({ ...GO, name: OLD.name, infos: [] })?.kind, 'described');
});

test('whatever a server sends, asking ends with an answer or waits for more, and holds little', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (noise, greeted) => {
      const asking = new Asking({ structured: true });
      asking.ask(GO);
      const greeting = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]);
      const answer = asking.receive(greeted ? Buffer.concat([greeting, noise]) : noise);
      assert.ok(answer === null || answer.kind === 'broken');
    }),
  );
  const asking = new Asking({ structured: true });
  asking.ask(GO);
  asking.receive(Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]));
  const endless = Buffer.concat([u64(0x3e889045565a9n), u32(8), u32(1), u32(0xffff_ffff)]);
  assert.equal(asking.receive(endless)?.kind, 'broken');
});

interface Told {
  readonly tag: number;
  readonly reply: Reply;
}

/** A reader that expects these reads, by tag. */
function reader(reads: Readonly<Record<number, { offset: number; length: number; isRead: boolean }>>): {
  told: Told[];
  replies: ReplyReader;
} {
  const told: Told[] = [];
  const replies = new ReplyReader({
    expected: (tag) => (told.some((each) => each.tag === tag) ? null : (reads[tag] ?? null)),
    replied: (tag, reply) => told.push({ tag, reply }),
  });
  return { told, replies };
}

test('replies of the session are understood, however they are cut', () => {
  for (const step of [1, 3, 17, 100_000]) {
    const { server } = meet(GO);
    const out = new ReplyBuffer((byteCount) => new Uint8Array(byteCount));
    const plain = { fua: false, noHole: false, fastZero: false, reqOne: false, payload: null };
    putRequest(out, 1, { ...plain, command: 'read', offset: 100, length: 40_000 });
    putRequest(out, 2, { ...plain, command: 'write', offset: 0, length: 5, payload: Buffer.from('hello') });
    putRequest(out, 3, { ...plain, command: 'status', offset: 0, length: 8192 });
    putRequest(out, 4, { ...plain, command: 'flush', offset: 0, length: 0 });
    putRequest(out, 2 ** 52, { ...plain, command: 'read', offset: 0, length: 4096 });
    for (const part of out.take()) server.session.receive(part);
    const [read, written, status, flush, failed] = server.requests;
    assert.ok(read && written && status && flush && failed);
    assert.equal(written.payload === null ? null : Buffer.from(written.payload).toString(), 'hello');
    const data = Buffer.alloc(40_000, 'data');
    server.session.reply(flush, 0);
    server.session.replyPieces(read, [
      { length: 20_000, data: data.subarray(0, 20_000) },
      { length: 20_000, data: null },
    ]);
    server.session.reply(written, 0);
    server.session.replyStatus(status, [
      { length: 4096, hole: true, zero: true },
      { length: 4096, hole: false, zero: false },
    ]);
    server.session.replyError(failed, 108, 'not now');
    const { told, replies } = reader({
      1: { offset: 100, length: 40_000, isRead: true },
      2: { offset: 0, length: 5, isRead: false },
      3: { offset: 0, length: 8192, isRead: false },
      4: { offset: 0, length: 0, isRead: false },
      [2 ** 52]: { offset: 0, length: 4096, isRead: true },
    });
    const bytes = server.output();
    for (let at = 0; at < bytes.length; at += step) assert.equal(replies.receive(bytes.subarray(at, at + step)), null);
    assert.deepEqual(
      told.map((each) => [each.tag, each.reply.error]),
      [
        [4, 0],
        [1, 0],
        [2, 0],
        [3, 0],
        [2 ** 52, 108],
      ],
    );
    assert.ok(Buffer.concat([data.subarray(0, 20_000), Buffer.alloc(20_000)]).equals(told[1]?.reply.data as Uint8Array));
    assert.deepEqual(told[3]?.reply.extents[0], { length: 4096, hole: true, zero: true });
    assert.equal(told[4]?.reply.text, 'not now');
  }
});

test('an attached export says the position of every answer that is no read', () => {
  const attachment = { user: 'host-0001', generation: 1 };
  const server = connect({ catalog: catalogOf([{ ...DB, attachment }]) });
  const asking = new Asking({ structured: true });
  server.session.start();
  asking.ask({ ...GO, contexts: [] });
  for (const part of asking.takeOutput()) server.session.receive(part);
  server.output();
  const out = new ReplyBuffer((byteCount) => new Uint8Array(byteCount));
  const plain = { fua: false, noHole: false, fastZero: false, reqOne: false, payload: null };
  putRequest(out, 1, { ...plain, command: 'trim', offset: 0, length: 4096 });
  for (const part of out.take()) server.session.receive(part);
  const [trim] = server.requests;
  assert.ok(trim);
  trim.needSeq = 2 ** 40 + 5;
  server.session.reply(trim, 0);
  const { told, replies } = reader({ 1: { offset: 0, length: 4096, isRead: false } });
  assert.equal(replies.receive(server.output()), null);
  assert.equal(told[0]?.reply.seq, 2 ** 40 + 5);
});

test('a server that answers what was not asked, or too much or too little, is not believed', () => {
  const chunk = (type: number, cookie: bigint, payload: Uint8Array): Buffer =>
    Buffer.concat([u32(0x668e33ef), u16(1), u16(type), u64(cookie), u32(payload.length), payload]);
  const simple = (cookie: bigint, error: number): Buffer => Buffer.concat([u32(0x67446698), u32(error), u64(cookie)]);
  const asked = { 7: { offset: 4096, length: 16, isRead: true }, 8: { offset: 0, length: 16, isRead: false } };
  const wrong = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    simple(9n, 0),
    simple(7n, 0),
    simple(2n ** 63n, 0),
    chunk(1, 7n, Buffer.concat([u64(4095n), Buffer.alloc(4)])),
    chunk(1, 7n, Buffer.concat([u64(4096n), Buffer.alloc(17)])),
    chunk(1, 7n, Buffer.concat([u64(4096n), Buffer.alloc(15)])),
    chunk(1, 7n, u64(4096n)),
    chunk(1, 8n, Buffer.concat([u64(0n), Buffer.alloc(16)])),
    chunk(2, 7n, Buffer.concat([u64(4096n), u32(17)])),
    chunk(2, 7n, u64(4096n)),
    chunk(5, 8n, Buffer.alloc(11)),
    chunk(0x8001, 8n, Buffer.alloc(5)),
    chunk(6, 8n, Buffer.alloc(4)),
    chunk(0x7ec7, 8n, Buffer.alloc(4)),
    Buffer.concat([u32(0x668e33ef), u16(1), u16(5), u64(8n), u32(0xffff_ffff)]),
  ];
  for (const bytes of wrong) {
    const { told, replies } = reader(asked);
    assert.notEqual(replies.receive(bytes), null, bytes.toString('hex'));
    assert.deepEqual(told, []);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      reader(asked).replies.receive(Buffer.concat([u32(0x668e33ef), noise]));
    }),
  );
});

test('names say what is wanted of an export', () => {
  assert.deepEqual(readExportName('db/data'), { name: 'db/data', readOnly: false, direct: false, attachment: null, point: null });
  assert.deepEqual(readExportName('data@ro@direct'), { name: 'data', readOnly: true, direct: true, attachment: null, point: null });
  const attachment = { user: '0123-abcd', generation: 17 };
  const attached = { name: 'db/data', readOnly: false, direct: true, attachment, point: null };
  assert.deepEqual(readExportName(attachName('db/data', attachment)), attached);
  assert.deepEqual(readExportName('db/data@noon-2'), { name: 'db/data', readOnly: true, direct: false, attachment: null, point: 'noon-2' });
  const wrongs = ['db/data@', 'db/data@RW', 'db/data@2', 'db/data@attach=a.1', 'db/data@attach=0123-abcd.', 'db/data@ro@x_', 'db/data@a@b'];
  for (const wrong of [...wrongs, `${attachName('db/data', attachment)}@noon`]) {
    assert.ok('wrong' in readExportName(wrong), wrong);
  }
});

test('a standing says whether what was answered is still there', () => {
  const history = [
    { epoch: 3, firstSeq: 100 },
    { epoch: 5, firstSeq: 200 },
    { epoch: 6, firstSeq: 250 },
  ];
  const standing = { site: 'beta', epoch: 6, history };
  assert.deepEqual(readStanding(standingText(standing)), standing);
  assert.deepEqual(positionIn(standing, 220), { epoch: 5, seq: 220 });
  for (const [epoch, seq, kept] of [
    [0, 0, true],
    [5, 249, true],
    // Answered by the primary of epoch 5, and cut off by that of epoch 6.
    [5, 250, false],
    [6, 900, true],
    // An epoch that this history does not know: another copy's, which was given up.
    [4, 210, false],
    // Before the oldest epoch that is remembered.
    [2, 99, true],
    [2, 120, false],
  ] as const) {
    assert.equal(holds(standing, { epoch, seq }), kept, `(${epoch}, ${seq})`);
  }
  for (const wrong of [
    '',
    '{}',
    'volume data of group db',
    '{"site":"a","epoch":1,"history":[]}',
    '{"site":"a","epoch":1,"history":[[2,1],[1,1]]}',
    '{"site":"a","epoch":-1,"history":[[1,1]]}',
  ]) {
    assert.equal(readStanding(wrong), null, wrong);
  }
});
