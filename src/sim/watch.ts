// Watches a run: keeps what the oracles know up to date with each event, calls them, and counts the states that were reached. Everything that a
// site, a host or the witness does passes through here.

import { Coverage, type State } from './coverage.ts';
import type { CrashKind } from './gate.ts';
import type { HostListener, HostOperation, Hosts } from './host.ts';
import type { Machine, MachineListener } from './machine.ts';
import type { Network } from './network.ts';
import type { SimWitness, WitnessStep } from './witness.ts';
import type { World } from './world.ts';
import { ONE_REQUEST_BYTES } from './check/overflow.ts';
import {
  asAgreed,
  endOf,
  flagOf,
  holds,
  type InspectedSite,
  type Inspection,
  NOTHING,
  type Rule,
  type Scene,
  type SeenSite,
  trueSyncPeers,
} from './check/observe.ts';
import { falseDamage } from './check/damage.ts';
import { checkBitmap } from './check/older.ts';
import { Truth } from './check/truth.ts';
import { Verifies } from './check/verifies.ts';
import type { WitnessOperation, WitnessState } from '../core/arbiter/witness-state.ts';
import { epochOf } from '../core/base/position.ts';
import type { Mode } from '../core/base/copies.ts';
import type { SiteName } from '../core/base/units.ts';
import type { Decision, HostError, SiteSpec } from '../core/site/contract.ts';

/** The site that is async when the group is made. */
const ASYNC_AT_FIRST = 'far';

/** What destroys records in a way that the rules do not answer for. */
export type Harm = 'flip' | 'wipe' | 'disk';

/** The scene that the oracles look at, and the listener that keeps it true. */
export class Watch implements Scene, MachineListener<InspectedSite>, HostListener<InspectedSite> {
  readonly world: World;
  readonly sites: readonly SeenSite[];
  readonly truth: Truth;
  readonly coverage: Coverage = new Coverage();
  readonly holdMillis: number;
  forced = false;
  /** When records that a mirror lacks were dropped last. */
  lastUncovered = -Infinity;
  calmSince = 0;
  readonly pauses = new Map<SiteName, Set<SiteName>>();
  /** What verifies have said. */
  readonly verifies = new Verifies();
  everHarmed = false;
  /** Set by the run once the hosts exist. */
  hosts: Hosts<InspectedSite> | null = null;
  /** Told when a process ended, and when a site gave its copy up: the operator. */
  onEnded: (machine: Machine<InspectedSite>) => void = () => undefined;
  onFailed: (machine: Machine<InspectedSite>, reason: string) => void = () => undefined;
  /** Sites whose disk has failed in this life of the process. */
  private readonly failing = new Set<SiteName>();
  /** Sites that are looking through what stays before they cut a tail off. */
  private readonly cutting = new Set<SiteName>();
  /** Told after each event of a site that has staged something of a resync which has not ended. */
  onStaged: (machine: Machine<InspectedSite>) => void = () => undefined;
  private readonly network: Network;
  private readonly witnessMachine: SimWitness;
  private readonly unitBytes: number;
  /** Which site began the bitmap of a peer. */
  private readonly bitmapsBegun = new Map<string, SiteName>();
  private readonly rules: readonly Rule[];
  private readonly pending = new Map<SiteName, Set<HostOperation>>();
  private readonly seen = new Map<SiteName, SeenSite>();

  constructor(parts: {
    world: World;
    network: Network;
    witness: SimWitness;
    rules: readonly Rule[];
    specs: readonly SiteSpec[];
    unitCounts: readonly number[];
    unitBytes: number;
    holdMillis: number;
  }) {
    this.world = parts.world;
    this.network = parts.network;
    this.witnessMachine = parts.witness;
    this.unitBytes = parts.unitBytes;
    this.rules = parts.rules;
    this.truth = new Truth(parts.unitCounts);
    this.holdMillis = parts.holdMillis;
    this.sites = parts.specs.map(({ name, mode }) => {
      const witness = (): WitnessState | null => this.witness;
      const site = {
        name,
        // As it is, and not as any configuration says: the rules are judged by the membership of the moment.
        get mode(): Mode {
          return witness()?.copies.find((copy) => copy.site === name)?.mode ?? mode;
        },
        machine: null as unknown as Machine<InspectedSite>,
        inside: null,
        role: 'stopped',
        serving: false,
        held: NOTHING,
        durable: NOTHING,
        everHeld: new Map(),
        everDurable: new Map(),
        lostAt: -1,
        alone: null,
        yields: null,
        harmed: false,
        flipped: false,
        dropped: false,
        resignedAt: Infinity,
      } satisfies SeenSite;
      this.seen.set(name, site);
      this.pending.set(name, new Set());
      return site;
    });
    parts.network.onLateBytes = () => this.coverage.hit('bytes of a dead connection arrived');
    parts.witness.onStep = (step) => this.witnessStep(step);
    parts.witness.onStray = (step) => {
      for (const rule of this.rules) rule.strayStep?.(this, step);
    };
    parts.witness.onLost = (operation, happened) => this.witnessLost(operation, happened);
  }

  reached(state: State): void {
    this.coverage.hit(state);
  }

  get witness(): WitnessState | null {
    return asAgreed(this, this.witnessMachine.state);
  }

  /** The machines, which need this listener to be made. */
  setMachines(machines: readonly Machine<InspectedSite>[]): void {
    for (const machine of machines) this.site(machine).machine = machine;
  }

  site(machine: { readonly name: SiteName }): SeenSite {
    return this.seen.get(machine.name) as SeenSite;
  }

  connectedSince(from: SiteName, to: SiteName): number | null {
    let oldest: number | null = null;
    for (const end of this.network.endsAt(from)) {
      if (end.peerName === to) oldest = Math.min(oldest ?? Infinity, end.born);
    }
    return oldest;
  }

  /** A site has said that a mirror is paused. */
  paused(machine: Machine<InspectedSite>, site: SiteName): void {
    this.coverage.hit(this.seen.get(site)?.mode === 'sync' ? 'sync mirror paused' : 'async mirror paused');
    const named = this.pauses.get(machine.name) ?? new Set();
    this.pauses.set(machine.name, named.add(site));
  }

  /** Records were destroyed at a site in a way that the rules do not answer for. */
  harm(machine: Machine<InspectedSite>, harm: Harm): void {
    const site = this.site(machine);
    site.harmed = true;
    this.everHarmed = true;
    if (harm === 'flip') site.flipped = true;
    else if (harm === 'wipe') site.flipped = false;
    site.dropped = harm === 'disk' || (site.dropped && harm === 'flip');
    site.lostAt = this.world.now;
    if (harm !== 'flip') this.pauses.delete(site.name);
    if (harm === 'wipe') site.alone = site.yields = null;
    site.held = harm === 'disk' ? site.durable : NOTHING;
    site.durable = site.held;
    this.takeBack('harm');
  }

  // ── machines ──

  started(machine: Machine<InspectedSite>): void {
    this.failing.delete(machine.name);
    for (const rule of this.rules) rule.started?.(this, this.site(machine));
  }

  afterEvent(machine: Machine<InspectedSite>, _what: string): void {
    const site = this.site(machine);
    const before = site.role;
    const setAside = site.inside?.setAside?.heldBytes ?? 0;
    this.refresh(site);
    if (site.inside?.staged?.endSeq === null) this.onStaged(machine);
    if (machine.disk.trouble.full && (site.inside?.setAside?.heldBytes ?? setAside) < setAside)
      this.coverage.hit('a full disk, and space that was set aside taken');
    if (site.role === 'primary' && !site.serving) {
      this.coverage.hit('lease ran out while primary');
      if (machine.thawedAt === this.world.now) this.coverage.hit('frozen primary past its lease');
    }
    if (site.inside?.packed === true) this.coverage.hit('records or images went packed');
    if ((site.inside?.early ?? 0) > 0) this.coverage.hit('a record arrived out of order');
    if ((site.inside?.again ?? 0) > 0) this.coverage.hit('a stream was lost and its records went again');
    if (site.inside?.folding.made === true) this.coverage.hit('a record was folded');
    if (site.inside?.folding.given === true) this.coverage.hit('a folded frame was given to another copy');
    if ((site.inside?.folding.heldUpTo ?? 0) > 0 && site.serving) this.coverage.hit('a copy with folded records became primary');
    if (site.inside?.paced === true) this.coverage.hit('a copy waited for the pace of its link');
    if (before === 'standby' && site.role === 'joining' && site.inside?.unclean === true) this.coverage.hit('joined as unclean');
    for (const rule of this.rules) {
      rule.afterEvent?.(this, site);
      if (this.world.violation !== null) return;
    }
  }

  servingChanged(machine: Machine<InspectedSite>, serving: boolean): void {
    if (!serving) this.dropHosts(machine);
  }

  failed(machine: Machine<InspectedSite>, reason: string): void {
    // It may find what a failed flush has dropped before it hears of the flush: it had been stopped meanwhile.
    const damaged = reason.includes('damaged') && !machine.disk.dropped;
    // As it is now: what came before in this very event may have taken all of it.
    const held = machine.disk.contentsOf('sidefile-set-aside')?.length ?? 0;
    if (/write of (sidefile-0|spare-)\S* failed with ENOSPC/.test(reason) && held >= ONE_REQUEST_BYTES)
      this.world.fail('19 set aside', `${machine.name} has ${held} bytes set aside for its sidefile: ${reason}`);
    // Nobody but the copy itself changes how long its base images are. One that is to be made anew may find an image of an earlier attempt, from before
    // the volume grew, which is refused as any image that somebody has put there: see SPEC, "Gaps".
    if (reason.includes('the configuration says') && machine.disk.contentsOf('superblock') !== null)
      this.world.fail('17 growth', `${machine.name} refuses its copy for the length of a base image: ${reason}`);
    const why = damaged ? falseDamage(this.site(machine), reason) : null;
    if (why !== null) this.world.fail('C3 damage', `${machine.name} finds its copy damaged although ${why}: ${reason}`);
    this.coverage.hit(damaged ? 'damage found at start' : 'disk failed');
    // A failed write or flush may have dropped anything that was not durable before it.
    if (!damaged) this.harm(machine, 'disk');
    machine.disk.dropped = false;
    this.onFailed(machine, reason);
  }

  cut(machine: Machine<InspectedSite>, call: string): void {
    // What it did in this event before its end counts: it may have told others of it.
    this.refresh(this.site(machine));
    // The disk has failed in this very event, and the process ends before it can say so.
    if (this.failing.has(machine.name) && machine.failure === null) this.harm(machine, 'disk');
    if (call.startsWith('before')) this.coverage.hit('crash before a port call');
    else if (call.startsWith('after')) this.coverage.hit('crash after a port call');
    else if (call === 'torn write') this.coverage.hit('crash in the middle of a write');
  }

  ended(machine: Machine<InspectedSite>, kind: CrashKind): void {
    const site = this.site(machine);
    if (machine.disk.dropped) this.harm(machine, 'disk');
    machine.disk.dropped = false;
    this.countEnd(site, kind);
    // What is in memory alone goes with the process.
    const isLost = kind === 'power' || site.inside?.inMemory === true;
    if (site.inside?.inMemory === true) this.countMemory(site.inside);
    site.inside = null;
    site.serving = false;
    if (isLost) {
      if (site.held.upTo > site.durable.upTo) this.coverage.hit('unflushed writes of a power loss were lost');
      site.held = site.durable;
      site.lostAt = this.world.now;
    }
    for (const rule of this.rules) rule.ended?.(this, site, isLost ? 'power' : kind);
    this.dropHosts(machine);
    // Numbers that the site would have told: nobody knows them now.
    this.pending.get(site.name)?.clear();
    if (isLost) this.takeBack('power');
    this.onEnded(machine);
  }

  decided(machine: Machine<InspectedSite>, decision: Decision): void {
    for (const rule of this.rules) rule.decided?.(this, this.site(machine), decision);
  }

  journal(machine: Machine<InspectedSite>, event: string, facts: Readonly<Record<string, unknown>>, text: string): void {
    const { coverage } = this;
    if (event === 'role') this.countRole(facts, text);
    else if (event === 'replica.failed' && facts['code'] !== 'DAMAGED') this.failing.add(machine.name);
    else if (event === 'sidefile.torn') coverage.hit('torn tail');
    else if (event === 'sidefile.on-disk') coverage.hit('a sidefile in memory went to the disk');
    else if (event === 'mirror.cut-back') coverage.hit('cut back');
    else if (event === 'cut.begin') this.cutting.add(machine.name);
    else if (event === 'cut.end') this.countCut(machine.name);
    else if (event === 'point.end' && String(facts['why']).startsWith('less than')) coverage.hit('a point was lost for want of room');
    else if (event === 'handover.off') coverage.hit('handover given up');
    else if (event === 'pause.end') {
      if (facts['why'] === 'another primary') coverage.hit('pause ended by another primary');
      this.pauses.get(machine.name)?.delete(String(facts['site']));
    } else if (event === 'coverage.lost') {
      coverage.hit(facts['bitmapOnly'] === true ? 'no records held for a copy that is away' : 'coverage lost');
      if (text.includes('which is all that is kept')) coverage.hit('the oldest records that a copy lacked were overwritten');
      if (facts['bitmapOnly'] !== true) this.lastUncovered = this.world.now;
    } else if (event === 'resync.begin') this.countResync(this.site(machine), facts);
    else if (event === 'mirror.copied' && facts['rung'] === 'bitmap') coverage.hit('bitmap resync ended');
    else if (event === 'copy.resume') coverage.hit(facts['rung'] === 'scan' ? 'scan goes on after a cut' : 'resync goes on after a cut');
    else if (event === 'copy.begin' && facts['staged'] === true) coverage.hit('older volume kept until the end');
    else if (event === 'mirror.copied' && facts['rung'] === 'scan') coverage.hit('scan ended');
    else if (event === 'remove.done') coverage.hit('a copy was removed');
    else if (event === 'agreement.given-back') coverage.hit('the right to go on alone was given back');
    else if (event === 'agreement.told') coverage.hit('the witness heard that a primary went on alone');
    else if (event === 'agreement.over') coverage.hit('a copy that had left the right may claim again');
    else if (event === 'add.done') coverage.hit('a copy that was removed was added again');
    else if (facts['reason'] === 'not-understood') coverage.hit('a change was asked of a witness that does not know it');
    else if (event === 'mode.done') this.countMode(machine, String(facts['site']));
    else if (event === 'replica.grown') this.countGrown(machine);
    else if (event === 'scan.confirm') coverage.hit('scan confirmed by a stronger digest');
    else if (event === 'copy.protected') coverage.hit('older volume kept as protection images');
    else if (event === 'sidefile.set-aside')
      coverage.hit(Number(facts['bytes']) > Number(facts['was']) ? 'more space set aside' : 'space set aside was given back');
    else if (event === 'sidefile.set-aside-lack') coverage.hit('no room for what is to be set aside');
    else if (event === 'staging.damaged' && 'file' in facts) coverage.hit('rot of a staged image found before it counted');
    else if (event === 'copy.unstaged') coverage.hit('staging given up for want of space');
    else if (event === 'link.down' && isScanned(this.site(machine))) coverage.hit('link lost in a scan');
    else if (event === 'bitmap.begin') this.bitmapsBegun.set(String(facts['site']), machine.name);
    else if (event.startsWith('level.')) this.countLevel(machine, event, facts);
    else if (event.startsWith('verify.')) this.verifies.told(this, machine.name, event, facts);
    else if (event === 'mirror.copy-end') {
      coverage.hit('whole copy ended');
      const site = this.site(machine);
      if (site.harmed) coverage.hit('new disk filled');
    }
  }

  // ── hosts ──

  sending(machine: Machine<InspectedSite>, operation: HostOperation): void {
    if (operation.write !== null) {
      this.pending.get(machine.name)?.add(operation);
      this.truth.unplaced.set(operation.number, operation);
    } else if (operation.command === 'flush') {
      const epochs = [...this.truth.reigns.values()].filter((reign) => reign.acknowledged > 0);
      const newest = epochs.reduce<(typeof epochs)[number] | null>((a, b) => (a === null || b.epoch > a.epoch ? b : a), null);
      operation.flushTo = newest === null ? null : { epoch: newest.epoch, seq: newest.acknowledged };
    }
  }

  answering(machine: Machine<InspectedSite>, operation: HostOperation, error: HostError, data: Uint8Array | null): void {
    const site = this.site(machine);
    this.refresh(site);
    if (operation.write !== null && error !== 0 && operation.request.seq === 0) {
      this.pending.get(site.name)?.delete(operation);
      this.truth.unplaced.delete(operation.number);
    }
    for (const rule of this.rules) rule.answering?.(this, site, operation, error, data);
    if (error !== 0) {
      this.coverage.hit(
        this.world.now - operation.invoked >= this.holdMillis * 0.9
          ? 'request failed after the hold limit'
          : 'request refused by a site that does not serve',
      );
      return;
    }
    this.remember(site, operation);
  }

  /** What a host has been told, it may rely on. */
  private remember(site: SeenSite, operation: HostOperation): void {
    if (operation.write !== null) {
      this.countAnswer(site, operation);
      const place = this.truth.places.get(operation.number);
      if (place === undefined) return;
      const reign = this.truth.reign(place.epoch);
      reign.acknowledged = Math.max(reign.acknowledged, place.seq);
      if (operation.fua) reign.flushed = Math.max(reign.flushed, place.seq);
    } else if (operation.command === 'flush') {
      this.coverage.hit('answer to a flush');
      const to = operation.flushTo;
      if (to !== null)
        this.truth.reign(to.epoch).flushed = Math.max(
          this.truth.reign(to.epoch).flushed,
          Math.min(to.seq, this.truth.reign(to.epoch).acknowledged),
        );
    } else if (operation.command === 'read' && this.world.now > operation.invoked && operation.request.needSeq > 0) {
      this.coverage.hit('read waited for its commit');
    }
  }

  // ── witness ──

  private witnessStep(step: WitnessStep): void {
    const { operation, before, reply } = step;
    this.countStep(step);
    const claimant = operation.kind === 'claim' && reply.outcome === 'done' ? this.seen.get(operation.from) : undefined;
    // The only copy that may serve was damaged: what it lost is lost, although others that may not serve have it.
    if (claimant?.harmed === true) this.takeBack('harm', [claimant]);
    // A pause is of a copy of the group: it ends with that.
    if (operation.kind === 'remove' && reply.outcome === 'done' && reply.repeated !== true)
      for (const paused of this.pauses.values()) paused.delete(operation.site);
    for (const rule of this.rules) rule.witnessStep?.(this, step);
    if (operation.kind === 'force' && reply.outcome === 'done') this.voidPromises();
    if (operation.kind === 'admit' && !flagOf(before, operation.site) && flagOf(step.after, operation.site)) {
      const site = this.seen.get(operation.site);
      if (site !== undefined) {
        const since = this.connectedSince(operation.from, operation.site);
        // What was admitted is what the primary is connected to and has asked for, not a disk that was put in since, however late the question comes.
        if (since !== null && since > site.lostAt && step.askedAt > site.lostAt) site.harmed = false;
        site.resignedAt = Infinity;
      }
    }
    if (operation.kind === 'resign' && reply.outcome === 'done' && reply.repeated !== true) {
      const site = this.seen.get(operation.from);
      if (site !== undefined) {
        site.resignedAt = this.world.now;
        // Its copy has failed and does not count any more, whatever can still be read of it.
        site.held = site.durable = NOTHING;
        this.takeBack('harm');
      }
    }
  }

  /** A promotion by force gives up what others hold: from here on hosts may find anything older, and the copies are only to become equal again. */
  private voidPromises(): void {
    this.forced = true;
    this.coverage.hit('promotion by force');
    this.hosts?.stopJudging();
  }

  private witnessLost(operation: WitnessOperation, happened: boolean): void {
    if (operation.kind === 'claim') this.coverage.hit(happened ? 'claim answer lost' : 'claim request lost');
    else if (operation.kind === 'exclude' && happened) this.coverage.hit('exclude answer lost');
    else if (operation.kind === 'handover') this.coverage.hit(happened ? 'handover answer lost' : 'handover request lost');
    else if (operation.kind === 'admit' && happened) this.coverage.hit('admit answer lost');
    else if (operation.kind === 'mode' && happened) this.coverage.hit('the answer to a change of a mode was lost');
    else if (operation.kind === 'prove' && happened) this.coverage.hit('the answer to a proof was lost');
  }

  // ── inside ──

  private refresh(site: SeenSite): void {
    const { machine } = site;
    const core = machine.site;
    if (core === null) {
      site.inside = null;
      site.role = 'stopped';
      site.serving = false;
      return;
    }
    const { calls } = machine.gate;
    const inside = core.inspect();
    if (machine.gate.calls !== calls) this.world.fail('12 honest', `${site.name} acts when it is only looked at`);
    site.inside = inside;
    site.role = core.role;
    site.serving = core.serving;
    if (inside === null) return;
    if (site.role !== 'failed') site.dropped = false;
    site.alone = inside.agreement.durable?.alone ?? null;
    site.yields = inside.agreement.durable?.yields ?? null;
    this.place(site);
    const { history, marks, consistent } = inside;
    if (!consistent) {
      site.held = site.durable = NOTHING;
      return;
    }
    site.held = { history, upTo: marks.received };
    // After a restart a site may know less of what is durable than is so: what was flushed before it is there all the same.
    const before = endOf(site.durable);
    const known = before.seq > marks.durable && holds(site.held, before.epoch, before.seq) ? before.seq : marks.durable;
    site.durable = { history: inside.durableHistory, upTo: known };
    const epoch = epochOf(history, marks.received);
    if ((site.everHeld.get(epoch) ?? 0) < marks.received) site.everHeld.set(epoch, marks.received);
    const durableEpoch = epochOf(history, marks.durable);
    if ((site.everDurable.get(durableEpoch) ?? 0) < marks.durable) site.everDurable.set(durableEpoch, marks.durable);
    if (inside.coldReads > 0) this.coverage.hit('read from a cold base');
    if (inside.blocked) this.coverage.hit('sidefile full, writers waited');
    if (marks.destaged > 0) this.coverage.hit('destaged');
    if (marks.oldest > 1) this.coverage.hit('sidefile dropped records');
    const { spares } = site.machine.disk;
    if (spares.used > 0) this.coverage.hit('segment in a file made ahead or used before');
    if (spares.kept > 0) this.coverage.hit('file of a dropped segment kept for another');
  }

  /** Learns the numbers that a primary has given. */
  private place(site: SeenSite): void {
    const pending = this.pending.get(site.name) as Set<HostOperation>;
    if (pending.size === 0) return;
    for (const operation of pending) {
      if (operation.request.seq === 0) continue;
      pending.delete(operation);
      this.truth.place(operation, site.inside?.epoch ?? 0);
    }
  }

  private dropHosts(machine: Machine<InspectedSite>): void {
    if (this.hosts?.hasOpen(machine) === true) this.coverage.hit('connection dropped with requests open');
    this.hosts?.drop(machine);
  }

  /**
   * After a loss: writes that hosts were told of and that no sync copy holds any more. In a power loss that must not be one that a flush has
   * covered; other harm may destroy anything.
   */
  private takeBack(cause: 'power' | 'harm', holders: readonly SeenSite[] = this.sites): void {
    const forgiven: number[] = [];
    // Where a third one is only on its way to be a sync copy, two others answer for what hosts are told.
    const isMany = this.sites.filter((site) => site.mode === 'sync').length > 2 && this.witness?.deleted !== true;
    for (const reign of this.truth.reigns.values()) {
      if (reign.acknowledged === 0) continue;
      let kept = 0;
      for (const site of holders) {
        if (site.mode !== 'sync' || (isMany && !flagOf(this.witness, site.name))) continue;
        const { history, upTo } = site.held;
        const index = history.findIndex((start) => start.epoch === reign.epoch);
        const start = history[index];
        if (start === undefined || upTo < start.firstSeq) continue;
        kept = Math.max(kept, Math.min(upTo, (history[index + 1]?.firstSeq ?? Infinity) - 1));
      }
      if (kept >= reign.acknowledged) continue;
      if (cause === 'power' && !this.forced && kept < reign.flushed && !this.sites.some((site) => site.harmed)) {
        this.world.fail(
          'R7 flush',
          `record (${reign.epoch}, ${reign.flushed}), which a flush had covered, is on no disk after a power loss`,
        );
      }
      for (const { seq, operation } of reign.records) if (seq > kept && operation.write !== null) forgiven.push(operation.number);
      reign.acknowledged = kept;
      reign.flushed = Math.min(reign.flushed, kept);
      reign.committed = Math.min(reign.committed, kept);
    }
    if (forgiven.length === 0) return;
    this.coverage.hit('acknowledged writes were lost that may be');
    this.hosts?.forgive(forgiven);
  }

  // ── counting ──

  private countAnswer(site: SeenSite, operation: HostOperation): void {
    const peers = trueSyncPeers(this, site.name);
    const views = this.sites.filter((peer) => peer.mode === 'sync' && peer !== site).map((peer) => site.inside?.flagView(peer.name));
    if (views.includes('maybe')) this.coverage.hit('answer while changing');
    else this.coverage.hit(peers.length > 0 ? 'answer mirrored' : 'answer solo');
    if (operation.fua) this.coverage.hit('answer with FUA');
    if (peers.length > 0 && (!this.witnessMachine.up || this.witnessMachine.cut.has(site.name)))
      this.coverage.hit('witness away while mirrored, and hosts were served');
  }

  private countCut(name: SiteName): void {
    this.cutting.delete(name);
    this.coverage.hit('a tail was cut off over several turns');
  }

  private countMemory({ marks, consistent }: Inspection): void {
    const { coverage } = this;
    if (marks.received > marks.destaged) coverage.hit('records in memory were lost with their process');
    if (consistent && marks.destageTarget > marks.destaged) coverage.hit('a copy was being destaged from memory when its process ended');
  }

  private countGrown(machine: Machine<InspectedSite>): void {
    const { inside, role } = this.site(machine);
    if (inside === null) this.coverage.hit('a copy has grown at a start');
    else if (role === 'mirror') this.coverage.hit('a copy has grown while it followed');
  }

  private countMode(machine: Machine<InspectedSite>, site: SiteName): void {
    const mode = this.seen.get(site)?.mode;
    this.coverage.hit(mode === 'sync' ? 'an async copy became sync' : 'a sync copy became async');
    if (this.hosts?.hasOpen(machine) === true) this.coverage.hit('a mode changed while hosts wrote');
  }

  private countRole(facts: Readonly<Record<string, unknown>>, text: string): void {
    if (facts['was'] === 'starting' && facts['role'] === 'claiming') this.coverage.hit('restart with a pending claim');
    if (facts['was'] === 'primary' && text.includes(' epoch ')) this.coverage.hit('deposed primary met a newer epoch');
  }

  private countResync(primary: SeenSite, facts: Readonly<Record<string, unknown>>): void {
    if (facts['rung'] === 'scan') {
      this.coverage.hit(facts['compare'] === 'mirror' ? 'scan begun, compared at the mirror' : 'scan begun, compared at the primary');
    } else if (facts['rung'] === 'bitmap' && facts['resumed'] !== true) {
      this.coverage.hit('bitmap resync begun');
      const site = String(facts['site']);
      const begunBy = this.bitmapsBegun.get(site);
      if (begunBy !== undefined && begunBy !== primary.name) this.coverage.hit('bitmap used by another primary than it was begun by');
      this.refresh(primary);
      checkBitmap(this, primary, { site, cutTo: Number(facts['cutTo']) }, this.unitBytes);
    } else if (facts['rung'] === 'copy') this.coverage.hit('whole copy begun');
    else this.coverage.hit(facts['records'] === 0 ? 'delta with nothing missing' : 'delta');
  }

  private countLevel(machine: Machine<InspectedSite>, event: string, facts: Readonly<Record<string, unknown>>): void {
    const { coverage } = this;
    if (event === 'level.begin') {
      coverage.hit('a survivor is given what it lacks');
      const taker = this.seen.get(String(facts['site']));
      if (taker?.mode === 'sync' && this.site(machine).mode === 'async') coverage.hit('far is ahead of near and gives');
      const pair = [this.site(machine), taker];
      if (pair.every((site) => site !== undefined && (site.mode === 'async' || !flagOf(this.witness, site.name))))
        coverage.hit('survivors are made equal where none of them may claim');
    } else if (event === 'level.done') coverage.hit('survivors are equal');
    else if (event === 'level.cut-back') coverage.hit('a survivor cuts back');
    else if (event === 'level.apart') coverage.hit('survivors cannot be made equal without a primary');
    else if (event === 'level.end') coverage.hit('making survivors equal is cut off');
  }

  private countEnd(site: SeenSite, kind: CrashKind): void {
    const { coverage } = this;
    const { role } = site;
    if (this.cutting.delete(site.name)) coverage.hit('a process ended while a tail was being cut off');
    if (site.inside?.handover === 'gives') coverage.hit('crash of the giver in a handover');
    else if (site.inside?.handover === 'takes') coverage.hit('crash of the taker in a handover');
    if (site.inside !== null && !site.inside.consistent) coverage.hit('whole copy cut off');
    if (isScanned(site))
      coverage.hit(
        site.inside?.staged?.endSeq === null ? 'end of the mirror in a scan' : 'end of the mirror while a scan is brought into its bases',
      );
    if (role === 'primary' && this.sites.some((other) => other !== site && isScanned(other))) coverage.hit('end of the primary in a scan');
    if (kind === 'power') {
      if (role === 'primary') coverage.hit('power lost as primary');
      else if (role === 'mirror') coverage.hit('power lost as mirror');
      else if (role === 'joining') coverage.hit('power lost while joining');
      else if (role === 'claiming') coverage.hit('power lost while claiming');
      const others = this.sites.filter((other) => other !== site && other.mode === 'sync');
      if (site.mode === 'sync' && others.every((other) => !other.machine.powered)) coverage.hit('power lost of both sync sites');
    } else if (role === 'primary') coverage.hit('crash as primary');
    else if (role === 'mirror') coverage.hit('crash as mirror');
    else if (role === 'claiming') coverage.hit('crash while claiming');
  }

  private countStep({ operation, before, reply }: WitnessStep): void {
    const { coverage } = this;
    const done = reply.outcome === 'done';
    if ('repeated' in reply && reply.repeated === true) coverage.hit('a witness request arrived twice');
    else if (operation.kind === 'claim') {
      if (!done) coverage.hit('claim refused');
      else {
        if (before?.primary !== null) coverage.hit(before?.primary === operation.from ? 'claim again by the last primary' : 'takeover');
        if (operation.from === ASYNC_AT_FIRST && this.seen.get(operation.from)?.mode === 'sync')
          coverage.hit('a copy that became sync took over');
        const site = this.seen.get(operation.from);
        if (site?.machine.site === null) coverage.hit('claim granted whose site had died meanwhile');
        if (site?.inside?.unclean === true && trueSyncPeersBefore(before, operation.from))
          coverage.hit('claim as unclean while another flag is true');
      }
    } else if (operation.kind === 'exclude') coverage.hit(done ? 'exclude done' : 'exclude refused');
    else if (operation.kind === 'handover') coverage.hit(done ? 'handover done' : 'handover refused');
    else if (done && operation.kind === 'admit') coverage.hit('admit done');
    else if (done && operation.kind === 'prove') coverage.hit('the witness has written for a proof');
  }
}

function trueSyncPeersBefore(before: WitnessState | null, from: SiteName): boolean {
  return before?.copies.some((copy) => copy.site !== from && copy.mode === 'sync' && copy.flag) ?? false;
}

/** Whether a scan of its copy is staged there: under way, cut off, or about to end. */
function isScanned(site: SeenSite): boolean {
  return site.inside?.staged?.rung === 'scan';
}
