// What this site has decided about who serves, and why: each claim, exclusion, admission, handover, forced step and refusal, with the rule that was
// applied and what was known at that moment. It listens to the journal, so nothing can be decided and logged in one place and missed in the
// other; the shell keeps the entries on disk. Nothing in the core reads them.

import type { WallMillis, Epoch, Millis, Seq, SiteName } from '../base/units.ts';
import { limits } from '../base/limits.ts';
import type { Journal } from '../base/ports.ts';
import type { OrderOutcome, SiteOptions } from './contract.ts';
import type { Inspected } from './status.ts';

/** What was known when something was decided. */
export interface DecisionInputs {
  readonly role: string;
  readonly epoch: Epoch;
  readonly received: Seq | null;
  readonly durable: Seq | null;
  readonly committed: Seq | null;
  readonly consistent: boolean;
  readonly unclean: boolean;
  /** Milliseconds for which this site has still promised not to claim. */
  readonly promiseMillis: Millis;
  /** The newest answer of the witness; null when it has none. */
  readonly witness: null | {
    readonly revision: number;
    readonly epoch: Epoch;
    readonly primary: SiteName | null;
    readonly flags: Readonly<Record<SiteName, boolean>>;
    readonly ageMillis: Millis;
  };
  readonly peers: readonly {
    readonly site: SiteName;
    readonly connected: boolean;
    /** What this primary takes its flag for; null when this site is not primary. */
    readonly flag: string | null;
    readonly received: Seq | null;
    readonly leaseMillis: Millis | null;
  }[];
}

/** One decision. */
export interface Decision {
  readonly atMillis: WallMillis;
  readonly event: string;
  /** The rule of the SPEC that was applied. */
  readonly rule: string;
  readonly text: string;
  readonly inputs: DecisionInputs;
}

/** Different reasons that are noted for one wait. */
const REASONS_MAX = 16;

/** Events of the journal that are decisions, and the rule behind each. */
const RULES: Readonly<Record<string, string>> = {
  'claim.begin': '5 claim',
  'claim.granted': '5 claim',
  'claim.refused': '5 claim',
  'claim.wait': '2, 5 and 6: what a claim needs',
  'exclude.begin': '4 exclude',
  'exclude.done': '4 exclude',
  'exclude.refused': '4 exclude',
  'admit.begin': '8 admit',
  'admit.done': '8 admit',
  'admit.refused': '8 admit',
  'handover.begin': 'handover',
  'handover.stage': 'handover',
  'handover.off': 'handover',
  'handover.done': 'handover',
  'handover.taken': 'handover',
  'pause.begin': '4 exclude, by order',
  'pause.done': '4 exclude, by order',
  'pause.end': '8 admit, by order',
  'order.refused': 'orders are carried out or refused, never half done',
  force: '11 force',
  'resign.done': 'a failed copy takes its own flag back',
  'mirror.committed-cut': '7 join',
  'witness.foreign': 'another witness is not believed',
  'witness.empty': 'a witness that has forgotten is not believed',
  'witness.rolled-back': 'a witness that tells an older state is not believed',
  'witness.unseeded': 'a witness without a past grants nothing',
  'witness.refuses': 'a witness takes no report of a copy that knows more',
  'witness.move': 'a witness is replaced by order',
  'witness.moved': 'a witness is replaced by order',
  'reign.end': '1 one primary',
};

/** The options of a site, with a journal that tells the shell which of its lines are decisions. */
export function withDecisions(options: SiteOptions, look: () => Inspected): SiteOptions {
  const { clock, shell } = options;
  const journal: Journal = (event, facts, text) => {
    options.journal(event, facts, text);
    const rule = RULES[event];
    if (rule === undefined) return;
    shell.decided({ atMillis: clock.wall(), event, rule, text: text.slice(0, limits.orderTextCharsMax), inputs: inputsOf(look()) });
  };
  return { ...options, journal };
}

/** An order whose refusal is a decision too. */
export function notedOrder(options: SiteOptions, what: string, done: (outcome: OrderOutcome) => void): (outcome: OrderOutcome) => void {
  return (outcome) => {
    if (outcome.kind === 'refused') options.journal('order.refused', { what }, `an order was refused (${what}): ${outcome.text}`);
    done(outcome);
  };
}

/** Reasons that were noted since something began: one that comes and goes is noted once. */
export class NotedOnce {
  readonly #noted = new Set<string>();

  note(reason: string, write: (reason: string) => void): void {
    if (this.#noted.has(reason) || this.#noted.size >= REASONS_MAX) return;
    this.#noted.add(reason);
    write(reason);
  }

  clear(): void {
    this.#noted.clear();
  }
}

/** What a site knows now, as a decision notes it. */
function inputsOf(inside: Inspected): DecisionInputs {
  const { replica, desk, role, lead, peers, options, promisedUntil } = inside;
  const now = options.clock.now();
  const { view } = desk;
  return {
    role,
    epoch: replica?.epoch ?? 0,
    received: replica?.marks.received ?? null,
    durable: replica?.marks.durable ?? null,
    committed: replica?.marks.committed ?? null,
    consistent: replica?.consistent ?? false,
    unclean: replica?.unclean ?? false,
    promiseMillis: Math.max(0, Math.round(promisedUntil - now)),
    witness:
      view === null
        ? null
        : {
            revision: view.revision,
            epoch: view.epoch,
            primary: view.primary,
            flags: Object.fromEntries(view.copies.map((copy) => [copy.site, copy.flag])),
            ageMillis: Math.round(now - desk.viewAt),
          },
    peers: [...peers.values()].map((peer) => {
      const followed = lead?.followed.get(peer.name);
      const lease = followed?.lease.until ?? -Infinity;
      return {
        site: peer.name,
        connected: peer.connected,
        flag: followed?.flag ?? null,
        received: followed?.streaming === true ? followed.received : null,
        leaseMillis: lease === -Infinity ? null : Math.max(0, Math.round(lease - now)),
      };
    }),
  };
}
