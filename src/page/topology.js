// The sites of a group as a picture: who serves, each copy's flag, role and promise, and what flows between them. Every state has a word or a form
// of its own; colour only repeats it.

import { picture, show, svg, table, widthOf } from './dom.js';
import { UNKNOWN, behindText, bytesText, secondsText } from './words.js';

/** @import { GroupView } from '../watch/watch.ts' */
/** @import { PeerStatus, SiteStatus } from '../api/schema.ts' */

/**
 * A site as the picture shows it.
 * @typedef {{ name: string, mode: string, role: string, serves: boolean, flag: string, lease: string, away: boolean, peer: PeerStatus | null }} SiteCard
 */

const CARD = { width: 200, height: 86 };
const NARROW = 560;
const NO_LEASE = 'no promise now';

/**
 * @param {GroupView} view
 */
export function showTopology(view) {
  const cards = cardsOf(view.status);
  const width = widthOf('topology-picture');
  const label = cards.map((card) => `${card.name}: ${card.role}, ${flagWords(card.mode)}: ${card.flag}`).join('; ');
  show('topology-picture', width < NARROW ? narrow(view, cards, width, label) : wide(view, cards, width, label));
  show(
    'topology-table',
    table({
      caption: `Sites of ${view.status.group}, as ${view.status.site} knows them`,
      head: ['site', 'mode', 'role', 'flag', 'promise', 'behind', 'received', 'durable', 'in the base', 'last fault'],
      rows: cards.map(({ name, mode, role, flag, lease, peer }) => {
        const marks = peer ?? view.status.marks;
        const position = (/** @type {number | null | undefined} */ seq) => (typeof seq === 'number' ? String(seq) : UNKNOWN);
        const behind = peer === null ? UNKNOWN : behindText(peer);
        return [
          name,
          mode,
          role,
          flag,
          lease,
          behind,
          position(marks?.received),
          position(marks?.durable),
          position(marks?.destaged),
          peer?.lastError ?? '',
        ];
      }),
    }),
  );
}

/**
 * This site first if it is the primary, else the one that it takes for the primary.
 * @param {SiteStatus} status
 * @returns {SiteCard[]}
 */
function cardsOf(status) {
  const copies = status.witness.view?.copies ?? [];
  const flagOf = (/** @type {string} */ site) => {
    const copy = copies.find((each) => each.site === site);
    return copy === undefined ? 'not known' : copy.flag ? 'yes' : 'no';
  };
  const own = {
    name: status.site,
    mode: copies.find((each) => each.site === status.site)?.mode ?? '',
    role: status.serving ? 'SERVES' : status.role,
    serves: status.serving,
    flag: flagOf(status.site),
    lease: UNKNOWN,
    away: status.role === 'failed',
    peer: null,
  };
  const peers = status.peers.map((peer) => ({
    name: peer.site,
    mode: peer.mode,
    role: peer.connected ? (peer.role ?? 'not known') : 'not connected',
    serves: false,
    flag: peer.flag === 'maybe' ? 'not certain' : peer.flag === null ? flagOf(peer.site) : peer.flag === 'true' ? 'yes' : 'no',
    lease: leaseText(peer.leaseMillis),
    away: !peer.connected || peer.role === 'failed',
    peer,
  }));
  const first = status.role === 'primary' ? null : peers.find((peer) => peer.name === status.knownPrimary);
  return first === null || first === undefined ? [own, ...peers] : [first, own, ...peers.filter((peer) => peer !== first)];
}

/**
 * @param {SiteCard} card
 * @param {{ x: number, y: number }} at
 */
function cardPicture({ name, mode, role, serves, flag, lease, away }, { x, y }) {
  const line = (/** @type {string} */ text, /** @type {number} */ index, /** @type {string | null} */ name = null) =>
    svg('text', { x: x + 10, y: y + 20 + index * 18, class: name }, text);
  return svg(
    'g',
    {},
    svg('rect', { x, y, ...CARD, rx: 8, class: `card${serves ? ' serves' : ''}${away ? ' away' : ''}` }),
    line(mode === '' ? name : `${name} (${mode})`, 0, 'strong'),
    line(role, 1, away ? 'bad' : null),
    line(`${flagWords(mode)}: ${flag}`, 2, 'soft'),
    line(lease === UNKNOWN ? '' : lease === NO_LEASE ? NO_LEASE : `promise holds ${lease}`, 3, 'soft'),
  );
}

/** @param {number | null} millis */
function leaseText(millis) {
  return millis === null ? UNKNOWN : millis === 0 ? NO_LEASE : secondsText(millis / 1000);
}

/**
 * What the flag of a copy says: an async one is never taken without somebody's order.
 * @param {string} mode
 */
function flagWords(mode) {
  return mode === 'async' ? 'may be promoted' : 'may serve';
}

/**
 * How the stream to a site is drawn: by its state, and as wide as much flows.
 * @param {SiteCard} card
 * @param {GroupView} view
 */
function flowOf(card, view) {
  const { status, samples } = view;
  // What is sent goes to all peers; each sync copy and each async one gets about the same.
  const connected = status.peers.filter((peer) => peer.attached === 'following' || peer.attached === 'copying').length;
  const sent = status.role === 'primary' ? (samples.at(-1)?.sentBytesPerSecond ?? 0) / Math.max(1, connected) : 0;
  const peer = card.peer ?? (card.name === status.site ? null : undefined);
  if (status.role !== 'primary') {
    const follows = card.name === status.site && status.role === 'mirror';
    return { kind: follows ? '' : 'still', width: 2, text: follows ? 'follows' : 'not known here', below: '' };
  }
  if (peer === null || peer === undefined) return { kind: 'still', width: 1.5, text: '', below: '' };
  const text = behindText(peer);
  if (peer.attached !== 'following' && peer.attached !== 'copying') return { kind: 'still', width: 1.5, text, below: '' };
  const width = 1.5 + Math.min(8, Math.log2(1 + sent / 65_536));
  const below = sent === 0 ? '' : `about ${bytesText(sent)}/s`;
  return { kind: peer.attached === 'copying' || peer.lagRecords !== 0 ? 'wait' : '', width, text, below };
}

/**
 * @param {string} kind
 * @param {{ x: number, y: number, turn: number }} at
 */
function tip(kind, { x, y, turn }) {
  return svg('path', { d: 'M 0 0 L -12 -7 L -12 7 Z', class: `tip ${kind}`, transform: `translate(${x} ${y}) rotate(${turn})` });
}

/** @param {GroupView} view */
function witnessText({ status }) {
  const { reachable, view } = status.witness;
  const answer = reachable === null ? 'not asked yet' : reachable ? 'answers' : 'is SILENT';
  return [`witness ${answer}`, view === null ? '' : `epoch ${view.epoch}, primary ${view.primary ?? 'nobody'}`];
}

/** @param {GroupView} view */
function hostText({ status, samples }) {
  const last = samples.at(-1);
  if (status.role !== 'primary') return ['hosts', 'what they do is not known here'];
  if (!status.serving) return ['hosts', status.heldRequests > 0 ? `${status.heldRequests} requests held` : 'not served here'];
  return ['hosts', last === undefined ? '' : `${last.writesPerSecond} writes/s, ${bytesText(last.writtenBytesPerSecond)}/s`];
}

/**
 * The primary on the left, the others in a column on the right.
 * @param {GroupView} view
 * @param {SiteCard[]} cards
 * @param {number} width
 * @param {string} label
 */
function wide(view, cards, width, label) {
  const [first, ...others] = cards;
  const step = CARD.height + 22;
  const height = Math.max(others.length * step, CARD.height + 150) + 8;
  const middle = height / 2;
  const left = { x: 4, y: middle - CARD.height / 2 };
  const right = width - CARD.width - 4;
  const from = left.x + CARD.width;
  const parts = others.flatMap((card, index) => {
    const y = middle + (index - (others.length - 1) / 2) * step;
    const { kind, width: stroke, text, below } = flowOf(card, view);
    const start = middle + (index - (others.length - 1) / 2) * 16;
    const x = (from + right) / 2;
    return [
      svg('path', {
        d: `M ${from + 2} ${start} C ${x} ${start}, ${x} ${y}, ${right - 12} ${y}`,
        class: `flow ${kind}`,
        'stroke-width': stroke,
      }),
      tip(kind, { x: right - 2, y, turn: 0 }),
      // On the side that the stream does not come from.
      svg('text', { x: right - 18, y: y + (y > middle + 4 ? 20 : below === '' ? -10 : -26), 'text-anchor': 'end', class: 'halo' }, text),
      svg('text', { x: right - 18, y: y + (y > middle + 4 ? 36 : -10), 'text-anchor': 'end', class: 'soft halo' }, below),
      cardPicture(card, { x: right, y: y - CARD.height / 2 }),
    ];
  });
  const [witness, facts] = witnessText(view);
  const [hosts, load] = hostText(view);
  const center = left.x + CARD.width / 2;
  return picture(
    { width, height, label },
    ...parts,
    first === undefined ? null : cardPicture(first, left),
    svg('path', { d: `M ${center} ${left.y - 32} V ${left.y - 10}`, class: 'flow', 'stroke-width': 2 }),
    tip('', { x: center, y: left.y - 2, turn: 90 }),
    svg('text', { x: 8, y: left.y - 52, class: 'strong' }, hosts ?? ''),
    svg('text', { x: 8, y: left.y - 36, class: 'soft' }, load ?? ''),
    svg('path', {
      d: `M ${center} ${left.y + CARD.height + 2} v 20`,
      class: `flow ${view.status.witness.reachable === true ? '' : 'still'}`,
    }),
    svg(
      'text',
      { x: 8, y: left.y + CARD.height + 40, class: view.status.witness.reachable === false ? 'strong bad' : 'strong' },
      witness ?? '',
    ),
    svg('text', { x: 8, y: left.y + CARD.height + 57, class: 'soft' }, facts ?? ''),
  );
}

/**
 * One below the other, with the streams down the left edge.
 * @param {GroupView} view
 * @param {SiteCard[]} cards
 * @param {number} width
 * @param {string} label
 */
function narrow(view, cards, width, label) {
  const [first, ...others] = cards;
  const step = CARD.height + 46;
  const top = 44;
  const x = 34;
  const bottom = top + CARD.height;
  const [witness, facts] = witnessText(view);
  const [hosts, load] = hostText(view);
  const parts = others.flatMap((card, index) => {
    const y = bottom + 44 + index * step;
    const { kind, width: stroke, text, below } = flowOf(card, view);
    const lane = 8 + index * 7;
    return [
      svg('path', {
        d: `M ${x + 20} ${bottom + 2} V ${bottom + 8} H ${lane} V ${y + 30} H ${x - 12}`,
        class: `flow ${kind}`,
        'stroke-width': Math.min(5, stroke),
      }),
      tip(kind, { x: x - 1, y: y + 30, turn: 0 }),
      svg('text', { x, y: y - 8 }, below === '' ? text : `${text}; ${below}`),
      cardPicture(card, { x, y }),
    ];
  });
  const height = bottom + 44 + others.length * step + 6;
  return picture(
    { width, height, label },
    svg('text', { x, y: 16, class: 'strong' }, `${hosts}: ${load}`),
    svg('path', { d: `M ${x + 20} 22 V ${top - 10}`, class: 'flow', 'stroke-width': 2 }),
    tip('', { x: x + 20, y: top - 2, turn: 90 }),
    ...parts,
    first === undefined ? null : cardPicture(first, { x, y: top }),
    svg('text', { x, y: height - 22, class: view.status.witness.reachable === false ? 'strong bad' : 'strong' }, witness ?? ''),
    svg('text', { x, y: height - 6, class: 'soft' }, facts ?? ''),
  );
}
