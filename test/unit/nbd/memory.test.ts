// The memory that all clients of a server share: who waits when it is used up, who does not, and that all of it comes back.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { HostMemory } from '../../../src/core/nbd/memory.ts';
import { attached, CMD, type ClientRequest, type Connection, request } from './client.ts';

const KIB = 1024;

function read(length: number): Buffer {
  return request({ type: CMD.READ, length });
}

/** Answers the oldest request without an answer. */
function answer({ requests }: Connection): void {
  const first = requests.find((each) => !each.answered);
  assert.ok(first !== undefined);
  first.session.reply(first, 0, first.command === 'read' ? new Uint8Array(first.length) : null);
}

test('when it is used up, whoever has nothing under way may begin a small request, and everything else waits', () => {
  const memory = new HostMemory(512 * KIB);
  const big = attached({ memory });
  const other = attached({ memory });
  const write = request({ type: CMD.WRITE, payload: Buffer.alloc(512 * KIB, 1) });
  big.send(write.subarray(0, 100));
  assert.equal(memory.heldBytes, 512 * KIB, 'a payload counts from its head on');
  assert.equal(memory.isShort, true);
  assert.equal(big.session.paused, false, 'a write that was begun is taken whole');
  assert.equal(big.session.owesPayload, true);

  other.send(read(300 * KIB));
  assert.deepEqual([other.requests.length, other.session.paused, other.session.resumable], [0, true, false], 'a large one waits');
  const third = attached({ memory });
  third.send(read(4 * KIB), read(4 * KIB));
  assert.equal(third.requests.length, 1, 'a small one is begun, and the next one waits for it');
  third.send(request({ type: CMD.FLUSH }));
  assert.equal(third.requests.length, 1);
  answer(third);
  assert.equal(third.session.resumable, true);
  third.session.resume();
  assert.equal(third.requests.length, 2);

  big.send(write.subarray(100));
  assert.equal(big.session.owesPayload, false);
  assert.equal(other.session.resumable, false, 'what was sent is held until it is answered');
  answer(big);
  assert.equal(other.session.resumable, true);
  other.session.resume();
  assert.deepEqual([other.requests.length, other.session.paused], [1, false]);
});

test('a write that is larger than the share of its client is taken all the same', () => {
  const memory = new HostMemory(64 * KIB);
  const { send, session, requests } = attached({ memory, limits: { heldBytesMax: 64 * KIB } });
  const write = request({ type: CMD.WRITE, payload: Buffer.alloc(200 * KIB, 7) });
  for (let at = 0; at < write.length; at += 50 * KIB) {
    assert.equal(session.paused, false);
    send(write.subarray(at, at + 50 * KIB));
  }
  assert.equal(requests.length, 1);
});

test('a client that goes in the middle of a write, or with requests under way, gives everything back', () => {
  const memory = new HostMemory(1024 * KIB);
  const write = request({ type: CMD.WRITE, payload: Buffer.alloc(100 * KIB) });
  const middle = attached({ memory });
  middle.send(write, read(10 * KIB), write.subarray(0, 1000));
  assert.equal(memory.heldBytes, 210 * KIB);
  middle.session.abort();
  assert.equal(memory.heldBytes, 0);
  const drained = attached({ memory });
  drained.send(write, write.subarray(0, 1000));
  drained.session.drain('the server stops');
  assert.equal(memory.heldBytes, 100 * KIB, 'only what can still be answered is held');
  answer(drained);
  assert.equal(memory.heldBytes, 0);
});

test('whatever clients do, it is never above its limit by more than one request and small ones, and empty in the end', () => {
  const limit = 256 * KIB;
  const sizes = [1, 4 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB];
  const step = fc.record({
    who: fc.nat(3),
    what: fc.constantFrom('read', 'write', 'flush', 'part', 'answer', 'abort'),
    size: fc.constantFrom(...sizes),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const memory = new HostMemory(limit);
      const clients = Array.from({ length: 4 }, () => ({ connection: attached({ memory }), rest: Buffer.alloc(0) as Buffer }));
      for (const { who, what, size } of steps) {
        const client = clients[who] as (typeof clients)[number];
        const { connection } = client;
        const begin = (fields: ClientRequest): void => {
          connection.send(client.rest, request(fields));
          client.rest = Buffer.alloc(0);
        };
        if (what === 'read') begin({ type: CMD.READ, length: size });
        else if (what === 'flush') begin({ type: CMD.FLUSH });
        else if (what === 'write') begin({ type: CMD.WRITE, payload: Buffer.alloc(size) });
        else if (what === 'part') {
          const bytes = request({ type: CMD.WRITE, payload: Buffer.alloc(size) });
          connection.send(client.rest, bytes.subarray(0, 28));
          client.rest = bytes.subarray(28);
        } else if (what === 'abort') {
          connection.session.abort();
          clients[who] = { connection: attached({ memory }), rest: Buffer.alloc(0) };
        } else if (connection.requests.some((each) => !each.answered && !each.session.gone)) answer(connection);
        for (const each of clients) each.connection.session.resume();
        assert.ok(memory.heldBytes <= limit + 1024 * KIB + clients.length * limit);
      }
      for (const { connection } of clients) connection.session.abort();
      assert.equal(memory.heldBytes, 0);
    }),
  );
});
