// Lines over the last hour. Several samples that fall on one point of the picture are shown by their greatest: a peak never disappears.

import { picture, show, svg, table, widthOf } from './dom.js';
import { UNKNOWN, bytesText, clockText, secondsText } from './words.js';

/** @import { GroupView } from '../watch/watch.ts' */
/** @import { Sample } from '../watch/samples.ts' */

/**
 * @typedef {{ name: string, values: readonly (number | null)[] }} Series
 * @typedef {{ times: readonly number[], series: readonly Series[], target: number | null, label: string, height: number, text: (value: number) => string }} Chart
 */

const CLASSES = ['line', 'line second', 'line third'];
const EDGE = { left: 84, right: 12, top: 12, bottom: 22 };
/** What a letter of a name beside its line takes, and what two names are apart. */
const LETTER = { width: 9, height: 15 };
/** Seconds that the picture shows at least. */
const SPAN_SECONDS_MIN = 120;

/** @param {GroupView} view */
export function showLag(view) {
  const { samples, rpoSeconds, status } = view;
  const peers = status.peers.map(({ site }) => site);
  const times = samples.map(({ time }) => time);
  // While a copy does not follow, what it would lose is known as a bound only: it is what counts then.
  const atRisk = (/** @type {Sample} */ sample, /** @type {string} */ peer) =>
    sample.peers[peer]?.riskSeconds ?? sample.peers[peer]?.lagSeconds ?? null;
  const series = peers.map((name) => ({ name, values: samples.map((sample) => atRisk(sample, name)) }));
  const target = rpoSeconds > 0 ? rpoSeconds : null;
  const latest = series.map(({ name, values }) => `${name} ${secondsText(values.at(-1))}`).join(', ');
  const known = series.some(({ values }) => values.some((value) => value !== null));
  const label = `What would be lost, over time; now: ${latest}${target === null ? '; no target is set' : `; target ${secondsText(target)}`}`;
  show(
    'lag-picture',
    known ? chart('lag-picture', { times, series, target, label, height: 190, text: secondsText }) : document.createTextNode(nothing(view)),
  );
  show('lag-table', lagTable(view, atRisk));
  if (!samples.some(({ role }) => role === 'primary')) return show('rate-picture', document.createTextNode(nothing(view)));
  const written = [{ name: 'written', values: samples.map(({ writtenBytesPerSecond }) => writtenBytesPerSecond) }];
  const rateLabel = `Bytes written by hosts per second, over time; now ${bytesText(written[0]?.values.at(-1))}/s`;
  show(
    'rate-picture',
    chart('rate-picture', {
      times,
      series: written,
      target: null,
      label: rateLabel,
      height: 110,
      text: (value) => `${bytesText(value)}/s`,
    }),
  );
}

/** @param {GroupView} view */
function nothing({ status }) {
  return status.role === 'primary' ? 'Not known yet.' : `Only the primary knows it: ${status.site} is ${status.role}.`;
}

/**
 * The greatest of each five minutes, the newest first.
 * @param {GroupView} view
 * @param {(sample: Sample, peer: string) => number | null} atRisk
 */
function lagTable({ samples, status }, atRisk) {
  const peers = status.peers.map(({ site }) => site);
  /** @type {Map<number, Sample[]>} */
  const parts = new Map();
  for (const sample of samples) {
    const part = Math.floor(sample.time / 300) * 300;
    parts.set(part, [...(parts.get(part) ?? []), sample]);
  }
  const rows = [...parts].reverse().map(([part, inside]) => [
    clockText(new Date(part * 1000)),
    ...peers.map((peer) => {
      const values = inside.map((sample) => atRisk(sample, peer)).filter((value) => value !== null);
      return values.length === 0 ? UNKNOWN : secondsText(Math.max(...values));
    }),
    `${bytesText(Math.max(...inside.map(({ writtenBytesPerSecond }) => writtenBytesPerSecond)))}/s`,
  ]);
  return table({ caption: 'The greatest value of each five minutes', head: ['from', ...peers, 'written'], rows });
}

/**
 * @param {string} id
 * @param {Chart} content
 */
function chart(id, { times, series, target, label, height, text }) {
  const width = widthOf(id);
  // Names stand beside the ends of their lines, never on them.
  const named = series.length > 1 || target !== null;
  const letters = Math.min(Math.max(...series.map(({ name }) => name.length)), Math.floor(width / 4 / LETTER.width));
  const right = named ? 10 + LETTER.width * letters : EDGE.right;
  const inner = { width: width - EDGE.left - right, height: height - EDGE.top - EDGE.bottom };
  const end = times.at(-1) ?? 0;
  const begin = Math.min(times[0] ?? 0, end - SPAN_SECONDS_MIN);
  const values = series.flatMap(({ values: all }) => all.filter((value) => value !== null));
  const top = roundUp(Math.max(...values, (target ?? 0) * 1.15, 0));
  const x = (/** @type {number} */ time) => EDGE.left + ((time - begin) / (end - begin)) * inner.width;
  const y = (/** @type {number} */ value) => EDGE.top + (1 - value / top) * inner.height;
  const ticks = [0, top / 2, top].flatMap((value) => [
    svg('path', { d: `M ${EDGE.left} ${y(value)} h ${inner.width}`, class: 'axis' }),
    svg('text', { x: EDGE.left - 6, y: y(value) + 4, 'text-anchor': 'end', class: 'soft' }, text(value)),
  ]);
  const moments = [begin, (begin + end) / 2, end].map((time, index) =>
    svg(
      'text',
      { x: x(time), y: height - 5, class: 'soft', 'text-anchor': index === 0 ? 'start' : index === 1 ? 'middle' : 'end' },
      clockText(new Date(time * 1000)),
    ),
  );
  const runs = series.map(({ values: all }) => pointsOf(times, all, { x, y }, inner.width));
  const lines = runs.map((run, index) => svg('path', { d: pathOf(run), class: CLASSES[index % CLASSES.length] ?? 'line' }));
  const names = named ? namesBeside(series, runs, { x: EDGE.left + inner.width + 6, bottom: height - EDGE.bottom, letters }) : [];
  const line =
    target === null
      ? []
      : [
          svg('path', { d: `M ${EDGE.left} ${y(target)} h ${inner.width}`, class: 'target' }),
          svg('text', { x: EDGE.left + 6, y: y(target) - 5, class: 'halo' }, `target ${secondsText(target)}`),
        ];
  return picture({ width, height, label }, ...ticks, ...moments, ...lines, ...line, ...names);
}

/** @param {readonly (readonly [number, number][])[]} runs */
function pathOf(runs) {
  return runs.map((run) => run.map(([px, py], at) => `${at === 0 ? 'M' : 'L'} ${px.toFixed(1)} ${py.toFixed(1)}`).join(' ')).join(' ');
}

/**
 * The names of lines, each as high as its line ends, and one below the other where lines end close together.
 * @param {readonly Series[]} series
 * @param {readonly (readonly (readonly [number, number][])[])[]} runs
 * @param {{ x: number, bottom: number, letters: number }} at
 */
function namesBeside(series, runs, { x, bottom, letters }) {
  const ends = series
    .flatMap(({ name }, index) => {
      const last = runs[index]?.at(-1)?.at(-1);
      return last === undefined ? [] : [{ name, y: last[1] + 4 }];
    })
    .sort((a, b) => b.y - a.y);
  let lowest = bottom + 4;
  return ends.map(({ name, y }) => {
    const placed = Math.min(y, lowest);
    lowest = placed - LETTER.height;
    return svg('text', { x, y: placed }, name.length > letters ? `${name.slice(0, letters - 1)}…` : name);
  });
}

/**
 * Runs of points: a value that is not known interrupts the line.
 * @param {readonly number[]} times
 * @param {readonly (number | null)[]} values
 * @param {{ x: (time: number) => number, y: (value: number) => number }} scale
 * @param {number} columns
 */
function pointsOf(times, values, { x, y }, columns) {
  const step = Math.max(1, Math.ceil(times.length / Math.max(60, columns / 2)));
  /** @type {[number, number][][]} */
  const runs = [];
  let open = false;
  for (let from = 0; from < times.length; from += step) {
    const known = values.slice(from, from + step).filter((value) => value !== null);
    if (known.length === 0) {
      open = false;
      continue;
    }
    if (!open) runs.push([]);
    open = true;
    runs.at(-1)?.push([x(times[Math.min(times.length - 1, from + step - 1)] ?? 0), y(Math.max(...known))]);
  }
  return runs;
}

/**
 * The next number of a kind that people like at the end of an axis.
 * @param {number} value
 */
function roundUp(value) {
  if (value <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => step * unit >= value) ?? 10) * unit;
}
