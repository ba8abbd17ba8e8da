// What is read of the clear beginning of TLS: real ones at every length, and whatever else a stranger may send.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';
import { connect, type ConnectionOptions } from 'node:tls';
import fc from 'fast-check';

import { limits } from '../../../src/core/base/limits.ts';
import { linkProtocol, offeredProtocols } from '../../../src/host/client-hello.ts';

/** The first bytes that Node.js sends. */
async function beginning(options: ConnectionOptions): Promise<Buffer> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect({ host: '127.0.0.1', port, ...options });
  client.on('error', () => undefined);
  const [socket] = (await once(server, 'connection')) as [Socket];
  let bytes = Buffer.alloc(0);
  while (bytes.length < 5 || bytes.length < 5 + bytes.readUInt16BE(3))
    bytes = Buffer.concat([bytes, ((await once(socket, 'data')) as [Buffer])[0]]);
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

test('the protocol of a group is the same in every program of this version', () => {
  assert.equal(linkProtocol('db'), 'tercet-link/7bdc25d1694ef984');
  assert.notEqual(linkProtocol('db'), linkProtocol('db2'));
});

test('protocols are read once the record is whole, whatever comes behind it', async () => {
  const offered = [linkProtocol('db'), 'h2'];
  const hello = await beginning({ ALPNProtocols: offered, minVersion: 'TLSv1.3' });
  for (let length = 0; length < hello.length; length++) assert.equal(offeredProtocols(hello.subarray(0, length)), 'more', `${length}`);
  assert.deepEqual(offeredProtocols(hello), offered);
  assert.deepEqual(offeredProtocols(Buffer.concat([hello, Buffer.alloc(99, 0xff)])), offered);
  assert.equal(offeredProtocols(await beginning({ servername: 'somebody' })), null, 'who offers none says nothing');
});

test('what is no beginning of TLS, or is broken, says nothing and is not waited for', async () => {
  const hello = await beginning({ ALPNProtocols: [linkProtocol('db')] });
  assert.equal(offeredProtocols(Buffer.from('GET / HTTP/1.1\r\n')), 'no TLS');
  const long = Buffer.from(hello);
  long.writeUInt16BE(limits.clientHelloBytesMax + 1, 3);
  assert.equal(offeredProtocols(long), null);
  const flips = fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(flips, (changes) => {
      const broken = Buffer.from(hello);
      for (const [at, value] of changes) broken[at] = value;
      const found = offeredProtocols(broken);
      if (found === 'no TLS') assert.notEqual(broken[0], hello[0], 'it says so of no beginning of TLS');
      else assert.ok(found === null || found === 'more' || found.every((name) => name.length <= 255));
    }),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => offeredProtocols(Uint8Array.of(22, 3, 1, ...bytes)) !== 'no TLS'));
});
