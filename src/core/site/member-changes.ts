// The primary's half of a change of the members: who they are, and how each is mirrored. The flag of the copy is false, and known to be, before the
// witness is asked; whatever the answer is, or as long as there is none, the copy is neither waited for nor relied on. One that stays, or comes, is then
// admitted as what it is from then on: the flag of an async copy says "may be promoted by hand", that of a sync one "holds everything acknowledged".
// A question that a witness of an older release does not understand is given up, so that others can be asked. A try of it may still be carried out by a
// newer program: until the same question is answered, or an exclusion has raised the revision behind it, the copy is not admitted.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessAnswer } from '../arbiter/witness-state.ts';
import { unreachable } from '../base/assert.ts';
import type { Mode } from '../base/copies.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { Replica } from '../replica/replica.ts';
import type { SiteOptions } from './contract.ts';
import { modeIn, type Members } from './members.ts';

/** A change that is refused again and again is asked for after a retry, two, four, and so on up to 2 to the power of this many. */
const AGAIN_DOUBLINGS = 5;

/** What is done to one copy. */
export type MemberStep = { readonly kind: 'mode' | 'add'; readonly mode: Mode } | { readonly kind: 'remove' };

/** One that has not come to pass. */
interface Refused {
  readonly step: MemberStep;
  /** For people. */
  readonly why: string;
  readonly next: string;
  readonly times: number;
  readonly notBefore: Millis;
}

/** What the changes look at. */
export interface ChangesGround {
  readonly options: SiteOptions;
  readonly replica: Replica;
  readonly desk: WitnessDesk;
  readonly members: Members;
  readonly followed: ReadonlyMap<SiteName, FollowedPeer>;
  readonly lead: {
    /** The copy is one of the group from now on: it may follow. */
    entered(peer: FollowedPeer): void;
    /** It is none any more: nothing is kept for it. */
    dismissed(peer: FollowedPeer): void;
  };
}

/** Changes of one reign. */
export class MemberChanges {
  readonly #ground: ChangesGround;
  #asking: FollowedPeer | null = null;
  readonly #refused = new Map<FollowedPeer, Refused>();
  /** Copies of which a question was given up that may still be carried out. */
  readonly #open = new Map<FollowedPeer, MemberStep>();

  constructor(ground: ChangesGround) {
    this.#ground = ground;
  }

  /** Whether a change of this peer is wanted, or under way: it is not admitted until it is done. */
  concerns(peer: FollowedPeer): boolean {
    return this.#asking === peer || this.#open.has(peer) || this.#ground.members.stepFor(peer) !== null;
  }

  /** Whether it is to be excluded for a change. One that this site has no configuration of can never follow it: hosts are not held for that. */
  excludes(peer: FollowedPeer): boolean {
    return peer.flag !== 'false' && (this.concerns(peer) || this.#ground.members.isStranger(peer));
  }

  /** Asks the witness for the next one. Only while nothing else is asked. */
  turn(now: Millis): void {
    const { desk, members } = this.#ground;
    if (this.#asking !== null || desk.busy) return;
    for (const peer of this.#ground.followed.values()) {
      const step = members.stepFor(peer);
      const open = this.#open.get(peer);
      if (peer.flag !== 'false' || (step === null && open === undefined)) continue;
      const refused = this.#refused.get(peer);
      // What is wanted now is another thing than what was refused.
      const isSame = step === null || (refused !== undefined && isSameStep(refused.step, step));
      if (refused !== undefined && isSame && now < refused.notBefore) continue;
      if (open !== undefined && (step === null || !isSameStep(open, step))) return this.#close(peer, open);
      if (step !== null) return this.#ask(peer, step);
    }
  }

  /** When one that was refused, or not understood, is asked for again. */
  deadline(now: Millis): Millis {
    let earliest = Infinity;
    for (const { notBefore } of this.#refused.values()) if (notBefore > now) earliest = Math.min(earliest, notBefore);
    return earliest;
  }

  /** Why what is wanted of a copy has not come to pass, though the witness was asked; null when nothing is known of that. */
  trouble(site: SiteName): { readonly cause: string; readonly next: string } | null {
    const peer = this.#ground.followed.get(site);
    const refused = peer === undefined ? undefined : this.#refused.get(peer);
    return refused === undefined ? null : { cause: refused.why, next: refused.next };
  }

  /** The reign is over. Whatever the witness still does: the next one begins with what it says. */
  end(): void {
    if (this.#asking !== null) this.#ground.desk.abandon();
    this.#asking = null;
  }

  #ask(peer: FollowedPeer, step: MemberStep): void {
    const { options, desk, replica } = this.#ground;
    const revision = desk.view?.revision;
    if (revision === undefined) return;
    const { site } = peer;
    const { epoch } = replica;
    this.#asking = peer;
    // One that is asked for again was told of when it was refused.
    if (!this.#refused.has(peer)) options.journal(`${step.kind}.begin`, { site, ...step }, `${site} ${textOf(step)}: the witness is asked`);
    const ended = (then: () => void): void => {
      if (this.#asking !== peer) return;
      this.#asking = null;
      then();
      options.shell.wake();
    };
    const answered = (answer: WitnessAnswer): void => ended(() => this.#answered(peer, step, answer, revision));
    const notUnderstood = (): void => ended(() => this.#givenUp(peer, step));
    desk.ask({ ...step, site, epoch, revision }, answered, { notUnderstood });
  }

  #givenUp(peer: FollowedPeer, step: MemberStep): void {
    this.#open.set(peer, step);
    this.#later(peer, step, {
      reason: 'not-understood',
      why: 'the program of the witness is older, and does not know such a change',
      next: 'upgrade the witness first; it is asked again now and then',
    });
  }

  /** An exclusion raises the revision, also of a copy whose flag is false: behind it the question that was given up is refused, whenever it arrives. */
  #close(peer: FollowedPeer, step: MemberStep): void {
    const { options, desk, replica } = this.#ground;
    const revision = desk.view?.revision;
    if (revision === undefined) return;
    this.#asking = peer;
    const text = `${peer.site} is excluded once more: what was asked about it and given up is refused from then on`;
    options.journal('exclude.begin', { site: peer.site }, text);
    desk.ask({ kind: 'exclude', site: peer.site, epoch: replica.epoch, revision }, (answer) => {
      if (this.#asking !== peer) return;
      this.#asking = null;
      const { view } = desk;
      const isCopy = modeIn(view?.copies ?? [], peer.site);
      if (answer.outcome === 'done' || (answer.reason === 'not-a-copy' && isCopy === null)) {
        this.#open.delete(peer);
        this.#refused.delete(peer);
        this.#learn(peer, isCopy);
      } else if (answer.reason !== 'revision' || view?.revision === revision)
        this.#later(peer, step, { reason: answer.reason, why: `the witness refused: ${answer.text}`, next: 'it is asked again' });
      options.shell.wake();
    });
  }

  /** What the witness has, where that is not what this site counts on: a question that was given up has been carried out after all. */
  #learn(peer: FollowedPeer, mode: Mode | null): void {
    if (mode === null && peer.entered) this.#done(peer, { kind: 'remove' }, null);
    else if (mode !== null && !peer.entered) this.#done(peer, { kind: 'add', mode }, mode);
    else if (mode !== null && mode !== peer.peer.mode) this.#done(peer, { kind: 'mode', mode }, mode);
  }

  /** It did not come to pass: less and less often is it asked for again, and told of once. */
  #later(peer: FollowedPeer, step: MemberStep, told: { reason: string; why: string; next: string }): void {
    const { options } = this.#ground;
    const before = this.#refused.get(peer);
    const again = before !== undefined && isSameStep(before.step, step) ? before : null;
    const times = Math.min((again?.times ?? -1) + 1, AGAIN_DOUBLINGS);
    const notBefore = options.clock.now() + options.timings.witnessRetryMillis * 2 ** times;
    const { reason, why, next } = told;
    this.#refused.set(peer, { step, why, next, times, notBefore });
    if (again?.why !== why)
      options.journal(`${step.kind}.refused`, { site: peer.site, reason }, `${peer.site} ${textOf(step)}: not yet: ${why}`);
  }

  #answered(peer: FollowedPeer, step: MemberStep, answer: WitnessAnswer, revision: number): void {
    const { desk } = this.#ground;
    if (answer.outcome === 'done') {
      this.#open.delete(peer);
      this.#refused.delete(peer);
      return this.#done(peer, step, modeIn(answer.view.copies, peer.site));
    }
    if (answer.reason === 'revision' && desk.view?.revision !== revision) return;
    // It knows better: the flag is put to false first.
    if (answer.reason === 'flag-true') peer.flag = 'maybe';
    // It was told to add it before, as something else.
    const known = modeIn(desk.view?.copies ?? [], peer.site);
    if (answer.reason === 'exists-different' && known !== null) return this.#learn(peer, known);
    this.#later(peer, step, { reason: answer.reason, why: `the witness refused: ${answer.text}`, next: 'it is asked again now and then' });
  }

  /** `mode`: as the witness has it now; null when it does not know the copy. */
  #done(peer: FollowedPeer, step: MemberStep, mode: Mode | null): void {
    const { options, members, lead } = this.#ground;
    const { site } = peer;
    options.journal(`${step.kind}.done`, { site, ...step }, `${site} ${textOf(step)}; the witness knows`);
    if (mode !== null) peer.peer.mode = mode;
    // What was collected for it, or is due, is looked at anew.
    peer.sendDue = -Infinity;
    if (step.kind === 'add') lead.entered(peer);
    else if (step.kind === 'remove') lead.dismissed(peer);
    members.changed(site, mode);
  }
}

function isSameStep(some: MemberStep, other: MemberStep): boolean {
  return some.kind === other.kind && (some.kind === 'remove' || other.kind === 'remove' || some.mode === other.mode);
}

function textOf(step: MemberStep): string {
  switch (step.kind) {
    case 'mode':
      return `is mirrored as ${step.mode} from now on`;
    case 'add':
      return `is a copy of the group from now on, ${step.mode}`;
    case 'remove':
      return 'is no copy of the group any more';
    default:
      return unreachable(step);
  }
}
