// Messages between sites: the bytes are pinned, whatever the network does to the stream gives the same messages or a refusal, and nothing that
// was changed on the way is taken for a message.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { InvariantError } from '../../../src/core/base/assert.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { copyOf } from '../../../src/core/base/bytes.ts';
import {
  ACKNOWLEDGE_BODY,
  decodeAcknowledge,
  decodeJson,
  decodeNumbers,
  encodeHeader,
  encodeMessage,
  encodeNumbers,
  HEARTBEAT_ANSWER_BODY,
  HEARTBEAT_BODY,
  HELD_ACKNOWLEDGE_BODY,
  IMAGE_BODY,
  MESSAGE_HEADER,
  MESSAGE_TYPES,
  PACKED_BODY,
  STREAM_ACKNOWLEDGE_BODY,
  STREAM_NUMBER_BODY,
  type Message,
  type MessageName,
  MessageReader,
  HELLO_VERSION,
} from '../../../src/core/mirror/messages.ts';
import {
  readFollow,
  readHello,
  readJoin,
  readJoined,
  readLevel,
  readLevelEnd,
  readStanding,
  readState,
} from '../../../src/core/mirror/forms.ts';
import { readHeld } from '../../../src/core/mirror/held.ts';
import { digests, equal } from '../../support/records.ts';
import { WatchedBuffers } from './watched-buffers.ts';
import { ANSWER, ASK, FOLLOW, HELD, HELLO, JOIN, JOINED, LEVEL, PACKED, STANDING, sampleFrame, STATE, wireSamples } from './wire-sample.ts';
import { readAnswer, readAsk } from '../../../src/core/scan/examine.ts';

const GOLDEN = join(import.meta.dirname, '../../golden');
const golden = new Uint8Array(readFileSync(join(GOLDEN, 'wire-v1.bin')));

function newReader(bodyBytesMax: number = limits.messageBytesMax, buffers: WatchedBuffers = new WatchedBuffers()): MessageReader {
  const reader = new MessageReader(digests, buffers);
  reader.bodyBytesMax = bodyBytesMax;
  return reader;
}

/** Gives the reader the parts one after the other, up to the first that is wrong. */
function read(parts: readonly Uint8Array[], reader: MessageReader = newReader()): { messages: Message[]; wrong: string | null } {
  const messages: Message[] = [];
  for (const part of parts) {
    // The memory is reused afterwards, as a socket's is: a reader that keeps a view of it reads rubbish.
    const reused = copyOf(part);
    const wrong = reader.receive(reused, ({ name, body }) => {
      messages.push({ name, body: copyOf(body) });
      return true;
    });
    reused.fill(0xee);
    if (wrong !== null) return { messages, wrong };
  }
  return { messages, wrong: null };
}

/** A stream cut at these places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = [0, ...[...places].sort((a, b) => a - b), bytes.length];
  return sorted.slice(1).map((end, i) => bytes.subarray(sorted[i], end));
}

/** The same message with other header fields, and a header checksum that fits them. */
function withHeader(message: Uint8Array, change: (view: DataView) => void): Uint8Array {
  const copy = copyOf(message);
  const view = new DataView(copy.buffer);
  change(view);
  view.setUint32(MESSAGE_HEADER.at.headerCrc, digests.crc32(copy.subarray(8, MESSAGE_HEADER.bytes), 0), true);
  return copy;
}

const PING = encodeMessage('ping', new Uint8Array(0), digests);
const FLUSH = encodeMessage('flush', new Uint8Array(16).fill(1), digests);

describe('the wire form, version 1', () => {
  test('has the golden bytes', () => {
    let at = 0;
    for (const { name, bytes } of wireSamples()) {
      assert.ok(equal(golden.subarray(at, at + bytes.length), bytes), `${name} at ${at} is not what it was when the form was released`);
      at += bytes.length;
    }
    assert.equal(at, golden.length);
  });

  test('is read back from the golden bytes', () => {
    const { messages, wrong } = read([golden]);
    assert.equal(wrong, null);
    const bodies = new Map(messages.map(({ name, body }) => [name, body]));
    assert.deepEqual([...bodies.keys()], Object.keys(MESSAGE_TYPES));
    const body = (name: MessageName): Uint8Array => bodies.get(name) as Uint8Array;
    assert.deepEqual(readHello(body('hello')), { ...HELLO, versions: { min: 1, max: 1 } });
    assert.deepEqual(readState(body('state')), STATE);
    assert.deepEqual(readJoin(body('join')), JOIN);
    assert.deepEqual(readFollow(body('follow')), FOLLOW);
    assert.deepEqual(readJoined(body('joined')), JOINED);
    assert.deepEqual(body('frame'), sampleFrame());
    assert.deepEqual(decodeNumbers(ACKNOWLEDGE_BODY, body('acknowledge')), { epoch: 3, received: 104, durable: 103, destaged: 90 });
    assert.deepEqual(decodeNumbers(HEARTBEAT_BODY, body('heartbeat')), { epoch: 3, number: 17, committed: 103, retain: 80 });
    const answer = decodeNumbers(HEARTBEAT_ANSWER_BODY, body('heartbeatAnswer'));
    assert.deepEqual(answer, { epoch: 3, number: 17, promiseMillis: 1500, reserved: 0 });
    const image = { epoch: 3, number: 1, offset: 8192, lengthBytes: 4, volume: 1, kind: 1, reserved: 0 };
    assert.deepEqual(decodeNumbers(IMAGE_BODY, body('image')), image);
    assert.deepEqual(body('image').subarray(IMAGE_BODY.bytes), new Uint8Array([0xca, 0xfe, 0xf0, 0x0d]));
    assert.deepEqual(readStanding(body('compare')), STANDING);
    assert.deepEqual(readLevel(body('level')), LEVEL);
    assert.deepEqual(readLevelEnd(body('levelEnd')), { reason: 'nothing more has come in time' });
    assert.deepEqual(readHeld(body('held')), HELD);
    const confirmed = { epoch: 3, number: 12, oldest: 41, spaceBytes: 1_048_576 };
    assert.deepEqual(decodeNumbers(HELD_ACKNOWLEDGE_BODY, body('heldAcknowledge')), confirmed);
    assert.deepEqual(readAsk(decodeJson(body('verifyAsk')), [{ sizeBytes: 0 }, { sizeBytes: 65_536 }]), ASK);
    assert.deepEqual(readAnswer(decodeJson(body('verifyAnswer')), ASK), ANSWER);
    assert.deepEqual(decodeNumbers(PACKED_BODY, body('packed')), { type: 11, reserved: 0, rawBytes: 4096 });
    assert.deepEqual(body('packed').subarray(PACKED_BODY.bytes), PACKED);
    assert.deepEqual(decodeNumbers(STREAM_NUMBER_BODY, body('streamNumber')), { number: 31 });
    assert.deepEqual(decodeNumbers(STREAM_ACKNOWLEDGE_BODY, body('streamAcknowledge')), { upTo: 20, rangeCount: 1, reserved: 0 });
    assert.deepEqual(decodeJson(body('refuse')), { reason: 'this is site "near", not "far"' });
  });

  test('reads in its description as it is', () => {
    const lines = readFileSync(join(GOLDEN, 'wire-v1.txt'), 'utf8').split('\n');
    const bytes: number[] = [];
    for (const line of lines) {
      const match = /^0x([0-9a-f]{4}) {2}((?:[0-9a-f]{2} )*[0-9a-f]{2})(?= {2})/.exec(line);
      if (match === null) continue;
      assert.equal(Number.parseInt(match[1] as string, 16), bytes.length, line);
      bytes.push(...(match[2] as string).split(' ').map((hex) => Number.parseInt(hex, 16)));
    }
    assert.ok(equal(new Uint8Array(bytes), golden));
  });

  test('is the version that the program speaks', () => {
    assert.equal(new DataView(golden.buffer, golden.byteOffset).getUint16(MESSAGE_HEADER.at.version, true), HELLO_VERSION);
  });

  test('has a sample of each kind, and no kind 0', () => {
    assert.deepEqual(
      wireSamples().map((sample) => sample.name),
      Object.keys(MESSAGE_TYPES),
    );
    assert.ok(!Object.values(MESSAGE_TYPES).includes(0 as never));
  });
});

describe('a reader of messages', () => {
  test('finds the same messages wherever the stream was cut', () => {
    const whole = read([golden]).messages;
    fc.assert(
      fc.property(fc.array(fc.nat(golden.length), { maxLength: 40 }), (places) => {
        assert.deepEqual(read(cut(golden, places)), { messages: whole, wrong: null });
      }),
      { numRuns: 500 },
    );
  });

  test('finds them byte by byte', () => {
    assert.deepEqual(read(cut(golden, [...golden.keys()])), { messages: read([golden]).messages, wrong: null });
  });

  test('delivers a message without a body as soon as its header is there', () => {
    assert.deepEqual(
      read([PING]).messages.map((message) => message.name),
      ['ping'],
    );
  });

  test('stops when it is told to, in the middle of what came', () => {
    const seen: string[] = [];
    const wrong = newReader().receive(new Uint8Array([...PING, ...FLUSH, ...PING]), ({ name }) => {
      seen.push(name);
      return name !== 'flush';
    });
    assert.deepEqual([seen, wrong], [['ping', 'flush'], null]);
  });

  test('gives back the memory of every message that came in pieces, and of one that will never be complete', () => {
    const buffers = new WatchedBuffers();
    const reader = newReader(limits.messageBytesMax, buffers);
    read(cut(golden, [...golden.keys()]), reader);
    assert.equal(buffers.outCount, 0);
    read([FLUSH.subarray(0, 30)], reader);
    assert.equal(buffers.outCount, 1);
    reader.end();
    assert.equal(buffers.outCount, 0);
  });

  test('never throws, and takes no changed message for one that was sent', () => {
    const sent = read([golden]).messages;
    const isSent = (message: Message): boolean => sent.some((one) => one.name === message.name && equal(one.body, message.body));
    const change = fc.record({
      at: fc.nat(golden.length - 1),
      value: fc.nat(255),
      span: fc.nat(24),
      kind: fc.constantFrom('set', 'zero', 'move', 'cut'),
    });
    fc.assert(
      fc.property(
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(golden.length), { maxLength: 8 }),
        (changes, places) => {
          let bytes = copyOf(golden);
          for (const { at, value, span, kind } of changes) {
            if (at >= bytes.length) continue;
            if (kind === 'set') bytes[at] = value;
            else if (kind === 'zero') bytes.fill(0, at, at + span);
            else if (kind === 'move') bytes.copyWithin(at, (at + value) % bytes.length, ((at + value) % bytes.length) + span);
            else bytes = bytes.slice(0, at);
          }
          const cuts = places.filter((place) => place <= bytes.length);
          // A frame's body is checked by whoever takes it: its checksums are its own.
          for (const message of read(cut(bytes, cuts)).messages) assert.ok(message.name === 'frame' || isSent(message), message.name);
        },
      ),
      { numRuns: 5000 },
    );
  });

  test('never throws on bytes that were never messages', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 6 }), (parts) => {
        assert.deepEqual(read(parts).messages, []);
      }),
      { numRuns: 2000 },
    );
  });

  test('never throws on a header that was made to fit', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 8, max: 23 }), fc.nat(255)), { minLength: 1, maxLength: 6 }), (changes) => {
        const message = withHeader(FLUSH, (view) => {
          for (const [at, value] of changes) view.setUint8(at, value);
        });
        read([message], newReader(limits.helloBytesMax));
      }),
      { numRuns: 5000 },
    );
  });

  for (const [what, bytes, text] of [
    ['no Tercet site', new TextEncoder().encode('GET / HTTP/1.1\r\nHost: near\r\n\r\n'), /not the bytes of a Tercet site/],
    ['a header with a wrong checksum', copyOf(FLUSH).fill(9, 12, 13), /header fails its checksum/],
    ['a body with a wrong checksum', copyOf(FLUSH).fill(9, 30, 31), /body of a flush message fails its checksum/],
    [
      'another version',
      withHeader(FLUSH, (view) => view.setUint16(MESSAGE_HEADER.at.version, 2, true)),
      /speaks version 2 of the protocol where 1 was expected/,
    ],
    ['an unknown kind', withHeader(FLUSH, (view) => view.setUint16(MESSAGE_HEADER.at.type, 99, true)), /unknown kind of message 99/],
    ['kind 0', withHeader(FLUSH, (view) => view.setUint16(MESSAGE_HEADER.at.type, 0, true)), /unknown kind of message 0/],
    [
      'more than the limit',
      withHeader(FLUSH, (view) => view.setUint32(MESSAGE_HEADER.at.bodyBytes, limits.messageBytesMax + 1, true)),
      /over the limit/,
    ],
  ] as const) {
    test(`names what is wrong: ${what}`, () => {
      const { messages, wrong } = read([bytes]);
      assert.deepEqual(messages, []);
      assert.match(wrong ?? '', text);
    });
  }

  test('takes no more than a hello from a stranger, and decides it by the header alone', () => {
    const header = encodeHeader('hello', { bytes: limits.helloBytesMax + 1, crc: 0 }, digests);
    assert.match(read([header], new MessageReader(digests, new WatchedBuffers())).wrong ?? '', /over the limit of 4096/);
    const fits = encodeMessage('hello', new Uint8Array(limits.helloBytesMax), digests);
    assert.equal(read([fits], new MessageReader(digests, new WatchedBuffers())).messages.length, 1);
  });
});

describe('bodies of numbers', () => {
  test('hold every count that a double holds exactly', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(Number.MAX_SAFE_INTEGER), { minLength: 4, maxLength: 4 }), (values) => {
        const [epoch, received, durable, destaged] = values;
        const body = encodeNumbers(ACKNOWLEDGE_BODY, values);
        assert.deepEqual(decodeNumbers(ACKNOWLEDGE_BODY, body), { epoch, received, durable, destaged });
        assert.deepEqual(decodeAcknowledge(body), { epoch, received, durable, destaged });
      }),
    );
  });

  test('above that, or cut short, are none', () => {
    const body = encodeNumbers(ACKNOWLEDGE_BODY, [1, 2, 3, 4]);
    assert.equal(decodeNumbers(ACKNOWLEDGE_BODY, body.subarray(0, 31)), null);
    assert.equal(decodeAcknowledge(body.subarray(0, 31)), null);
    body[14] = 0x20;
    assert.equal(decodeNumbers(ACKNOWLEDGE_BODY, body), null);
    assert.equal(decodeAcknowledge(body), null);
  });

  test('need one value for each field', () => {
    assert.throws(() => encodeNumbers(ACKNOWLEDGE_BODY, [1, 2, 3]), InvariantError);
  });

  test('do not fit a message that is too large', () => {
    assert.throws(() => encodeHeader('frame', { bytes: limits.messageBytesMax + 1, crc: 0 }, digests), InvariantError);
  });
});
