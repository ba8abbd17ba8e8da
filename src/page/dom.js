// Elements of the page: made by name, attributes and children. Nothing is ever read as HTML, so nothing that a daemon says can become any.

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {Readonly<Record<string, string | number | boolean | null>>} Attributes */
/** @typedef {Node | string | null} Child */

/**
 * @template {Element} Made
 * @param {Made} node
 * @param {Attributes} attributes
 * @param {readonly Child[]} children
 * @returns {Made}
 */
function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/**
 * An element of the page.
 * @param {string} name
 * @param {Attributes} [attributes]
 * @param {Child[]} children
 */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/**
 * An element of a picture.
 * @param {string} name
 * @param {Attributes} [attributes]
 * @param {Child[]} children
 */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/**
 * A picture as wide as its place, with what it shows in words for those who do not see it.
 * @param {{ width: number, height: number, label: string }} size
 * @param {Child[]} children
 */
export function picture({ width, height, label }, ...children) {
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label }, ...children);
}

/**
 * An element that the page has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function place(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no place ${id}`);
  return found;
}

/**
 * Shows these in a place, instead of what is there.
 * @param {string} id
 * @param {Child[]} children
 */
export function show(id, ...children) {
  place(id).replaceChildren(...children.filter((child) => child !== null));
}

/**
 * A table. A cell that is a pair is an element beside its words; numbers are aligned by the class.
 * @param {{ caption: string, head: readonly string[], rows: readonly (readonly Child[])[], cards?: boolean | 'lines' }} content
 *   `cards`: on a narrow screen each row is a card, or two lines: all cells but the last, and the last
 */
export function table({ caption, head, rows, cards = false }) {
  const cell = (/** @type {Child} */ child, /** @type {number} */ index) =>
    index === 0
      ? el('th', { scope: 'row' }, child)
      : el('td', { 'data-label': head[index] ?? '', class: typeof child === 'string' && /^[0-9]/.test(child) ? 'number' : null }, child);
  return el(
    'table',
    { class: cards === 'lines' ? 'cards lines' : cards ? 'cards' : null },
    el('caption', {}, caption),
    el('thead', {}, el('tr', {}, ...head.map((text) => el('th', { scope: 'col' }, text)))),
    el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map(cell)))),
  );
}

/**
 * How wide pictures in a place are drawn.
 * @param {string} id
 */
export function widthOf(id) {
  return Math.max(280, Math.floor(place(id).clientWidth));
}
