// Mirrors that an administrator has paused: the primary sends them nothing until they are resumed. The list is in the primary's superblock, so that
// it outlasts a restart; it ends when another site becomes primary. A sync mirror is given up as if it were lost, but follows until the witness
// has its flag false: hosts are not held for a pause, and nothing is acknowledged without a copy that may claim.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessView } from '../arbiter/witness-state.ts';
import type { Journal } from '../base/ports.ts';
import type { Millis, SiteName } from '../base/units.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import type { Replica } from '../replica/replica.ts';
import type { OrderOutcome, PauseOrder, SiteOptions } from './contract.ts';
import type { Lead } from './lead.ts';

type Done = (outcome: OrderOutcome) => void;

/** An order that takes longer is answered, and carried out later: only the witness can keep it waiting. */
const ANSWER_MILLIS = 5000;

/** What the orders look at. */
export interface PauseGround {
  readonly options: SiteOptions;
  readonly desk: WitnessDesk;
  lead(): Lead | null;
  replica(): Replica | null;
}

/** An order whose mirror has not been let go yet. */
interface Pausing {
  readonly lead: Lead;
  readonly peer: FollowedPeer;
  readonly until: Millis;
  readonly done: Done;
}

/** Mirrors that are paused while this site is primary. */
export function pausedOf(replica: Replica): readonly SiteName[] {
  return replica.superblock.value.paused ?? [];
}

/** Those of them that the group still has as a reign begins: one that was removed meanwhile comes back, if it does, without its pause. */
export function keptPauses(replica: Replica, { copies }: Pick<WitnessView, 'copies'>, journal: Journal): readonly SiteName[] {
  const kept: SiteName[] = [];
  for (const name of pausedOf(replica)) {
    if (copies.some(({ site }) => site === name)) kept.push(name);
    else noteRemoved(name, journal);
  }
  if (kept.length < pausedOf(replica).length) replica.superblock.update({ paused: kept }, () => undefined);
  return kept;
}

/** One that was paused is no copy any more. */
export function pauseRemoved(replica: Replica, site: SiteName, journal: Journal): void {
  const paused = pausedOf(replica);
  if (!paused.includes(site)) return;
  noteRemoved(site, journal);
  replica.superblock.update({ paused: paused.filter((name) => name !== site) }, () => undefined);
}

function noteRemoved(site: SiteName, journal: Journal): void {
  journal('pause.end', { site, why: 'it was removed' }, `the pause of ${site} has ended: it is no copy of the group any more`);
}

export class Pauses {
  readonly #ground: PauseGround;
  #waiting: Pausing[] = [];

  constructor(ground: PauseGround) {
    this.#ground = ground;
  }

  pause({ site, force }: PauseOrder, done: Done): void {
    const found = this.#find(site);
    if ('kind' in found) return done(found);
    const { lead, replica, peer } = found;
    const { options } = this.#ground;
    const unsafe = this.#whyNot(lead, peer) ?? (force ? null : whyForce(lead, peer, options.site));
    if (unsafe !== null) return done(unsafe);
    peer.paused = true;
    options.journal('pause.begin', { site, force }, `${site} is to be paused, by order`);
    options.shell.wake();
    const named = [...new Set([...pausedOf(replica), site])];
    replica.superblock.update({ paused: named }, (failure) => {
      if (failure !== null) return done(refused(`the disk of ${options.site} failed while it was noted`, 'see its status'));
      this.#waiting.push({ lead, peer, until: options.clock.now() + ANSWER_MILLIS, done });
      options.shell.wake();
    });
  }

  resume(site: SiteName, done: Done): void {
    const found = this.#find(site);
    if ('kind' in found) return done(found);
    const { replica, peer } = found;
    if (!peer.paused) return done({ kind: 'done', text: `${site} is not paused` });
    const { options } = this.#ground;
    peer.paused = false;
    // What it asked with is as old as the pause: it asks anew.
    if (peer.attached === 'no') peer.peer.link?.refuse('this copy is not paused any more: join anew');
    options.journal('pause.end', { site, why: 'by order' }, `${site} is not paused any more: it is brought up to date`);
    options.shell.wake();
    replica.superblock.update({ paused: pausedOf(replica).filter((name) => name !== site) }, (failure) => {
      if (failure !== null) return done(refused(`the disk of ${options.site} failed while it was noted`, 'see its status'));
      done({ kind: 'done', text: `${site} is brought up to date, and follows again; \`tercet status\` shows how far it is` });
    });
  }

  /** Answers the orders whose mirrors were let go. */
  turn(now: Millis): void {
    if (this.#waiting.length === 0) return;
    const { options } = this.#ground;
    const waiting: Pausing[] = [];
    for (const pausing of this.#waiting) {
      const { lead, peer, until, done } = pausing;
      const { site } = peer;
      if (lead !== this.#ground.lead()) done(refused(`${options.site} is not primary any more`, 'see `tercet status`'));
      else if (lead.followed.get(site) !== peer) done(refused(`${site} is no copy of the group any more`, 'see `tercet status`'));
      else if (!peer.paused) done(refused(`${site} was resumed meanwhile`, 'order it again'));
      else if (!peer.required && peer.attached === 'no') {
        options.journal('pause.done', { site }, `${site} is paused: it is sent nothing until it is resumed`);
        done({ kind: 'done', text: `${site} is paused; \`tercet resume ${options.group} --site ${site}\` ends that` });
      } else if (now >= until) {
        const text = `${site} will be paused as soon as the witness has its flag false, which it has not answered yet; until then ${site} follows`;
        done({ kind: 'done', text });
      } else waiting.push(pausing);
    }
    this.#waiting = waiting;
  }

  deadline(): Millis {
    return this.#waiting.reduce((earliest, { until }) => Math.min(earliest, until), Infinity);
  }

  /** This site follows another primary: what it had paused is that one's to decide. */
  followed(replica: Replica): void {
    const paused = pausedOf(replica);
    if (paused.length === 0) return;
    for (const site of paused)
      this.#ground.options.journal(
        'pause.end',
        { site, why: 'another primary' },
        `the pause of ${site} has ended: another site is primary`,
      );
    replica.superblock.update({ paused: [] }, () => undefined);
  }

  #find(site: SiteName): { lead: Lead; replica: Replica; peer: FollowedPeer } | OrderOutcome {
    const { options } = this.#ground;
    const lead = this.#ground.lead();
    const replica = this.#ground.replica();
    if (lead === null || replica === null)
      return refused(`${options.site} is not primary of group ${options.group}`, 'order it at the primary: `tercet status` names it');
    if (site === options.site) return refused(`${site} is primary, and no mirror`, 'name a mirror');
    const peer = lead.followed.get(site);
    if (peer?.entered !== true) return refused(`site "${site}" is not a copy of group ${options.group}`, 'name one of its sites');
    return { lead, replica, peer };
  }

  /** What forbids it, with force too. */
  #whyNot(lead: Lead, peer: FollowedPeer): OrderOutcome | null {
    if (lead.handover !== null) return refused(`a handover to ${lead.handover.to} is under way`, 'order it again when it has ended');
    if (peer.required && this.#ground.desk.reachable !== true)
      return refused(
        `the witness does not answer, and hosts cannot go on without ${peer.site} before it has the flag of ${peer.site} false`,
        'bring the witness back',
      );
    return null;
  }
}

/** Why it takes force: what is acknowledged afterwards would be at one site alone, or nowhere else soon. */
function whyForce(lead: Lead, peer: FollowedPeer, own: SiteName): OrderOutcome | null {
  const others = [...lead.followed.values()].filter((other) => other !== peer && !other.paused && other.attached === 'following');
  if (peer.required && !others.some((other) => other.peer.mode === 'sync' && other.flag === 'true'))
    return refused(
      `without ${peer.site}, hosts would be answered by the disk of ${own} alone, and nobody could take over from it`,
      'bring another sync copy in step first, or add --force',
    );
  if (peer.attached !== 'no' && others.length === 0)
    return refused(`${peer.site} is the only mirror that follows`, 'bring another copy back first, or add --force');
  return null;
}

function refused(text: string, remedy: string): OrderOutcome {
  return { kind: 'refused', text, remedy };
}
