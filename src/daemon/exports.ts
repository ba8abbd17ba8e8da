// What hosts may attach here: the volumes of the groups that this site serves, by "GROUP/VOLUME", and by "VOLUME" alone where that is clear.

import type { Buffers } from '../core/base/ports.ts';
import { assert } from '../core/base/assert.ts';
import type { SiteName } from '../core/base/units.ts';
import type { NbdCatalog, NbdElsewhere, NbdExport, NbdHolder, NbdRefusal, NbdTls } from '../core/nbd/handshake.ts';
import { HostMemory } from '../core/nbd/memory.ts';
import { readExportName } from '../core/nbd/export-name.ts';
import { standingText, type Standing } from '../core/nbd/standing.ts';
import type { NbdHandler, NbdRequest } from '../core/nbd/session.ts';
import { NbdSession } from '../core/nbd/session.ts';
import type { Stretch, StretchRange } from '../core/site/lacks.ts';
import type { HostRequest, Role } from '../core/site/contract.ts';

/** A group as far as its exports need it. */
export interface ExportedGroup {
  readonly group: string;
  readonly site: SiteName;
  /** As large as hosts that connect now see them. */
  readonly volumes: readonly { readonly name: string; readonly sizeBytes: number }[];
  /** All that have a copy, in the group's order. */
  readonly sites: readonly SiteName[];
  readonly role: Role;
  /** The site that serves the group, as far as it is known here. */
  readonly knownPrimary: SiteName | null;
  /** Its place in the history of the group; null while it has none. */
  readonly standing: Standing | null;
  request(request: HostRequest): void;
  /** What a site's copy lacks, as far as this one knows. */
  lacks(site: SiteName, range: StretchRange): readonly Stretch[];
}

interface OneExport {
  readonly name: string;
  /** As it is now. */
  readonly export: NbdExport;
  readonly volume: string;
  readonly group: ExportedGroup;
}

/** All exports of a daemon, and the sessions that use them. */
export class Exports implements NbdCatalog, NbdHandler {
  readonly #all: readonly OneExport[];
  /** By the name of the export. */
  readonly #groups: ReadonlyMap<string, ExportedGroup>;
  readonly #sessions = new Set<NbdSession>();

  readonly buffers: Buffers;
  readonly memory: HostMemory;

  /** `memory`: what all hosts share. */
  constructor(groups: readonly ExportedGroup[], buffers: Buffers, memory: HostMemory) {
    this.buffers = buffers;
    this.memory = memory;
    this.#all = groups.flatMap((group) =>
      group.volumes.map(({ name: volume }, index) => ({
        name: `${group.group}/${volume}`,
        get export() {
          return exportOf(group, index);
        },
        volume,
        group,
      })),
    );
    this.#groups = new Map(this.#all.map((each) => [each.name, each.group]));
  }

  /** Only what may be attached now, here or through here. */
  list(holder: NbdHolder | null): readonly NbdExport[] {
    const isServed = ({ group }: OneExport): boolean => group.role === 'primary' || (group.knownPrimary ?? group.site) !== group.site;
    return this.#of(holder)
      .filter(isServed)
      .map((each) => each.export);
  }

  find(name: string, holder: NbdHolder | null): NbdExport | NbdRefusal | NbdElsewhere {
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
    const { readOnly, direct, attachment } = wishes;
    const plain = { ...only.export, readOnly };
    if (only.group.role !== 'primary') {
      const site = only.group.knownPrimary;
      if (direct || site === null || site === only.group.site) return { refused: 'not-serving', text: notServingText(only.group) };
      return { elsewhere: site, export: plain, name: `${plain.name}${readOnly ? '@ro' : ''}@direct` };
    }
    if (!direct) return plain;
    const { standing } = only.group;
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
    const attachment = session.export?.attachment;
    if (attachment === undefined) return;
    // What was sent on its older connections and is not carried out yet never will be.
    for (const older of this.#sessionsOf(attachment.user)) if (older !== session) older.abort();
  }

  request(request: NbdRequest): void {
    const group = this.#groupOf(request.export);
    assert(group !== undefined, 'a request for an export that is none', { export: request.export.name });
    group.request(request);
  }

  /** A session for a new connection. */
  newSession(tls: NbdTls): NbdSession {
    const session = new CountedSession(this, tls, (ended) => this.#sessions.delete(ended));
    this.#sessions.add(session);
    return session;
  }

  /**
   * Ends every session of a group: no request of it is answered any more, from this call on. Their connections are closed by the listener at
   * the end of the turn, or with the next byte of a client that has nothing under way.
   */
  drop(group: string): void {
    for (const session of this.#sessions) {
      if (session.export !== null && this.#groupOf(session.export)?.group === group) session.abort();
    }
  }

  /** What a client may know of. */
  #of(holder: NbdHolder | null): readonly OneExport[] {
    const groups = holder === null ? null : holder.groups;
    return groups === null ? this.#all : this.#all.filter((each) => groups.includes(each.group.group));
  }

  #groupOf(of: NbdExport): ExportedGroup | undefined {
    return this.#groups.get(of.name);
  }

  #sessionsOf(user: string): readonly NbdSession[] {
    return [...this.#sessions].filter((session) => session.export?.attachment?.user === user);
  }
}

/** Says when it has ended. */
class CountedSession extends NbdSession {
  readonly #ended: (session: NbdSession) => void;

  constructor(exports: Exports, tls: NbdTls, ended: (session: NbdSession) => void) {
    super({
      catalog: exports,
      handler: exports,
      tls,
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

function exportOf({ group, sites, volumes }: ExportedGroup, index: number): NbdExport {
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

function generationOf(session: NbdSession): number {
  return session.export?.attachment?.generation ?? 0;
}

function notServingText({ group, site, role, knownPrimary }: ExportedGroup): string {
  if (knownPrimary !== null && knownPrimary !== site) return `group ${group} is served by ${knownPrimary}, not here (${site})`;
  return `group ${group} is not served by ${site}, which is ${role} now: see \`tercet status\``;
}
