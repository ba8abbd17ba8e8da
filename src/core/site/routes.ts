// Which part of a site a message is for. A table, so that a new kind of message cannot be forgotten.

import type { MessageName } from '../mirror/messages.ts';

/** link: the connection and what a peer says of itself. lead: the reign here. follower: what this site follows. either: a scan, on both sides. verify: on both sides, too. */
type Route = 'link' | 'lead' | 'follower' | 'survivors' | 'either' | 'successor' | 'switchovers' | 'verify';

export const ROUTES: Readonly<Record<MessageName, Route>> = {
  hello: 'link',
  state: 'link',
  refuse: 'link',
  ping: 'link',
  join: 'lead',
  joined: 'lead',
  acknowledge: 'lead',
  heartbeatAnswer: 'lead',
  imageAcknowledge: 'lead',
  heldAcknowledge: 'lead',
  imageAsk: 'lead',
  handoverReady: 'lead',
  handover: 'successor',
  order: 'switchovers',
  orderAnswer: 'switchovers',
  verifyAsk: 'verify',
  verifyAnswer: 'verify',
  compare: 'survivors',
  level: 'survivors',
  levelEnd: 'survivors',
  digestAsk: 'either',
  digests: 'either',
  follow: 'follower',
  frame: 'follower',
  heartbeat: 'follower',
  held: 'follower',
  flush: 'follower',
  image: 'follower',
  imageEnd: 'follower',
  cursor: 'follower',
  bitmap: 'follower',
  packed: 'link',
  streamNumber: 'link',
  streamAcknowledge: 'link',
};
