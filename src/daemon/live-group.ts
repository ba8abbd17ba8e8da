// A group of this daemon as the rest of the daemon sees it: the same whether it lives in the main thread or in one of its own.

import type { Explanation } from '../api/schema.ts';
import type { ResyncOrder } from '../api/schema.ts';
import type { ImageEnd, ImagePiece } from '../core/base/image.ts';
import type { SiteName } from '../core/base/units.ts';
import type { VerifyOrder } from '../core/scan/verify.ts';
import type { OrderOutcome, PauseOrder, PointOrder, SiteStatus, SwitchoverOrder, VerifyStatus } from '../core/site/contract.ts';
import type { SidefileReport } from '../core/site/sidefile-report.ts';
import type { VolumeMap } from '../core/site/volume-map.ts';
import type { GroupConfig } from './config.ts';

/** A clean end of a group's site waits for its disk this long at most. */
export const GROUP_STOP_MILLIS = 5_000;

/** What is asked and ordered of a group by its name alone; here at once, of another thread a moment later. */
export interface GroupAnswers {
  explain(): Explanation;
  create(): OrderOutcome;
  promote(options: { force: boolean }): OrderOutcome;
  switchover(order: SwitchoverOrder): OrderOutcome;
  replaceWitness(): OrderOutcome;
  drain(): OrderOutcome;
  resync(order: ResyncOrder): OrderOutcome;
  pause(order: PauseOrder): OrderOutcome;
  resume(site: SiteName): OrderOutcome;
  verify(order: VerifyOrder): OrderOutcome;
  cancelVerify(): OrderOutcome;
  verifyStatus(): VerifyStatus;
  createPoint(order: PointOrder): OrderOutcome;
  removePoint(name: string): OrderOutcome;
  sidefile(range: { from: number; count: number }): SidefileReport | null;
  map(volume: string | null, cellsMax: number): VolumeMap | null;
}

/** Names of what is asked. */
export const GROUP_ANSWERS = [
  'explain',
  'create',
  'promote',
  'switchover',
  'replaceWitness',
  'drain',
  'resync',
  'pause',
  'resume',
  'verify',
  'cancelVerify',
  'verifyStatus',
  'createPoint',
  'removePoint',
  'sidefile',
  'map',
] as const satisfies readonly (keyof GroupAnswers)[];

/** The same, answered now or later. */
export type GroupAsks = {
  readonly [Name in keyof GroupAnswers]: (
    ...args: Parameters<GroupAnswers[Name]>
  ) => ReturnType<GroupAnswers[Name]> | Promise<ReturnType<GroupAnswers[Name]>>;
};

export interface LiveGroup extends GroupAsks {
  readonly group: string;
  /** As of now; of another thread, as of a moment ago. */
  status(): SiteStatus;
  /** A volume as of one moment; null for one that the group does not have. */
  image(volume: string): AsyncGenerator<ImagePiece, ImageEnd> | null;
  /** The configuration was read again. */
  change(config: GroupConfig): void;
  start(): void;
  /** Resolves to whether it has ended in order. If not, nobody waits for it any more, and its next start recovers it. */
  stop(): Promise<boolean>;
}
