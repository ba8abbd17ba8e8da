// A planned change, for whoever has the token of the page: first what would happen, then the change itself.

import { el, place, show } from './dom.js';

/** @import { GroupView } from '../watch/watch.ts' */

/** Shown for which group and sites: not made anew while somebody types. */
let shown = '';

/** @param {GroupView} view */
export function showOrders({ status }) {
  const sites = [status.site, ...status.peers.filter((peer) => peer.mode === 'sync').map(({ site }) => site)].sort();
  const key = `${status.group} ${sites.join(' ')}`;
  if (shown === key) return;
  shown = key;
  place('orders').hidden = false;
  const token = /** @type {HTMLInputElement} */ (el('input', { id: 'order-token', type: 'password', autocomplete: 'off' }));
  const target = /** @type {HTMLSelectElement} */ (
    el('select', { id: 'order-target' }, ...sites.map((site) => el('option', { value: site }, site)))
  );
  const told = el('p', { role: 'status' });
  const button = (/** @type {string} */ text, /** @type {boolean} */ dryRun) => {
    const made = el('button', { type: 'button' }, text);
    made.addEventListener('click', () => {
      told.textContent = 'Asking…';
      order(status.group, { to: target.value, dryRun }, token.value).then(
        (answer) => (told.textContent = answer),
        (/** @type {unknown} */ error) =>
          (told.textContent = `The daemon did not answer: ${error instanceof Error ? error.message : String(error)}`),
      );
    });
    return made;
  };
  show(
    'orders-body',
    el(
      'p',
      { class: 'row' },
      el('label', { for: 'order-target' }, `Hand ${status.group} over to`),
      target,
      el('label', { for: 'order-token' }, 'Token'),
      token,
      button('What would happen?', true),
      button('Hand over', false),
    ),
    told,
  );
}

/**
 * @param {string} group
 * @param {{ to: string, dryRun: boolean }} body
 * @param {string} token
 * @returns {Promise<string>}
 */
async function order(group, body, token) {
  const response = await fetch(`/v1/groups/${encodeURIComponent(group)}/switchover`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = /** @type {{ error?: { text: string }, kind?: string, text?: string, remedy?: string }} */ (await response.json());
  if (answer.error !== undefined) return answer.error.text;
  return answer.kind === 'refused' ? `Refused: ${answer.text ?? ''}; ${answer.remedy ?? ''}` : (answer.text ?? '');
}
