// The order for a planned change of the primary: who may take over, what would happen, and why not. It is decided at the primary; a mirror that
// is given the order passes it on, so that the operator may stand at either machine.

import type { WitnessDesk } from '../arbiter/ask.ts';
import { limits } from '../base/limits.ts';
import type { FollowedPeer } from '../mirror/followed.ts';
import { readOrder, readOrderAnswer, type PassedOrder, type PassedOutcome } from '../mirror/forms.ts';
import type { Link } from '../mirror/link.ts';
import { encodeJson, type Message } from '../mirror/messages.ts';
import type { Peer } from '../mirror/peer.ts';
import type { OrderOutcome, SiteOptions, SwitchoverOrder } from './contract.ts';
import { whyNotTo } from './handover.ts';
import type { Lead } from './lead.ts';

type Done = (outcome: OrderOutcome) => void;

/** What the order looks at. */
export interface SwitchoverGround {
  readonly options: SiteOptions;
  readonly desk: WitnessDesk;
  lead(): Lead | null;
  /** The primary that this site follows or could follow; null when it knows none. */
  primaryPeer(): Peer | null;
  /** Requests of hosts that were carried out and are not answered. */
  unanswered(): number;
  /** The reign was lost by the answer to a handover. */
  lost(why: string): void;
}

function refused(text: string, remedy: string): OrderOutcome {
  return { kind: 'refused', text, remedy };
}

/** Orders that were passed on to the primary, and those that were passed to this site. */
export class Switchovers {
  readonly #ground: SwitchoverGround;
  readonly #passed = new Map<number, { readonly link: Link; readonly done: Done }>();
  #number = 0;

  constructor(ground: SwitchoverGround) {
    this.#ground = ground;
  }

  order(order: SwitchoverOrder, done: Done): void {
    const { options } = this.#ground;
    const lead = this.#ground.lead();
    if (lead !== null) return this.#atPrimary(lead, order, done);
    const primary = this.#ground.primaryPeer();
    if (primary === null || primary.link === null) {
      return done(
        refused(
          `no primary of group ${options.group} can be reached from ${options.site}`,
          'start the primary, or see `tercet promote` for a site that is to serve without it',
        ),
      );
    }
    if (this.#passed.size >= limits.passedOrdersMax) return done(refused('too many orders are under way', 'order it again later'));
    this.#number++;
    this.#passed.set(this.#number, { link: primary.link, done });
    primary.link.send('order', encodeJson({ number: this.#number, to: order.to, dryRun: order.dryRun } satisfies PassedOrder));
  }

  /** 'order' and 'orderAnswer'. */
  message(link: Link, message: Message): void {
    if (message.name === 'order') {
      const order = readOrder(message.body);
      if (order === null) return link.refuse('an order is malformed');
      const answer = (outcome: OrderOutcome): void => {
        const remedy = outcome.kind === 'refused' ? outcome.remedy.slice(0, limits.orderTextCharsMax) : null;
        const text = outcome.text.slice(0, limits.orderTextCharsMax);
        link.send('orderAnswer', encodeJson({ number: order.number, done: remedy === null, text, remedy } satisfies PassedOutcome));
      };
      const lead = this.#ground.lead();
      if (lead !== null) return this.#atPrimary(lead, order, answer);
      return answer(refused(`${this.#ground.options.site} is not primary any more`, 'see `tercet status`, and order it again'));
    }
    const outcome = readOrderAnswer(message.body);
    if (outcome === null) return link.refuse('an answer to an order is malformed');
    const passed = this.#passed.get(outcome.number);
    if (passed?.link !== link) return;
    this.#passed.delete(outcome.number);
    passed.done(outcome.remedy === null ? { kind: 'done', text: outcome.text } : refused(outcome.text, outcome.remedy));
  }

  /** A connection ended, and with it the answers that were to come on it; null for all. */
  linkLost(link: Link | null): void {
    for (const [number, passed] of this.#passed) {
      if (link !== null && passed.link !== link) continue;
      this.#passed.delete(number);
      passed.done(refused('the connection to the primary ended before it answered', 'see `tercet status` for what became of it'));
    }
  }

  #atPrimary(lead: Lead, order: SwitchoverOrder, done: Done): void {
    const { options, desk } = this.#ground;
    if (order.to === options.site) return done({ kind: 'done', text: `${options.site} is primary already` });
    const named = order.to === null ? bestOf(lead, options) : (lead.followed.get(order.to) ?? order.to);
    if (typeof named === 'string') return done(refused(`site "${named}" is not a copy of group ${options.group}`, 'name one of its sites'));
    if (named === null)
      return done(
        refused(
          `no other site can take over now: ${whyNobody(lead)}`,
          'bring a sync copy in step first (`tercet status` shows how far it is); stopping the only copy in step would stop the service',
        ),
      );
    const wrong = whyNotTo(named) ?? whyNotNow(lead, desk, options);
    if (wrong !== null) return done(refused(wrong, 'wait until `tercet status` shows it in step and the witness reachable'));
    if (order.dryRun) return done({ kind: 'done', text: planText(lead, named, options) });
    lead.handOver(named, { unanswered: () => this.#ground.unanswered(), lost: (why) => this.#ground.lost(why) }, done);
    options.shell.wake();
  }
}

/** The first in the order of preference that could take over. */
function bestOf(lead: Lead, options: SiteOptions): FollowedPeer | null {
  for (const spec of options.sites) {
    const peer = lead.followed.get(spec.name);
    if (peer !== undefined && whyNotTo(peer) === null) return peer;
  }
  return null;
}

function whyNobody(lead: Lead): string {
  const reasons = [...lead.followed.values()].map((peer) => whyNotTo(peer)).filter((reason) => reason !== null);
  return reasons.length === 0 ? 'the group has no other site' : reasons.join('; ');
}

function whyNotNow(lead: Lead, desk: WitnessDesk, options: SiteOptions): string | null {
  if (lead.handover !== null) return `a handover to ${lead.handover.to} is under way`;
  if (desk.reachable !== true) return 'the witness does not answer, and nobody becomes primary without it';
  if (lead.wentWithout !== null) return `the witness has not heard yet that ${options.site} went on without ${lead.wentWithout}`;
  if (!lead.mayServe(options.clock.now())) return `${options.site} may not serve at this moment`;
  return null;
}

function planText(lead: Lead, peer: FollowedPeer, options: SiteOptions): string {
  const behind = lead.received - peer.received;
  return (
    `${peer.site} would become primary and ${options.site} would follow it. ${peer.site} is in step (${behind} records on their way), so nothing ` +
    `is lost and both copies stay synchronised. Hosts of ${options.site} would be held while it changes and then cut off, to connect to ${peer.site}.`
  );
}
