// Which group a stranger's first bytes name, at every length of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { limits } from '../../../src/core/base/limits.ts';
import { groupOfHello } from '../../../src/core/mirror/accept.ts';
import { encodeJson, HELLO_VERSION, MESSAGE_HEADER, MESSAGE_TYPES } from '../../../src/core/mirror/messages.ts';

function message(type: number, body: Uint8Array, bodyBytes = body.length): Uint8Array {
  const head = Buffer.alloc(MESSAGE_HEADER.bytes);
  head.writeUInt16LE(HELLO_VERSION, MESSAGE_HEADER.at.version);
  head.writeUInt16LE(type, MESSAGE_HEADER.at.type);
  head.writeUInt32LE(bodyBytes, MESSAGE_HEADER.at.bodyBytes);
  return Buffer.concat([head, body]);
}

const body = encodeJson({ group: 'db', groupId: null, from: 'alpha', to: 'beta', versions: { min: 1, max: 1 } });

test('a hello names its group once it is whole, whatever comes behind it', () => {
  const hello = message(MESSAGE_TYPES.hello, body);
  for (let length = 0; length < hello.length; length++) assert.equal(groupOfHello(hello.subarray(0, length)), 'more', `${length}`);
  assert.deepEqual(groupOfHello(hello), { group: 'db' });
  assert.deepEqual(groupOfHello(Buffer.concat([hello, Buffer.alloc(99, 0xff)])), { group: 'db' });
});

test('what is no hello, or longer than any, is not waited for', () => {
  assert.equal(groupOfHello(message(MESSAGE_TYPES.state, body)), null);
  assert.equal(groupOfHello(message(MESSAGE_TYPES.hello, Buffer.from('{"group": 3}'))), null);
  assert.equal(groupOfHello(message(MESSAGE_TYPES.hello, Buffer.alloc(0), limits.helloBytesMax + 1)), null);
  assert.equal(groupOfHello(Buffer.from('GET / HTTP/1.1\r\nhost: here\r\n\r\n')), null);
});
