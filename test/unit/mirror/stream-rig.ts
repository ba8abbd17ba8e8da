// Two sites with a link of several connections between them, each connection delivering when the test says so: what tests of streams stand on.

import { copyOf } from '../../../src/core/base/bytes.ts';
import type { LinkIdentity, LinkPort } from '../../../src/core/base/ports.ts';
import { Link, type LinkKeeper, type LinkOwner } from '../../../src/core/mirror/link.ts';
import type { MessageName } from '../../../src/core/mirror/messages.ts';
import { digests } from '../../support/records.ts';
import { WatchedBuffers } from './watched-buffers.ts';

/** One end of a connection. What is sent stays in its queue until it is passed on. */
export class QueuePort implements LinkPort {
  readonly backlogBytes = 0;
  identity: LinkIdentity | null = null;
  isClosed = false;
  readonly queue: { bytes: Uint8Array; sent: (() => void) | undefined }[] = [];

  send(parts: readonly Uint8Array[], sent?: () => void): void {
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    this.queue.push({ bytes, sent });
  }

  /** As the shell does: what was sent is not needed any more. */
  close(): void {
    this.isClosed = true;
    for (const { sent } of this.queue) sent?.();
    for (const item of this.queue) item.sent = undefined;
  }
}

export const clock = { time: 0, now: (): number => clock.time, wall: (): number => 0 };

/** A site that notes what it hears, as text. */
export class RigSite implements LinkOwner {
  readonly group = 'db';
  readonly groupId = 'g1';
  readonly site: string;
  readonly peer: string;
  readonly heard: string[] = [];
  readonly news: string[] = [];
  link: Link | null = null;
  streams: number;
  #names = 0;
  readonly connections: LinkKeeper = {
    linkTo: (peer) => (peer === this.peer ? this.link : null),
    streamsTo: () => this.streams,
    nameLink: () => `${this.site}-${this.#names++}`,
    streamNews: (_link, number, ended) => this.news.push(ended === null ? `up ${number}` : `down ${number}, ${ended.again} again`),
  };

  constructor(site: string, peer: string, streams: number) {
    this.site = site;
    this.peer = peer;
    this.streams = streams;
  }

  knowsPeer(name: string): boolean {
    return name === this.peer;
  }

  linkUp(link: Link): void {
    this.link?.close('a newer connection has come');
    this.link = link;
  }

  linkRefused(_peer: string, reason: string): void {
    this.news.push(`refused: ${reason}`);
  }

  linkMessage(_link: Link, { name, body }: { name: MessageName; body: Uint8Array }): void {
    this.heard.push(`${name} ${textOf(body)}`);
  }

  linkDown(link: Link, reason: string): void {
    if (this.link === link) this.link = null;
    this.news.push(`link down: ${reason}`);
  }
}

export function bodyOf(text: string): Uint8Array {
  return new TextEncoder().encode(text.padEnd(16));
}

function textOf(body: Uint8Array): string {
  return new TextDecoder().decode(copyOf(body)).trimEnd();
}

/** A connection: both its ends, and what receives at each. */
export interface Wire {
  readonly near: QueuePort;
  readonly far: QueuePort;
  readonly atNear: Link;
  readonly atFar: Link;
}

export class StreamRig {
  readonly near: RigSite;
  readonly far: RigSite;
  readonly buffers = new WatchedBuffers();
  readonly wires: Wire[] = [];

  constructor(streams = 3, farStreams = streams) {
    this.near = new RigSite('near', 'far', streams);
    this.far = new RigSite('far', 'near', farStreams);
  }

  #common(): { digests: typeof digests; clock: typeof clock; buffers: WatchedBuffers; compression: null } {
    return { digests, clock, buffers: this.buffers, compression: null };
  }

  #wire(dial: (port: QueuePort) => Link): Wire {
    const near = new QueuePort();
    const far = new QueuePort();
    const atNear = dial(near);
    const atFar = new Link({ ...this.#common(), port: far, dialled: null, findOwner: () => this.far });
    const wire = { near, far, atNear, atFar };
    this.wires.push(wire);
    return wire;
  }

  /** The first connection, the hellos not passed on yet. */
  dial(): Wire {
    return this.#wire(
      (port) => new Link({ ...this.#common(), port, dialled: { owner: this.near, peer: 'far' }, findOwner: () => this.near }),
    );
  }

  connect(): Wire {
    const wire = this.dial();
    this.flow(wire);
    return wire;
  }

  /** A connection to far of whoever it is: what near's end sends goes nowhere. */
  accept(): Wire {
    return this.dial();
  }

  /** A further connection of near's link, the hellos not passed on yet. */
  dialStream(number: number, link: Link = this.near.link as Link): Wire {
    return this.#wire((port) => link.dialledStream(number, port));
  }

  openStream(number: number): Wire {
    const wire = this.dialStream(number);
    this.flow(wire);
    return wire;
  }

  /** Passes one piece from near to far; false when there is none. */
  toFar({ near, atFar }: Wire): boolean {
    return pass(near, atFar);
  }

  toNear({ far, atNear }: Wire): boolean {
    return pass(far, atNear);
  }

  /** Passes everything on, both ways, until a connection is silent. */
  flow(...wires: readonly Wire[]): void {
    for (let moved = true; moved;) {
      moved = false;
      for (const wire of wires) moved = [this.toFar(wire), this.toNear(wire)].includes(true) || moved;
    }
  }

  /** A connection breaks: what is on its way is lost, and both ends hear of it. */
  break({ near, far, atNear, atFar }: Wire): void {
    near.close();
    far.close();
    near.queue.length = 0;
    far.queue.length = 0;
    atNear.closed();
    atFar.closed();
  }

  /** Near sends records. `sent` counts how often their memory was given back. */
  frame(text: string, sent?: () => void): void {
    (this.near.link as Link).sendParts('frame', [bodyOf(text)], 0, sent);
  }
}

function pass(port: QueuePort, to: Link): boolean {
  const item = port.queue.shift();
  if (item === undefined) return false;
  item.sent?.();
  to.receive(item.bytes);
  return true;
}
