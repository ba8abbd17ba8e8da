// Addresses of the configuration as the listeners take them.

import type { Address } from '../api/address.ts';
import type { StreamAddress } from '../host/stream-server.ts';

/** The same address in the listeners' form. */
export function streamAddress(address: Address): StreamAddress {
  return address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
}
