// npm run show:page [-- --out FOLDER]: pictures of the page in the browser, to be looked at by people: all well, far cut off, a resync under way, solo, and
// without a witness; in a wide window and on a telephone, light, dark, with the system's few colours and with none.

import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { pause } from '../../demo/waiting.ts';
import { Browser, type Look } from '../../test/support/browser.ts';
import { MIB, type SiteNameInTests, type TestCluster, withCluster } from '../../test/support/cluster.ts';

const { values } = parseArgs({ options: { out: { type: 'string', default: join(tmpdir(), 'tercet-pictures') } } });

const WIDE = { width: 1280, height: 720 };
const PHONE = { width: 390, height: 844 };
const LOOKS: Readonly<Record<string, Look>> = {
  'wide-light': { ...WIDE, dark: false },
  'wide-dark': { ...WIDE, dark: true },
  'phone-light': { ...PHONE, dark: false },
  'phone-dark': { ...PHONE, dark: true },
  'wide-forced-colours': { ...WIDE, dark: true, colours: 'forced' },
  'wide-no-colours': { ...WIDE, dark: false, colours: 'none' },
};
/** For two looks of the page at the daemon, and one at the map. */
const DRAWN_MILLIS = 5500;
/** For what grows to be seen growing. */
const GROWS_MILLIS = 12_000;
const MIRRORS = ['alpha', 'beta'] as const;

async function pictures(test: TestCluster, browser: Browser, state: string, site: SiteNameInTests = 'alpha'): Promise<void> {
  await browser.goTo(`http://${test.member(site).layout.page.text}/`);
  await pause(DRAWN_MILLIS);
  for (const [name, look] of Object.entries(LOOKS)) {
    await browser.look(look);
    // It draws anew for another width.
    await pause(DRAWN_MILLIS / 3);
    const file = join(values.out, `${state}-${name}.png`);
    writeFileSync(file, await browser.picture(true));
    console.log(file);
  }
}

async function main(): Promise<void> {
  mkdirSync(values.out, { recursive: true });
  await withCluster(
    { network: true, sizeBytes: 64 * MIB, group: { bitmap_only: '["gamma"]', rpo_seconds: 5, hold_seconds: 60 } },
    async (test) => {
      const load = test.load({ blockCount: 4096 });
      await test.acknowledged(load, 1000);
      const browser = await Browser.open();
      test.onClose(() => browser.close());
      await pause(GROWS_MILLIS);
      await pictures(test, browser, 'well');

      for (const site of MIRRORS) test.sever(site, 'gamma');
      await pause(GROWS_MILLIS);
      await pictures(test, browser, 'far-cut-off');

      for (const site of MIRRORS) test.delay(site, 'gamma', 150, 64 * 1024);
      for (const site of MIRRORS) test.sever(site, 'gamma', false);
      await test.until('far is in the middle of a resync', async () => {
        const peer = (await test.status('alpha')).peers.find(({ site }) => site === 'gamma');
        return peer?.attached === 'copying' && (peer.copiedBytes ?? 0) > 0;
      });
      await pictures(test, browser, 'resync');

      for (const site of MIRRORS) test.mend(site, 'gamma');
      await test.healed();
      await test.member('beta').daemon.kill();
      await pause(GROWS_MILLIS / 2);
      await pictures(test, browser, 'solo');
      await test.member('beta').daemon.start();
      await test.healed();

      await test.cluster.witness.kill();
      await pause(GROWS_MILLIS / 2);
      await pictures(test, browser, 'witness-lost');
      await pictures(test, browser, 'witness-lost-at-far', 'gamma');
      await test.cluster.witness.start();
      await load.workload.stop();
      await test.healed();
    },
  );
}

await main();
