// A link of several connections: one order over all of them, whatever comes first; what a lost stream had on its way goes again; a stream that is none
// of this link, and a peer that contradicts what it was sent, are refused.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setU64, viewOf } from '../../../src/core/base/bytes.ts';
import { limits } from '../../../src/core/base/limits.ts';
import {
  encodeJson,
  encodeMessage,
  encodeNumbers,
  STREAM_ACKNOWLEDGE_BODY,
  STREAM_NUMBER_BODY,
  STREAM_RANGE,
} from '../../../src/core/mirror/messages.ts';
import { type Carrier, type Outgoing, StreamSender } from '../../../src/core/mirror/stream-send.ts';
import { StreamReceiver } from '../../../src/core/mirror/stream-receive.ts';
import { frameHeaderLayout } from '../../../src/core/record/layout.ts';
import { digests } from '../../support/records.ts';
import { bodyOf, StreamRig, type Wire } from './stream-rig.ts';
import { WatchedBuffers } from './watched-buffers.ts';

function up(count = 3): { rig: StreamRig; first: Wire; streams: Wire[] } {
  const rig = new StreamRig(count);
  const first = rig.connect();
  const streams = Array.from({ length: count }, (_, index) => rig.openStream(index + 1));
  rig.flow(first, ...streams);
  return { rig, first, streams };
}

/** A frame of so many records, as far as its header is looked at. */
function frameOf(firstSeq: number, recordCount: number): Uint8Array {
  const frame = new Uint8Array(frameHeaderLayout.bytes);
  setU64(viewOf(frame), frameHeaderLayout.at.firstSeq, firstSeq);
  viewOf(frame).setUint32(frameHeaderLayout.at.recordCount, recordCount, true);
  return frame;
}

const [ONE, TWO, THREE] = [0, 1, 2] as const;
const at = (streams: readonly Wire[], index: number): Wire => streams[index] as Wire;
const message = (name: Parameters<typeof encodeMessage>[0], body: Uint8Array): Uint8Array => encodeMessage(name, body, digests);
const number = (value: number): Uint8Array => message('streamNumber', encodeNumbers(STREAM_NUMBER_BODY, [value]));
const acknowledgement = (upTo: number, ...ranges: readonly (readonly [number, number])[]): Uint8Array =>
  message(
    'streamAcknowledge',
    new Uint8Array([
      ...encodeNumbers(STREAM_ACKNOWLEDGE_BODY, [upTo, ranges.length, 0]),
      ...ranges.flatMap((range) => [...encodeNumbers(STREAM_RANGE, range)]),
    ]),
  );

/** Near's link, greeted by a far that says this of streams. */
function greeted(asks: number, streams: object | null): StreamRig & { readonly wire: Wire } {
  const rig = new StreamRig(asks);
  const wire = rig.dial();
  const hello = { group: 'db', groupId: 'g1', from: 'far', to: 'near', ...(streams !== null && { streams }) };
  wire.atNear.receive(message('hello', encodeJson(hello)));
  return Object.assign(rig, { wire });
}

describe('what is agreed on', () => {
  test('with a side that knows no streams everything goes over one connection, without numbers, as ever', () => {
    const rig = greeted(4, null);
    assert.equal(rig.near.link?.streams, null);
    rig.wire.near.queue.length = 0;
    rig.frame('a');
    assert.equal(rig.wire.near.queue[0]?.bytes.length, 24 + 16);
    rig.wire.atNear.receive(message('flush', bodyOf('b')));
    assert.deepEqual(rig.near.heard, ['flush b']);
  });

  test('a side that asks for none is answered with none, whatever the other would like', () => {
    const rig = new StreamRig(1, 4);
    rig.connect();
    assert.deepEqual([rig.near.link?.streams, rig.far.link?.streams], [null, null]);
  });

  test('the dialler asks, and both know the link by the same name', () => {
    const rig = new StreamRig(3, 1);
    rig.connect();
    const [near, far] = [rig.near.link?.streams, rig.far.link?.streams];
    assert.deepEqual([near?.count, near?.id, near?.missing], [3, far?.id, [1, 2, 3]]);
    assert.ok(far?.count === 3 && far.id !== '');
  });

  test('more than the limit are not asked for, and not granted', () => {
    const rig = new StreamRig(100);
    rig.connect();
    assert.equal(rig.near.link?.streams?.count, limits.linkStreamsMax);
  });

  for (const [what, asks, streams] of [
    ['that was asked for none', 1, { count: 2, link: 'x' }],
    ['more than was asked for', 2, { count: 3, link: 'x' }],
    ['without a name for the link', 2, { count: 2 }],
    ['as if this were a stream', 2, { count: 2, link: 'x', number: 1 }],
  ] as const) {
    test(`an answer with streams ${what} is refused`, () => {
      const rig = greeted(asks, streams);
      assert.deepEqual([rig.near.link, rig.wire.near.isClosed], [null, true]);
    });
  }
});

describe('several streams', () => {
  test('carry records and images, the one with the least on its way first, and hand them on in order whatever comes first', () => {
    const { rig, first, streams } = up();
    for (const text of ['a', 'b', 'c']) rig.frame(text);
    rig.near.link?.send('flush', bodyOf('d'));
    assert.deepEqual(
      [first, ...streams].map(({ near }) => near.queue.length),
      [1, 1, 1, 1],
    );
    rig.toFar(first);
    rig.toFar(at(streams, THREE));
    rig.toFar(at(streams, TWO));
    assert.deepEqual(rig.far.heard, []);
    assert.deepEqual([rig.far.link?.streams?.receiver.waitingCount, rig.far.link?.streams?.receiver.waitingBytes], [3, 48]);
    rig.toFar(at(streams, ONE));
    assert.deepEqual(rig.far.heard, ['frame a', 'frame b', 'frame c', 'flush d']);
    assert.deepEqual([rig.buffers.outCount, rig.far.link?.streams?.counts.early], [0, 3]);
  });

  test('are passed by heartbeats and pings, on which promises rest, and by nothing else', () => {
    const { rig, first } = up();
    rig.frame('a');
    rig.near.link?.send('state', bodyOf('b'));
    rig.near.link?.send('heartbeat', bodyOf('c'));
    rig.near.link?.send('acknowledge', bodyOf('d'));
    rig.near.link?.send('ping', bodyOf('e'));
    while (rig.toFar(first));
    assert.deepEqual(rig.far.heard, ['heartbeat c', 'ping e']);
  });

  test('tell what has arrived as a contiguous position and ranges above it, and memory goes back as it does', () => {
    const { rig, first, streams } = up();
    const back: string[] = [];
    for (const text of ['a', 'b', 'c']) rig.frame(text, () => back.push(text));
    rig.toFar(at(streams, THREE));
    rig.toNear(first);
    assert.deepEqual(back, ['c']);
    rig.toFar(at(streams, ONE));
    rig.toFar(at(streams, TWO));
    assert.deepEqual(back, ['c'], 'not before it is acknowledged');
    rig.flow(first);
    assert.deepEqual([back, rig.near.link?.streams?.sender.aheadBytes], [['c', 'a', 'b'], 0]);
  });

  test('show which records wait at the other side for one before them', () => {
    const { rig, first, streams } = up();
    const link = rig.near.link as NonNullable<typeof rig.near.link>;
    for (const [seq, size] of [
      [1, 2],
      [3, 4],
      [7, 1],
    ] as const)
      link.sendParts('frame', [frameOf(seq, size)], 0);
    rig.toFar(at(streams, TWO));
    rig.toFar(at(streams, THREE));
    rig.flow(first);
    assert.deepEqual(link.streams?.sender.early, [{ from: 3, to: 7 }]);
    rig.flow(first, ...streams);
    assert.deepEqual(link.streams?.sender.early, []);
  });

  test('carry both ways', () => {
    const { rig, first, streams } = up();
    rig.far.link?.sendParts('frame', [bodyOf('a')], 0);
    rig.far.link?.sendParts('frame', [bodyOf('b')], 0);
    rig.toNear(at(streams, TWO));
    rig.flow(first, ...streams);
    assert.deepEqual(rig.near.heard, ['frame a', 'frame b']);
  });

  test('are not waited for: until one stands the first connection carries everything', () => {
    const rig = new StreamRig();
    const first = rig.connect();
    rig.frame('a');
    rig.flow(first);
    const stream = rig.openStream(2);
    rig.frame('b');
    rig.flow(stream, first);
    assert.deepEqual(rig.far.heard, ['frame a', 'frame b']);
    assert.deepEqual([rig.near.link?.streams?.missing, rig.far.link?.streams?.openCount], [[1, 3], 1]);
  });
});

describe('a stream that is lost', () => {
  test('takes nothing with it: what it had on its way goes again over the others, once', () => {
    const { rig, first, streams } = up();
    const back: string[] = [];
    for (const text of ['a', 'b', 'c', 'd', 'e', 'f']) rig.frame(text, () => back.push(text));
    rig.toFar(at(streams, TWO));
    rig.break(at(streams, TWO));
    assert.deepEqual(rig.near.news.at(-1), 'down 2, 2 again', 'what has arrived without an acknowledgement goes again, too');
    rig.flow(first, at(streams, ONE), at(streams, THREE));
    assert.deepEqual(rig.far.heard, ['frame a', 'frame b', 'frame c', 'frame d', 'frame e', 'frame f']);
    assert.deepEqual([back.toSorted().join(''), rig.buffers.outCount], ['abcdef', 0], 'memory goes back once');
    assert.deepEqual([rig.near.link?.streams?.missing, rig.near.link?.streams?.counts], [[2], { early: 0, lost: 1, again: 2 }]);
  });

  test('that is the last one leaves the first connection', () => {
    const { rig, first, streams } = up(2);
    rig.frame('a');
    rig.frame('b');
    for (const stream of streams) rig.break(stream);
    rig.flow(first);
    assert.deepEqual(rig.far.heard, ['frame a', 'frame b']);
  });

  test('is replaced by a newer one of its number, which ends the older one first', () => {
    const { rig, first, streams } = up();
    rig.frame('a');
    const again = rig.openStream(1);
    assert.deepEqual([at(streams, ONE).near.isClosed, at(streams, ONE).far.isClosed], [true, true]);
    const zombie = at(streams, ONE).near.queue.splice(0);
    rig.flow(first, again, at(streams, TWO), at(streams, THREE));
    assert.deepEqual(rig.far.heard, ['frame a']);
    for (const { bytes } of zombie) at(streams, ONE).atFar.receive(bytes);
    assert.deepEqual(rig.far.heard, ['frame a'], 'bytes of a dead stream never apply');
  });

  test('with the first connection the link ends, every stream of it, and what waits is never handed on', () => {
    const { rig, first, streams } = up();
    let back = 0;
    for (const text of ['a', 'b', 'c']) rig.frame(text, () => back++);
    rig.toFar(at(streams, TWO));
    const late = at(streams, ONE).near.queue[0]?.bytes as Uint8Array;
    rig.break(first);
    assert.ok(streams.every(({ near, far }) => near.isClosed && far.isClosed));
    assert.deepEqual([rig.near.link, rig.far.link, back, rig.buffers.outCount], [null, null, 3, 0]);
    at(streams, ONE).atFar.receive(late);
    assert.deepEqual(rig.far.heard, []);
    assert.deepEqual(rig.near.news.slice(3), ['link down: the connection was closed'], 'its streams are no news of their own');
  });
});

describe('a connection that is no stream of the link', () => {
  const hello = { group: 'db', groupId: 'g1', from: 'near', to: 'far' };
  for (const [what, streams, why] of [
    ['of a link that has ended', { count: 3, link: 'far-9', number: 1 }, /the link that this stream is for has ended/],
    ['with a number that the link does not have', { count: 8, link: 'far-0', number: 4 }, /has 3 streams, there is no stream 4/],
    ['without the name of a link', { count: 3, number: 1 }, /must be a hello/],
    ['with number 0', { count: 3, link: 'far-0', number: 0 }, /must be a hello/],
    ['with a number that is none', { count: 3, link: 'far-0', number: 'x' }, /must be a hello/],
    ['of one stream', { count: 1 }, /must be a hello/],
  ] as const) {
    test(`${what} is refused, and the link stays`, () => {
      const { rig } = up();
      const stranger = rig.accept();
      stranger.atFar.receive(message('hello', encodeJson({ ...hello, streams })));
      const refused = stranger.far.queue.map(({ bytes }) => new TextDecoder().decode(bytes)).join('');
      assert.match(refused, why);
      assert.ok(stranger.far.isClosed && rig.far.link?.open === true);
      assert.equal(rig.far.link.streams?.openCount, 3);
    });
  }

  test('of another site is refused by its certificate', () => {
    const { rig } = up();
    const stranger = rig.accept();
    stranger.far.identity = { site: 'gamma', groups: null };
    const { id = '' } = rig.far.link?.streams ?? {};
    stranger.atFar.receive(message('hello', encodeJson({ ...hello, streams: { count: 3, link: id, number: 1 } })));
    assert.ok(stranger.far.isClosed && rig.far.link?.open === true);
  });

  test('answered as another stream than it is ends alone', () => {
    const { rig } = up();
    const wire = rig.dialStream(2);
    wire.atNear.receive(
      message('hello', encodeJson({ ...hello, from: 'far', to: 'near', streams: { count: 3, link: 'far-0', number: 1 } })),
    );
    assert.ok(wire.near.isClosed && rig.near.link?.open === true);
  });

  test('answered as a link by a program that knows no streams ends alone', () => {
    const { rig } = up();
    const wire = rig.dialStream(2);
    wire.atNear.receive(message('hello', encodeJson({ ...hello, from: 'far', to: 'near' })));
    assert.ok(wire.near.isClosed && rig.near.link?.open === true);
  });

  test('does not come to life when its link ends before the answer', () => {
    const { rig, first } = up();
    const wire = rig.dialStream(2);
    rig.toFar(wire);
    rig.break(first);
    rig.toNear(wire);
    assert.ok(!wire.atNear.up && wire.near.isClosed);
  });
});

describe('what a peer may not send', () => {
  test('bytes that are no message end their stream alone, and what was under way on it comes again', () => {
    const { rig, first, streams } = up();
    rig.far.link?.sendParts('frame', [bodyOf('a')], 0);
    at(streams, ONE).atFar.receive(new Uint8Array(24));
    assert.deepEqual([at(streams, ONE).far.isClosed, rig.far.link?.open], [true, true]);
    rig.flow(first, ...streams);
    assert.deepEqual(rig.near.heard, ['frame a']);
  });

  for (const [what, which, bytes, why] of [
    ['a flush on a stream', ONE, [number(1), message('flush', bodyOf('x'))], /a flush message came on a stream/],
    ['a heartbeat on a stream', ONE, [message('heartbeat', bodyOf('x'))], /a heartbeat message came on a stream/],
    ['a frame without its number', ONE, [message('image', bodyOf('x'))], /image message came without its number/],
    ['two numbers', ONE, [number(1), number(2)], /makes no sense/],
    ['number 0', ONE, [number(0)], /makes no sense/],
    ['a number before a heartbeat', null, [number(1), message('heartbeat', bodyOf('x'))], /heartbeat message came with a number/],
    ['an order without its number', null, [message('order', bodyOf('x'))], /order message came without its number/],
    [
      'an acknowledgement of what it was not sent',
      null,
      [acknowledgement(1)],
      /acknowledges message 1 of the link, but was sent only those up to 0/,
    ],
    [
      'a range of what it was not sent',
      null,
      [acknowledgement(0, [3, 5])],
      /acknowledges message 5 of the link, but was sent only those up to 0/,
    ],
    ['an acknowledgement that is cut short', null, [message('streamAcknowledge', new Uint8Array(15))], /malformed/],
    ['fewer ranges than it says', null, [message('streamAcknowledge', encodeNumbers(STREAM_ACKNOWLEDGE_BODY, [0, 1, 0]))], /malformed/],
  ] as const) {
    test(`${what}: the link is refused`, () => {
      const { rig, first, streams } = up();
      const to = which === null ? first : at(streams, which);
      for (const each of bytes) to.atFar.receive(each);
      assert.match(rig.far.news.at(-1) ?? '', why);
      assert.ok(streams.every(({ far }) => far.isClosed));
    });
  }

  test('ranges that overlap, touch or fall, and acknowledgements that are taken back, are named with their place', () => {
    const carrier: Carrier = { post: (_number, _message, sent) => sent?.() };
    const frame: Outgoing = { name: 'frame', parts: [], bytes: 1, crc: 0, sent: undefined };
    const sender = (): StreamSender => {
      const made = new StreamSender(carrier);
      for (let count = 0; count < 10; count++) made.send(frame);
      return made;
    };
    const ranges = (...list: readonly (readonly [number, number])[]): { from: number; to: number }[] =>
      list.map(([from, to]) => ({ from, to }));
    assert.match(sender().acknowledged(3, ranges([4, 5])) ?? '', /messages 4 to 5 of the link behind 3/);
    assert.match(sender().acknowledged(3, ranges([6, 5])) ?? '', /messages 6 to 5/);
    assert.match(sender().acknowledged(0, ranges([4, 6], [6, 7])) ?? '', /messages 6 to 7 of the link behind 6/);
    assert.match(sender().acknowledged(3, ranges([5, 11])) ?? '', /message 11 of the link, but was sent only those up to 10/);
    const back = sender();
    assert.equal(back.acknowledged(4, ranges([6, 7])), null);
    assert.match(back.acknowledged(3, []) ?? '', /takes back messages of the link: had 4, now says 3/);
  });

  test('far ahead of what is missing: memory is bounded, then it is refused', () => {
    const buffers = new WatchedBuffers();
    const receiver = new StreamReceiver(buffers, () => true);
    const body = new Uint8Array(16 * 1024 * 1024);
    const frame = { name: 'frame', body } as const;
    for (let count = 0; count < 4; count++) assert.equal(receiver.arrived(2 ** 40 + count, frame), null);
    assert.match(receiver.arrived(2 ** 50, frame) ?? '', /came while 4 of 67108864 bytes wait for message 1/);
    assert.deepEqual([receiver.waitingBytes, buffers.outCount], [limits.streamAheadBytes, 4]);
    receiver.end();
    assert.equal(buffers.outCount, 0);
    const small = new StreamReceiver(buffers, () => true);
    const tiny = { name: 'frame', body: new Uint8Array(0) } as const;
    for (let count = 0; count < limits.streamAheadCount; count++) assert.equal(small.arrived(2 + count, tiny), null);
    assert.match(small.arrived(2 ** 50, tiny) ?? '', /wait for message 1/);
  });

  test('a sender waits before it comes so far, and goes on in order', () => {
    const posted: number[] = [];
    const carrier: Carrier = {
      post: (place, _message, sent) => {
        posted.push(place);
        sent?.();
      },
    };
    const sender = new StreamSender(carrier);
    const large = (name: Outgoing['name']): Outgoing => ({ name, parts: [], bytes: limits.streamAheadBytes / 2, crc: 0, sent: undefined });
    for (const name of ['frame', 'frame', 'bitmap', 'frame'] as const) sender.send(large(name));
    assert.deepEqual(posted, [1, 2]);
    assert.equal(sender.acknowledged(0, [{ from: 2, to: 2 }]), null);
    assert.deepEqual(posted, [1, 2], 'what is missing at the other side still holds up everything behind it');
    assert.equal(sender.acknowledged(1, []), null);
    assert.deepEqual(posted, [1, 2, 3]);
    assert.equal(sender.acknowledged(2, []), null);
    assert.deepEqual(posted, [1, 2, 3, 4]);
  });
});

test('whatever comes first, is lost, and comes again: everything is handed on once, in the order in which it was sent', () => {
  let seed = 12_345;
  const chance = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let round = 0; round < 60; round++) {
    const { rig, first, streams } = up(1 + (round % 3) + 1);
    const sent: string[] = [];
    let back = 0;
    let frames = 0;
    for (let step = 0; step < 400; step++) {
      const all = [first, ...streams];
      const wire = all[chance(all.length)] as Wire;
      const what = chance(20);
      if (what < 6) {
        const text = `${sent.length}`;
        const isFrame = chance(3) > 0;
        sent.push(`${isFrame ? 'frame' : 'flush'} ${text}`);
        if (isFrame) frames++;
        if (isFrame) rig.frame(text, () => back++);
        else rig.near.link?.send('flush', bodyOf(text));
      } else if (what < 15) rig.toFar(wire);
      else if (what < 19) rig.toNear(wire);
      else if (wire !== first && !wire.near.isClosed) {
        rig.break(wire);
        const which = rig.near.link?.streams?.missing[0] as number;
        if (chance(3) > 0) streams.push(rig.openStream(which));
      }
    }
    rig.flow(first, ...streams);
    assert.deepEqual(rig.far.heard, sent);
    assert.deepEqual([back, rig.buffers.outCount, rig.near.link?.streams?.sender.aheadBytes], [frames, 0, 0]);
  }
});
