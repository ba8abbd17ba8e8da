// Passes a host's connection on to the site that serves: connects to it, asks it for the export as the host did, and from then on carries bytes
// both ways and understands none of them. So any address of a group works, and what is read is never older than what that site serves: it
// answers by its own lease, as to any host. When either side ends, the other one is ended too, at once where requests could still be lying
// about.

import type { Buffers } from '../core/base/ports.ts';
import { limits } from '../core/base/limits.ts';
import type { Described } from '../core/nbd/asking.ts';
import type { PassedOn } from '../core/nbd/handshake.ts';
import { type NotGiven, Outgoing, type Way } from './nbd-outgoing.ts';
import type { StreamEvents, StreamSocket } from './stream-socket.ts';
import type { TurnScheduler } from './wake.ts';

export interface RelayOptions {
  readonly host: StreamSocket;
  readonly passed: PassedOn;
  /** Of the site that serves; tried in this order. */
  readonly ways: readonly Way[];
  readonly buffers: Buffers;
  readonly turns: TurnScheduler;
  /** The site gives the export, or does not: called once, later. After a refusal the relay is of no use. */
  readonly answered: (answer: Described | { readonly kind: 'failed'; readonly reason: string }) => void;
  /** The site has ended the connection. */
  readonly ended: (reason: string) => void;
}

/** For the site to answer. */
const ANSWER_MILLIS = 3_000;

export class Relay implements StreamEvents {
  readonly #options: RelayOptions;
  #way: Outgoing | null = null;
  #isOpen = false;
  #isOver = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#try(0, 'it has no address that can be reached from here');
  }

  /** Bytes of the host. They are copied: the network's memory is used again at the end of the turn. */
  send(bytes: Uint8Array): void {
    const way = this.#way;
    if (way === null || !this.#isOpen) return;
    way.stream.write([Buffer.from(bytes)]);
    if (way.stream.backlogBytes <= limits.nbdUnsentBytesMax) return;
    this.#options.host.pause();
    way.stream.whenDrained(() => {
      if (!this.#isOver) this.#options.host.resume();
    });
  }

  /** The host sends nothing more: told to the site, which knows whether that is an orderly end. */
  hostEnded(): void {
    this.#way?.stream.end('the host has ended the connection', limits.lingerMillis);
  }

  /** The host is gone: what it sent and is still on the way is given up. */
  stop(reason: string): void {
    this.#isOver = true;
    this.#way?.destroy(reason);
  }

  received(bytes: Uint8Array): void {
    const { host } = this.#options;
    host.write([Buffer.from(bytes)]);
    const way = this.#way;
    if (way === null || host.backlogBytes <= limits.nbdUnsentBytesMax) return;
    way.stream.pause();
    host.whenDrained(() => way.stream.resume());
  }

  ended(): void {
    this.closed('the site that serves has ended the connection');
  }

  closed(reason: string): void {
    if (this.#isOver) return;
    this.stop(reason);
    this.#options.ended(reason);
  }

  #try(index: number, reason: string): void {
    const { answered, buffers, passed, turns, ways } = this.#options;
    const way = ways[index];
    if (this.#isOver) return;
    if (way === undefined) {
      setImmediate(() => {
        if (!this.#isOver) answered({ kind: 'failed', reason });
      });
      return;
    }
    const outgoing = new Outgoing({
      way,
      buffers,
      turns,
      timeoutMillis: ANSWER_MILLIS,
      structured: passed.structured,
      extended: passed.extended,
    });
    this.#way = outgoing;
    outgoing.ask({ name: passed.name, go: true, contexts: passed.contexts.map(({ name }) => name), infos: passed.infos }, (said) => {
      if (this.#isOver) return;
      const answer = agrees(passed, said);
      if (answer.kind !== 'described') {
        outgoing.destroy(answer.reason);
        this.#try(index + 1, answer.reason);
        return;
      }
      this.#isOpen = true;
      outgoing.hand(this);
      answered(answer);
      if (answer.rest.length > 0) this.received(answer.rest);
    });
  }
}

/** What the host was told of contexts here must be what that site calls them, too. */
function agrees(passed: PassedOn, answer: Described | NotGiven): Described | NotGiven {
  if (answer.kind !== 'described') return answer;
  const other = passed.contexts.find(({ id, name }) => answer.contexts.get(name) !== id);
  return other === undefined ? answer : { kind: 'failed', reason: `it has another ${other.name}: are all configurations the same?` };
}
