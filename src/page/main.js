// The page: asks the daemon every two seconds, hears of events as they happen, and draws. When the daemon does not answer, that is said first, and
// what stands below is marked as old.

import { el, place, show } from './dom.js';
import { showLag } from './charts.js';
import { showNow, showSidefile, showWhatIf } from './facts.js';
import { showOrders } from './orders.js';
import { showTimeline } from './timeline.js';
import { showTopology } from './topology.js';
import { cellsWanted, showMap, showMapChoice } from './volume-map.js';
import { clockText } from './words.js';

/** @import { GroupView } from '../watch/watch.ts' */
/** @import { EventLine } from '../api/schema.ts' */
/** @import { VolumeMap } from '../api/volume-map.ts' */

const LOOK_MILLIS = 2000;
const MAP_MILLIS = 5000;
const SAMPLES_MAX = 1800;
const EVENTS_MAX = 500;
const ASK_MILLIS = 5000;

const state = {
  /** @type {readonly GroupView[]} */
  views: [],
  /** @type {Map<string, GroupView['samples']>} */
  samples: new Map(),
  /** @type {EventLine[]} */
  events: [],
  /** @type {string | null} */
  group: new URLSearchParams(location.search).get('group'),
  /** @type {string | null} */
  volume: null,
  ordersAllowed: false,
  /** @type {Date | null} */
  seen: null,
};

/**
 * @param {string} path
 * @returns {Promise<unknown>}
 */
async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(ASK_MILLIS) });
  if (!response.ok) throw new Error(`${path.replace(/\?.*/, '')}: ${response.status}`);
  return response.json();
}

/** The group that is shown. */
function shownView() {
  return state.views.find(({ status }) => status.group === state.group) ?? state.views[0] ?? null;
}

async function look() {
  const newest = [...state.samples.values()].map((samples) => samples.at(-1)?.time ?? 0);
  const since = newest.length === 0 ? 0 : Math.min(...newest);
  try {
    const answer = /** @type {{ groups: GroupView[] }} */ (await ask(`/v1/view?since=${since}`));
    state.views = answer.groups.map((view) => ({ ...view, samples: kept(view) }));
    state.seen = new Date();
    draw();
  } catch (error) {
    stale(error);
  }
}

/**
 * What was known of a group, and what has come.
 * @param {GroupView} view
 */
function kept({ status, samples }) {
  const before = state.samples.get(status.group) ?? [];
  const last = before.at(-1)?.time ?? 0;
  const all = [...before, ...samples.filter(({ time }) => time > last)].slice(-SAMPLES_MAX);
  state.samples.set(status.group, all);
  return all;
}

async function lookAtMap() {
  const view = shownView();
  if (view !== null && view.status.volumes.length > 0) {
    const names = view.status.volumes.map(({ name }) => name);
    const volume = state.volume !== null && names.includes(state.volume) ? state.volume : (names[0] ?? '');
    showMapChoice(view, volume, (chosen) => {
      state.volume = chosen;
    });
    try {
      const query = new URLSearchParams({ volume, cells: String(cellsWanted()) });
      showMap(/** @type {VolumeMap} */ (await ask(`/v1/groups/${encodeURIComponent(view.status.group)}/map?${query.toString()}`)));
    } catch (error) {
      show('map-legend', el('p', { class: 'bad' }, `The map could not be had: ${error instanceof Error ? error.message : String(error)}`));
    }
  }
}

function draw() {
  place('fresh').textContent = state.seen === null ? '' : `as of ${clockText(state.seen)}`;
  place('fresh').className = '';
  showGroups();
  const view = shownView();
  if (view === null) {
    show('now-body', el('p', {}, 'No group has a copy at this site.'));
    return;
  }
  showNow(view);
  showTopology(view);
  showLag(view);
  showWhatIf(view);
  showSidefile(view);
  showTimeline(view, state.events);
  if (state.ordersAllowed) showOrders(view);
}

/** @param {unknown} error */
function stale(error) {
  const since = state.seen === null ? 'yet' : `since ${clockText(state.seen)}: what stands here is from then`;
  place('fresh').className = 'bad';
  place('fresh').textContent = `✗ The daemon does not answer ${since} (${error instanceof Error ? error.message : String(error)})`;
}

/** A button for each group, where there are several. */
function showGroups() {
  const names = state.views.map(({ status }) => status.group);
  const shown = shownView()?.status.group ?? '';
  const key = `${names.join(' ')} ${shown}`;
  const nav = place('groups');
  if (nav.dataset['key'] === key) return;
  nav.dataset['key'] = key;
  const buttons = names.map((name) => {
    const button = el('button', { type: 'button', 'aria-pressed': String(name === shown) }, name);
    button.addEventListener('click', () => {
      state.group = name;
      history.replaceState(null, '', `?group=${encodeURIComponent(name)}`);
      draw();
    });
    return el('li', {}, button);
  });
  nav.replaceChildren(names.length > 1 ? el('ul', {}, ...buttons) : '');
}

/** @param {readonly string[]} kinds */
function followEvents(kinds) {
  const source = new EventSource('/v1/events?follow=1');
  const heard = (/** @type {MessageEvent<string>} */ message) => {
    const event = /** @type {EventLine} */ (JSON.parse(message.data));
    if (state.events.some(({ id }) => id === event.id)) return;
    state.events = [...state.events, event].slice(-EVENTS_MAX);
  };
  // The stream names its messages by their kind.
  source.addEventListener('message', heard);
  for (const kind of kinds) source.addEventListener(kind, heard);
}

/** @param {number} millis */
function pause(millis) {
  return new Promise((resolve) => {
    setTimeout(resolve, millis);
  });
}

/**
 * Does something again and again.
 * @param {() => Promise<void>} work
 * @param {number} millis
 */
async function forever(work, millis) {
  for (;;) {
    await work();
    await pause(millis);
  }
}

/**
 * Links to the pages of the other sites.
 * @param {readonly { site: string, url: string }[]} others
 */
function showOthers(others) {
  const links = others.flatMap(({ site, url }, index) => [index === 0 ? ' ' : ', ', el('a', { href: url }, site)]);
  show('others', ...(links.length === 0 ? ['Other sites have pages of their own.'] : ['Other sites:', ...links, '.']));
}

/** Whether the daemon has said who it is. */
async function greet() {
  try {
    const about =
      /** @type {{ site: string, version: string, others: { site: string, url: string }[], orders: string[], eventKinds: string[] }} */ (
        await ask('/v1/page')
      );
    place('site').textContent = `${about.site}, version ${about.version}`;
    document.title = `Tercet ${about.site}`;
    showOthers(about.others);
    state.ordersAllowed = about.orders.includes('switchover');
    followEvents(about.eventKinds);
    return true;
  } catch (error) {
    stale(error);
    return false;
  }
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let resizing;
addEventListener('resize', () => {
  clearTimeout(resizing);
  resizing = setTimeout(draw, 150);
});
while (!(await greet())) await pause(LOOK_MILLIS);
await look();
await Promise.all([forever(look, LOOK_MILLIS), forever(lookAtMap, MAP_MILLIS)]);
