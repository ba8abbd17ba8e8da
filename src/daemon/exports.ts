// What hosts may attach here: the volumes of the groups that this site serves, by "GROUP/VOLUME", and by "VOLUME" alone where that is clear.

import type { Buffers } from '../core/base/ports.ts';
import { assert } from '../core/base/assert.ts';
import type { SiteName } from '../core/base/units.ts';
import type { NbdCatalog, NbdExport, NbdRefusal } from '../core/nbd/handshake.ts';
import type { NbdHandler, NbdRequest } from '../core/nbd/session.ts';
import { NbdSession } from '../core/nbd/session.ts';
import type { HostRequest, Role, VolumeSpec } from '../core/site/contract.ts';

/** A group as far as its exports need it. */
export interface ExportedGroup {
  readonly group: string;
  readonly site: SiteName;
  readonly volumes: readonly VolumeSpec[];
  readonly role: Role;
  /** The site that serves the group, as far as it is known here. */
  readonly knownPrimary: SiteName | null;
  request(request: HostRequest): void;
}

/** All exports of a daemon, and the sessions that use them. */
export class Exports implements NbdCatalog, NbdHandler {
  readonly #all: readonly { readonly export: NbdExport; readonly volume: string; readonly group: ExportedGroup }[];
  readonly #groupOf: ReadonlyMap<NbdExport, ExportedGroup>;
  readonly #sessions = new Set<NbdSession>();

  readonly buffers: Buffers;

  constructor(groups: readonly ExportedGroup[], buffers: Buffers) {
    this.buffers = buffers;
    this.#all = groups.flatMap((group) =>
      group.volumes.map((volume, index) => ({ export: exportOf(group.group, volume, index), volume: volume.name, group })),
    );
    this.#groupOf = new Map(this.#all.map((each) => [each.export, each.group]));
  }

  /** Only what may be attached now. */
  list(): readonly NbdExport[] {
    return this.#all.filter(({ group }) => group.role === 'primary').map((each) => each.export);
  }

  find(name: string): NbdExport | NbdRefusal {
    const found = this.#all.filter((each) => name === '' || name === each.export.name || name === each.volume);
    const [only] = found;
    const known = this.#all.map((each) => each.export.name).join(', ');
    if (only === undefined) return { refused: 'unknown', text: `there is no export "${name}" here: known are ${known}` };
    if (found.length > 1)
      return { refused: 'unknown', text: `"${name}" is not clear: say one of ${found.map((each) => each.export.name).join(', ')}` };
    return only.group.role === 'primary' ? only.export : { refused: 'not-serving', text: notServingText(only.group) };
  }

  request(request: NbdRequest): void {
    const group = this.#groupOf.get(request.export);
    assert(group !== undefined, 'a request for an export that is none', { export: request.export.name });
    group.request(request);
  }

  /** A session for a new connection. */
  newSession(): NbdSession {
    const session = new CountedSession(this, (ended) => this.#sessions.delete(ended));
    this.#sessions.add(session);
    return session;
  }

  /**
   * Ends every session of a group: no request of it is answered any more, from this call on. Their connections are closed by the listener at
   * the end of the turn, or with the next byte of a client that has nothing under way.
   */
  drop(group: string): void {
    for (const session of this.#sessions) {
      if (session.export !== null && this.#groupOf.get(session.export)?.group === group) session.abort();
    }
  }
}

/** Says when it has ended. */
class CountedSession extends NbdSession {
  readonly #ended: (session: NbdSession) => void;

  constructor(exports: Exports, ended: (session: NbdSession) => void) {
    super({ catalog: exports, handler: exports, allocate: (byteCount) => Buffer.allocUnsafeSlow(byteCount), payloads: exports.buffers });
    this.#ended = ended;
  }

  override abort(): void {
    super.abort();
    this.#ended(this);
  }
}

function exportOf(group: string, volume: VolumeSpec, index: number): NbdExport {
  return {
    name: `${group}/${volume.name}`,
    description: `volume ${volume.name} of group ${group}`,
    sizeBytes: volume.sizeBytes,
    volume: index,
    readOnly: false,
    multiConn: true,
  };
}

function notServingText({ group, site, role, knownPrimary }: ExportedGroup): string {
  if (knownPrimary !== null && knownPrimary !== site) return `group ${group} is served by ${knownPrimary}, not here (${site})`;
  return `group ${group} is not served by ${site}, which is ${role} now: see \`tercet status\``;
}
