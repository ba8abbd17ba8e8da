// An incoming connection is a stranger until its hello says which group and which site it is.

import { Link, type LinkOwner, type LinkReceiver } from './link.ts';
import { readHello } from './forms.ts';
import { MESSAGE_HEADER, MESSAGE_TYPES } from './messages.ts';
import { viewOf } from '../base/bytes.ts';
import { limits } from '../base/limits.ts';
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

/**
 * The group that a stranger's first bytes name; 'more' while that cannot be known yet, null where it never will: whoever takes the connection then checks
 * and refuses it, as everything that is looked at here.
 */
export function groupOfHello(bytes: Uint8Array): { readonly group: string } | 'more' | null {
  const { at, bytes: headBytes } = MESSAGE_HEADER;
  if (bytes.length < headBytes) return 'more';
  const view = viewOf(bytes);
  const bodyBytes = view.getUint32(at.bodyBytes, true);
  if (view.getUint16(at.type, true) !== MESSAGE_TYPES.hello || bodyBytes > limits.helloBytesMax) return null;
  if (bytes.length < headBytes + bodyBytes) return 'more';
  const hello = readHello(bytes.subarray(headBytes, headBytes + bodyBytes));
  return hello === null ? null : { group: hello.group };
}
