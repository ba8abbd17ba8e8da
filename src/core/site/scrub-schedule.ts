// When a scrub begins by itself, and at which times of the day it works.

import type { Millis, WallMillis } from '../base/units.ts';
import type { ScrubOptions } from './contract.ts';
import type { VerifyMemory } from './verify-store.ts';

type Window = ScrubOptions['window'];

const DAY_MINUTES = 24 * 60;
const MINUTE_MILLIS: Millis = 60_000;

/** Whether a scrub may work at such a time; one whose ends are the same minute is the whole day. */
export function isWithin(window: Window, wall: WallMillis): boolean {
  if (window === null) return true;
  const { fromMinute, toMinute } = window;
  const minute = Math.floor(wall / MINUTE_MILLIS) % DAY_MINUTES;
  if (fromMinute === toMinute) return true;
  return fromMinute < toMinute ? minute >= fromMinute && minute < toMinute : minute >= fromMinute || minute < toMinute;
}

/** The share of a day in which a scrub works. */
export function shareOfDay(window: Window): number {
  if (window === null || window.fromMinute === window.toMinute) return 1;
  return ((window.toMinute - window.fromMinute + DAY_MINUTES) % DAY_MINUTES) / DAY_MINUTES;
}

/** Whether one begins now. The interval counts from the end of the last one, or from when it was given up; a clock that was set back since proves nothing. */
export function isDue(scrub: ScrubOptions, { lastEnded, givenUp }: VerifyMemory, wall: WallMillis): boolean {
  if (!isWithin(scrub.window, wall)) return false;
  // What lies in the future says nothing: the clock was put back.
  const last = Math.max(0, ...[lastEnded ?? 0, givenUp ?? 0].filter((at) => at <= wall));
  return wall - last >= scrub.everyMillis;
}
