// Lines of keys in TOML texts, in each form that TOML has for them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { tomlPlaces } from '../../../src/daemon/toml-places.ts';

const TEXT = `# "not = a key"
top = 'x # y'
a.b = 1

[one."two words"]
deep = [
  1, # [
  { x = 1, y = [2,
     3] },
]
text = """
[not.a.table]
k = 1 \\""" still text """
after = 1
[[list.item]]
name = "first"
[list.item.sub]
k = 1
[[list.item]]
name = "second"
[[list.item.inner]]
k = '''
''' # end
`;

test('each key, element and table has the line on which it begins', () => {
  const places = tomlPlaces(TEXT);
  const lines: readonly [readonly (string | number)[], number][] = [
    [['top'], 2],
    [['a', 'b'], 3],
    [['one', 'two words'], 5],
    [['one', 'two words', 'deep', 0], 7],
    [['one', 'two words', 'deep', 1, 'x'], 8],
    [['one', 'two words', 'deep', 1, 'y', 1], 9],
    [['one', 'two words', 'after'], 14],
    [['list', 'item', 0, 'name'], 16],
    [['list', 'item', 0, 'sub', 'k'], 18],
    [['list', 'item', 1], 19],
    [['list', 'item', 1, 'name'], 20],
    [['list', 'item', 1, 'inner', 0, 'k'], 22],
  ];
  for (const [path, line] of lines) assert.equal(places.lineOf(path), line, JSON.stringify(path));
  assert.equal(places.has(['not']), false);
  assert.equal(places.has(['one', 'two words', 'k']), false);
});

test('a key that is not in the text has the line of the nearest table around it', () => {
  const places = tomlPlaces(TEXT);
  assert.equal(places.lineOf(['list', 'item', 1, 'size']), 19);
  assert.equal(places.lineOf(['nowhere']), 1);
  assert.equal(places.has(['list', 'item', 1, 'size']), false);
});

test('reading places ends on any text', () => {
  const pieces = ['[', ']', '{', '}', '"', "'", '"""', "'''", '=', ',', '.', '#', '\n', '\\', 'a', ' ', 'é'];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 60 }), (parts) => {
      const line = tomlPlaces(parts.join('')).lineOf(['a']);
      assert.ok(line >= 1 && line <= parts.length + 1);
    }),
  );
});
