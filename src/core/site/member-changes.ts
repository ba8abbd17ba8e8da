// The primary's half of a change of the members: who they are, and how each is mirrored. The flag of the copy is false, and known to be, before the
// witness is asked; whatever the answer is, or as long as there is none, the copy is neither waited for nor relied on. One that stays, or comes, is then
// admitted as what it is from then on: the flag of an async copy says "may be promoted by hand", that of a sync one "holds everything acknowledged".

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessAnswer } from '../arbiter/witness-state.ts';
import { unreachable } from '../base/assert.ts';
import type { Mode } from '../base/copies.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { Replica } from '../replica/replica.ts';
import type { SiteOptions } from './contract.ts';
import { modeIn, type Members } from './members.ts';

/** What is done to one copy. */
export type MemberStep = { readonly kind: 'mode' | 'add'; readonly mode: Mode } | { readonly kind: 'remove' };

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
  #notBefore: Millis = -Infinity;

  constructor(ground: ChangesGround) {
    this.#ground = ground;
  }

  /** Whether a change of this peer is wanted, or under way: it is not admitted until it is done. */
  concerns(peer: FollowedPeer): boolean {
    return this.#asking === peer || this.#ground.members.stepFor(peer) !== null;
  }

  /** Whether it is to be excluded for a change. One that this site has no configuration of can never follow it: hosts are not held for that. */
  excludes(peer: FollowedPeer): boolean {
    return peer.flag !== 'false' && (this.concerns(peer) || this.#ground.members.isStranger(peer));
  }

  /** Asks the witness for the next one. Only while nothing else is asked. */
  turn(now: Millis): void {
    const { desk, members } = this.#ground;
    if (this.#asking !== null || desk.busy || now < this.#notBefore) return;
    for (const peer of this.#ground.followed.values()) {
      const step = members.stepFor(peer);
      if (step === null || peer.flag !== 'false') continue;
      return this.#ask(peer, step);
    }
  }

  /** When one that could not be asked is tried again. */
  deadline(now: Millis): Millis {
    return this.#notBefore > now ? this.#notBefore : Infinity;
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
    options.journal(`${step.kind}.begin`, { site, ...step }, `${site} ${textOf(step)}: the witness is asked`);
    desk.ask({ ...step, site, epoch, revision }, (answer) => {
      if (this.#asking !== peer) return;
      this.#asking = null;
      this.#answered(peer, step, answer, revision);
      options.shell.wake();
    });
  }

  #answered(peer: FollowedPeer, step: MemberStep, answer: WitnessAnswer, revision: number): void {
    const { options, desk } = this.#ground;
    const { site } = peer;
    if (answer.outcome === 'done') return this.#done(peer, step, modeIn(answer.view.copies, site));
    if (answer.reason === 'revision' && desk.view?.revision !== revision) return;
    // It knows better: the flag is put to false first.
    if (answer.reason === 'flag-true') peer.flag = 'maybe';
    this.#notBefore = options.clock.now() + options.timings.witnessRetryMillis;
    options.journal(`${step.kind}.refused`, { site, reason: answer.reason }, `the witness refused: ${answer.text}`);
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
