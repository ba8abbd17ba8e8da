// A planned change of the primary, the giver's half. The order of the steps is the whole point: take no new request, answer what was taken, stop
// serving (reads too), let the successor confirm the final position on its disk, and only then ask the witness. Until it has asked it may go
// back and serve on; from then on only an answer that names this site lets it serve again. Nothing of this is kept on disk, because nothing
// has to be: a process that starts never serves in an epoch that it had before (rule 1).

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { Millis, Seq, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { HandoverReady } from '../mirror/forms.ts';
import { encodeJson } from '../mirror/messages.ts';
import type { Replica } from '../replica/replica.ts';
import type { OrderOutcome, SiteOptions, Waiting } from './contract.ts';

/**
 * looking: the witness is asked for its state, and serving goes on. draining: no request is taken, those that were are answered. offered: nobody
 * is served; the successor is to confirm. asked: the witness decides.
 */
export type HandoverStage = 'looking' | 'draining' | 'offered' | 'asked';

/** What a handover needs of the reign that it ends. */
export interface Reign {
  readonly options: SiteOptions;
  readonly replica: Replica;
  readonly desk: WitnessDesk;
  /** Requests that were carried out and have no answer yet. */
  unanswered(): number;
  mayServe(now: Millis): boolean;
  flushUpTo(seq: Seq): void;
  /** The handover has ended and this site serves on. */
  resumed(): void;
  /** The witness's answer does not name this site, or tells of a state in which it may not serve. */
  lost(why: string): void;
}

export class Handover {
  readonly #reign: Reign;
  readonly #peer: FollowedPeer;
  readonly #done: (outcome: OrderOutcome) => void;
  readonly #beganAt: Millis;
  #stage: HandoverStage = 'looking';
  /** When the present stage is given up; the last one has no such moment. */
  #until: Millis;
  #stoppedAt: Millis = 0;
  #seq: Seq = 0;
  #over = false;
  /** The witness has refused, in an answer that tells of the past: a view asked for since then says whether this site may go on. */
  #refusedAt: Millis | null = null;

  constructor(reign: Reign, peer: FollowedPeer, done: (outcome: OrderOutcome) => void) {
    this.#reign = reign;
    this.#peer = peer;
    this.#done = done;
    const { clock, timings, journal } = reign.options;
    this.#beganAt = clock.now();
    this.#until = this.#beganAt + timings.peerTimeoutMillis;
    reign.desk.read();
    // So that little is left to be flushed once hosts are held.
    reign.flushUpTo(reign.replica.marks.received);
    journal('handover.begin', { to: peer.site, epoch: reign.replica.epoch }, `the reign is to be handed over to ${peer.site}`);
  }

  get to(): SiteName {
    return this.#peer.site;
  }

  get stage(): HandoverStage {
    return this.#stage;
  }

  /** No request of a host is carried out any more. */
  get takesNone(): boolean {
    return this.#stage !== 'looking';
  }

  /** Nobody is answered any more, reads neither. */
  get stopped(): boolean {
    return this.#stage === 'offered' || this.#stage === 'asked';
  }

  turn(now: Millis): void {
    if (this.#over) return;
    if (this.#stage === 'asked') return this.#resolve();
    const wrong = this.#wrong();
    if (wrong !== null) return this.#giveUp(wrong);
    if (now >= this.#until) return this.#giveUp(this.#lateText());
    if (this.#stage === 'looking') this.#look(now);
    if (this.#stage === 'draining') this.#drain(now);
  }

  deadline(): Millis {
    return this.#stage === 'asked' || this.#over ? Infinity : this.#until;
  }

  /** The successor's answer to the offer. Returns what is wrong with it. */
  ready(said: HandoverReady, now: Millis): string | null {
    const { replica, desk, options } = this.#reign;
    if (this.#over || this.#stage !== 'offered' || said.epoch !== replica.epoch || said.seq !== this.#seq) return null;
    if (said.refused !== null) {
      this.#giveUp(`${this.to} does not take it: ${said.refused}`);
      return null;
    }
    const wrong = this.#wrong();
    const revision = desk.view?.revision;
    if (wrong !== null || desk.busy || revision === undefined || replica.marks.received !== this.#seq) {
      this.#giveUp(wrong ?? 'another question to the witness is under way');
      return null;
    }
    this.#enter('asked', now, Infinity);
    const { epoch } = replica;
    desk.ask({ kind: 'handover', to: this.to, epoch, revision }, () => {
      if (this.#over) return;
      // One that was done has mostly ended this reign already, by the view that came with it. A refusal is final, but may be of a while ago.
      this.#refusedAt = options.clock.now();
      desk.read();
      options.shell.wake();
    });
    return null;
  }

  /** Serves on only when a view from after the refusal names this site. */
  #resolve(): void {
    const { desk, replica, options } = this.#reign;
    const { view } = desk;
    if (this.#refusedAt === null) return;
    if (view === null || desk.viewAt < this.#refusedAt) return desk.probe(options.timings.witnessRetryMillis);
    if (view.primary === options.site && view.epoch === replica.epoch) return this.#giveUp('the witness refused, its state had changed');
    this.#reign.lost(`the witness names ${view.primary ?? 'nobody'} as primary of epoch ${view.epoch}`);
  }

  /** The reign has ended. Tells the successor if that is how, and whoever ordered it in any case. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    const { desk, replica, options } = this.#reign;
    const { to } = this;
    const { said } = this.#peer.peer;
    const epoch = replica.epoch + 1;
    if (this.#stage === 'asked') desk.abandon();
    // The witness's answer tells it, or the successor itself, which may have heard first.
    const granted = desk.view?.epoch === epoch && desk.view.primary === to;
    const reigns = said?.role === 'primary' && said.epoch === epoch;
    if (this.#stage === 'asked' && (granted || reigns)) {
      this.#peer.peer.link?.send('handover', encodeJson({ step: 'granted', epoch: replica.epoch, seq: this.#seq, chain: replica.chain }));
      const heldMillis = Math.round(options.clock.now() - this.#stoppedAt);
      options.journal('handover.done', { to, epoch, heldMillis }, `${to} is the primary of epoch ${epoch}`);
      this.#done({ kind: 'done', text: `${to} is the primary of epoch ${epoch}; ${options.site} had stopped for ${heldMillis} ms` });
      return;
    }
    this.#done({
      kind: 'refused',
      text: `${options.site} is no longer primary, and what became of the handover to ${to} is not known here`,
      remedy: 'see `tercet status` at both sites: at most one of them serves',
    });
  }

  waiting(): Waiting {
    const next =
      this.#stage === 'asked'
        ? 'requests that are held fail, and it asks on until the answer is known: bring the witness back, or replace it'
        : `${this.to} becomes primary, or this site goes on as before`;
    return {
      what: this.#stage === 'looking' ? 'to hand over' : 'to answer hosts',
      cause: `the reign is being handed over to ${this.to} (${this.#stage})`,
      deadlineMillis: this.#stage === 'asked' ? this.#stoppedAt + this.#reign.options.timings.holdMillis : this.#until,
      next,
    };
  }

  #look(now: Millis): void {
    const { desk, replica, options } = this.#reign;
    const { view } = desk;
    if (view === null || desk.viewAt < this.#beganAt) return desk.probe(options.timings.witnessRetryMillis);
    const flags = [options.site, this.to].every((site) => view.copies.some((copy) => copy.site === site && copy.flag));
    if (view.primary !== options.site || view.epoch !== replica.epoch || !flags) return this.#giveUp('the witness knows another state');
    if (desk.busy) return;
    this.#stoppedAt = now;
    this.#enter('draining', now, now + options.timings.peerTimeoutMillis);
  }

  #drain(now: Millis): void {
    const { replica, options } = this.#reign;
    const { received, committed } = replica.marks;
    if (this.#reign.unanswered() > 0 || committed < received || this.#peer.received < received) return;
    if (!this.#reign.mayServe(now)) return;
    this.#seq = received;
    this.#enter('offered', now, now + options.timings.peerTimeoutMillis);
    this.#peer.peer.link?.send('handover', encodeJson({ step: 'offer', epoch: replica.epoch, seq: received, chain: replica.chain }));
  }

  #enter(stage: HandoverStage, now: Millis, until: Millis): void {
    this.#stage = stage;
    this.#until = until;
    this.#reign.options.journal('handover.stage', { to: this.to, stage, atMillis: Math.round(now - this.#beganAt) }, `handover: ${stage}`);
    this.#reign.options.shell.wake();
  }

  /** What speaks against going on, as long as the witness was not asked. */
  #wrong(): string | null {
    return whyNotTo(this.#peer);
  }

  #lateText(): string {
    if (this.#stage === 'looking') return 'the witness does not answer';
    if (this.#stage === 'draining') return 'requests that were taken could not be answered in time';
    return `${this.to} did not confirm the final position in time`;
  }

  #giveUp(why: string): void {
    const { options, replica } = this.#reign;
    this.#over = true;
    this.#peer.peer.link?.send('handover', encodeJson({ step: 'off', epoch: replica.epoch, seq: this.#seq, chain: replica.chain }));
    options.journal('handover.off', { to: this.to, why }, `the handover to ${this.to} is off, this site serves on: ${why}`);
    this.#reign.resumed();
    this.#done({ kind: 'refused', text: `${options.site} stays primary: ${why}`, remedy: 'see `tercet status`, and order it again' });
    options.shell.wake();
  }
}

/** Why a peer cannot take the reign over now; null when it can. */
export function whyNotTo(peer: FollowedPeer): string | null {
  const { site, peer: other } = peer;
  if (other.mode === 'async') return `${site} is async: it may lack writes that were acknowledged`;
  if (peer.paused) return `${site} is paused by order`;
  if (!other.connected) return `${site} is not connected`;
  if (peer.attached !== 'following')
    return peer.attached === 'copying' ? `${site} is still receiving a whole copy` : `${site} does not follow`;
  if (other.said?.consistent === false) return `the copy of ${site} is inconsistent`;
  if (other.said?.unclean === true) return `${site} is unclean after a power loss and has not caught up`;
  if (peer.flag !== 'true') return `${site} is not synchronised: its flag is not known true`;
  return null;
}
