// What a session of one NBD client is made of, and how its handshake goes from one place to another.

import { limits } from '../base/limits.ts';
import type { Buffers } from '../base/ports.ts';
import { BYTES, MAGIC } from './constants.ts';
import type { HandshakeState, NbdCatalog, NbdTls } from './handshake.ts';
import type { HostMemory } from './memory.ts';
import type { NbdHandler } from './session.ts';

/** Bounds of one session; the defaults are those of limits.ts. */
export interface NbdSessionLimits {
  readonly optionBytesMax: number;
  readonly optionsMax: number;
  readonly requestsMax: number;
  readonly heldBytesMax: number;
  readonly requestBytesMax: number;
}

/** What a session is made of. */
export interface NbdSessionOptions {
  readonly catalog: NbdCatalog;
  readonly handler: NbdHandler;
  readonly limitsOverride?: Partial<NbdSessionLimits>;
  /** Whether STARTTLS is offered, or needed; 'off' by default. Not 'off' only where the shell can do it. */
  readonly tls?: NbdTls;
  /** Gives memory for replies and payloads, with any content; new zeroed memory by default. */
  readonly allocate?: (byteCount: number) => Uint8Array;
  /** Memory for payloads that come in several pieces, which goes back when their request is answered. */
  readonly payloads?: Buffers;
  /** What this client shares with others; without it there is no limit but its own. */
  readonly memory?: HostMemory;
  /** Of a client whose handshake began elsewhere: it is not greeted. */
  readonly state?: HandshakeState | undefined;
}

/** Those of limits.ts. */
export const SESSION_LIMITS: NbdSessionLimits = {
  optionBytesMax: limits.nbdOptionBytesMax,
  optionsMax: limits.nbdOptionsMax,
  requestsMax: limits.nbdRequestsMax,
  heldBytesMax: limits.nbdHeldBytesMax,
  requestBytesMax: limits.requestBytesMax,
};

/** A handshake that goes on elsewhere. */
export interface MovedHandshake {
  readonly state: HandshakeState;
  /** What is received there first: the option that made it move, and what the client has sent behind it. */
  readonly bytes: readonly Uint8Array[];
}

/** An option as its client has sent it, in memory of its own. */
export function optionBytes(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(BYTES.optionHead + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC.OPTION[0]);
  view.setUint32(4, MAGIC.OPTION[1]);
  view.setUint32(8, option);
  view.setUint32(12, data.length);
  bytes.set(data, BYTES.optionHead);
  return bytes;
}
