// Turning to a witness that was replaced, restored or put back: by an operator's order only, and in an order of steps that leaves no moment of two
// primaries. First this copy notes durably that it believes that witness and no other; only then it reports what it is, and again and again until
// the witness grants. What it has asked of the old one is void from the first step on: an answer of that one is not heard any more.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { CopyReport } from '../arbiter/seeding.ts';
import type { WitnessReply, WitnessView } from '../arbiter/witness-state.ts';
import type { Millis } from '../base/units.ts';
import type { Replica } from '../replica/replica.ts';
import type { OrderOutcome, Role, SiteOptions } from './contract.ts';
import type { Lead } from './lead.ts';
import type { Members } from './members.ts';

/** What a move works on. */
export interface MovingSite {
  readonly options: SiteOptions;
  readonly desk: WitnessDesk;
  readonly members: Members;
  replica(): Replica | null;
  role(): Role;
  lead(): Lead | null;
  /** A claim was begun, and whether it is granted is not known here. */
  undecided(): boolean;
  stepBack(why: string): void;
}

type Done = (outcome: OrderOutcome) => void;

function refused(text: string, remedy: string): OrderOutcome {
  return { kind: 'refused', text, remedy };
}

export class WitnessMove {
  readonly #site: MovingSite;
  #waiting: Done[] = [];
  #inFlight = false;
  #nextAt: Millis = -Infinity;
  #roleChanges = 0;

  constructor(site: MovingSite) {
    this.#site = site;
  }

  /** A report of before says nothing of what this copy has done since. */
  roleChanged(): void {
    this.#roleChanges++;
  }

  /** Looks who answers at the witness's address, and turns to it when nothing speaks against it. */
  order(done: Done): void {
    const { desk, options } = this.#site;
    const wrong = this.#unable();
    if (wrong !== null) return done(wrong);
    desk.look((reply) => {
      const refusal = this.#unable() ?? this.#begin(reply);
      if (refusal !== null) done(refusal);
      else this.#waiting.push(done);
      options.shell.wake();
    });
  }

  turn(now: Millis): void {
    const { desk, options, members } = this.#site;
    const replica = this.#site.replica();
    if (!desk.moving || replica === null || replica.failure !== null || this.#inFlight || now < this.#nextAt) return;
    const noted = replica.superblock.durableValue.witness;
    if (noted === null || noted.instance !== desk.instance || noted.reporting !== true) return;
    const report = this.#report(replica, noted.revision);
    if (report === null) return;
    this.#nextAt = now + options.timings.witnessRetryMillis;
    this.#inFlight = true;
    desk.report({ groupId: replica.superblock.value.groupId, copies: members.list, report }, (reply) => {
      this.#inFlight = false;
      this.#answered(reply);
      options.shell.wake();
    });
  }

  /** When to report again. What holds a report up although it is due tells of its end by itself; looked at now and then all the same. */
  deadline(now: Millis): Millis {
    if (!this.#site.desk.moving || this.#inFlight || this.#unable() !== null) return Infinity;
    return this.#nextAt > now ? this.#nextAt : now + this.#site.options.timings.witnessRetryMillis;
  }

  /** A view that is believed: the newest state is noted, so that an older one is known for what it is after a restart too. */
  viewed(view: WitnessView): void {
    const replica = this.#site.replica();
    if (replica === null || replica.failure !== null) return;
    const known = replica.superblock.value.witness;
    const { instance, revision } = view;
    if (known?.instance === instance && known.reporting !== true && known.revision >= revision) return;
    const members = view.copies.map(({ site, mode }) => ({ site, mode }));
    replica.superblock.update({ witness: { instance, revision }, members }, () => undefined);
  }

  #unable(): OrderOutcome | null {
    const replica = this.#site.replica();
    const role = this.#site.role();
    if (replica !== null && replica.failure === null && role !== 'failed' && role !== 'stopped') return null;
    return refused(`${this.#site.options.site} is ${role} and has nothing to report`, 'order it at the sites that hold a copy');
  }

  /** Notes whom this copy believes from now on. Returns why it does not. */
  #begin(reply: WitnessReply): OrderOutcome | null {
    const { desk, options } = this.#site;
    const replica = this.#site.replica() as Replica;
    if (reply.outcome === 'unknown')
      return refused('no witness answers', 'start the new one at the address that the configuration names, and order it again');
    const sameVersion = refused('what answers does not say who it is', 'run the same version everywhere');
    if (reply.outcome === 'not-understood') return sameVersion;
    const { view } = reply;
    const instance = view?.instance ?? (reply.outcome === 'refused' ? reply.instance : undefined);
    if (instance === undefined) return sameVersion;
    if (desk.moving && desk.instance === instance) {
      this.#nextAt = -Infinity;
      return null;
    }
    const { trouble } = desk;
    if (trouble === null) return refused('the witness that answers is the one that this site knows', 'nothing is to be replaced');
    const { groupId, witness } = replica.superblock.value;
    if (view !== null && view.groupId !== groupId)
      return refused('the witness knows another group of this name', 'give it an empty folder, or this site the right one');
    const revision = Math.max(witness?.revision ?? 0, desk.knownRevision);
    // One that grants already has to know at least as much; one that does not will hear it.
    if (reply.outcome === 'done' && (reply.view.revision < revision || reply.view.epoch < replica.epoch))
      return refused(
        `the witness that answers knows less than this copy: revision ${reply.view.revision} where this copy has seen ${revision}`,
        'it is an old one, or one of two: name the right one in the configuration, or start it with an empty folder',
      );
    // Its answer will not be heard. Not one that was granted: its epoch is beginning.
    if (this.#site.role() === 'claiming' && !this.#site.undecided())
      return refused(`${options.site} is just becoming primary`, 'order it again');
    options.journal(
      'witness.move',
      { from: desk.instance, to: instance },
      'by order it believes the witness that answers now, and reports to it',
    );
    desk.moveTo(instance);
    this.#nextAt = -Infinity;
    replica.superblock.update({ witness: { instance, revision, reporting: true }, pendingClaim: null }, (failure) => {
      // Not before it is durable: a site that restarts with the claim asks the old witness, and may have been granted it there.
      if (failure === null && this.#site.role() === 'claiming' && this.#site.undecided())
        this.#site.stepBack('its claim was asked of a witness that is given up');
      options.shell.wake();
    });
    return null;
  }

  /** What this copy is at this moment; null while that is about to change. */
  #report(replica: Replica, revision: number): CopyReport | null {
    const { options } = this.#site;
    const role = this.#site.role();
    const common = { site: options.site, epoch: replica.epoch, revision, life: `${replica.startCount}.${this.#roleChanges}` };
    const lead = this.#site.lead();
    if (role === 'primary' && lead !== null) {
      const mayBeTrue = [...lead.followed.values()].filter((peer) => lead.mayBeTrue(peer)).map((peer) => peer.site);
      return { ...common, role: 'primary', mayBeTrue, end: null };
    }
    if (role === 'joining' || role === 'mirror') return { ...common, role: 'following', mayBeTrue: [], end: null };
    if (role !== 'standby' || replica.changing) return null;
    if (replica.marks.durable < replica.marks.received) {
      // What is not known to be committed cannot be destaged: out of memory it comes by being written out alone.
      if (replica.inMemory) replica.toDisk();
      else replica.flush();
      return null;
    }
    const end = replica.consistent ? { epoch: replica.end.epoch, seq: replica.end.seq, chain: replica.chain } : null;
    return { ...common, role: 'waiting', mayBeTrue: [], end };
  }

  #answered(reply: WitnessReply): void {
    const { desk, options } = this.#site;
    if (reply.outcome === 'done') {
      const { revision, epoch, primary } = reply.view;
      options.journal(
        'witness.moved',
        { revision, epoch, primary },
        `the new witness has taken over, with ${primary ?? 'nobody'} as primary`,
      );
      return this.#tell({ kind: 'done', text: `the new witness has taken over: epoch ${epoch}, primary ${primary ?? 'none'}` });
    }
    const { trouble } = desk;
    // It was put back from a backup in which an epoch was granted that nobody has begun, and its site has given that up. It begins where all wait.
    const own = this.#site.replica()?.epoch ?? Infinity;
    const lead = this.#site.lead();
    // It waits for every copy then: with one away, hosts are served on.
    const allHere = lead !== null && [...lead.followed.values()].every(({ peer }) => peer.connected);
    if (trouble?.kind === 'unseeded' && trouble.missing.length === 0 && trouble.view.epoch > own && allHere)
      this.#site.stepBack(
        `the new witness has granted epoch ${trouble.view.epoch}, which nobody has begun: all wait until it grants another`,
      );
    if (trouble?.kind === 'refused')
      return this.#tell(
        refused(`the witness does not take the report of ${options.site}: ${trouble.why}`, 'look at `tercet witness status`'),
      );
    if (trouble?.kind !== 'unseeded' || trouble.missing.length === 0) return;
    const missing = trouble.missing.join(' and ');
    this.#tell({
      kind: 'done',
      text: `${options.site} reports to the new witness, which grants nothing before ${missing} has reported too`,
    });
  }

  #tell(outcome: OrderOutcome): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const done of waiting) done(outcome);
  }
}
