// What the clock brings to a site: each source with what a tick does at its moment. Whoever adds a moment adds it here, beside what turn() or tick() does
// about it in the same state: a moment that no call looks at is a loop.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { Promised } from '../arbiter/lease.ts';
import type { Millis } from '../base/units.ts';
import type { Replica } from '../replica/replica.ts';
import type { Source } from './alarm.ts';
import type { Connections } from './connections.ts';
import type { Role, SiteOptions } from './contract.ts';
import { probeMillisOf } from './desk.ts';
import type { HostDesk } from './hosts.ts';
import type { Lead } from './lead.ts';
import type { Pauses } from './pauses.ts';
import type { Successor } from './successor.ts';
import type { Upkeep } from './upkeep.ts';
import type { VerifyDesk } from './verify-desk.ts';
import type { WitnessMove } from './witness-move.ts';

/** The parts of a site that wait for the clock. */
export interface WaitingParts {
  readonly options: SiteOptions;
  readonly desk: WitnessDesk;
  readonly hosts: HostDesk;
  readonly connections: Connections;
  readonly witnessMove: WitnessMove;
  readonly successor: Successor;
  readonly pauses: Pauses;
  readonly verifies: VerifyDesk;
  readonly upkeep: Upkeep;
  readonly role: () => Role;
  readonly replica: () => Replica | null;
  readonly lead: () => Lead | null;
  readonly promised: () => Promised;
}

/** Roles in which turn() looks at what was offered by a handover. */
const TAKES_OVER: ReadonlySet<Role> = new Set(['standby', 'joining', 'mirror']);

/** All that a site may have to wait for. */
export function sourcesOf(parts: WaitingParts): readonly Source[] {
  const { options, desk, hosts, connections, witnessMove, successor, pauses, verifies, upkeep, role, replica, lead } = parts;
  const { timings } = options;
  return [
    { name: 'witness', does: 'the witness is asked again for a change', at: () => desk.deadline() },
    { name: 'probe', does: 'the witness is asked for its state', at: () => desk.probeDeadline(probeMillisOf(role(), timings)) },
    { name: 'hosts', does: 'requests that have waited too long fail', at: () => hosts.deadline() },
    { name: 'links', does: 'a ping is sent, or a silent connection closed', at: () => connections.deadline() },
    { name: 'witness-move', does: 'a new witness gets the report of this copy', at: (now) => witnessMove.deadline(now) },
    {
      name: 'offer',
      does: 'the witness is asked what became of the reign that was offered',
      at: () => (TAKES_OVER.has(role()) ? successor.deadline() : Infinity),
    },
    { name: 'pauses', does: 'whoever ordered a pause is answered', at: () => pauses.deadline() },
    { name: 'verify', does: 'a verify goes on, or ends a wait', at: () => (lead() === null ? Infinity : verifies.deadline()) },
    {
      name: 'claim',
      does: 'it looks whether it may claim',
      at: (now) => (role() === 'standby' ? Math.max(parts.promised().until, now + timings.heartbeatMillis / 4) : Infinity),
    },
    { name: 'upkeep', does: 'records are made durable, or moved to the base image', at: (now) => upkeepAt(upkeep, replica(), now) },
    { name: 'heartbeat', does: 'the peers are asked for their promise', at: () => lead()?.heartbeatDue ?? Infinity },
    { name: 'held', does: 'the mirrors are told what the others hold', at: () => lead()?.held.deadline() ?? Infinity },
    { name: 'handover', does: 'a handover is given up', at: () => lead()?.handover?.deadline() ?? Infinity },
    { name: 'writers', does: 'hosts that were slowed down write on', at: () => lead()?.writers.deadline ?? Infinity },
    { name: 'membership', does: 'a peer is excluded', at: () => lead()?.membershipDue ?? Infinity },
    { name: 'sending', does: 'records or images are sent', at: () => lead()?.sendingDue ?? Infinity },
  ];
}

function upkeepAt(upkeep: Upkeep, replica: Replica | null, now: Millis): Millis {
  return replica?.failure === null ? upkeep.deadline(replica, now) : Infinity;
}
