// Planted bugs of points (decision 0016): part of the list in planted.ts.

import type { PlantedBug } from '../planted.ts';

const POINTS = 'replica/points.ts';
const SCHEDULE = 'replica/schedule.ts';
const DESK = 'site/points.ts';
const focus = { settings: { points: true } } as const;
/** Two places keep it: what is destaged, and the assertion that it was not too much. */
const unasserted = {
  file: POINTS,
  find: "assert(point.seq === destaged, 'nothing behind a point is destaged', { seq: point.seq, destaged });",
  replace: '',
} as const;

export const POINT_BUGS: readonly PlantedBug[] = [
  {
    name: 'a point does not hold destaging back',
    breaks: '26 point',
    edits: [{ file: SCHEDULE, find: 'Math.min(this.#safe(), this.#layers.points().hold)', replace: 'this.#safe()' }, unasserted],
    focus,
  },
  {
    name: 'a point is made of a record that the bases have passed',
    breaks: '26 point',
    edits: [
      { file: POINTS, find: 'const oldest = Math.max(marks.destageTarget, schedule.wanted);', replace: 'const oldest = marks.oldest;' },
      unasserted,
    ],
    focus,
  },
  {
    name: 'a point goes on finding in the sidefile what is destaged',
    breaks: 'assertion',
    edits: [{ file: POINTS, find: 'if (seq > this.#marks.destaged) return seq;', replace: 'if (seq > 0) return seq;' }],
    focus,
  },
  {
    name: 'a point is made of what is not committed',
    breaks: '26 point',
    edits: [{ file: POINTS, find: 'const newest = marks.committed;', replace: 'const newest = marks.received;' }],
    focus,
  },
  {
    name: 'a read that ends after its point counts',
    breaks: '26 point',
    edits: [{ file: DESK, find: 'point.ended !== null ? ESHUTDOWN : 0;', replace: '0;' }],
    focus: { settings: { points: true, cold: 1, destageIdleMillis: 20 } },
  },
];
