// The certificate that a command on this machine shows: that of the site whose key this user can read.

import { accessSync, constants } from 'node:fs';

import { TlsMaterial } from '../host/tls-material.ts';
import type { Config } from './config.ts';
import { tlsFilesOf } from './config.ts';

/** null where links are not encrypted. Throws TERCET_TLS when no site's key can be read here, or the files are not sound. */
export function machineTls(config: Config): TlsMaterial | null {
  const files = config.sites.flatMap(({ name }) => tlsFilesOf(config, name) ?? []);
  const own = files.find(({ key }) => canRead(key)) ?? files[0];
  return own === undefined ? null : new TlsMaterial(own, null);
}

/** Whether this user can read a file. */
export function canRead(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    // Not there, or not for this user: the same for whoever asks.
    return false;
  }
}
