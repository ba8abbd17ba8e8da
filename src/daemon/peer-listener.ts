// Connections that peers open to this site. Each is a stranger until its hello says which group and site it is, and has only so long to say it.

import { limits } from '../core/base/limits.ts';
import type { Buffers, Clock, Journal } from '../core/base/ports.ts';
import { acceptLink } from '../core/mirror/accept.ts';
import type { LinkReceiver } from '../core/mirror/link.ts';
import type { Site } from '../core/site/site.ts';
import { machineDigests } from '../host/digests.ts';
import { machineCompression } from '../host/zstd.ts';
import type { StreamServer } from '../host/stream-server.ts';
import { linkProtocol } from '../host/client-hello.ts';
import { adoptStream, type StreamEvents, type StreamSocket } from '../host/stream-socket.ts';
import { Strangers } from '../host/strangers.ts';
import { openLinkServer, SocketLink } from '../host/tcp-link.ts';
import type { TlsIdentity } from '../host/tls-identity.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import type { TurnScheduler } from '../host/wake.ts';
import { streamAddress } from './addresses.ts';
import type { Config, SiteConfig } from './config.ts';
import { attachLink } from './dialer.ts';
import type { LinkDoorOptions, MovedLink } from './link-door.ts';
import { LinkDoor } from './link-door.ts';
import { TlsDoor, type TlsDoorOptions } from './tls-door.ts';

/** A connection that has not said within this time which group and site it is, is closed. */
const HELLO_MILLIS_MAX = 10_000;
/** Connections of one peer for one group: the newest, and those before it that have not ended yet. */
const LINKS_PER_PEER_MAX = 4;
/** Why what is left is cut at the end. */
const STOPPING = 'this site is stopping';

/** Of any link, beside its first connection. */
function mostStreams({ groups }: Config): number {
  return Math.max(0, ...groups.flatMap(({ sites }) => sites.map(({ streams = 0 }) => streams)));
}

/** What the listener needs of the daemon. */
export interface PeerListenerOptions {
  readonly config: Config;
  readonly site: SiteConfig;
  readonly clock: Clock;
  readonly buffers: Buffers;
  readonly turns: TurnScheduler;
  readonly journal: Journal;
  readonly tls: TlsMaterial | null;
  /** This machine's part in a group. */
  readonly findSite: (group: string) => Site | null;
  /** Where groups live in other threads: who takes a connection for one of those. */
  readonly takerOf?: LinkDoorOptions['takerOf'];
}

/** Listens for peers. */
export class PeerListener {
  /** Connections that stand, each with what cuts it. */
  readonly #links = new Map<SocketLink, () => void>();
  /** Connections that have not said whose they are, or that are carried for another thread. */
  readonly #doors = new Set<LinkDoor | TlsDoor>();
  readonly #options: PeerListenerOptions;
  readonly #strangers: Strangers;
  #server: StreamServer | null = null;
  #stopped: Promise<void> = Promise.resolve();
  #whenNoDoors = (): void => {};

  constructor(options: PeerListenerOptions) {
    this.#options = options;
    this.#strangers = new Strangers(options.journal, 'peers');
  }

  /** Throws TERCET_PORT_IN_USE. */
  async open(): Promise<void> {
    const { buffers, config, journal, site, takerOf, tls, turns } = this.#options;
    this.#server = await openLinkServer({
      listen: [streamAddress(site.link)],
      buffers,
      turns,
      journal,
      tls: takerOf === undefined ? (tls ?? undefined) : undefined,
      connectionsMax: LINKS_PER_PEER_MAX * limits.groupSitesMax * config.groups.length * (1 + mostStreams(config)),
      accept: (link) => this.#accept(link),
      ...(takerOf !== undefined && {
        door: (stream) => (tls === null ? this.#door(stream, null, takerOf) : this.#tlsDoor(stream, tls, takerOf)),
      }),
    });
  }

  /** Takes a connection that another thread has accepted. `gone` is called when it has ended. */
  adopt({ fd, name, identity, bytes, beginsTls }: MovedLink, gone: () => void): void {
    const { buffers, tls, turns } = this.#options;
    const stream = adoptStream(fd, name, { buffers, turns, validity: 'call' });
    const events = beginsTls === true && tls !== null ? this.#tlsDoor(stream, tls) : this.#own(stream, identity);
    stream.start({
      received: (more) => events.received(more),
      ended: () => events.ended(),
      closed: (reason) => {
        events.closed(reason);
        gone();
      },
    });
    events.received(bytes);
  }

  /** Accepts nothing more. Connections stay until the groups end them, but for those that have not said which group they are for. */
  stop(): void {
    if (this.#server !== null) this.#stopped = this.#server.stop();
    for (const door of this.#doors) if (!door.isCarried) door.cut(STOPPING);
  }

  /**
   * After stop(), and after the groups have ended theirs: closes what is left, and waits until all are gone. What a thread has said last may still be on its
   * way through here; a thread that hangs ends nothing.
   */
  async gone(): Promise<void> {
    for (const cut of this.#links.values()) cut();
    for (const door of this.#doors) if (!door.isCarried) door.cut(STOPPING);
    const late = setTimeout(() => {
      for (const door of this.#doors) door.cut(STOPPING);
    }, limits.shutdownMillis / 2);
    await Promise.all([this.#stopped, this.#doorsGone()]);
    clearTimeout(late);
  }

  #doorsGone(): Promise<void> | undefined {
    if (this.#doors.size === 0) return undefined;
    return new Promise((resolve) => {
      this.#whenNoDoors = resolve;
    });
  }

  #leftDoor(door: LinkDoor | TlsDoor): void {
    this.#doors.delete(door);
    if (this.#doors.size === 0) this.#whenNoDoors();
  }

  /** A connection of this thread. */
  #own(stream: StreamSocket, identity: TlsIdentity | null): StreamEvents {
    const link = new SocketLink(stream, this.#options.turns, identity);
    this.#accept(link);
    return link.streamEvents();
  }

  /** One that says next which group it is for. */
  #door(stream: StreamSocket, identity: TlsIdentity | null, takerOf: LinkDoorOptions['takerOf']): LinkDoor {
    const own = (): StreamEvents => this.#own(stream, identity);
    const door: LinkDoor = new LinkDoor({
      stream,
      identity,
      own,
      takerOf,
      helloMillisMax: HELLO_MILLIS_MAX,
      left: () => this.#leftDoor(door),
    });
    this.#doors.add(door);
    return door;
  }

  /** One that begins TLS next, in the thread of the group that it names; without `takerOf` in this one, whose matter it is then. */
  #tlsDoor(stream: StreamSocket, material: TlsMaterial, takerOf: LinkDoorOptions['takerOf'] | null = null): TlsDoor {
    const { config } = this.#options;
    const ofProtocols: TlsDoorOptions['takerOf'] = (protocols) => {
      const group = takerOf === null ? undefined : config.groups.find(({ name }) => protocols.includes(linkProtocol(name)));
      return group === undefined ? null : (takerOf?.(group.name) ?? null);
    };
    const door: TlsDoor = new TlsDoor({
      stream,
      material,
      helloMillisMax: HELLO_MILLIS_MAX,
      takerOf: ofProtocols,
      secured: (identity) => (takerOf === null ? this.#own(stream, identity) : this.#door(stream, identity, takerOf)),
      refused: (remote, reason) => this.#strangers.refused(remote, reason),
      left: () => this.#leftDoor(door),
    });
    this.#doors.add(door);
    return door;
  }

  #accept(link: SocketLink): void {
    const { buffers, clock, config, findSite } = this.#options;
    link.closeWhenSilent(Math.max(HELLO_MILLIS_MAX, ...config.groups.map((group) => 4 * group.timings.leaseMillis)));
    let said = false;
    let receiver: LinkReceiver | null = null;
    const find = (group: string): Site | null => {
      said = true;
      return findSite(group);
    };
    const forget = (): void => {
      clearTimeout(silent);
      this.#links.delete(link);
    };
    const cut = (): void => {
      forget();
      link.close();
      receiver?.closed();
    };
    const silent = setTimeout(() => {
      if (!said) cut();
    }, HELLO_MILLIS_MAX);
    this.#links.set(link, cut);
    attachLink(
      link,
      (port) => {
        receiver = acceptLink(port, find, { clock, digests: machineDigests, buffers, compression: machineCompression ?? null });
        return receiver;
      },
      forget,
    );
  }
}
