// A planned change of the primary, the taker's half. It needs two things and they come from two places: the old primary's final position, which
// it holds on its disk when it confirms it, and the witness's answer. It knows of an offer only as long as this process lives and has followed
// nobody else: after a restart it is a site like any other, and claims, or follows.

import type { WitnessDesk } from '../arbiter/ask.ts';
import type { WitnessView } from '../arbiter/witness-state.ts';
import type { Millis } from '../base/units.ts';
import { readHandover, type HandoverMessage, type HandoverReady } from '../mirror/forms.ts';
import type { Link } from '../mirror/link.ts';
import { encodeJson } from '../mirror/messages.ts';
import type { Replica } from '../replica/replica.ts';
import type { Agreements } from './agreement.ts';
import type { SiteOptions } from './contract.ts';

/** Pause between two looks at the witness once the old primary has said that it has granted the reign. */
const TOLD_PROBE_MILLIS: Millis = 20;

/** A reign that was offered: what the old primary held last. */
interface Offer {
  readonly link: Link;
  readonly epoch: number;
  readonly seq: number;
  readonly chain: number;
  confirmed: boolean;
}

export class Successor {
  readonly #options: SiteOptions;
  readonly #desk: WitnessDesk;
  readonly #agreements: Pick<Agreements, 'leftTo'>;
  #offer: Offer | null = null;
  /** The old primary says that the witness has granted it: a view that tells so is near. */
  #told = false;

  constructor(options: SiteOptions, desk: WitnessDesk, agreements: Pick<Agreements, 'leftTo'>) {
    this.#options = options;
    this.#agreements = agreements;
    this.#desk = desk;
  }

  /** It has confirmed an offer, and what became of it is not known here. */
  get waits(): boolean {
    return this.#offer?.confirmed === true;
  }

  /** A message about a handover, from the primary that is followed. */
  message(link: Link, replica: Replica, body: Uint8Array): void {
    const message = readHandover(body);
    if (message === null) return link.refuse('a handover message is malformed');
    if (message.step === 'granted') {
      this.#told = this.#offer !== null;
      this.#desk.read();
      return;
    }
    this.forget();
    if (message.step === 'off') return;
    const refused = this.#whyNot(replica, message);
    if (refused !== null) return this.#answer(link, message, refused);
    this.#offer = { link, epoch: message.epoch, seq: message.seq, chain: message.chain, confirmed: false };
    this.turn(replica);
  }

  /** Confirms an offer once everything is on the own disk; asks the witness for what became of it. */
  turn(replica: Replica): void {
    const offer = this.#offer;
    if (offer === null) return;
    if (!this.#holds(replica, offer)) return this.forget();
    if (!offer.confirmed) {
      if (replica.marks.durable < offer.seq) return replica.flush();
      offer.confirmed = true;
      this.#answer(offer.link, offer, null);
    } else this.#desk.probe(this.#probeMillis());
  }

  deadline(): Millis {
    return this.#offer?.confirmed === true ? this.#desk.probeDeadline(this.#probeMillis()) : Infinity;
  }

  #probeMillis(): Millis {
    return this.#told ? TOLD_PROBE_MILLIS : this.#options.timings.witnessRetryMillis;
  }

  /** Whether a view of the witness makes this site primary by the handover that it has confirmed. */
  takesOver(replica: Replica, view: WitnessView): boolean {
    const offer = this.#offer;
    if (offer?.confirmed !== true || this.#agreements.leftTo !== null || !this.#holds(replica, offer)) return false;
    const own = view.copies.find((copy) => copy.site === this.#options.site);
    const sameGroup = view.groupId === replica.superblock.value.groupId;
    return sameGroup && own?.flag === true && view.primary === this.#options.site && view.epoch === offer.epoch + 1;
  }

  /** The site follows somebody anew, or reigns, or has stopped: what was offered is void here. */
  forget(): void {
    this.#offer = null;
    this.#told = false;
  }

  #holds(replica: Replica, offer: Offer): boolean {
    if (replica.failure !== null || replica.changing || !replica.consistent || replica.unclean) return false;
    return replica.epoch === offer.epoch && replica.marks.received === offer.seq && replica.chain === offer.chain;
  }

  #whyNot(replica: Replica, message: HandoverMessage): string | null {
    if (replica.unclean || !replica.consistent) return 'its copy is not clean';
    if (this.#agreements.leftTo !== null) return 'it has not heard yet that what was agreed while the witness was lost is over';
    if (replica.epoch !== message.epoch) return `it is in epoch ${replica.epoch}`;
    if (replica.marks.received !== message.seq) return `it holds records up to ${replica.marks.received}, not ${message.seq}`;
    return replica.chain === message.chain ? null : 'its records are not the same';
  }

  #answer(link: Link, about: { epoch: number; seq: number }, refused: string | null): void {
    link.send('handoverReady', encodeJson({ epoch: about.epoch, seq: about.seq, refused } satisfies HandoverReady));
  }
}
