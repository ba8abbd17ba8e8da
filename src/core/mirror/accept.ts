// An incoming connection is a stranger until its hello says which group and which site it is.

import { Link, type LinkOwner, type LinkReceiver } from './link.ts';
import type { Buffers, Clock, Compression, Digests, LinkPort } from '../base/ports.ts';

/**
 * Receives an incoming connection. `findSite` returns this machine's site of a group, or null when there is none; then the stranger is told so
 * and the connection closed. Whoever stays silent is closed by the shell's own deadline.
 */
export function acceptLink(
  port: LinkPort,
  findSite: (group: string) => LinkOwner | null,
  ports: { clock: Clock; digests: Digests; buffers: Buffers; compression: Compression | null },
): LinkReceiver {
  return new Link({ port, ...ports, dialled: null, findOwner: findSite });
}
