// How a site becomes primary by itself (rule 5): say durably that it asks, ask, and ask again until the answer is known, restarts included.
// Until then it joins nobody: the grant may have been given, and a site that follows another while it holds a grant breaks both.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessAnswer, WitnessView } from '../arbiter/witness-state.ts';
import type { Epoch, Millis } from '../base/units.ts';
import type { ReplicaDone } from '../replica/options.ts';
import type { Replica } from '../replica/replica.ts';
import type { SiteCounter, SiteOptions } from './contract.ts';

/** A claim as the superblock remembers it. */
export interface PendingClaim {
  readonly requestId: string;
  readonly epoch: number;
  readonly revision: number;
}

/**
 * Begins a reign: behind the newest record, or behind the older volume of a resync that is given up. A copy that may be the only one has its sidefile on
 * the disk before; nothing is begun if the site is no longer `claiming` by then.
 */
export function reign(replica: Replica, epoch: Epoch, { claiming, done }: { claiming: () => boolean; done: ReplicaDone }): void {
  if (replica.inMemory) {
    return replica.toDisk((failure) => {
      if (failure === null && claiming()) reign(replica, epoch, { claiming, done });
    });
  }
  if (replica.consistent) replica.beginEpoch(epoch, done);
  else replica.receiver.fallBack(epoch, done);
}

/** What the claimant may do to its site. */
export interface ClaimingSite {
  readonly options: SiteOptions;
  readonly desk: WitnessDesk;
  readonly counters: Record<SiteCounter, number>;
  replica(): Replica | null;
  /** Whether the site is still the one that asks. */
  claiming(): boolean;
  granted(view: WitnessView): void;
  notGranted(why: string): void;
}

export class Claimant {
  readonly #site: ClaimingSite;
  /** A claim that may have been granted: a view asked for since then decides. */
  #resolveSince: Millis | null = null;
  /** A claim that waits for the own sidefile. */
  #unflushed: PendingClaim | null = null;
  /** A claim was begun, and whether it is granted is not known here. */
  #undecided = false;

  constructor(site: ClaimingSite) {
    this.#site = site;
  }

  get undecided(): boolean {
    return this.#undecided;
  }

  /** Decides to claim on the view that is known. The site has just become `claiming`. */
  begin(view: WitnessView): void {
    const { desk } = this.#site;
    const replica = this.#site.replica();
    if (replica === null) return;
    this.#undecided = true;
    const pending = { requestId: desk.newRequestId(), epoch: view.epoch, revision: view.revision };
    const { journal } = this.#site.options;
    journal('claim.begin', { epoch: view.epoch + 1, revision: view.revision }, `it asks the witness for epoch ${view.epoch + 1}`);
    // Durable before the question leaves: after a restart it is asked again, and nobody is joined before the answer is known.
    replica.superblock.update({ pendingClaim: pending }, (failure) => {
      if (failure === null && this.#site.claiming() && this.#site.replica() === replica) this.ask(pending);
    });
  }

  /** Asks, or asks again after a restart. */
  ask(pending: PendingClaim): void {
    const { desk, counters } = this.#site;
    const replica = this.#site.replica();
    this.#undecided = true;
    // After a restart what is here is not known to be on the disk yet, and a claim needs it there (rule 5).
    this.#unflushed = replica !== null && replica.marks.durable < replica.marks.received ? pending : null;
    if (this.#unflushed !== null) return replica?.flush();
    if (desk.busy) desk.abandon();
    counters.claims++;
    desk.ask({ kind: 'claim', epoch: pending.epoch, revision: pending.revision }, (answer) => this.#answered(answer), {
      requestId: pending.requestId,
    });
  }

  /** Looks whether a fresh view has come that tells what became of the claim. */
  turn(): void {
    if (this.#unflushed !== null) return this.ask(this.#unflushed);
    const { desk, options } = this.#site;
    const replica = this.#site.replica();
    const since = this.#resolveSince;
    if (since === null || replica === null) return;
    const { view } = desk;
    // Whether it was granted before makes no difference any more.
    if (desk.trouble?.kind === 'deleted') return this.#forget(replica);
    if (view === null || desk.viewAt < since) {
      desk.probe(options.timings.witnessRetryMillis);
      return;
    }
    this.#resolveSince = null;
    const own = view.copies.find((copy) => copy.site === options.site);
    if (
      view.groupId === replica.superblock.value.groupId &&
      view.primary === options.site &&
      view.epoch > replica.epoch &&
      own?.flag === true
    ) {
      options.journal('claim.granted', { epoch: view.epoch }, `the witness has granted epoch ${view.epoch}, as a later look at it shows`);
      this.#undecided = false;
      this.#site.granted(view);
      return;
    }
    options.journal(
      'claim.refused',
      { epoch: view.epoch, primary: view.primary },
      `the witness did not grant its claim: it names ${view.primary ?? 'nobody'} in epoch ${view.epoch}`,
    );
    this.#forget(replica);
  }

  #forget(replica: Replica): void {
    this.#resolveSince = null;
    replica.superblock.update({ pendingClaim: null }, (failure) => {
      if (failure === null && this.#site.claiming()) this.#site.notGranted('the witness did not grant its claim');
    });
  }

  end(): void {
    this.#resolveSince = null;
    this.#unflushed = null;
    this.#undecided = false;
  }

  #answered(answer: WitnessAnswer): void {
    const { desk, options } = this.#site;
    if (!this.#site.claiming()) return;
    if (answer.outcome === 'done' && answer.repeated !== true) {
      options.journal('claim.granted', { epoch: answer.view.epoch }, `the witness has granted epoch ${answer.view.epoch}`);
      this.#undecided = false;
      this.#site.granted(answer.view);
      return;
    }
    // An answer about the past, or a refusal that may hide a grant whose answer was lost: a fresh view tells.
    this.#resolveSince = options.clock.now();
    desk.read();
    options.shell.wake();
  }
}
