// The judge of what hosts saw: it accepts every order that one copy could show and refuses the ones that none could.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type HostWrite, UnitHistory } from '../../src/sim/history.ts';

const UNIT = 512;

class Book {
  readonly complaints: string[] = [];
  readonly history = new UnitHistory(8 * UNIT, UNIT, (text) => this.complaints.push(text));

  write(tag: number, invoked: number, response: number | null, zero = false): HostWrite {
    const write: HostWrite = { tag, zero, fromUnit: 2, toUnit: 4, invoked, response: null };
    this.history.invoked(write);
    if (response !== null) this.history.acknowledged(write, response);
    return write;
  }

  read(tag: number, invoked: number, response: number): void {
    const bytes = new Uint8Array(2 * UNIT);
    if (tag > 0) UnitHistory.fill(bytes, UNIT, 2, tag);
    this.history.read(2, bytes, invoked, response);
  }
}

describe('what hosts saw of a volume', () => {
  test('a read returns the last write that was answered before it began', () => {
    const book = new Book();
    book.read(0, 0, 1);
    book.write(1, 2, 3);
    book.write(2, 4, 5);
    book.read(2, 6, 7);
    assert.deepEqual(book.complaints, []);
  });

  test('a read must not return what an answered write has replaced', () => {
    const book = new Book();
    book.write(1, 2, 3);
    book.write(2, 4, 5);
    book.read(1, 6, 7);
    assert.match(book.complaints[0] as string, /no one order/);
  });

  test('writes that overlap in time may take effect in either order, but then stay in it', () => {
    const book = new Book();
    book.write(1, 2, 10);
    book.write(2, 3, 9);
    book.read(1, 11, 12);
    book.read(1, 13, 14);
    assert.deepEqual(book.complaints, []);
    book.read(2, 15, 16);
    assert.notEqual(book.complaints.length, 0);
  });

  test('a write without an answer may take effect late, or never', () => {
    const book = new Book();
    book.write(1, 1, 2);
    book.write(2, 3, null);
    book.read(1, 4, 5);
    book.write(3, 6, 7);
    book.read(2, 8, 9);
    assert.deepEqual(book.complaints, []);
    book.read(3, 10, 11);
    assert.notEqual(book.complaints.length, 0, 'once it has been seen after write 3, write 3 is gone');
  });

  test('a value that was read cannot un-happen', () => {
    const book = new Book();
    book.write(1, 1, 2);
    book.write(2, 3, null);
    book.read(2, 4, 5);
    book.read(1, 6, 7);
    assert.notEqual(book.complaints.length, 0);
  });

  test('zeroes need a write of zeroes that is not replaced', () => {
    const book = new Book();
    book.write(1, 1, 2);
    book.read(0, 3, 4);
    assert.match(book.complaints[0] as string, /reads as zeroes/);
    const other = new Book();
    other.write(1, 1, 2);
    other.write(2, 3, 4, true);
    other.read(0, 5, 6);
    assert.deepEqual(other.complaints, []);
    other.read(1, 7, 8);
    assert.notEqual(other.complaints.length, 0);
  });

  test('contents of another place, torn contents and unknown writes are found', () => {
    const wrongPlace = new Book();
    wrongPlace.write(1, 1, 2);
    const bytes = new Uint8Array(2 * UNIT);
    UnitHistory.fill(bytes, UNIT, 3, 1);
    wrongPlace.history.read(2, bytes, 3, 4);
    assert.match(wrongPlace.complaints[0] as string, /no write's contents/);
    const torn = new Book();
    torn.write(1, 1, 2);
    torn.write(2, 3, 4);
    UnitHistory.fill(bytes, UNIT, 2, 2);
    UnitHistory.fill(bytes.subarray(0, 256), UNIT, 2, 1);
    torn.history.read(2, bytes, 5, 6);
    assert.match(torn.complaints[0] as string, /no write's contents/);
    const unknown = new Book();
    unknown.read(9, 1, 2);
    assert.match(unknown.complaints[0] as string, /never sent/);
  });

  test('after a loss that is allowed the units hold what they may hold, and nothing older than what was not lost', () => {
    const book = new Book();
    book.write(1, 1, 2);
    book.write(2, 3, 4);
    const lost = book.write(3, 5, 6);
    book.history.lost([lost], new Set([3]));
    book.read(2, 7, 8);
    assert.deepEqual(book.complaints, []);
    book.read(1, 9, 10);
    assert.notEqual(book.complaints.length, 0);
    const zeroed = new Book();
    zeroed.write(1, 1, 2);
    zeroed.history.lost([zeroed.write(2, 3, 4)], new Set([2]));
    zeroed.read(0, 5, 6);
    assert.match(zeroed.complaints[0] as string, /reads as zeroes/);
  });
});
