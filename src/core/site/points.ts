// Points of a group at one site: positions that an administrator holds under a name, and the reads of those who have attached volumes as of them. Any
// copy that is of one moment may answer, whoever serves: what is read was committed, and stays so. They live as long as the process.

import { DiskError } from '../base/ports.ts';
import { limits } from '../base/limits.ts';
import type { Millis } from '../base/units.ts';
import { isPointName } from '../nbd/export-name.ts';
import type { Point, PointWish } from '../replica/points.ts';
import type { Replica } from '../replica/replica.ts';
import { SidefileDamage } from '../replica/sidefile.ts';
import type { HostError, HostRequest, OrderOutcome, PointOrder, PointStatus, SiteOptions } from './contract.ts';

const EPERM: HostError = 1;
const EIO: HostError = 5;
const ESHUTDOWN: HostError = 108;
/** Reads up to this size are copied by the session at once, so their memory goes back to the pool with the answer. */
const COPIED_BYTES_MAX = 16 * 1024;
const NEXT = 'see `tercet point list` and `tercet status`';

/** A point as connections know it. */
export interface NamedPoint {
  readonly name: string;
  /** Tells it from others that had, or will have, its name. */
  readonly id: number;
  /** What it has of each volume. */
  readonly sizes: readonly number[];
}

interface Entry {
  readonly name: string;
  readonly id: number;
  readonly replica: Replica;
  readonly point: Point;
  /** Connections that use it. */
  users: number;
  /** Requests that came before it could be read, or that were put off. */
  waiting: HostRequest[];
}

type PointOptions = Pick<SiteOptions, 'group' | 'site' | 'buffers' | 'clock' | 'journal' | 'shell'>;
/** As primary. */
type PointLead = { readonly mayServe: (now: Millis) => boolean } | null;

export class PointDesk {
  readonly #options: PointOptions;
  readonly #replica: () => Replica | null;
  readonly #lead: () => PointLead;
  /** The oldest first. One that was given up stays, as a message, until it is removed or made anew. */
  #entries: Entry[] = [];
  #ids = 0;
  /** Told when one has ended: connections that use it are to be ended. */
  onEnded: (id: number, why: string) => void = () => undefined;

  constructor(parts: { readonly options: PointOptions; readonly replica: () => Replica | null; readonly lead: () => PointLead }) {
    this.#options = parts.options;
    this.#replica = parts.replica;
    this.#lead = parts.lead;
  }

  status(): readonly PointStatus[] {
    return this.#entries.map(({ name, replica, point, users }) => ({
      name,
      epoch: point.epoch,
      seq: point.seq,
      timeMillis: point.timeMillis,
      madeMillis: point.madeMillis,
      state: point.ended !== null ? 'lost' : point.ready ? 'ready' : 'preparing',
      why: point.ended,
      connections: users,
      pinnedBytes: point.ended === null ? replica.bytesAfter(point.seq) : 0,
    }));
  }

  /** Those that can be attached. */
  get standing(): readonly NamedPoint[] {
    return this.#entries.filter(({ point }) => point.ended === null).map(shown);
  }

  /** Holds a position under a name until it is removed. */
  create({ name, at }: PointOrder): OrderOutcome {
    const { group, site } = this.#options;
    const refused = (text: string, remedy: string): OrderOutcome => ({ kind: 'refused', text, remedy });
    if (!isPointName(name))
      return refused(
        `"${name}" is no name for a point`,
        `give 1 to ${limits.nameCharsMax} of a-z, 0-9 and '-', beginning with a letter, and not ro, direct or attach`,
      );
    const known = this.#named(name);
    if (known !== undefined && known.point.ended === null)
      return refused(`there is a point ${name} of group ${group} at ${site} already`, 'remove it, or give another name');
    const replica = this.#replica();
    if (replica === null) return refused(`there is no copy of group ${group} at ${site} that can be read`, NEXT);
    const point = replica.points.open(this.#wishOf(at), () => this.#changed(entry));
    if (typeof point === 'string') return refused(`${site} holds no point of group ${group}: ${point}`, NEXT);
    const entry: Entry = { name, id: ++this.#ids, replica, point, users: 0, waiting: [] };
    this.#entries = [...this.#entries.filter((other) => other !== known), entry];
    const text = `point ${name} of group ${group} is record ${point.seq} at ${site}: attach GROUP/VOLUME@${name} there`;
    return { kind: 'done', text };
  }

  /** Whoever serves numbers every record, by its own clock: of a moment that is over there it will make none. */
  #wishOf(at: PointOrder['at']): PointWish {
    if (at === null || !('timeMillis' in at)) return at ?? 'newest';
    const { clock } = this.#options;
    const isOver = this.#lead()?.mayServe(clock.now()) === true && Math.floor(clock.wall()) > at.timeMillis;
    return { timeMillis: at.timeMillis, isOver };
  }

  /** Also takes one that was given up off the list. */
  remove(name: string): OrderOutcome {
    const { group, site } = this.#options;
    const entry = this.#named(name);
    if (entry === undefined)
      return { kind: 'refused', text: `there is no point ${name} of group ${group} at ${site}`, remedy: 'see `tercet point list`' };
    this.#entries = this.#entries.filter((other) => other !== entry);
    entry.replica.points.end(entry.point, 'it was removed by order');
    return { kind: 'done', text: `point ${name} of group ${group} is no more at ${site}` };
  }

  /** What can be attached; a sentence about why not. */
  find(name: string): NamedPoint | string {
    const { group, site } = this.#options;
    const entry = this.#named(name);
    if (entry !== undefined && entry.point.ended === null) return shown(entry);
    if (entry !== undefined) return `point ${name} of group ${group} at ${site} was given up: ${entry.point.ended}`;
    const names = this.standing.map((point) => point.name).join(', ');
    return `there is no point "${name}" of group ${group} at ${site}: ${names === '' ? 'none was made since its daemon started' : `known are ${names}`}`;
  }

  #named(name: string): Entry | undefined {
    return this.#entries.find((entry) => entry.name === name);
  }

  #standing(id: number): Entry | undefined {
    return this.#entries.find((entry) => entry.id === id && entry.point.ended === null);
  }

  /** A connection uses it from now on, until it calls what is returned; null where it stands no more. */
  attached(id: number): (() => void) | null {
    const entry = this.#standing(id);
    if (entry === undefined) return null;
    entry.users++;
    return () => {
      entry.users--;
    };
  }

  /** It can be read, or has ended. */
  #changed(entry: Entry): void {
    for (const request of entry.waiting.splice(0)) this.#carryOut(request, entry);
    const why = entry.point.ended;
    if (why !== null) {
      if (this.#entries.includes(entry)) this.#tellLost(entry, why);
      const lost = this.#entries.filter(({ point }) => point.ended !== null);
      const forgotten = lost.slice(0, Math.max(0, lost.length - limits.pointsMax));
      this.#entries = this.#entries.filter((other) => !forgotten.includes(other));
      this.onEnded(entry.id, why);
    }
    this.#options.shell.wake();
  }

  /** Somebody may rely on it still. */
  #tellLost({ name, point: { epoch, seq }, users }: Entry, why: string): void {
    const { group, site, journal } = this.#options;
    journal(
      'point.lost',
      { group, name, epoch, seq, why, connections: users },
      `point ${name} of group ${group} at ${site} is lost: ${why}`,
    );
  }

  /** Takes a request of a connection that is attached as of a point. */
  request(request: HostRequest, id: number): void {
    const entry = this.#standing(id);
    if (entry === undefined) return request.session.reply(request, ESHUTDOWN);
    if (entry.point.ready) this.#carryOut(request, entry);
    else entry.waiting.push(request);
  }

  #carryOut(request: HostRequest, entry: Entry): void {
    const { session, command } = request;
    if (session.gone === true) return;
    if (entry.point.ended !== null) return session.reply(request, ESHUTDOWN);
    if (command === 'cache' || command === 'flush') return session.reply(request, 0);
    if (command !== 'read' && command !== 'status') return session.reply(request, EPERM);
    if (command === 'read' && entry.replica.points.putsOff(entry.point)) return void entry.waiting.push(request);
    try {
      if (command === 'read') this.#read(request, entry);
      else session.replyStatus(request, entry.replica.points.extents(entry.point, request.volume, request, limits.nbdExtentsMax));
    } catch (error) {
      // The replica has noted it, and its site has given the copy up.
      if (!(error instanceof DiskError) && !(error instanceof SidefileDamage)) throw error;
      session.reply(request, EIO);
    }
  }

  #read(request: HostRequest, { replica, point }: Entry): void {
    const { buffers, shell } = this.#options;
    const bytes = buffers.take(request.length);
    if (replica.points.read(point, request.volume, request.offset, bytes) >= 0) return this.#answer(request, bytes);
    replica.points.readCold(point, request.volume, request.offset, bytes, (failure) => {
      // What was read after the end may be of a later record.
      const error = failure !== null ? EIO : point.ended !== null ? ESHUTDOWN : 0;
      if (error === 0) this.#answer(request, bytes);
      else {
        buffers.give(bytes);
        request.session.reply(request, error);
      }
      shell.wake();
    });
  }

  #answer(request: HostRequest, bytes: Uint8Array): void {
    const isCopied = request.length <= COPIED_BYTES_MAX;
    request.session.reply(request, 0, bytes, !isCopied);
    if (isCopied) this.#options.buffers.give(bytes);
  }
}

function shown({ name, id, point }: Entry): NamedPoint {
  return { name, id, sizes: point.sizes };
}
