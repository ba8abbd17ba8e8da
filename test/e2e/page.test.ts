// The page of a real daemon in a real browser: it says what is so, in a wide window and on a telephone, and loads nothing from elsewhere.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Browser } from '../support/browser.ts';
import { withCluster } from '../support/cluster.ts';

/** Words in pictures that reach beyond the picture, or beyond the card of a site that they stand in. */
const CUT_OFF = `[...document.querySelectorAll('.picture svg')].flatMap((drawn) =>
  [...drawn.querySelectorAll('text')].filter((text) => {
    const card = text.parentElement.querySelector(':scope > rect.card') ?? drawn;
    const [words, room] = [text.getBoundingClientRect(), card.getBoundingClientRect()];
    return words.width > 0 && (words.left < room.left - 1 || words.right > room.right + 1 || words.bottom > room.bottom + 2);
  }).map((text) => text.textContent))`;
const PARTS = ['now', 'topology', 'lag', 'what-if', 'sidefile', 'map', 'timeline'];

test('the page shows who serves, what would happen, the volume and what has happened', { timeout: 240_000 }, async () => {
  await withCluster({ sizeBytes: 16 * 1024 * 1024 }, async (cluster) => {
    const load = cluster.load({ blockCount: 256 });
    await cluster.acknowledged(load, 50);
    const browser = await Browser.open();
    cluster.onClose(() => browser.close());
    const text = (part: string): Promise<string> => browser.value(`document.getElementById('${part}').textContent`);
    const label = (part: string): Promise<string> => browser.value(`document.querySelector('#${part} svg').getAttribute('aria-label')`);
    await browser.look({ width: 1280, height: 720, dark: false });
    await browser.goTo(`http://${cluster.member('alpha').layout.page.text}/`);
    await browser.shows('the group is well', "/is well/.test(document.getElementById('now-body').textContent)");
    await browser.shows('the map is there', "document.querySelectorAll('#map-picture rect.cell').length > 100");
    for (const part of PARTS) {
      assert.equal(await browser.value(`document.getElementById('${part}').getAttribute('aria-labelledby')`), `${part}-title`);
      assert.ok((await browser.value<number>(`document.getElementById('${part}').getBoundingClientRect().height`)) > 40, part);
    }
    assert.match(
      await label('topology-picture'),
      /alpha: SERVES, may serve: yes; beta: mirror, may serve: yes; gamma: mirror, may be promoted: yes/,
    );
    assert.match(await text('topology-table'), /in step|behind/);
    assert.match(await text('what-if-body'), /beta serves within/);
    assert.match(await label('map-picture'), /Map of disk0, [0-9]+ cells of/);
    await browser.shows('events are told', "/hosts are served/.test(document.getElementById('timeline-table').textContent)");

    const links = await browser.value<string>("[...document.querySelectorAll('#others a')].map((link) => link.href).join(' ')");
    const pages = (['beta', 'gamma'] as const).map((site) => `http://${cluster.member(site).layout.page.text}/`);
    assert.equal(links, pages.join(' '));

    assert.deepEqual(await browser.value(CUT_OFF), []);

    await cluster.member('beta').daemon.kill();
    await browser.shows(
      'the page says that beta is gone',
      "/beta is not connected to alpha/.test(document.getElementById('now-body').textContent)",
    );
    await browser.shows('it says so in the events, too', "/disconnect/.test(document.getElementById('timeline-table').textContent)");
    assert.match(await text('what-if-body'), /nobody serves/);
    assert.deepEqual(await browser.value(CUT_OFF), []);
    await cluster.member('beta').daemon.start();
    await cluster.healed();

    // On a telephone, in the dark, nothing reaches beyond the edge.
    await browser.look({ width: 390, height: 844, dark: true });
    await browser.goTo(`http://${cluster.member('gamma').layout.page.text}/`);
    await browser.shows('a mirror says what it sees', "/as far as gamma can see/.test(document.getElementById('now-body').textContent)");
    await browser.shows('the map is there', "document.querySelectorAll('#map-picture rect.cell').length > 100");
    assert.equal(await browser.value('document.documentElement.scrollWidth'), 390);
    assert.deepEqual(await browser.value(CUT_OFF), []);
    // What only the primary knows is not shown as nothing.
    assert.match(await text('rate-picture'), /Only the primary knows it/);
    assert.equal((await browser.picture(false)).subarray(1, 4).toString(), 'PNG');

    // The daemon ends: what stands there is told to be old.
    await cluster.member('gamma').daemon.stop();
    await browser.shows('the page says that nobody answers', "/does not answer since/.test(document.getElementById('fresh').textContent)");
    const unexpected = browser.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE/.test(fault));
    assert.deepEqual(unexpected, []);
    await cluster.member('gamma').daemon.start();
    await cluster.compareCopies(load);
  });
});
