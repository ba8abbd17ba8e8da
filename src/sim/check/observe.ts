// What the oracles know: of each site what it says of itself at this moment, and what it surely still holds when it says nothing; of the
// records what their primaries appended and what hosts were told. Oracles read this and change nothing.

import type { FlagView, Mode } from '../../core/base/copies.ts';
import { epochOf, type History, inHistory, type Position } from '../../core/base/position.ts';
import type { Epoch, Millis, Seq, SiteName } from '../../core/base/units.ts';
import type { HeldFrame } from '../../core/replica/records.ts';
import type { AgreementValue, StagingValue } from '../../core/replica/superblock.ts';
import type { State } from '../coverage.ts';
import type { WitnessState } from '../../core/arbiter/witness-state.ts';
import type { Decision, HostError, Role, SiteStatus } from '../../core/site/contract.ts';
import type { CrashKind } from '../gate.ts';
import type { HostOperation } from '../host.ts';
import type { DrivenSite, Machine } from '../machine.ts';
import type { WitnessStep } from '../witness.ts';
import type { World } from '../world.ts';
import type { Truth } from './truth.ts';
import type { Verifies } from './verifies.ts';

/** The marks of a replica. */
export interface SeenMarks {
  readonly oldest: Seq;
  readonly destaged: Seq;
  readonly destageTarget: Seq;
  readonly committed: Seq;
  readonly durable: Seq;
  readonly received: Seq;
}

/** The inside of a site, for oracles only. */
export interface Inspection {
  readonly epoch: Epoch;
  readonly history: History;
  /** The same as they are on stable storage. */
  readonly durableEpoch: Epoch;
  readonly durableHistory: History;
  readonly marks: SeenMarks;
  readonly consistent: boolean;
  readonly unclean: boolean;
  /** Whether its sidefile is in memory: a crash is then what a loss of power is to others. */
  readonly inMemory: boolean;
  /** What was agreed without the witness: whom it may go on without as primary, and what it has noted, in memory and on its disk. */
  readonly agreement: { readonly right: SiteName | null; readonly value: AgreementValue | null; readonly durable: AgreementValue | null };
  /** The witness that it has noted, durably, as the one that it believes. */
  readonly believes: string | null;
  /** As primary: what it knows of each sync peer's flag, and how long that peer's promise counts. */
  flagView(site: SiteName): FlagView | null;
  /** The copies of the group, as far as it knows. */
  readonly members: readonly SiteName[];
  /** As primary: how it takes a peer to be mirrored. */
  modeView(site: SiteName): Mode | null;
  /** As primary: whether that flag may be true; not so where it only is to be asked for. */
  mayBeTrue(site: SiteName): boolean;
  /** As primary: whether it sends a peer records. */
  streams(site: SiteName): boolean;
  leaseUntil(site: SiteName): Millis | null;
  readonly promiseUntil: Millis;
  /** Whether it acknowledges records to a primary. */
  readonly attached: boolean;
  /** As mirror: up to where each other copy is known to hold records on stable storage, in this epoch. */
  readonly told: ReadonlyMap<SiteName, Seq>;
  /** As primary: what each mirror that follows is believed to know of each other copy. */
  readonly believed: readonly { readonly mirror: SiteName; readonly of: SiteName; readonly durable: Seq }[];
  /** Its part in a planned change that has stopped the primary; null for none. */
  readonly handover: 'gives' | 'takes' | null;
  /** Reads that had to wait for the disk, in this life of the process. */
  readonly coldReads: number;
  /** What its copy can hold of each volume, and as primary what hosts that connect now are served. */
  readonly volumeBytes: readonly number[];
  readonly served: readonly number[] | null;
  readonly heldBytes: number;
  readonly capacityBytes: number;
  /** Of records that may not go yet. */
  readonly keptBytes: number;
  /** Disk space that no file of the sidefile has yet but is held for it, and how much it is to have in all. */
  readonly setAside: { readonly heldBytes: number; readonly wantedBytes: number } | null;
  /** As primary: peers whose records were forgotten although writers are to wait for them. */
  readonly forgotten: readonly SiteName[];
  /** As primary: how many records are kept for each peer that is covered and for which nobody waits, and how many that may be (0: any). */
  readonly counted: readonly { readonly site: SiteName; readonly records: number }[];
  readonly recordsMax: number;
  /** As primary: peers that are paused by order, and whether they are sent nothing by now. */
  readonly paused: readonly { readonly site: SiteName; readonly isLetGo: boolean }[];
  /** As primary: whether records or images of some peer wait for nothing but the pace of its link. */
  readonly paced: boolean;
  /** Whether something went packed to some peer. */
  readonly packed: boolean;
  /** Messages of links of several streams: that came before one that is before them, and that went again because a stream was lost. */
  readonly early: number;
  readonly again: number;
  /** Whether it has folded records for a peer, has given folded frames that it had got itself, and up to where it holds some, or 0. */
  readonly folding: { readonly made: boolean; readonly given: boolean; readonly heldUpTo: Seq };
  /** As primary: how fast hosts may write, and whether that is for a resync that was outrun. */
  readonly writers: 'free' | 'slowed' | 'stopped' | null;
  readonly outrun: boolean;
  /** Writes wait because the sidefile is full. */
  readonly blocked: boolean;
  /** A resync whose images are staged beside an older volume. */
  readonly staged: StagingValue | null;
  /** A resync whose images go straight into the bases, of which protection images are kept: the volume that those are. */
  readonly protectedOlder: StagingValue['older'] | null;
  /** Whether the bitmap of a peer names a place. */
  inBitmap(site: SiteName, volume: number, offset: number): boolean;
  /** Whether it can be as of a record: nothing ends within records that came as one step. */
  endsAt(seq: Seq): boolean;
  chainAt(seq: Seq): number | null;
  /** Where the frame of a record lies. */
  frameOf(seq: Seq): HeldFrame | null;
  /** Newest content, waiting for the disk. */
  readNow(volume: number, offset: number, into: Uint8Array): void;
}

/** A site that can be looked into. */
export interface InspectedSite extends DrivenSite {
  status(): SiteStatus;
  /** null while there is no open replica. */
  inspect(): Inspection | null;
}

/** What a copy surely holds: all records up to a seq, named by a history. */
export interface Holding {
  readonly history: History;
  readonly upTo: Seq;
}

export const NOTHING: Holding = { history: [], upTo: 0 };

/** Whether a copy holds the record (epoch, seq). */
export function holds(holding: Holding, epoch: Epoch, seq: Seq): boolean {
  return seq <= holding.upTo && inHistory(holding.history, epoch, seq);
}

/** Name of the newest record of a copy. */
export function endOf(holding: Holding): Position {
  return { epoch: epochOf(holding.history, holding.upTo), seq: holding.upTo };
}

/** One site as the oracles see it. */
export interface SeenSite {
  readonly name: SiteName;
  readonly mode: Mode;
  machine: Machine<InspectedSite>;
  /** As of the last event of the site; null when there is no process or no open replica. */
  inside: Inspection | null;
  role: Role;
  serving: boolean;
  /** All it holds, and what of that is on stable storage; kept when the process is gone. */
  held: Holding;
  durable: Holding;
  /** Highest it has ever held, and had durable, by epoch. */
  readonly everHeld: Map<Epoch, Seq>;
  readonly everDurable: Map<Epoch, Seq>;
  /** When it last lost records that it had held: a power loss, a new disk. */
  lostAt: number;
  /** A fault was made on its disk that no copy need survive. */
  harmed: boolean;
  /** A bit of its files was flipped since its disk was new: it may find the damage at any later start. */
  flipped: boolean;
  /** A write or flush has failed, and its copy has not been opened since: what was not durable then may be gone. */
  dropped: boolean;
  /** It has noted, durably, that it went on without this site in that epoch; kept when the process is gone. */
  alone: AgreementValue['alone'];
  /** It has noted, durably, that it leaves the right to go on alone to that site; kept as well. */
  yields: AgreementValue['yields'];
  /** When it put its own flag to false, which the primary may not know yet; Infinity when it has not. */
  resignedAt: number;
}

/** What goes on in a run, for the rules. */
export interface Scene {
  readonly world: World;
  readonly sites: readonly SeenSite[];
  readonly truth: Truth;
  /** What is durable at the witness. */
  readonly witness: WitnessState | null;
  /** An operator forced a promotion: what the rules promise is void from there on. */
  readonly forced: boolean;
  /** Mirrors that a site was told to pause, and that it has said are paused. */
  readonly pauses: ReadonlyMap<SiteName, ReadonlySet<SiteName>>;
  /** Since when no fault keeps two sites from hearing each other; in the future while one does. */
  readonly calmSince: Millis;
  /** What verifies have said, and which blocks were damaged for them. */
  readonly verifies: Verifies;
  /** Since when the oldest connection from one site to another stands, in the world's time; null when there is none. */
  connectedSince(from: SiteName, to: SiteName): number | null;
  /** A state was reached that sets of runs are to reach. */
  reached(state: State): void;
  /** Largest time that a site may hold a request without an answer. */
  readonly holdMillis: Millis;
}

/** One rule's oracle: each of its hooks is called when something happens, and reports by world.fail(). */
export interface Rule {
  readonly name: string;
  afterEvent?(scene: Scene, site: SeenSite): void;
  started?(scene: Scene, site: SeenSite): void;
  ended?(scene: Scene, site: SeenSite, kind: CrashKind): void;
  decided?(scene: Scene, site: SeenSite, decision: Decision): void;
  witnessStep?(scene: Scene, step: WitnessStep): void;
  /** A witness that was replaced has changed something. */
  strayStep?(scene: Scene, step: WitnessStep): void;
  /** A site answers a host. `data` is what a read returns. */
  answering?(scene: Scene, site: SeenSite, operation: HostOperation, error: HostError, data: Uint8Array | null): void;
}

/** Whether the witness has that site's flag true. */
export function flagOf(witness: WitnessState | null, site: SiteName): boolean {
  return witness?.copies.find((copy) => copy.site === site)?.flag ?? false;
}

/** The sync sites other than one whose flags are true at the witness. */
export function trueSyncPeers(scene: Scene, site: SiteName): readonly SeenSite[] {
  return scene.sites.filter((other) => other.name !== site && other.mode === 'sync' && flagOf(scene.witness, other.name));
}

/** The witness's state as it is once it has heard what was agreed without it: a copy that its primary went on without may not serve. */
export function asAgreed<S extends WitnessState | null>(scene: Pick<Scene, 'sites'>, state: S): S {
  const out = scene.sites.flatMap(({ alone }) => (alone !== null && alone.epoch === state?.epoch ? [alone.without] : []));
  if (state === null || out.length === 0) return state;
  return { ...state, copies: state.copies.map((copy) => (out.includes(copy.site) ? { ...copy, flag: false } : copy)) };
}
