// Bugs of agreements without the witness: each step of pre-election left out, or in another order.

import type { PlantedBug } from '../planted.ts';

const AGREEMENT = 'site/agreement.ts';
const STANDBY = 'site/standby.ts';
const MEMBERSHIP = 'site/membership.ts';
const focus = { story: 'agreed', settings: { preElectionMillis: 300 } } as const;

export const AGREEMENT_BUGS: readonly PlantedBug[] = [
  {
    name: 'may go on alone before its mirror has noted it',
    breaks: '25 agreement',
    edits: [
      {
        file: AGREEMENT,
        find: "if (peer?.attached !== 'following' || !this.#hasLeft(peer.peer, asking.number, replica.epoch)) return;",
        replace: "if (peer?.attached !== 'following') return;",
      },
      { file: AGREEMENT, find: 'peer.peer.said !== null && !this.#hasLeft(peer.peer, number, replica.epoch)', replace: 'false' },
    ],
    focus,
  },
  {
    name: 'the mirror tells that it has left the right before that is on its disk',
    breaks: '25 agreement',
    edits: [{ file: AGREEMENT, find: 'yields: yieldsOf(replica, durable),', replace: 'yields: yieldsOf(replica, noteOf(replica)),' }],
    focus,
  },
  {
    name: 'claims although it has left the right',
    breaks: '25 agreement',
    edits: [{ file: STANDBY, find: 'if (leftTo !== null)', replace: "if (leftTo === '')" }],
    focus,
  },
  {
    name: 'says that it is over while it holds the right',
    breaks: '25 agreement',
    edits: [
      {
        file: AGREEMENT,
        find: '[this.#asking?.number, this.#right?.number, alone?.number]',
        replace: '[this.#asking?.number, alone?.number]',
      },
    ],
    focus,
  },
  {
    name: 'says that it is over before the witness has heard',
    breaks: '25 agreement',
    edits: [
      {
        file: AGREEMENT,
        find: '[this.#asking?.number, this.#right?.number, alone?.number]',
        replace: '[this.#asking?.number, this.#right?.number]',
      },
    ],
    focus,
  },
  {
    name: 'a restart forgets that it went on alone',
    breaks: '1 one primary',
    edits: [
      {
        file: AGREEMENT,
        find: 'this.#note(replica, { alone: { without: peer.site, epoch: replica.epoch, number: right.number } }, done);',
        replace: 'this.#note(replica, {}, done);',
      },
    ],
    focus,
  },
  {
    name: 'uses the right before its records are on its disk',
    breaks: 'R8 durable',
    edits: [
      {
        file: MEMBERSHIP,
        find: 'if (this.#replica.marks.durable < excluding.flushTo) {',
        replace: 'if (!alone && this.#replica.marks.durable < excluding.flushTo) {',
      },
    ],
    focus,
  },
  {
    name: 'the witness never hears that a primary went on alone',
    breaks: 'L1 liveness',
    edits: [
      {
        file: MEMBERSHIP,
        find: "if (this.#telling === 'told' || this.#desk.busy || this.#desk.reachable !== true ||",
        replace: 'if (this.#desk.busy || this.#desk.reachable !== null ||',
      },
    ],
    focus,
  },
];
