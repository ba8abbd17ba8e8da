// One group at this site: its data folder, its part in the mirroring (core/site), its connections to peers, and the turns and timers that drive it.

import type { Explanation } from '../api/schema.ts';
import type { WitnessPort } from '../core/arbiter/witness-state.ts';
import { limits } from '../core/base/limits.ts';
import type { Buffers, Clock, Digests, Journal, LinkPort, Random } from '../core/base/ports.ts';
import type { Millis, SiteName } from '../core/base/units.ts';
import { BLOCK_BYTES } from '../core/base/units.ts';
import type { Standing } from '../core/nbd/standing.ts';
import type { ScanChoice } from '../core/mirror/forms.ts';
import type { LinkReceiver } from '../core/mirror/link.ts';
import { takeImage } from './take-image.ts';
import type { Replica } from '../core/replica/replica.ts';
import type {
  HostRequest,
  OrderOutcome,
  PauseOrder,
  PointOrder,
  Role,
  SiteOptions,
  SiteSpec,
  SiteStatus,
  SwitchoverOrder,
  VerifyStatus,
  VolumeSpec,
  VolumeStatus,
} from '../core/site/contract.ts';
import { explainSite } from '../core/site/explain.ts';
import { sidefileReport, type SidefileReport } from '../core/site/sidefile-report.ts';
import type { VerifyOrder } from '../core/scan/verify.ts';
import { Lacks, type Stretch, type StretchRange } from '../core/site/lacks.ts';
import { Site } from '../core/site/site.ts';
import { type VolumeMap, VolumeSurvey } from '../core/site/volume-map.ts';
import type { DigestThreads } from '../host/digest-threads.ts';
import type { ReplicaFolder } from '../host/disk.ts';
import { openReplicaFolder } from '../host/disk.ts';
import { machineCompression } from '../host/zstd.ts';
import type { TlsMaterial } from '../host/tls-material.ts';
import type { TurnScheduler } from '../host/wake.ts';
import { Waker } from '../host/wake.ts';
import { streamAddress } from './addresses.ts';
import { Awake } from './awake.ts';
import type { Config, GroupConfig, SiteConfig } from './config.ts';
import { replicaFolder, siteOf } from './config.ts';
import { DecisionFile } from './decision-file.ts';
import { Dialer } from './dialer.ts';
import type { ExportedGroup } from './exports.ts';
import { GROUP_STOP_MILLIS, type LiveGroup } from './live-group.ts';
import { journalWith } from './log.ts';
import { VolumeMaps } from './volume-maps.ts';

/** What all groups of a daemon share. */
export interface SharedParts {
  readonly config: Config;
  readonly site: SiteConfig;
  readonly bootId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly digests: Digests;
  readonly blockDigests: DigestThreads;
  readonly buffers: Buffers;
  readonly turns: TurnScheduler;
  readonly witness: WitnessPort;
  readonly journal: Journal;
  /** null where links are not encrypted. */
  readonly tls: TlsMaterial | null;
  /** Hosts of this group are to be cut off. */
  readonly dropHosts: (group: string, reason: string) => void;
}

const MIB = 1024 * 1024;

/** Sizes of the ranges that a scan compares below its unit, coarse to fine. */
const SCAN_LEVELS = [16 * MIB, MIB, MIB / 16, MIB / 256];
/** The largest node of a scan that is digested by its bytes: what differs within is read a second time. */
const SCAN_CHUNK_BYTES = MIB / 16;

/** Drives one Site. */
export class GroupRunner implements ExportedGroup, LiveGroup {
  readonly group: string;
  readonly site: SiteName;
  readonly #volumes: readonly VolumeSpec[];
  readonly sites: readonly SiteName[];
  readonly #sites: readonly SiteSpec[];
  readonly #lacks: Lacks;
  readonly #core: Site;
  readonly #folder: ReplicaFolder;
  readonly #decisions: DecisionFile;
  readonly #parts: SharedParts;
  readonly #journal: Journal;
  readonly #waker: Waker;
  readonly #awake: Awake;
  readonly #dialers: Dialer[] = [];
  readonly #streamDialers: Dialer[] = [];
  readonly #turn = (): void => {
    if (this.#stopped) return;
    this.#core.turn();
    this.#awake.turned();
    this.#dialStreams();
    this.#waker.at(this.#core.deadline());
  };
  readonly #tick = (): void => {
    if (this.#stopped) return;
    this.#core.tick();
    this.#waker.at(this.#core.deadline());
  };
  readonly #maps = new VolumeMaps();
  #stopped = false;

  /** Opens and locks the data folder; nothing runs before start(). Throws TERCET_REPLICA_LOCKED and DiskError. */
  constructor(config: GroupConfig, parts: SharedParts) {
    const { site, turns, clock } = parts;
    this.group = config.name;
    this.site = site.name;
    this.#volumes = config.volumes.map(({ name, sizeBytes, holdMillis }) => ({
      name,
      sizeBytes,
      baseFile: `base-${name}.img`,
      holdMillis,
    }));
    this.sites = config.sites.map(({ name }) => name);
    this.#sites = config.sites;
    this.#lacks = new Lacks({
      own: site.name,
      volumeCount: config.volumes.length,
      chunkBytes: config.bitmapChunkBytes,
      clock,
    });
    this.#parts = parts;
    this.#journal = journalWith(parts.journal, { group: config.name });
    this.#waker = new Waker(clock, () => turns.touch(this.#tick));
    this.#awake = new Awake(turns, () => clock.now());
    this.#folder = openReplicaFolder(replicaFolder(site, config.name), {
      paths: Object.fromEntries(
        config.volumes.flatMap(({ name, base }) => (base.has(site.name) ? [[`base-${name}.img`, base.get(site.name) ?? '']] : [])),
      ),
      afterCallback: () => turns.touch(this.#turn),
      digests: parts.blockDigests,
    });
    this.#decisions = new DecisionFile(replicaFolder(site, config.name), this.#journal);
    this.#core = new Site(this.#siteOptions(config));
  }

  get role(): Role {
    return this.#core.role;
  }

  /** As hosts that connect now see them. */
  get volumes(): readonly VolumeStatus[] {
    return this.#core.growth.volumes();
  }

  /** The configuration was read again: volumes may have become larger, and copies may be mirrored in another mode. */
  change({ volumes, sites }: GroupConfig): void {
    this.#core.members.want(this.#sites.map((known) => sites.find(({ name }) => name === known.name) ?? known));
    const sizeOf = (wanted: string): number => volumes.find(({ name }) => name === wanted)?.sizeBytes ?? 0;
    this.#core.growth.resize(this.#volumes.map(({ name }) => sizeOf(name)));
  }

  get knownPrimary(): SiteName | null {
    return this.#core.status().knownPrimary;
  }

  get standing(): Standing | null {
    const { replica } = this.#core.inspect();
    return replica === null ? null : { site: this.site, epoch: replica.epoch, history: replica.history };
  }

  lacks(site: SiteName, range: StretchRange): readonly Stretch[] {
    return this.#lacks.of(this.#core.inspect(), site, range);
  }

  /** As the core says it, with deadlines counted from now: its clock means nothing to whoever asks. */
  status(): SiteStatus {
    const now = this.#parts.clock.now();
    const status = this.#core.status();
    const remaining = (deadline: number | null): number | null => (deadline === null ? null : Math.max(0, Math.round(deadline - now)));
    return { ...status, waiting: status.waiting.map((each) => ({ ...each, deadlineMillis: remaining(each.deadlineMillis) })) };
  }

  /** Records of the sidefile here; null when there is no copy that can be read. */
  sidefile(range: { from: number; count: number }): SidefileReport | null {
    return sidefileReport(this.#core.inspect(), range);
  }

  /** A volume from above, as of about now; null for one that the group does not have. Without a name: the first one. */
  async map(volume: string | null, cellsMax: number): Promise<VolumeMap | null> {
    const index = volume === null ? 0 : this.#volumes.findIndex(({ name }) => name === volume);
    if (index < 0) return null;
    return this.#maps.map(`${index} ${cellsMax}`, () => {
      const survey = new VolumeSurvey(() => this.#core.inspect(), index, { cellsMax, unitBytes: BLOCK_BYTES });
      return () => survey.step();
    });
  }

  /** A volume as of one moment, out of the copy here; null for one that the group does not have. */
  image(volume: string): ReturnType<typeof takeImage> | null {
    const index = this.#volumes.findIndex(({ name }) => name === volume);
    const replica = (): Replica | null => (this.#stopped ? null : this.#core.inspect().replica);
    const pause = (millis: number): Promise<void> =>
      new Promise((resolve) => {
        if (millis === 0) setImmediate(resolve);
        else setTimeout(resolve, millis);
      });
    return index < 0 ? null : takeImage({ replica, pause }, index);
  }

  /** Those of the copy here. */
  get points(): Site['points'] {
    return this.#core.points;
  }

  createPoint(order: PointOrder): Promise<OrderOutcome> {
    return this.#order((done) => done(this.#core.points.create(order)));
  }

  removePoint(name: string): Promise<OrderOutcome> {
    return this.#order((done) => done(this.#core.points.remove(name)));
  }

  explain(): Explanation {
    return { site: this.site, group: this.group, sentences: explainSite(this.#core.inspect()), decisions: this.#decisions.recent };
  }

  request(request: HostRequest): void {
    this.#awake.asked(request.command === 'flush' || request.fua);
    this.#core.request(request);
  }

  /** The core's part, for connections that come in. */
  get owner(): Site {
    return this.#core;
  }

  start(): void {
    const { buffers, clock, config, tls, turns } = this.#parts;
    this.#core.start();
    turns.touch(this.#turn);
    for (const peer of this.#core.dialTargets) {
      const how = {
        address: streamAddress(siteOf(config, peer).link),
        buffers,
        turns,
        tls: tls === null ? undefined : { material: tls, site: peer, group: this.group },
        now: (): Millis => clock.now(),
      };
      const failed = (reason: string, isFirst: boolean): void => {
        this.#core.connections.unreachable(peer, reason);
        if (isFirst) this.#journal('link.unreachable', { peer, reason }, `${peer} cannot be reached (${reason}); trying again and again`);
      };
      this.#dialers.push(new Dialer({ ...how, connected: (port) => this.#dialled(peer, port), failed }));
      const { connections } = this.#core;
      const count = connections.streamsTo(peer);
      for (let stream = 1; count > 1 && stream <= count; stream++) {
        this.#streamDialers.push(
          new Dialer({
            ...how,
            connected: (port) => connections.dialledStream(peer, stream, port),
            failed: (reason, isFirst) => {
              if (isFirst) this.#journal('stream.unreachable', { peer, stream, reason }, `no stream to ${peer}: ${reason}`);
            },
            wanted: () => connections.streamsWanted(peer).includes(stream),
          }),
        );
      }
    }
    for (const dialer of this.#dialers) dialer.start();
  }

  /** Opens the streams that links lack. */
  #dialStreams(): void {
    for (const dialer of this.#streamDialers) dialer.start();
  }

  create(): Promise<OrderOutcome> {
    return this.#order((done) => this.#core.create(done));
  }

  promote(options: { force: boolean }): Promise<OrderOutcome> {
    return this.#order((done) => this.#core.promote(options, done));
  }

  resync(order: { readonly site: SiteName } & ScanChoice): Promise<OrderOutcome> {
    const { site, ...choice } = order;
    return this.#order((done) => this.#core.resync(site, choice, done));
  }

  pause(order: PauseOrder): Promise<OrderOutcome> {
    return this.#order((done) => this.#core.pauses.pause(order, done));
  }

  resume(site: SiteName): Promise<OrderOutcome> {
    return this.#order((done) => this.#core.pauses.resume(site, done));
  }

  switchover(order: SwitchoverOrder): Promise<OrderOutcome> {
    return this.#order((done) => this.#core.switchover(order, done));
  }

  verify(order: VerifyOrder): Promise<OrderOutcome> {
    return this.#order((done) => done(this.#core.verifies.begin(order)));
  }

  cancelVerify(): Promise<OrderOutcome> {
    return this.#order((done) => done(this.#core.verifies.cancel()));
  }

  verifyStatus(): VerifyStatus {
    return this.#core.verifies.status();
  }

  replaceWitness(): Promise<OrderOutcome> {
    return this.#order((done) => this.#core.replaceWitness(done));
  }

  drain(): Promise<OrderOutcome> {
    return this.#order((done) => this.#core.drain(done));
  }

  /** Ends the site's part in the group, in order as far as the disk allows that in time, and gives the data folder back. */
  async stop(): Promise<boolean> {
    for (const dialer of [...this.#dialers, ...this.#streamDialers]) dialer.stop();
    const inOrder = await new Promise<boolean>((resolve) => {
      const late = setTimeout(() => {
        this.#journal(
          'stop.late',
          { groups: [this.group] },
          `the replica was not closed within ${GROUP_STOP_MILLIS / 1000} s: the next start recovers it`,
        );
        resolve(false);
      }, GROUP_STOP_MILLIS);
      this.#core.stop(() => {
        clearTimeout(late);
        resolve(true);
      });
    });
    this.#stopped = true;
    this.#waker.stop();
    await this.#decisions.close();
    await this.#folder.close();
    return inOrder;
  }

  #dialled(peer: SiteName, port: LinkPort): LinkReceiver {
    this.#parts.turns.touch(this.#turn);
    return this.#core.dialled(peer, port);
  }

  #order(give: (done: (outcome: OrderOutcome) => void) => void): Promise<OrderOutcome> {
    return new Promise((resolve) => {
      give(resolve);
      this.#parts.turns.touch(this.#turn);
    });
  }

  #siteOptions(config: GroupConfig): SiteOptions {
    const { blockDigests, bootId, buffers, clock, digests, dropHosts, random, turns, witness } = this.#parts;
    return {
      group: config.name,
      site: this.site,
      sites: config.sites,
      volumes: this.#volumes,
      timings: config.timings,
      segmentBytes: config.segmentBytes,
      capacityBytes: config.capacityBytes,
      recordsMax: config.recordsMax,
      // A witness that is only slow, or restarted, is waited for as long as a lost mirror would be.
      preElectionMillis: config.preElection ? config.timings.leaseMillis : undefined,
      setAside: { guide: config.sidefileGuide, leastBytes: config.setAsideBytes, calmMillis: limits.setAsideCalmMillis },
      destageIdleMillis: config.destageIdleMillis,
      destageBacklogBytes: config.destageBacklogBytes,
      scrub: config.scrub ?? undefined,
      bitmapChunkBytes: config.bitmapChunkBytes,
      resyncPieceBytes: 16 * 1024 * 1024,
      scan: {
        algorithm: 'sha256',
        compare: 'primary',
        confirm: false,
        levels: scanLevels(config.scanUnitBytes),
        chunkBytes: SCAN_CHUNK_BYTES,
      },
      bootId,
      clock,
      random,
      digests,
      blockDigests: {
        take: (byteCount) => blockDigests.take(byteCount),
        digest: (algorithm, bytes, blockBytes, done) =>
          blockDigests.digest(algorithm, bytes, blockBytes, (result) => {
            if (this.#stopped) return;
            done(result);
            turns.touch(this.#turn);
          }),
        digestNow: (algorithm, bytes) => blockDigests.digestNow(algorithm, bytes),
      },
      storage: this.#folder.storage,
      buffers,
      compression: machineCompression,
      witness: {
        call: (operation, done) =>
          witness.call(operation, (reply) => {
            if (this.#stopped) return;
            done(reply);
            turns.touch(this.#turn);
          }),
      },
      journal: this.#journal,
      shell: {
        wake: () => turns.touch(this.#turn),
        servingChanged: (serving, reason) => {
          this.#journal('serving', { serving, reason }, serving ? `hosts are served: ${reason}` : `hosts are no longer served: ${reason}`);
          if (!serving) dropHosts(config.name, reason);
        },
        decided: (decision) => this.#decisions.add(decision),
        failed: (reason) => this.#journal('site.failed', { reason }, `this copy takes no further part: ${reason}`),
      },
    };
  }
}

function scanLevels(unitBytes: number): readonly number[] {
  return [unitBytes, ...SCAN_LEVELS.filter((bytes) => bytes < unitBytes)];
}
