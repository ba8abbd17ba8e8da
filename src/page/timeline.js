// Epochs as bands, events as marks above them, and the newest events in words.

import { picture, show, svg, table, widthOf } from './dom.js';
import { clockText } from './words.js';

/** @import { GroupView } from '../watch/watch.ts' */
/** @import { EventLine } from '../api/schema.ts' */

const HEIGHT = 84;
const BAND = { y: 34, height: 24 };
const EVENTS_SHOWN = 40;
const SPAN_SECONDS_MIN = 120;

/**
 * @param {GroupView} view
 * @param {readonly EventLine[]} events oldest first
 */
export function showTimeline({ samples, status }, events) {
  const own = events.filter(({ group }) => group === null || group === status.group);
  const width = widthOf('timeline-picture');
  const end = samples.at(-1)?.time ?? Date.now() / 1000;
  const begin = Math.min(samples[0]?.time ?? end, end - SPAN_SECONDS_MIN);
  const x = (/** @type {number} */ time) => 4 + ((time - begin) / (end - begin)) * (width - 8);
  const bands = bandsOf(samples);
  const label = `Epochs at ${status.site}: ${bands.map((band) => `${band.text} from ${clockText(new Date(band.from * 1000))}`).join(', ')}; ${own.length} events`;
  const drawn = bands.flatMap(({ from, to, serves, text }) => {
    const room = x(to) - x(from);
    return [
      svg('rect', { x: x(from), width: Math.max(1, room), ...BAND, class: `band${serves ? ' serves' : ''}` }),
      room > text.length * 7 ? svg('text', { x: x(from) + 6, y: BAND.y + 17 }, text) : null,
    ];
  });
  const marks = own
    .map((event) => ({ event, time: Date.parse(event.time) / 1000 }))
    .filter(({ time }) => time >= begin && time <= end)
    .map(({ event, time }) =>
      svg(
        'path',
        { d: `M ${x(time)} ${BAND.y - 3} v -18`, class: 'event' },
        svg('title', {}, `${clockText(new Date(event.time))} ${event.kind}: ${event.text}`),
      ),
    );
  show(
    'timeline-picture',
    picture(
      { width, height: HEIGHT, label },
      svg('text', { x: 4, y: 11, class: 'soft' }, 'events'),
      ...drawn,
      ...marks,
      svg('text', { x: 4, y: HEIGHT - 6, class: 'soft' }, clockText(new Date(begin * 1000))),
      svg('text', { x: width - 4, y: HEIGHT - 6, class: 'soft', 'text-anchor': 'end' }, clockText(new Date(end * 1000))),
    ),
  );
  const newest = own.slice(-EVENTS_SHOWN).reverse();
  show(
    'timeline-table',
    table({
      caption: newest.length === 0 ? 'No events yet' : `The newest ${newest.length} events of ${status.site}`,
      head: ['time', 'kind', 'peer', 'what happened'],
      rows: newest.map(({ time, kind, peer, text }) => [clockText(new Date(time)), kind, peer ?? '', text]),
      cards: 'lines',
    }),
  );
}

/**
 * Runs of samples in one epoch and one part.
 * @param {GroupView['samples']} samples
 */
function bandsOf(samples) {
  /** @type {{ from: number, to: number, serves: boolean, text: string }[]} */
  const bands = [];
  for (const { time, epoch, role, serving } of samples) {
    const text = `epoch ${epoch}: ${serving ? 'serves' : role}`;
    const last = bands.at(-1);
    if (last !== undefined) last.to = time;
    if (last?.text !== text) bands.push({ from: time, to: time, serves: serving, text });
  }
  return bands;
}
