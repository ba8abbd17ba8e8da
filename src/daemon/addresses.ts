// Addresses of the configuration as the listeners take them.

import { existsSync } from 'node:fs';

import type { Address } from '../api/address.ts';
import type { StreamAddress } from '../host/stream-server.ts';
import type { SiteConfig } from './config.ts';

/** The same address in the listeners' form. */
export function streamAddress(address: Address): StreamAddress {
  return address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
}

const WILDCARDS = new Set(['0.0.0.0', '::']);

/** Where a site takes hosts, as far as it may be reached from this machine: a local socket of another machine is not here. */
export function hostAddresses(site: SiteConfig): readonly StreamAddress[] {
  const addresses: StreamAddress[] = [];
  for (const address of site.nbd) {
    if (address.kind === 'unix') {
      if (existsSync(address.path)) addresses.push({ path: address.path });
    } else if (!WILDCARDS.has(address.host)) addresses.push({ host: address.host, port: address.port });
    // It listens everywhere: also where its peers reach it.
    else if (site.link.kind === 'tcp') addresses.push({ host: site.link.host, port: address.port });
  }
  return addresses;
}
