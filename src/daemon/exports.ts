// What hosts may attach here: the volumes of the groups that this site serves, by "GROUP/VOLUME", and by "VOLUME" alone where that is clear; and
// volumes as of points of the copy here, whoever serves.

import type { Buffers } from '../core/base/ports.ts';
import { assert } from '../core/base/assert.ts';
import type { SiteName } from '../core/base/units.ts';
import type { HandshakeState, NbdCatalog, NbdElsewhere, NbdExport, NbdHolder, NbdMove, NbdRefusal, NbdTls } from '../core/nbd/handshake.ts';
import type { HostMemory } from '../core/nbd/memory.ts';
import { type ExportWishes, readExportName } from '../core/nbd/export-name.ts';
import { standingText, type Standing } from '../core/nbd/standing.ts';
import type { NbdSessionOptions } from '../core/nbd/session-options.ts';
import type { NbdHandler, NbdRequest } from '../core/nbd/session.ts';
import { NbdSession } from '../core/nbd/session.ts';
import type { Stretch, StretchRange } from '../core/site/lacks.ts';
import type { ServedSession } from '../host/nbd-listener.ts';
import type { HostRequest, Role } from '../core/site/contract.ts';

/** Points of the copy here. */
export interface ExportedPoints {
  readonly standing: readonly ExportedPoint[];
  /** The one of a name; a sentence about why it cannot be attached. */
  find(name: string): ExportedPoint | string;
  /** A connection uses one from now on, until it calls what is returned; null where it stands no more. */
  attached(id: number): (() => void) | null;
  request(request: HostRequest, id: number): void;
  /** Is to be told when one has ended. */
  onEnded: (id: number, why: string) => void;
}

interface ExportedPoint {
  readonly name: string;
  readonly id: number;
  /** By volume. */
  readonly sizes: readonly number[];
}

/** A group as far as it is listed. */
interface ListedGroup {
  readonly group: string;
  readonly site: SiteName;
  /** As large as hosts that connect now see them. */
  readonly volumes: readonly { readonly name: string; readonly sizeBytes: number }[];
  /** All that have a copy, in the group's order. */
  readonly sites: readonly SiteName[];
  readonly role: Role;
  /** The site that serves the group, as far as it is known here. */
  readonly knownPrimary: SiteName | null;
  readonly points: Pick<ExportedPoints, 'standing'>;
}

/** A group of another thread: what is asked for its exports goes there. */
export interface KeptGroup extends ListedGroup {
  readonly keeper: string;
}

/** A group as far as its exports need it. */
export interface ExportedGroup extends ListedGroup {
  /** Its place in the history of the group; null while it has none. */
  readonly standing: Standing | null;
  readonly points: ExportedPoints;
  request(request: HostRequest): void;
  /** What a site's copy lacks, as far as this one knows. */
  lacks(site: SiteName, range: StretchRange): readonly Stretch[];
}

interface OneExport {
  readonly name: string;
  /** As it is now. */
  readonly export: NbdExport;
  readonly volume: string;
  /** Its place among the volumes of its group. */
  readonly index: number;
  readonly group: ExportedGroup | KeptGroup;
}

/** One of a group of this thread. */
interface OwnExport extends OneExport {
  readonly group: ExportedGroup;
}

/** What a daemon's threads are to each other. */
export interface ExportsPlace {
  readonly memory: HostMemory;
  /** Who lists all exports, where this thread has its own ones only. */
  readonly lister?: string;
}

/** All exports of a daemon, and the sessions that use them. */
export class Exports implements NbdCatalog, NbdHandler {
  readonly #all: readonly OneExport[];
  /** By the name of the export. */
  readonly #groups: ReadonlyMap<string, ExportedGroup>;
  readonly #sessions = new Set<NbdSession>();
  /** Sessions that read as of a point, each with what it calls when it needs that no longer. */
  readonly #holding = new Map<NbdSession, () => void>();

  readonly buffers: Buffers;
  /** What all hosts of this thread share. */
  readonly memory: HostMemory;
  readonly #lister: string | null;

  constructor(groups: readonly (ExportedGroup | KeptGroup)[], buffers: Buffers, { memory, lister }: ExportsPlace) {
    this.buffers = buffers;
    this.memory = memory;
    this.#lister = lister ?? null;
    this.#all = groups.flatMap((group) =>
      group.volumes.map(({ name: volume }, index) => ({
        name: `${group.group}/${volume}`,
        get export() {
          return exportOf(group, index);
        },
        volume,
        index,
        group,
      })),
    );
    this.#groups = new Map(this.#all.flatMap(({ name, group }) => ('keeper' in group ? [] : [[name, group]])));
    for (const group of groups) if (!('keeper' in group)) group.points.onEnded = (id, why) => this.#endPoint(group, id, why);
  }

  /** Only what may be attached now, here or through here. */
  list(holder: NbdHolder | null): readonly NbdExport[] | NbdMove {
    if (this.#lister !== null) return { moveTo: this.#lister };
    const isServed = ({ group }: OneExport): boolean => group.role === 'primary' || (group.knownPrimary ?? group.site) !== group.site;
    const own = this.#of(holder);
    const held = own.flatMap((each) => each.group.points.standing.map((point) => pointExport(each, point)));
    return [...own.filter(isServed).map((each) => each.export), ...held];
  }

  find(name: string, holder: NbdHolder | null): NbdExport | NbdRefusal | NbdElsewhere | NbdMove {
    const wishes = readExportName(name);
    if ('wrong' in wishes) return { refused: 'unknown', text: wishes.wrong };
    const own = this.#of(holder);
    const found = own.filter((each) => wishes.name === '' || wishes.name === each.name || wishes.name === each.volume);
    const [only] = found;
    const known = own.map((each) => each.name).join(', ');
    const whose = holder === null || holder.groups === null ? 'here' : `for the certificate of ${holder.text}`;
    if (only === undefined) return { refused: 'unknown', text: `there is no export "${wishes.name}" ${whose}: known are ${known}` };
    if (found.length > 1)
      return { refused: 'unknown', text: `"${wishes.name}" is not clear: say one of ${found.map((each) => each.name).join(', ')}` };
    const { group } = only;
    // Only the thread that has it knows what is so at this moment.
    if ('keeper' in group) return { moveTo: group.keeper };
    const one = { ...only, group };
    if (wishes.point !== null) return this.#findPoint(one, wishes.point);
    return this.#findServed(one, wishes);
  }

  /** Found here or nowhere: another copy has points of its own. */
  #findPoint(one: OwnExport, name: string): NbdExport | NbdRefusal {
    const found = one.group.points.find(name);
    return typeof found === 'string' ? { refused: 'unknown', text: found } : pointExport(one, found);
  }

  #findServed({ export: as, group }: OwnExport, { readOnly, direct, attachment }: ExportWishes): NbdExport | NbdRefusal | NbdElsewhere {
    const plain = { ...as, readOnly };
    if (group.role !== 'primary') {
      const site = group.knownPrimary;
      if (direct || site === null || site === group.site) return { refused: 'not-serving', text: notServingText(group) };
      return { elsewhere: site, export: plain, name: `${plain.name}${readOnly ? '@ro' : ''}@direct` };
    }
    if (!direct) return plain;
    const { standing } = group;
    const description = standing === null ? plain.description : standingText(standing);
    if (attachment === null) return { ...plain, description };
    const newer = this.#sessionsOf(attachment.user).find((session) => generationOf(session) > attachment.generation);
    if (newer !== undefined) return { refused: 'unknown', text: `a newer connection of ${attachment.user} is served already` };
    return { ...plain, description, attachment };
  }

  lacks(of: NbdExport, copy: SiteName, { offset, length }: { offset: number; length: number }): readonly Stretch[] {
    const group = this.#groupOf(of);
    assert(group !== undefined, 'a question about an export that is none', { export: of.name });
    return group.lacks(copy, { volume: of.volume, offset, length });
  }

  begun(session: NbdSession): void {
    const { attachment, point } = session.export ?? {};
    if (point !== undefined) this.#hold(session, point);
    if (attachment === undefined) return;
    // What was sent on its older connections and is not carried out yet never will be.
    for (const older of this.#sessionsOf(attachment.user)) if (older !== session) older.abort();
  }

  #hold(session: NbdSession, point: number): void {
    const left = session.export === null ? null : (this.#groupOf(session.export)?.points.attached(point) ?? null);
    if (left === null) return session.drain('the point that it asked for does not stand any more');
    this.#holding.set(session, left);
  }

  /** Nothing more is taken of those who use it. */
  #endPoint(group: ExportedGroup, id: number, why: string): void {
    for (const session of this.#holding.keys()) {
      const used = session.export;
      if (used?.point === id && this.#groupOf(used) === group) session.drain(`the point that it read does not stand any more: ${why}`);
    }
  }

  request(request: NbdRequest): void {
    const { point, name } = request.export;
    const group = this.#groupOf(request.export);
    assert(group !== undefined, 'a request for an export that is none', { export: name });
    if (point === undefined) group.request(request);
    else group.points.request(request, point);
  }

  /** A session for a connection. `state`: of one whose handshake began in another thread. */
  newSession(tls: NbdTls, state?: HandshakeState): NbdSession {
    const session = new CountedSession(this, { tls, state }, (ended) => {
      this.#sessions.delete(ended);
      const left = this.#holding.get(ended);
      this.#holding.delete(ended);
      left?.();
    });
    this.#sessions.add(session);
    return session;
  }

  /**
   * Ends every session of a group that is served: no request of it is answered any more, from this call on. Their connections are closed by the listener at
   * the end of the turn, or with the next byte of a client that has nothing under way.
   */
  drop(group: string): void {
    for (const session of this.#sessions) {
      const { export: used } = session;
      // Who reads as of a point is not served by the reign that has ended.
      if (used !== null && used.point === undefined && this.#groupOf(used)?.group === group) session.abort();
    }
  }

  /** Whether a session reads as of a point: that is no matter of who serves. */
  readsPoint(session: ServedSession): boolean {
    return [...this.#holding.keys()].some((each) => each === session);
  }

  /** What a client may know of. */
  #of(holder: NbdHolder | null): readonly OneExport[] {
    const groups = holder === null ? null : holder.groups;
    return groups === null ? this.#all : this.#all.filter((each) => groups.includes(each.group.group));
  }

  #groupOf(of: NbdExport): ExportedGroup | undefined {
    return this.#groups.get(volumeOf(of.name));
  }

  #sessionsOf(user: string): readonly NbdSession[] {
    return [...this.#sessions].filter((session) => session.export?.attachment?.user === user);
  }
}

/** Says when it has ended. */
class CountedSession extends NbdSession {
  readonly #ended: (session: NbdSession) => void;

  constructor(exports: Exports, how: Pick<NbdSessionOptions, 'tls' | 'state'>, ended: (session: NbdSession) => void) {
    super({
      catalog: exports,
      handler: exports,
      ...how,
      allocate: (byteCount) => Buffer.allocUnsafeSlow(byteCount),
      payloads: exports.buffers,
      memory: exports.memory,
    });
    this.#ended = ended;
  }

  override abort(): void {
    super.abort();
    this.#ended(this);
  }
}

function exportOf({ group, sites, volumes }: ListedGroup, index: number): NbdExport {
  const volume = volumes[index];
  assert(volume !== undefined, 'an export is of a volume of its group', { group, index });
  return {
    name: `${group}/${volume.name}`,
    description: `volume ${volume.name} of group ${group}`,
    sizeBytes: volume.sizeBytes,
    volume: index,
    readOnly: false,
    multiConn: true,
    copies: sites,
  };
}

/** The name of an export as it is now, out of one as of a point. */
function volumeOf(name: string): string {
  return name.split('@', 1)[0] ?? '';
}

function pointExport({ group, volume, index, name }: OneExport, { name: point, id, sizes }: ExportedPoint): NbdExport {
  return {
    name: `${name}@${point}`,
    description: `volume ${volume} of group ${group.group} as of point ${point} at ${group.site}`,
    sizeBytes: sizes[index] ?? 0,
    volume: index,
    readOnly: true,
    multiConn: true,
    point: id,
  };
}

function generationOf(session: NbdSession): number {
  return session.export?.attachment?.generation ?? 0;
}

function notServingText({ group, site, role, knownPrimary }: ListedGroup): string {
  if (knownPrimary !== null && knownPrimary !== site) return `group ${group} is served by ${knownPrimary}, not here (${site})`;
  return `group ${group} is not served by ${site}, which is ${role} now: see \`tercet status\``;
}
