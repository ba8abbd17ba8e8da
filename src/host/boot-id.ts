// Tells a crash of the program from a loss of power: the kernel draws a new boot id at each start of the machine. After the first, the page
// cache still has everything that was written; after the second it may not, and the replica is unclean.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';

const KERNEL_BOOT_ID = '/proc/sys/kernel/random/boot_id';

/**
 * The id of this start of the machine. Where the kernel does not say, each start of the process counts as one of the machine: an id of its
 * own, which makes the replica unclean and is the safe side.
 */
export function machineBootId(path: string = KERNEL_BOOT_ID): string {
  try {
    const id = readFileSync(path, 'latin1').trim();
    if (/^[0-9a-f-]{36}$/.test(id)) return id;
  } catch (error) {
    process.emitWarning(`${path} cannot be read (${String(error)}): this start counts as one after a loss of power`);
  }
  return randomUUID();
}
