// What a promotion by force would lose: exactly the records that another copy holds and this one does not, also where both have records of one number.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type AskRecords, lossAgainst, lossLines } from '../../../src/cli/loss.ts';

type Entry = readonly [seq: number, epoch: number, offset: number, length: number];

/** A copy with these records in its sidefile; it answers at most three at once, as one with many would. */
function copy(site: string, epoch: number, entries: readonly Entry[], received: number = entries.at(-1)?.[0] ?? 0): AskRecords {
  const records = entries.map(([seq, of, offset, length]) => ({
    seq,
    epoch: of,
    timeMillis: Date.UTC(2026, 0, 1) + seq * 1000,
    volume: 'vol',
    offset,
    length,
    kind: 'write' as const,
    checksum: 'right' as const,
  }));
  const oldest = records[0]?.seq ?? received + 1;
  return async ({ from, count }) => ({
    group: 'db',
    site,
    role: 'standby',
    epoch,
    sidefileIn: 'disk',
    oldest,
    received,
    destaged: 0,
    holders: [],
    records: records.filter(({ seq }) => seq >= from).slice(0, Math.min(count, 3)),
  });
}

const seqs = ({ records }: { records: readonly { seq: number }[] }): readonly number[] => records.map(({ seq }) => seq);

describe('the loss against a copy', () => {
  test('is what it holds beyond the end, each place counted once', async () => {
    const far = copy('far', 3, [
      [9, 3, 0, 10],
      [10, 3, 0, 4096],
    ]);
    const near = copy('near', 3, [
      [10, 3, 0, 4096],
      [11, 3, 4096, 4096],
      [12, 3, 4096, 4096],
      [13, 3, 8192, 512],
      [14, 3, 65_536, 512],
    ]);
    const loss = await lossAgainst('near', far, near);
    assert.deepEqual(seqs(loss), [11, 12, 13, 14]);
    assert.deepEqual(loss.ranges, [
      { volume: 'vol', offset: 4096, length: 4608 },
      { volume: 'vol', offset: 65_536, length: 512 },
    ]);
    assert.equal(loss.bytes, 5120);
    assert.equal(loss.unknown, null);
    assert.deepEqual(lossLines('far', loss), [
      'near holds 4 records that far lacks: 11 to 14, written from 2026-01-01T00:00:11.000Z to 2026-01-01T00:00:14.000Z, 5.0 KiB in 2 places:',
      '  vol at 4096: 4.5 KiB',
      '  vol at 65536: 512 B',
    ]);
  });

  test('is nothing where the other holds as much or less', async () => {
    const loss = await lossAgainst(
      'near',
      copy('far', 3, [
        [9, 3, 0, 1],
        [10, 3, 0, 1],
      ]),
      copy('near', 3, [[9, 3, 0, 1]]),
    );
    assert.deepEqual(lossLines('far', loss), ['near holds nothing that far lacks.']);
  });

  test('counts records of the same number that another epoch wrote', async () => {
    const old = copy('prim', 3, [
      [9, 3, 0, 1],
      [10, 3, 0, 1],
      [11, 3, 0, 1],
      [12, 3, 0, 1],
    ]);
    const newer = copy('near', 4, [
      [9, 3, 0, 1],
      [10, 3, 0, 1],
      [11, 4, 0, 1],
    ]);
    assert.deepEqual(seqs(await lossAgainst('near', old, newer)), [11]);
    assert.deepEqual(seqs(await lossAgainst('prim', newer, old)), [11, 12]);
  });

  test('is at least what is listed where its sidefile does not reach back', async () => {
    const loss = await lossAgainst(
      'near',
      copy('far', 3, [], 10),
      copy('near', 3, [
        [50, 3, 0, 1],
        [51, 3, 0, 1],
      ]),
    );
    assert.deepEqual(seqs(loss), [50, 51]);
    assert.match(lossLines('far', loss).at(-1) ?? '', /At least: its sidefile reaches back to record 50 only, and far ends at 10/);
  });
});
