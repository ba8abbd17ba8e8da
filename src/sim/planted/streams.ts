// Planted bugs of links of several streams.

import type { PlantedBug } from '../planted.ts';

const SEND = 'mirror/stream-send.ts';
const RECEIVE = 'mirror/stream-receive.ts';
const ORDER = 'mirror/stream-order.ts';

export const STREAM_BUGS: readonly PlantedBug[] = [
  {
    name: 'what a stream brings too early is handed on at once',
    breaks: 'L1 liveness',
    edits: [
      {
        file: RECEIVE,
        find: 'if (number > this.#upTo + 1) return this.#keep(number, message);\n    this.#upTo = number;',
        replace: 'this.#upTo = Math.max(this.#upTo, number);',
      },
      { file: RECEIVE, find: 'if (number <= this.#upTo || this.#early.has(number)) return null;', replace: '' },
    ],
  },
  {
    name: 'what a lost stream had on its way goes again from one message too late on',
    breaks: 'L1 liveness',
    edits: [
      {
        file: SEND,
        find: 'let index = this.#head; index < this.#flight.length && !',
        replace: 'let index = this.#head + 1; index < this.#flight.length && !',
      },
    ],
  },
  {
    name: 'ranges that have arrived are acknowledged as if nothing were missing before them',
    breaks: 'L1 liveness',
    edits: [
      {
        file: RECEIVE,
        find: 'body.set(encodeNumbers(STREAM_ACKNOWLEDGE_BODY, [this.#upTo, ranges.length, 0]));',
        replace:
          'if (ranges.length > 0) return encodeNumbers(STREAM_ACKNOWLEDGE_BODY, [ranges[ranges.length - 1]?.to ?? 0, 0, 0]);\n    body.set(encodeNumbers(STREAM_ACKNOWLEDGE_BODY, [this.#upTo, 0, 0]));',
      },
    ],
  },
  {
    name: 'the end marker of a copy overtakes its images',
    breaks: 'R5 contents',
    edits: [{ file: ORDER, find: 'imageEnd: true,', replace: 'imageEnd: false,' }],
  },
];
