// What the main thread and the thread of a group say to each other. Plain values only: they are copied from one to the other. Neither waits for the other
// with more than it may (limits.ts): so many questions, and one message of news, are under way at once.

import type { ErrorCode } from '../core/base/errors.ts';
import { TercetError } from '../core/base/errors.ts';
import { type ImageEnd, ImageFailure, type ImagePiece } from '../core/base/image.ts';
import { DiskError } from '../core/base/ports.ts';
import type { SiteName } from '../core/base/units.ts';
import { SidefileDamage } from '../core/replica/sidefile.ts';
import type { SiteStatus } from '../core/site/contract.ts';
import type { MovedHost } from '../host/nbd-listener.ts';
import type { EventDraft } from '../watch/events.ts';
import type { Config, GroupConfig } from './config.ts';
import type { GroupAnswers } from './live-group.ts';
import type { MovedLink } from './link-door.ts';

/** What a thread is started with. */
export interface ThreadBegin {
  readonly config: Config;
  readonly site: SiteName;
  readonly group: string;
  /** How many threads share what the configuration gives a site. */
  readonly shares: number;
}

/** How a thread is. */
export interface ThreadLook {
  readonly status: SiteStatus;
  /** For how long its event loop was held up at most, since the look before. */
  readonly loopDelaySecondsMax: number;
}

/** What a thread is asked. */
export interface ThreadAnswers extends GroupAnswers {
  look(): ThreadLook;
  change(config: GroupConfig): void;
  /** Reads the certificates again; main has done so already. */
  readCertificates(): void;
  /** An image is begun, under a number of the asker's; then its pieces are asked for one by one, and it ends with its end or by order. */
  imageBegin(number: number, volume: string): void;
  imageNext(number: number): { readonly piece: ImagePiece } | { readonly end: ImageEnd };
  imageEnd(number: number): void;
  /** Takes no more from hosts, answers them, and ends their connections. */
  endHosts(): void;
  /** As LiveGroup has it. */
  stop(): boolean;
}

/** An error that the asker is told; any other one ends the process. */
type ToldError = { readonly code: ErrorCode; readonly facts: TercetError['facts'] } | { readonly image: string };

export type ToThread =
  | { readonly kind: 'start' }
  | { readonly kind: 'ask'; readonly number: number; readonly name: keyof ThreadAnswers; readonly args: readonly unknown[] }
  | { readonly kind: 'host'; readonly connection: number; readonly host: MovedHost }
  | { readonly kind: 'link'; readonly connection: number; readonly link: MovedLink }
  /** The news have arrived: the next ones may come. */
  | { readonly kind: 'heard' };

export type FromThread =
  | { readonly kind: 'open'; readonly look: ThreadLook }
  | { readonly kind: 'failed'; readonly error: ToldError }
  | { readonly kind: 'answer'; readonly number: number; readonly value: unknown; readonly look: ThreadLook }
  | { readonly kind: 'refused'; readonly number: number; readonly error: ToldError }
  | { readonly kind: 'news'; readonly drafts: readonly EventDraft[]; readonly look: ThreadLook }
  /** A connection that it was handed has ended. */
  | { readonly kind: 'gone'; readonly connection: number }
  /** One that it was handed goes on with the main thread. */
  | { readonly kind: 'host'; readonly connection: number; readonly host: MovedHost };

/** An error as it is told; throws it again where it is none that anybody expects. */
export function tellError(error: unknown): ToldError {
  if (error instanceof TercetError) return { code: error.code, facts: error.facts };
  if (error instanceof ImageFailure) return { image: error.message };
  // The copy has given itself up, and its site says so: what was asked has no answer, and everything else goes on.
  if (error instanceof DiskError) return { code: 'TERCET_DISK', facts: { ...error.failure } };
  if (error instanceof SidefileDamage) return { code: 'TERCET_DISK', facts: { operation: 'read', file: error.file, code: error.message } };
  throw error;
}

/** What was told, as an error. */
export function toldError(error: ToldError): Error {
  return 'image' in error ? new ImageFailure(error.image) : new TercetError(error.code, error.facts);
}
