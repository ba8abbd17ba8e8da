// The JSON bodies: each is read back as it was written, and a field that is missing, of another type or out of range makes the whole one nothing.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { encodeUtf8 } from '../../../src/core/base/utf8.ts';
import { limits } from '../../../src/core/base/limits.ts';
import { readFollow, readHello, readJoin, readJoined, readLevel, readLevelEnd, readState } from '../../../src/core/mirror/forms.ts';
import { decodeJson, encodeJson } from '../../../src/core/mirror/messages.ts';
import { FOLLOW, HELLO, JOIN, JOINED, LEVEL, STATE } from './wire-sample.ts';

type Form = Readonly<Record<string, unknown>>;
const FORMS: readonly {
  name: string;
  read: (body: Uint8Array) => unknown;
  value: Form;
  texts: readonly string[];
  mayBeNull: readonly string[];
  /** May be null, and are no texts. */
  others?: readonly string[];
  /** Older programs leave it out. */
  newer?: string;
}[] = [
  {
    name: 'hello',
    read: readHello,
    value: { ...HELLO, versions: { min: 1, max: 2 } },
    texts: ['group', 'from', 'to'],
    mayBeNull: ['groupId'],
    newer: 'versions',
  },
  { name: 'state', read: readState, value: { ...STATE }, texts: ['role'], mayBeNull: ['groupId', 'primary'] },
  { name: 'join', read: readJoin, value: { ...JOIN }, texts: [], mayBeNull: ['needsCopy'], others: ['staged', 'scan'] },
  { name: 'follow', read: readFollow, value: { ...FOLLOW }, texts: [], mayBeNull: [], others: ['cutTo', 'scan', 'imageBytes'] },
  { name: 'joined', read: readJoined, value: { ...JOINED }, texts: [], mayBeNull: [] },
  { name: 'level', read: readLevel, value: { ...LEVEL, number: 3 }, texts: [], mayBeNull: [], newer: 'number' },
];

for (const { name, read, value, texts, mayBeNull, others = [], newer } of FORMS) {
  describe(`a ${name}`, () => {
    test('is read as it was written', () => {
      assert.deepEqual(read(encodeJson(value)), value);
    });

    test('of a newer program may say more, which is not handed on', () => {
      assert.deepEqual(read(encodeJson({ ...value, later: 1 })), value);
    });

    test('without one of its fields is none', () => {
      for (const field of Object.keys(value)) {
        if (field === newer) continue;
        const { [field]: _, ...rest } = value;
        assert.equal(read(encodeJson(rest)), null, field);
      }
    });

    test('with a field of another type is none', () => {
      for (const [field, right] of Object.entries(value)) {
        for (const wrong of [{}, [1], ...(typeof right === 'number' || others.includes(field) ? ['1', -1, 1.5, 2 ** 53, true] : [7])]) {
          assert.equal(read(encodeJson({ ...value, [field]: wrong })), null, `${field} = ${JSON.stringify(wrong)}`);
        }
        if (!mayBeNull.includes(field) && !others.includes(field)) assert.equal(read(encodeJson({ ...value, [field]: null })), null, field);
      }
    });

    test('has texts of a bounded length', () => {
      for (const field of [...texts, ...mayBeNull]) {
        assert.notEqual(read(encodeJson({ ...value, [field]: 'x'.repeat(128) })), null, field);
        assert.equal(read(encodeJson({ ...value, [field]: 'x'.repeat(129) })), null, field);
        assert.equal(read(encodeJson({ ...value, [field]: '' })), null, field);
      }
      for (const field of mayBeNull) assert.notEqual(read(encodeJson({ ...value, [field]: null })), null, field);
    });

    test('is never read out of rubbish', () => {
      for (const text of ['', '{', 'null', '[]', '7', '"hello"', '{"group":']) assert.equal(read(encodeUtf8(text)), null, text);
      fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (body) => read(body) === null));
      fc.assert(fc.property(fc.json(), (text) => read(encodeUtf8(text)) === null));
    });
  });
}

describe('mirrors that a primary has paused', () => {
  const state = (paused: unknown): unknown => readState(encodeJson({ ...STATE, paused }));

  test('are named in its state', () => assert.deepEqual(state(['near', 'far']), { ...STATE, paused: ['near', 'far'] }));

  test('are texts, and no more than there can be', () => {
    for (const wrong of [null, 'near', {}, [7], [''], ['near', null], Array.from({ length: limits.groupSitesMax }, () => 'near')])
      assert.equal(state(wrong), null, JSON.stringify(wrong));
  });
});

describe('what a site says of agreements', () => {
  const state = (agreement: unknown): unknown => readState(encodeJson({ ...STATE, agreement }));
  const NOTHING = { over: 2, asks: null, alone: false, yields: null, reaches: true };

  test('comes as it was sent', () => {
    for (const agreement of [
      NOTHING,
      { ...NOTHING, asks: { site: 'near', number: 3 }, alone: true, reaches: false },
      { ...NOTHING, yields: { to: 'prim', epoch: 4, number: 3 } },
    ])
      assert.deepEqual(state(agreement), { ...STATE, agreement });
    assert.deepEqual(readState(encodeJson({ ...STATE })), { ...STATE });
  });

  test('is nothing else', () => {
    const wrong: unknown[] = [null, 7, {}, { ...NOTHING, over: -1 }, { ...NOTHING, alone: 1 }, { ...NOTHING, reaches: undefined }];
    wrong.push({ ...NOTHING, asks: 'near' }, { ...NOTHING, asks: { site: '', number: 1 } }, { ...NOTHING, asks: { site: 'near' } });
    wrong.push({ ...NOTHING, yields: { to: 'prim', number: 1 } }, { ...NOTHING, yields: { to: 7, epoch: 1, number: 1 } });
    for (const each of wrong) assert.equal(state(each), null, JSON.stringify(each));
  });
});

describe('sizes that a site tells of its copy', () => {
  const state = (heldBytes: unknown, agreedBytes: unknown): unknown => readState(encodeJson({ ...STATE, heldBytes, agreedBytes }));

  test('come in pairs, each a list of whole blocks', () => {
    assert.deepEqual(state([8192, 4096], [4096, 4096]), { ...STATE, heldBytes: [8192, 4096], agreedBytes: [4096, 4096] });
    assert.deepEqual(readFollow(encodeJson({ ...FOLLOW, sizes: [4096] })), { ...FOLLOW, sizes: [4096] });
  });

  test('are nothing else', () => {
    for (const wrong of [null, 7, 'x', [7], [-4096], ['4096'], Array.from({ length: limits.groupVolumesMax + 1 }, () => 4096)]) {
      assert.equal(state(wrong, [4096]), null, JSON.stringify(wrong));
      assert.equal(state([4096], wrong), null, JSON.stringify(wrong));
      assert.equal(readFollow(encodeJson({ ...FOLLOW, sizes: wrong })), null, JSON.stringify(wrong));
    }
    assert.equal(readState(encodeJson({ ...STATE, heldBytes: [4096] })), null);
  });
});

test('the end of an offer names it, or comes from an older program', () => {
  const end = (more: object): unknown => readLevelEnd(encodeJson({ reason: 'no', ...more }));
  assert.deepEqual(end({}), { reason: 'no' });
  assert.deepEqual(end({ number: 3, gives: true }), { reason: 'no', number: 3, gives: true });
  for (const wrong of [{ number: -1 }, { number: '3' }, { gives: 1 }, { reason: 7 }, { reason: 'x'.repeat(501) }])
    assert.equal(end(wrong), null, JSON.stringify(wrong));
});

describe('a history on the wire', () => {
  const history = (list: unknown): unknown => readJoin(encodeJson({ ...JOIN, history: list }));

  test('may be empty', () => assert.notEqual(history([]), null));

  test('names rising epochs whose starts do not fall', () => {
    assert.equal(
      history([
        { epoch: 2, firstSeq: 1 },
        { epoch: 2, firstSeq: 5 },
      ]),
      null,
    );
    assert.equal(
      history([
        { epoch: 3, firstSeq: 1 },
        { epoch: 2, firstSeq: 5 },
      ]),
      null,
    );
    assert.equal(
      history([
        { epoch: 2, firstSeq: 6 },
        { epoch: 3, firstSeq: 5 },
      ]),
      null,
    );
    assert.notEqual(
      history([
        { epoch: 2, firstSeq: 5 },
        { epoch: 4, firstSeq: 5 },
      ]),
      null,
    );
  });

  test('has starts of two counts, and no more of them than a superblock holds', () => {
    for (const item of [null, 7, {}, { epoch: 1 }, { epoch: 1, firstSeq: -1 }, { epoch: '1', firstSeq: 1 }])
      assert.equal(history([item]), null);
    const starts = (count: number): unknown[] => Array.from({ length: count }, (_, i) => ({ epoch: i + 1, firstSeq: i }));
    assert.notEqual(history(starts(limits.historyEpochsMax)), null);
    assert.equal(history(starts(limits.historyEpochsMax + 1)), null);
  });
});

test('a rung is one that this version knows', () => {
  assert.notEqual(readFollow(encodeJson({ ...FOLLOW, rung: 'copy' })), null);
  assert.equal(readFollow(encodeJson({ ...FOLLOW, rung: 'guess' })), null);
});

test('a body that is not UTF-8 or no object is no JSON body', () => {
  assert.equal(decodeJson(new Uint8Array([0x7b, 0xff, 0x7d])), null);
  assert.equal(decodeJson(encodeUtf8('[{}]')), null);
  assert.deepEqual(decodeJson(encodeUtf8('{"a":[1]}')), { a: [1] });
});
