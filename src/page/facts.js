// What is wrong now, what would happen, and how full the sidefile is: in words and tables.

import { el, picture, show, svg, table, widthOf } from './dom.js';
import { UNKNOWN, bytesText, countText, secondsText } from './words.js';

/** @import { GroupView } from '../watch/watch.ts' */

/** @param {GroupView} view */
export function showNow({ status, problems, state, risks, rpoSeconds }) {
  const breached = risks
    .filter((risk) => risk.breached === true)
    .map(({ peer }) => `${peer} would lose more than the ${rpoSeconds} s that are allowed`);
  const all = [...problems, ...breached];
  const well = all.length === 0;
  const knows = status.role === 'primary' ? '' : `, as far as ${status.site} can see: the primary knows more`;
  show(
    'now-body',
    el('p', { class: `verdict ${well ? 'good' : 'bad'}` }, well ? `✓ ${status.group} is well${knows}` : `✗ ${status.group} is not well`),
    well ? null : el('ul', {}, ...all.map((problem) => el('li', {}, problem))),
    el('p', {}, state),
  );
}

/** @param {GroupView} view */
export function showWhatIf({ status, whatIf }) {
  if (whatIf.length === 0) {
    show(
      'what-if-body',
      el('p', {}, `Only the primary can tell: ${status.site} is ${status.role}, and takes ${status.knownPrimary ?? 'nobody'} for it.`),
    );
    return;
  }
  const lost = (/** @type {number | null} */ records) =>
    records === null ? 'cannot be said' : records === 0 ? 'nothing' : countText(records, 'record');
  show(
    'what-if-body',
    table({
      caption: 'By the rules that decide it when it happens, from what is known now',
      head: ['if this dies', 'serves then', 'lost', 'hosts wait', 'new writes', 'in words'],
      rows: whatIf.map(({ dies, serves, lostRecords, pauseMillisMax, protection, text, remedy }) => [
        dies,
        serves ?? 'nobody',
        lost(lostRecords),
        pauseMillisMax === null ? UNKNOWN : pauseMillisMax === 0 ? 'not at all' : `up to ${secondsText(pauseMillisMax / 1000)}`,
        protection ?? UNKNOWN,
        remedy === null ? text : `${text}. What to do: ${remedy}`,
      ]),
      cards: true,
    }),
  );
}

/** @param {GroupView} view */
export function showSidefile({ status }) {
  const { sidefileBytes, sidefileCapacityBytes, marks } = status;
  const share = sidefileCapacityBytes === 0 ? 0 : Math.min(1, sidefileBytes / sidefileCapacityBytes);
  const text = `${Math.round(share * 100)} % full: ${bytesText(sidefileBytes)} of ${bytesText(sidefileCapacityBytes)}`;
  const width = Math.min(520, widthOf('sidefile-body'));
  const meter = picture(
    { width, height: 24, label: `The sidefile is ${text}` },
    svg('rect', { x: 1, y: 3, width: width - 2, height: 18, class: 'card' }),
    svg('rect', { x: 1, y: 3, width: (width - 2) * share, height: 18, class: share > 0.8 ? 'tint-bad' : 'tint-sidefile' }),
    svg('path', { d: `M ${1 + (width - 2) * share} 1 v 22`, class: 'ink', 'stroke-width': 2 }),
  );
  const positions =
    marks === null ? 'no copy here' : `records ${marks.oldest} to ${marks.received}; up to ${marks.destaged} they are in the base image`;
  show('sidefile-body', el('div', { class: 'picture' }, meter), el('p', {}, `${text}; ${positions}.`), coverageTable(status));
}

/**
 * Whether each copy could bring each other one up to date by its sidefile, where the daemon tells that.
 * @param {GroupView['status']} status
 */
function coverageTable(status) {
  const { coverage = [] } = /** @type {{ coverage?: readonly Coverage[] }} */ (/** @type {unknown} */ (status));
  if (coverage.length === 0) return null;
  return table({
    caption: 'Which sidefile could bring which copy up to date by delta, and how much may be written until it no longer can',
    head: ['from', 'to', 'state', 'slack', 'records', 'at this rate', 'why not'],
    rows: coverage.map(({ from, to, state, slackBytes, slackRecords, slackSeconds, why }) => [
      from,
      to,
      state.replace('-', ' '),
      bytesText(slackBytes),
      slackRecords === null ? UNKNOWN : String(slackRecords),
      secondsText(slackSeconds),
      why ?? '',
    ]),
    cards: true,
  });
}

/**
 * @typedef {{ from: string, to: string, state: string, why: string | null, slackBytes: number | null, slackRecords: number | null, slackSeconds: number | null }} Coverage
 */
