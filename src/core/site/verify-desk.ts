// A site's part in verifies: as primary it makes them, by order and by schedule, at a pace that hosts do not feel; as mirror it answers about its
// own copy. A run that was cut off goes on at its cursor when this site leads again.

import { limits } from '../base/limits.ts';
import type { BlockDigests } from '../base/ports.ts';
import { type Millis, type SiteName, type WallMillis } from '../base/units.ts';
import type { Link } from '../mirror/link.ts';
import { decodeJson, encodeJson, type Message } from '../mirror/messages.ts';
import { pump } from '../mirror/send.ts';
import type { DigestedBase } from '../replica/digested-base.ts';
import type { Replica } from '../replica/replica.ts';
import { encodeRecordAnswer, encodeRecordAsk, examineRecords, readRecordAnswer, readRecordAsk, type RecordAsk } from '../scan/records.ts';
import { type Ask, encodeAnswer, encodeAsk, encodeEqual, examine, type Examined, readAnswer, readAsk, readEqual } from '../scan/examine.ts';
import { Learner } from '../scan/learn.ts';
import { type VerifyCursor, Verifier, type VerifyGround, type VerifyOrder } from '../scan/verify.ts';
import type { OrderOutcome, SiteOptions, VerifyStatus } from './contract.ts';
import type { Lead } from './lead.ts';
import { Pace } from './pace.ts';
import { isDue, isWithin, shareOfDay } from './scrub-schedule.ts';
import { type VerifyMemory, VerifyStore } from './verify-store.ts';

/** How often the cursor is made durable at most. */
const REMEMBER_MILLIS = 2_000;
/** Begun in one turn at most while nobody is there. */
const TURN_BYTES_IDLE = 4 * 1024 * 1024;
/** A scrub beside hosts is fast enough to end in this share of the time after which the next is due. */
const DUE_SHARE = 0.8;
/** A run that can not go on looks again after this, if nothing wakes it before. */
const WAIT_MILLIS = 20;
/** Questions that wait until the records before them are here. */
const HELD_MAX = 64;

/** A verify under way. */
interface Run {
  readonly verifier: Verifier;
  readonly lead: Lead;
  readonly began: WallMillis;
  /** By schedule: it keeps to its times of the day. */
  scheduled: boolean;
  /** How long it has worked in this life, what lies outside of its times of the day left out; and up to when that was counted. */
  workedMillis: Millis;
  countedAt: Millis;
  resting: boolean;
  /** What it could not compare before it went on here. */
  readonly unverifiedBefore: number;
}

/** The verifies of one group at one site. */
export class VerifyDesk {
  readonly pace: Pace = new Pace();
  readonly #options: SiteOptions;
  readonly #lead: () => Lead | null;
  readonly #store: VerifyStore;
  #examined: (Examined & { readonly replica: Replica }) | null = null;
  #run: Run | null = null;
  /** The last run that has ended here in this life. */
  #last: Verifier | null = null;
  #held: { readonly link: Link; readonly ask: Ask }[] = [];
  #rememberedAt: Millis = -Infinity;
  #numbers = 0;
  /** Blocks whose digests were learnt in this life. */
  #learnt = 0;

  constructor(options: SiteOptions, lead: () => Lead | null) {
    this.#options = options;
    this.#lead = lead;
    this.#store = new VerifyStore(options.storage, options.digests);
  }

  /** The copy of this site is open. */
  opened(opened: { readonly replica: Replica; readonly bases: readonly DigestedBase[] }): void {
    const digests: BlockDigests = this.#options.blockDigests;
    this.#examined = { replica: opened.replica, bases: opened.bases, digests, learner: new Learner() };
    this.#store.open();
    if (this.#store.value.lastEnded === null && this.#store.value.lastBegan === null) {
      // A schedule counts from when the copy was first there.
      this.#store.set({ ...this.#store.value, lastEnded: Math.floor(this.#options.clock.wall()) });
    }
  }

  /** The copy is of no use any more, or the site ends. */
  closed(): void {
    this.#run = null;
    this.#held = [];
    this.#examined?.learner.clear();
    if (this.#examined !== null) this.#store.close();
    this.#examined = null;
  }

  /** Begins a verify, or goes on with the one that is under way; one that only reports gives way to one that mends. */
  begin(order: VerifyOrder): OrderOutcome {
    const lead = this.#lead();
    const { site } = this.#options;
    if (lead === null || this.#examined === null) {
      return { kind: 'refused', text: `${site} is not the primary`, remedy: 'order it at the primary, which compares the copies' };
    }
    const run = this.#run;
    if (run !== null && (order.reportOnly || !run.verifier.order.reportOnly)) {
      if (!run.scheduled) return { kind: 'done', text: 'a verify is under way already' };
      if (run.resting && order.reportOnly && !run.verifier.order.reportOnly)
        return {
          kind: 'refused',
          text: 'a scrub that mends rests until its time of the day',
          remedy: 'give it up first: `tercet verify --cancel`',
        };
      // Somebody waits for it now: it need not wait for its times of the day.
      run.scheduled = false;
      this.#remember(this.#options.clock.now());
      return { kind: 'done', text: 'a scrub is under way already, and goes on whatever its window' };
    }
    if (lead.onlyCopy) return { kind: 'refused', text: 'the group has one copy', remedy: 'there is nothing to compare it with' };
    this.#start(lead, { order, cursor: { volume: 0, offset: 0 }, began: Math.floor(this.#options.clock.wall()) });
    return { kind: 'done', text: 'the verify has begun' };
  }

  /** Gives the verify up; a scheduled one begins again when the next is due. */
  cancel(): OrderOutcome {
    if (this.#run === null) return { kind: 'refused', text: 'no verify is under way', remedy: 'nothing is to be done' };
    this.#last = this.#run.verifier;
    this.#run = null;
    const { clock, scrub } = this.#options;
    const wall = Math.floor(clock.wall());
    // Only one that is due now would begin again at once, and waits for the next time.
    const isDueNow = scrub !== undefined && isDue({ ...scrub, window: null }, this.#store.value, wall);
    this.#store.set({ ...this.#store.value, run: null, ...(isDueNow && { givenUp: wall }) });
    return { kind: 'done', text: 'the verify was given up' };
  }

  /** `following`: this site follows the one that sends it. Late messages are no fault of the peer, which has not heard yet. */
  message(link: Link, message: Message, following: boolean): void {
    if (message.name === 'verifyAsk' && following) this.#asked(link, message.body);
    else if (message.name === 'verifyAnswer' && this.#lead() !== null) this.#answered(link.peer, message.body);
  }

  /** A primary asks about this copy. */
  #asked(link: Link, body: Uint8Array): void {
    const on = this.#examined;
    const o = decodeJson(body);
    const equal = readEqual(o);
    if (equal !== null) return this.#learn(link, equal);
    const records = readRecordAsk(o);
    const ask = on === null ? null : readAsk(o, on.replica.volumes);
    if (on === null || (ask === null && records === null)) return link.refuse('a question about this copy is malformed');
    if (on.replica.failure !== null) return;
    if (ask === null) return this.#answerRecords(link, records as RecordAsk);
    if (on.replica.marks.received < ask.seq && this.#held.length < HELD_MAX) this.#held.push({ link, ask });
    else this.#answer(link, ask);
  }

  /** A mirror has answered. */
  #answered(site: SiteName, body: Uint8Array): void {
    const o = decodeJson(body);
    const number = o?.['number'];
    const verifier = this.#run?.verifier;
    if (verifier === undefined || typeof number !== 'number') return;
    const ask = verifier.asked(number);
    const records = verifier.askedRecords(number);
    const malformed = { kind: 'failed', why: `${site} gave a malformed answer` } as const;
    if (ask !== null) verifier.answered(site, number, readAnswer(o, ask) ?? malformed);
    else if (records !== null) verifier.answeredRecords(site, number, readRecordAnswer(o, records) ?? malformed, this.#options.clock.now());
    else return;
    this.#options.shell.wake();
  }

  /** At the end of a turn. */
  turn(now: Millis): void {
    const lead = this.#lead();
    for (const { link, ask } of this.#held.splice(0)) {
      const replica = this.#examined?.replica;
      if (replica === undefined || replica.failure !== null || !link.open) continue;
      if (replica.marks.received < ask.seq) this.#held.push({ link, ask });
      else this.#answer(link, ask);
    }
    if (this.#run !== null && this.#run.lead !== lead) this.#run = null;
    if (lead === null || this.#examined === null) return;
    if (this.#run === null) this.#resumeOrBegin(lead);
    const run = this.#run;
    if (run === null) return;
    const { verifier } = run;
    this.pace.working(verifier.busy, now);
    const may = !this.#rests(run, now) && now >= this.pace.nextAt && lead.mayTake(now);
    const begun = verifier.turn(now, !may ? 0 : this.pace.hostsActive(now) ? this.pace.stepBytes : TURN_BYTES_IDLE);
    this.pace.began(begun, verifier.order.bytesPerSecond, now);
    this.pace.working(verifier.busy, now);
    // What it appended may have met a failing disk, and then this copy takes no part any more.
    if (this.#examined === null || this.#run !== run) return;
    const { committed, durable } = this.#examined.replica.marks;
    if (verifier.mendedAt > Math.min(committed, durable)) return;
    if (verifier.done) this.#end();
    else if (now - this.#rememberedAt >= REMEMBER_MILLIS) this.#remember(now);
  }

  deadline(): Millis {
    if (this.#lead() === null || this.#examined === null) return Infinity;
    const now = this.#options.clock.now();
    if (this.#run === null) return this.#options.scrub === undefined ? Infinity : now + 1000;
    // While steps are under way their answers wake the site.
    const { nextAt } = this.pace;
    const next = this.#run.verifier.busy || this.#run.resting ? now + 1000 : nextAt > now ? nextAt : now + WAIT_MILLIS;
    return Math.min(next, this.#run.verifier.deadline());
  }

  status(): VerifyStatus {
    const { clock } = this.#options;
    const volumes = this.#examined?.replica.sizes.agreed ?? [];
    const verifier = this.#run?.verifier ?? this.#last;
    const memory = this.#store.value;
    const totalBytes = volumes.reduce((sum, volume) => sum + volume.sizeBytes, 0);
    const cursor = this.#run?.verifier.cursor ?? null;
    const passed = volumes.reduce((sum, { sizeBytes }, i) => {
      if (cursor === null || i > cursor.volume) return sum;
      return sum + (i < cursor.volume ? sizeBytes : cursor.offset);
    }, 0);
    const seconds = (this.#run?.workedMillis ?? 0) / 1000;
    const rate = verifier === null || seconds <= 0 ? 0 : verifier.verifiedBytes / seconds;
    const wall = clock.wall();
    return {
      running: this.#run !== null,
      scheduled: this.#run?.scheduled ?? false,
      resting: this.#run?.resting ?? false,
      algorithm: verifier?.order.algorithm ?? null,
      reportOnly: verifier?.order.reportOnly ?? false,
      totalBytes,
      passedBytes: this.#run === null ? 0 : passed,
      verifiedBytes: verifier?.verifiedBytes ?? 0,
      unverifiedBytes: verifier?.unverifiedBytes ?? 0,
      bytesPerSecond: Math.round(rate),
      etaSeconds: this.#run === null || rate <= 0 ? null : (totalBytes - passed) / rate / (this.#run.scheduled ? this.#shareOfDay : 1),
      beganMillis: this.#run?.began ?? memory.lastBegan,
      endedMillis: this.#run === null && memory.lastBegan !== null ? memory.lastEnded : null,
      oldestUnverifiedSeconds: memory.lastBegan === null ? null : Math.max(0, (wall - memory.lastBegan) / 1000),
      comparedSites: verifier?.compared ?? [],
      differingBlocks: verifier?.findings.blocks ?? 0,
      damagedRecords: verifier?.findings.records ?? 0,
      unmended: verifier?.findings.unmended ?? 0,
      recordsCheckedSites: verifier?.recordsChecked.sites ?? [],
      recordsCheckedBytes: verifier?.recordsChecked.bytes ?? 0,
      findings: verifier?.findings.list() ?? [],
    };
  }

  #learn(asker: object, number: number): void {
    const learnt = this.#examined?.learner.equal(asker, number) ?? 0;
    if (learnt > 0 && this.#learnt === 0)
      this.#options.journal('verify.learn', { blocks: learnt }, 'digests that were not known here are learnt where all copies are equal');
    this.#learnt += learnt;
  }

  #answer(link: Link, ask: Ask): void {
    const on = this.#examined;
    if (on === null) return;
    examine(on, link, ask, (answer) => {
      if (this.#examined === on && link.open) link.send('verifyAnswer', encodeJson(encodeAnswer(ask.number, answer)));
    });
  }

  #answerRecords(link: Link, ask: RecordAsk): void {
    const on = this.#examined;
    if (on === null) return;
    examineRecords(on.replica.records, ask, (answer) => {
      if (this.#examined === on && link.open) link.send('verifyAnswer', encodeJson(encodeRecordAnswer(ask.number, answer)));
    });
  }

  #resumeOrBegin(lead: Lead): void {
    const { run } = this.#store.value;
    if (run !== null) return this.#start(lead, run);
    const { scrub, clock } = this.#options;
    const wall = Math.floor(clock.wall());
    if (scrub === undefined || lead.onlyCopy || !isDue(scrub, this.#store.value, wall)) return;
    const order: VerifyOrder = { algorithm: scrub.algorithm, reportOnly: scrub.reportOnly, bytesPerSecond: scrub.bytesPerSecond };
    this.#start(lead, { order, cursor: { volume: 0, offset: 0 }, began: wall, scheduled: true });
  }

  #start(lead: Lead, run: NonNullable<VerifyMemory['run']>): void {
    const examined = this.#examined;
    if (examined === null) return;
    const { order, cursor, began, scheduled = false, unverifiedBytes = 0 } = run;
    const verifier = new Verifier(this.#groundOf(lead, examined), order, cursor);
    this.pace.leastBytesPerSecond = this.#leastBytesPerSecond(examined);
    const countedAt = this.#options.clock.now();
    this.#run = { verifier, lead, began, scheduled, workedMillis: 0, countedAt, resting: false, unverifiedBefore: unverifiedBytes };
    this.#store.set({ ...this.#store.value, run });
    const facts = { algorithm: order.algorithm, reportOnly: order.reportOnly, volume: cursor.volume, offset: cursor.offset, scheduled };
    this.#options.journal('verify.begin', facts, 'a verify compares the copies');
    this.#options.shell.wake();
  }

  /** Whether a scrub waits for its times of the day; counts for how long it has worked. */
  #rests(run: Run, now: Millis): boolean {
    if (!run.resting) run.workedMillis += now - run.countedAt;
    run.countedAt = now;
    const { scrub, clock } = this.#options;
    run.resting = run.scheduled && !isWithin(scrub?.window ?? null, clock.wall());
    return run.resting;
  }

  get #shareOfDay(): number {
    return shareOfDay(this.#options.scrub?.window ?? null);
  }

  #leastBytesPerSecond({ replica }: Examined): number {
    const { verifyBytesPerSecondMin: least, verifyBytesPerSecondDueMax: most } = limits;
    const { scrub } = this.#options;
    if (scrub === undefined) return least;
    const totalBytes = replica.sizes.agreed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return Math.min(most, Math.max(least, (totalBytes / (scrub.everyMillis * DUE_SHARE * this.#shareOfDay)) * 1000));
  }

  #groundOf(lead: Lead, examined: Examined & { readonly replica: Replica }): VerifyGround {
    const { site, clock } = this.#options;
    const { replica } = examined;
    const following = (): SiteName[] =>
      [...lead.followed.values()].filter((peer) => peer.attached === 'following' && peer.peer.link !== null).map((peer) => peer.site);
    const ground: VerifyGround = {
      site,
      examined,
      nextNumber: () => ++this.#numbers,
      following,
      inStep: () => {
        for (const name of following()) {
          const peer = lead.followed.get(name);
          if (peer === undefined) continue;
          if (peer.nextSeq <= replica.marks.received) pump(peer, replica, clock.now());
          if (peer.nextSeq !== replica.marks.received + 1) return false;
        }
        return true;
      },
      ask: (name, ask) => lead.followed.get(name)?.peer.link?.send('verifyAsk', encodeJson(encodeAsk(ask))),
      equal: (name, number) => {
        if (name === site) this.#learn(ground, number);
        else lead.followed.get(name)?.peer.link?.send('verifyAsk', encodeJson(encodeEqual(number)));
      },
      askRecords: (name, ask) => {
        if (name !== site) return lead.followed.get(name)?.peer.link?.send('verifyAsk', encodeJson(encodeRecordAsk(ask)));
        if (replica.failure !== null) return;
        examineRecords(replica.records, ask, (answer) => {
          // The run that has asked may have ended meanwhile.
          if (this.#run?.lead === lead) this.#run.verifier.answeredRecords(site, ask.number, answer, clock.now());
        });
      },
      append: (records) => {
        // The reign or the copy may have ended since what is to be written was read.
        if (this.#run?.lead !== lead || replica.failure !== null || replica.full || replica.changing) return null;
        if (!lead.mayTake(clock.now())) return null;
        const frame = replica.append(records);
        const { lastSeq } = frame;
        lead.appended(frame);
        frame.release();
        return lastSeq;
      },
      wake: () => this.#options.shell.wake(),
      found: (finding) => {
        const { volume, file, offset, length, kind } = finding;
        const text = `the copy of ${finding.site} is damaged (${kind}): ${file ?? `volume ${volume}`}, ${length} bytes at ${offset}`;
        this.#options.journal('verify.found', { ...finding, number: this.#run?.verifier.findings.named ?? 0 }, text);
      },
    };
    return ground;
  }

  #remember(now: Millis): void {
    const run = this.#run;
    if (run === null) return;
    this.#rememberedAt = now;
    const { verifier, began, scheduled } = run;
    const { order, cursor } = verifier;
    const unverifiedBytes = unverifiedOf(run);
    const saved = this.#store.value.run;
    // One that rests, or waits, is where it was.
    if (saved !== null && saved.scheduled === scheduled && isAt(saved.cursor, cursor) && (saved.unverifiedBytes ?? 0) === unverifiedBytes)
      return;
    const going = { order, cursor, began, scheduled, ...(unverifiedBytes > 0 && { unverifiedBytes }) };
    this.#store.set({ ...this.#store.value, run: going });
  }

  #end(): void {
    const run = this.#run;
    if (run === null) return;
    const { verifier, began } = run;
    this.#run = null;
    this.#last = verifier;
    // What could not be compared is as old as it was.
    const lastBegan = unverifiedOf(run) === 0 ? began : this.#store.value.lastBegan;
    this.#store.set({ ...this.#store.value, lastBegan, lastEnded: Math.floor(this.#options.clock.wall()), run: null });
    const { blocks: differingBlocks, records: damagedRecords, unmended } = verifier.findings;
    const facts = { verifiedBytes: verifier.verifiedBytes, differingBlocks, damagedRecords, unmended, compared: verifier.compared ?? [] };
    const text =
      (differingBlocks === 0 ? equalText(run) : `${differingBlocks} blocks of copies differ`) +
      (damagedRecords === 0 ? '' : `, ${damagedRecords} places of sidefiles were damaged`);
    this.#options.journal('verify.end', facts, `the verify has ended: ${text}`);
  }
}

/** What a run has not compared, in this life of the site and before. */
function unverifiedOf({ verifier, unverifiedBefore }: Run): number {
  return verifier.unverifiedBytes + unverifiedBefore;
}

/** Nothing was found to differ. */
function equalText(run: Run): string {
  const unverified = unverifiedOf(run);
  return unverified === 0 ? 'the copies are equal' : `what could be compared is equal, ${unverified} bytes could not be`;
}

function isAt(saved: VerifyCursor, now: VerifyCursor): boolean {
  return saved.volume === now.volume && saved.offset === now.offset;
}
