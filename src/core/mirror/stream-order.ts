// Which messages of a link keep their place among each other when it has several streams. Those that do are numbered, and are handed on in the order
// of their numbers, by whichever connection they come. The others travel on the first connection, in their order, and may overtake those: they are
// few, and promises rest on them, which must not wait for bulk. docs/internals/wire.md says for each why that is safe.

import type { MessageName } from './messages.ts';

export const KEEPS_PLACE: Readonly<Record<MessageName, boolean>> = {
  // Before there is an order, or the end of it.
  hello: false,
  refuse: false,
  // They say nothing of what comes before or behind them.
  ping: false,
  streamNumber: false,
  streamAcknowledge: false,
  // A heartbeat's positions are bounded by what has arrived, and its epoch by that of the copy; its answer speaks of the heartbeat alone.
  heartbeat: false,
  heartbeatAnswer: false,
  state: true,
  join: true,
  follow: true,
  joined: true,
  frame: true,
  acknowledge: true,
  flush: true,
  image: true,
  imageEnd: true,
  imageAcknowledge: true,
  cursor: true,
  bitmap: true,
  compare: true,
  level: true,
  levelEnd: true,
  held: true,
  heldAcknowledge: true,
  digestAsk: true,
  digests: true,
  imageAsk: true,
  handover: true,
  handoverReady: true,
  order: true,
  orderAnswer: true,
  verifyAsk: true,
  verifyAnswer: true,
  packed: true,
};

/** What goes over the streams, whichever is free; everything else stays on the first connection. */
export function isBulk(name: MessageName): boolean {
  return name === 'frame' || name === 'image' || name === 'packed';
}

/** A range of numbers, both ends included. */
export interface NumberRange {
  readonly from: number;
  readonly to: number;
}
