// Judging copies that differ, joining what was found, and refusing questions and answers that are none.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BlockDigests } from '../../../src/core/base/ports.ts';
import type { SiteName } from '../../../src/core/base/units.ts';
import { attribute, type Word } from '../../../src/core/scan/attribute.ts';
import { type Ask, encodeAnswer, encodeAsk, readAnswer, readAsk } from '../../../src/core/scan/examine.ts';
import { type Finding, Findings } from '../../../src/core/scan/findings.ts';
import { Learner } from '../../../src/core/scan/learn.ts';
import { Verifier, type VerifyGround } from '../../../src/core/scan/verify.ts';
import { digestBlocks } from '../../../src/host/block-digests.ts';
import { DigestThreads } from '../../../src/host/digest-threads.ts';
import { blockDigests } from '../../support/records.ts';
import { ReplicaRig } from '../../support/replica-rig.ts';

const word = (site: string, digest: string, rotten: boolean | null = false): Word => ({ site, digest, rotten });

test('content is right when two sound copies agree on it, or when the only sound copy has its own digest', () => {
  const judge = (...words: Word[]): unknown => attribute(words, 'a');
  const blame = (site: string, kind: string, proven = true): object => ({ site, kind, proven });
  assert.deepEqual(judge(word('a', 'x'), word('b', 'y'), word('c', 'x')), { good: 'a', blames: [blame('b', 'missed-write')] });
  assert.deepEqual(judge(word('a', 'x'), word('b', 'y'), word('c', 'y')), { good: 'b', blames: [blame('a', 'missed-write')] });
  assert.deepEqual(judge(word('a', 'x', true), word('b', 'y')), { good: 'b', blames: [blame('a', 'rot')] });
  assert.deepEqual(judge(word('a', 'x', true), word('b', 'x', true), word('c', 'y')), {
    good: 'c',
    blames: [blame('a', 'rot'), blame('b', 'rot')],
  });
  assert.deepEqual(judge(word('a', 'x', null), word('b', 'y', null), word('c', 'x', null)), {
    good: 'a',
    blames: [blame('b', 'difference')],
  });
  assert.deepEqual(judge(word('a', 'x', true), word('b', 'y', null), word('c', 'y')), { good: 'b', blames: [blame('a', 'rot')] });
});

test('what is not proven is never called right: not the primary, not a copy without a digest, not one of two that agree with themselves', () => {
  const judge = (...words: Word[]): unknown => attribute(words, 'a');
  const [rot, left] = [
    (site: string): object => ({ site, kind: 'rot', proven: true }),
    (site: string, kind: string): object => ({ site, kind, proven: false }),
  ];
  assert.deepEqual(judge(word('a', 'x'), word('b', 'y')), { good: null, blames: [left('a', 'missed-write'), left('b', 'missed-write')] });
  assert.deepEqual(judge(word('a', 'x'), word('b', 'y', null)), { good: null, blames: [left('a', 'difference'), left('b', 'difference')] });
  assert.deepEqual(judge(word('a', 'x', true), word('b', 'y', null)), { good: null, blames: [rot('a')] });
  // Seed 1212: two copies have rotted, one of them could not tell, and the third keeps no digest.
  assert.deepEqual(judge(word('a', 'x', null), word('b', 'y', true), word('c', 'z', null)), {
    good: null,
    blames: [rot('b'), left('a', 'difference'), left('c', 'difference')],
  });
  assert.deepEqual(judge(word('a', 'x', true), word('b', 'y', true), word('c', 'z', null)), { good: null, blames: [rot('a'), rot('b')] });
  assert.deepEqual(judge(word('a', 'x', true), word('b', 'y', true)), { good: null, blames: [rot('a'), rot('b')] });
  const even = [word('a', 'x'), word('b', 'x'), word('c', 'y'), word('d', 'y')];
  assert.deepEqual(judge(...even), { good: null, blames: ['a', 'b', 'c', 'd'].map((site) => left(site, 'missed-write')) });
});

test('adjacent blocks of one kind are one finding, and what is to be judged anew is forgotten', () => {
  const findings = new Findings();
  const at = (offset: number, kind: Finding['kind'] = 'rot'): Finding => {
    return { site: 'b', kind, volume: 0, file: null, offset, length: 4096, seq: 7, repaired: false, proven: true };
  };
  for (const offset of [8192, 0, 4096, 20_480]) assert.equal(findings.add(at(offset)), true);
  assert.equal(findings.add(at(0)), false);
  findings.add(at(12_288, 'missed-write'));
  assert.deepEqual(
    findings.list().map(({ offset, length, kind }) => [offset, length, kind]),
    [
      [0, 12_288, 'rot'],
      [12_288, 4096, 'missed-write'],
      [20_480, 4096, 'rot'],
    ],
  );
  findings.repaired(0, 4096);
  findings.forget(0, 20_480);
  assert.deepEqual(
    findings.list().map(({ offset, repaired }) => [offset, repaired]),
    [
      [0, false],
      [4096, true],
      [8192, false],
      [12_288, false],
    ],
  );
  assert.equal(findings.blocks, 4);
});

test('a question or an answer that does not fit is refused', () => {
  const ask: Ask = { number: 1, kind: 'digest', seq: 9, volume: 0, offset: 4096, length: 8192, algorithm: 'md5', blockBytes: 4096 };
  const volumes = [{ sizeBytes: 65_536 }];
  const asJson = (value: unknown): Record<string, unknown> => JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
  assert.deepEqual(readAsk(asJson(encodeAsk(ask)), volumes), ask);
  for (const change of [
    { volume: 1 },
    { offset: 61_440 },
    { offset: 1 },
    { length: 0 },
    { kind: 'all' },
    { algorithm: 'sha3' },
    { seq: -1 },
    { blockBytes: 0 },
  ])
    assert.equal(readAsk({ ...asJson(encodeAsk(ask)), ...change }, volumes), null, JSON.stringify(change));
  const answer = { kind: 'digest', digests: new Uint8Array(32).fill(3), own: { rotten: [1], unknown: [2] } } as const;
  assert.deepEqual(readAnswer(asJson(encodeAnswer(1, answer)), ask), answer);
  for (const change of [
    { digests: '00' },
    { digests: 'zz'.repeat(32) },
    { own: { rotten: ['x'], unknown: [] } },
    { own: { rotten: [] } },
    { own: undefined },
    { kind: 'content', bytes: '' },
    { kind: 'empty' },
  ])
    assert.equal(readAnswer({ ...asJson(encodeAnswer(1, answer)), ...change }, ask), null, JSON.stringify(change));
  const empty: Ask = { ...ask, kind: 'empty' };
  const data = { kind: 'empty', data: [[4096, 4096]], upTo: 12_288 };
  assert.deepEqual(readAnswer(data, empty), data);
  assert.equal(readAnswer({ ...data, upTo: 4096 }, empty), null);
  assert.equal(readAnswer({ ...data, data: [[0, 4096]] }, empty), null);
});

describe('a verify that waits for answers', () => {
  const order = { algorithm: 'sha256', reportOnly: false, bytesPerSecond: 0 } as const;
  const BYTES_MAX = 64 * 1024 * 1024;

  /** A primary whose one mirror answers nothing, and whose own digests never come. */
  function groundOf(asked: { readonly site: SiteName; readonly number: number }[]): VerifyGround {
    const rig = new ReplicaRig().start();
    rig.write(0, 0, 10, 0x31);
    rig.replica.commit(rig.replica.marks.received);
    const digests: BlockDigests = { ...blockDigests, digest: () => undefined };
    let number = 0;
    return {
      site: 'alpha',
      examined: { replica: rig.replica, bases: rig.bases, digests, learner: new Learner() },
      nextNumber: () => ++number,
      following: () => ['beta'],
      inStep: () => true,
      ask: (site, ask) => void asked.push({ site, number: ask.number }),
      askRecords: (site, ask) => void asked.push({ site, number: ask.number }),
      equal: () => undefined,
      append: () => null,
      found: () => assert.fail('nothing is wrong'),
      wake: () => undefined,
    };
  }

  test('ends the wait for records in time, also while hosts are not served and it may begin nothing', () => {
    const asked: { readonly site: SiteName; readonly number: number }[] = [];
    const verifier = new Verifier(groundOf(asked), order);
    verifier.turn(0, BYTES_MAX);
    assert.deepEqual(
      asked.map(({ site }) => site),
      ['alpha', 'beta'],
    );
    const late = verifier.deadline();
    verifier.turn(late, 0);
    assert.equal(verifier.deadline(), Infinity, 'seed 9841: a moment that is over, and nothing was done about it');
  });

  test('ends the wait for mirrors in time, and waits for its own disk as long as that takes', () => {
    const asked: { readonly site: SiteName; readonly number: number }[] = [];
    const verifier = new Verifier(groundOf(asked), order, { volume: 0, offset: 4096 });
    verifier.turn(0, BYTES_MAX);
    assert(verifier.busy && asked.length > 0);
    const late = verifier.deadline();
    assert(late < Infinity);
    verifier.turn(late, 0);
    assert.deepEqual([verifier.busy, verifier.deadline()], [true, Infinity], 'no moment is named at which nothing is done');
  });
});

test('a thread gives the digests that the main thread gives', async () => {
  const threads = new DigestThreads();
  const bytes = (): Uint8Array => Uint8Array.from({ length: 256 * 1024 }, (_, i) => (i * 31) % 253);
  for (const algorithm of ['sha256', 'crc32'] as const) {
    const waiting = new Promise<Uint8Array>((resolve) => {
      threads.digest(algorithm, bytes(), 65_536, resolve);
    });
    // Threads do not keep a process alive; a test does.
    const timer = setInterval(() => {}, 1000);
    assert.deepEqual(Buffer.from(await waiting), Buffer.from(digestBlocks(algorithm, bytes(), 65_536)));
    // Its memory has come back: a fresh piece would cost more than the digest.
    assert.equal(threads.take(256 * 1024)[1], 31);
    clearInterval(timer);
  }
  await threads.close();
});
