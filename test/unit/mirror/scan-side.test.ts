// What one side of a scan says of messages that do not belong to it: the sentence with which the connection is refused. Nothing that came with such a
// message counts.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BLOCK_BYTES, type Seq } from '../../../src/core/base/units.ts';
import type { BlockDigests } from '../../../src/core/base/ports.ts';
import type { ScanHow } from '../../../src/core/mirror/forms.ts';
import type { Link } from '../../../src/core/mirror/link.ts';
import { decodeNumbers, DIGEST_BODY, encodeNumbers, type Message } from '../../../src/core/mirror/messages.ts';
import { ScanSide } from '../../../src/core/mirror/scan.ts';
import type { DigestSource, VolumeRange } from '../../../src/core/scan/digest.ts';
import { digestBlocks, digestOf } from '../../../src/sim/digests.ts';

const MIB = 1024 * 1024;
const HOW: ScanHow = {
  algorithm: 'sha256',
  compare: 'primary',
  confirm: false,
  levels: [MIB, 64 * 1024, BLOCK_BYTES],
  chunkBytes: 64 * 1024,
};
const VOLUMES = [{ sizeBytes: 2 * MIB }];
const EPOCH = 3;

/** A volume that is one byte all over. */
function filled(byte: number): DigestSource {
  return {
    marks: { received: 1 as Seq },
    imageRanges: (_volume, offset, bytesMax) => ({ offset, length: Math.min(bytesMax, 2 * MIB - offset), zero: false }),
    readCold: (_volume, _offset, into, done) => {
      into.fill(byte);
      done(0, null);
    },
    digestBase: () => false,
  };
}

const digests: BlockDigests = {
  take: (byteCount) => new Uint8Array(byteCount),
  digest: (algorithm, bytes, blockBytes, done) => done(digestBlocks(algorithm, bytes, blockBytes)),
  digestNow: digestOf,
};

interface Side {
  readonly side: ScanSide;
  readonly sent: Message[];
  readonly found: VolumeRange[];
  ended: boolean;
}

function sideOf(byte: number, compares: boolean): Side {
  const sent: Message[] = [];
  const found: VolumeRange[] = [];
  const link = { send: (name: Message['name'], body: Uint8Array) => void sent.push({ name, body } as Message) } as unknown as Link;
  const findings = {
    differs: (range: VolumeRange) => void found.push(range),
    settled: () => undefined,
    end: () => void (made.ended = true),
  };
  const side = new ScanSide({
    link,
    epoch: EPOCH,
    how: HOW,
    volumes: VOLUMES,
    source: filled(byte),
    digests,
    from: { volume: 0, offset: 0 },
    findings: compares ? findings : null,
  });
  const made: Side = { side, sent, found, ended: false };
  return made;
}

/** A message with some of its numbers replaced, and other digests. */
function altered(message: Message, numbers: Readonly<Record<string, number>>, digestBytes?: number): Message {
  const head = { ...(decodeNumbers(DIGEST_BODY, message.body) as Record<string, number>), ...numbers };
  const { epoch, number, offset, length, nodeBytes, volume, algorithm } = head as Record<string, number>;
  const encoded = encodeNumbers(DIGEST_BODY, [epoch, number, offset, length, nodeBytes, volume, algorithm] as number[]);
  const rest = digestBytes === undefined ? message.body.subarray(encoded.length) : new Uint8Array(digestBytes);
  return { ...message, body: Buffer.concat([encoded, rest]) };
}

/** A side that compares and has asked, and the other side's answer to its first question. */
function asked(): { near: Side; answer: Message } {
  const [near, far] = [sideOf(1, true), sideOf(2, false)];
  near.side.start();
  const [question] = near.sent;
  assert.equal(far.side.message(question as Message), null);
  return { near, answer: far.sent[0] as Message };
}

test('an answer for another range, of another size, to no question, or given twice is refused, and nothing of it counts', () => {
  const cases: readonly [what: string, numbers: Readonly<Record<string, number>>, digestBytes: number | undefined, why: RegExp][] = [
    ['another place', { offset: MIB }, undefined, /question 1 for another range: 1048576 bytes at 1048576/],
    ['a part of it', { length: 64 * 1024, nodeBytes: 64 * 1024 }, undefined, /question 1 for another range: 65536 bytes at 0/],
    ['other nodes', { nodeBytes: 64 * 1024 }, 16 * 32, /question 1 for another range/],
    ['too few digests', {}, 31, /question 1 with 31 bytes of digests/],
    ['too many', {}, 64, /question 1 with 64 bytes of digests/],
    ['no question', { number: 77 }, undefined, /question 77, which was not put/],
    ['another volume', { volume: 1 }, undefined, /is about 1048576 bytes at 0/],
    ['behind the end', { offset: 2 * MIB }, undefined, /is about 1048576 bytes at 2097152/],
    ['another digest', { algorithm: 1 }, undefined, /is about/],
  ];
  for (const [what, numbers, digestBytes, why] of cases) {
    const { near, answer } = asked();
    assert.match(near.side.message(altered(answer, numbers, digestBytes)) ?? 'taken', why, what);
    assert.deepEqual([near.found, near.ended], [[], false], what);
  }
  const { near, answer } = asked();
  assert.equal(near.side.message(answer), null);
  assert.match(near.side.message(answer) ?? 'taken', /question 1, which was not put/);
  assert.match(near.side.message({ ...answer, body: new Uint8Array(5) }) ?? 'taken', /malformed/);
});

test('what an earlier reign has asked is passed over, and who does not compare takes no answers', () => {
  const { near, answer } = asked();
  assert.equal(near.side.message(altered(answer, { epoch: EPOCH - 1 })), null);
  assert.deepEqual(near.found, []);
  assert.match(sideOf(1, false).side.message(answer) ?? 'taken', /not put/);
});

test('a question beyond the volume, between nodes, or for too much is refused', () => {
  const { sent } = sideOf(1, true);
  assert.deepEqual(sent, []);
  const { near } = asked();
  const question = near.sent[0] as Message;
  for (const numbers of [{ offset: 2 * MIB }, { offset: 4096 }, { length: 2 * MIB }, { length: 0 }, { nodeBytes: 8192 }, { volume: 9 }]) {
    const far = sideOf(2, false);
    assert.match(far.side.message(altered(question, numbers)) ?? 'taken', /is about/, JSON.stringify(numbers));
    assert.deepEqual(far.sent, []);
  }
});

test('two sides that are wired up find what differs', () => {
  const [near, far] = [sideOf(1, true), sideOf(2, false)];
  near.side.start();
  for (let message = near.sent.shift(); message !== undefined; message = near.sent.shift()) {
    assert.equal(far.side.message(message), null);
    for (const answer of far.sent.splice(0)) assert.equal(near.side.message(answer), null);
  }
  assert.equal(near.ended, true);
  assert.equal(
    near.found.reduce((sum, { length }) => sum + length, 0),
    2 * MIB,
  );
});
