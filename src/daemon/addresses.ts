// Addresses of the configuration as the listeners take them.

import { existsSync } from 'node:fs';

import type { Address } from '../api/address.ts';
import type { Way } from '../host/nbd-outgoing.ts';
import type { StreamAddress } from '../host/stream-address.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import type { SiteConfig } from './config.ts';

/** The same address in the listeners' form. */
export function streamAddress(address: Address): StreamAddress {
  return address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
}

const WILDCARDS = new Set(['0.0.0.0', '::']);

/**
 * How a site's port for hosts is reached from this machine: a local socket of another machine is not here. With certificates of one's own, by TLS
 * wherever the site has it, never without.
 */
export function waysTo(site: SiteConfig, material: TlsMaterial | null): readonly Way[] {
  const isSecured = material !== null && site.nbdTls !== 'off';
  const tls = isSecured ? { material, expected: { kind: 'site', name: site.name } as const } : null;
  return hostAddresses(site).map((address) => ({ address, tls: 'path' in address ? null : tls }));
}

function hostAddresses(site: SiteConfig): readonly StreamAddress[] {
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
