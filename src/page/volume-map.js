// A volume as a grid of cells. Each cell shows the most important thing about it, by a pattern; the legend names the patterns and counts the cells.

import { el, picture, place, show, svg, table, widthOf } from './dom.js';
import { bytesText, countText, secondsText } from './words.js';

/** @import { VolumeMap } from '../api/volume-map.ts' */
/** @import { GroupView } from '../watch/watch.ts' */

/**
 * What a cell may be; the most important first.
 * @typedef {{ key: string, name: string, meaning: string, tint: string, marks: readonly (readonly [string, Readonly<Record<string, string | number>>])[] }} CellKind
 */

/** @type {readonly CellKind[]} */
const KINDS = [
  {
    key: 'differing',
    name: 'differs',
    meaning: 'a verify or a resync has found something else at a copy',
    tint: 'tint-bad',
    marks: [['path', { d: 'M 1 1 L 7 7 M 7 1 L 1 7', 'stroke-width': 2 }]],
  },
  {
    key: 'bitmap',
    name: 'in a bitmap',
    meaning: 'a copy lacks it, and the sidefile has forgotten the records',
    tint: 'tint-bad',
    marks: [['path', { d: 'M 0 8 L 8 0 M -2 2 L 2 -2 M 6 10 L 10 6', 'stroke-width': 2 }]],
  },
  {
    key: 'scanning',
    name: 'to be compared or copied',
    meaning: 'the resync of a copy has not come to it yet',
    tint: 'tint-resync',
    marks: [['path', { d: 'M 0 2 H 8 M 0 6 H 8', 'stroke-width': 1.2 }]],
  },
  {
    key: 'awaiting',
    name: 'awaited',
    meaning: 'a copy has not acknowledged some of its records yet',
    tint: 'tint-wait',
    marks: [['path', { d: 'M 2 0 V 8 M 6 0 V 8', 'stroke-width': 1.2 }]],
  },
  {
    key: 'undestaged',
    name: 'only in the sidefile',
    meaning: 'the base image here does not have it yet',
    tint: 'tint-sidefile',
    marks: [
      ['circle', { cx: 2, cy: 2, r: 1.2 }],
      ['circle', { cx: 6, cy: 6, r: 1.2 }],
    ],
  },
  {
    key: 'sidefile',
    name: 'in the sidefile',
    meaning: 'written lately, and in the base image too',
    tint: 'tint-sidefile',
    marks: [],
  },
  { key: 'quiet', name: 'quiet', meaning: 'no record of the sidefile touches it', tint: 'ground', marks: [] },
];

/** @param {CellKind} kind */
function pattern({ key, tint, marks }) {
  const size = { width: 8, height: 8 };
  return svg(
    'pattern',
    { id: `cell-${key}`, ...size, patternUnits: 'userSpaceOnUse' },
    svg('rect', { ...size, class: 'ground' }),
    svg('rect', { ...size, class: tint }),
    ...marks.map(([name, attributes]) => svg(name, { ...attributes, class: name === 'path' ? 'ink' : 'ink-fill' })),
  );
}

/**
 * What each cell is.
 * @param {VolumeMap} map
 * @returns {string[]}
 */
function kindsOf(map) {
  return Array.from({ length: map.cellCount }, (_unused, cell) => {
    const has = (/** @type {readonly number[] | null | undefined} */ counts) => (counts?.[cell] ?? 0) > 0;
    if (has(map.wrong) || map.peers.some((peer) => has(peer.differing))) return 'differing';
    if (map.peers.some((peer) => has(peer.bitmap))) return 'bitmap';
    const toCome = map.peers.some(({ resync }) => resync !== null && resync.doneBytes !== null && cell * map.cellBytes >= resync.doneBytes);
    if (toCome) return 'scanning';
    if (map.peers.some((peer) => has(peer.awaiting))) return 'awaiting';
    if (has(map.undestaged)) return 'undestaged';
    return has(map.sidefile) ? 'sidefile' : 'quiet';
  });
}

/**
 * The choice of the volume, where there are several.
 * @param {GroupView} view
 * @param {string} chosen
 * @param {(volume: string) => void} choose
 */
export function showMapChoice({ status }, chosen, choose) {
  const names = status.volumes.map(({ name }) => name);
  // Not made anew while somebody is choosing.
  if (place('map-choice').dataset['names'] === `${status.group} ${names.join(' ')}`) return;
  place('map-choice').dataset['names'] = `${status.group} ${names.join(' ')}`;
  if (names.length < 2) {
    show('map-choice');
    return;
  }
  const select = el('select', { id: 'map-volume' }, ...names.map((name) => el('option', { value: name, selected: name === chosen }, name)));
  select.addEventListener('change', () => choose(/** @type {HTMLSelectElement} */ (select).value));
  show('map-choice', el('p', { class: 'row' }, el('label', { for: 'map-volume' }, 'Volume'), select));
}

/** How many cells are asked for: so many that each can be told from the next. */
export function cellsWanted() {
  const columns = columnsOf(widthOf('map-picture'));
  return columns * (columns > 30 ? 14 : 18);
}

/** @param {number} width */
function columnsOf(width) {
  return Math.max(16, Math.floor(width / 16));
}

/** @param {VolumeMap} map */
export function showMap(map) {
  const width = widthOf('map-picture');
  const columns = columnsOf(width);
  const size = width / columns;
  const kinds = kindsOf(map);
  const busiest = Math.max(1, ...map.sidefile);
  const cells = kinds.map((kind, cell) => {
    const heat = kind === 'sidefile' ? 0.35 + 0.65 * ((map.sidefile[cell] ?? 0) / busiest) : 1;
    const at = { x: (cell % columns) * size, y: Math.floor(cell / columns) * size, width: size, height: size };
    const from = bytesText(cell * map.cellBytes);
    const title = `from ${from}: ${KINDS.find(({ key }) => key === kind)?.name ?? kind}, ${map.sidefile[cell] ?? 0} records`;
    return svg('rect', { ...at, class: 'cell', fill: `url(#cell-${kind})`, 'fill-opacity': heat }, svg('title', {}, title));
  });
  const counted = KINDS.map((kind) => ({ kind, count: kinds.filter((key) => key === kind.key).length }));
  const label = `Map of ${map.volume}, ${map.cellCount} cells of ${bytesText(map.cellBytes)}: ${counted.map(({ kind, count }) => `${count} ${kind.name}`).join(', ')}`;
  const rows = Math.ceil(map.cellCount / columns);
  show('map-picture', picture({ width, height: Math.ceil(rows * size), label }, svg('defs', {}, ...KINDS.map(pattern)), ...cells));
  show(
    'map-legend',
    table({
      caption: `${map.volume}: ${bytesText(map.sizeBytes)} in ${map.cellCount} cells of ${bytesText(map.cellBytes)}, from left to right and down`,
      head: ['', 'cell', 'what it means', 'cells'],
      rows: counted.map(({ kind, count }) => [swatch(kind), kind.name, kind.meaning, String(count)]),
    }),
    el('p', { class: 'soft' }, verifyText(map)),
    ...map.peers.flatMap((peer) => peerLine(map, peer)),
  );
}

/** @param {VolumeMap} map */
function verifyText({ verifiedSince, verifyDoneBytes, sizeBytes }) {
  const running = verifyDoneBytes === null ? '' : `A verify is under way: ${bytesText(verifyDoneBytes)} of ${bytesText(sizeBytes)}. `;
  if (verifiedSince === null) return `${running}No verify of every block is known here.`;
  return `${running}Every block was compared ${secondsText(Math.max(0, Date.now() - verifiedSince) / 1000)} ago or later.`;
}

/** @param {CellKind} kind */
function swatch(kind) {
  const drawn = svg(
    'svg',
    { viewBox: '0 0 26 18', 'aria-hidden': true },
    svg('rect', { width: 26, height: 18, fill: `url(#cell-${kind.key})` }),
  );
  return el('span', { class: 'swatch' }, drawn);
}

/**
 * @param {VolumeMap} map
 * @param {VolumeMap['peers'][number]} peer
 */
function peerLine(map, { site, awaiting, resync }) {
  const lines = [];
  if (awaiting !== null) lines.push(`${countText(awaiting.filter((count) => count > 0).length, 'cell')} awaited`);
  if (resync !== null) {
    const done = resync.doneBytes === null ? '' : `: ${bytesText(resync.doneBytes)} of ${bytesText(map.sizeBytes)}`;
    lines.push(`resync by ${resync.rung} under way${done}`);
  }
  return lines.length === 0 ? [] : [el('p', { class: 'soft' }, `${site}: ${lines.join('; ')}`)];
}
