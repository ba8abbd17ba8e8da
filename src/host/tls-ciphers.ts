// Which cipher is tried first: the order of Node itself, AES-256-GCM before the others, where the machine has instructions for AES, as nearly all servers
// have. With them AES-128-GCM was measured, and is no cheaper for a link as a whole. Without them AES costs eight times what ChaCha20 does
// (docs/performance.md, "TLS on the links"). Nothing is added to what Node takes, and nothing left out.

import { constants } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { DEFAULT_CIPHERS } from 'node:tls';

const CHACHA = 'TLS_CHACHA20_POLY1305_SHA256';
const CPUINFO = '/proc/cpuinfo';

/** Whether a processor has instructions for AES, as far as that can be seen: `cpuinfo` is what the system says of it, null where it says nothing. */
export function hasAes(arch: string, cpuinfo: string | null): boolean {
  if (cpuinfo === null || !(arch === 'x64' || arch === 'arm64')) return true;
  return /^(?:flags|Features)\s*:.*\baes\b/m.test(cpuinfo);
}

/** A list of ciphers in the order for such a machine. */
export function orderedCiphers(ciphers: string, isAesFast: boolean): string {
  const names = ciphers.split(':');
  if (isAesFast || !names.includes(CHACHA)) return ciphers;
  return [CHACHA, ...names.filter((name) => name !== CHACHA)].join(':');
}

function readCpuinfo(): string | null {
  try {
    return readFileSync(CPUINFO, 'latin1');
  } catch {
    // Another system, or hidden from this process: then nothing is known.
    return null;
  }
}

/** For this machine. */
export const machineCiphers = orderedCiphers(DEFAULT_CIPHERS, hasAes(process.arch, readCpuinfo()));

/** The server's order counts, but where the client would have ChaCha20 first, which has its reason, that is taken. */
export const CIPHER_CHOICE = constants.SSL_OP_PRIORITIZE_CHACHA;
