// How an error is told from one thread to another: what an asker may meet is, anything else is a failure of the program.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TercetError } from '../../../src/core/base/errors.ts';
import { ImageFailure } from '../../../src/core/base/image.ts';
import { DiskError } from '../../../src/core/base/ports.ts';
import { SidefileDamage } from '../../../src/core/replica/sidefile.ts';
import { tellError, toldError } from '../../../src/daemon/thread-messages.ts';

test('what an asker may meet is told, a failing disk and a damaged sidefile too', () => {
  const told = (error: unknown): Error => toldError(structuredClone(tellError(error)));
  const refused = told(new TercetError('TERCET_NOT_IN_STATE', { what: 'it', reason: 'because' }));
  assert.ok(refused instanceof TercetError);
  assert.equal(refused.code, 'TERCET_NOT_IN_STATE');
  assert.equal(told(new ImageFailure('no image')).message, 'no image');
  const disk = told(new DiskError({ operation: 'read', file: 'base-disk0.img', code: 'EIO' }));
  assert.ok(disk instanceof TercetError);
  assert.equal(disk.code, 'TERCET_DISK');
  assert.match(disk.message, /read of base-disk0\.img failed with EIO/);
  const damage = told(
    new SidefileDamage({ file: 'sidefile-1', offset: 4096, epoch: 1, seq: 7, why: 'the payload does not have its checksum' }),
  );
  assert.ok(damage instanceof TercetError);
  assert.match(damage.message, /sidefile damaged at record \(1, 7\), sidefile-1 offset 4096/);
  assert.throws(() => tellError(new TypeError('a fault')), TypeError);
});
