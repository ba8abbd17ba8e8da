// One connection between two sites of a group: hello first, then messages both ways until either side closes it. A connection that was
// replaced or closed delivers nothing more, whatever the network still brings (T3: a zombie's bytes never apply). A link may have further
// connections: its streams, which belong to it and end with it (streams.ts).

import {
  commonVersion,
  decodeJson,
  encodeHeader,
  encodeJson,
  encodeMessage,
  encodeNumbers,
  HELLO_VERSION,
  MESSAGE_HEADER,
  MESSAGE_TYPES,
  MessageReader,
  PACKED_BODY,
  STREAM_NUMBER_BODY,
  unpackMessage,
  WIRE_VERSIONS,
  type Message,
  type MessageName,
  type WireVersions,
} from './messages.ts';
import { readHello, type Hello, type HelloStreams } from './forms.ts';
import { getU64, viewOf } from '../base/bytes.ts';
import { FOLDED_FRAME_VERSION, frameHeaderLayout } from '../record/layout.ts';
import { isBulk, KEEPS_PLACE, type NumberRange } from './stream-order.ts';
import type { Carrier, Outgoing } from './stream-send.ts';
import { LinkStreams, PlaceOfNext } from './streams.ts';
import { limits } from '../base/limits.ts';
import type { Buffers, Clock, Compression, Digests, LinkPort } from '../base/ports.ts';
import type { Millis, SiteName } from '../base/units.ts';

/** What the shell gives the bytes of a connection to. */
export interface LinkReceiver {
  /** Bytes that arrived, valid only during the call. */
  receive(bytes: Uint8Array): void;
  /** The connection ended; nothing is called after it. */
  closed(): void;
}

/** The links of a site, as far as streams ask for them. */
export interface LinkKeeper {
  /** The link to a peer that counts. */
  linkTo(peer: SiteName): Link | null;
  /** How many streams the link to a peer should have. */
  streamsTo(peer: SiteName): number;
  /** A name for a link that no other one ever has. */
  nameLink(): string;
  /** A stream of a link stands, or has ended: then `ended` says why, and how many messages go again. */
  streamNews(link: Link, number: number, ended: { readonly reason: string; readonly again: number } | null): void;
}

/** The site that a connection belongs to. */
export interface LinkOwner {
  readonly connections: LinkKeeper;
  readonly group: string;
  readonly site: SiteName;
  /** Null while there is no replica here. */
  readonly groupId: string | null;
  knowsPeer(name: SiteName): boolean;
  /** Both sides have said who they are. */
  linkUp(link: Link): void;
  linkMessage(link: Link, message: Message): void;
  linkDown(link: Link, reason: string): void;
  /** The other side would not talk to this one at all. */
  linkRefused(peer: SiteName, reason: string): void;
}

/** Bytes of frames and images: as they are, and as they went. */
export interface Traffic {
  rawBytes: number;
  sentBytes: number;
  /** Frames among them that are one step, those that were read so from the sidefile too. */
  foldedFrames: number;
}

/** The one way of packing that there is. */
const ZSTD = 'zstd';
/** Frames that are one step are taken. */
const FOLDED = 'folded';

/** After a message that packing did not make smaller, so many go as they are. */
const PACK_REST = 8;

function isFoldedFrame(frame: Uint8Array | undefined): boolean {
  return frame !== undefined && viewOf(frame).getUint16(frameHeaderLayout.at.version, true) === FOLDED_FRAME_VERSION;
}

/** What a connection is made with. */
export interface LinkOptions {
  readonly port: LinkPort;
  readonly digests: Digests;
  readonly clock: Clock;
  readonly buffers: Buffers;
  readonly compression: Compression | null;
  /** `of`: it is a stream of that link. */
  readonly dialled: {
    readonly owner: LinkOwner;
    readonly peer: SiteName;
    readonly of?: { readonly link: Link; readonly number: number };
  } | null;
  readonly findOwner: (group: string) => LinkOwner | null;
  /** Versions of the protocol that this side speaks: those of the program, unless a test says otherwise. */
  readonly versions?: WireVersions;
}

export class Link implements LinkReceiver, Carrier {
  readonly #port: LinkPort;
  readonly #digests: Digests;
  readonly #clock: Clock;
  readonly #reader: MessageReader;
  readonly #findOwner: (group: string) => LinkOwner | null;
  /** True when this side opened the connection and so speaks first. */
  readonly dialled: boolean;
  #owner: LinkOwner | null = null;
  #open = true;
  /** Both hellos were exchanged. */
  up = false;
  /** The site at the other end; empty until it is known. */
  peer: SiteName = '';
  peerGroupId: string | null = null;
  readonly #versions: WireVersions;
  /** Of the protocol, in what this side sends. */
  #version: number = HELLO_VERSION;
  lastHeard: Millis;
  lastSent: Millis;
  /** Null where nothing can be packed or unpacked. */
  readonly #compression: Compression | null;
  #peerUnpacks = false;
  #packRest = 0;
  /** The other end takes frames that are one step. */
  takesFolded = false;
  /** Frames and images are to be packed, where the other end takes that. */
  packs = false;
  /** What went over this connection, and those before it to the same peer. */
  traffic: Traffic = { rawBytes: 0, sentBytes: 0, foldedFrames: 0 };
  /** Of the first connection of a link of several; null where there is one only. */
  streams: LinkStreams | null = null;
  /** The link that this connection is a stream of, and which; null for a first connection. */
  #of: { readonly link: Link; readonly number: number } | null = null;
  /** Streams that this side has asked for. */
  #asked = 0;
  readonly #place = new PlaceOfNext();
  readonly #options: LinkOptions;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#versions = options.versions ?? WIRE_VERSIONS;
    this.#port = options.port;
    this.#digests = options.digests;
    this.#clock = options.clock;
    this.#reader = new MessageReader(options.digests, options.buffers);
    this.#findOwner = options.findOwner;
    this.#compression = options.compression;
    this.dialled = options.dialled !== null;
    this.lastHeard = this.lastSent = options.clock.now();
    if (options.dialled !== null) {
      const { owner, peer, of = null } = options.dialled;
      this.#owner = owner;
      this.peer = peer;
      this.#of = of;
      this.#asked = of === null ? Math.min(owner.connections.streamsTo(peer), limits.linkStreamsMax) : 0;
      if (of !== null) this.#sendHello(owner, streamHello(of));
      else this.#sendHello(owner, this.#asked > 1 ? { count: this.#asked } : null);
    }
  }

  /** The shell has opened a further connection for this link: takes it for that stream. */
  dialledStream(number: number, port: LinkPort): Link {
    const owner = this.#owner as LinkOwner;
    return new Link({ ...this.#options, port, dialled: { owner, peer: this.peer, of: { link: this, number } } });
  }

  get open(): boolean {
    return this.#open;
  }

  /** Version of the protocol that is spoken, once both sides have said who they are. */
  get version(): number {
    return this.#version;
  }

  get backlogBytes(): number {
    return this.#port.backlogBytes;
  }

  receive(bytes: Uint8Array): void {
    if (!this.#open) return;
    this.lastHeard = this.#clock.now();
    const wrong = this.#reader.receive(bytes, (message) => {
      if (!this.up) this.#firstMessage(message);
      else if (this.#of !== null) this.#streamMessage(this.#of.link, message);
      else if (this.streams !== null) this.#placed(this, this.streams, message);
      else this.#deliver(message);
      return this.#open;
    });
    if (wrong !== null) this.refuse(wrong);
    const { streams } = this.#of?.link ?? this;
    streams?.acknowledge();
  }

  /** Hands a message on; false when that was the end of the link. */
  #deliver(message: Message): boolean {
    if (message.name === 'packed') this.#unpack(message.body);
    else this.#owner?.linkMessage(this, message);
    return this.#open;
  }

  /** A message on a stream: bulk, and what keeps the connection going. */
  #streamMessage(link: Link, message: Message): void {
    if (message.name === 'ping') return;
    if (message.name === 'refuse') return this.close(`the other side refused the stream: ${reasonOf(message)}`);
    if (link.streams === null || !(isBulk(message.name) || message.name === 'streamNumber'))
      return link.refuse(`a ${message.name} message came on a stream`);
    this.#placed(link, link.streams, message);
  }

  /** A message of a link of several connections, that came on this one. */
  #placed(link: Link, streams: LinkStreams, message: Message): void {
    let wrong: string | null = null;
    if (message.name === 'streamNumber') wrong = this.#place.said(message.body);
    else {
      const number = this.#place.take(message);
      if (typeof number === 'string') wrong = number;
      else if (number !== null) wrong = streams.arrived(number, message);
      else if (message.name === 'streamAcknowledge') wrong = streams.acknowledged(message.body);
      else link.#deliver(message);
    }
    if (wrong !== null) link.refuse(wrong);
  }

  closed(): void {
    this.#end('the connection was closed');
  }

  /** Sends a message of a fixed or JSON body. */
  send(name: MessageName, body: Uint8Array): void {
    if (!this.#open) return;
    this.lastSent = this.#clock.now();
    if (this.streams !== null && KEEPS_PLACE[name])
      this.streams.sender.send({ name, parts: [body], bytes: body.length, crc: this.#digests.crc32(body, 0), sent: undefined });
    else this.#port.send([encodeMessage(name, body, this.#digests, this.#version)]);
  }

  /** Sends a message of a link of several connections, its number before it, on this one. */
  post(number: number, { name, parts, bytes, crc }: Outgoing, sent?: () => void): void {
    if (!this.#open) {
      sent?.();
      return;
    }
    this.lastSent = this.#clock.now();
    const place = encodeMessage('streamNumber', encodeNumbers(STREAM_NUMBER_BODY, [number]), this.#digests, this.#version);
    const head = new Uint8Array(place.length + MESSAGE_HEADER.bytes);
    head.set(place);
    head.set(encodeHeader(name, { bytes, crc }, this.#digests, this.#version), place.length);
    this.#port.send([head, ...parts], sent);
  }

  /**
   * Sends a message whose body is large: its parts are not copied and must not change until `sent` is called, which may be at once. Returns how
   * many bytes of it go.
   */
  sendParts(name: MessageName, parts: readonly Uint8Array[], bodyCrc: number, sent?: () => void): number {
    if (!this.#open) {
      sent?.();
      return 0;
    }
    let rawBytes = 0;
    for (const part of parts) rawBytes += part.length;
    const packed = this.#pack(name, parts, rawBytes);
    this.lastSent = this.#clock.now();
    if (name === 'frame' || name === 'image') {
      this.traffic.rawBytes += rawBytes;
      this.traffic.sentBytes += packed?.length ?? rawBytes;
      if (name === 'frame' && isFoldedFrame(parts[0])) this.traffic.foldedFrames++;
    }
    const records = name === 'frame' && this.streams !== null ? recordsOf(parts[0]) : undefined;
    if (packed === null) {
      this.#sendBody({ name, parts, bytes: rawBytes, crc: bodyCrc, sent, records });
      return rawBytes;
    }
    const crc = this.#digests.crc32(packed, 0);
    this.#sendBody({ name: 'packed', parts: [packed], bytes: packed.length, crc, sent: undefined, records });
    sent?.();
    return packed.length;
  }

  #sendBody(message: Outgoing): void {
    const { name, parts, bytes, crc, sent } = message;
    if (this.streams === null) this.#port.send([encodeHeader(name, { bytes, crc }, this.#digests, this.#version), ...parts], sent);
    else this.streams.sender.send(message);
  }

  /** The body of a packed message; null where it goes as it is. */
  #pack(name: MessageName, parts: readonly Uint8Array[], rawBytes: number): Uint8Array | null {
    if (!this.packs || !this.#peerUnpacks || this.#compression === null || (name !== 'frame' && name !== 'image')) return null;
    if (rawBytes < limits.packBytesMin || rawBytes > limits.packBytesMax) return null;
    if (this.#packRest > 0) {
      this.#packRest--;
      return null;
    }
    const packed = this.#compression.pack(parts);
    if (packed === null) {
      this.#packRest = PACK_REST;
      return null;
    }
    const body = new Uint8Array(PACKED_BODY.bytes + packed.length);
    body.set(encodeNumbers(PACKED_BODY, [MESSAGE_TYPES[name], 0, rawBytes]));
    body.set(packed, PACKED_BODY.bytes);
    return body;
  }

  #unpack(body: Uint8Array): void {
    const message = this.#compression === null ? 'packed messages are not taken here' : unpackMessage(body, this.#compression);
    if (typeof message === 'string') this.refuse(message);
    else this.#owner?.linkMessage(this, message);
  }

  /** Tells the other side why, and closes. */
  refuse(reason: string): void {
    if (!this.#open) return;
    this.send('refuse', encodeJson({ reason: reason.slice(0, 500) }));
    this.close(reason);
  }

  close(reason: string): void {
    if (!this.#open) return;
    this.#port.close();
    this.#end(reason);
  }

  #end(reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.#reader.end();
    const wasUp = this.up;
    this.up = false;
    if (this.#of !== null) return this.#streamEnded(this.#of.link, reason);
    this.streams?.end(reason);
    if (wasUp) this.#owner?.linkDown(this, reason);
  }

  #streamEnded(link: Link, reason: string): void {
    const lost = link.open ? (link.streams?.lost(this) ?? null) : null;
    if (lost !== null) this.#owner?.connections.streamNews(link, lost.number, { reason, again: lost.again });
  }

  #firstMessage(message: Message): void {
    if (message.name === 'refuse') {
      const text = reasonOf(message);
      if (this.#of === null) this.#owner?.linkRefused(this.peer, text);
      this.close(`the other side refused the connection: ${text}`);
      return;
    }
    const hello = message.name === 'hello' ? readHello(message.body) : null;
    if (hello === null) {
      this.refuse('the first message of a connection must be a hello');
      return;
    }
    const owner = this.#owner ?? this.#findOwner(hello.group);
    const wrong = this.#checkHello(hello, owner);
    if (wrong !== null || owner === null) {
      this.refuse(wrong ?? 'unknown group');
      return;
    }
    this.#owner = owner;
    this.peer = hello.from;
    this.peerGroupId = hello.groupId;
    this.#peerUnpacks = hello.accepts?.includes(ZSTD) === true;
    this.takesFolded = hello.accepts?.includes(FOLDED) === true;
    const streams = this.#streamsOf(hello, owner);
    if (!this.dialled) this.#sendHello(owner, streams);
    // The hellos are out: what follows, either way, is of the version that both have.
    this.#version = commonVersion(this.#versions, hello.versions) ?? HELLO_VERSION;
    this.#reader.version = this.#version;
    this.#reader.bodyBytesMax = limits.messageBytesMax;
    this.up = true;
    if (this.#of === null) return owner.linkUp(this);
    const { link, number } = this.#of;
    link.streams?.opened(number, this);
    owner.connections.streamNews(link, number, null);
  }

  /** What both sides have agreed on by this hello, and an answer to it says; null where the link is one connection. */
  #streamsOf({ streams }: Hello, owner: LinkOwner): HelloStreams | null {
    if (streams === undefined) return null;
    if (streams.number !== undefined) {
      const link = owner.connections.linkTo(this.peer);
      if (!this.dialled && link !== null) this.#of = { link, number: streams.number };
      return streams;
    }
    const id = this.dialled ? streams.link : owner.connections.nameLink();
    const count = Math.min(streams.count, limits.linkStreamsMax);
    if (id !== undefined)
      this.streams = new LinkStreams(this, { id, count, buffers: this.#options.buffers }, (message) => this.#deliver(message));
    return { count, ...(id !== undefined && { link: id }) };
  }

  /** Why a hello does not fit what this connection is to be. */
  #checkStreams({ streams, from }: Hello, owner: LinkOwner): string | null {
    const of = this.#of;
    if (of !== null) {
      const fits = streams?.number === of.number && streams.link === of.link.streams?.id;
      return fits && of.link.open ? null : `site "${from}" does not answer as stream ${of.number} of the link`;
    }
    if (streams === undefined) return null;
    if (this.dialled) {
      const fits = this.#asked > 1 && streams.count <= this.#asked && streams.link !== undefined && streams.number === undefined;
      return fits ? null : `site "${from}" answers with streams that it was not asked for`;
    }
    if (streams.number === undefined) return null;
    const found = owner.connections.linkTo(from)?.streams ?? null;
    return found === null ? 'the link that this stream is for has ended' : found.refusal(streams);
  }

  #checkHello(hello: Hello, owner: LinkOwner | null): string | null {
    if (owner === null) return `there is no group "${hello.group}" here`;
    if (hello.group !== owner.group) return `this is group "${owner.group}", not "${hello.group}"`;
    if (hello.to !== owner.site) return `this is site "${owner.site}", not "${hello.to}"`;
    if (!owner.knowsPeer(hello.from)) return `site "${hello.from}" is not a copy of group "${owner.group}"`;
    if (this.dialled && hello.from !== this.peer) return `site "${hello.from}" answers where "${this.peer}" was expected`;
    const identity = this.#port.identity ?? null;
    if (identity !== null && identity.site !== hello.from) return `the certificate is not that of site "${hello.from}"`;
    if (identity?.groups?.includes(hello.group) === false) return `the certificate is not for group "${hello.group}"`;
    if (hello.groupId !== null && owner.groupId !== null && hello.groupId !== owner.groupId) {
      return `group "${owner.group}" here is another one of the same name (${owner.groupId}, not ${hello.groupId})`;
    }
    if (commonVersion(this.#versions, hello.versions) === null) {
      const [theirs, ours] = [hello.versions, this.#versions].map(({ min, max }) => (min === max ? `${min}` : `${min} to ${max}`));
      return `site "${hello.from}" speaks version ${theirs} of the protocol between sites, site "${owner.site}" ${ours}: upgrade the older one, no more than one version at a time`;
    }
    return this.#checkStreams(hello, owner);
  }

  #sendHello(owner: LinkOwner, streams: HelloStreams | null): void {
    const { group, groupId, site } = owner;
    const accepts = this.#compression === null ? [FOLDED] : [ZSTD, FOLDED];
    const hello: Hello = {
      group,
      groupId,
      from: site,
      to: this.peer,
      versions: this.#versions,
      accepts,
      ...(streams !== null && { streams }),
    };
    this.send('hello', encodeJson(hello));
  }
}

/** First and last record of a frame, as its header says. */
function recordsOf(frame: Uint8Array | undefined): NumberRange | undefined {
  if (frame === undefined || frame.length < frameHeaderLayout.bytes) return undefined;
  const view = viewOf(frame);
  const from = getU64(view, frameHeaderLayout.at.firstSeq);
  return { from, to: from + view.getUint32(frameHeaderLayout.at.recordCount, true) - 1 };
}

function streamHello({ link, number }: { readonly link: Link; readonly number: number }): HelloStreams {
  return { count: link.streams?.count ?? 2, link: link.streams?.id ?? '', number };
}

function reasonOf({ body }: Message): string {
  const reason = decodeJson(body)?.['reason'];
  return typeof reason === 'string' ? reason : 'without a reason';
}
