// Who the copies of the group are and how each is mirrored. The witness says how it is; the configuration of each site says how it is to be. A primary
// changes the one into the other, step by step and only it (member-changes.ts), once every site that it is connected to has the same configuration:
// what one site alone has read is a wish that nobody shares, and in the middle of a change the files are different everywhere.

import type { WitnessView } from '../arbiter/witness-state.ts';
import type { Member, Mode } from '../base/copies.ts';
import type { Epoch, SiteName } from '../base/units.ts';
import type { PeerState } from '../mirror/forms.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { Peer } from '../mirror/peer.ts';
import type { SiteOptions, SiteSpec, Waiting } from './contract.ts';
import type { Lead } from './lead.ts';
import type { MemberStep } from './member-changes.ts';

/** What membership looks at. */
export interface MembersGround {
  readonly options: SiteOptions;
  readonly peers: ReadonlyMap<SiteName, Peer>;
  readonly lead: () => Lead | null;
}

function membersOf(sites: readonly SiteSpec[]): readonly Member[] {
  return sites.map(({ name, mode }) => ({ site: name, mode }));
}

/** One line that is equal for equal members, in whatever order. */
function lineOf(members: readonly Member[]): string {
  return members
    .map(({ site, mode }) => `${site} ${mode}`)
    .sort()
    .join(', ');
}

/** Whether two lists of members say the same. */
export function sameMembers(a: readonly Member[] | undefined, b: readonly Member[] | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && lineOf(a) === lineOf(b));
}

/** The members of one group, as one site knows and wants them. */
export class Members {
  readonly #ground: MembersGround;
  #wish: readonly Member[];
  /** As the witness, or a primary, has told them last; the configuration before that. */
  #known: readonly Member[];
  #list: readonly Member[] | null = null;

  constructor(ground: MembersGround) {
    this.#ground = ground;
    this.#wish = membersOf(ground.options.sites);
    this.#known = this.#wish;
  }

  /** As the configuration of this site has them. */
  get wish(): readonly Member[] {
    return this.#wish;
  }

  /** As they are, as far as this site knows. */
  get list(): readonly Member[] {
    // A primary knows its peers by its own changes; the witness may have told of before.
    this.#list ??= this.#known.map(({ site, mode }) => ({ site, mode: this.#ground.peers.get(site)?.mode ?? mode }));
    return this.#list;
  }

  /** How the copy here is mirrored, as far as this site knows. */
  get ownMode(): Mode {
    const own = this.#ground.options.site;
    return modeIn(this.#known, own) ?? modeIn(this.#wish, own) ?? 'sync';
  }

  /** The same, with what the configuration here wants: a copy is ready for both. */
  get ownModes(): readonly Mode[] {
    const wish = modeIn(this.#wish, this.#ground.options.site);
    return wish === null ? [this.ownMode] : [this.ownMode, wish];
  }

  /** The configuration was read again. Who the sites are is as it was when this process began: whoever reads it has made sure of that. */
  want(sites: readonly SiteSpec[]): void {
    this.#wish = membersOf(sites);
    this.#ground.options.shell.wake();
  }

  /** The copy here is open, and has noted what the witness told last. A primary may have told more meanwhile, and does not say it again. */
  opened(noted: readonly Member[] | undefined, epoch: Epoch): void {
    if (noted !== undefined) this.#learn(noted, true);
    for (const { said } of this.#ground.peers.values()) if (said !== null) this.heard(said, epoch);
  }

  /** The witness has told its state. A primary learns the modes of its peers by its own changes: nobody else makes any. */
  viewed({ copies }: Pick<WitnessView, 'copies'>): void {
    this.#learn(copies, this.#ground.lead() === null);
  }

  /** A primary has said how it counts them. */
  heard(said: PeerState, ownEpoch: Epoch): void {
    // One of an epoch that is over may not know what has been changed since.
    if (said.role !== 'primary' || said.epoch < ownEpoch || said.members === undefined || this.#ground.lead() !== null) return;
    this.#learn(said.members, true);
  }

  /** A peer is mirrored so from now on; null: it is no copy any more. */
  changed(site: SiteName, mode: Mode | null): void {
    const others = this.#known.filter((member) => member.site !== site);
    this.#known = mode === null ? others : [...others, { site, mode }];
    this.#list = null;
  }

  /** A reign begins, with the members that the view has that granted it. */
  begin({ copies }: Pick<WitnessView, 'copies'>): void {
    this.#learn(copies, true);
  }

  /** Whether the configuration of this site does not have it at all. */
  isStranger({ site }: FollowedPeer): boolean {
    return modeIn(this.#wish, site) === null;
  }

  /** As primary: what is to be done about that peer next; null while nothing is, or while that is not agreed. */
  stepFor(peer: FollowedPeer): MemberStep | null {
    const mode = modeIn(this.#wish, peer.site);
    if (peer.entered && mode === peer.peer.mode) return null;
    if (this.#disagreeing().length > 0) return null;
    if (mode === null) return { kind: 'remove' };
    if (!peer.entered) return { kind: 'add', mode };
    return mode === 'async' && this.#isLastInStep(peer) ? null : { kind: 'mode', mode };
  }

  /** What keeps the members from being what the configuration says. */
  waiting(): readonly Waiting[] {
    const { list } = this;
    if (sameMembers(this.#wish, list)) return [];
    const lead = this.#ground.lead();
    const sites = new Set([...list, ...this.#wish].map(({ site }) => site));
    return [...sites].flatMap((site) => {
      const [is, wanted] = [modeIn(list, site), modeIn(this.#wish, site)];
      if (is === wanted) return [];
      const what = wanted === null ? `to remove ${site}` : is === null ? `to add ${site}` : `to mirror ${site} as ${wanted}`;
      return [{ what, deadlineMillis: null, ...(lead === null ? this.#mirrorWaits(site, is) : this.#leadWaits(lead, site)) }];
    });
  }

  #mirrorWaits(site: SiteName, is: Mode | null): Pick<Waiting, 'cause' | 'next'> {
    if (this.#ground.peers.get(site)?.said?.role === 'primary') return this.#primaryWaits(site);
    return {
      cause: `the configuration here says so, and in the group ${site} is ${is ?? 'no copy'}`,
      next: 'the primary changes it once every site that it is connected to has read the same configuration',
    };
  }

  #leadWaits(lead: Lead, site: SiteName): Pick<Waiting, 'cause' | 'next'> {
    const { options } = this.#ground;
    if (site === options.site) return this.#primaryWaits(site);
    const others = this.#disagreeing();
    const same = 'put the same file there, and have it read: `tercet reload`, or a restart where the sites have changed';
    const silent = others.filter((name) => this.#ground.peers.get(name)?.said?.wish === undefined);
    if (silent.length > 0)
      return {
        cause: `${silent.join(' and ')} has not said what its configuration says`,
        next: 'if it stays so, its program is older: upgrade it',
      };
    if (others.length > 0) return { cause: `the configuration of ${others.join(' and ')} says something else`, next: same };
    const peer = lead.followed.get(site);
    if (peer !== undefined && modeIn(this.#wish, site) === 'async' && this.#isLastInStep(peer))
      return { cause: `no other sync copy would be in step with ${options.site}`, next: 'it is done as soon as another one is' };
    if (peer !== undefined && peer.flag !== 'false')
      return { cause: `the flag of ${site} is to be false first`, next: 'then the witness is asked for the change' };
    const trouble = lead.changeTrouble(site);
    if (trouble !== null) return trouble;
    return { cause: 'the witness has not answered yet', next: 'it is asked until the answer is known' };
  }

  #primaryWaits(site: SiteName): Pick<Waiting, 'cause' | 'next'> {
    return { cause: `${site} is primary`, next: `\`tercet switchover ${this.#ground.options.group}\`, and the next primary changes it` };
  }

  /** Connected sites whose configuration says something else, or that have not said yet what it says. */
  #disagreeing(): readonly SiteName[] {
    return [...this.#ground.peers.values()]
      .filter(({ link, said }) => link !== null && !sameMembers(said?.wish, this.#wish))
      .map(({ name }) => name);
  }

  /** Whether nobody could take over without a loss once that copy is async, though the configuration has another one for it. */
  #isLastInStep(peer: FollowedPeer): boolean {
    const lead = this.#ground.lead();
    const others = this.#wish.filter(({ site, mode }) => mode === 'sync' && site !== this.#ground.options.site && site !== peer.site);
    if (lead === null || others.length === 0 || !peer.required) return false;
    return !others.some(({ site }) => {
      const other = lead.followed.get(site);
      return other?.peer.mode === 'sync' && other.flag === 'true' && other.attached === 'following';
    });
  }

  #learn(members: readonly Member[], peersToo: boolean): void {
    this.#list = null;
    this.#known = members.map(({ site, mode }) => ({ site, mode }));
    for (const { site, mode } of members) {
      const peer = peersToo ? this.#ground.peers.get(site) : undefined;
      if (peer !== undefined) peer.mode = mode;
    }
  }
}

/** The mode that a list has for a site; null when it does not name it. */
export function modeIn(members: readonly Member[], site: SiteName): Mode | null {
  return members.find((member) => member.site === site)?.mode ?? null;
}
