// Messages between two sites: what they are, how they look on the wire, and the reader that finds them in a stream of bytes. The header has
// its own checksum, so a wrong length is never acted on. Frames of the sidefile travel as they stand on disk and carry their own checksums.
// docs/internals/wire.md is the offset table; test/golden/ pins the bytes.

import { assert } from '../base/assert.ts';
import { type Field, FIELD_BYTES, getU64, layout, setU64, viewOf, type Layout } from '../base/bytes.ts';
import { crc32OfRange } from '../base/crc32.ts';
import { limits } from '../base/limits.ts';
import type { Buffers, Compression, Digests } from '../base/ports.ts';
import { decodeUtf8, encodeUtf8 } from '../base/utf8.ts';

/** A range of versions of the protocol between sites. */
export interface WireVersions {
  readonly min: number;
  readonly max: number;
}

/**
 * The versions that this program speaks. Each hello names them, and the highest that both sides have is spoken from there on. A new one is added
 * beside the one before, so that sites are upgraded one after the other.
 */
export const WIRE_VERSIONS: WireVersions = { min: 1, max: 1 };

/** Version in the head of a hello, and of a refusal that comes before one: it stays, so that programs of any two versions can talk about theirs. */
export const HELLO_VERSION = 1;

/** The highest version that both have; null when there is none. */
export function commonVersion(a: WireVersions, b: WireVersions): number | null {
  const highest = Math.min(a.max, b.max);
  return highest < Math.max(a.min, b.min) ? null : highest;
}

const MAGIC = 0x4b4c4354; // "TCLK" in little-endian order

/** Head of every message. */
export const MESSAGE_HEADER = layout(24, [
  ['magic', 'u32', 'the bytes "TCLK"'],
  ['headerCrc', 'u32', 'CRC-32 of bytes 8 to 23'],
  ['version', 'u16', 'version of the protocol that is spoken; of a hello always 1'],
  ['type', 'u16', 'kind of message; never 0'],
  ['bodyBytes', 'u32', 'length of what follows'],
  ['bodyCrc', 'u32', 'CRC-32 of the body; 0 for a frame, which has its own'],
  ['reserved', 'u32', '0'],
]);

/** What the checksum of a head covers. */
const HEADER_CRC_RANGE = { from: MESSAGE_HEADER.at.version, to: MESSAGE_HEADER.bytes };

/** Kinds of messages. JSON bodies for what is rare, fixed layouts for what is frequent. */
export const MESSAGE_TYPES = {
  hello: 1,
  state: 2,
  join: 3,
  follow: 4,
  joined: 5,
  frame: 6,
  acknowledge: 7,
  heartbeat: 8,
  heartbeatAnswer: 9,
  flush: 10,
  image: 11,
  imageEnd: 12,
  imageAcknowledge: 13,
  refuse: 14,
  ping: 15,
  cursor: 16,
  bitmap: 17,
  compare: 18,
  level: 19,
  levelEnd: 20,
  held: 21,
  heldAcknowledge: 22,
  digestAsk: 23,
  digests: 24,
  imageAsk: 25,
  handover: 26,
  handoverReady: 27,
  order: 28,
  orderAnswer: 29,
  verifyAsk: 30,
  verifyAnswer: 31,
  packed: 32,
  streamNumber: 33,
  streamAcknowledge: 34,
} as const;
export type MessageName = keyof typeof MESSAGE_TYPES;

const NAMES = new Map<number, MessageName>(Object.entries(MESSAGE_TYPES).map(([name, type]) => [type, name as MessageName]));

/** Mirror to primary: what it holds. One covers everything before it. */
export const ACKNOWLEDGE_BODY = layout(32, [
  ['epoch', 'u64', 'epoch in which the sender follows'],
  ['received', 'u64', 'highest contiguous seq held'],
  ['durable', 'u64', 'highest contiguous seq on stable storage'],
  ['destaged', 'u64', 'highest seq in the base image'],
]);

/** What a mirror says that it holds. */
export interface HeldPositions {
  readonly epoch: number;
  readonly received: number;
  readonly durable: number;
  readonly destaged: number;
}

/** The same as decodeNumbers(ACKNOWLEDGE_BODY), of which there is one for each batch of writes. */
export function decodeAcknowledge(body: Uint8Array): HeldPositions | null {
  if (body.length < ACKNOWLEDGE_BODY.bytes) return null;
  const view = viewOf(body);
  const { at } = ACKNOWLEDGE_BODY;
  const epoch = getU64(view, at.epoch);
  const received = getU64(view, at.received);
  const durable = getU64(view, at.durable);
  const destaged = getU64(view, at.destaged);
  return Number.isNaN(epoch + received + durable + destaged) ? null : { epoch, received, durable, destaged };
}

/** Primary to mirror: asks for a promise, and tells what is committed and what must be kept. */
export const HEARTBEAT_BODY = layout(32, [
  ['epoch', 'u64', 'epoch of the primary'],
  ['number', 'u64', 'number of this heartbeat, rising'],
  ['committed', 'u64', 'highest committed seq'],
  ['retain', 'u64', 'records from this seq on may be lacking at some copy and are kept'],
]);

/** Mirror to primary: it will not claim for that long from now. */
export const HEARTBEAT_ANSWER_BODY = layout(24, [
  ['epoch', 'u64', 'epoch in which the sender follows'],
  ['number', 'u64', 'number of the heartbeat that is answered'],
  ['promiseMillis', 'u32', 'length of the promise'],
  ['reserved', 'u32', '0'],
]);

/** Primary to mirror: make everything up to this seq durable. */
export const FLUSH_BODY = layout(16, [
  ['epoch', 'u64', 'epoch of the primary'],
  ['seq', 'u64', 'seq that is waited for'],
]);

/** Primary to mirror: content of a range during a whole copy; the bytes follow when kind is 1. */
export const IMAGE_BODY = layout(40, [
  ['epoch', 'u64', 'epoch of the primary'],
  ['number', 'u64', 'number of this image in its copy, from 1'],
  ['offset', 'u64', 'first byte of the range'],
  ['lengthBytes', 'u64', 'length of the range'],
  ['volume', 'u16', 'index of the volume'],
  ['kind', 'u16', '1: bytes follow; 2: the range reads as zeroes'],
  ['reserved', 'u32', '0'],
]);

/** Primary to mirror: all images were sent; the copy is whole once records up to this seq are held. */
export const IMAGE_END_BODY = layout(16, [
  ['epoch', 'u64', 'epoch of the primary'],
  ['seq', 'u64', 'position at which the copy is whole'],
]);

/** Mirror to primary: images up to this number are in the base image. */
export const IMAGE_ACKNOWLEDGE_BODY = layout(16, [
  ['epoch', 'u64', 'epoch of the copy'],
  ['number', 'u64', 'highest image written'],
]);

/** Primary to mirror, behind the images it tells of: how far a resync is settled. */
export const CURSOR_BODY = layout(40, [
  ['epoch', 'u64', 'epoch of the primary'],
  ['number', 'u64', 'images up to this number are of ranges before the place'],
  ['upTo', 'u64', 'no content that was sent or compared so far is of a later record'],
  ['offset', 'u64', 'first byte that is not settled'],
  ['volume', 'u32', 'index of its volume'],
  ['reserved', 'u32', '0'],
]);

/** Primary to mirror: the bitmap of another peer, so that it is not lost with the primary. The page follows when kind is 2. */
export const BITMAP_BODY = layout(48, [
  ['epoch', 'u64', 'epoch of the primary'],
  ['from', 'u64', 'first seq whose blocks are in it'],
  ['to', 'u64', 'last seq whose blocks are in it'],
  ['page', 'u64', 'number of the page of 32768 bits'],
  ['chunkBytes', 'u32', 'what one bit stands for'],
  ['site', 'u16', 'whose it is: index in the list of sites'],
  ['volume', 'u16', 'index of the volume'],
  ['kind', 'u16', '1: begins; 2: a page; 3: is whole; 4: is not needed any more'],
  ['reserved', 'u16', '0'],
  ['reserved2', 'u32', '0'],
]);

/** Mirror to primary: it has heard what other copies hold; and how its own sidefile is. */
export const HELD_ACKNOWLEDGE_BODY = layout(32, [
  ['epoch', 'u64', 'epoch in which the sender follows'],
  ['number', 'u64', 'number of the message that is confirmed'],
  ['oldest', 'u64', 'first seq that its sidefile holds'],
  ['spaceBytes', 'u64', 'bytes that its sidefile may still grow'],
]);

/** Each to each during a scan: what are the digests of the nodes of a range? The answer has the same head, and the digests behind it. */
export const DIGEST_BODY = layout(40, [
  ['epoch', 'u64', 'epoch of the resync'],
  ['number', 'u64', 'number of the question, rising'],
  ['offset', 'u64', 'first byte of the range'],
  ['length', 'u64', 'bytes of the range'],
  ['nodeBytes', 'u32', 'bytes of each node of it; the last may be shorter'],
  ['volume', 'u16', 'index of the volume'],
  ['algorithm', 'u16', '1: CRC-32; 2: MD5; 3: SHA-1; 4: SHA-256'],
]);

/** Mirror to primary, when the mirror compares: what it needs. */
export const IMAGE_ASK_BODY = layout(32, [
  ['epoch', 'u64', 'epoch of the resync'],
  ['offset', 'u64', 'first byte of the range'],
  ['length', 'u64', 'bytes of the range; 0 for the kinds without one'],
  ['volume', 'u32', 'index of the volume'],
  ['kind', 'u32', '1: send this range; 2: everything before it was compared; 3: everything was'],
]);

/** Each to each, on a link whose other end has said that it takes it: a frame or an image, packed by zstd; the packed bytes follow. */
export const PACKED_BODY = layout(8, [
  ['type', 'u16', 'kind of message that is packed: 6 or 11'],
  ['reserved', 'u16', '0'],
  ['rawBytes', 'u32', 'length of its body; 4 MiB at most'],
]);

/** Each to each, on a link of several streams, before each message that keeps its place: which place that is. */
export const STREAM_NUMBER_BODY = layout(8, [
  ['number', 'u64', 'place of the next message of this connection among all of the link, from 1'],
]);

/** Each to each, on a link of several streams: what has arrived. The ranges follow. */
export const STREAM_ACKNOWLEDGE_BODY = layout(16, [
  ['upTo', 'u64', 'every message up to this number has arrived'],
  ['rangeCount', 'u32', 'ranges above it that have arrived, too'],
  ['reserved', 'u32', '0'],
]);

/** One range of them. */
export const STREAM_RANGE = layout(16, [
  ['from', 'u64', 'first number of the range'],
  ['to', 'u64', 'last number of the range'],
]);

/** The packed message, unpacked; or what is wrong with it. */
export function unpackMessage(body: Uint8Array, compression: Compression): Message | string {
  const head = decodeNumbers(PACKED_BODY, body);
  if (head === null) return 'a packed message is malformed';
  const name = NAMES.get(head.type);
  if (name !== 'frame' && name !== 'image') return `a message of kind ${head.type} is never packed`;
  if (head.rawBytes > limits.packBytesMax) return `a packed ${name} of ${head.rawBytes} bytes is over the limit of ${limits.packBytesMax}`;
  const raw = compression.unpack(body.subarray(PACKED_BODY.bytes), head.rawBytes);
  return raw === null ? `a packed ${name} does not unpack to the ${head.rawBytes} bytes that it tells` : { name, body: raw };
}

/** A message that was received. `body` is valid only during the call that delivers it. */
export interface Message {
  readonly name: MessageName;
  readonly body: Uint8Array;
}

/** Head of a message whose body is `bodyBytes` long. */
export function encodeHeader(
  name: MessageName,
  body: { readonly bytes: number; readonly crc: number },
  digests: Digests,
  version: number = HELLO_VERSION,
): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_HEADER.bytes);
  writeHeader(bytes, { name, version, ...body }, digests);
  return bytes;
}

function writeHeader(into: Uint8Array, head: { name: MessageName; version: number; bytes: number; crc: number }, digests: Digests): void {
  const { name, bytes: bodyBytes } = head;
  assert(bodyBytes <= limits.messageBytesMax, 'a message must not be larger than its limit', { name, bodyBytes });
  const view = viewOf(into);
  const at = MESSAGE_HEADER.at;
  view.setUint32(at.magic, MAGIC, true);
  view.setUint16(at.version, head.version, true);
  view.setUint16(at.type, MESSAGE_TYPES[name], true);
  view.setUint32(at.bodyBytes, bodyBytes, true);
  view.setUint32(at.bodyCrc, head.crc, true);
  view.setUint32(at.headerCrc, crc32OfRange(into, view, HEADER_CRC_RANGE, digests), true);
}

/** A whole message of fixed or JSON body. */
export function encodeMessage(name: MessageName, body: Uint8Array, digests: Digests, version: number = HELLO_VERSION): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_HEADER.bytes + body.length);
  bytes.set(body, MESSAGE_HEADER.bytes);
  writeHeader(bytes, { name, version, bytes: body.length, crc: digests.crc32(body, 0) }, digests);
  return bytes;
}

/** Encodes a body of numbers in the order of its layout's fields. */
export function encodeNumbers(form: Layout<string>, values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(form.bytes);
  const view = viewOf(bytes);
  assert(values.length === form.fields.length, 'one value for each field', { given: values.length });
  let offset = 0;
  for (let index = 0; index < values.length; index++) {
    const type = (form.fields[index] as Field)[1];
    const value = values[index] as number;
    if (type === 'u64') setU64(view, offset, value);
    else if (type === 'u32') view.setUint32(offset, value, true);
    else view.setUint16(offset, value, true);
    offset += FIELD_BYTES[type];
  }
  return bytes;
}

/** Decodes a body of numbers; null when it is too short or holds a number above 2^53 - 1. */
export function decodeNumbers<Name extends string>(form: Layout<Name>, body: Uint8Array): Record<Name, number> | null {
  if (body.length < form.bytes) return null;
  const view = viewOf(body);
  const values: Record<string, number> = {};
  for (const [name, type] of form.fields) {
    const offset = form.at[name as Name];
    const value = type === 'u64' ? getU64(view, offset) : type === 'u32' ? view.getUint32(offset, true) : view.getUint16(offset, true);
    if (Number.isNaN(value)) return null;
    values[name] = value;
  }
  return values as Record<Name, number>;
}

export function encodeJson(value: unknown): Uint8Array {
  return encodeUtf8(JSON.stringify(value));
}

/** The object in a JSON body, or null when it is not one. Its fields are checked by whoever uses them. */
export function decodeJson(body: Uint8Array): Record<string, unknown> | null {
  const text = decodeUtf8(body);
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Finds messages in a stream of bytes, wherever the network cut it. */
export class MessageReader {
  readonly #digests: Digests;
  readonly #header = new Uint8Array(MESSAGE_HEADER.bytes);
  readonly #headerView = viewOf(this.#header);
  #headerBytes = 0;
  #body: Uint8Array | null = null;
  #bodyFilled = 0;
  #name: MessageName = 'ping';
  #bodyBytes = 0;
  #bodyCrc = 0;
  /** Largest body that is taken; small until the peer has said who it is. */
  bodyBytesMax: number = limits.helloBytesMax;
  /** The only version that is taken; another one once the hellos have agreed on it. */
  version: number = HELLO_VERSION;

  readonly #buffers: Buffers;

  constructor(digests: Digests, buffers: Buffers) {
    this.#digests = digests;
    this.#buffers = buffers;
  }

  /** Gives back what a message that will never be complete has taken. */
  end(): void {
    if (this.#body !== null) this.#buffers.give(this.#body);
    this.#body = null;
  }

  /**
   * Delivers every message that ends in these bytes. Returns null, or the text of what is wrong with the stream, after which nothing more
   * may be given to it. Stops early when `deliver` returns false.
   */
  receive(bytes: Uint8Array, deliver: (message: Message) => boolean): string | null {
    let at = 0;
    while (at < bytes.length || (this.#headerBytes === MESSAGE_HEADER.bytes && this.#bodyBytes === this.#bodyFilled)) {
      if (this.#headerBytes < MESSAGE_HEADER.bytes) {
        const take = Math.min(MESSAGE_HEADER.bytes - this.#headerBytes, bytes.length - at);
        this.#header.set(bytes.subarray(at, at + take), this.#headerBytes);
        this.#headerBytes += take;
        at += take;
        if (this.#headerBytes < MESSAGE_HEADER.bytes) return null;
        const wrong = this.#readHeader();
        if (wrong !== null) return wrong;
      }
      const missing = this.#bodyBytes - this.#bodyFilled;
      let body: Uint8Array;
      if (this.#body === null && bytes.length - at >= missing) {
        body = bytes.subarray(at, at + missing);
        at += missing;
      } else {
        this.#body ??= this.#buffers.take(this.#bodyBytes);
        const take = Math.min(missing, bytes.length - at);
        this.#body.set(bytes.subarray(at, at + take), this.#bodyFilled);
        this.#bodyFilled += take;
        at += take;
        if (this.#bodyFilled < this.#bodyBytes) return null;
        body = this.#body;
      }
      const name = this.#name;
      const assembled = this.#body;
      this.#headerBytes = 0;
      this.#body = null;
      this.#bodyFilled = 0;
      this.#bodyBytes = -1;
      if (name !== 'frame' && this.#digests.crc32(body, 0) !== this.#bodyCrc) return `the body of a ${name} message fails its checksum`;
      const goOn = deliver({ name, body });
      if (assembled !== null) this.#buffers.give(assembled);
      if (!goOn) return null;
    }
    return null;
  }

  #readHeader(): string | null {
    const view = this.#headerView;
    const at = MESSAGE_HEADER.at;
    if (view.getUint32(at.magic, true) !== MAGIC) return 'these are not the bytes of a Tercet site';
    if (crc32OfRange(this.#header, view, HEADER_CRC_RANGE, this.#digests) !== view.getUint32(at.headerCrc, true))
      return 'a message header fails its checksum';
    const version = view.getUint16(at.version, true);
    if (version !== this.version)
      return `the other side speaks version ${version} of the protocol where ${this.version} was expected: upgrade the older of the two sites`;
    const name = NAMES.get(view.getUint16(at.type, true));
    if (name === undefined) return `unknown kind of message ${view.getUint16(at.type, true)}`;
    this.#bodyBytes = view.getUint32(at.bodyBytes, true);
    if (this.#bodyBytes > this.bodyBytesMax)
      return `a ${name} message of ${this.#bodyBytes} bytes is over the limit of ${this.bodyBytesMax}`;
    this.#name = name;
    this.#bodyCrc = view.getUint32(at.bodyCrc, true);
    this.#bodyFilled = 0;
    return null;
  }
}
