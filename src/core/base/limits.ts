// Every bound of the system in one place, with its reason. A limit met is never an accident: each has a behaviour that its user documents.

import { assert } from './assert.ts';
import { BLOCK_BYTES } from './units.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

export const limits = {
  /** Largest payload of one host request, and so of one record: what Linux and nbdkit send at most. */
  requestBytesMax: 64 * MIB,
  /** What is advertised to clients as the maximum block size. */
  requestBytesAdvertised: 32 * MIB,
  /** Longest range of one zeroes or trim record: larger requests become several records. */
  zeroesBytesMax: 1024 * MIB,
  /** Records in one frame: bounds the table that is read before its checksum is known. */
  frameRecordsMax: 4096,
  /** Payload after which a batch is closed and the next frame begun; one larger record makes a frame of its own. */
  framePayloadBytesTarget: 1 * MIB,
  /** Largest frame altogether. */
  frameBytesMax: 65 * MIB,
  /** Epoch starts that a superblock remembers. Older ones are forgotten from the front, never below what the sidefile still holds. */
  historyEpochsMax: 128,
  /** Bytes of one slot of a superblock or of the witness's store. */
  cellSlotBytes: 16 * KIB,
  /** Volumes of one group. */
  groupVolumesMax: 64,
  /** Sites of one group. */
  groupSitesMax: 8,
  /** Largest volume: 2^53 bytes would still count exactly; this leaves room for sums. */
  volumeBytesMax: 1024 * 1024 * 1024 * MIB,
  /** Length of group, volume and site names. */
  nameCharsMax: 32,
  /** Blocks up to which a zeroes or trim record is entered block by block in the overlay instead of as a range. */
  overlayZeroBlocksMax: 64,
  /** Ranges of zeroes in the overlay, above which writers wait for destaging. */
  overlayZeroRangesMax: 4096,
  /** Points of one copy that stand at once; of those that have ended as many are told of. */
  pointsMax: 8,
  /** Blocks in the overlays of a copy and of its points together, while a point holds records back: each takes up to 110 bytes. */
  pointBlocksMax: 2 * 1024 * 1024,
  /** Largest message between sites: one frame and its head. */
  messageBytesMax: 66 * MIB,
  /** Largest control message (JSON) between sites. */
  controlBytesMax: 256 * KIB,
  /** Largest frame of a peer before it has said who it is: bounds what a stranger can make us hold. */
  helloBytesMax: 4 * KIB,
  /** Bytes sent to a peer and not yet acknowledged as received. */
  peerWindowBytes: 16 * MIB,
  /** Streams of one link. */
  linkStreamsMax: 8,
  /** Bytes of messages of a link that may be on their way behind one that has not arrived: as many wait there at most, and one message more. */
  streamAheadBytes: 64 * MIB,
  /** The same in messages. */
  streamAheadCount: 16_384,
  /** Ranges above the contiguous position that one acknowledgement tells; the lowest ones when there are more. */
  streamRangesMax: 64,
  /** Bytes of frames kept in memory for an async peer until its delay is over: a few of the longest that a turn of long writes makes. */
  collectedBytesMax: 4 * MIB,
  /** Bytes of frames that are folded into one step: they are read and gone through in one turn. */
  foldBytesMax: 8 * MIB,
  /** Frames and images below this are not packed: it would cost more than it saves. */
  packBytesMin: 4 * KIB,
  /** Above this neither: packing keeps everybody waiting. And so no packed message becomes larger than this. */
  packBytesMax: 4 * MIB,
  /** Bytes of one block image message during a whole copy. */
  imageBytesMax: 1 * MIB,
  /** Image bytes of a whole copy that a mirror has not confirmed yet. */
  imageWindowBytes: 32 * MIB,
  /** How long little must have been kept in the sidefile before space that is set aside for it is given back to the disk, in milliseconds. */
  setAsideCalmMillis: 10 * 60_000,
  /** Longest range that is digested as of one moment: its content is held in memory meanwhile. */
  digestRangeBytesMax: 4 * MIB,
  /** Coarsest node of a scan. */
  scanUnitBytesMax: 1024 * MIB,
  /** Digests in one answer of a scan. */
  scanNodesMax: 4096,
  /** Longest range of one question of a verify: a few of them are under way at once. */
  verifyStepBytes: 1 * MIB,
  /** A verify does not rest longer for the sake of hosts than this rate allows, unless its order bounds the rate. */
  verifyBytesPerSecondMin: 1 * MIB,
  /** Where a scrub would not end before the next one is due at that rate, this is the most that hosts are burdened with for it. */
  verifyBytesPerSecondDueMax: 4 * MIB,
  /** Records that are looked at in one question of a verify. */
  verifyRecordsBytes: 1 * MIB,
  /** Answers of a verify from which a copy may still learn digests, when it hears that all copies are equal there. */
  verifyLessonsMax: 64,
  /** Longest frame that is brought back from another copy: it travels as text, in one message. */
  verifyFrameBytesMax: 8 * MIB,
  /** Differences that a report names one by one; more are counted. */
  verifyFindingsMax: 1000,
  /** Bytes read from the sidefile and written to the base image in one destage round. */
  destageRoundBytes: 8 * MIB,
  /** NBD connections of one site. */
  nbdConnectionsMax: 256,
  /** Handshake that has not ended after this is dropped. */
  nbdHandshakeMillis: 10_000,
  /** Bytes of one option of the handshake. */
  nbdOptionBytesMax: 64 * KIB,
  /** Options of one handshake. */
  nbdOptionsMax: 64,
  /** Requests of one connection that are not answered yet; above it the connection is not read from. */
  nbdRequestsMax: 1024,
  /** Bytes of requests and replies of one connection that are held; above it the connection is not read from. */
  nbdHeldBytesMax: 128 * MIB,
  /** Longest request that a client with nothing under way may begin while the memory for all hosts is used up. */
  nbdSmallBytes: 256 * KIB,
  /** While that memory is used up, a client that leaves a payload unfinished, or answers untaken, for this long is cut. */
  nbdStallMillis: 10_000,
  /** Bytes written to one NBD connection that its client has not taken yet; above it the connection is not read from. */
  nbdUnsentBytesMax: 4 * MIB,
  /** A connection that was ended here, and that the other side does not close, is cut after this. */
  lingerMillis: 2_000,
  /** Memory that a connection receives into: one piece takes what a read of a local socket (208 KiB at most) or of TCP brings. */
  receiveBytes: 256 * KIB,
  /** Longest range of one zeroes or trim request: a request of 64-bit length becomes that many records of zeroesBytesMax at once. */
  nbdZeroesBytesMax: 16 * 1024 * 1024 * MIB,
  /** Extents in one answer to BLOCK_STATUS. */
  nbdExtentsMax: 4096,
  /** Bytes of one HTTP request to the witness or the control API. */
  httpBodyBytesMax: 64 * KIB,
  /** Request ids that the witness remembers for each group, so that a lost answer can be asked for again. */
  witnessRequestsMax: 64,
  /** Bytes of the remembered requests of one group, as JSON: they share the slot with the group's own state, which takes 1 KiB at most. */
  witnessRequestsBytesMax: 14 * KIB,
  /** What the revision leaps by when a new witness begins: more changes than an old one can have made without any copy being told. */
  witnessSeedRevisions: 1000,
  /** How often a site has the witness write, so that a failing disk there is known before it is needed. */
  witnessProveMillis: 60_000,
  /** Age of the last proof above which status and alerts say so. */
  witnessProofMillisMax: 180_000,
  /** Length of a request id. */
  requestIdCharsMax: 64,
  /** Between two lines about strangers that were turned away at one port. */
  strangersTellMillis: 10_000,
  /** Groups of one witness. */
  witnessGroupsMax: 4096,
  /** Largest answer of a witness that a command reads: a backup of many groups. */
  witnessAnswerBytesMax: 64 * MIB,
  /** Connections of one witness: a few for each site of each group that it serves. */
  witnessConnectionsMax: 1024,
  /** Head of an HTTP request. */
  httpHeadBytesMax: 8 * KIB,
  /** Until the head of an HTTP request must be complete; then the connection is closed. */
  httpHeadMillis: 5_000,
  /** Until an HTTP request must be complete. */
  httpRequestMillis: 10_000,
  /** An HTTP connection without a request is closed after this. */
  httpIdleMillis: 30_000,
  /** Until connections that are still busy at a clean shutdown are closed. */
  shutdownMillis: 2_000,
  /** Connections of the control API of one site. */
  controlConnectionsMax: 256,
  /** An administrator's order that has not ended after this is reported as still under way. */
  orderMillis: 30_000,
  /** The first record of TLS, in which a peer may say which group its connection is for; a longer one is not looked at. */
  clientHelloBytesMax: 16 * 1024,
  /** Questions and orders to the thread of a group that are not answered; one more is refused. */
  threadAsksMax: 256,
  /** Decisions that a site shows, newest ones. */
  decisionsKept: 200,
  /** Length at which the file of decisions is put aside, in place of the one before. */
  decisionFileBytesMax: 1 * MIB,
  /** Orders of one site that were passed on to the primary and are not answered. */
  passedOrdersMax: 16,
  /** Length of the sentences with which an order is answered between sites. */
  orderTextCharsMax: 2000,
} as const;

assert(
  limits.frameBytesMax > limits.requestBytesMax + 64 * limits.frameRecordsMax,
  'a frame must hold the largest request and a full table',
);
assert(limits.messageBytesMax > limits.frameBytesMax, 'a message must hold the largest frame');
assert(limits.imageWindowBytes >= 2 * limits.imageBytesMax, 'the image window must let two images overlap');
assert(
  limits.streamAheadBytes >= limits.peerWindowBytes + limits.imageWindowBytes,
  'what the windows of a peer let through must fit ahead',
);
assert(limits.requestBytesAdvertised % BLOCK_BYTES === 0, 'the advertised maximum must be a multiple of a block');
