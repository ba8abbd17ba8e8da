// A volume becomes larger while it is served. Each site makes its copy as large as its own configuration says, and tells the others. Once a primary
// has heard from every copy that it can hold a size, that is agreed; once every copy has that on its disk, hosts are served it. So whoever is
// primary next serves no less than was served before, and no copy is ever sent what it cannot hold. A copy counts as long as the witness has it:
// one that the configuration here does not name cannot say what it holds, and is waited for until it is struck out.

import type { SiteName } from '../base/units.ts';
import type { PeerState } from '../mirror/forms.ts';
import type { Peer } from '../mirror/peer.ts';
import type { Replica } from '../replica/replica.ts';
import type { SiteOptions, VolumeStatus, Waiting } from './contract.ts';
import type { Lead } from './lead.ts';

/** What growth looks at. */
export interface GrowthGround {
  readonly options: SiteOptions;
  readonly replica: () => Replica | null;
  readonly lead: () => Lead | null;
  readonly primaryPeer: () => Peer | null;
}

/** The sizes of one site's volumes. */
export class Growth {
  readonly #ground: GrowthGround;
  /** The reign in which hosts are served `#served`. */
  #reign: Lead | null = null;
  #served: number[] = [];

  constructor(ground: GrowthGround) {
    this.#ground = ground;
  }

  /** What hosts that connect now are served of each volume; elsewhere than at the primary, what they are served there as far as is known. */
  get sizes(): readonly number[] {
    if (this.#reign !== null && this.#reign === this.#ground.lead()) return this.#served;
    return this.#agreed() ?? this.#ground.options.volumes.map(({ sizeBytes }) => sizeBytes);
  }

  /** The configuration has other sizes now. None may be smaller than before: whoever reads it has made sure of that. */
  resize(sizes: readonly number[]): void {
    const { options, replica } = this.#ground;
    for (const [index, volume] of options.volumes.entries()) volume.sizeBytes = Math.max(volume.sizeBytes, sizes[index] ?? 0);
    replica()?.sizes.retry();
    options.shell.wake();
  }

  /** At each turn. */
  turn(): void {
    const replica = this.#ground.replica();
    if (replica === null || replica.failure !== null) return;
    replica.sizes.grow(this.#ground.options.volumes);
    const lead = this.#ground.lead();
    if (lead === null) {
      const agreed = this.#ground.primaryPeer()?.said?.agreedBytes;
      if (agreed !== undefined) replica.sizes.agree(agreed);
      return;
    }
    if (this.#reign !== lead) this.#served = replica.sizes.agreed.map(({ sizeBytes }) => sizeBytes);
    this.#reign = lead;
    const said = [...lead.followed.values()].map(({ peer }) => peer.said);
    replica.sizes.agree(replica.volumes.map(({ sizeBytes }, index) => leastOf(sizeBytes, said, (state) => state.heldBytes?.[index])));
    for (const [index, { name, sizeBytes }] of replica.sizes.agreed.entries()) {
      const before = this.#served[index] as number;
      const now = leastOf(sizeBytes, said, (state) => state.agreedBytes?.[index]);
      if (now <= before) continue;
      this.#served[index] = now;
      const text = `volume ${name} has grown from ${before} bytes to ${now} bytes: hosts that connect from now on see that`;
      this.#ground.options.journal('volume.grown', { volume: name, before, now }, text);
    }
  }

  /** Whether this copy can hold what a primary serves, and has that on its disk: only then may it follow. Sees to it as far as it can. */
  mayFollow(said: PeerState): boolean {
    const replica = this.#ground.replica();
    if (replica === null) return true;
    // Of a program that does not say it yet: whatever it serves.
    const agreed = said.agreedBytes ?? replica.volumes.map(({ sizeBytes }) => sizeBytes);
    if (this.#tooSmall(agreed) !== null) return false;
    replica.sizes.agree(agreed);
    return replica.sizes.agreed.every(({ sizeBytes }, index) => sizeBytes >= (agreed[index] ?? 0));
  }

  /**
   * Whether this copy may take up records, and an epoch, that another survivor holds. Hosts may have been served in that epoch what is agreed there: a
   * copy that has the epoch can be made primary, and has noted as much before.
   */
  mayTakeFrom(said: PeerState | null): boolean {
    return said?.agreedBytes === undefined || this.mayFollow(said);
  }

  /** Why this copy cannot hold what is agreed elsewhere; null when it can. */
  whyTooSmall(said: PeerState | null): string | null {
    const small = this.#tooSmall(said?.agreedBytes ?? []);
    return small === null ? null : `volume ${small.name} has ${small.theirs} bytes there, and this copy can hold ${small.sizeBytes} bytes`;
  }

  /** For people. */
  volumes(): readonly VolumeStatus[] {
    const replica = this.#ground.replica();
    const { sizes } = this;
    return this.#ground.options.volumes.map(({ name }, index) => ({
      name,
      sizeBytes: sizes[index] ?? 0,
      heldBytes: replica?.volumes[index]?.sizeBytes ?? null,
    }));
  }

  /** What keeps volumes here from having the size that they are to have. */
  waiting(): readonly Waiting[] {
    const replica = this.#ground.replica();
    if (replica === null || replica.failure !== null) return [];
    const refused = replica.sizes.refused.map(({ volume, wantedBytes, foundBytes, code }) => ({
      what: `to make volume ${volume} larger`,
      cause: `its base image has ${foundBytes} bytes, and not the ${wantedBytes} of the configuration${code === null ? '' : ` (${code})`}`,
      deadlineMillis: null,
      next: 'make the device as large, and then `tercet reload`',
    }));
    return [...refused, ...this.#growsHere(replica), ...this.#smallWaits(), ...this.#copiesWait(replica)];
  }

  /** A device takes its time to be zeroed. */
  #growsHere(replica: Replica): readonly Waiting[] {
    const isRefused = (name: string): boolean => replica.sizes.refused.some(({ volume }) => volume === name);
    return this.#ground.options.volumes.flatMap(({ name, sizeBytes }, index) => {
      const held = replica.volumes[index]?.sizeBytes ?? sizeBytes;
      if (held >= sizeBytes || isRefused(name)) return [];
      const cause = `its base image is being brought from ${held} to ${sizeBytes} bytes, the new part zeroes`;
      return [{ what: `to make volume ${name} larger`, cause, deadlineMillis: null, next: 'the other copies are told' }];
    });
  }

  #agreed(): readonly number[] | null {
    return this.#ground.replica()?.sizes.agreed.map(({ sizeBytes }) => sizeBytes) ?? null;
  }

  #tooSmall(agreed: readonly number[]): { readonly name: string; readonly sizeBytes: number; readonly theirs: number } | null {
    const held = this.#ground.replica()?.volumes ?? [];
    const index = held.findIndex(({ sizeBytes }, at) => sizeBytes < (agreed[at] ?? 0));
    const found = held[index];
    return found === undefined ? null : { name: found.name, sizeBytes: found.sizeBytes, theirs: agreed[index] as number };
  }

  /** This copy cannot hold what is served elsewhere. */
  #smallWaits(): readonly Waiting[] {
    const primary = this.#ground.lead() === null ? this.#ground.primaryPeer() : null;
    const cause = this.whyTooSmall(primary?.said ?? null);
    if (primary === null || cause === null) return [];
    return [
      {
        what: `to follow ${primary.name}`,
        cause,
        deadlineMillis: null,
        next: 'write the new size into the configuration of this site, and `tercet reload`',
      },
    ];
  }

  /** As primary: which copies do not hold what this one does. */
  #copiesWait(replica: Replica): readonly Waiting[] {
    const lead = this.#ground.lead();
    if (lead === null) return [];
    return replica.volumes.flatMap(({ name, sizeBytes }, index) => {
      if ((this.#served[index] ?? sizeBytes) >= sizeBytes) return [];
      const causes = [...lead.followed.values()].flatMap(({ site, peer }) => whyLess(site, peer.said, index, sizeBytes));
      const cause = causes.length === 0 ? 'every copy can hold it, and is noting that' : causes.join('; ');
      const next = 'hosts that connect get it as soon as every copy can hold it';
      return [{ what: `to serve volume ${name} with ${sizeBytes} bytes`, cause, deadlineMillis: null, next }];
    });
  }
}

/** The least of what this copy and all others say; 0 while one of them has not said. */
function leastOf(own: number, said: readonly (PeerState | null)[], of: (state: PeerState) => number | undefined): number {
  return said.reduce((least, state) => Math.min(least, (state === null ? undefined : of(state)) ?? 0), own);
}

function whyLess(site: SiteName, said: PeerState | null, index: number, wanted: number): readonly string[] {
  if (said === null) return [`${site} is not connected`];
  if (said.heldBytes === undefined)
    return [said.groupId === null ? `${site} has no copy yet` : `${site} does not say what its copy can hold`];
  const held = said.heldBytes[index] ?? 0;
  return held >= wanted ? [] : [`the copy at ${site} can hold ${held} bytes: its configuration is to say the new size`];
}
