// Names that no other call anywhere returns, for requests and sessions.

import { randomUUID } from 'node:crypto';
import type { Random } from '../core/base/ports.ts';

/** Random names of 122 bits. */
export function machineRandom(): Random {
  return { id: () => randomUUID() };
}
