// What a site says of itself to its peers: its part, and how far its copy is, as of the moment when it is sent.

import { ORIGIN } from '../base/position.ts';
import type { Epoch, SiteName } from '../base/units.ts';
import type { Follower } from '../mirror/follow.ts';
import { readState, type PeerState } from '../mirror/forms.ts';
import type { Link } from '../mirror/link.ts';
import { decodeJson, type Message } from '../mirror/messages.ts';
import type { Peer } from '../mirror/peer.ts';
import type { Replica } from '../replica/replica.ts';
import type { Agreements } from './agreement.ts';
import type { Role } from './contract.ts';
import type { Members } from './members.ts';
import { pausedOf } from './pauses.ts';

export function stateOf(site: {
  role: Role;
  groupId: string | null;
  replica: Replica | null;
  primary: SiteName | null;
  members: Members;
  agreements: Agreements;
}): PeerState {
  const { role, groupId, replica, primary, members, agreements } = site;
  const agreement = agreements.said();
  const end = replica?.end ?? ORIGIN;
  const paused = role === 'primary' && replica !== null ? pausedOf(replica) : [];
  return {
    role,
    groupId,
    epoch: replica?.epoch ?? 0,
    endEpoch: end.epoch,
    endSeq: end.seq,
    chain: replica?.chain ?? 0,
    // As it is on disk: what others build on it must survive a crash here.
    unclean: replica?.superblock.durableValue.unclean ?? false,
    consistent: replica?.superblock.durableValue.consistent ?? false,
    startCount: replica?.startCount ?? 0,
    primary,
    wish: members.wish,
    ...(role === 'primary' && { members: members.list }),
    ...(paused.length > 0 && { paused }),
    ...(agreement !== undefined && { agreement }),
    ...(replica !== null && {
      heldBytes: replica.volumes.map(({ sizeBytes }) => sizeBytes),
      agreedBytes: replica.sizes.agreed.map(({ sizeBytes }) => sizeBytes),
    }),
  };
}

/** What a peer says of itself, or that it refuses to talk: kept with the peer. Null when it has said nothing new of itself. */
export function heardOf(peer: Peer, link: Link, message: Message): PeerState | null {
  if (message.name === 'refuse') {
    const reason = decodeJson(message.body)?.['reason'];
    peer.lastError = typeof reason === 'string' ? reason : 'refused without a reason';
    link.close(`${peer.name} refused: ${peer.lastError}`);
  }
  if (message.name !== 'state') return null;
  const said = readState(message.body);
  if (said === null) link.refuse('a state message is malformed');
  else peer.said = said;
  return said;
}

/** Whether what a site follows is not the primary of the newest epoch that there is. */
export function followsOlder(follower: Follower | null, better: Peer, epoch: Epoch): boolean {
  return follower !== null && better.link !== follower.link && (better.said?.epoch ?? 0) > epoch;
}
