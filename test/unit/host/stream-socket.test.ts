// A connection over a real local socket.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { BufferPool } from '../../../src/host/buffers.ts';
import { machineClock } from '../../../src/host/clock.ts';
import { acceptStream, type StreamSocket } from '../../../src/host/stream-socket.ts';
import { TurnScheduler } from '../../../src/host/wake.ts';

test('a local connection takes more than the 208 KiB of the system before the other end has read any', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tercet-stream-'));
  const path = join(folder, 's');
  const options = { buffers: new BufferPool(1 << 20), turns: new TurnScheduler(machineClock()), validity: 'turn' as const };
  const accepted = new Promise<StreamSocket>((resolve) => {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket: Socket) => {
      const stream = acceptStream(socket, options);
      stream.start({ received: () => undefined, ended: () => undefined, closed: () => server.close() });
      resolve(stream);
    }).listen(path);
  });
  const client = connect({ path });
  client.pause();
  await once(client, 'connect');
  const stream = await accepted;
  stream.write([new Uint8Array(300_000)]);
  const left = stream.backlogBytes;
  client.destroy();
  stream.destroy('the test is over');
  rmSync(folder, { recursive: true });
  assert.equal(left, 0);
});
