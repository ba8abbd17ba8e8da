// The suite of all stores on the file store; test/e2e/etcd.test.ts runs it on etcd.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

import { openFileStore } from '../../../src/witness/file-store.ts';
import { storeSuite } from '../../support/store-suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'tercet-stores-'));
after(() => rmSync(folder, { recursive: true }));

storeSuite('the file store', (place) => openFileStore(join(folder, place)));
