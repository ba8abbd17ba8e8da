// `npm run docs`: writes the offset tables of all layouts and the parts of the reference that come from the code into the pages under docs/ that have a place for them.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT, coreLayouts, listFiles, readText } from '../test/tidy/files.ts';
import { fillLayouts } from '../test/tidy/layouts.ts';
import { fillReference } from '../test/tidy/reference.ts';

const files = listFiles();
const { layouts } = await coreLayouts(files);
for (const path of files.filter((file) => file.startsWith('docs/') && file.endsWith('.md'))) {
  const before = readText(path);
  const after = fillReference(fillLayouts(before, layouts));
  if (after === before) continue;
  writeFileSync(join(ROOT, path), after);
  console.log(`wrote the tables of ${path}`);
}
