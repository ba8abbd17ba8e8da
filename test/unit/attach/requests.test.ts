// What is sent, held back, sent again and failed, seen without any connection.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Requests } from '../../../src/attach/requests.ts';
import type { SentRequest } from '../../../src/core/nbd/replies.ts';
import type { NbdRequest } from '../../../src/core/nbd/session.ts';
import { BufferPool } from '../../../src/host/buffers.ts';
import { attached, chunks, CMD, type ClientRequest, request } from '../nbd/client.ts';

const DONE = { error: 0, text: '', data: null, extents: [], seq: null } as const;

/** A table with one client, and everything that it sent. */
function rig(): {
  requests: Requests;
  pool: BufferPool;
  ask: (fields: ClientRequest, now?: number) => Buffer;
  sent: { tag: number; request: SentRequest; payload: string | null }[];
  connect: () => void;
  answers: () => Buffer;
  client: ReturnType<typeof attached>;
} {
  const pool = new BufferPool(1 << 20);
  const requests = new Requests(pool);
  const sent: { tag: number; request: SentRequest; payload: string | null }[] = [];
  let now = 0;
  const client = attached({ structured: true, answer: (each: NbdRequest) => requests.take(each, now) });
  return {
    requests,
    pool,
    client,
    sent,
    ask: (fields, at = 0) => {
      now = at;
      const bytes = request(fields);
      const output = client.send(bytes);
      // The memory of the network is used again at once.
      bytes.fill(0xee);
      return output;
    },
    connect: () =>
      requests.connected((tag, each) =>
        sent.push({ tag, request: each, payload: each.payload === null ? null : Buffer.from(each.payload).toString('latin1') }),
      ),
    answers: () => client.output(),
  };
}

const write = (offset: number, text: string, cookie = 1n): ClientRequest => ({
  type: CMD.WRITE,
  offset,
  payload: Buffer.from(text),
  cookie,
});

test('what came before a site was found is sent in order, and what has no answer is sent again with its bytes', () => {
  const { requests, pool, sent, ask, connect, answers } = rig();
  ask(write(0, 'aaaa', 1n));
  ask(write(4096, 'bbbb', 2n));
  ask({ type: CMD.READ, offset: 8192, length: 4, cookie: 3n });
  assert.equal(sent.length, 0);
  connect();
  assert.deepEqual(
    sent.map((each) => [each.request.command, each.request.offset, each.payload]),
    [
      ['write', 0, 'aaaa'],
      ['write', 4096, 'bbbb'],
      ['read', 8192, null],
    ],
  );
  requests.replied(sent[0]?.tag as number, DONE);
  assert.equal(answers().length, 16, 'one simple reply');
  requests.disconnected();
  sent.length = 0;
  connect();
  assert.deepEqual(
    sent.map((each) => each.payload),
    ['bbbb', null],
  );
  requests.replied(sent[1]?.tag as number, { ...DONE, data: Buffer.from('data') });
  assert.equal(chunks(answers())[0]?.payload.subarray(8).toString(), 'data');
  requests.replied(sent[0]?.tag as number, DONE);
  assert.deepEqual([requests.count, requests.oldestMillis, pool.counters().taken], [0, null, 0]);
});

test('a write waits for an older one of the same bytes, and for one that waits itself; reads and others go by', () => {
  const { requests, sent, ask, connect } = rig();
  connect();
  ask(write(0, 'x'.repeat(8192), 1n));
  ask(write(4096, 'y'.repeat(8192), 2n));
  ask({ type: CMD.TRIM, offset: 8192, length: 4096, cookie: 3n });
  ask({ type: CMD.READ, offset: 0, length: 4096, cookie: 4n });
  ask(write(65536, 'z', 5n));
  ask({ type: CMD.FLUSH, length: 0, cookie: 6n });
  const order = (): unknown[] => sent.map((each) => [each.request.command, each.request.offset]);
  assert.deepEqual(order(), [
    ['write', 0],
    ['read', 0],
    ['write', 65536],
    ['flush', 0],
  ]);
  requests.replied(sent[0]?.tag as number, DONE);
  assert.deepEqual(order().slice(4), [['write', 4096]]);
  requests.replied(sent[4]?.tag as number, DONE);
  assert.deepEqual(order().slice(5), [['trim', 8192]]);
});

test('a write whose client is gone, or that was failed, is never sent again', () => {
  const { requests, pool, client, sent, ask, connect, answers } = rig();
  connect();
  ask(write(0, 'old', 1n), 100);
  ask(write(0, 'newer', 2n), 300);
  requests.disconnected();
  assert.equal(requests.isLate(100), false);
  assert.equal(requests.isLate(101), true);
  assert.equal(requests.fail(200, 'nobody serves'), 1);
  assert.equal(chunks(answers())[0]?.payload.readUInt32BE(0), 5);
  sent.length = 0;
  connect();
  assert.deepEqual(
    sent.map((each) => each.payload),
    ['newer'],
  );
  requests.disconnected();
  client.session.abort();
  sent.length = 0;
  connect();
  assert.deepEqual(sent, []);
  assert.deepEqual([requests.count, pool.counters().taken], [0, 0]);
});

test('a site refuses to have a request failed while it may still be carried out', () => {
  const { requests, ask, connect } = rig();
  connect();
  ask(write(0, 'sent', 1n), 0);
  assert.throws(() => requests.fail(1, 'late'), /no connection stands/);
});
