// One connection between two sites of a group: hello first, then messages both ways until either side closes it. A connection that was
// replaced or closed delivers nothing more, whatever the network still brings (T3: a zombie's bytes never apply).

import {
  commonVersion,
  decodeJson,
  encodeHeader,
  encodeJson,
  encodeMessage,
  encodeNumbers,
  HELLO_VERSION,
  MESSAGE_TYPES,
  MessageReader,
  PACKED_BODY,
  unpackMessage,
  WIRE_VERSIONS,
  type Message,
  type MessageName,
  type WireVersions,
} from './messages.ts';
import { readHello, type Hello } from './forms.ts';
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

/** The site that a connection belongs to. */
export interface LinkOwner {
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
}

/** The one way of packing that there is. */
const ZSTD = 'zstd';

/** After a message that packing did not make smaller, so many go as they are. */
const PACK_REST = 8;

export class Link implements LinkReceiver {
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
  /** Frames and images are to be packed, where the other end takes that. */
  packs = false;
  /** What went over this connection, and those before it to the same peer. */
  traffic: Traffic = { rawBytes: 0, sentBytes: 0 };

  constructor(options: {
    port: LinkPort;
    digests: Digests;
    clock: Clock;
    buffers: Buffers;
    compression: Compression | null;
    dialled: { owner: LinkOwner; peer: SiteName } | null;
    findOwner: (group: string) => LinkOwner | null;
    /** Versions of the protocol that this side speaks: those of the program, unless a test says otherwise. */
    versions?: WireVersions;
  }) {
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
      this.#owner = options.dialled.owner;
      this.peer = options.dialled.peer;
      this.#sendHello(options.dialled.owner);
    }
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
      else if (message.name === 'packed') this.#unpack(message.body);
      else this.#owner?.linkMessage(this, message);
      return this.#open;
    });
    if (wrong !== null) this.refuse(wrong);
  }

  closed(): void {
    this.#end('the connection was closed');
  }

  /** Sends a message of a fixed or JSON body. */
  send(name: MessageName, body: Uint8Array): void {
    if (!this.#open) return;
    this.lastSent = this.#clock.now();
    this.#port.send([encodeMessage(name, body, this.#digests, this.#version)]);
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
    }
    if (packed === null) {
      this.#port.send([encodeHeader(name, { bytes: rawBytes, crc: bodyCrc }, this.#digests, this.#version), ...parts], sent);
      return rawBytes;
    }
    const crc = this.#digests.crc32(packed, 0);
    this.#port.send([encodeHeader('packed', { bytes: packed.length, crc }, this.#digests, this.#version), packed]);
    sent?.();
    return packed.length;
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
    if (wasUp) this.#owner?.linkDown(this, reason);
  }

  #firstMessage(message: Message): void {
    if (message.name === 'refuse') {
      const reason = decodeJson(message.body)?.['reason'];
      const text = typeof reason === 'string' ? reason : 'without a reason';
      this.#owner?.linkRefused(this.peer, text);
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
    if (!this.dialled) this.#sendHello(owner);
    // The hellos are out: what follows, either way, is of the version that both have.
    this.#version = commonVersion(this.#versions, hello.versions) ?? HELLO_VERSION;
    this.#reader.version = this.#version;
    this.#reader.bodyBytesMax = limits.messageBytesMax;
    this.up = true;
    owner.linkUp(this);
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
    return null;
  }

  #sendHello(owner: LinkOwner): void {
    const { group, groupId, site } = owner;
    const accepts = this.#compression === null ? {} : { accepts: [ZSTD] };
    const hello: Hello = { group, groupId, from: site, to: this.peer, versions: this.#versions, ...accepts };
    this.send('hello', encodeJson(hello));
  }
}
