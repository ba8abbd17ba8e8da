// A port that nobody listens at, for a listener of a test.

import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** A free port of loopback. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
