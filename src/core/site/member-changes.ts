// The primary's half of a change of the members: how a peer is mirrored. Its flag is false, and known to be, before the witness is asked; whatever the
// answer is, or as long as there is none, the peer is neither waited for nor relied on. Then it is admitted anew, as what it is from then on: the flag
// of an async copy says "may be promoted by hand", and that of a sync one "holds everything that was acknowledged".

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessAnswer } from '../arbiter/witness-state.ts';
import type { Mode } from '../base/copies.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { Replica } from '../replica/replica.ts';
import type { SiteOptions } from './contract.ts';
import { modeIn, type Members } from './members.ts';

/** What the changes look at. */
export interface ChangesGround {
  readonly options: SiteOptions;
  readonly replica: Replica;
  readonly desk: WitnessDesk;
  readonly members: Members;
  readonly followed: ReadonlyMap<SiteName, FollowedPeer>;
}

/** Changes of one reign. */
export class MemberChanges {
  readonly #ground: ChangesGround;
  #asking: FollowedPeer | null = null;
  #notBefore: Millis = -Infinity;

  constructor(ground: ChangesGround) {
    this.#ground = ground;
  }

  /** Whether a change of this peer is wanted, or under way: it is excluded for it, and not admitted until it is done. */
  concerns(peer: FollowedPeer): boolean {
    return this.#asking === peer || this.#ground.members.wanted(peer.peer) !== null;
  }

  /** Asks the witness for the next one. Only while nothing else is asked. */
  turn(now: Millis): void {
    const { desk, members } = this.#ground;
    if (this.#asking !== null || desk.busy || now < this.#notBefore) return;
    for (const peer of this.#ground.followed.values()) {
      const mode = members.wanted(peer.peer);
      if (mode === null || peer.flag !== 'false') continue;
      return this.#ask(peer, mode);
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

  #ask(peer: FollowedPeer, mode: Mode): void {
    const { options, desk, replica } = this.#ground;
    const revision = desk.view?.revision;
    if (revision === undefined) return;
    const { site } = peer;
    this.#asking = peer;
    options.journal('mode.begin', { site, mode }, `${site} is to be mirrored as ${mode} from now on: the witness is asked`);
    desk.ask({ kind: 'mode', site, mode, epoch: replica.epoch, revision }, (answer) => {
      if (this.#asking !== peer) return;
      this.#asking = null;
      this.#answered(peer, answer, revision);
      options.shell.wake();
    });
  }

  #answered(peer: FollowedPeer, answer: WitnessAnswer, revision: number): void {
    const { options, desk, members } = this.#ground;
    const { site } = peer;
    if (answer.outcome === 'done') {
      const now = modeIn(answer.view.copies, site);
      if (now === null) return;
      peer.peer.mode = now;
      // What was collected for it, or is due, is looked at anew.
      peer.sendDue = -Infinity;
      members.changed();
      options.journal('mode.done', { site, mode: now }, `${site} is ${now} from now on; the witness knows`);
      return;
    }
    if (answer.reason === 'revision' && desk.view?.revision !== revision) return;
    // It knows better: the flag is put to false first.
    if (answer.reason === 'flag-true') peer.flag = 'maybe';
    this.#notBefore = options.clock.now() + options.timings.witnessRetryMillis;
    options.journal('mode.refused', { site, reason: answer.reason }, `the witness refused: ${answer.text}`);
  }
}
