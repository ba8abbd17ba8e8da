// A group in a thread of its own, as the main thread has it: hands connections over, asks and orders, and keeps what it was told last of how the group is.
// A thread that fails ends the process, as a failure in the main thread does; one that hangs is seen by the looks that it does not answer.

import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

import type { SiteStatus } from '../core/site/contract.ts';
import { assert } from '../core/base/assert.ts';
import { TercetError } from '../core/base/errors.ts';
import type { ImageEnd, ImagePiece } from '../core/base/image.ts';
import { limits } from '../core/base/limits.ts';
import type { Journal } from '../core/base/ports.ts';
import type { SiteName } from '../core/base/units.ts';
import type { MovedHost } from '../host/nbd-listener.ts';
import type { EventDraft } from '../watch/events.ts';
import type { GroupConfig } from './config.ts';
import type { KeptGroup } from './exports.ts';
import type { GroupAnswers, LiveGroup } from './live-group.ts';
import type { MovedLink } from './link-door.ts';
import { journalWith } from './log.ts';
import { type FromThread, type ThreadAnswers, type ThreadBegin, type ThreadLook, toldError, type ToThread } from './thread-messages.ts';

/** Between two looks. */
const LOOK_MILLIS = 250;
/** A thread that has not answered for so many of them is not alive, as far as anybody can say. */
const LOOKS_ALIVE = 4;
/** And does not serve, whatever it said last; nor is it waited for at the end. */
const LOOKS_SERVING = 12;
/** Whoever asks the daemon how it is waits for a thread no longer than this. */
const FRESH_MILLIS = 1000;

interface Waiting {
  done(value: unknown): void;
  failed(error: Error): void;
}

/** What a thread needs of the daemon. */
export interface GroupThreadOptions {
  readonly begin: ThreadBegin;
  readonly config: GroupConfig;
  readonly journal: Journal;
  /** Something has happened to the group. */
  readonly happened: (draft: EventDraft) => void;
  /** A host's handshake goes on in the main thread. */
  readonly adopt: (host: MovedHost, gone: () => void) => void;
}

export class GroupThread implements LiveGroup, KeptGroup {
  readonly group: string;
  readonly keeper: string;
  readonly site: SiteName;
  readonly sites: readonly SiteName[];
  readonly #options: GroupThreadOptions;
  readonly #worker: Worker;
  readonly #journal: Journal;
  readonly #waiting = new Map<number, Waiting>();
  /** Connections that were handed over, each with what is called when the thread is done with it. */
  readonly #connections = new Map<number, () => void>();
  #look: ThreadLook | null = null;
  #loopDelaySecondsMax = 0;
  #number = 0;
  #missedLooks = 0;
  #isLooking = false;
  #looking: NodeJS.Timeout | null = null;
  /** Called at each look that finds that it does not serve. */
  readonly #whenSilent = new Set<() => void>();
  #opened: Waiting | null = null;
  #isEnding = false;

  /** Opens and locks the data folder, in the thread; nothing runs before start(). Rejects with TercetError. */
  static async open(options: GroupThreadOptions): Promise<GroupThread> {
    const thread = new GroupThread(options);
    try {
      await new Promise((done, failed) => {
        thread.#opened = { done, failed };
      });
    } catch (error) {
      await thread.#end();
      throw error;
    }
    return thread;
  }

  private constructor(options: GroupThreadOptions) {
    const { begin, config } = options;
    this.#options = options;
    this.group = config.name;
    this.#journal = journalWith(options.journal, { group: config.name });
    this.keeper = config.name;
    this.site = begin.site;
    this.sites = config.sites.map(({ name }) => name);
    // The sources run as they are; what was built from them has another ending.
    const file = import.meta.url.endsWith('.ts') ? './group-worker.ts' : './group-worker.js';
    this.#worker = new Worker(new URL(file, import.meta.url), { workerData: begin, name: config.name });
    this.#worker.on('message', (message: FromThread) => this.#take(message));
    this.#worker.on('error', (error) => {
      throw error;
    });
    this.#worker.on('exit', (code) => {
      assert(this.#isEnding, 'the thread of a group ends when it is told to', { group: this.group, code });
    });
  }

  /** What it said last. A thread that does not answer answers no host either. */
  status(): SiteStatus {
    const { status } = this.#seen();
    if (!this.#isSilent) return status;
    return { ...status, serving: false, failure: this.#silence };
  }

  get role(): SiteStatus['role'] {
    return this.#seen().status.role;
  }

  get knownPrimary(): SiteName | null {
    return this.#seen().status.knownPrimary;
  }

  /** To be listed: what is asked about one goes to the thread. */
  get points(): KeptGroup['points'] {
    const standing = this.#seen().status.points.filter(({ state }) => state !== 'lost');
    return { standing: standing.map(({ name }) => ({ name, id: 0, sizes: [] })) };
  }

  get volumes(): SiteStatus['volumes'] {
    return this.#seen().status.volumes;
  }

  /** Whether it has answered of late. */
  get isAlive(): boolean {
    return this.#missedLooks < LOOKS_ALIVE;
  }

  /** The longest time for which its event loop was held up, since this was asked last. */
  takeLoopDelaySecondsMax(): number {
    const longest = this.#loopDelaySecondsMax;
    this.#loopDelaySecondsMax = 0;
    return longest;
  }

  /** Resolves when status() is of a moment after this call, or the thread takes too long for that. */
  async refresh(): Promise<void> {
    // Questions to one that hangs would pile up.
    if (!this.isAlive) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FRESH_MILLIS);
    });
    await Promise.race([this.#ask('look').then(() => undefined), late]);
    clearTimeout(timer);
  }

  /** Hands a host over. `gone` is called when the thread is done with it. */
  takeHost(host: MovedHost, gone: () => void): void {
    if (this.#isSilent) return leave(host.fd, gone);
    const connection = this.#handed(gone);
    this.#post({ kind: 'host', connection, host: { ...host, connection } });
  }

  /** Hands a connection of a peer over. */
  readonly takeLink = (link: MovedLink, gone: () => void): void => {
    if (this.#isSilent) return leave(link.fd, gone);
    this.#post({ kind: 'link', connection: this.#handed(gone), link });
  };

  start(): void {
    this.#post({ kind: 'start' });
    this.#keepLooking();
  }

  change(config: GroupConfig): void {
    owned(this.#ask('change', config));
  }

  readCertificates(): void {
    owned(this.#ask('readCertificates'));
  }

  async endHosts(): Promise<void> {
    await this.#unlessSilent(this.#ask('endHosts'));
  }

  async stop(): Promise<boolean> {
    this.#keepLooking();
    const inOrder = await this.#unlessSilent(this.#ask('stop'));
    if (this.#looking !== null) clearInterval(this.#looking);
    // Whoever ended a thread that hangs would wait for it: it ends with the process.
    if (inOrder === null) return false;
    await this.#end();
    return inOrder;
  }

  explain(): Promise<ReturnType<GroupAnswers['explain']>> {
    return this.#ask('explain');
  }

  create(): Promise<ReturnType<GroupAnswers['create']>> {
    return this.#ask('create');
  }

  promote(...args: Parameters<GroupAnswers['promote']>): Promise<ReturnType<GroupAnswers['promote']>> {
    return this.#ask('promote', ...args);
  }

  switchover(...args: Parameters<GroupAnswers['switchover']>): Promise<ReturnType<GroupAnswers['switchover']>> {
    return this.#ask('switchover', ...args);
  }

  replaceWitness(): Promise<ReturnType<GroupAnswers['replaceWitness']>> {
    return this.#ask('replaceWitness');
  }

  drain(): Promise<ReturnType<GroupAnswers['drain']>> {
    return this.#ask('drain');
  }

  resync(...args: Parameters<GroupAnswers['resync']>): Promise<ReturnType<GroupAnswers['resync']>> {
    return this.#ask('resync', ...args);
  }

  pause(...args: Parameters<GroupAnswers['pause']>): Promise<ReturnType<GroupAnswers['pause']>> {
    return this.#ask('pause', ...args);
  }

  resume(...args: Parameters<GroupAnswers['resume']>): Promise<ReturnType<GroupAnswers['resume']>> {
    return this.#ask('resume', ...args);
  }

  verify(...args: Parameters<GroupAnswers['verify']>): Promise<ReturnType<GroupAnswers['verify']>> {
    return this.#ask('verify', ...args);
  }

  cancelVerify(): Promise<ReturnType<GroupAnswers['cancelVerify']>> {
    return this.#ask('cancelVerify');
  }

  verifyStatus(): Promise<ReturnType<GroupAnswers['verifyStatus']>> {
    return this.#ask('verifyStatus');
  }

  createPoint(...args: Parameters<GroupAnswers['createPoint']>): Promise<ReturnType<GroupAnswers['createPoint']>> {
    return this.#ask('createPoint', ...args);
  }

  removePoint(...args: Parameters<GroupAnswers['removePoint']>): Promise<ReturnType<GroupAnswers['removePoint']>> {
    return this.#ask('removePoint', ...args);
  }

  sidefile(...args: Parameters<GroupAnswers['sidefile']>): Promise<ReturnType<GroupAnswers['sidefile']>> {
    return this.#ask('sidefile', ...args);
  }

  map(...args: Parameters<GroupAnswers['map']>): Promise<ReturnType<GroupAnswers['map']>> {
    return this.#ask('map', ...args);
  }

  image(volume: string): AsyncGenerator<ImagePiece, ImageEnd> | null {
    return this.#options.config.volumes.some(({ name }) => name === volume) ? this.#image(volume) : null;
  }

  async *#image(volume: string): AsyncGenerator<ImagePiece, ImageEnd> {
    const number = ++this.#number;
    await this.#ask('imageBegin', number, volume);
    try {
      for (;;) {
        const next = await this.#ask('imageNext', number);
        if ('end' in next) return next.end;
        yield next.piece;
      }
    } finally {
      await this.#ask('imageEnd', number);
    }
  }

  #seen(): ThreadLook {
    assert(this.#look !== null, 'a thread that is open has said how it is', { group: this.group });
    return this.#look;
  }

  #handed(gone: () => void): number {
    const connection = ++this.#number;
    this.#connections.set(connection, gone);
    return connection;
  }

  #keepLooking(): void {
    this.#looking ??= setInterval(() => this.#lookAgain(), LOOK_MILLIS);
    this.#looking.unref();
  }

  #lookAgain(): void {
    if (this.#isLooking) {
      this.#missedLooks++;
      if (this.#missedLooks === LOOKS_SERVING)
        this.#journal('thread.late', { millis: LOOKS_SERVING * LOOK_MILLIS }, `group ${this.group} does not serve: ${this.#silence}`);
      if (this.#isSilent) for (const tell of this.#whenSilent) tell();
      return;
    }
    this.#isLooking = true;
    const looked = (): void => {
      const millis = this.#missedLooks * LOOK_MILLIS;
      if (this.#isSilent)
        this.#journal('thread.back', { millis }, `the thread of group ${this.group} answers again, after ${millis / 1000} s`);
      this.#isLooking = false;
      this.#missedLooks = 0;
    };
    owned(this.#ask('look').then(looked));
  }

  get #isSilent(): boolean {
    return this.#missedLooks >= LOOKS_SERVING;
  }

  get #silence(): string {
    return `its thread has not answered for ${(this.#missedLooks * LOOK_MILLIS) / 1000} s`;
  }

  /** What was asked; null once the thread is silent: what it answers later counts for nothing. Rejects as it does. */
  async #unlessSilent<Value>(asked: Promise<Value>): Promise<Value | null> {
    let tell = (): void => {};
    const silent = new Promise<null>((resolve) => {
      tell = (): void => resolve(null);
    });
    this.#whenSilent.add(tell);
    if (this.#isSilent) tell();
    try {
      return await Promise.race([asked, silent]);
    } finally {
      this.#whenSilent.delete(tell);
    }
  }

  /** Rejects with what the thread says, or TERCET_NOT_IN_STATE when too much is asked at once. */
  #ask<Name extends keyof ThreadAnswers>(name: Name, ...args: Parameters<ThreadAnswers[Name]>): Promise<ReturnType<ThreadAnswers[Name]>> {
    const isFull = this.#waiting.size >= limits.threadAsksMax;
    if ((isFull || this.#isSilent) && !ALWAYS_ASKED.has(name)) {
      const full = `${this.#waiting.size} questions and orders are under way: wait for their answers`;
      const reason = this.#isSilent ? this.#silence : full;
      return Promise.reject(new TercetError('TERCET_NOT_IN_STATE', { what: `group ${this.group} was not asked`, reason }));
    }
    const number = ++this.#number;
    this.#post({ kind: 'ask', number, name, args });
    return new Promise((done, failed) => {
      this.#waiting.set(number, { done: (value) => done(value as ReturnType<ThreadAnswers[Name]>), failed });
    });
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #take(message: FromThread): void {
    switch (message.kind) {
      case 'open':
        this.#saw(message.look);
        this.#opened?.done(undefined);
        return;
      case 'failed':
        this.#opened?.failed(toldError(message.error));
        return;
      case 'answer':
        this.#saw(message.look);
        this.#answered(message.number)?.done(message.value);
        return;
      case 'refused':
        this.#answered(message.number)?.failed(toldError(message.error));
        return;
      case 'news':
        this.#saw(message.look);
        for (const draft of message.drafts) this.#options.happened(draft);
        this.#post({ kind: 'heard' });
        return;
      case 'gone':
        this.#gone(message.connection)?.();
        return;
      case 'host': {
        const gone = this.#gone(message.connection);
        this.#options.adopt(message.host, () => gone?.());
      }
    }
  }

  #answered(number: number): Waiting | undefined {
    const waiting = this.#waiting.get(number);
    this.#waiting.delete(number);
    return waiting;
  }

  #gone(connection: number): (() => void) | undefined {
    const gone = this.#connections.get(connection);
    this.#connections.delete(connection);
    return gone;
  }

  #saw(look: ThreadLook): void {
    this.#look = look;
    this.#loopDelaySecondsMax = Math.max(this.#loopDelaySecondsMax, look.loopDelaySecondsMax);
  }

  async #end(): Promise<void> {
    this.#isEnding = true;
    await this.#worker.terminate();
  }
}

/** Ends a connection that would be one more of those that a silent thread does not take: they count, and others need the room. */
function leave(fd: number, gone: () => void): void {
  closeSync(fd);
  gone();
}

/** What is asked of a thread however much waits already: nobody else asks it, and nobody would take a refusal. */
const ALWAYS_ASKED: ReadonlySet<keyof ThreadAnswers> = new Set(['look', 'stop', 'endHosts', 'change', 'readCertificates', 'imageEnd']);

/** What is asked without anybody who waits: the thread refuses none of it, so a failure is one of the program. */
function owned(asked: Promise<unknown>): void {
  asked.catch((error: unknown) => {
    setImmediate(() => {
      throw error;
    });
  });
}
