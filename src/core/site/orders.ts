// What an administrator may order of a site: making the first copy of a group, and becoming primary by hand. An order is carried out or refused
// with its reason and the way out, never half done.

import { assert } from '../base/assert.ts';
import type { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessView } from '../arbiter/witness-state.ts';
import type { SiteName } from '../base/units.ts';
import type { Follower } from '../mirror/follow.ts';
import type { ScanChoice } from '../mirror/forms.ts';
import type { Peer } from '../mirror/peer.ts';
import { createReplica } from '../replica/open.ts';
import type { ReplicaOptions } from '../replica/options.ts';
import type { Replica } from '../replica/replica.ts';
import type { OrderOutcome, Role, SiteOptions, Waiting } from './contract.ts';
import type { Lead } from './lead.ts';
import { modeIn, type Members } from './members.ts';

/** What orders work on: the site, seen through the few things they need. */
export interface OrderGround {
  readonly options: SiteOptions;
  readonly desk: WitnessDesk;
  readonly members: Members;
  /** Who may be serving alone by an agreement. */
  leftTo(): SiteName | null;
  role(): Role;
  replica(): Replica | null;
  primaryPeer(): Peer | null;
  claimWaits(): Waiting | null;
  /** Until when this site has promised not to claim, by its own clock. */
  promisedUntil(): number;
  /** Calls back once, at the next change of role. */
  onRoleChange(watcher: () => void): void;
  replicaOptions(groupId: string): ReplicaOptions;
  open(): void;
  forced(view: WitnessView): void;
}

type Done = (outcome: OrderOutcome) => void;

function refused(text: string, remedy: string): OrderOutcome {
  return { kind: 'refused', text, remedy };
}

/** Orders to create, one after the other. Whether the group is new only the witness knows, so they wait for its first answer. */
export class Creations {
  readonly #waiting: Done[] = [];
  #underWay = false;

  order(done: Done): void {
    this.#waiting.push(done);
  }

  turn(desk: WitnessDesk, ground: () => OrderGround): void {
    if (this.#underWay || (desk.view === null && !desk.unknownGroup)) return;
    const done = this.#waiting.shift();
    if (done === undefined) return;
    this.#underWay = true;
    orderCreate(ground(), (outcome) => {
      this.#underWay = false;
      done(outcome);
    });
  }
}

/**
 * First copy: the replica here, then the group at the witness. Interrupted between the two it can be ordered again: the copy that is here and
 * has never been in an epoch is taken. A witness that does not answer yet is asked until it does.
 */
function orderCreate(ground: OrderGround, done: Done): void {
  const { options, desk } = ground;
  if (modeIn(ground.members.wish, options.site) === 'async')
    return done(refused(`site ${options.site} is async for this group`, 'create the group at one of its sync sites'));
  const replica = ground.replica();
  if (replica !== null) {
    if (replica.epoch > 0 || !replica.consistent)
      return done(refused(`group ${options.group} has a copy here already`, 'nothing is to be done'));
    return registerGroup(ground, replica.superblock.value.groupId, done);
  }
  if (ground.role() !== 'absent') return done(refused(`site ${options.site} is ${ground.role()}`, 'try again when it has started'));
  assert(desk.view !== null || desk.unknownGroup, 'a group is made only once the witness has said that it knows none', {});
  if (desk.view !== null) return done(refused(`the witness knows group ${options.group} already`, 'its primary fills this site by itself'));
  const groupId = options.random.id();
  createReplica(ground.replicaOptions(groupId), { consistent: true }, (failure) => {
    if (failure !== null)
      return done(
        refused(
          `the replica could not be made: ${'code' in failure ? failure.code : failure.why}`,
          'mend the disk or the path, and order it again',
        ),
      );
    ground.onRoleChange(() => registerGroup(ground, groupId, done));
    ground.open();
  });
}

function registerGroup(ground: OrderGround, groupId: string, done: Done): void {
  const { options, desk } = ground;
  if (ground.role() === 'failed') return done(refused('the copy here has failed', 'see its status'));
  if (desk.busy) return done(refused('another question to the witness is under way', 'order it again'));
  desk.ask({ kind: 'create', groupId, copies: ground.members.wish, first: options.site }, (answer) => {
    if (answer.outcome === 'done') {
      desk.read();
      done({ kind: 'done', text: `group ${options.group} is made; ${options.site} holds its first copy and becomes primary` });
    } else {
      done(refused(`the witness refused: ${answer.text}`, 'give the group another name, or remove the old one'));
    }
    options.shell.wake();
  });
}

/** Becomes primary where the rules allow it now; with force, also where acknowledged writes may be lost by it. */
export function orderPromote(ground: OrderGround, order: { force: boolean }, done: Done): void {
  const { options, desk } = ground;
  const role = ground.role();
  if (role === 'primary') return done({ kind: 'done', text: `${options.site} is primary already` });
  const replica = ground.replica();
  if (replica === null || (role !== 'standby' && role !== 'mirror' && role !== 'joining')) {
    return done(refused(`${options.site} is ${role}`, 'only a site that holds a copy can be promoted'));
  }
  const primary = ground.primaryPeer();
  if (primary !== null)
    return done(
      refused(
        `${primary.name} is primary and reachable`,
        `\`tercet switchover ${options.group} --to ${options.site}\` hands the reign over without a loss`,
      ),
    );
  const { view } = desk;
  if (view === null || desk.reachable !== true)
    return done(refused('the witness does not answer, and nobody becomes primary without it', 'bring the witness back'));
  if (view.groupId !== replica.superblock.value.groupId)
    return done(refused('the witness knows another group of this name', 'give this site the right data folder'));
  const older = olderSeq(replica);
  if (replica.changing || (!replica.consistent && older === null))
    return done(refused('this copy is inconsistent', 'it has to be filled by a primary; there is nothing here that could be served'));
  if (older !== null && !order.force) {
    const remedy = `wait for the primary, or add --force and go back to the volume as of record ${older}`;
    return done(refused('this copy is in the middle of a resync', remedy));
  }
  const mode = ground.members.ownMode;
  const waits = mode === 'sync' ? ground.claimWaits() : null;
  if (mode === 'sync' && waits === null) {
    watchPromotion(ground, done);
    options.shell.wake();
    return;
  }
  if (!order.force)
    return done(refused(waits?.cause ?? lossText(ground, view, replica), 'wait for it, or add --force and lose what only the others hold'));
  force(ground, view, replica, done);
}

/** The record whose volume a resync that is under way would leave behind, if it were given up; null when there is none. */
function olderSeq(replica: Replica): number | null {
  return replica.receiver.older?.seq ?? null;
}

/** The scan that was ordered at a site that follows: its next join asks for it. */
export interface WantedScan {
  choice: ScanChoice | null;
}

/** Has a copy compared with the primary's: a peer's, ordered at the primary, or the own one, ordered at a site that follows. */
export function orderResync(
  ground: {
    readonly role: Role;
    readonly lead: Lead | null;
    /** What this site follows, when it is its own copy that is compared: the next join asks for it. */
    readonly follower: Follower | null;
    readonly wanted: WantedScan;
    readonly own: SiteName;
    readonly scans: boolean;
  },
  site: SiteName,
  choice: ScanChoice,
): OrderOutcome {
  const { role, lead, own, scans, follower } = ground;
  if (!scans)
    return refused('this copy was opened without comparing by digests', 'give it a whole copy: replace its folder and start it again');
  if (site === own && follower !== null) {
    const primary = follower.link.peer;
    ground.wanted.choice = choice;
    follower.link.refuse('this copy is to be compared: it joins anew');
    return { kind: 'done', text: `${site} joins anew, and is compared with ${primary} block by block` };
  }
  if (role !== 'primary' || lead === null)
    return refused(
      `${own} is ${role}, and knows no other copy`,
      `order it at the primary, or at ${site === own ? 'a site that follows' : site}`,
    );
  if (site === own) return refused(`${own} is primary: the others are compared with it`, 'name a mirror');
  if (!lead.rescan(site, choice)) return refused(`${site} is no mirror of this group`, 'see the status for the sites that there are');
  return { kind: 'done', text: `${site} joins anew, and is compared with ${own} block by block` };
}

/** Destages everything that is committed now. */
export function orderDrain(ground: OrderGround, done: Done): void {
  const replica = ground.replica();
  const role = ground.role();
  if (replica === null || role === 'failed')
    return done(refused(`${ground.options.site} is ${role}`, 'only a site that holds a copy can be drained'));
  if (!replica.consistent) return done(refused('this copy is inconsistent', 'wait until its whole copy has ended'));
  replica.drain((failure) => {
    if (failure === null)
      done({ kind: 'done', text: `the base image of ${ground.options.site} holds everything up to record ${replica.marks.destaged}` });
    else done(refused('the disk failed while draining', 'see its status'));
    ground.options.shell.wake();
  });
}

/** What may be lost by serving from here: exactly known only while the others can be asked, so this is the last known bound, marked so. */
function lossText(ground: OrderGround, view: WitnessView, replica: Replica): string {
  const others = view.copies
    .filter((copy) => copy.site !== ground.options.site && copy.mode === 'sync' && copy.flag)
    .map((copy) => copy.site);
  const older = olderSeq(replica);
  const received = older ?? replica.marks.received;
  const committed = Math.min(received, replica.marks.committed);
  const whose = others.length === 0 ? 'no other copy' : others.join(' and ');
  const still =
    view.primary === null || view.primary === ground.options.site
      ? ''
      : `; ${view.primary}, if it runs cut off from here and from the witness, may go on serving its hosts`;
  const left = ground.leftTo();
  const alone = left === null ? '' : `; ${left} had the right to go on alone: what it has taken since is not known here`;
  return `records after ${received} that ${whose} may hold would be lost (last known bound: committed here up to ${committed})${alone}${still}`;
}

function force(ground: OrderGround, view: WitnessView, replica: Replica, done: Done): void {
  const { options, desk } = ground;
  if (desk.busy) return done(refused('another question to the witness is under way', 'order it again'));
  // Force overrides what may be lost, never who may be serving at this moment: a promise that was given is waited out.
  const promisedMillis = Math.ceil(ground.promisedUntil() - options.clock.now());
  if (promisedMillis > 0) {
    return done(
      refused(
        `this site has promised not to claim for another ${promisedMillis} ms, so ${view.primary ?? 'the primary'} may still be serving`,
        'order it again then',
      ),
    );
  }
  const freeBytes = options.storage.freeBytes();
  if (replica.inMemory && freeBytes !== null && freeBytes < replica.heldBytes) {
    const text = `${options.site} keeps its sidefile in memory, and its disk has no room for those ${replica.heldBytes} bytes`;
    return done(refused(text, 'make room on its disk, and order it again: what is in memory alone is lost with the process'));
  }
  const text = lossText(ground, view, replica);
  options.journal('force', { epoch: view.epoch, received: olderSeq(replica) ?? replica.marks.received }, `promotion by force: ${text}`);
  const epoch = Math.max(view.epoch, replica.epoch);
  desk.ask({ kind: 'force', site: options.site, epoch, revision: view.revision }, (answer) => {
    if (answer.outcome !== 'done') return done(refused(`the witness refused: ${answer.text}`, 'look at the status and order it again'));
    if (ground.role() !== 'standby' || replica.changing || (!replica.consistent && olderSeq(replica) === null))
      return done(refused(`${options.site} is ${ground.role()} by now`, 'look at the status'));
    watchPromotion(ground, done);
    ground.forced(answer.view);
  });
}

/** Reports once the site is primary, or is back where it was. */
function watchPromotion(ground: OrderGround, done: Done): void {
  const { options } = ground;
  const look = (): void => {
    const role = ground.role();
    if (role === 'primary') done({ kind: 'done', text: `${options.site} is primary of epoch ${ground.replica()?.epoch ?? 0}` });
    else if (role === 'claiming') ground.onRoleChange(look);
    else done(refused(`the claim was not granted: ${options.site} is ${role}`, 'look at the status'));
  };
  ground.onRoleChange(look);
}
