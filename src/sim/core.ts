// The simulator's way into the real core: makes its sites, and looks inside them for the oracles. The only file of the simulator that knows more
// of the core than its ports and its contract.

import { crc32 } from 'node:zlib';
import { acceptLink } from '../core/mirror/accept.ts';
import type { LinkReceiver } from '../core/mirror/link.ts';
import type { Peer } from '../core/mirror/peer.ts';
import type { LinkPort } from '../core/base/ports.ts';
import type { AgreementStatus, SiteOptions } from '../core/site/contract.ts';
import type { Lead } from '../core/site/lead.ts';
import type { Replica } from '../core/replica/replica.ts';
import type { VerifyOrder } from '../core/scan/verify.ts';
import { Site } from '../core/site/site.ts';
import { simCompression } from './compression.ts';
import type { InspectedSite, Inspection } from './check/observe.ts';
import { type Machine, PoisoningBuffers, type SiteFactory } from './machine.ts';

const digests: SiteOptions['digests'] = { crc32: (bytes, seed) => crc32(bytes, seed) };

/** A real site that oracles can look into. */
class CoreSite implements InspectedSite {
  readonly site: Site;

  constructor(options: SiteOptions) {
    this.site = new Site(options);
  }

  start(): void {
    this.site.start();
  }
  create(done: Parameters<Site['create']>[0]): void {
    this.site.create(done);
  }
  promote(order: { force: boolean }, done: Parameters<Site['promote']>[1]): void {
    this.site.promote(order, done);
  }
  switchover(order: Parameters<Site['switchover']>[0], done: Parameters<Site['switchover']>[1]): void {
    this.site.switchover(order, done);
  }
  verify(order: VerifyOrder): void {
    this.site.verifies.begin(order);
  }
  replaceWitness(done: Parameters<Site['replaceWitness']>[0]): void {
    this.site.replaceWitness(done);
  }
  resync(...order: Parameters<Site['resync']>): void {
    this.site.resync(...order);
  }
  pause(...order: Parameters<Site['pauses']['pause']>): void {
    this.site.pauses.pause(...order);
  }
  resume(...order: Parameters<Site['pauses']['resume']>): void {
    this.site.pauses.resume(...order);
  }
  stop(done: () => void): void {
    this.site.stop(done);
  }
  request(request: Parameters<Site['request']>[0]): void {
    this.site.request(request);
  }
  turn(): void {
    this.site.turn();
  }
  tick(): void {
    this.site.tick();
  }
  deadline(): number {
    return this.site.deadline();
  }
  get restless(): Site['alarm']['restless'] {
    return this.site.alarm.restless;
  }
  resize(sizes: readonly number[]): void {
    this.site.growth.resize(sizes);
  }
  want(...wish: Parameters<Site['members']['want']>): void {
    this.site.members.want(...wish);
  }
  get sizes(): readonly number[] {
    return this.site.growth.sizes;
  }
  get points(): Site['points'] {
    return this.site.points;
  }
  get serving(): boolean {
    return this.site.serving;
  }
  get role(): Site['role'] {
    return this.site.role;
  }
  status(): ReturnType<Site['status']> {
    return this.site.status();
  }
  get dialTargets(): readonly string[] {
    return this.site.dialTargets;
  }
  streamsWanted(peer: string): readonly number[] {
    return this.site.connections.streamsWanted(peer);
  }
  dialledStream(peer: string, number: number, port: LinkPort): LinkReceiver {
    return this.site.connections.dialledStream(peer, number, port);
  }
  dialled(peer: string, port: LinkPort): LinkReceiver {
    return this.site.dialled(peer, port);
  }

  inspect(): Inspection | null {
    const inside = this.site.inspect();
    const { options, held, replica, lead, follower, promisedUntil, role, counters, peers, takingOver, growth, members } = inside;
    if (replica === null || replica.failure !== null || role === 'failed' || role === 'stopped') return null;
    return {
      epoch: replica.epoch,
      history: replica.history,
      durableEpoch: replica.superblock.durableValue.epoch,
      durableHistory: replica.superblock.durableValue.history,
      marks: replica.marks,
      consistent: replica.consistent,
      unclean: replica.unclean,
      inMemory: replica.inMemory,
      agreement: agreementOf(inside.agreements.status, replica.superblock),
      believes: replica.superblock.durableValue.witness?.instance ?? null,
      flagView: (site) => lead?.followed.get(site)?.flag ?? null,
      streams: (site) => lead?.followed.get(site)?.streaming ?? false,
      members: members.list.map(({ site }) => site),
      modeView: (site) => lead?.followed.get(site)?.peer.mode ?? null,
      mayBeTrue: (site) => {
        const peer = lead?.followed.get(site);
        return peer !== undefined && lead?.mayBeTrue(peer) === true;
      },
      leaseUntil: (site) => lead?.followed.get(site)?.lease.until ?? null,
      promiseUntil: promisedUntil,
      attached: follower !== null,
      told: new Map(held.epoch === replica.epoch ? [...held.copies].map(([site, copy]) => [site, copy.durable]) : []),
      believed: lead === null ? [] : believedBy(lead),
      handover: lead?.handover?.stopped === true ? 'gives' : takingOver ? 'takes' : null,
      coldReads: counters.coldReads,
      volumeBytes: replica.volumes.map(({ sizeBytes }) => sizeBytes),
      served: lead === null ? null : [...growth.sizes],
      heldBytes: replica.heldBytes,
      capacityBytes: replica.heldBytes + replica.spaceLeft(),
      keptBytes: replica.use.neededBytes,
      setAside: setAsideOf(replica),
      forgotten: forgottenBy(lead),
      counted: countedBy(lead, replica.marks),
      recordsMax: options.recordsMax ?? 0,
      paused: [...(lead?.followed.values() ?? [])]
        .filter((peer) => peer.paused)
        .map((peer) => ({ site: peer.site, isLetGo: peer.attached === 'no' })),
      paced: [...(lead?.followed.values() ?? [])].some(
        (peer) => peer.streaming && (peer.nextSeq <= replica.marks.received || peer.copy?.hasMore === true) && !peer.pace.isOpen,
      ),
      packed: [...peers.values()].some(({ traffic }) => traffic.sentBytes < traffic.rawBytes),
      early: sum(peers, 'early'),
      again: sum(peers, 'again'),
      folding: {
        made: [...peers.values()].some(({ folding }) => folding.records > 0),
        given: [...peers.values()].some(({ folding, traffic }) => traffic.foldedFrames > folding.frames),
        heldUpTo: replica.foldedUpTo,
      },
      writers: lead?.writers.status.state ?? null,
      outrun: lead?.followed.get(lead.writers.status.for ?? '')?.outrun ?? false,
      blocked: inside.pendingRequests > 0 && replica.full,
      staged: replica.receiver.staged,
      protectedOlder: replica.receiver.staged === null ? replica.receiver.older : null,
      inBitmap: (site, volume, offset) =>
        replica.bitmaps.get(site)?.volumes[volume]?.has(Math.floor(offset / replica.bitmaps.chunkBytes)) ?? false,
      endsAt: (seq) => replica.endsAt(seq),
      chainAt: (seq) => replica.chainAt(seq),
      frameOf: (seq) => replica.records.placeOf(seq),
      readNow: (volume, offset, into) => {
        // The oracle's reads never wait for the disk (Gate.quiet). What a copy is too small for yet is zeroes everywhere.
        const length = Math.max(0, Math.min(into.length, (replica.volumes[volume]?.sizeBytes ?? 0) - offset));
        if (length > 0) replica.read(volume, offset, into.subarray(0, length));
      },
    };
  }
}

function setAsideOf({ use: { setAside } }: Replica): Inspection['setAside'] {
  return setAside === null ? null : { heldBytes: setAside.heldBytes, wantedBytes: setAside.wantedBytes };
}

function agreementOf(status: AgreementStatus | null, block: Replica['superblock']): Inspection['agreement'] {
  return {
    right: status?.mayGoWithout ?? null,
    value: block.value.agreement ?? null,
    durable: block.durableValue.agreement ?? null,
  };
}

function sum(peers: ReadonlyMap<string, Peer>, what: 'early' | 'again'): number {
  return [...peers.values()].reduce((total, { streamCounts }) => total + streamCounts[what], 0);
}

function forgottenBy(lead: Lead | null): Inspection['forgotten'] {
  if (lead === null) return [];
  return [...lead.followed.values()]
    .filter((peer) => peer.uncovered && peer.entered && peer.peer.overflow !== 'bitmap')
    .map((peer) => peer.site);
}

function countedBy(lead: Lead | null, marks: Inspection['marks']): Inspection['counted'] {
  if (lead === null) return [];
  const list: { site: string; records: number }[] = [];
  for (const { site, uncovered, required, outrun, attached, keptFrom } of lead.followed.values()) {
    if (uncovered || required || keptFrom === null || (outrun && attached !== 'no')) continue;
    list.push({ site, records: marks.received + 1 - Math.max(keptFrom, marks.oldest) });
  }
  return list;
}

function believedBy(lead: Lead): Inspection['believed'] {
  const list: { mirror: string; of: string; durable: number }[] = [];
  for (const mirror of lead.followed.keys()) {
    for (const of of lead.followed.keys()) {
      const durable = lead.held.knownTo(mirror, of);
      if (durable !== null) list.push({ mirror, of, durable });
    }
  }
  return list;
}

/** Makes real sites. */
export const coreFactory: SiteFactory<InspectedSite> = {
  digests,
  make: (options) => new CoreSite(options),
  accept: (machine: Machine<InspectedSite>, port: LinkPort) => {
    const find = (group: string): Site | null => {
      const site = (machine.site as CoreSite | null)?.site ?? null;
      return site !== null && site.group === group ? site : null;
    };
    return acceptLink(port, find, {
      clock: { now: () => machine.now(), wall: () => 0 },
      digests,
      buffers: new PoisoningBuffers(),
      compression: simCompression,
    });
  },
};
