// One message of each kind, with values that show where each field lies. test/golden/wire-v1.bin is exactly these, one behind the other.

import { type Answer, type Ask, encodeAnswer, encodeAsk } from '../../../src/core/scan/examine.ts';
import { encodeFrame, frameBytes } from '../../../src/core/record/encode.ts';
import { RECORD_KIND } from '../../../src/core/record/layout.ts';
import type {
  Follow,
  HandoverMessage,
  Hello,
  Join,
  Joined,
  Level,
  PassedOutcome,
  PeerState,
  Standing,
} from '../../../src/core/mirror/forms.ts';
import type { Held } from '../../../src/core/mirror/held.ts';
import {
  ACKNOWLEDGE_BODY,
  BITMAP_BODY,
  DIGEST_BODY,
  IMAGE_ASK_BODY,
  CURSOR_BODY,
  encodeHeader,
  encodeJson,
  encodeMessage,
  encodeNumbers,
  FLUSH_BODY,
  HEARTBEAT_ANSWER_BODY,
  HEARTBEAT_BODY,
  HELD_ACKNOWLEDGE_BODY,
  IMAGE_ACKNOWLEDGE_BODY,
  IMAGE_BODY,
  IMAGE_END_BODY,
  PACKED_BODY,
  STREAM_ACKNOWLEDGE_BODY,
  STREAM_NUMBER_BODY,
  STREAM_RANGE,
  type MessageName,
} from '../../../src/core/mirror/messages.ts';
import { digests, GROUP_TAG } from '../../support/records.ts';

/** Of a program that names no versions, as the first one did: it speaks version 1 only. */
export const HELLO: Omit<Hello, 'versions'> = { group: 'db', groupId: 'test-group', from: 'near', to: 'alpha' };
export const STATE: PeerState = {
  role: 'standby',
  groupId: 'test-group',
  epoch: 2,
  endEpoch: 2,
  endSeq: 105,
  chain: 3_735_928_559,
  unclean: true,
  consistent: true,
  startCount: 4,
  primary: null,
};
export const JOIN: Join = {
  epoch: 2,
  history: [
    { epoch: 1, firstSeq: 1 },
    { epoch: 2, firstSeq: 101 },
  ],
  received: 105,
  durable: 103,
  destageTarget: 90,
  oldest: 41,
  consistent: true,
  unclean: true,
  partial: false,
  scan: { algorithm: 'md5', compare: 'mirror', confirm: true },
  staged: {
    rung: 'scan',
    scan: { algorithm: 'sha1', compare: 'primary', confirm: false },
    fromSeq: 90,
    upTo: { epoch: 2, seq: 105 },
    cursor: { volume: 1, offset: 16_384 },
    olderHistory: [{ epoch: 1, firstSeq: 1 }],
    olderSeq: 80,
  },
  needsCopy: null,
};
export const FOLLOW: Follow = {
  epoch: 3,
  history: [...JOIN.history, { epoch: 3, firstSeq: 104 }],
  rung: 'delta',
  resume: false,
  scan: { algorithm: 'sha256', compare: 'primary', confirm: false, levels: [1_048_576, 4096], chunkBytes: 1_048_576 },
  from: { volume: 0, offset: 0 },
  position: 103,
  cutTo: null,
  imageBytes: 65_536,
  chain: 3_735_928_559,
  target: 110,
  retain: 80,
};
export const HELD: Held = { epoch: 3, number: 12, copies: [{ site: 'far', received: 104, durable: 101 }] };
export const STANDING: Standing = {
  epoch: 3,
  history: FOLLOW.history,
  received: 110,
  committed: 106,
  destageTarget: 90,
  oldest: 41,
  chain: 3_405_691_582,
  consistent: true,
};
export const LEVEL: Level = { epoch: 3, history: FOLLOW.history, position: 103, chain: 3_735_928_559, target: 110 };
export const JOINED: Joined = { epoch: 3, received: 103, durable: 103 };

/** A frame of one small write, as a sidefile holds it. */
export function sampleFrame(): Uint8Array {
  const payload = new Uint8Array([0x54, 0x65, 0x72, 0x63, 0x65, 0x74, 0x21, 0x0a]);
  const records = [{ kind: RECORD_KIND.write, volume: 1, offset: 12_288, length: payload.length, payload }];
  const head = { groupTag: GROUP_TAG, epoch: 3, firstSeq: 104, timeMillis: 1_700_000_000_000, chainBefore: 0xdead_beef, committed: 103 };
  return encodeFrame(head, records, new Uint8Array(frameBytes(records)), digests).bytes;
}

export interface Sample {
  readonly name: MessageName;
  readonly meaning: string;
  readonly bytes: Uint8Array;
}

function whole(name: MessageName, meaning: string, body: Uint8Array): Sample {
  return { name, meaning, bytes: encodeMessage(name, body, digests) };
}

/** A frame's body has its own checksums, so its message says 0. */
function frame(): Sample {
  const body = sampleFrame();
  const header = encodeHeader('frame', { bytes: body.length, crc: 0 }, digests);
  return {
    name: 'frame',
    meaning: 'primary to mirror: records, as they stand in the sidefile',
    bytes: new Uint8Array([...header, ...body]),
  };
}

const HANDOVER: HandoverMessage = { step: 'offer', epoch: 3, seq: 104, chain: 0xdead_beef };
const ORDER_ANSWER: PassedOutcome = { number: 1, done: false, text: 'near is not in step', remedy: 'wait' };

/** A question of a verify, and the answer to it. */
export const ASK: Ask = {
  number: 7,
  kind: 'digest',
  seq: 104,
  volume: 1,
  offset: 8192,
  length: 4096,
  algorithm: 'crc32',
  blockBytes: 4096,
};
export const ANSWER: Answer = { kind: 'digest', digests: new Uint8Array([0xca, 0xfe, 0xf0, 0x0d]), own: { rotten: [2], unknown: [] } };

/** The bytes "Te" and 4094 zeroes, packed by zstd. */
export const PACKED: Uint8Array = new Uint8Array(Buffer.from('28b52ffd60000f550000185465000100faf7c110', 'hex'));

/** Everything up to 20, and 23 to 25. */
const STREAM_ACKNOWLEDGEMENT = new Uint8Array([
  ...encodeNumbers(STREAM_ACKNOWLEDGE_BODY, [20, 1, 0]),
  ...encodeNumbers(STREAM_RANGE, [23, 25]),
]);

/** All kinds, in the order of their numbers. */
export function wireSamples(): readonly Sample[] {
  const image = encodeNumbers(IMAGE_BODY, [3, 1, 8192, 4, 1, 1, 0]);
  return [
    whole('hello', 'first message of each side', encodeJson(HELLO)),
    whole('state', 'each to each: what a site says of itself', encodeJson(STATE)),
    whole('join', 'mirror to primary: asks to follow', encodeJson(JOIN)),
    whole('follow', 'primary to mirror: from where', encodeJson(FOLLOW)),
    whole('joined', 'mirror to primary: it follows', encodeJson(JOINED)),
    frame(),
    whole('acknowledge', 'mirror to primary: what it holds', encodeNumbers(ACKNOWLEDGE_BODY, [3, 104, 103, 90])),
    whole('heartbeat', 'primary to mirror: asks for a promise', encodeNumbers(HEARTBEAT_BODY, [3, 17, 103, 80])),
    whole('heartbeatAnswer', 'mirror to primary: promises', encodeNumbers(HEARTBEAT_ANSWER_BODY, [3, 17, 1500, 0])),
    whole('flush', 'primary to mirror: make durable', encodeNumbers(FLUSH_BODY, [3, 104])),
    whole('image', 'primary to mirror: content of a range', new Uint8Array([...image, 0xca, 0xfe, 0xf0, 0x0d])),
    whole('imageEnd', 'primary to mirror: the end marker of a whole copy', encodeNumbers(IMAGE_END_BODY, [3, 104])),
    whole('imageAcknowledge', 'mirror to primary: images written', encodeNumbers(IMAGE_ACKNOWLEDGE_BODY, [3, 1])),
    whole('refuse', 'each to each: why the connection ends', encodeJson({ reason: 'this is site "near", not "far"' })),
    whole('ping', 'each to each: still here', new Uint8Array(0)),
    whole('cursor', 'primary to mirror: how far a resync is settled', encodeNumbers(CURSOR_BODY, [3, 1, 104, 16_384, 1, 0])),
    whole('bitmap', 'primary to mirror: the bitmap of another peer', encodeNumbers(BITMAP_BODY, [3, 90, 104, 0, 65_536, 2, 1, 1, 0, 0])),
    whole('compare', 'survivor to survivor: how far its copy is', encodeJson(STANDING)),
    whole('level', 'survivor to survivor: what it can give', encodeJson(LEVEL)),
    whole('levelEnd', 'survivor to survivor: why that does not go on', encodeJson({ reason: 'nothing more has come in time' })),
    whole('held', 'primary to mirror: what other copies hold', encodeJson(HELD)),
    whole('heldAcknowledge', 'mirror to primary: it has heard that', encodeNumbers(HELD_ACKNOWLEDGE_BODY, [3, 12, 41, 1_048_576])),
    whole('digestAsk', 'each to each: what are the digests of a range', encodeNumbers(DIGEST_BODY, [3, 7, 0, 8192, 8192, 1, 1])),
    whole(
      'digests',
      'each to each: these',
      new Uint8Array([...encodeNumbers(DIGEST_BODY, [3, 7, 0, 8192, 8192, 1, 1]), 0xde, 0xad, 0xbe, 0xef]),
    ),
    whole('imageAsk', 'mirror to primary: the blocks that it needs', encodeNumbers(IMAGE_ASK_BODY, [3, 4096, 8192, 1, 1])),
    whole('handover', 'primary to mirror: its final position, and what became of it', encodeJson(HANDOVER)),
    whole('handoverReady', 'mirror to primary: it holds everything on its disk', encodeJson({ epoch: 3, seq: 104, refused: null })),
    whole('order', 'mirror to primary: an order that was given there', encodeJson({ number: 1, to: 'near', dryRun: false })),
    whole('orderAnswer', 'primary to mirror: what became of it', encodeJson(ORDER_ANSWER)),
    whole('verifyAsk', 'primary to mirror: a question about a range as of a record', encodeJson(encodeAsk(ASK))),
    whole('verifyAnswer', 'mirror to primary: its answer', encodeJson(encodeAnswer(7, ANSWER))),
    whole('packed', 'each to each: a frame or an image, packed', new Uint8Array([...encodeNumbers(PACKED_BODY, [11, 0, 4096]), ...PACKED])),
    whole('streamNumber', 'each to each: the place of the next message in the order of the link', encodeNumbers(STREAM_NUMBER_BODY, [31])),
    whole('streamAcknowledge', 'each to each: messages that have arrived', STREAM_ACKNOWLEDGEMENT),
  ];
}
